/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the broker: what its files share. Everything here belongs to the loop's thread, but for
 * what helper threads have their own words about.
 */
#ifndef RP_MACHINE_BROKER_INSIDE_H
#define RP_MACHINE_BROKER_INSIDE_H

#include "base/limits.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/table.h"
#include "failure/own.h"
#include "machine/broker.h"
#include "machine/claim.h"
#include "pool/entry.h"

#include <event2/event.h>
#include <resourcepool/lease.h>
#include <resourcepool/log.h>
#include <resourcepool/request.h>
#include <resourcepool/statistics.h>

/* Work for a helper thread, and what follows from it in the loop. */
struct rp_task {
    void (*work)(void *user);
    void (*done)(void *user); /* NULL: nothing */
    void *user;
    struct rp_task *next;
};

/* Tasks, first in first out. */
struct rp_tasks {
    struct rp_task *first;
    struct rp_task **last;
};

/* An answer that a client has no room for yet. */
struct rp_unread {
    struct rp_unread *next;
    struct rp_descriptors descriptors;
    size_t bytes;
    char frame[];
};

struct rp_broker_lease {
    uint64_t id;
    uint32_t number; /* of the request that it answered */
    struct rp_broker_client *client;
    rp_lease *ticket; /* of the pool */
    bool is_hit;      /* no load was begun for it */
    uint64_t thread;  /* of the client, that asked for it; 0: unknown */
    bool has_ring;
    uint64_t ring_id;
    int64_t since_wall_ns;
    struct rp_broker_lease *next; /* of the client */
    struct rp_broker_lease **link;
    struct rp_task give_back;
};

/* A request that waits for a load. */
struct rp_broker_wait {
    struct rp_broker_client *client;
    uint32_t number;
    uint64_t thread; /* of the client; 0: unknown */
    struct rp_broker_job *job;
    int64_t deadline_ns; /* RP_NEVER_NS: none */
    int64_t since_wall_ns;
    struct event *alarm;         /* NULL: none */
    struct rp_broker_wait *next; /* of the job */
    struct rp_broker_wait **link;
};

/* One load, on a thread of its own, and all who wait for it. */
struct rp_broker_job {
    struct rp_broker *broker;
    struct rp_message asked; /* texts in `frame` */
    char *frame;
    rp_cancel *cancel;
    int64_t timeout_ms; /* of the one who waits longest; 0: as long as it takes */
    bool is_abandoned;  /* nobody waits any more */
    struct rp_broker_wait *waits;
    struct rp_task task;
    struct rp_broker_job *next;
    struct rp_broker_job **link;

    _Atomic pid_t thread_id; /* relaxed; 0: it has not begun */

    /* The thread's, until it is done. */
    rp_lease *ticket;
    bool is_hit;
    rp_status status;
    rp_error why;
    struct rp_explanation explanation; /* of `why` */
};

struct rp_broker_order;

/* What went wrong for somebody, for people: the last ones, by number. */
enum { RP_BROKER_NOTES_KEPT = 32 };

struct rp_broker_note {
    uint64_t number;                           /* 1 for the first */
    int64_t wall_ns;                           /* of the latest, where there were several */
    rp_status status;                          /* of a failure */
    int64_t first_wall_ns;                     /* likewise */
    uint64_t met_count;                        /* likewise: how many requests met it */
    char device[RP_LIMIT_DEVICE_BYTES];        /* likewise, as asked for; "": any, or not known */
    char hint[sizeof((rp_error *)NULL)->hint]; /* likewise */
    struct rp_explanation explanation;         /* likewise */
    pid_t pid;                                 /* of a leak */
    size_t leases;                             /* of a leak */
    char name[128]; /* of what was asked for, or leased; cut when longer */
    char message[sizeof(((rp_error *)NULL)->message)]; /* of a leak: the process's command */
};

struct rp_broker_notes {
    struct rp_broker_note rows[RP_BROKER_NOTES_KEPT];
    uint64_t count;
};

/* What a helper thread saw of the pool: zero it, rp_broker_look_fini(). */
struct rp_broker_look {
    uint64_t budget_bytes;      /* of all devices together; RP_UNKNOWN_U64: none */
    uint64_t fork_server_bytes; /* as the ledger has it */
    rp_totals totals;
    char *pool_json;   /* NULL: totals only */
    json_t *events;    /* the last ones, oldest first */
    json_t *loads;     /* under way */
    json_t *models[2]; /* by key: of entries that stay, of those that go with their last lease */
};

