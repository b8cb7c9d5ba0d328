/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that shares models and objects, for tests/faults/campaign and tests/faults/kills: it
 * does what it reads, an order a line, and answers each with a line, "ok ..." or "error STATUS
 * MS MESSAGE". Whoever drives it kills it, stops it and looks at what is left.
 *
 *     lease N TIMEOUT_MS ENGINE PATH   ENGINE '-': the first that can
 *     run N                            and check the answer
 *     release N
 *     get N TIMEOUT_MS KEY             "ok object BYTES" or "ok build"
 *     publish N BYTES                  what the build N is for; then it holds the object
 *     abort N
 *     check N                          that the object is what publish wrote
 *     drop N
 *     fork N                           what a child may and may not do with the lease N
 *     linger                           a child that lives for ten minutes: "ok PID"
 *     execute                          a grandchild of another program: "ok PID"
 *     scribble SEED                    noise into every ring that this process has mapped
 *     wander SEED MODEL...             all of it at random, until the next line comes
 *     close                            everything, and the pool
 *
 * Only public headers: it is a program like any.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <resourcepool/machine.h>
#include <resourcepool/model.h>
#include <resourcepool/pool.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    SLOTS = 16,
    LINE_BYTES = 8192,
    WORDS_MAX = 32,
    WANDER_SLOTS = 4,
    WANDER_KEYS = 5,
    WANDER_TIMEOUT_MS = 60000,
    OBJECT_BYTES = 200000,
    HEAD_BYTES = 4096, /* of a ring: what a client has no business to write to is left alone */
};

static rp_pool *pool;
static rp_machine *machine;
static rp_lease *leases[SLOTS];
static rp_object *objects[SLOTS];
static rp_object_build *builds[SLOTS];
static uint64_t object_seeds[SLOTS]; /* of the key */
static uint64_t began_ms;

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static uint64_t seed_of(const char *key) {
    uint64_t seed = 0;
    for (; *key; key++) {
        seed = mix(seed + (unsigned char)*key);
    }
    return seed;
}

/* ---- answers ---- */

static void tell_error(const char *what, const rp_error *err) {
    printf("error %s %" PRIu64 " %s: %s\n", rp_status_name(err->status), now_ms() - began_ms, what,
           err->message);
}

/* Whether the call went well; if not, that was told. */
static bool went_well(const char *what, rp_status status, const rp_error *err) {
    if (status != RP_OK) tell_error(what, err);
    return status == RP_OK;
}

/* An answer that is not the right one: no fault of a neighbour's may lead to that. */
static bool is_right(bool right, const char *what) {
    if (!right) printf("wrong %s\n", what);
    return right;
}

/* ---- what it does ---- */

static rp_status open_pool(rp_error *err) {
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.share = RP_SHARE_MACHINE;
    return pool ? RP_OK : rp_pool_open(&options, &pool, err);
}

static rp_status lease(size_t slot, int64_t timeout_ms, const char *engine, const char *path,
                       rp_error *err) {
    rp_request request = RP_REQUEST_INIT;
    request.type = "model";
    request.name = path;
    request.device = "cpu";
    request.engine = strcmp(engine, "-") == 0 ? NULL : engine;
    request.timeout_ms = timeout_ms;
    rp_status status = open_pool(err);
    return status == RP_OK ? rp_pool_get_model(pool, &request, &leases[slot], err) : status;
}

/* y = x + x for two numbers, or the identity from the identity; anything simulated just runs. */
static bool is_answer(const rp_model *model, const float *x, const rp_result *result) {
    const rp_tensor *y = rp_result_tensor(result, 0);
    const float *data = y->data;
    if (rp_model_is_simulated(model)) return true;
    if (y->ndim == 1) return y->shape[0] == 2 && data[0] == x[0] + x[0] && data[1] == x[1] + x[1];
    int64_t n = y->shape[0];
    for (int64_t i = 0; i < n * n; i++) {
        if (data[i] != x[i]) return false;
    }
    return true;
}

