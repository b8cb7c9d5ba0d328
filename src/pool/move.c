/* SPDX-License-Identifier: Apache-2.0 */
/* Moving a model that somebody names as people see it, rather than by the request for it. */
#include "base/memory.h"
#include "base/status.h"
#include "pool/pool.h"

#include <resourcepool/pool.h>
#include <string.h>

/* What leads to an entry, copied, since it goes with the entry. */
struct ways {
    struct rp_key *instance;
    struct rp_key **requests; /* those that left the device to the pool */
    size_t count;
};

static void ways_fini(struct ways *ways) {
    for (size_t i = 0; i < ways->count; i++) {
        rp_free(ways->requests[i]);
    }
    rp_free(ways->requests);
    rp_free(ways->instance);
}

/* The pool chose the device; with preferences the key has their hash behind it (choice.h). */
static bool is_open(const struct rp_key_parts *request) {
    return !request->device || strncmp(request->device, "auto/", 5) == 0;
}

/* False without memory. Needs pool.lock. */
static bool copy_ways(struct rp_entry *entry, struct ways *ways) {
    struct rp_key_parts parts = rp_key_parts_of(entry->instance);
    size_t most = 0;
    for (const struct rp_alias *at = entry->aliases; at; at = at->next_of_entry) {
        most++;
    }
    ways->instance = rp_key_create(&parts);
    ways->requests = rp_alloc_array(most, sizeof *ways->requests);
    if (!ways->instance || (most > 0 && !ways->requests)) return false;
    for (const struct rp_alias *at = entry->aliases; at; at = at->next_of_entry) {
        struct rp_key_parts request = rp_key_parts_of(at->request);
        if (!is_open(&request)) continue;
        struct rp_key *copy = rp_key_create(&request);
        if (!copy) return false;
        ways->requests[ways->count++] = copy;
    }
    /* Whoever asks for exactly this gets it: that is how the move finds it. */
    return rp_pool_find_request(entry->pool, &parts) || rp_entry_add_alias(entry, &parts);
}

static rp_status find(rp_pool *pool, const char *key, bool has_maker, struct ways *ways,
                      rp_error *err) {
    rp_status status = RP_OK;
    rp_lock_acquire(&pool->lock);
    struct rp_entry *entry = rp_pool_find_text(pool, key);
    if (!entry) {
        status = rp_fail(err, RP_ERR_NOT_FOUND, "nothing called '%s' is in the pool", key);
    } else if (entry->state != RP_ENTRY_LOADED) {
        status = rp_fail(err, RP_ERR_BUSY, "'%s' is being loaded", key);
    } else if (!entry->model && !has_maker) {
        status = rp_fail(err, RP_ERR_UNSUPPORTED,
                         "cannot move '%s': no engine loaded it, and only its own program can "
                         "make it again",
                         key);
    } else if (!copy_ways(entry, ways)) {
        status = rp_fail(err, RP_ERR_MEMORY, "no memory to move '%s'", key);
    }
    rp_lock_release(&pool->lock);
    return status;
}

/* A way for which there is no memory is found anew by the next request: it is a memo. */
static void lead(rp_pool *pool, const struct ways *ways, rp_lease *lease) {
    rp_lock_acquire(&pool->lock);
    struct rp_entry *to = RP_READ(rp_ticket_slot(lease)->holder)->entry;
    for (size_t i = 0; i < ways->count; i++) {
        struct rp_key_parts request = rp_key_parts_of(ways->requests[i]);
        if (!rp_pool_find_request(pool, &request)) (void)rp_entry_add_alias(to, &request);
    }
    rp_lock_release(&pool->lock);
}

/* The instance as a request, made as `maker` says. */
static rp_request request_for(const struct rp_key_parts *parts, const rp_request *maker) {
    rp_request request = RP_REQUEST_INIT;
    request.type = parts->type;
    request.name = parts->name;
    request.device = parts->device;
    request.precision = parts->precision;
    request.engine = parts->engine;
    request.path = parts->path;
    request.threads = parts->threads;
    request.construct = maker->construct;
    request.destroy = maker->destroy;
    request.user = maker->user;
    request.timeout_ms = maker->timeout_ms;
    request.cancel = maker->cancel;
    request.memory_bytes = maker->memory_bytes;
    return request;
}

rp_status rp_pool_move_key(rp_pool *pool, const char *key, const char *device,
                           const rp_request *maker, rp_lease **lease, rp_error *err) {
    static const rp_request none = RP_REQUEST_INIT;
    struct ways ways = {0};
    rp_lease *moved = NULL;
    if (!pool || !key || !device || !lease || (maker && maker->size != sizeof *maker)) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a move needs a pool, a key, a device and a lease");
    }
    rp_status status = rp_pool_check_process(pool, err);
    if (status != RP_OK) return status;
    if (!maker) maker = &none;
    status = find(pool, key, maker->construct != NULL, &ways, err);
    if (status == RP_OK) {
        struct rp_key_parts parts = rp_key_parts_of(ways.instance);
        rp_request request = request_for(&parts, maker);
        status = rp_pool_move_model(pool, &request, device, &moved, err);
    }
    if (status == RP_OK) {
        lead(pool, &ways, moved);
        *lease = moved;
    }
    ways_fini(&ways);
    return status;
}