struct rp_broker_client {
    struct rp_broker *broker;
    int fd;
    pid_t pid;
    uint64_t started_ticks; /* of the process, since boot; tells pids that came round; 0: unknown */
    char command[RP_LIMIT_COMMAND_BYTES + 1];
    bool has_said_hello;
    bool is_ending; /* once its answers have left */
    bool is_broken; /* at once */
    int64_t since_wall_ns;
    struct event *readable;
    struct event *writable;
    struct rp_unread *unread;
    struct rp_unread **unread_last;
    size_t unread_bytes;
    struct rp_broker_lease *leases;
    size_t lease_count;
    uint64_t kept_rings[RP_LIMIT_CLIENT_RINGS]; /* for its next leases; oldest first */
    size_t kept_count;
    size_t wait_count;
    json_t *told; /* what it says of itself; NULL: nothing */
    struct rp_broker_client *next;
    struct rp_broker_client **link;
};

struct rp_broker {
    /* Constant once it serves. */
    rp_broker_options options;
    struct rp_broker_host host;
    struct rp_broker_store store_ops;
    void *store;
    struct rp_claim claim;
    rp_pool *pool;
    int64_t idle_exit_ms;
    int64_t start_ns;
    int64_t start_wall_ns;
    struct rp_logger logger;

    struct event_base *base;
    struct event *accepting;
    struct event *accept_again;
    struct event *folder_changed; /* NULL: a lost folder goes unnoticed */
    struct event *look_at_folder; /* a moment later: whoever removes it gets done first */
    struct event *posted_event;
    struct event *idle_alarm;
    struct event *terminate;
    struct event *interrupt;
    char *frame; /* what is being received */
    struct rp_broker_client *clients;
    size_t client_count;
    struct rp_table leases; /* id -> struct rp_broker_lease * */
    size_t lease_count;
    struct rp_broker_job *jobs;
    size_t job_count;
    struct rp_broker_order *orders;
    uint64_t last_id;
    int64_t idle_since_ns;
    uint64_t fork_server_bytes; /* of clients that say they are such, as the ledger will have it */
    struct rp_broker_notes failures; /* requests that were not fulfilled               */
    struct rp_broker_notes leaks;    /* clients that went without giving leases back   */
    int watching_fd;                 /* inotify of the folder; -1: none                */
    bool is_draining;
    bool is_over;

    /* Helper threads. */
    bool has_threads; /* the loop's: the housekeeper was started */
    int posted_fd;    /* wakes the loop */
    struct rp_task room_look;
    struct rp_task death_look;
    struct rp_lock lock;
    struct rp_condition changed;
    struct rp_tasks posted;     /* done: for the loop; guarded by lock */
    struct rp_tasks chores;     /* for the housekeeper; guarded by lock */
    size_t thread_count;        /* guarded by lock */
    bool is_room_look_posted;   /* guarded by lock */
    bool is_death_look_posted;  /* guarded by lock */
    bool is_housekeeper_to_end; /* guarded by lock */
};

/* ---- broker_threads.c ---- */

bool rp_broker_threads_open(struct rp_broker *broker, rp_error *err);

/* Wait for helper threads up to the deadline; false when some are left. */
bool rp_broker_threads_close(struct rp_broker *broker, int64_t deadline_ns);

/* `task` lives until it is done. On a thread of its own; false: none could be had. */
bool rp_broker_start_thread(struct rp_broker *broker, struct rp_task *task);

/* After what the housekeeper was given before. */
void rp_broker_add_chore(struct rp_broker *broker, struct rp_task *task);

/* `done` runs in the loop, soon, unless that is ahead already: *is_posted, guarded by broker.lock,
 * which `done` clears. `task` is the broker's. From any thread, under any lock but that one. */
void rp_broker_post_once(struct rp_broker *broker, struct rp_task *task, bool *is_posted,
                         void (*done)(void *broker));

/* Run what helper threads have done. In the loop. */
void rp_broker_run_posted(struct rp_broker *broker);

/* ---- broker_clients.c ---- */

void rp_broker_accept(struct rp_broker *broker);

/* Forget a client: everything it leased is given back. */
void rp_broker_drop(struct rp_broker_client *client, const char *why);

/* ---- broker_leases.c ---- */

void rp_broker_handle_acquire(struct rp_broker_client *client, const struct rp_message *message,
                              const void *frame, size_t bytes);
void rp_broker_handle_cancel(struct rp_broker_client *client, uint32_t number);

/* False when it is none of the client's. */
bool rp_broker_give_back(struct rp_broker_client *client, uint64_t lease_id, bool keeps_ring);

/* A ring that the client no longer keeps; one that it does not keep is none of its. */
void rp_broker_close_ring(struct rp_broker_client *client, uint64_t ring_id);
void rp_broker_give_back_all(struct rp_broker_client *client);

