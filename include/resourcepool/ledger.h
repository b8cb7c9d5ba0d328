/* SPDX-License-Identifier: Apache-2.0 */
/**
 * How many bytes are held on which device, in what state, and how many may be.
 *
 * A budget is a number of bytes that a pool does not pass on one device, or on all together. It
 * comes from rp_pool_set_budget(), else from rp_pool_options.budget, else from the environment
 * variable RESOURCE_POOL_BUDGET, and is never above what the device, its driver or a control group
 * allows: without any, that is the budget.
 */
#ifndef RESOURCEPOOL_LEDGER_H
#define RESOURCEPOOL_LEDGER_H

#include <resourcepool/api.h>
#include <stdint.h>

/*
 * One row per state of bytes: constant, number, name. They go from top to bottom; numbers never
 * change their meaning.
 */
/* clang-format off */
#define RP_CHARGE_MAP(X)          \
    X(NONE,      0, "none")       \
    X(RESERVED,  1, "reserved")   \
    X(LOADING,   2, "loading")    \
    X(RESIDENT,  3, "resident")   \
    X(UNLOADING, 4, "unloading")  \
    X(UNSEEN,    5, "unseen")     \
    X(LOST,      6, "lost")
/* clang-format on */

/**
 * What charged bytes are doing. Reserved: promised to a load that waits for others to leave.
 * Unseen: unloaded, but not seen to have come back yet. Lost: not seen for 2 s; shown, but no
 * longer in the way.
 */
typedef enum rp_charge_state {
#define RP_CHARGE_ENUM(constant, number, name) RP_CHARGE_##constant = number,
    RP_CHARGE_MAP(RP_CHARGE_ENUM)
#undef RP_CHARGE_ENUM
} rp_charge_state;

enum { RP_CHARGE_STATES = 7 };

/** One device in the ledger of a pool. Texts are borrowed from the snapshot it stands in. */
typedef struct rp_ledger_info {
    const char *device;     /* "cpu", "cuda:0"                                        */
    uint64_t budget_bytes;  /* what may be held there; RP_UNKNOWN_U64: no limit known */
    uint64_t charged_bytes; /* in all states but lost                                 */
    uint64_t peak_bytes;    /* the most that was                                      */
    uint64_t usable_bytes;  /* what the device could still give; RP_UNKNOWN_U64       */
    uint64_t in_state_bytes[RP_CHARGE_STATES]; /* by rp_charge_state                        */
} rp_ledger_info;

RP_BEGIN_DECLS

/** "reserved", "resident", ...; NULL for a stranger. Static storage. */
RP_API const char *rp_charge_state_name(rp_charge_state state);

RP_END_DECLS

#endif
