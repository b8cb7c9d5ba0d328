/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds and leases are in lists: there are few builds at a time, and a connection that ends has
 * all of them walked once. Keys of builds and numbers of leases are found by hash.
 *
 * A put in three steps: rp_objects_put() in the loop takes the descriptor and gives the build
 * a job; admit(), on a helper thread, checks it and asks the pool for room; admitted(), in
 * the loop again, answers. Between them only the job belongs to the helper; the build stays in the
 * registry, whoever leaves meanwhile.
 */
#include "machine/object.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/table.h"
#include "base/text.h"
#include "machine/segment.h"
#include "pool/build.h"
#include "pool/key.h"
#include "pool/pool.h"

#include <assert.h>
#include <resourcepool/lease.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    COUNT_MIN = 16,
    /* Long enough for a lease that is just coming back. Whoever made an object holds others, often
     * just those that are in its way: to wait for each other's could go on for ever. */
    ROOM_WAIT_MS = 250,
};

/* How many objects are kept. Shared by the registry and the objects, whichever ends last. */
struct tally {
    _Atomic size_t holders; /* objects, and one for the registry */
};

/* What the pool keeps: the constructor's object. */
struct kept {
    struct tally *tally;
    uint64_t size;
    int fd;
};

struct wait {
    struct wait *next;
    struct rp_objects_asker asker;
    int64_t deadline_ns;
    int64_t since_ns;
};

struct build {
    struct build *next;
    struct build *previous;
    uint64_t hash;
    uint64_t token;
    struct rp_objects_asker builder; /* client NULL: it has left */
    int64_t since_ns;
    struct job *job;    /* what was put is being kept; NULL: it is still being built */
    struct wait *first; /* those who wait, first come first */
    struct wait **end;
    size_t wait_count;
    char key[];
};

struct share {
    struct share *next;
    struct share *previous;
    struct rp_objects_asker asker;
    uint64_t id;
    int64_t since_ns;
    rp_lease *lease;
};

struct rp_objects {
    struct rp_objects_host host;
    rp_pool *pool;
    struct tally *tally;
    size_t count_max;

    struct rp_table builds; /* hash of the key -> struct build * */
    struct build *first_build;
    size_t build_count;
    size_t wait_count;

    struct rp_table shares; /* id -> struct share * */
    struct share *first_share;
    size_t share_count;
};

/* One put on its way. */
struct job {
    struct rp_objects *objects;
    struct build *build;
    rp_pool *pool;
    struct tally *tally;
    struct rp_objects_asker asker; /* client NULL: it has left */
    int fd;                        /* -1: the pool has it */
    struct rp_segment_info info;
    double made_ms; /* from its GET to its PUT */
    rp_status status;
    rp_cancel *cancel; /* fired when nobody is left who wants it */
    bool is_rubbish;   /* the sender's fault: somebody else may do better */
    rp_lease *lease;
    rp_error story;
};

static void tally_drop(struct tally *tally) {
    if (atomic_fetch_sub(&tally->holders, 1) == 1) rp_free(tally);
}

/* --- the entry in the pool ----------------------------------------------------------------- */

static void destroy_kept(void *object) {
    struct kept *kept = object;
    close(kept->fd); /* of a large one whose last holder this is: 0.1 ms a MiB */
    tally_drop(kept->tally);
    rp_free(kept);
}

/* The constructor: the bytes are there already, and become the pool's. */
static rp_status hand_over(rp_build *build, void *user, void **object, rp_error *err) {
    struct job *job = user;
    struct kept *kept = rp_alloc(sizeof *kept);
    if (!kept) return rp_fail(err, RP_ERR_MEMORY, "no memory to keep an object");
    atomic_fetch_add(&job->tally->holders, 1);
    *kept = (struct kept){job->tally, job->info.size, job->fd};
    job->fd = -1;
    build->elsewhere_ms = job->made_ms;
    /* Pages of a plain file come and go with the kernel's cache. */
    rp_build_set_bytes(build, job->info.is_file ? 0 : job->info.size);
    *object = kept;
    return RP_OK;
}

