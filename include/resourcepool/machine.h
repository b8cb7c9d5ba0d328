/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The machine: what is kept once for all processes of a user, by a broker ('rpool serve').
 *
 * Programs share models by rp_pool_options.share and the calls of pool.h; what is here serves
 * those who look after the broker, and objects that are not models.
 */
#ifndef RESOURCEPOOL_MACHINE_H
#define RESOURCEPOOL_MACHINE_H

#include <resourcepool/api.h>
#include <resourcepool/pool.h>
#include <resourcepool/request.h>
#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A way to this user's broker. Any thread. After fork() the child opens its own. */
typedef struct rp_machine rp_machine;

/** How to serve. Zero and NULL mean the default; start from RP_BROKER_OPTIONS_INIT. */
typedef struct rp_broker_options {
    size_t size;          /* sizeof(rp_broker_options)                                        */
    const char *folder;   /* where it listens; NULL: RESOURCE_POOL_BROKER, else
                             XDG_RUNTIME_DIR/resourcepool, else /tmp/resourcepool-UID         */
    int ready_fd;         /* gets the line "ready PID" once it serves; -1: none               */
    int64_t idle_exit_ms; /* it ends when nothing was leased for so long; 0: 60 s, -1: never  */
    const char *budget;   /* as of rp_pool_options                                            */
    const char *history;  /* as of rp_pool_options                                            */
    const char *name;     /* what it is for, for people: "rpool run pytest"; NULL             */
} rp_broker_options;

#define RP_BROKER_OPTIONS_INIT                                                                     \
    { sizeof(rp_broker_options), NULL, -1, 0, NULL, NULL, NULL }

/** How to reach it. Start from RP_MACHINE_OPTIONS_INIT. */
typedef struct rp_machine_options {
    size_t size;        /* sizeof(rp_machine_options)                                        */
    const char *folder; /* NULL: as for rp_broker_options                                    */
    bool no_start;      /* without a broker: RP_ERR_ABSENT, rather than one is started       */
    int64_t timeout_ms; /* for each call; 0: 10 s                                            */
} rp_machine_options;

#define RP_MACHINE_OPTIONS_INIT                                                                    \
    { sizeof(rp_machine_options), NULL, false, 0 }

RP_BEGIN_DECLS

/**
 * Be the broker, in a process of its own, until it is told to stop, is idle for long enough, or
 * gets SIGTERM or SIGINT: the first lets those who hold leases finish, the second ends at once.
 * Tells one logfmt line an event on stderr.
 *
 * RP_ERR_BUSY: another one serves there, or something else answers.
 */
RP_API RP_MUST_CHECK rp_status rp_broker_serve(const rp_broker_options *options, rp_error *err);

/**
 * Be a worker of a broker, in a process of its own: load the model that comes over the channel
 * `fd`, run it for whoever the broker names, end with the channel. Returns an exit code. What
 * `rpool serve --worker` calls; nobody else has a use for it.
 */
RP_API int rp_worker_serve(int fd);

/** RP_ERR_ABSENT: no broker is running. On RP_OK the caller's: rp_machine_close(). */
RP_API RP_MUST_CHECK rp_status rp_machine_open(const rp_machine_options *options,
                                               rp_machine **machine, rp_error *err);

/** Accepts NULL. */
RP_API void rp_machine_close(rp_machine *machine);

/**
 * What the broker holds, as JSON: broker{pid, version, socket, name, since, uptime_ms, clients},
 * totals{}, pressure{}, entries[{key, memory_bytes, method, process, ...}], loading[{key,
 * waits_for_room}], leases[{key, process, pid, command, since, age_ms}], waiters[{key, pid,
 * command, since, for}], ledger{} by device, the last of events[], failures[] and leaks[],
 * hardware and clients[] (with `all`). rp_string_free().
 */
RP_API RP_MUST_CHECK rp_status rp_machine_status(rp_machine *machine, bool all, char **json,
                                                 rp_error *err);

/**
 * Totals only, in microseconds, as JSON: {pid, requests, hits, misses, loads, load_failures,
 * evictions, entries, leases, clients, waiters, failures, leaks, memory_bytes, peak_bytes}. A
 * broker that is asked for them is not idle, so that it lasts as long as a run that counts.
 * rp_string_free().
 */
RP_API RP_MUST_CHECK rp_status rp_machine_stats(rp_machine *machine, char **json, rp_error *err);

/**
 * Say what this program is and holds, as a JSON object of at most 32 KiB: it replaces what was said
 * before, and is forgotten with the connection. One of kind "fork_server" is shown among
 * fork_servers[] of the status, and its memory_bytes in the ledger of the processor: what that
 * allows is less by them, a budget that was asked for is not. To say
 * something keeps no broker from leaving when it is idle. RP_ERR_ARGUMENT: no JSON object.
 */