static rp_status run(rp_model *model, uint64_t seed, bool *right, rp_error *err) {
    rp_result *result = NULL;
    if (rp_model_is_simulated(model)) {
        *right = true;
        return rp_model_run_sample(model, NULL, NULL, err);
    }
    const rp_port *port = rp_model_input(model, 0);
    bool is_matrix = port->ndim == 2;
    int64_t n = port->shape[0];
    int64_t count = is_matrix ? n * n : n;
    float *x = calloc((size_t)count, sizeof *x);
    int64_t shape[2] = {n, n};
    if (!x) return RP_ERR_MEMORY;
    rp_tensor input = {.data = x,
                       .device = {RP_TENSOR_DEVICE_CPU, 0},
                       .ndim = port->ndim,
                       .dtype = port->dtype,
                       .shape = shape};
    for (int64_t i = 0; i < n; i++) {
        x[is_matrix ? i * n + i : i] = is_matrix ? 1.0F : (float)(mix(seed + (uint64_t)i) % 1000);
    }
    rp_status status = rp_model_run(model, &input, 1, &result, err);
    if (status == RP_OK) *right = is_answer(model, x, result);
    rp_result_close(result);
    free(x);
    return status;
}

/* One whose broker has gone is of no use any more: the next one is connected to the next broker. */
static void forget_machine(rp_status status) {
    if (status != RP_ERR_STATE) return;
    rp_machine_close(machine);
    machine = NULL;
}

static rp_status get(size_t slot, int64_t timeout_ms, const char *key, rp_error *err) {
    rp_status status = machine ? RP_OK : rp_machine_open(NULL, &machine, err);
    if (status != RP_OK) return status;
    object_seeds[slot] = seed_of(key);
    status =
        rp_machine_object_get(machine, key, timeout_ms, NULL, &objects[slot], &builds[slot], err);
    forget_machine(status);
    return status;
}

static rp_status publish(size_t slot, size_t bytes, rp_error *err) {
    unsigned char *data = malloc(bytes ? bytes : 1);
    if (!data) return RP_ERR_MEMORY;
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (unsigned char)mix(object_seeds[slot] + i / 64);
    }
    const rp_object_part part = {data, bytes};
    rp_object_build *build = builds[slot];
    builds[slot] = NULL;
    rp_status status = rp_machine_object_publish(build, &part, 1, &objects[slot], err);
    forget_machine(status);
    free(data);
    return status;
}

static size_t object_bytes(size_t slot) {
    size_t bytes = 0;
    (void)rp_object_part_data(objects[slot], 0, &bytes);
    return bytes;
}

static bool is_whole(size_t slot) {
    size_t bytes = 0;
    const unsigned char *data = rp_object_part_data(objects[slot], 0, &bytes);
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] != (unsigned char)mix(object_seeds[slot] + i / 64)) return false;
    }
    return bytes > 0;
}

static void drop(size_t slot) {
    rp_machine_object_release(objects[slot]);
    objects[slot] = NULL;
}

static rp_status release(size_t slot, rp_error *err) {
    rp_lease *ticket = leases[slot];
    leases[slot] = NULL;
    return rp_lease_release(ticket, err);
}

static void let_go(void) {
    rp_error ignored = RP_ERROR_INIT;
    for (size_t i = 0; i < SLOTS; i++) {
        if (leases[i]) (void)release(i, &ignored);
        if (objects[i]) drop(i);
        rp_machine_object_abort(builds[i], NULL);
        builds[i] = NULL;
    }
}

static rp_status close_all(rp_error *err) {
    let_go();
    rp_machine_close(machine);
    machine = NULL;
    rp_status status = rp_pool_close(pool, err);
    if (status == RP_OK) pool = NULL;
    return status;
}

/* ---- children ---- */

/* In the child of a fork: what is the parent's is refused, and what it asks for itself is served.
 */
static _Noreturn void be_child(size_t slot, const char *path) {
    rp_error err = RP_ERROR_INIT;
    rp_pool *own = NULL;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    rp_request request = RP_REQUEST_INIT;
    rp_lease *ticket = NULL;
    bool right = false;
    options.share = RP_SHARE_MACHINE;
    request.type = "model";
    request.name = path;
    request.device = "cpu";
    if (run(rp_lease_model(leases[slot]), 1, &right, &err) != RP_ERR_FORKED) _exit(1);
    if (rp_lease_release(leases[slot], &err) != RP_ERR_FORKED) _exit(2);
    if (rp_pool_open(&options, &own, &err) != RP_OK) _exit(3);
    if (rp_pool_get_model(own, &request, &ticket, &err) != RP_OK) _exit(4);
    if (run(rp_lease_model(ticket), 7, &right, &err) != RP_OK || !right) _exit(5);
    if (rp_lease_release(ticket, &err) != RP_OK) _exit(6);
    _exit(rp_pool_close(own, &err) == RP_OK ? 0 : 7);
}