static rp_request request_for(const char *key) {
    rp_request request = RP_REQUEST_INIT;
    request.type = "object";
    request.name = key;
    request.device = "cpu";
    return request;
}

/* Whether the pool has it: a look, so that a first request is not counted as two misses. */
static bool is_in_pool(rp_pool *pool, const rp_request *request) {
    struct rp_key_parts parts = {
        .kind = RP_KIND_RESOURCE,
        .type = request->type,
        .name = request->name,
        .device = request->device,
    };
    rp_lock_acquire(&pool->lock);
    bool is_there = rp_pool_find_request(pool, &parts) != NULL;
    rp_lock_release(&pool->lock);
    return is_there;
}

/* On a helper thread: nothing but the job is touched. */
static void admit(void *argument) {
    struct job *job = argument;
    job->status = rp_segment_check(job->fd, &job->info, &job->story);
    job->is_rubbish = job->status != RP_OK;
    if (job->status != RP_OK) return;
    rp_request request = request_for(job->build->key);
    request.construct = hand_over;
    request.destroy = destroy_kept;
    request.user = job;
    request.cancel = job->cancel;
    request.timeout_ms = ROOM_WAIT_MS;
    request.memory_bytes = job->info.is_file ? 0 : job->info.size;
    job->status = rp_pool_get_present(job->pool, &request, &job->lease, &job->story);
    /* The time was ours, not that of those who wait for it. */
    if (job->status == RP_ERR_TIMEOUT) job->status = job->story.status = RP_ERR_CAPACITY;
}

/* --- builds and waits ---------------------------------------------------------------------- */

static struct build *find_build(const struct rp_objects *objects, const char *key, uint64_t hash) {
    struct rp_table_probe at = rp_table_find(&objects->builds, hash);
    for (; at.value; at = rp_table_find_next(&objects->builds, at)) {
        struct build *build = at.value;
        if (strcmp(build->key, key) == 0) return build;
    }
    return NULL;
}

static struct build *find_token(const struct rp_objects *objects, const void *client,
                                uint64_t token) {
    for (struct build *build = objects->first_build; build; build = build->next) {
        if (build->token == token && build->builder.client == client && !build->job) {
            return build;
        }
    }
    return NULL;
}

/* NULL without memory. */
static struct build *add_build(struct rp_objects *objects, const char *key, uint64_t hash) {
    size_t length = strlen(key);
    struct build *build = rp_alloc(sizeof *build + length + 1);
    if (!build || !rp_table_reserve(&objects->builds)) {
        rp_free(build);
        return NULL;
    }
    memcpy(build->key, key, length + 1);
    build->hash = hash;
    build->end = &build->first;
    build->next = objects->first_build;
    if (build->next) build->next->previous = build;
    objects->first_build = build;
    rp_table_insert(&objects->builds, hash, build);
    objects->build_count++;
    return build;
}

static void remove_build(struct rp_objects *objects, struct build *build) {
    assert(!build->first);
    rp_table_remove(&objects->builds, build->hash, build);
    if (build->next) build->next->previous = build->previous;
    *(build->previous ? &build->previous->next : &objects->first_build) = build->next;
    objects->build_count--;
    rp_free(build);
}

/* Take out the first wait; false when there is none. */
static bool pop_wait(struct rp_objects *objects, struct build *build,
                     struct rp_objects_asker *asker) {
    struct wait *wait = build->first;
    if (!wait) return false;
    *asker = wait->asker;
    build->first = wait->next;
    if (!build->first) build->end = &build->first;
    build->wait_count--;
    objects->wait_count--;
    rp_free(wait);
    return true;
}

/* Take out a wait that `at` points to, as its successor's place then does. */
static void remove_wait(struct rp_objects *objects, struct build *build, struct wait **at) {
    struct wait *wait = *at;
    *at = wait->next;
    if (build->end == &wait->next) build->end = at;
    build->wait_count--;
    objects->wait_count--;
    rp_free(wait);
}

static void fail_asker(struct rp_objects *objects, struct rp_objects_asker asker,
                       const rp_error *why) {
    objects->host.fail(objects->host.user, asker, why);
}

