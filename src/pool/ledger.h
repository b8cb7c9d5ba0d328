/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: who holds how many bytes on which device, and in what state.
 *
 *     reserved --> loading --> resident --> unloading --> (gone)
 *                                               \--> unseen --> (gone)
 *                                                       \--> lost --> (gone)
 *
 * Reserved is a promise: victims may still be on their way out. Loading begins once they are. After
 * unloading the bytes stay charged until a meter has seen them come back (unseen); what is not seen
 * for RP_LEDGER_UNSEEN_NS is lost: still shown, but it blocks no load that measured room admits.
 *
 * Pure bookkeeping: no clock, no meter, no lock of its own. Whoever owns it guards it; the pool of
 * one process and a broker for many use the same.
 */
#ifndef RP_POOL_LEDGER_H
#define RP_POOL_LEDGER_H

#include "base/limits.h"

#include <resourcepool/api.h>
#include <resourcepool/ledger.h>
#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How long bytes of an unloaded object are waited for before they are lost. */
#define RP_LEDGER_UNSEEN_NS (INT64_C(2) * 1000000000)

/* Less than this is lost in the noise of a process's own heap: it counts as seen at once. */
#define RP_LEDGER_NOISE_BYTES (UINT64_C(2) << 20)

enum { RP_LEDGER_UNSEEN_MAX = 32, RP_LEDGER_NO_DEVICE = UINT16_MAX };

/* What one object holds: embedded in the record of it. Zero is no charge. */
struct rp_charge {
    uint64_t bytes;
    uint64_t arrived_bytes; /* of these, what a meter saw arrive: so much must come back  */
    uint16_t device;        /* index in the ledger                                       */
    uint8_t state;          /* rp_charge_state                                           */
};

/* Bytes of an object that is gone, which no meter has seen come back yet. */
struct rp_unseen {
    uint64_t bytes;
    uint64_t level_bytes; /* the meter at or below which they are back */
    int64_t since_ns;
    bool is_lost;
};

struct rp_ledger_device {
    char id[RP_LIMIT_DEVICE_BYTES];
    uint64_t budget_bytes;  /* asked for; RP_UNKNOWN_U64: none                            */
    uint64_t limit_bytes;   /* what the device, its driver or a control group allows at most */
    uint64_t outside_bytes; /* of processes that are no part of the pool and say what they hold: the
                               device allows less by it, a budget that was asked for does not  */
    uint64_t sums[RP_CHARGE_STATES];
    uint64_t peak_bytes; /* the most that was there at once: all but promises and what is lost */
    struct rp_unseen unseen[RP_LEDGER_UNSEEN_MAX];
    uint32_t unseen_count;

    /* To tell whether a change of the meter has one cause: loads and unloads that run or ran. */
    uint32_t active_count;
    uint64_t activity;
    uint64_t anchor_bytes; /* what was there when the first of them began, but for what is charged;
                              RP_UNKNOWN_U64 */
};

struct rp_ledger {
    struct rp_ledger_device *devices; /* owned */
    size_t count;
    uint64_t budget_bytes; /* of all devices together; RP_UNKNOWN_U64: none */
    uint64_t sums[RP_CHARGE_STATES];
    uint64_t peak_bytes;
    uint32_t budget_percent; /* of every budget that counts now: 100, or less in low-memory mode */
};

void rp_ledger_init(struct rp_ledger *ledger);
void rp_ledger_fini(struct rp_ledger *ledger);

/* The index of the device of that id, which is added if need be; RP_LEDGER_NO_DEVICE without memory
 * or beyond RP_LIMIT_DEVICES. */
uint16_t rp_ledger_device_index(struct rp_ledger *ledger, const char *id);

/* Charge; the charge must be empty. */
void rp_ledger_charge(struct rp_ledger *ledger, struct rp_charge *charge, uint16_t device,
                      uint64_t bytes, rp_charge_state state);

/* The same bytes in another state. */
void rp_ledger_move(struct rp_ledger *ledger, struct rp_charge *charge, rp_charge_state state);

/* Another number of bytes in the same state. */
void rp_ledger_correct(struct rp_ledger *ledger, struct rp_charge *charge, uint64_t bytes);

/* The bytes are free. Accepts an empty charge. */
void rp_ledger_drop(struct rp_ledger *ledger, struct rp_charge *charge);

/*
 * The object of a charge has been unmade. `before` and `after` are what a meter of the device said
 * around it (RP_UNKNOWN_U64: there is none). What has come back is dropped; the rest is kept as
 * unseen. Returns the bytes that are free now.
 */
uint64_t rp_ledger_unload(struct rp_ledger *ledger, struct rp_charge *charge, uint64_t before,
                          uint64_t after, int64_t now_ns);

/* What a meter says now: which unseen bytes are back, and which are lost. Returns those back. */
uint64_t rp_ledger_look(struct rp_ledger *ledger, uint16_t device, uint64_t level_bytes,
                        int64_t now_ns);

/* A load was seen to move the meter by itself: what was expected to come back stands higher. */
void rp_ledger_level_rose(struct rp_ledger *ledger, uint16_t device, uint64_t bytes);

/* When the next unseen bytes get lost; INT64_MAX: none are waited for. */
int64_t rp_ledger_next_loss_ns(const struct rp_ledger *ledger);

/* The budget that counts now: the least of what was asked for and what is allowed beside those
 * outside; RP_UNKNOWN_U64. */
uint64_t rp_ledger_budget(const struct rp_ledger *ledger, uint16_t device);
uint64_t rp_ledger_budget_all(const struct rp_ledger *ledger);

/* How many bytes must go before `bytes` more can be promised on a device. */
struct rp_shortage {
    uint64_t device_bytes; /* on that device                                              */
    uint64_t all_bytes;    /* on any device                                               */
    bool is_measured;      /* the device's own memory is short, not only a budget         */
    bool is_never;         /* no budget could ever hold it                                */
};

/*
 * `usable_bytes`: what the device could still give, as measured; RP_UNKNOWN_U64: not known. Bytes
 * that are on their way out count as free here: rp_ledger_may_begin() waits for them.
 */
struct rp_shortage rp_ledger_shortage(const struct rp_ledger *ledger, uint16_t device,
                                      uint64_t bytes, uint64_t usable_bytes);

/* Whether a load of a reserved charge fits beside what is still on its way out. */
bool rp_ledger_may_begin(const struct rp_ledger *ledger, const struct rp_charge *charge);

/* A load or an unload begins; returns a number for rp_ledger_end(). */
uint64_t rp_ledger_begin(struct rp_ledger *ledger, uint16_t device);

/* It ended; true when no other ran on the device meanwhile, so that the meter's change is its own.
 */
bool rp_ledger_end(struct rp_ledger *ledger, uint16_t device, uint64_t began);

/* What a meter says as a load begins, alone so far: how much there is that is no load's. */
void rp_ledger_anchor(struct rp_ledger *ledger, uint16_t device, uint64_t began,
                      uint64_t level_bytes);

/*
 * Of what a meter says now, what has come since the anchor and nobody is charged for;
 * RP_UNKNOWN_U64 without meter or anchor.
 */
uint64_t rp_ledger_unexplained(const struct rp_ledger *ledger, uint16_t device,
                               uint64_t level_bytes);

/* All states but lost. */
uint64_t rp_ledger_charged(const uint64_t sums[RP_CHARGE_STATES]);

/* Whether the sums of the devices are the sums of the whole, and the unseen those of the device. */
bool rp_ledger_is_sound(const struct rp_ledger *ledger);

#endif