/* Take every lease on that key (NULL: every lease) away from whoever has it. */
void rp_broker_revoke(struct rp_broker *broker, const char *key);

/* The requests of a client that wait are forgotten. */
void rp_broker_forget_waits(struct rp_broker_client *client);

/* Every load is called off; who waits is told so. */
void rp_broker_call_off_all(struct rp_broker *broker);

/* What the pool calls when a request begins to wait for room: rp_broker_look_for_room() follows. */
void rp_broker_note_room_wait(void *user);

/*
 * Those who wait for room may be waiting for each other's leases: then the one who came last is
 * told so, with RP_ERR_CYCLE.
 */
void rp_broker_look_for_room(struct rp_broker *broker);

/* What a request waits for, for people. */
const char *rp_broker_wait_reason(const struct rp_broker_job *job);

/* Fill in `request` from a frame; texts are borrowed from it. */
rp_request rp_broker_request_of(const struct rp_message *message);

/* ---- broker_told.c ---- */

/* TELL: what a client says of itself, until it says something else or goes. */
void rp_broker_handle_told(struct rp_broker_client *client, const struct rp_message *message);

/* A client goes, and with it what it has said. */
void rp_broker_forget_told(struct rp_broker_client *client);

/* Into a document of the status: fork_servers[], and what they hold into its ledger. */
void rp_broker_put_told(const struct rp_broker *broker, const struct rp_broker_look *look,
                        json_t *document);

/* Since when, as a time and as an age, into a row. */
void rp_broker_put_since(json_t *row, int64_t wall_ns);

/* ---- broker_orders.c ---- */

/* STATUS, STATS, EVICT, CLEAR, MOVE, STOP. */
void rp_broker_handle_order(struct rp_broker_client *client, const struct rp_message *message);

/* Nobody is there any more for the answers to a client's orders. */
void rp_broker_forget_orders(const struct rp_broker_client *client);

/* The process that holds an entry's model; *is_alone, which may be NULL: and no other. 0: none.
 * Needs pool.lock. */
pid_t rp_broker_process_of(const struct rp_broker *broker, const struct rp_entry *entry,
                           bool *is_alone);

/* ---- broker_folder.c ---- */

/* Notice when the socket's file goes, and claim the address anew. False: no memory. */
bool rp_broker_watch_folder(struct rp_broker *broker);
void rp_broker_unwatch_folder(struct rp_broker *broker);

/* ---- broker_dead.c ---- */

/* What the host calls when a model has died; its entry leaves the pool soon. From any thread. */
void rp_broker_note_death(void *user);

/* As rp_memory_looker, of a broker. */
void rp_broker_look_at_memory(void *user, pid_t process, const char *path,
                              struct rp_memory_look *look);

/* A death that the loop met: it is explained on the housekeeper, and noted then. */
void rp_broker_note_dead_key(struct rp_broker *broker, const char *key, const char *device,
                             const rp_error *story);

/* ---- broker_tell.c ---- */

/* On a helper thread. `is_whole`: with all that STATUS tells. */
RP_MUST_CHECK rp_status rp_broker_look_take(struct rp_broker *broker, bool is_whole,
                                            struct rp_broker_look *look, rp_error *err);
void rp_broker_look_fini(struct rp_broker_look *look);

/* The documents; NULL without memory. */
json_t *rp_broker_tell_status(struct rp_broker *broker, const struct rp_broker_look *look,
                              bool all);
json_t *rp_broker_tell_stats(const struct rp_broker *broker, const struct rp_broker_look *look);

/* What was not fulfilled, for whom. Texts are borrowed for the call. */
struct rp_broker_failure {
    const char *name;
    const char *device; /* NULL: any, or not known  */
    const rp_error *why;
    const struct rp_explanation *explanation; /* NULL: nobody explained it */
    size_t met_count;                         /* how many requests met it */
};

/* Requests were not fulfilled. One that is remembered already is counted again. In the loop. */
void rp_broker_note_failure(struct rp_broker *broker, const struct rp_broker_failure *failure);

/* A client has gone, perhaps with leases. */
void rp_broker_note_leaks(const struct rp_broker_client *client);

/* ---- broker.c ---- */

/* Leases, loads, objects: what keeps it from being idle. */
bool rp_broker_is_used(const struct rp_broker *broker);

/* Listen at the claim's socket; false without memory. */
bool rp_broker_listen(struct rp_broker *broker);

/* Something ended: it may be idle now, or done with draining. */
void rp_broker_note_end(struct rp_broker *broker);

/* No new leases; ends once nothing is used. */
void rp_broker_drain(struct rp_broker *broker, const char *why);

#endif