static void let_build(struct rp_objects *objects, struct build *build,
                      struct rp_objects_asker asker) {
    build->builder = asker;
    build->token = objects->host.next_id(objects->host.user);
    build->since_ns = rp_clock_ns();
    objects->host.build(objects->host.user, asker, build->token);
}

/* The next who waits builds; without one, the build is over. */
static void pass_on(struct rp_objects *objects, struct build *build) {
    struct rp_objects_asker next;
    if (pop_wait(objects, build, &next)) {
        let_build(objects, build, next);
    } else {
        remove_build(objects, build);
    }
}

/* Everybody who waits gets the story, and the build is over. */
static void fail_build(struct rp_objects *objects, struct build *build, const rp_error *why) {
    struct rp_objects_asker asker;
    while (pop_wait(objects, build, &asker)) {
        fail_asker(objects, asker, why);
    }
    remove_build(objects, build);
}

static rp_status add_wait(struct rp_objects *objects, struct build *build,
                          struct rp_objects_asker asker, int64_t deadline_ns, rp_error *err) {
    if (objects->wait_count >= RP_LIMIT_OBJECT_WAITS) {
        return rp_fail(err, RP_ERR_LIMIT, "%zu requests wait for objects already, the most allowed",
                       objects->wait_count);
    }
    struct wait *wait = rp_alloc(sizeof *wait);
    if (!wait) return rp_fail(err, RP_ERR_MEMORY, "no memory to wait for object '%s'", build->key);
    wait->asker = asker;
    wait->deadline_ns = deadline_ns;
    wait->since_ns = rp_clock_ns();
    *build->end = wait;
    build->end = &wait->next;
    build->wait_count++;
    objects->wait_count++;
    return RP_OK;
}

/* --- circles ------------------------------------------------------------------------------- */

enum { CIRCLE_MAX = 64 }; /* longer ones are left to their deadlines */

static bool is_thread(struct rp_objects_asker asker, struct rp_objects_asker other) {
    return asker.thread != 0 && asker.client == other.client && asker.thread == other.thread;
}

/* What this thread waits for; NULL: nothing. */
static const struct build *awaited_by(const struct rp_objects *objects,
                                      struct rp_objects_asker asker) {
    for (const struct build *build = objects->first_build; build; build = build->next) {
        for (const struct wait *wait = build->first; wait; wait = wait->next) {
            if (is_thread(wait->asker, asker)) return build;
        }
    }
    return NULL;
}

static void tell_link(const struct rp_objects *objects, struct rp_objects_asker builder,
                      const char *key, struct rp_text *text) {
    const struct rp_objects_host *host = &objects->host;
    rp_text_print(text, "%sprocess %d ('%.40s') builds '%.40s'", text->length ? ", " : "",
                  (int)host->pid(host->user, builder.client),
                  host->command(host->user, builder.client), key);
}

/*
 * Whether `build` would be waited for in vain: whoever builds it waits for an object whose builder
 * waits, and so on, until it is the asker's own turn. Each wait of a thread that builds was looked
 * at when it began, so that there is no other circle to be caught in.
 */
static rp_status check_circle(const struct rp_objects *objects, struct rp_objects_asker asker,
                              const struct build *build, rp_error *err) {
    struct rp_text who = RP_TEXT_INIT;
    const struct build *at = build;
    bool is_circle = false;
    for (int i = 0; i < CIRCLE_MAX && at && at->builder.client && !at->job && !is_circle; i++) {
        tell_link(objects, at->builder, at->key, &who);
        is_circle = is_thread(at->builder, asker);
        if (!is_circle) at = at->builder.thread ? awaited_by(objects, at->builder) : NULL;
    }
    if (is_circle) {
        rp_fail(err, RP_ERR_CYCLE,
                "'%.40s' would be waited for in vain: %s, each waiting for the one before",
                build->key, who.failed ? "(no memory to name who)" : who.bytes);
        rp_hint(err, "build one of them without asking for another meanwhile");
    }
    rp_text_fini(&who);
    return is_circle ? RP_ERR_CYCLE : RP_OK;
}