RP_API RP_MUST_CHECK rp_status rp_machine_tell(rp_machine *machine, const char *json,
                                               rp_error *err);

/**
 * Take one entry out, and those that were made of it. Leased by somebody: it takes no new leases
 * and goes with its last one (cleared->leased_count); with `force` its worker is ended under them,
 * and what they run on it fails. `cleared`, which may be NULL, tells what became of it: verified
 * means that the processes that held it are gone. RP_ERR_NOT_FOUND; RP_ERR_BUSY: it is being
 * loaded.
 */
RP_API RP_MUST_CHECK rp_status rp_machine_evict(rp_machine *machine, const char *key, bool force,
                                                rp_cleared *cleared, rp_error *err);

/** The same with everything that is loaded. What is being loaded stays. */
RP_API RP_MUST_CHECK rp_status rp_machine_clear(rp_machine *machine, bool force,
                                                rp_cleared *cleared, rp_error *err);

/**
 * Load a model on another device and let the old one go, as rp_pool_move_model(): requests that
 * name no device get the new one, and who has the old one leased keeps it until the lease ends;
 * with `force` it is taken away from them, once the new one is there.
 *
 * moved_key  may be NULL; on RP_OK the key of what is there now, rp_string_free()
 * Blocks for the load, within rp_machine_options.timeout_ms. RP_ERR_NOT_FOUND, RP_ERR_UNSUPPORTED:
 * no engine loaded it; and what a load may fail with, which leaves everything as it was.
 */
RP_API RP_MUST_CHECK rp_status rp_machine_move(rp_machine *machine, const char *key,
                                               const char *device, bool force, rp_cleared *cleared,
                                               char **moved_key, rp_error *err);

/** End the broker once nothing is leased; leased by somebody: RP_ERR_BUSY, unless `force`. */
RP_API RP_MUST_CHECK rp_status rp_machine_stop(rp_machine *machine, bool force, rp_error *err);

/**
 * Say that this program asked for what the machine shares and works alone, and why: once in a
 * process, whoever finds it out first. It goes to stderr, unless RESOURCE_POOL_LOG asks for a log.
 */
RP_API void rp_machine_tell_alone(const rp_error *why);

/** Bytes that processes share, attached in this one. */
typedef struct rp_object rp_object;

/** The right, and the duty, to make an object that others wait for. */
typedef struct rp_object_build rp_object_build;

/** A part of an object that is to be published; each begins on a page. */
typedef struct rp_object_part {
    const void *data;
    size_t bytes;
} rp_object_part;

/**
 * Attach an object, or be the one who makes it.
 *
 * timeout_ms  0: as long as it takes
 * cancel      calls the wait off, and that of publishing; NULL, or outlives the build
 * object      on RP_OK, if it is there: rp_machine_object_release()
 * build       else, if this caller is to make it: rp_machine_object_publish() or _abort()
 * Exactly one of them is set.
 */
RP_API RP_MUST_CHECK rp_status rp_machine_object_get(rp_machine *machine, const char *key,
                                                     int64_t timeout_ms, rp_cancel *cancel,
                                                     rp_object **object, rp_object_build **build,
                                                     rp_error *err);

/** Publish what was made; the build is used up either way. `object` may be NULL. */
RP_API RP_MUST_CHECK rp_status rp_machine_object_publish(rp_object_build *build,
                                                         const rp_object_part *parts, size_t count,
                                                         rp_object **object, rp_error *err);

/**
 * Publish a file as an object of one part: it is mapped where it is, nothing is copied, and its
 * pages come and go with the kernel's cache. For weights that never change: only this user (or
 * root) may be able to write to it, and nobody may until the last object of it is released, since
 * a reader beyond a cut gets SIGBUS. Replacing or removing it by name is fine. The build is used up
 * either way.
 */
RP_API RP_MUST_CHECK rp_status rp_machine_object_publish_file(rp_object_build *build,
                                                              const char *path, rp_object **object,
                                                              rp_error *err);

/** It could not be made: those who wait get this error. Uses the build up. */
RP_API void rp_machine_object_abort(rp_object_build *build, const rp_error *why);

/** How many parts it has, and each, borrowed from the object; writable for this process only. */
RP_API size_t rp_object_part_count(const rp_object *object);
RP_API void *rp_object_part_data(const rp_object *object, size_t index, size_t *bytes);

/** From now on a write to it ends this process: for those who would rather know. */
RP_API rp_status rp_object_protect(rp_object *object, rp_error *err);

/**
 * Let nobody get this object any more, since what it was made of has changed: the next who asks for
 * its key makes it anew. Another one of that key, made meanwhile, stays. Who has it attached keeps
 * it, and so does this caller, until rp_machine_object_release(). Accepts NULL.
 */
RP_API void rp_machine_object_retire(rp_object *object);

/** Accepts NULL. */
RP_API void rp_machine_object_release(rp_object *object);

RP_END_DECLS

#endif
