/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/crashes.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"

#include <stddef.h>
#include <string.h>

enum {
    KEPT_MAX = 64,       /* models; the one that crashed longest ago is forgotten for a new one */
    CRASHES_ALLOWED = 2, /* before one is held back */
    HELD_S = 30,         /* the first time */
    HELD_S_MAX = 600,
    FORGOTTEN_S = 600, /* after its last crash, or after it was let go */
};

#define NS_PER_S INT64_C(1000000000)

struct rp_crash {
    struct rp_crash *next;
    uint32_t count; /* alone */
    int64_t last_ns;
    int64_t held_until_ns;
    char story[sizeof((rp_error *)0)->message];
    char path[]; /* of the model */
};

void rp_crashes_init(struct rp_crashes *crashes) {
    *crashes = (struct rp_crashes){.first = NULL};
    rp_lock_init(&crashes->lock);
}

void rp_crashes_fini(struct rp_crashes *crashes) {
    while (crashes->first) {
        struct rp_crash *next = crashes->first->next;
        rp_free(crashes->first);
        crashes->first = next;
    }
    rp_lock_fini(&crashes->lock);
}

static bool is_forgotten(const struct rp_crash *crash, int64_t now_ns) {
    int64_t last_ns = crash->last_ns > crash->held_until_ns ? crash->last_ns : crash->held_until_ns;
    return now_ns - last_ns > FORGOTTEN_S * NS_PER_S;
}

/* Take those out that are forgotten, or too many. Needs crashes.lock. */
static void forget(struct rp_crashes *crashes, size_t kept_max, int64_t now_ns) {
    size_t kept = 0;
    for (struct rp_crash **at = &crashes->first; *at;) {
        struct rp_crash *crash = *at;
        if (kept < kept_max && !is_forgotten(crash, now_ns)) {
            kept++;
            at = &crash->next;
        } else {
            *at = crash->next;
            rp_free(crash);
        }
    }
}

/* Needs crashes.lock. */
static struct rp_crash **find(struct rp_crashes *crashes, const char *path) {
    struct rp_crash **at = &crashes->first;
    while (*at && strcmp((*at)->path, path) != 0) {
        at = &(*at)->next;
    }
    return at;
}

/* The one of that path, new if need be, and off the list. Needs crashes.lock. */
static struct rp_crash *take(struct rp_crashes *crashes, const char *path) {
    struct rp_crash **at = find(crashes, path);
    struct rp_crash *crash = *at;
    if (crash) {
        *at = crash->next;
        return crash;
    }
    size_t bytes = strlen(path) + 1;
    crash = rp_alloc(sizeof *crash + bytes);
    if (crash) memcpy(crash->path, path, bytes);
    return crash;
}

void rp_crashes_add(struct rp_crashes *crashes, const char *path, bool was_alone,
                    const rp_error *story, int64_t now_ns) {
    rp_lock_acquire(&crashes->lock);
    forget(crashes, KEPT_MAX - 1, now_ns);
    struct rp_crash *crash = take(crashes, path);
    if (crash) {
        crash->next = crashes->first;
        crashes->first = crash;
        crash->last_ns = now_ns;
        memcpy(crash->story, story->message, sizeof crash->story);
        if (was_alone && ++crash->count > CRASHES_ALLOWED) {
            uint32_t doubled = crash->count - CRASHES_ALLOWED - 1;
            int64_t held_s = doubled < 5 ? (int64_t)HELD_S << doubled : HELD_S_MAX;
            if (held_s > HELD_S_MAX) held_s = HELD_S_MAX;
            crash->held_until_ns = now_ns + held_s * NS_PER_S;
        }
    }
    rp_lock_release(&crashes->lock);
}

bool rp_crashes_has(struct rp_crashes *crashes, const char *path, int64_t now_ns) {
    rp_lock_acquire(&crashes->lock);
    const struct rp_crash *crash = *find(crashes, path);
    bool has = crash && !is_forgotten(crash, now_ns);
    rp_lock_release(&crashes->lock);
    return has;
}

rp_status rp_crashes_check(struct rp_crashes *crashes, const char *path, int64_t now_ns,
                           rp_error *err) {
    rp_status status = RP_OK;
    rp_lock_acquire(&crashes->lock);
    const struct rp_crash *crash = *find(crashes, path);
    if (crash && now_ns < crash->held_until_ns) {
        long long left_s = (long long)((crash->held_until_ns - now_ns) / NS_PER_S) + 1;
        status = rp_fail(err, RP_ERR_LOAD, "held back for %lld s, its worker crashed %u times: %s",
                         left_s, (unsigned)crash->count, crash->story);
        rp_hint(err, "mend the model or its engine, and ask again then");
    }
    rp_lock_release(&crashes->lock);
    return status;
}