/* --- leases -------------------------------------------------------------------------------- */

/* Takes the lease over, on failure too. */
static void give_lease(struct rp_objects *objects, struct rp_objects_asker asker, rp_lease *lease) {
    struct share *share = rp_alloc(sizeof *share);
    if (!share || !rp_table_reserve(&objects->shares)) {
        rp_error why = RP_ERROR_INIT;
        rp_fail(&why, RP_ERR_MEMORY, "no memory to lease an object");
        rp_free(share);
        rp_lease_release(lease, NULL);
        fail_asker(objects, asker, &why);
        return;
    }
    share->asker = asker;
    share->id = objects->host.next_id(objects->host.user);
    share->since_ns = rp_clock_ns();
    share->lease = lease;
    share->next = objects->first_share;
    if (share->next) share->next->previous = share;
    objects->first_share = share;
    rp_table_insert(&objects->shares, XXH3_64bits(&share->id, sizeof share->id), share);
    objects->share_count++;
    const struct kept *kept = rp_lease_object(lease);
    objects->host.have(objects->host.user, asker, share->id, kept->size, kept->fd);
}

static void remove_share(struct rp_objects *objects, struct share *share) {
    rp_table_remove(&objects->shares, XXH3_64bits(&share->id, sizeof share->id), share);
    if (share->next) share->next->previous = share->previous;
    *(share->previous ? &share->previous->next : &objects->first_share) = share->next;
    objects->share_count--;
    rp_lease_release(share->lease, NULL);
    rp_free(share);
}

static struct share *find_share(const struct rp_objects *objects, uint64_t id) {
    struct rp_table_probe at = rp_table_find(&objects->shares, XXH3_64bits(&id, sizeof id));
    for (; at.value; at = rp_table_find_next(&objects->shares, at)) {
        struct share *share = at.value;
        if (share->id == id) return share;
    }
    return NULL;
}

/* A lease for one who waited, counted as the hit that it is; `lease` keeps the object there. */
static void share_out(struct rp_objects *objects, const struct build *build,
                      struct rp_objects_asker asker, rp_lease *lease) {
    rp_error why = RP_ERROR_INIT;
    rp_lease *own = NULL;
    rp_request request = request_for(build->key);
    rp_status status = rp_pool_get_resource(objects->pool, &request, &own, &why);
    /* It was evicted by name meanwhile: this one is still good. */
    if (status != RP_OK) status = rp_lease_clone(lease, &own, &why);
    if (status == RP_OK) {
        give_lease(objects, asker, own);
    } else {
        fail_asker(objects, asker, &why);
    }
}

/* --- putting ------------------------------------------------------------------------------- */

static void free_job(struct job *job) {
    rp_cancel_destroy(job->cancel);
    rp_free(job);
}

/* In the loop again: what was put is kept, or is not. */
static void admitted(void *argument) {
    struct job *job = argument;
    struct rp_objects *objects = job->objects;
    struct build *build = job->build;
    struct rp_objects_asker asker;
    assert(build->job == job);
    build->job = NULL;
    /* It may have left, or called the request off, since. */
    job->asker = build->builder;
    if (job->fd >= 0) close(job->fd);
    if (job->status != RP_OK) {
        rp_error_prefix(&job->story, "object '%s' was not kept", build->key);
        if (job->asker.client) fail_asker(objects, job->asker, &job->story);
        /* Called off when nobody wanted it: who came since builds it. */
        if (job->is_rubbish || job->status == RP_ERR_CANCELLED) {
            pass_on(objects, build);
        } else {
            fail_build(objects, build, &job->story);
        }
        free_job(job);
        return;
    }
    while (pop_wait(objects, build, &asker)) {
        share_out(objects, build, asker, job->lease);
    }
    remove_build(objects, build);
    if (job->asker.client) {
        give_lease(objects, job->asker, job->lease);
    } else {
        rp_lease_release(job->lease, NULL);
    }
    free_job(job);
}