static void do_fork(size_t slot) {
    rp_model *model = rp_lease_model(leases[slot]);
    const char *path = rp_model_path(model);
    rp_error err = RP_ERROR_INIT;
    bool right = false;
    int ended = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) be_child(slot, path);
    if (pid < 0 || waitpid(pid, &ended, 0) != pid || !WIFEXITED(ended) || WEXITSTATUS(ended) != 0) {
        printf("wrong step %d of the child\n", WIFEXITED(ended) ? WEXITSTATUS(ended) : -1);
    } else if (went_well("run", run(model, 3, &right, &err), &err) && is_right(right, "run")) {
        printf("ok\n");
    }
}

static void linger(void) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        close(STDIN_FILENO);
        close(STDOUT_FILENO);
        sleep(600);
        _exit(0);
    }
    printf("ok %d\n", (int)pid);
}

extern char **environ;

static void execute(void) {
    char program[] = "/bin/sleep";
    char seconds[] = "600";
    char *const words[] = {program, seconds, NULL};
    pid_t pid = 0;
    int rc = posix_spawn(&pid, program, NULL, NULL, words, environ);
    if (rc == 0) printf("ok %d\n", (int)pid);
    if (rc != 0) printf("error io 0 %s\n", strerror(rc));
}

/* ---- noise ---- */

/* A client that has lost its senses: everything it may write to, the worker reads. */
static void scribble(uint64_t seed) {
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    unsigned rings = 0;
    while (maps && fgets(line, sizeof line, maps)) {
        if (!strstr(line, "memfd:resourcepool-ring")) continue;
        char *rest = line;
        uintptr_t from = strtoul(rest, &rest, 16);
        uintptr_t to = strtoul(rest + 1, NULL, 16);
        uint64_t bytes = to - from < (1U << 20) ? to - from : 1U << 20;
        for (uint64_t i = HEAD_BYTES; i + 8 <= bytes; i += 8) {
            uint64_t noise = mix(seed + i);
            uintptr_t at = from + i;
            memcpy((void *)at, &noise, sizeof noise); /* NOLINT(performance-no-int-to-ptr) */
        }
        rings++;
    }
    if (maps) fclose(maps);
    printf("ok %u\n", rings);
}

/* ---- at random ---- */

/* Whether an engine has been loaded into this process: then it does not share what it should. */
static bool is_alone(void) {
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    bool found = false;
    while (maps && !found && fgets(line, sizeof line, maps)) {
        found = strstr(line, "libonnxruntime") != NULL;
    }
    if (maps) fclose(maps);
    return found;
}

static bool wander_models(uint64_t *random, size_t slot, char *const *paths, size_t count) {
    rp_error err = RP_ERROR_INIT;
    bool right = false;
    const char *path = paths[(*random = mix(*random)) % count];
    const char *engine = strchr(path, '?') ? "simulated" : "-";
    if (!leases[slot]) {
        return went_well("lease", lease(slot, WANDER_TIMEOUT_MS, engine, path, &err), &err);
    }
    if ((*random = mix(*random)) % 4 == 0) {
        return went_well("release", release(slot, &err), &err);
    }
    rp_status status = run(rp_lease_model(leases[slot]), *random, &right, &err);
    if (went_well("run", status, &err)) return is_right(right, "run");
    (void)release(slot, &err); /* its worker is no more: the next lease is on another */
    return false;
}

static bool wander_objects(uint64_t *random, size_t slot) {
    rp_error err = RP_ERROR_INIT;
    char key[32];
    uint64_t number = (*random = mix(*random)) % WANDER_KEYS;
    snprintf(key, sizeof key, "data:%" PRIu64, number);
    if (objects[slot]) {
        bool whole = is_right(is_whole(slot), "object");
        if ((*random = mix(*random)) % 2 == 0) drop(slot);
        return whole;
    }
    if (!went_well("get", get(slot, WANDER_TIMEOUT_MS, key, &err), &err)) return false;
    if (!builds[slot]) return true;
    if ((*random = mix(*random)) % 8 == 0) {
        rp_machine_object_abort(builds[slot], NULL);
        builds[slot] = NULL;
        return true;
    }
    const struct timespec making = {0, (long)(mix(*random) % 10) * 1000000};
    nanosleep(&making, NULL);
    size_t bytes = (size_t)(number + 1) * OBJECT_BYTES;
    return went_well("publish", publish(slot, bytes, &err), &err);
}

