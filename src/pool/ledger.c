/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/ledger.h"

#include "base/memory.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

const char *rp_charge_state_name(rp_charge_state state) {
    switch (state) {
#define CASE(constant, number, name)                                                               \
    case RP_CHARGE_##constant:                                                                     \
        return name;
        RP_CHARGE_MAP(CASE)
#undef CASE
    }
    return NULL;
}

static uint64_t add(uint64_t a, uint64_t b) {
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t less(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

void rp_ledger_init(struct rp_ledger *ledger) {
    *ledger = (struct rp_ledger){.budget_bytes = RP_UNKNOWN_U64, .budget_percent = 100};
}

void rp_ledger_fini(struct rp_ledger *ledger) {
    rp_free(ledger->devices);
    *ledger = (struct rp_ledger){0};
}

uint16_t rp_ledger_device_index(struct rp_ledger *ledger, const char *id) {
    for (size_t i = 0; i < ledger->count; i++) {
        if (strcmp(ledger->devices[i].id, id) == 0) return (uint16_t)i;
    }
    if (ledger->count == RP_LIMIT_DEVICES || strlen(id) >= RP_LIMIT_DEVICE_BYTES) {
        return RP_LEDGER_NO_DEVICE;
    }
    struct rp_ledger_device *grown =
        rp_realloc_array(ledger->devices, ledger->count + 1, sizeof *grown);
    if (!grown) return RP_LEDGER_NO_DEVICE;
    ledger->devices = grown;
    struct rp_ledger_device *device = &grown[ledger->count];
    *device = (struct rp_ledger_device){
        .budget_bytes = RP_UNKNOWN_U64,
        .limit_bytes = RP_UNKNOWN_U64,
        .anchor_bytes = RP_UNKNOWN_U64,
    };
    snprintf(device->id, sizeof device->id, "%s", id);
    return (uint16_t)ledger->count++;
}

uint64_t rp_ledger_charged(const uint64_t sums[RP_CHARGE_STATES]) {
    uint64_t total = 0;
    for (int state = RP_CHARGE_RESERVED; state < RP_CHARGE_LOST; state++) {
        total = add(total, sums[state]);
    }
    return total;
}

/* What is there or may be there already: all but promises and what is lost. */
static uint64_t present(const uint64_t sums[RP_CHARGE_STATES]) {
    return less(rp_ledger_charged(sums), sums[RP_CHARGE_RESERVED]);
}

/* Every change of a sum goes through here. */
static void shift(struct rp_ledger *ledger, uint16_t index, rp_charge_state from, uint64_t out,
                  rp_charge_state to, uint64_t in) {
    struct rp_ledger_device *device = &ledger->devices[index];
    if (from != RP_CHARGE_NONE) {
        assert(device->sums[from] >= out && ledger->sums[from] >= out);
        device->sums[from] -= out;
        ledger->sums[from] -= out;
    }
    if (to != RP_CHARGE_NONE) {
        device->sums[to] += in;
        ledger->sums[to] += in;
    }
    uint64_t there = present(device->sums);
    if (there > device->peak_bytes) device->peak_bytes = there;
    there = present(ledger->sums);
    if (there > ledger->peak_bytes) ledger->peak_bytes = there;
}

void rp_ledger_charge(struct rp_ledger *ledger, struct rp_charge *charge, uint16_t device,
                      uint64_t bytes, rp_charge_state state) {
    assert(charge->state == RP_CHARGE_NONE && device < ledger->count);
    *charge = (struct rp_charge){.bytes = bytes, .device = device, .state = (uint8_t)state};
    shift(ledger, device, RP_CHARGE_NONE, 0, state, bytes);
}

void rp_ledger_move(struct rp_ledger *ledger, struct rp_charge *charge, rp_charge_state state) {
    assert(charge->state != RP_CHARGE_NONE);
    shift(ledger, charge->device, charge->state, charge->bytes, state, charge->bytes);
    charge->state = (uint8_t)state;
}

void rp_ledger_correct(struct rp_ledger *ledger, struct rp_charge *charge, uint64_t bytes) {
    assert(charge->state != RP_CHARGE_NONE);
    shift(ledger, charge->device, charge->state, charge->bytes, charge->state, bytes);
    charge->bytes = bytes;
}

void rp_ledger_drop(struct rp_ledger *ledger, struct rp_charge *charge) {
    if (charge->state == RP_CHARGE_NONE) return;
    shift(ledger, charge->device, charge->state, charge->bytes, RP_CHARGE_NONE, 0);
    *charge = (struct rp_charge){0};
}

/* What the meter may be off by: the heap of the process breathes. */
static uint64_t tolerance(uint64_t bytes) {
    return RP_LEDGER_NOISE_BYTES + bytes / 16;
}

/* A place for bytes that are waited for; when all are taken they join the last one. */
static struct rp_unseen *unseen_slot(struct rp_ledger_device *device) {
    if (device->unseen_count < RP_LEDGER_UNSEEN_MAX) {
        struct rp_unseen *slot = &device->unseen[device->unseen_count++];
        *slot = (struct rp_unseen){.level_bytes = UINT64_MAX};
        return slot;
    }
    return &device->unseen[RP_LEDGER_UNSEEN_MAX - 1];
}

/* What left the meter's sight: the levels of others that are waited for stand lower by it. */
static void level_fell(struct rp_ledger_device *device, uint64_t bytes) {
    for (uint32_t i = 0; i < device->unseen_count; i++) {
        device->unseen[i].level_bytes = less(device->unseen[i].level_bytes, bytes);
    }
}

uint64_t rp_ledger_unload(struct rp_ledger *ledger, struct rp_charge *charge, uint64_t before,
                          uint64_t after, int64_t now_ns) {
    if (charge->state == RP_CHARGE_NONE) return 0;
    struct rp_ledger_device *device = &ledger->devices[charge->device];
    uint64_t bytes = charge->bytes;
    uint64_t expected = least(charge->arrived_bytes, bytes);
    if (before == RP_UNKNOWN_U64 || after == RP_UNKNOWN_U64) expected = 0;
    uint64_t returned = least(less(before, after), expected);
    if (returned > 0) level_fell(device, returned);
    uint64_t missing = expected - returned;
    if (missing <= tolerance(expected)) {
        rp_ledger_drop(ledger, charge);
        return bytes;
    }
    struct rp_unseen *slot = unseen_slot(device);
    if (slot->is_lost) { /* the last of many: it is waited for anew */
        shift(ledger, charge->device, RP_CHARGE_LOST, slot->bytes, RP_CHARGE_UNSEEN, slot->bytes);
        slot->is_lost = false;
    }
    shift(ledger, charge->device, charge->state, bytes, RP_CHARGE_UNSEEN, missing);
    slot->bytes += missing;
    slot->since_ns = now_ns;
    slot->level_bytes = least(slot->level_bytes, less(add(after, tolerance(expected)), missing));
    *charge = (struct rp_charge){0};
    return bytes - missing;
}

uint64_t rp_ledger_look(struct rp_ledger *ledger, uint16_t index, uint64_t level_bytes,
                        int64_t now_ns) {
    struct rp_ledger_device *device = &ledger->devices[index];
    uint64_t back = 0;
    for (uint32_t i = 0; i < device->unseen_count;) {
        struct rp_unseen *slot = &device->unseen[i];
        if (level_bytes != RP_UNKNOWN_U64 && level_bytes <= slot->level_bytes) {
            uint64_t bytes = slot->bytes;
            back += bytes;
            shift(ledger, index, slot->is_lost ? RP_CHARGE_LOST : RP_CHARGE_UNSEEN, bytes,
                  RP_CHARGE_NONE, 0);
            *slot = device->unseen[--device->unseen_count];
            level_fell(device, bytes);
            continue;
        }
        if (!slot->is_lost && now_ns - slot->since_ns >= RP_LEDGER_UNSEEN_NS) {
            slot->is_lost = true;
            shift(ledger, index, RP_CHARGE_UNSEEN, slot->bytes, RP_CHARGE_LOST, slot->bytes);
        }
        i++;
    }
    return back;
}

void rp_ledger_level_rose(struct rp_ledger *ledger, uint16_t index, uint64_t bytes) {
    struct rp_ledger_device *device = &ledger->devices[index];
    for (uint32_t i = 0; i < device->unseen_count; i++) {
        device->unseen[i].level_bytes = add(device->unseen[i].level_bytes, bytes);
    }
}

int64_t rp_ledger_next_loss_ns(const struct rp_ledger *ledger) {
    int64_t next_ns = INT64_MAX;
    for (size_t i = 0; i < ledger->count; i++) {
        const struct rp_ledger_device *device = &ledger->devices[i];
        for (uint32_t j = 0; j < device->unseen_count; j++) {
            int64_t loss_ns = device->unseen[j].since_ns + RP_LEDGER_UNSEEN_NS;
            if (!device->unseen[j].is_lost && loss_ns < next_ns) next_ns = loss_ns;
        }
    }
    return next_ns;
}

static uint64_t scaled(const struct rp_ledger *ledger, uint64_t bytes) {
    if (bytes == RP_UNKNOWN_U64) return bytes;
    return bytes / 100 * ledger->budget_percent + bytes % 100 * ledger->budget_percent / 100;
}

/* What the device allows beside those who are no part of the pool. */
static uint64_t allowed(const struct rp_ledger_device *device) {
    uint64_t bytes = device->limit_bytes;
    return bytes == RP_UNKNOWN_U64 ? bytes : less(bytes, device->outside_bytes);
}

uint64_t rp_ledger_budget(const struct rp_ledger *ledger, uint16_t index) {
    const struct rp_ledger_device *device = &ledger->devices[index];
    return scaled(ledger, least(device->budget_bytes, allowed(device)));
}

uint64_t rp_ledger_budget_all(const struct rp_ledger *ledger) {
    return scaled(ledger, ledger->budget_bytes);
}

/* What is promised or held and not on its way out. */
static uint64_t staying(const uint64_t sums[RP_CHARGE_STATES]) {
    return add(add(sums[RP_CHARGE_RESERVED], sums[RP_CHARGE_LOADING]), sums[RP_CHARGE_RESIDENT]);
}

/* How much of `bytes` does not fit beside what stays; a limit that is not known limits nothing. */
static uint64_t over(uint64_t bytes, uint64_t stays, uint64_t limit) {
    return limit == RP_UNKNOWN_U64 ? 0 : less(add(stays, bytes), limit);
}

struct rp_shortage rp_ledger_shortage(const struct rp_ledger *ledger, uint16_t index,
                                      uint64_t bytes, uint64_t usable_bytes) {
    const struct rp_ledger_device *device = &ledger->devices[index];
    const uint64_t *sums = device->sums;
    uint64_t budget = rp_ledger_budget(ledger, index);
    uint64_t budget_all = rp_ledger_budget_all(ledger);
    /* Others come and go: what fits without them has only to wait. */
    uint64_t most = scaled(ledger, least(device->budget_bytes, device->limit_bytes));
    struct rp_shortage shortage = {
        .device_bytes = over(bytes, staying(sums), budget),
        .all_bytes = over(bytes, staying(ledger->sums), budget_all),
        .is_never = bytes > most || bytes > budget_all,
    };
    if (usable_bytes != RP_UNKNOWN_U64) {
        /* What was promised to others has not arrived yet, what leaves has not left. */
        uint64_t arriving = add(sums[RP_CHARGE_RESERVED], sums[RP_CHARGE_LOADING]);
        uint64_t leaving = add(sums[RP_CHARGE_UNLOADING], sums[RP_CHARGE_UNSEEN]);
        uint64_t measured = less(add(arriving, bytes), add(usable_bytes, leaving));
        if (measured > shortage.device_bytes) {
            shortage.device_bytes = measured;
            shortage.is_measured = true;
        }
    }
    return shortage;
}

bool rp_ledger_may_begin(const struct rp_ledger *ledger, const struct rp_charge *charge) {
    const uint64_t *sums = ledger->devices[charge->device].sums;
    /* Only what is on its way out is worth waiting for. */
    bool is_clear =
        sums[RP_CHARGE_UNLOADING] + sums[RP_CHARGE_UNSEEN] == 0 ||
        over(charge->bytes, present(sums), rp_ledger_budget(ledger, charge->device)) == 0;
    bool is_clear_all =
        ledger->sums[RP_CHARGE_UNLOADING] + ledger->sums[RP_CHARGE_UNSEEN] == 0 ||
        over(charge->bytes, present(ledger->sums), rp_ledger_budget_all(ledger)) == 0;
    return is_clear && is_clear_all;
}

uint64_t rp_ledger_begin(struct rp_ledger *ledger, uint16_t index) {
    struct rp_ledger_device *device = &ledger->devices[index];
    /* One that begins beside others is not alone, and neither are they. */
    device->activity += device->active_count == 0 ? 1 : 2;
    if (device->active_count == 0) device->anchor_bytes = RP_UNKNOWN_U64;
    device->active_count++;
    return device->active_count == 1 ? device->activity : 0;
}

bool rp_ledger_end(struct rp_ledger *ledger, uint16_t index, uint64_t began) {
    struct rp_ledger_device *device = &ledger->devices[index];
    assert(device->active_count > 0);
    device->active_count--;
    return began == device->activity;
}

/* Whatever is charged and can be there, lost or not; promises cannot. */
static uint64_t explained(const struct rp_ledger_device *device) {
    return add(present(device->sums), device->sums[RP_CHARGE_LOST]);
}

void rp_ledger_anchor(struct rp_ledger *ledger, uint16_t index, uint64_t began,
                      uint64_t level_bytes) {
    struct rp_ledger_device *device = &ledger->devices[index];
    if (device->activity != began || level_bytes == RP_UNKNOWN_U64) return;
    /* Of what is loading, nothing has come yet. */
    device->anchor_bytes =
        less(level_bytes, less(explained(device), device->sums[RP_CHARGE_LOADING]));
}

uint64_t rp_ledger_unexplained(const struct rp_ledger *ledger, uint16_t index,
                               uint64_t level_bytes) {
    const struct rp_ledger_device *device = &ledger->devices[index];
    if (level_bytes == RP_UNKNOWN_U64 || device->anchor_bytes == RP_UNKNOWN_U64) {
        return RP_UNKNOWN_U64;
    }
    return less(level_bytes, add(device->anchor_bytes, explained(device)));
}

bool rp_ledger_is_sound(const struct rp_ledger *ledger) {
    for (int state = 0; state < RP_CHARGE_STATES; state++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < ledger->count; i++) {
            sum += ledger->devices[i].sums[state];
        }
        if (sum != ledger->sums[state]) return false;
    }
    for (size_t i = 0; i < ledger->count; i++) {
        const struct rp_ledger_device *device = &ledger->devices[i];
        uint64_t unseen = 0;
        uint64_t lost = 0;
        for (uint32_t j = 0; j < device->unseen_count; j++) {
            *(device->unseen[j].is_lost ? &lost : &unseen) += device->unseen[j].bytes;
        }
        if (unseen != device->sums[RP_CHARGE_UNSEEN]) return false;
        if (lost != device->sums[RP_CHARGE_LOST]) return false;
    }
    return true;
}
