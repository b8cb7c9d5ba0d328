/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/reserve.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "hardware/detect.h"
#include "pool/pool.h"
#include "pool/waits.h"

#include <assert.h>
#include <resourcepool/hardware.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Loads on accelerators take seconds: figures of half a second ago are of now. */
enum { FIGURES_AGE_MS_MAX = 500 };

void rp_reserved_destroy(void *object) {
    struct rp_reserved *reserved = object;
    if (!reserved) return;
    if (reserved->remote) reserved->give_back(reserved->remote);
    rp_free(reserved);
}

/* ---- places ---- */

static bool is_wanted(const rp_device *device, const rp_device *exact, rp_device_kind kind) {
    return device->available && (exact ? device == exact : device->kind == kind);
}

/* Why there is no such device, or none that can be used. */
static rp_status tell_absent(const rp_snapshot *snapshot, const char *id, rp_device_kind kind,
                             rp_error *err) {
    const rp_device *there = rp_snapshot_find_device(snapshot, id);
    if (there) {
        return rp_fail(err, RP_ERR_ABSENT, "no room is reserved on '%s', which cannot be used: %s",
                       id, there->reason ? there->reason : "nobody says why");
    }
    for (size_t i = 0; i < rp_snapshot_absent_count(snapshot); i++) {
        const rp_absence *absence = rp_snapshot_absent(snapshot, i);
        if (absence->kind != kind) continue;
        rp_fail(err, RP_ERR_ABSENT, "no room is reserved on '%s', which this machine lacks: %s", id,
                absence->reason);
        if (absence->hint) rp_hint(err, "%s", absence->hint);
        return RP_ERR_ABSENT;
    }
    return rp_fail(err, RP_ERR_ABSENT,
                   "no room is reserved on '%s': this machine has no such device", id);
}

static rp_status kind_of(const char *id, rp_device_kind *kind, bool *is_kind, rp_error *err) {
    char name[RP_LIMIT_DEVICE_BYTES];
    size_t length = strcspn(id, ":");
    snprintf(name, sizeof name, "%.*s", (int)length, id);
    *is_kind = id[length] == '\0';
    rp_status status = rp_device_kind_parse(name, kind, err);
    if (status == RP_OK) return RP_OK;
    if (err) err->status = RP_ERR_ARGUMENT;
    return RP_ERR_ARGUMENT;
}

/* The device, or all of that kind that can be used: the caller's, rp_reserved_destroy(). */
static rp_status find_places(const rp_snapshot *snapshot, const char *id,
                             struct rp_reserved **reserved, rp_error *err) {
    rp_device_kind kind;
    bool is_kind;
    rp_status status = kind_of(id, &kind, &is_kind, err);
    if (status != RP_OK) return status;
    const rp_device *exact = is_kind ? NULL : rp_snapshot_find_device(snapshot, id);
    size_t count = rp_snapshot_device_count(snapshot);
    struct rp_reserved *made = rp_alloc(sizeof *made + count * sizeof made->places[0]);
    if (!made) return rp_fail(err, RP_ERR_MEMORY, "no memory to reserve room on '%s'", id);
    for (size_t i = 0; i < count && (is_kind || exact); i++) {
        const rp_device *device = rp_snapshot_device(snapshot, i);
        if (!is_wanted(device, exact, kind)) continue;
        struct rp_place *place = &made->places[made->place_count++];
        snprintf(place->id, sizeof place->id, "%s", device->id);
        place->limit_bytes = device->memory_bytes_total;
        place->room_bytes = device->memory_bytes_free;
    }
    if (made->place_count == 0) {
        rp_free(made);
        return tell_absent(snapshot, id, kind, err);
    }
    bool is_any = is_kind && strcmp(made->places[0].id, id) != 0;
    made->policy = is_any ? RP_POLICY_ANY : RP_POLICY_REQUIRE;
    snprintf(made->reason, sizeof made->reason, "%s%s",
             is_any ? "a device of the kind that was asked for, with room"
                    : "the device that was asked for",
             rp_snapshot_is_simulated(snapshot) ? ", of a simulated machine" : "");
    *reserved = made;
    return RP_OK;
}

/* Less what is promised already, or allowed. */
static void limit_room(rp_pool *pool, struct rp_place *place) {
    const struct rp_ledger *ledger = &pool->ledger;
    for (size_t i = 0; i < ledger->count; i++) {
        if (strcmp(ledger->devices[i].id, place->id) != 0) continue;
        uint64_t budget = rp_ledger_budget(ledger, (uint16_t)i);
        uint64_t charged = rp_ledger_charged(ledger->devices[i].sums);
        if (budget == RP_UNKNOWN_U64) budget = place->limit_bytes;
        uint64_t left = budget > charged ? budget - charged : 0;
        if (left < place->room_bytes) place->room_bytes = left;
    }
}

static int roomiest_first(const void *a, const void *b) {
    const struct rp_place *x = a;
    const struct rp_place *y = b;
    if (x->room_bytes != y->room_bytes) return x->room_bytes < y->room_bytes ? 1 : -1;
    return strcmp(x->id, y->id);
}

static void sort_places(rp_pool *pool, struct rp_reserved *reserved) {
    if (reserved->place_count == 1) return;
    rp_lock_acquire(&pool->lock);
    for (size_t i = 0; i < reserved->place_count; i++) {
        limit_room(pool, &reserved->places[i]);
    }
    rp_lock_release(&pool->lock);
    qsort(reserved->places, reserved->place_count, sizeof reserved->places[0], roomiest_first);
}