/* A line for each step; "alone" where the process had to load a model itself. */
static void wander(uint64_t random, char *const *paths, size_t count) {
    struct pollfd order = {.fd = STDIN_FILENO, .events = POLLIN};
    while (poll(&order, 1, 0) == 0) {
        began_ms = now_ms();
        size_t slot = (random = mix(random)) % WANDER_SLOTS;
        bool is_model = (random = mix(random)) % 3 != 0;
        bool good =
            is_model ? wander_models(&random, slot, paths, count) : wander_objects(&random, slot);
        if (good) printf("step %" PRIu64 "\n", now_ms() - began_ms);
        if (is_alone()) printf("alone\n");
        const struct timespec pause = {0, (long)((random = mix(random)) % 5) * 1000000};
        nanosleep(&pause, NULL);
    }
    let_go();
    printf("ok\n");
}

/* ---- orders ---- */

static void obey(char *const *words, size_t count) {
    const char *order = words[0];
    size_t slot = count > 1 ? strtoul(words[1], NULL, 10) % SLOTS : 0;
    int64_t timeout_ms = count > 2 ? strtol(words[2], NULL, 10) : 0;
    rp_error err = RP_ERROR_INIT;
    bool right = true;
    bool good = false;
    if (strcmp(order, "lease") == 0 && count == 5) {
        good = went_well(order, lease(slot, timeout_ms, words[3], words[4], &err), &err);
    } else if (strcmp(order, "run") == 0 && leases[slot]) {
        good = went_well(order, run(rp_lease_model(leases[slot]), 1, &right, &err), &err) &&
               is_right(right, "run");
    } else if (strcmp(order, "release") == 0) {
        good = went_well(order, release(slot, &err), &err);
    } else if (strcmp(order, "get") == 0 && count == 4) {
        if (!went_well(order, get(slot, timeout_ms, words[3], &err), &err)) return;
        if (builds[slot]) printf("ok build\n");
        if (objects[slot]) printf("ok object %zu\n", object_bytes(slot));
        return;
    } else if (strcmp(order, "publish") == 0 && builds[slot]) {
        good = went_well(order, publish(slot, (size_t)timeout_ms, &err), &err);
    } else if (strcmp(order, "abort") == 0) {
        rp_machine_object_abort(builds[slot], NULL);
        builds[slot] = NULL;
        good = true;
    } else if (strcmp(order, "check") == 0) {
        good = is_right(objects[slot] && is_whole(slot), order);
    } else if (strcmp(order, "drop") == 0) {
        drop(slot);
        good = true;
    } else if (strcmp(order, "close") == 0) {
        good = went_well(order, close_all(&err), &err);
    } else if (strcmp(order, "alone") == 0) {
        printf("ok %d\n", is_alone());
        return;
    } else if (strcmp(order, "fork") == 0 && leases[slot]) {
        do_fork(slot);
        return;
    } else if (strcmp(order, "linger") == 0) {
        linger();
        return;
    } else if (strcmp(order, "execute") == 0) {
        execute();
        return;
    } else if (strcmp(order, "scribble") == 0 && count == 2) {
        scribble(strtoull(words[1], NULL, 10));
        return;
    } else if (strcmp(order, "wander") == 0 && count > 2) {
        wander(strtoull(words[1], NULL, 10), words + 2, count - 2);
        return;
    } else {
        printf("wrong order '%s'\n", order);
        return;
    }
    if (good) printf("ok\n");
}

/* Words of a line, in place. */
static size_t split(char *line, char *words[WORDS_MAX]) {
    size_t count = 0;
    char *rest = line;
    for (char *word; count < WORDS_MAX && (word = strtok_r(rest, " \n", &rest));) {
        words[count++] = word;
    }
    return count;
}

int main(void) {
    char line[LINE_BYTES];
    char *words[WORDS_MAX];
    setvbuf(stdout, NULL, _IOLBF, 0);
    setvbuf(stdin, NULL, _IONBF, 0); /* poll() sees what is there */
    while (fgets(line, sizeof line, stdin)) {
        size_t count = split(line, words);
        began_ms = now_ms();
        if (count > 0) obey(words, count);
    }
    rp_error err = RP_ERROR_INIT;
    if (close_all(&err) == RP_OK) return 0;
    tell_error("close", &err);
    return 1;
}
