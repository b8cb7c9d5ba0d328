/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's helper threads. Whatever may wait runs on one: loads, and what looks at the whole
 * pool, on a thread each; leases that are given back on the housekeeper, in order, since the last
 * one of an object that was evicted unloads it there.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "machine/broker_inside.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void add(struct rp_tasks *tasks, struct rp_task *task) {
    task->next = NULL;
    *tasks->last = task;
    tasks->last = &task->next;
}

static struct rp_task *take_all(struct rp_tasks *tasks) {
    struct rp_task *first = tasks->first;
    tasks->first = NULL;
    tasks->last = &tasks->first;
    return first;
}

/* A thread that takes no signals: those are the loop's. Returns an errno. */
static int start(void *(*run)(void *argument), void *argument) {
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0) pthread_detach(thread);
    return rc;
}

/* What is done goes to the loop. Needs broker.lock; the eventfd cannot be full. */
static void post(struct rp_broker *broker, struct rp_task *task) {
    const uint64_t one = 1;
    bool was_empty = !broker->posted.first;
    add(&broker->posted, task);
    if (was_empty && write(broker->posted_fd, &one, sizeof one) < 0) return;
}

void rp_broker_post_once(struct rp_broker *broker, struct rp_task *task, bool *is_posted,
                         void (*done)(void *broker)) {
    rp_lock_acquire(&broker->lock);
    if (!*is_posted) {
        *is_posted = true;
        *task = (struct rp_task){NULL, done, broker, NULL};
        post(broker, task);
    }
    rp_lock_release(&broker->lock);
}

static void thread_ends(struct rp_broker *broker) {
    broker->thread_count--;
    rp_condition_broadcast(&broker->changed);
    rp_lock_release(&broker->lock);
}

static void *keep_house(void *argument) {
    struct rp_broker *broker = argument;
    rp_lock_acquire(&broker->lock);
    for (;;) {
        struct rp_task *task = take_all(&broker->chores);
        if (!task && broker->is_housekeeper_to_end) break;
        if (!task) {
            rp_condition_wait(&broker->changed, &broker->lock, RP_NEVER_NS);
            continue;
        }
        rp_lock_release(&broker->lock);
        struct rp_tasks finished = {.last = &finished.first};
        while (task) {
            struct rp_task *next = task->next;
            bool is_followed = task->done != NULL;
            task->work(task->user);
            if (is_followed) add(&finished, task); /* else the task may be gone already */
            task = next;
        }
        rp_lock_acquire(&broker->lock);
        for (task = take_all(&finished); task;) {
            struct rp_task *next = task->next;
            post(broker, task);
            task = next;
        }
    }
    thread_ends(broker);
    return NULL;
}

struct start_of_thread {
    struct rp_broker *broker;
    struct rp_task *task;
};

static void *run_task(void *argument) {
    struct start_of_thread begun = *(struct start_of_thread *)argument;
    rp_free(argument);
    begun.task->work(begun.task->user);
    rp_lock_acquire(&begun.broker->lock);
    post(begun.broker, begun.task);
    thread_ends(begun.broker);
    return NULL;
}

bool rp_broker_start_thread(struct rp_broker *broker, struct rp_task *task) {
    struct start_of_thread *begun = rp_alloc(sizeof *begun);
    if (!begun) return false;
    *begun = (struct start_of_thread){broker, task};
    rp_lock_acquire(&broker->lock);
    broker->thread_count++;
    rp_lock_release(&broker->lock);
    if (start(run_task, begun) == 0) return true;
    rp_free(begun);
    rp_lock_acquire(&broker->lock);
    broker->thread_count--;
    rp_lock_release(&broker->lock);
    return false;
}

void rp_broker_add_chore(struct rp_broker *broker, struct rp_task *task) {
    rp_lock_acquire(&broker->lock);
    bool was_empty = !broker->chores.first;
    add(&broker->chores, task);
    if (was_empty) rp_condition_broadcast(&broker->changed);
    rp_lock_release(&broker->lock);
}

void rp_broker_run_posted(struct rp_broker *broker) {
    uint64_t count;
    if (read(broker->posted_fd, &count, sizeof count) < 0 && errno != EAGAIN) return;
    rp_lock_acquire(&broker->lock);
    struct rp_task *task = take_all(&broker->posted);
    rp_lock_release(&broker->lock);
    while (task) {
        struct rp_task *next = task->next;
        if (task->done) task->done(task->user);
        task = next;
    }
}

/* A deferred call of a store's. */
struct deferred {
    struct rp_task task;
    void (*work)(void *user);
    void (*done)(void *user);
    void *user;
};

static void deferred_work(void *user) {
    const struct deferred *deferred = user;
    deferred->work(deferred->user);
}

static void deferred_done(void *user) {
    struct deferred *deferred = user;
    deferred->done(deferred->user);
    rp_free(deferred);
}

bool rp_broker_defer(struct rp_broker *broker, void (*work)(void *user), void (*done)(void *user),
                     void *user) {
    struct deferred *deferred = rp_alloc(sizeof *deferred);
    if (!deferred) return false;
    *deferred = (struct deferred){{deferred_work, deferred_done, deferred, NULL}, work, done, user};
    if (rp_broker_start_thread(broker, &deferred->task)) return true;
    rp_free(deferred);
    return false;
}

bool rp_broker_threads_open(struct rp_broker *broker, rp_error *err) {
    rp_lock_init(&broker->lock);
    rp_condition_init(&broker->changed);
    broker->posted.last = &broker->posted.first;
    broker->chores.last = &broker->chores.first;
    broker->posted_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (broker->posted_fd < 0) {
        rp_fail_errno(err, "cannot make the broker's eventfd");
        return false;
    }
    broker->thread_count = 1;
    broker->has_threads = true;
    int rc = start(keep_house, broker);
    if (rc == 0) return true;
    broker->thread_count = 0;
    broker->has_threads = false;
    close(broker->posted_fd);
    errno = rc;
    rp_fail_errno(err, "cannot start the broker's housekeeper");
    return false;
}

bool rp_broker_threads_close(struct rp_broker *broker, int64_t deadline_ns) {
    bool is_in_time = true;
    rp_lock_acquire(&broker->lock);
    broker->is_housekeeper_to_end = true;
    rp_condition_broadcast(&broker->changed);
    while (broker->thread_count > 0 && is_in_time) {
        is_in_time = rp_condition_wait(&broker->changed, &broker->lock, deadline_ns);
    }
    is_in_time = broker->thread_count == 0;
    rp_lock_release(&broker->lock);
    if (!is_in_time) return false;
    rp_broker_run_posted(broker);
    rp_condition_fini(&broker->changed);
    rp_lock_fini(&broker->lock);
    return true;
}