/* ---- whose account ---- */

static rp_status reserve_here(rp_pool *pool, const rp_reservation *request,
                              struct rp_reserved **reserved, rp_error *err) {
    const rp_snapshot *snapshot = NULL;
    rp_status status = strcmp(request->device, "cpu") == 0
                           ? rp_hardware_snapshot(&snapshot, err)
                           : rp_hardware_recent(FIGURES_AGE_MS_MAX, &snapshot, err);
    if (status != RP_OK) return status;
    status = find_places(snapshot, request->device, reserved, err);
    rp_snapshot_release(snapshot);
    if (status != RP_OK) return status;
    assert(*reserved);
    sort_places(pool, *reserved);
    return RP_OK;
}

/* RP_OK with *reserved NULL: there is no broker to ask, and the pool's own account counts. */
static rp_status reserve_there(rp_pool *pool, const rp_reservation *request,
                               struct rp_reserved **reserved, rp_error *err) {
    struct rp_pool_room room = {.remote = NULL};
    struct rp_reserved *made = rp_alloc(sizeof *made + sizeof made->places[0]);
    if (!made) return rp_fail(err, RP_ERR_MEMORY, "no memory to reserve room");
    const struct rp_pool_room_wanted wanted = {
        .device = request->device,
        .name = request->name,
        .memory_bytes = request->memory_bytes,
        .timeout_ms = request->timeout_ms,
        .cancel = request->cancel,
        .thread = request->timeout_ms == 0 ? gettid() : 0,
    };
    rp_status status = pool->hooks.reserve(pool->hooks.user, &wanted, &room, err);
    if (status != RP_OK || !room.remote) {
        rp_free(made);
        return status;
    }
    made->remote = room.remote;
    made->give_back = room.give_back;
    made->policy = room.policy;
    memcpy(made->reason, room.reason, sizeof room.reason);
    made->place_count = 1;
    made->places[0].limit_bytes = RP_UNKNOWN_U64;
    memcpy(made->places[0].id, room.device, sizeof room.device);
    *reserved = made;
    return RP_OK;
}

/* ---- the call ---- */

static rp_status check(const rp_reservation *request, rp_error *err) {
    if (!request->device || !request->device[0]) {
        rp_fail(err, RP_ERR_ARGUMENT, "a reservation without a device");
        rp_hint(err, "such as 'cpu', 'cuda:0', or a kind: 'cuda'");
        return RP_ERR_ARGUMENT;
    }
    if (strnlen(request->device, RP_LIMIT_DEVICE_BYTES) == RP_LIMIT_DEVICE_BYTES) {
        return rp_fail(err, RP_ERR_LIMIT, "the device '%.40s...' is longer than %d bytes",
                       request->device, RP_LIMIT_DEVICE_BYTES - 1);
    }
    if (request->memory_bytes == 0 || request->memory_bytes == RP_UNKNOWN_U64) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a reservation of %s bytes on '%s'",
                       request->memory_bytes ? "unknown" : "0", request->device);
    }
    return RP_OK;
}

static int64_t left_ms(int64_t deadline_ns) {
    int64_t left_ns = deadline_ns - rp_clock_ns();
    return left_ns > 1000000 ? left_ns / 1000000 : 1;
}

static rp_status reserve(rp_pool *pool, rp_reservation *own, rp_lease **lease, rp_error *err) {
    struct rp_reserved *reserved = NULL;
    rp_request request = RP_REQUEST_INIT;
    struct rp_key_parts parts;
    request.type = "reservation";
    request.name = own->name;
    request.timeout_ms = own->timeout_ms;
    request.cancel = own->cancel;
    request.within = own->within;
    rp_status status = rp_key_parts_of_request(RP_KIND_RESERVATION, &request, &parts, err);
    int64_t deadline_ns = RP_NEVER_NS;
    if (status == RP_OK && own->timeout_ms > 0) deadline_ns = rp_deadline_after_ms(own->timeout_ms);
    if (status == RP_OK && pool->hooks.reserve) status = reserve_there(pool, own, &reserved, err);
    if (status == RP_OK && !reserved) status = reserve_here(pool, own, &reserved, err);
    if (status != RP_OK) return status;
    assert(reserved);
    if (deadline_ns != RP_NEVER_NS) request.timeout_ms = left_ms(deadline_ns);
    reserved->bytes = own->memory_bytes;
    return rp_pool_lease_room_take(pool, &request, reserved, lease, err);
}

rp_status rp_pool_reserve(rp_pool *pool, const rp_reservation *request, rp_lease **lease,
                          rp_error *err) {
    if (!pool || !request || !lease || request->size < offsetof(rp_reservation, name)) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "a reservation needs a pool, an rp_reservation with its size set, a lease");
    }
    char name[32];
    rp_reservation own = RP_RESERVATION_INIT;
    memcpy(&own, request, request->size < sizeof own ? request->size : sizeof own);
    own.size = sizeof own;
    snprintf(name, sizeof name, "process %d", (int)getpid());
    if (!own.name) own.name = name;
    rp_status status = rp_pool_check_process(pool, err);
    if (status == RP_OK) status = check(&own, err);
    if (status == RP_OK && rp_cancel_is_fired(own.cancel)) {
        status = rp_fail(err, RP_ERR_CANCELLED,
                         "the reservation '%s' was called off before it began", own.name);
    }
    return status == RP_OK ? reserve(pool, &own, lease, err) : status;
}