/* It will not be answered any more, whether it was worked on or not. */
static void drop_job(struct job *job) {
    if (job->fd >= 0) close(job->fd);
    rp_lease_release(job->lease, NULL);
    free_job(job);
}

/* As many as are kept already, the registry's own share taken off. */
static size_t kept_count(const struct rp_objects *objects) {
    return atomic_load(&objects->tally->holders) - 1;
}

static rp_status start_put(struct rp_objects *objects, struct build *build, int fd, rp_error *err) {
    size_t kept = kept_count(objects);
    if (kept >= objects->count_max) {
        rp_fail(err, RP_ERR_LIMIT,
                "%zu objects are kept already, the most for a broker that may "
                "open so many files",
                kept);
        rp_hint(err, "'rpool clear' lets go of those that nobody uses");
        return RP_ERR_LIMIT;
    }
    struct job *job = rp_alloc(sizeof *job);
    if (!job) return rp_fail(err, RP_ERR_MEMORY, "no memory to keep object '%s'", build->key);
    rp_status status = rp_cancel_create(&job->cancel, err);
    if (status != RP_OK) {
        rp_free(job);
        return status;
    }
    job->objects = objects;
    job->build = build;
    job->pool = objects->pool;
    job->tally = objects->tally;
    job->fd = fd;
    job->made_ms = rp_elapsed_ms(build->since_ns, rp_clock_ns());
    build->job = job;
    if (objects->host.defer(objects->host.user, admit, admitted, job)) return RP_OK;
    build->job = NULL;
    free_job(job);
    return rp_fail(err, RP_ERR_MEMORY, "no thread to keep object '%s'", build->key);
}

void rp_objects_put(struct rp_objects *objects, struct rp_objects_asker asker, uint64_t token,
                    int fd) {
    rp_error why = RP_ERROR_INIT;
    struct build *build = find_token(objects, asker.client, token);
    if (!build) {
        rp_fail(&why, RP_ERR_STATE, "nothing is to be built by this process under the number %llu",
                (unsigned long long)token);
        rp_hint(&why, "it was published or given up before");
        close(fd);
        fail_asker(objects, asker, &why);
        return;
    }
    build->builder.number = asker.number;
    if (start_put(objects, build, fd, &why) == RP_OK) return;
    close(fd);
    fail_asker(objects, asker, &why);
    fail_build(objects, build, &why);
}

/* --- the rest ------------------------------------------------------------------------------ */

static size_t default_count_max(void) {
    struct rlimit limit;
    size_t most = RP_LIMIT_OBJECTS;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 2 < most) {
        most = (size_t)limit.rlim_cur / 2;
    }
    return most > COUNT_MIN ? most : COUNT_MIN;
}

rp_status rp_objects_open(const struct rp_objects_host *host, rp_pool *pool, size_t count_max,
                          struct rp_objects **objects, rp_error *err) {
    struct rp_objects *made = rp_alloc(sizeof *made);
    struct tally *tally = rp_alloc(sizeof *tally);
    if (!made || !tally) {
        rp_free(made);
        rp_free(tally);
        return rp_fail(err, RP_ERR_MEMORY, "no memory for the registry of objects");
    }
    atomic_init(&tally->holders, 1);
    made->host = *host;
    made->pool = pool;
    made->tally = tally;
    made->count_max = count_max > 0 ? count_max : default_count_max();
    *objects = made;
    return RP_OK;
}

void rp_objects_close(struct rp_objects *objects) {
    if (!objects) return;
    struct rp_objects_asker asker;
    while (objects->first_share) {
        remove_share(objects, objects->first_share);
    }
    while (objects->first_build) {
        struct build *build = objects->first_build;
        if (build->job) drop_job(build->job);
        while (pop_wait(objects, build, &asker)) {
        }
        remove_build(objects, build);
    }
    rp_table_fini(&objects->builds);
    rp_table_fini(&objects->shares);
    tally_drop(objects->tally);
    rp_free(objects);
}

static rp_status check_key(const char *key, rp_error *err) {
    rp_request request = request_for(key);
    struct rp_key_parts parts;
    if (!key || !key[0]) return rp_fail(err, RP_ERR_ARGUMENT, "an object needs a key");
    return rp_key_parts_of_request(RP_KIND_RESOURCE, &request, &parts, err);
}

