/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/waits.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "pool/build.h"

#include <unistd.h>

/* How often a token asks. A person who presses Ctrl-C does not notice it. */
enum { POLL_MS = 50 };

struct rp_cancel {
    _Atomic bool is_fired;
    int (*poll)(void *user); /* constant once requests have the token; NULL */
    void *poll_user;
};

static struct rp_lock lock = {.mutex = PTHREAD_MUTEX_INITIALIZER};
static struct rp_wait *first; /* guarded by lock */
static uint64_t walk_number;  /* guarded by lock: marks the entries that one search has seen */

/*
 * Whatever is waited for has its build: who waits has it pinned.
 *
 * Search breadth first from what is to be waited for along "is loading, and needs": if that leads
 * to `goal`, return true with walk_from of each entry on the way naming the one before it.
 */
static bool leads_to(struct rp_entry *start, const struct rp_entry *goal) {
    assert(rp_lock_is_held(&lock));
    walk_number++;
    start->build->walk_number = walk_number;
    start->build->walk_from = NULL;
    start->build->walk_next = NULL;
    struct rp_entry *last = start;
    for (struct rp_entry *at = start; at; at = at->build->walk_next) {
        if (at == goal) return true;
        for (struct rp_wait *wait = first; wait; wait = wait->next) {
            struct rp_entry *next = wait->on;
            if (!wait->by || wait->by->entry != at || next->build->walk_number == walk_number)
                continue;
            next->build->walk_number = walk_number;
            next->build->walk_from = at;
            next->build->walk_next = NULL;
            last->build->walk_next = next;
            last = next;
        }
    }
    return false;
}

/* "a -> b -> c -> a" for the path that leads_to() found, whose last step closes the circle. */
static rp_status tell_cycle(const struct rp_entry *goal, rp_error *err) {
    const struct rp_entry *path[RP_LIMIT_BUILD_DEPTH];
    size_t length = 0;
    for (const struct rp_entry *at = goal; at && length < RP_LIMIT_BUILD_DEPTH;
         at = at->build->walk_from) {
        path[length++] = at;
    }
    struct rp_text text = RP_TEXT_INIT;
    assert(goal);
    rp_text_print(&text, "%s", goal->text);
    for (size_t i = length; i-- > 0;) {
        rp_text_print(&text, " -> %s", path[i]->text);
    }
    rp_fail(err, RP_ERR_CYCLE, "'%s' needs itself: %s", goal->text,
            text.failed ? "(no memory to name the others)" : text.bytes);
    rp_hint(err, "load one of them without asking the pool for the next");
    rp_text_fini(&text);
    return RP_ERR_CYCLE;
}

rp_status rp_waits_enter(struct rp_wait *wait, rp_error *err) {
    rp_status status = RP_OK;
    rp_condition_init(&wait->woken);
    wait->is_woken = false;
    wait->thread_id = gettid();
    rp_lock_acquire(&lock);
    if (wait->by && leads_to(wait->on, wait->by->entry)) {
        status = tell_cycle(wait->by->entry, err);
    } else {
        wait->previous = NULL;
        wait->next = first;
        if (first) first->previous = wait;
        first = wait;
    }
    rp_lock_release(&lock);
    if (status != RP_OK) rp_condition_fini(&wait->woken);
    return status;
}

void rp_waits_leave(struct rp_wait *wait) {
    rp_lock_acquire(&lock);
    if (wait->previous) {
        wait->previous->next = wait->next;
    } else {
        first = wait->next;
    }
    if (wait->next) wait->next->previous = wait->previous;
    rp_lock_release(&lock);
    rp_condition_fini(&wait->woken);
}

/* Ask the token, without the lock: it may give leases back, which wakes waiters. */
static rp_status poll_unlocked(const struct rp_wait *wait) {
    rp_lock_release(&lock);
    int is_off = wait->cancel->poll(wait->cancel->poll_user);
    rp_lock_acquire(&lock);
    return is_off ? RP_ERR_CANCELLED : RP_OK;
}

rp_status rp_waits_sleep(struct rp_wait *wait, int64_t deadline_ns) {
    bool has_poll = wait->cancel && wait->cancel->poll;
    rp_status status = RP_OK;
    rp_lock_acquire(&lock);
    while (!wait->is_woken && status == RP_OK) {
        int64_t until_ns = has_poll ? rp_deadline_after_ms(POLL_MS) : RP_NEVER_NS;
        bool is_last = deadline_ns <= until_ns;
        if (rp_cancel_is_fired(wait->cancel)) {
            status = RP_ERR_CANCELLED;
        } else if (!rp_condition_wait(&wait->woken, &lock, is_last ? deadline_ns : until_ns) &&
                   !wait->is_woken) {
            status = is_last ? RP_ERR_TIMEOUT : poll_unlocked(wait);
        }
    }
    wait->is_woken = false;
    rp_lock_release(&lock);
    return status;
}

void rp_waits_nudge(struct rp_wait *wait) {
    rp_lock_acquire(&lock);
    wait->is_woken = true;
    rp_condition_broadcast(&wait->woken);
    rp_lock_release(&lock);
}

bool rp_waits_thread_sleeps_on(pid_t thread_id, const struct rp_entry *entry) {
    bool found = false;
    rp_lock_acquire(&lock);
    for (struct rp_wait *wait = first; wait && !found; wait = wait->next) {
        if (wait->thread_id == thread_id) found = leads_to(wait->on, entry);
    }
    rp_lock_release(&lock);
    return found;
}

void rp_waits_wake(const struct rp_entry *entry) {
    rp_lock_acquire(&lock);
    for (struct rp_wait *wait = first; wait; wait = wait->next) {
        if (wait->on != entry) continue;
        wait->is_woken = true;
        rp_condition_broadcast(&wait->woken);
    }
    rp_lock_release(&lock);
}

bool rp_cancel_is_fired(const rp_cancel *cancel) {
    return cancel && atomic_load_explicit(&cancel->is_fired, memory_order_relaxed);
}

bool rp_cancel_ask(const rp_cancel *cancel) {
    if (!cancel) return false;
    return rp_cancel_is_fired(cancel) || (cancel->poll && cancel->poll(cancel->poll_user) != 0);
}

void rp_waits_after_fork(void) {
    rp_lock_init(&lock);
    first = NULL;
}

rp_status rp_cancel_create(rp_cancel **cancel, rp_error *err) {
    rp_cancel *made = rp_alloc(sizeof *made);
    if (!made) return rp_fail(err, RP_ERR_MEMORY, "cannot make a cancel token");
    *cancel = made;
    return RP_OK;
}

void rp_cancel_fire(rp_cancel *cancel) {
    atomic_store_explicit(&cancel->is_fired, true, memory_order_relaxed);
    rp_lock_acquire(&lock);
    for (struct rp_wait *wait = first; wait; wait = wait->next) {
        if (wait->cancel == cancel) rp_condition_broadcast(&wait->woken);
    }
    rp_lock_release(&lock);
}

void rp_cancel_set_poll(rp_cancel *cancel, int (*poll)(void *user), void *user) {
    cancel->poll = poll;
    cancel->poll_user = user;
}

void rp_cancel_destroy(rp_cancel *cancel) {
    rp_free(cancel);
}