/* --- limits of one client ------------------------------------------------------------------ */

/* Below these sums nobody can be over a limit, and nothing is counted. */
static bool may_be_over(const struct rp_objects *objects) {
    return objects->share_count >= RP_LIMIT_CLIENT_LEASES ||
           objects->wait_count + objects->build_count >= RP_LIMIT_CLIENT_REQUESTS;
}

static rp_status check_limits(const struct rp_objects *objects, const void *client, rp_error *err) {
    size_t requests = 0;
    size_t leases = 0;
    if (!may_be_over(objects)) return RP_OK;
    for (const struct build *build = objects->first_build; build; build = build->next) {
        requests += build->builder.client == client;
        for (const struct wait *wait = build->first; wait; wait = wait->next) {
            requests += wait->asker.client == client;
        }
    }
    for (const struct share *share = objects->first_share; share; share = share->next) {
        leases += share->asker.client == client;
    }
    if (requests >= RP_LIMIT_CLIENT_REQUESTS) {
        return rp_fail(err, RP_ERR_LIMIT,
                       "this process builds or waits for %zu objects, the most allowed", requests);
    }
    if (leases >= RP_LIMIT_CLIENT_LEASES) {
        return rp_fail(err, RP_ERR_LIMIT, "this process leases %zu objects, the most allowed",
                       leases);
    }
    return RP_OK;
}

/* Nobody has it and nobody makes it: the asker does. */
static rp_status begin(struct rp_objects *objects, struct rp_objects_asker asker, const char *key,
                       uint64_t hash, rp_error *err) {
    if (objects->build_count >= RP_LIMIT_OBJECT_BUILDS) {
        return rp_fail(err, RP_ERR_LIMIT, "%zu objects are being built already, the most allowed",
                       objects->build_count);
    }
    struct build *build = add_build(objects, key, hash);
    if (!build) return rp_fail(err, RP_ERR_MEMORY, "no memory for a build of object '%s'", key);
    let_build(objects, build, asker);
    return RP_OK;
}

void rp_objects_get(struct rp_objects *objects, struct rp_objects_asker asker, const char *key,
                    int64_t deadline_ns) {
    rp_error why = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    rp_status status = check_key(key, &why);
    if (status == RP_OK) status = check_limits(objects, asker.client, &why);
    uint64_t hash = status == RP_OK ? XXH3_64bits(key, strlen(key)) : 0;
    struct build *build = status == RP_OK ? find_build(objects, key, hash) : NULL;
    if (build) {
        status = check_circle(objects, asker, build, &why);
        if (status == RP_OK) status = add_wait(objects, build, asker, deadline_ns, &why);
    } else if (status == RP_OK) {
        rp_request request = request_for(key);
        status = is_in_pool(objects->pool, &request)
                     ? rp_pool_get_resource(objects->pool, &request, &lease, &why)
                     : RP_ERR_NOT_FOUND;
        if (status == RP_OK) {
            give_lease(objects, asker, lease);
        } else if (status == RP_ERR_NOT_FOUND) {
            status = begin(objects, asker, key, hash, &why);
        }
    }
    if (status != RP_OK) fail_asker(objects, asker, &why);
}

void rp_objects_abort(struct rp_objects *objects, void *client, uint64_t token,
                      const rp_error *why) {
    struct build *build = find_token(objects, client, token);
    if (!build) return;
    if (why->status == RP_ERR_CANCELLED || why->status == RP_OK) {
        pass_on(objects, build);
        return;
    }
    rp_error story = *why;
    rp_error_prefix(&story, "object '%s' could not be made by process %d", build->key,
                    (int)objects->host.pid(objects->host.user, client));
    fail_build(objects, build, &story);
}

/* All waits and the build of one that has gone; number 0: whatever it asked. */
static void forget(struct rp_objects *objects, struct rp_objects_asker asker, bool whatever) {
    struct build *next = NULL;
    for (struct build *build = objects->first_build; build; build = next) {
        next = build->next;
        for (struct wait **at = &build->first; *at;) {
            bool is_it = (*at)->asker.client == asker.client &&
                         (whatever || (*at)->asker.number == asker.number);
            if (is_it) {
                remove_wait(objects, build, at);
            } else {
                at = &(*at)->next;
            }
        }
        bool is_builder = build->builder.client == asker.client &&
                          (whatever || build->builder.number == asker.number);
        if (is_builder) build->builder.client = NULL;
        if (is_builder && !build->job) {
            pass_on(objects, build);
        } else if (build->job && !build->builder.client && !build->first) {
            rp_cancel_fire(build->job->cancel); /* it may be waiting for room */
        }
    }
    struct share *after = NULL;
    for (struct share *share = objects->first_share; share; share = after) {
        after = share->next;
        bool is_it = share->asker.client == asker.client &&
                     (whatever || share->asker.number == asker.number);
        if (is_it) remove_share(objects, share);
    }
}

void rp_objects_cancel(struct rp_objects *objects, struct rp_objects_asker asker) {
    forget(objects, asker, false);
}

void rp_objects_leave(struct rp_objects *objects, void *client) {
    forget(objects, (struct rp_objects_asker){.client = client}, true);
}

bool rp_objects_release(struct rp_objects *objects, void *client, uint64_t lease_id, bool retires) {
    struct share *share = find_share(objects, lease_id);
    if (!share || share->asker.client != client) return false;
    if (retires) rp_pool_retire(share->lease);
    remove_share(objects, share);
    return true;
}

int64_t rp_objects_next_deadline_ns(const struct rp_objects *objects) {
    int64_t next_ns = RP_NEVER_NS;
    for (const struct build *build = objects->first_build; build; build = build->next) {
        for (const struct wait *wait = build->first; wait; wait = wait->next) {
            if (wait->deadline_ns < next_ns) next_ns = wait->deadline_ns;
        }
    }
    return next_ns;
}

static void tell_late(struct rp_objects *objects, const struct build *build,
                      const struct wait *wait, int64_t now_ns) {
    rp_error why = RP_ERROR_INIT;
    double waited_ms = rp_elapsed_ms(wait->since_ns, now_ns);
    if (build->builder.client) {
        rp_fail(&why, RP_ERR_TIMEOUT,
                "object '%s' was not there after %.0f ms: process %d has been %s it for %.0f ms",
                build->key, waited_ms,
                (int)objects->host.pid(objects->host.user, build->builder.client),
                build->job ? "handing over" : "building", rp_elapsed_ms(build->since_ns, now_ns));
    } else {
        rp_fail(&why, RP_ERR_TIMEOUT, "object '%s' was not there after %.0f ms", build->key,
                waited_ms);
    }
    fail_asker(objects, wait->asker, &why);
}

void rp_objects_expire(struct rp_objects *objects, int64_t now_ns) {
    for (struct build *build = objects->first_build; build; build = build->next) {
        for (struct wait **at = &build->first; *at;) {
            if ((*at)->deadline_ns > now_ns) {
                at = &(*at)->next;
                continue;
            }
            tell_late(objects, build, *at, now_ns);
            remove_wait(objects, build, at);
        }
    }
}

void rp_objects_list(const struct rp_objects *objects, void *user,
                     void (*tell_build)(void *user, const struct rp_objects_build_info *info),
                     void (*tell_lease)(void *user, const struct rp_objects_lease_info *info)) {
    for (const struct build *build = objects->first_build; build; build = build->next) {
        struct rp_objects_build_info info = {build->key, build->builder.client, build->wait_count,
                                             build->since_ns};
        tell_build(user, &info);
    }
    for (const struct share *share = objects->first_share; share; share = share->next) {
        const struct kept *kept = rp_lease_object(share->lease);
        struct rp_objects_lease_info info = {rp_lease_key(share->lease), share->asker.client,
                                             share->id, kept->size, share->since_ns};
        tell_lease(user, &info);
    }
}

size_t rp_objects_use_count(const struct rp_objects *objects) {
    return objects->share_count + objects->build_count;
}
