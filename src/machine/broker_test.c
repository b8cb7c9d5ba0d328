/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker and its clients as they are: processes, a socket, kill -9. Models are the simulated
 * engine's and live in the broker here; who opens them is a hook.
 */
#include "machine/broker.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/text.h"
#include "failure/own.h"
#include "machine/client.h"
#include "machine/share.h"
#include "pool/hooks.h"

#include "../../tests/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <resourcepool/lease.h>
#include <resourcepool/statistics.h>
#include <resourcepool/text.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, LEAKED = 99 };

static rp_error err;
static char folder[64];
static pid_t broker_pid;
static rp_broker_options options;
static int gate[2] = {-1, -1};  /* brokers begin when the test closes its end */
static uint64_t fail_broker_at; /* the n-th allocation of the next broker; 0: none */

/* ---- brokers ---- */

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/rp-broker-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    setenv("RESOURCE_POOL_BROKER", folder, 1);
    setenv("RESOURCE_POOL_HISTORY", "off", 1);
    setenv("RESOURCE_POOL_LOG", "error", 1);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    static const char *const names[] = {"broker.sock", "broker.lock", "broker.start", "broker.log"};
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static int unlink_socket(void) {
    char path[128];
    snprintf(path, sizeof path, "%s/broker.sock", folder);
    return unlink(path);
}

/* The machine's description, the rules of placement and of errors: made once in a process, and
 * kept. */
static void keep_what_a_process_keeps(void) {
    rp_error failure = {.status = RP_ERR_DATA};
    rp_pool *pool = NULL;
    rp_lease *lease = NULL;
    rp_request request = RP_REQUEST_INIT;
    request.type = "model";
    request.name = "a";
    request.engine = "simulated";
    if (rp_pool_open_hooked(NULL, NULL, &pool, NULL) != RP_OK ||
        rp_pool_get_model(pool, &request, &lease, NULL) != RP_OK) {
        _exit(98);
    }
    rp_lease_release(lease, NULL);
    rp_pool_close(pool, NULL);
    if (!rp_explain(&failure, "cpu", NULL, NULL)) _exit(98);
}

/* A broker in a process of its own; its exit status is that of rp_broker_run(). */
static pid_t start_with(const struct rp_broker_host *host, int *ready_fd) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        options.ready_fd = ends[1];
        const struct rp_broker_setup setup = {.options = &options, .host = host};
        keep_what_a_process_keeps();
        char byte;
        if (gate[1] >= 0) {
            close(gate[1]);
            if (read(gate[0], &byte, 1) < 0) _exit(97);
            close(gate[0]);
        }
        int64_t live = rp_memory_live_count();
        rp_memory_fail_at(fail_broker_at);
        rp_status status = rp_broker_run(&setup, &err);
        _exit(rp_memory_live_count() == live ? (int)status : LEAKED);
    }
    close(ends[1]);
    *ready_fd = ends[0];
    return pid;
}

static bool is_ready(int ready_fd) {
    char line[32] = "";
    ssize_t length = read(ready_fd, line, sizeof line - 1);
    close(ready_fd);
    return length > 0 && strncmp(line, "ready ", 6) == 0;
}

static void begin_with(const struct rp_broker_host *host) {
    int ready_fd;
    int ignored;
    if (broker_pid > 0 && waitpid(broker_pid, &ignored, WNOHANG) == 0) {
        kill(broker_pid, SIGKILL); /* of a test that failed */
        waitpid(broker_pid, &ignored, 0);
    }
    broker_pid = start_with(host, &ready_fd);
    assert_true(is_ready(ready_fd));
}

static void begin(void) {
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    begin_with(NULL);
}

/* How a process ended: its exit status, or 1000 and the signal. */
static int wait_for_end(pid_t pid) {
    int status;
    int64_t deadline_ns = rp_deadline_after_ms(PATIENCE_MS);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (rp_clock_ns() > deadline_ns) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            fail_msg("process %d does not end", (int)pid);
        }
        usleep(1000);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Ask it to end, which only works when nothing is leased. */
static void end(void) {
    kill(broker_pid, SIGTERM);
    assert_int_equal(wait_for_end(broker_pid), RP_OK);
}

/* ---- clients ---- */

static struct rp_client *connect_to_broker(void) {
    const struct rp_client_options no_start = {.no_start = true};
    struct rp_client *client = NULL;
    assert_ok(rp_client_acquire(&no_start, &client, &err));
    return client;
}

static rp_status acquire(struct rp_client *client, const char *name, int64_t timeout_ms,
                         struct rp_reply *reply) {
    const struct rp_message message = {.type = RP_MESSAGE_ACQUIRE,
                                       .acquire = {.kind = RP_KIND_MODEL,
                                                   .timeout_ms = (uint64_t)timeout_ms,
                                                   .resource_type = "model",
                                                   .name = name,
                                                   .engine = "simulated"}};
    return rp_client_call(client, &message, NULL, rp_deadline_after_ms(PATIENCE_MS), NULL, reply,
                          &err);
}

static uint64_t lease_id(struct rp_reply *reply) {
    assert_int_equal(reply->message.type, RP_MESSAGE_LEASED);
    uint64_t id = reply->message.leased.lease_id;
    rp_reply_fini(reply);
    return id;
}

static void release(struct rp_client *client, uint64_t id) {
    const struct rp_message message = {.type = RP_MESSAGE_RELEASE, .release = {id}};
    rp_client_tell(client, &message);
}

static json_t *ask_for(bool is_status) {
    rp_machine_options machine_options = RP_MACHINE_OPTIONS_INIT;
    rp_machine *machine = NULL;
    char *text = NULL;
    machine_options.no_start = true;
    assert_ok(rp_machine_open(&machine_options, &machine, &err));
    assert_ok(is_status ? rp_machine_status(machine, true, &text, &err)
                        : rp_machine_stats(machine, &text, &err));
    rp_machine_close(machine);
    json_t *document = json_loads(text, 0, NULL);
    assert_non_null(document);
    rp_free(text);
    return document;
}

static int64_t stat_of(const char *key) {
    json_t *document = ask_for(false);
    const json_t *value = json_object_get(document, key);
    assert_true(json_is_integer(value));
    int64_t number = json_integer_value(value);
    json_decref(document);
    return number;
}

/* What the pool itself has given out, which the housekeeper takes back a little later. */
static int64_t pool_leases(void) {
    json_t *document = ask_for(true);
    int64_t number =
        json_integer_value(json_object_get(json_object_get(document, "totals"), "leases"));
    json_decref(document);
    return number;
}

static void wait_until(int64_t (*figure)(void), int64_t value) {
    int64_t deadline_ns = rp_deadline_after_ms(PATIENCE_MS);
    int64_t seen = figure();
    while (seen != value && rp_clock_ns() < deadline_ns) {
        usleep(2000);
        seen = figure();
    }
    assert_int_equal(seen, value);
}

static int64_t lease_count(void) {
    return stat_of("leases");
}

static int64_t entry_count(void) {
    return stat_of("entries");
}

static int64_t leak_count(void) {
    return stat_of("leaks");
}

/* A process that leases that model, says so, and then does what `then` does. */
static pid_t start_holder(const char *name, void (*then)(void)) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct rp_reply reply;
        const struct rp_client_options no_start = {.no_start = true};
        struct rp_client *client = NULL;
        close(ends[0]);
        if (rp_client_acquire(&no_start, &client, NULL) != RP_OK) _exit(1);
        if (acquire(client, name, 0, &reply) != RP_OK) _exit(2);
        if (write(ends[1], "x", 1) != 1) _exit(3);
        close(ends[1]);
        then();
        _exit(0);
    }
    char byte;
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    return pid;
}

static void stay(void) {
    alarm(PATIENCE_MS / 1000); /* a test that fails leaves nobody behind */
    for (;;) {
        pause();
    }
}

static void leave(void) {
}

/* ---- tests ---- */

static void a_model_is_loaded_once_for_all(void **state) {
    (void)state;
    begin();
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    assert_ok(acquire(client, "toy?load_ms=50&memory_bytes=1MiB", 0, &reply));
    assert_string_equal(reply.message.leased.engine, "simulated");
    assert_string_equal(reply.message.leased.device, "cpu");
    assert_int_equal(reply.message.leased.memory_bytes, 1 << 20);
    assert_int_equal(reply.message.leased.is_hit, 0);
    assert_true(reply.message.leased.inputs.size > 4);
    struct rp_engine_ports ports = {0};
    assert_ok(rp_ports_decode(&reply.message.leased.inputs, &ports, &err));
    assert_int_equal(ports.count, 1);
    rp_engine_ports_fini(&ports);
    uint64_t first = lease_id(&reply);
    assert_ok(acquire(client, "toy?load_ms=50&memory_bytes=1MiB", 0, &reply));
    assert_int_equal(reply.message.leased.is_hit, 1);
    release(client, lease_id(&reply));
    wait_until(lease_count, 1);
    pid_t others[3];
    for (int i = 0; i < 3; i++) {
        others[i] = start_holder("toy?load_ms=50&memory_bytes=1MiB", stay);
    }
    assert_int_equal(stat_of("loads"), 1);
    assert_int_equal(stat_of("leases"), 4);
    assert_int_equal(stat_of("hits"), 4);
    json_t *document = ask_for(true);
    assert_int_equal(json_array_size(json_object_get(document, "leases")), 4);
    const json_t *row = json_array_get(json_object_get(document, "leases"), 0);
    assert_says(json_string_value(json_object_get(row, "command")), "test_machine_broker");
    assert_int_equal(json_array_size(json_object_get(document, "clients")), 4);
    const json_t *known = json_array_get(json_object_get(document, "clients"), 0);
    assert_true(json_integer_value(json_object_get(known, "started_ticks")) > 0);
    json_decref(document);
    for (int i = 0; i < 3; i++) {
        kill(others[i], SIGKILL);
        waitpid(others[i], NULL, 0);
    }
    wait_until(lease_count, 1);
    wait_until(pool_leases, 1);
    release(client, first);
    wait_until(lease_count, 0);
    wait_until(pool_leases, 0);
    release(client, first); /* again, and one that never was: nothing happens */
    release(client, 12345);
    assert_int_equal(stat_of("entries"), 1);
    rp_client_drop(client);
    end();
}

/* Eight processes ask for the same at the same moment. */
static void one_load_answers_all_who_wait(void **state) {
    (void)state;
    begin();
    pid_t pids[8];
    for (int i = 0; i < 8; i++) {
        pids[i] = fork();
        if (pids[i] != 0) continue;
        struct rp_reply reply;
        struct rp_client *client = NULL;
        if (rp_client_acquire(NULL, &client, NULL) != RP_OK) _exit(1);
        if (acquire(client, "slow?load_ms=300", 5000, &reply) != RP_OK) _exit(2);
        release(client, reply.message.leased.lease_id);
        _exit(reply.message.leased.is_hit ? 0 : 3);
    }
    int misses = 0;
    for (int i = 0; i < 8; i++) {
        int code = wait_for_end(pids[i]);
        misses += code == 3;
        assert_true(code == 0 || code == 3);
    }
    assert_int_equal(misses, 1); /* the one for whom it was loaded */
    assert_int_equal(stat_of("loads"), 1);
    wait_until(pool_leases, 0);
    end();
}

static void each_request_has_its_own_deadline(void **state) {
    (void)state;
    begin();
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    int64_t start_ns = rp_clock_ns();
    assert_status(acquire(client, "slow?load_ms=10000", 100, &reply), RP_ERR_TIMEOUT);
    double waited_ms = rp_elapsed_ms(start_ns, rp_clock_ns());
    assert_true(waited_ms >= 90 && waited_ms < 3000);
    /* One with more time is not ended by one with less that asked first. */
    pid_t pid = fork();
    if (pid == 0) {
        struct rp_client *own = NULL;
        if (rp_client_acquire(NULL, &own, NULL) != RP_OK) _exit(1);
        _exit(acquire(own, "other?load_ms=600", 150, &reply) == RP_ERR_TIMEOUT ? 0 : 2);
    }
    usleep(50000);
    assert_ok(acquire(client, "other?load_ms=600", 5000, &reply));
    rp_reply_fini(&reply);
    assert_int_equal(wait_for_end(pid), 0);
    rp_client_drop(client);
    wait_until(lease_count, 0);
    end();
}

static _Atomic int flag;

static void *fire_soon(void *unused) {
    (void)unused;
    usleep(100000);
    atomic_store(&flag, 1);
    return NULL;
}

static int64_t waiter_count(void) {
    return stat_of("waiters");
}

static void a_request_that_is_called_off_leaves_nothing(void **state) {
    (void)state;
    begin();
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, fire_soon, NULL), 0);
    const struct rp_message message = {.type = RP_MESSAGE_ACQUIRE,
                                       .acquire = {.kind = RP_KIND_MODEL,
                                                   .resource_type = "model",
                                                   .name = "slow?load_ms=10000",
                                                   .engine = "simulated"}};
    int64_t start_ns = rp_clock_ns();
    assert_status(rp_client_call(client, &message, NULL, RP_NEVER_NS, &flag, &reply, &err),
                  RP_ERR_CANCELLED);
    assert_true(rp_elapsed_ms(start_ns, rp_clock_ns()) < 3000);
    pthread_join(thread, NULL);
    wait_until(waiter_count, 0);
    /* The caller leaves before an answer that is on its way. */
    for (int i = 0; i < 200; i++) {
        const struct rp_message quick = {.type = RP_MESSAGE_ACQUIRE,
                                         .acquire = {.kind = RP_KIND_MODEL,
                                                     .resource_type = "model",
                                                     .name = "quick",
                                                     .engine = "simulated"}};
        rp_status status =
            rp_client_call(client, &quick, NULL, rp_clock_ns() + i * 1000, NULL, &reply, &err);
        if (status == RP_OK) {
            release(client, lease_id(&reply));
        } else {
            assert_int_equal(status, RP_ERR_TIMEOUT);
        }
    }
    wait_until(lease_count, 0);
    wait_until(pool_leases, 0);
    rp_client_drop(client);
    end();
}

static void room_is_made_and_refused_across_processes(void **state) {
    (void)state;
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    options.budget = "10MiB";
    begin_with(NULL);
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    assert_ok(acquire(client, "a?memory_bytes=6MiB", 0, &reply));
    release(client, lease_id(&reply));
    /* Idle: it goes. */
    assert_ok(acquire(client, "b?memory_bytes=6MiB", 2000, &reply));
    uint64_t b = lease_id(&reply);
    assert_int_equal(stat_of("evictions"), 1);
    /* Leased: it stays, and who asks for more is told who has it. */
    assert_status(acquire(client, "c?memory_bytes=6MiB", 200, &reply), RP_ERR_CAPACITY);
    assert_status(acquire(client, "d?memory_bytes=60MiB", 0, &reply), RP_ERR_CAPACITY);
    pid_t holder = start_holder("e?memory_bytes=2MiB", leave);
    assert_int_equal(wait_for_end(holder), 0);
    release(client, b);
    assert_ok(acquire(client, "c?memory_bytes=6MiB", 2000, &reply));
    rp_reply_fini(&reply);
    assert_true(stat_of("peak_bytes") <= 10 << 20);
    rp_client_drop(client);
    wait_until(lease_count, 0);
    end();
}

/* A request of one thread, on a thread of this test's. */
struct asking {
    struct rp_client *client;
    const char *name;
    uint64_t thread;
    int64_t timeout_ms;
    int64_t patience_ms;
    pthread_t runs_on;
    rp_status status;
    uint64_t lease_id;
    rp_error why;
};

static void *ask_as(void *user) {
    struct asking *asking = user;
    struct rp_reply reply;
    const struct rp_message message = {.type = RP_MESSAGE_ACQUIRE,
                                       .acquire = {.kind = RP_KIND_MODEL,
                                                   .thread = asking->thread,
                                                   .timeout_ms = (uint64_t)asking->timeout_ms,
                                                   .resource_type = "model",
                                                   .name = asking->name,
                                                   .engine = "simulated"}};
    asking->why = (rp_error)RP_ERROR_INIT;
    asking->status =
        rp_client_call(asking->client, &message, NULL, rp_deadline_after_ms(asking->patience_ms),
                       NULL, &reply, &asking->why);
    if (asking->status == RP_OK) asking->lease_id = lease_id(&reply);
    return NULL;
}

static struct asking by_thread(struct rp_client *client, uint64_t thread, const char *name) {
    return (struct asking){
        .client = client, .name = name, .thread = thread, .patience_ms = PATIENCE_MS};
}

static void begin_asking(struct asking *asking) {
    assert_int_equal(pthread_create(&asking->runs_on, NULL, ask_as, asking), 0);
}

static uint64_t lease_by(struct rp_client *client, uint64_t thread, const char *name) {
    struct asking asking = by_thread(client, thread, name);
    ask_as(&asking);
    assert_int_equal(asking.status, RP_OK);
    return asking.lease_id;
}

static int64_t waiters_for_room(void) {
    json_t *document = ask_for(true);
    const json_t *row;
    size_t index;
    int64_t count = 0;
    json_array_foreach(json_object_get(document, "waiters"), index, row) {
        count += strcmp(json_string_value(json_object_get(row, "for")), "room") == 0;
    }
    json_decref(document);
    return count;
}

static void who_wait_for_each_others_room_are_told(void **state) {
    (void)state;
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    options.budget = "10MiB";
    begin_with(NULL);
    struct rp_client *client = connect_to_broker();
    uint64_t a = lease_by(client, 1, "a?memory_bytes=6MiB");
    uint64_t b = lease_by(client, 2, "b?memory_bytes=4MiB");
    struct asking first = by_thread(client, 1, "c?memory_bytes=4MiB");
    struct asking second = by_thread(client, 2, "d?memory_bytes=6MiB");
    begin_asking(&first);
    wait_until(waiters_for_room, 1); /* the other thread may still give back what it holds */
    int64_t start_ns = rp_clock_ns();
    ask_as(&second);
    assert_int_equal(second.status, RP_ERR_CYCLE);
    assert_true(rp_elapsed_ms(start_ns, rp_clock_ns()) < PATIENCE_MS / 2);
    assert_says(second.why.message, "holds 'model:a?memory_bytes=6MiB@cpu'");
    assert_says(second.why.message, "holds 'model:b?memory_bytes=4MiB@cpu'");
    char self[64];
    snprintf(self, sizeof self, "process %d", (int)getpid());
    assert_says(second.why.message, self);
    release(client, b);
    pthread_join(first.runs_on, NULL);
    assert_int_equal(first.status, RP_OK);
    release(client, first.lease_id);
    release(client, a);
    wait_until(lease_count, 0);
    rp_client_drop(client);
    end();
}

/* Everybody waits, but somebody may still give back: of whom it is not known, who waits for so long
 * only, or another thread that holds the same. */
static void who_may_still_give_back_is_no_deadlock(void **state) {
    (void)state;
    static const struct {
        uint64_t first_holds_by, second_holds_by, first_waits_by;
        int64_t timeout_ms;
    } cases[] = {{0, 2, 1, 0}, {3, 2, 1, 0}, {1, 0, 1, 0}, {0, 2, 0, 0}, {1, 2, 1, 30000}};
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    options.budget = "10MiB";
    begin_with(NULL);
    struct rp_client *client = connect_to_broker();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t a = lease_by(client, cases[i].first_holds_by, "a?memory_bytes=6MiB");
        uint64_t b = lease_by(client, cases[i].second_holds_by, "b?memory_bytes=4MiB");
        struct asking first = by_thread(client, cases[i].first_waits_by, "c?memory_bytes=4MiB");
        struct asking second = by_thread(client, 2, "d?memory_bytes=6MiB");
        first.timeout_ms = cases[i].timeout_ms;
        begin_asking(&first);
        wait_until(waiters_for_room, 1);
        begin_asking(&second);
        wait_until(waiters_for_room, 2);
        usleep(50000);
        assert_int_equal(stat_of("waiters"), 2); /* and nobody was told anything */
        release(client, a);
        release(client, b);
        pthread_join(first.runs_on, NULL);
        pthread_join(second.runs_on, NULL);
        assert_int_equal(first.status, RP_OK);
        assert_int_equal(second.status, RP_OK);
        release(client, first.lease_id);
        release(client, second.lease_id);
        wait_until(lease_count, 0);
        wait_until(pool_leases, 0);
    }
    rp_client_drop(client);
    end();
}

static rp_status reserve_for(struct rp_client *client, uint64_t mib, int64_t timeout_ms,
                             struct rp_reply *reply) {
    const struct rp_message message = {.type = RP_MESSAGE_ACQUIRE,
                                       .acquire = {.kind = RP_KIND_RESERVATION,
                                                   .timeout_ms = (uint64_t)timeout_ms,
                                                   .memory_bytes = mib << 20,
                                                   .resource_type = "reservation",
                                                   .name = "room",
                                                   .device = "cpu"}};
    return rp_client_call(client, &message, NULL, rp_deadline_after_ms(PATIENCE_MS), NULL, reply,
                          &err);
}

static void *reserve_4_mib(void *user) {
    struct asking *asking = user;
    struct rp_reply reply;
    asking->status = reserve_for(asking->client, 4, 0, &reply);
    if (asking->status == RP_OK) asking->lease_id = lease_id(&reply);
    return NULL;
}

static void those_who_wait_for_room_get_each_their_own(void **state) {
    (void)state;
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    options.budget = "10MiB";
    begin_with(NULL);
    struct rp_client *client = connect_to_broker();
    struct asking asking[2];
    struct rp_reply reply;
    assert_ok(reserve_for(client, 8, 0, &reply));
    uint64_t id = lease_id(&reply);
    for (size_t i = 0; i < 2; i++) {
        asking[i] = (struct asking){.client = client};
        pthread_create(&asking[i].runs_on, NULL, reserve_4_mib, &asking[i]);
    }
    wait_until(waiters_for_room, 2);
    release(client, id);
    for (size_t i = 0; i < 2; i++) {
        pthread_join(asking[i].runs_on, NULL);
        assert_int_equal(asking[i].status, RP_OK);
    }
    assert_int_equal(stat_of("memory_bytes"), 8 << 20);
    for (size_t i = 0; i < 2; i++) {
        release(client, asking[i].lease_id);
    }
    wait_until(lease_count, 0);
    rp_client_drop(client);
    end();
}

static void room_is_leased_and_shared_with_nobody(void **state) {
    (void)state;
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    options.budget = "10MiB";
    begin_with(NULL);
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    assert_ok(reserve_for(client, 4, 0, &reply));
    assert_string_equal(reply.message.leased.key, "reservation:room");
    assert_string_equal(reply.message.leased.device, "cpu");
    assert_int_equal(reply.message.leased.memory_bytes, 4 << 20);
    assert_int_equal(reply.descriptors.count, 0);
    uint64_t first = lease_id(&reply);
    assert_ok(reserve_for(client, 4, 0, &reply)); /* the same words, and room of its own */
    uint64_t second = lease_id(&reply);
    assert_int_equal(stat_of("memory_bytes"), 8 << 20);
    assert_int_equal(stat_of("reservations"), 2);
    assert_int_equal(stat_of("requests") + stat_of("entries") + stat_of("loads"), 0);
    assert_status(reserve_for(client, 4, 30, &reply), RP_ERR_TIMEOUT);
    assert_says(err.message, "needs 4.0 MiB");
    assert_status(reserve_for(client, 11, 0, &reply), RP_ERR_CAPACITY);
    json_t *document = ask_for(true);
    const json_t *row = json_array_get(json_object_get(document, "leases"), 0);
    assert_string_equal(json_string_value(json_object_get(row, "kind")), "reservation");
    assert_string_equal(json_string_value(json_object_get(row, "device")), "cpu");
    assert_int_equal(json_integer_value(json_object_get(row, "bytes")), 4 << 20);
    assert_int_equal(json_array_size(json_object_get(document, "entries")), 0);
    json_decref(document);
    release(client, first);
    assert_ok(reserve_for(client, 4, 0, &reply));
    release(client, lease_id(&reply));
    release(client, second);
    wait_until(lease_count, 0);
    rp_client_drop(client);
    end();
}

static void a_load_that_fails_tells_everybody_why(void **state) {
    (void)state;
    begin();
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    assert_status(acquire(client, "bad?fail=load", 0, &reply), RP_ERR_LOAD);
    assert_says(err.message, "bad?fail=load");
    assert_status(acquire(client, "x?what=1", 0, &reply), RP_ERR_ARGUMENT);
    assert_true(err.hint[0] != '\0');
    assert_int_equal(stat_of("leases"), 0);
    rp_client_drop(client);
    end();
}

static void orders_respect_leases_unless_forced(void **state) {
    (void)state;
    begin();
    struct rp_client *client = connect_to_broker();
    rp_machine *machine = NULL;
    struct rp_reply reply;
    rp_cleared cleared;
    assert_ok(rp_machine_open(NULL, &machine, &err));
    assert_ok(acquire(client, "a?memory_bytes=1MiB", 0, &reply));
    char key[128];
    snprintf(key, sizeof key, "%s", reply.message.leased.key);
    uint64_t id = lease_id(&reply);
    assert_ok(rp_machine_evict(machine, key, false, &cleared, &err));
    assert_int_equal(cleared.removed_count, 0);
    assert_int_equal(cleared.leased_count, 1);
    assert_int_equal(cleared.verified, RP_SEEN_UNKNOWN);
    char pid[32];
    snprintf(pid, sizeof pid, "process %d", (int)getpid());
    assert_status(rp_machine_evict(machine, "nothing", false, &cleared, &err), RP_ERR_NOT_FOUND);
    assert_status(rp_machine_stop(machine, false, &err), RP_ERR_BUSY);
    assert_says(err.message, pid);
    assert_ok(rp_machine_clear(machine, false, &cleared, &err));
    assert_int_equal(cleared.removed_count, 0);
    assert_int_equal(cleared.leased_count, 1);
    assert_int_equal(stat_of("leases"), 1);
    /* It drains already, and is taken away all the same. */
    assert_ok(rp_machine_evict(machine, key, true, &cleared, &err));
    assert_int_equal(cleared.removed_count, 1);
    assert_int_equal(cleared.freed_bytes, 1 << 20);
    assert_int_equal(stat_of("leases"), 0);
    wait_until(pool_leases, 0);
    assert_int_equal(stat_of("entries"), 0);
    release(client, id); /* what was taken away is given back all the same */
    assert_ok(acquire(client, "a?memory_bytes=1MiB", 0, &reply));
    release(client, lease_id(&reply));
    assert_ok(rp_machine_evict(machine, key, false, &cleared, &err));
    assert_int_equal(cleared.removed_count, 1);
    assert_ok(acquire(client, "b", 0, &reply));
    release(client, lease_id(&reply));
    assert_ok(rp_machine_clear(machine, false, &cleared, &err));
    assert_int_equal(cleared.removed_count, 1);
    assert_ok(acquire(client, "b", 0, &reply));
    rp_reply_fini(&reply);
    assert_ok(rp_machine_stop(machine, true, &err));
    assert_int_equal(wait_for_end(broker_pid), RP_OK);
    rp_machine_close(machine);
    rp_client_drop(client);
}

static void a_model_moves_and_who_holds_the_old_one_keeps_it_unless_forced(void **state) {
    (void)state;
    setenv("RESOURCE_POOL_SIMULATE", SOURCE_ROOT "/tests/machines/8xh100.json", 1);
    begin();
    unsetenv("RESOURCE_POOL_SIMULATE");
    struct rp_client *client = connect_to_broker();
    rp_machine *machine = NULL;
    struct rp_reply reply;
    rp_cleared cleared;
    char *moved = NULL;
    assert_ok(rp_machine_open(NULL, &machine, &err));
    assert_ok(acquire(client, "a?memory_bytes=1MiB", 0, &reply));
    assert_string_equal(reply.message.leased.key, "model:a?memory_bytes=1MiB@cuda:0");
    uint64_t id = lease_id(&reply);
    assert_ok(rp_machine_move(machine, "model:a?memory_bytes=1MiB@cuda:0", "cuda:1", false,
                              &cleared, &moved, &err));
    assert_string_equal(moved, "model:a?memory_bytes=1MiB@cuda:1");
    rp_string_free(moved);
    assert_int_equal(cleared.leased_count, 1);
    assert_int_equal(cleared.freed_bytes, 0);
    assert_int_equal(cleared.verified, RP_SEEN_UNKNOWN);
    assert_int_equal(stat_of("leases"), 1);
    release(client, id);
    wait_until(entry_count, 1);
    /* Whoever asks as before gets the new one. */
    assert_ok(acquire(client, "a?memory_bytes=1MiB", 0, &reply));
    assert_string_equal(reply.message.leased.device, "cuda:1");
    rp_reply_fini(&reply);
    assert_ok(rp_machine_move(machine, "model:a?memory_bytes=1MiB@cuda:1", "cuda:2", true, &cleared,
                              NULL, &err));
    assert_int_equal(cleared.removed_count, 1);
    assert_int_equal(cleared.freed_bytes, 1 << 20);
    assert_int_equal(stat_of("leases"), 0);
    assert_status(rp_machine_move(machine, "nothing", "cuda:1", true, &cleared, NULL, &err),
                  RP_ERR_NOT_FOUND);
    assert_status(rp_machine_move(machine, "model:a?memory_bytes=1MiB@cuda:2", "cuda:99", true,
                                  &cleared, NULL, &err),
                  RP_ERR_ABSENT);
    assert_int_equal(stat_of("entries"), 1);
    rp_machine_close(machine);
    rp_client_drop(client);
    end();
}

static void what_failed_and_who_leaked_is_remembered(void **state) {
    (void)state;
    begin();
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    for (int i = 0; i < 40; i++) {
        char name[32];
        snprintf(name, sizeof name, "bad%d?fail=load", i);
        assert_status(acquire(client, name, 0, &reply), RP_ERR_LOAD);
    }
    pid_t pid = fork();
    if (pid == 0) {
        struct rp_client *own = connect_to_broker();
        _exit(acquire(own, "b", 0, &reply) == RP_OK ? 0 : 1);
    }
    assert_int_equal(wait_for_end(pid), 0);
    wait_until(leak_count, 1);
    json_t *document = ask_for(true);
    const json_t *failures = json_object_get(document, "failures");
    assert_int_equal(json_array_size(failures), 32); /* the last ones */
    const json_t *first = json_array_get(failures, 0);
    assert_string_equal(json_string_value(json_object_get(first, "name")), "bad8?fail=load");
    assert_string_equal(json_string_value(json_object_get(first, "status")), "load");
    assert_int_equal(json_integer_value(json_object_get(first, "number")), 9);
    assert_int_equal(json_integer_value(json_object_get(first, "count")), 1);
    const json_t *leak = json_array_get(json_object_get(document, "leaks"), 0);
    assert_int_equal(json_integer_value(json_object_get(leak, "pid")), pid);
    assert_string_equal(json_string_value(json_object_get(leak, "key")), "model:b@cpu");
    assert_int_equal(json_integer_value(json_object_get(leak, "leases")), 1);
    json_decref(document);
    rp_client_drop(client);
    end();
}

static void a_failure_is_kept_with_its_diagnosis_and_counted(void **state) {
    (void)state;
    begin();
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    /* The second and the third answer come from a negative entry, which says for how long. */
    for (int i = 0; i < 3; i++) {
        assert_status(acquire(client, "poor?fail=memory&memory_bytes=3MiB", 0, &reply),
                      RP_ERR_MEMORY);
    }
    assert_says(err.message, "not tried again for ");
    assert_status(acquire(client, "slow?load_ms=5000", 50, &reply), RP_ERR_TIMEOUT);
    json_t *document = ask_for(true);
    const json_t *failures = json_object_get(document, "failures");
    const json_t *row = json_array_get(failures, 0);
    assert_string_equal(json_string_value(json_object_get(row, "category")), "out_of_memory_host");
    assert_true(json_real_value(json_object_get(row, "confidence")) > 0.5);
    assert_true(json_string_length(json_object_get(row, "line")) > 0);
    assert_int_equal(json_integer_value(json_object_get(row, "count")), 3);
    assert_null(strstr(json_string_value(json_object_get(row, "message")), "not tried again"));
    const json_t *counted = json_object_get(
        json_object_get(json_object_get(document, "totals"), "failures"), "out_of_memory_host");
    assert_int_equal(json_integer_value(counted), 1); /* loads: the others were none */
    /* Patience that ran out is nobody's fault: nothing is diagnosed. */
    row = json_array_get(failures, 1);
    assert_string_equal(json_string_value(json_object_get(row, "status")), "timeout");
    assert_true(json_is_null(json_object_get(row, "category")));
    assert_true(json_is_null(json_object_get(row, "line")));
    json_decref(document);
    rp_client_drop(client);
    end();
}

static void it_ends_when_idle_and_not_before(void **state) {
    (void)state;
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    options.idle_exit_ms = 300;
    begin_with(NULL);
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    assert_ok(acquire(client, "a", 0, &reply));
    uint64_t id = lease_id(&reply);
    usleep(700000);
    assert_int_equal(waitpid(broker_pid, NULL, WNOHANG), 0);
    int64_t start_ns = rp_clock_ns();
    release(client, id);
    assert_int_equal(wait_for_end(broker_pid), RP_OK);
    assert_true(rp_elapsed_ms(start_ns, rp_clock_ns()) >= 290);
    assert_status(acquire(client, "a", 0, &reply), RP_ERR_STATE);
    assert_says(err.message, "has gone");
    assert_false(rp_client_is_alive(client));
    rp_client_drop(client);
    const struct rp_client_options no_start = {.no_start = true};
    assert_status(rp_client_acquire(&no_start, &client, &err), RP_ERR_ABSENT);
    assert_string_equal(err.message, "no broker is running");
}

static void who_counts_keeps_it_and_who_looks_does_not(void **state) {
    (void)state;
    rp_machine_options here = RP_MACHINE_OPTIONS_INIT;
    rp_machine *machine; /* one for all: who connects begins the time anew as well */
    char *text;
    bool has_ended = false;
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    options.idle_exit_ms = 1000;
    begin_with(NULL);
    here.no_start = true;
    assert_ok(rp_machine_open(&here, &machine, &err));
    for (int i = 0; i < 20; i++) {
        assert_ok(rp_machine_stats(machine, &text, &err));
        rp_free(text);
        usleep(100000);
    }
    for (int i = 0; i < 200 && !has_ended; i++) {
        has_ended = rp_machine_status(machine, false, &text, &err) != RP_OK;
        if (!has_ended) rp_free(text);
        usleep(100000);
    }
    assert_true(has_ended);
    rp_machine_close(machine);
    assert_int_equal(wait_for_end(broker_pid), RP_OK);
}

/* What fork servers hold, as the ledger has it; -1: it has no row of the processor. */
static int64_t fork_server_bytes(void) {
    json_t *document = ask_for(true);
    const json_t *cpu = json_object_get(json_object_get(document, "ledger"), "cpu");
    int64_t bytes = cpu ? json_integer_value(json_object_get(cpu, "fork_server_bytes")) : -1;
    json_decref(document);
    return bytes;
}

static int64_t fork_server_count(void) {
    json_t *document = ask_for(true);
    int64_t count = (int64_t)json_array_size(json_object_get(document, "fork_servers"));
    json_decref(document);
    return count;
}

/* A process that says that of itself, and stays until it is killed. */
static pid_t start_teller(const char *about) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        rp_machine *machine = NULL;
        close(ends[0]);
        if (rp_machine_open(NULL, &machine, NULL) != RP_OK) _exit(1);
        if (rp_machine_tell(machine, about, NULL) != RP_OK) _exit(2);
        if (write(ends[1], "x", 1) != 1) _exit(3);
        close(ends[1]);
        stay();
    }
    char byte;
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    return pid;
}

static void end_teller(pid_t pid) {
    kill(pid, SIGKILL);
    assert_int_equal(wait_for_end(pid), 1000 + SIGKILL);
}

static void what_a_program_says_of_itself_is_shown_until_it_goes(void **state) {
    (void)state;
    static char large[(32 << 10) + 1];
    rp_machine *machine = NULL;
    begin();
    assert_ok(rp_machine_open(NULL, &machine, &err));
    static const char *const wrong[] = {"", "[1]", "{", "\"fork_server\"", "{\"kind\": }"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_status(rp_machine_tell(machine, wrong[i], &err), RP_ERR_ARGUMENT);
        assert_says(err.message, "no JSON object");
    }
    assert_status(rp_machine_tell(machine, NULL, &err), RP_ERR_ARGUMENT);
    memset(large, ' ', sizeof large - 1);
    assert_status(rp_machine_tell(machine, large, &err), RP_ERR_ARGUMENT);
    memcpy(large, "{}", 2);
    assert_ok(rp_machine_tell(machine, large, &err));
    static char larger[sizeof large + 1];
    memset(larger, ' ', sizeof larger - 1);
    assert_status(rp_machine_tell(machine, larger, &err), RP_ERR_LIMIT);
    /* Other kinds are nobody's business yet, and no kind of object takes the broker down. */
    assert_ok(rp_machine_tell(machine, "{\"kind\":\"editor\",\"memory_bytes\":5}", &err));
    assert_ok(rp_machine_tell(machine, "{\"kind\":7,\"memory_bytes\":5}", &err));
    assert_int_equal(fork_server_count(), 0);
    assert_ok(
        rp_machine_tell(machine, "{\"kind\":\"fork_server\",\"pid\":1,\"memory_bytes\":5}", &err));
    wait_until(fork_server_bytes, 5);
    json_t *document = ask_for(true);
    const json_t *row = json_array_get(json_object_get(document, "fork_servers"), 0);
    assert_int_equal(json_integer_value(json_object_get(row, "pid")), getpid()); /* not as told */
    assert_non_null(json_string_value(json_object_get(row, "command")));
    assert_non_null(json_string_value(json_object_get(row, "since")));
    json_decref(document);
    /* The next thing it says is all that it says. */
    assert_ok(
        rp_machine_tell(machine, "{\"kind\":\"fork_server\",\"memory_bytes\":\"much\"}", &err));
    wait_until(fork_server_bytes, 0);
    assert_ok(rp_machine_tell(machine, "{\"kind\":\"fork_server\",\"memory_bytes\":-9}", &err));
    pid_t other = start_teller("{\"kind\":\"fork_server\",\"memory_bytes\":1048576}");
    wait_until(fork_server_bytes, 1 << 20);
    assert_int_equal(fork_server_count(), 2);
    end_teller(other);
    wait_until(fork_server_count, 1);
    wait_until(fork_server_bytes, 0);
    /* Two that claim everything there is. */
    static const char all[] = "{\"kind\":\"fork_server\",\"memory_bytes\":9223372036854775807}";
    assert_ok(rp_machine_tell(machine, all, &err));
    other = start_teller(all);
    wait_until(fork_server_count, 2);
    wait_until(fork_server_bytes, INT64_MAX);
    end_teller(other);
    /* It is no lease: nothing that it holds keeps the broker. */
    rp_cleared cleared;
    assert_ok(rp_machine_clear(machine, false, &cleared, &err));
    assert_int_equal(cleared.removed_count + cleared.leased_count, 0);
    assert_int_equal(leak_count(), 0);
    assert_ok(rp_machine_stop(machine, false, &err));
    assert_int_equal(wait_for_end(broker_pid), RP_OK);
    assert_status(rp_machine_tell(machine, all, &err), RP_ERR_STATE);
    rp_machine_close(machine);
}

static void who_says_what_it_is_keeps_no_idle_broker(void **state) {
    (void)state;
    rp_machine_options here = RP_MACHINE_OPTIONS_INIT;
    rp_machine *machine = NULL;
    bool has_ended = false;
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    options.idle_exit_ms = 500;
    begin_with(NULL);
    here.no_start = true;
    assert_ok(rp_machine_open(&here, &machine, &err));
    for (int i = 0; i < PATIENCE_MS / 50 && !has_ended; i++) {
        has_ended = rp_machine_tell(machine, "{\"kind\":\"fork_server\"}", &err) != RP_OK;
        usleep(50000);
    }
    assert_true(has_ended);
    rp_machine_close(machine);
    assert_int_equal(wait_for_end(broker_pid), RP_OK);
}

static void what_fork_servers_hold_is_no_room_and_no_part_of_a_budget(void **state) {
    (void)state;
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    options.budget = "10MiB";
    begin_with(NULL);
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    /* Less than the machine has: a budget that was asked for is as it was. */
    pid_t small = start_teller("{\"kind\":\"fork_server\",\"memory_bytes\":52428800}");
    wait_until(fork_server_bytes, 50 << 20);
    assert_ok(acquire(client, "a?memory_bytes=6MiB", 0, &reply));
    release(client, lease_id(&reply));
    end_teller(small);
    wait_until(fork_server_bytes, 0);
    /* All that it has: there is no room, as long as it is there. */
    pid_t large = start_teller("{\"kind\":\"fork_server\",\"memory_bytes\":9223372036854775807}");
    wait_until(fork_server_bytes, INT64_MAX);
    assert_status(acquire(client, "b?memory_bytes=1MiB", 200, &reply), RP_ERR_CAPACITY);
    assert_says(err.message, "fork servers have");
    struct asking asking = by_thread(client, 1, "c?memory_bytes=1MiB");
    asking.timeout_ms = PATIENCE_MS;
    begin_asking(&asking);
    wait_until(waiters_for_room, 1);
    end_teller(large);
    assert_int_equal(pthread_join(asking.runs_on, NULL), 0);
    assert_int_equal(asking.status, RP_OK);
    release(client, asking.lease_id);
    rp_client_drop(client);
    wait_until(lease_count, 0);
    end();
}

static void sigterm_waits_for_leases_and_a_second_one_does_not(void **state) {
    (void)state;
    for (int twice = 0; twice < 2; twice++) {
        begin();
        struct rp_client *client = connect_to_broker();
        struct rp_reply reply;
        assert_ok(acquire(client, "a", 0, &reply));
        uint64_t id = lease_id(&reply);
        kill(broker_pid, SIGTERM);
        usleep(200000);
        assert_int_equal(waitpid(broker_pid, NULL, WNOHANG), 0);
        assert_status(acquire(client, "b", 0, &reply), RP_ERR_STATE);
        assert_says(err.message, "is stopping");
        if (twice) {
            kill(broker_pid, SIGTERM);
        } else {
            release(client, id);
        }
        assert_int_equal(wait_for_end(broker_pid), RP_OK);
        rp_client_drop(client);
    }
}

/* A plain connection, without anything that a client would do. */
static int plain_connection(void) {
    char path[128];
    int fd = -1;
    snprintf(path, sizeof path, "%s/broker.sock", folder);
    assert_ok(rp_channel_connect(path, &fd, &err));
    return fd;
}

/* One that has said hello, and was welcomed. */
static int plain_client(void) {
    static char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    size_t bytes;
    int fd = plain_connection();
    const struct rp_message hello = {.type = RP_MESSAGE_HELLO, .hello = {RP_FRAME_VERSION, 1, "x"}};
    assert_ok(rp_frame_write(&hello, frame, &bytes, &err));
    assert_int_equal(send(fd, frame, bytes, MSG_NOSIGNAL), bytes);
    assert_true(recv(fd, frame, sizeof frame, 0) > 0);
    return fd;
}

static void expect_end(int fd) {
    static char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    struct rp_descriptors descriptors;
    size_t bytes;
    assert_status(rp_channel_receive(fd, frame, &bytes, &descriptors,
                                     rp_deadline_after_ms(PATIENCE_MS), &err),
                  RP_ERR_STATE);
    close(fd);
}

static void garbage_ends_its_own_connection_only(void **state) {
    (void)state;
    begin();
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    assert_ok(acquire(client, "a", 0, &reply));
    uint64_t id = lease_id(&reply);
    static char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    size_t bytes;
    int fd = plain_connection();
    assert_int_equal(send(fd, "garbage", 7, MSG_NOSIGNAL), 7);
    expect_end(fd);
    /* Right, but before hello. */
    fd = plain_connection();
    struct rp_message message = {.type = RP_MESSAGE_STATS, .number = 1};
    assert_ok(rp_frame_write(&message, frame, &bytes, &err));
    assert_int_equal(send(fd, frame, bytes, MSG_NOSIGNAL), bytes);
    expect_end(fd);
    /* Cut off, after hello. */
    fd = plain_client();
    message = (struct rp_message){.type = RP_MESSAGE_EVICT, .evict = {"key", 0}};
    assert_ok(rp_frame_write(&message, frame, &bytes, &err));
    assert_int_equal(send(fd, frame, bytes - 1, MSG_NOSIGNAL), bytes - 1);
    expect_end(fd);
    /* A descriptor where none belongs. */
    fd = plain_connection();
    struct rp_descriptors one = {{0}, 1};
    message = (struct rp_message){.type = RP_MESSAGE_HELLO, .hello = {RP_FRAME_VERSION, 1, "x"}};
    assert_ok(rp_frame_write(&message, frame, &bytes, &err));
    assert_ok(rp_channel_send(fd, frame, bytes, &one, 0, &err));
    expect_end(fd);
    assert_int_equal(stat_of("leases"), 1);
    release(client, id);
    wait_until(lease_count, 0);
    rp_client_drop(client);
    end();
}

static void a_process_may_wait_for_so_many_answers(void **state) {
    (void)state;
    begin();
    static char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    struct rp_descriptors descriptors;
    size_t bytes;
    int fd = plain_client();
    struct rp_message message;
    for (uint32_t i = 1; i <= RP_LIMIT_CLIENT_REQUESTS + 1; i++) {
        message = (struct rp_message){.type = RP_MESSAGE_ACQUIRE,
                                      .number = i,
                                      .acquire = {.kind = RP_KIND_MODEL,
                                                  .resource_type = "model",
                                                  .name = "slow?load_ms=60000",
                                                  .engine = "simulated"}};
        assert_ok(rp_frame_write(&message, frame, &bytes, &err));
        assert_ok(rp_channel_send(fd, frame, bytes, NULL, RP_NEVER_NS, &err));
    }
    assert_ok(rp_channel_receive(fd, frame, &bytes, &descriptors, rp_deadline_after_ms(PATIENCE_MS),
                                 &err));
    assert_ok(rp_frame_parse(frame, bytes, &message, &err));
    assert_int_equal(message.number, RP_LIMIT_CLIENT_REQUESTS + 1);
    assert_int_equal(message.failed.status, RP_ERR_LIMIT);
    assert_int_equal(waiter_count(), RP_LIMIT_CLIENT_REQUESTS);
    close(fd);
    wait_until(waiter_count, 0);
    assert_true(stat_of("loads") <= 1); /* called off before it began, perhaps */
    end();
}

static void a_process_may_lease_one_model_so_often(void **state) {
    (void)state;
    begin();
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    uint64_t id = 0;
    for (int i = 0; i < RP_LIMIT_CLIENT_LEASES_SAME; i++) {
        assert_ok(acquire(client, "a", 0, &reply));
        id = lease_id(&reply);
    }
    assert_status(acquire(client, "a", 0, &reply), RP_ERR_LIMIT);
    assert_says(err.message, "has 64 leases on 'model:a@cpu'");
    assert_int_equal(pool_leases(), RP_LIMIT_CLIENT_LEASES_SAME);
    assert_ok(acquire(client, "b", 0, &reply)); /* of another model, or once one is given back */
    rp_reply_fini(&reply);
    release(client, id);
    assert_ok(acquire(client, "a", 0, &reply));
    rp_reply_fini(&reply);
    rp_client_drop(client);
    end();
}

/* Each of them may have a thread of its own in the broker. */
static void a_process_may_give_so_many_orders_at_once(void **state) {
    (void)state;
    enum { ORDERS = 100 };
    setenv("RESOURCE_POOL_SIMULATE", SOURCE_ROOT "/tests/machines/8xh100.json", 1);
    begin();
    unsetenv("RESOURCE_POOL_SIMULATE");
    static char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    assert_ok(acquire(client, "a?load_ms=1000", 0, &reply));
    uint64_t id = lease_id(&reply);
    int fd = plain_client();
    struct rp_message message;
    size_t bytes;
    for (uint32_t i = 1; i <= ORDERS; i++) {
        message = (struct rp_message){.type = RP_MESSAGE_MOVE,
                                      .number = i,
                                      .move = {"model:a?load_ms=1000@cuda:0", "cuda:1", 0}};
        assert_ok(rp_frame_write(&message, frame, &bytes, &err));
        assert_ok(rp_channel_send(fd, frame, bytes, NULL, RP_NEVER_NS, &err));
    }
    int refused = 0;
    for (int i = 0; i < ORDERS; i++) {
        struct rp_descriptors descriptors;
        assert_ok(rp_channel_receive(fd, frame, &bytes, &descriptors,
                                     rp_deadline_after_ms(PATIENCE_MS), &err));
        assert_ok(rp_frame_parse(frame, bytes, &message, &err));
        refused += message.type == RP_MESSAGE_FAILED && message.failed.status == RP_ERR_LIMIT;
    }
    assert_true(refused >= ORDERS / 2 && refused < ORDERS);
    close(fd);
    release(client, id);
    rp_client_drop(client);
    end();
}

static void another_version_is_refused_politely(void **state) {
    (void)state;
    begin();
    static char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    struct rp_descriptors descriptors;
    size_t bytes;
    int fd = plain_connection();
    struct rp_message message = {
        .type = RP_MESSAGE_HELLO, .version = 9, .number = 5, .hello = {9, 1, "from the future"}};
    assert_ok(rp_frame_write(&message, frame, &bytes, &err));
    assert_int_equal(send(fd, frame, bytes, MSG_NOSIGNAL), bytes);
    assert_ok(rp_channel_receive(fd, frame, &bytes, &descriptors, rp_deadline_after_ms(PATIENCE_MS),
                                 &err));
    assert_ok(rp_frame_parse(frame, bytes, &message, &err));
    assert_int_equal(message.type, RP_MESSAGE_REFUSED);
    assert_int_equal(message.number, 5);
    assert_int_equal(message.failed.status, RP_ERR_UNSUPPORTED);
    assert_says(message.failed.message, "version 2");
    assert_true(message.failed.hint[0] != '\0');
    expect_end(fd);
    end();
}

static void a_client_that_does_not_read_is_let_go(void **state) {
    (void)state;
    begin();
    static char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    char name[301];
    size_t bytes;
    int fd = plain_client();
    rp_status status = RP_OK;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    const struct rp_message message = {
        .type = RP_MESSAGE_ACQUIRE,
        .number = 1,
        .acquire = {.kind = RP_KIND_RESOURCE, .resource_type = "model", .name = name}};
    assert_ok(rp_frame_write(&message, frame, &bytes, &err));
    /* Each is refused with some 350 bytes: 200,000 of them are over the limit. */
    for (int i = 0; i < 200000 && status == RP_OK; i++) {
        status = rp_channel_send(fd, frame, bytes, NULL, rp_deadline_after_ms(PATIENCE_MS), &err);
    }
    assert_int_equal(status, RP_ERR_STATE);
    close(fd);
    assert_int_equal(stat_of("leases"), 0);
    end();
}

static void of_two_brokers_exactly_one_serves(void **state) {
    (void)state;
    enum { ROUNDS = 200 };
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    for (int round = 0; round < ROUNDS; round++) {
        int ready[2];
        pid_t pids[2];
        assert_int_equal(pipe(gate), 0);
        for (int i = 0; i < 2; i++) {
            pids[i] = start_with(NULL, &ready[i]);
        }
        usleep(5000); /* both stand at the gate */
        close(gate[0]);
        close(gate[1]);
        gate[0] = gate[1] = -1;
        int served = 0;
        for (int i = 0; i < 2; i++) {
            bool serves = is_ready(ready[i]);
            served += serves;
            if (serves) {
                broker_pid = pids[i];
            } else {
                assert_int_equal(wait_for_end(pids[i]), RP_ERR_BUSY);
            }
        }
        assert_int_equal(served, 1);
        struct rp_client *client = connect_to_broker();
        assert_int_equal(rp_client_broker_pid(client), broker_pid);
        rp_client_drop(client);
        /* Every other time it leaves its socket and its lock file behind. */
        kill(broker_pid, round % 2 ? SIGKILL : SIGTERM);
        assert_int_equal(wait_for_end(broker_pid), round % 2 ? 1000 + SIGKILL : RP_OK);
    }
}

static void a_socket_that_answers_is_never_taken(void **state) {
    (void)state;
    begin();
    char path[128];
    snprintf(path, sizeof path, "%s/broker.lock", folder);
    assert_int_equal(unlink(path), 0); /* somebody tidied up */
    int ready_fd;
    pid_t second = start_with(NULL, &ready_fd);
    assert_false(is_ready(ready_fd));
    assert_int_equal(wait_for_end(second), RP_ERR_BUSY);
    struct rp_client *client = connect_to_broker();
    assert_int_equal(rp_client_broker_pid(client), broker_pid);
    rp_client_drop(client);
    end();
}

static void a_broker_claims_its_folder_again(void **state) {
    (void)state;
    begin();
    struct rp_client *before = connect_to_broker();
    struct rp_reply reply;
    assert_ok(acquire(before, "a", 0, &reply));
    uint64_t id = lease_id(&reply);
    for (int round = 0; round < 2; round++) {
        /* Once with the lock file, once without: the socket alone. */
        assert_int_equal(round ? unlink_socket() : remove_folder(NULL), 0);
        pid_t pid = fork();
        if (pid == 0) { /* a process that has no connection yet */
            const struct rp_client_options no_start = {.no_start = true};
            struct rp_client *client = NULL;
            int64_t deadline_ns = rp_deadline_after_ms(PATIENCE_MS);
            rp_status status = RP_ERR_ABSENT;
            while (status == RP_ERR_ABSENT && rp_clock_ns() < deadline_ns) {
                status = rp_client_acquire(&no_start, &client, NULL);
                if (status == RP_ERR_ABSENT) usleep(5000);
            }
            if (status != RP_OK) _exit(1);
            _exit(rp_client_broker_pid(client) == broker_pid ? 0 : 2);
        }
        assert_int_equal(wait_for_end(pid), 0);
        assert_int_equal(stat_of("leases"), 1); /* and nothing was lost */
    }
    release(before, id);
    rp_client_drop(before);
    wait_until(lease_count, 0);
    end();
}

static void a_broker_whose_address_another_took_drains(void **state) {
    (void)state;
    begin();
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    assert_ok(acquire(client, "a", 0, &reply));
    uint64_t id = lease_id(&reply);
    pid_t first = broker_pid;
    kill(first, SIGSTOP); /* so that the other is faster */
    assert_int_equal(remove_folder(NULL), 0);
    int ready_fd;
    pid_t second = start_with(NULL, &ready_fd);
    assert_true(is_ready(ready_fd));
    kill(first, SIGCONT);
    broker_pid = first;
    assert_true(rp_client_is_alive(client));
    usleep(500000);
    release(client, id); /* the last lease: it ends */
    assert_int_equal(wait_for_end(first), RP_OK);
    rp_client_drop(client);
    client = connect_to_broker();
    assert_int_equal(rp_client_broker_pid(client), second);
    rp_client_drop(client);
    broker_pid = second;
    end();
}

static void what_a_dead_broker_left_is_in_nobodys_way(void **state) {
    (void)state;
    char path[128];
    begin();
    kill(broker_pid, SIGKILL);
    assert_int_equal(wait_for_end(broker_pid), 1000 + SIGKILL);
    snprintf(path, sizeof path, "%s/broker.sock", folder);
    assert_int_equal(access(path, F_OK), 0);
    snprintf(path, sizeof path, "%s/broker.lock", folder);
    assert_int_equal(access(path, F_OK), 0);
    /* Nor is a lock with the number of a process that lives. */
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(fd, "1\n", 2), 2);
    close(fd);
    begin();
    struct rp_client *client = connect_to_broker();
    assert_int_equal(rp_client_broker_pid(client), broker_pid);
    rp_client_drop(client);
    end();
}

static void a_child_of_a_client_has_its_own_connection(void **state) {
    (void)state;
    begin();
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    assert_ok(acquire(client, "a", 0, &reply));
    uint64_t id = lease_id(&reply);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (acquire(client, "a", 0, &reply) != RP_ERR_FORKED) _exit(1);
        release(client, id); /* not the child's to give back */
        struct rp_client *own = NULL;
        if (rp_client_acquire(NULL, &own, NULL) != RP_OK || own == client) _exit(2);
        if (acquire(own, "a", 0, &reply) != RP_OK) _exit(3);
        rp_client_drop(client);
        if (write(ends[1], "x", 1) != 1) _exit(4);
        alarm(PATIENCE_MS / 1000); /* a test that fails leaves nobody behind */
        pause();
        _exit(0);
    }
    char byte;
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(stat_of("leases"), 2);
    /* The parent's end is seen at once, though its child lives on. */
    rp_client_drop(client);
    wait_until(lease_count, 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    wait_until(lease_count, 0);
    end();
}

static void *ask_a_lot(void *shared) {
    struct rp_client *client = shared;
    for (int i = 0; i < 300; i++) {
        struct rp_reply reply;
        rp_error why = RP_ERROR_INIT;
        char name[16];
        snprintf(name, sizeof name, "m%d", i % 5);
        const struct rp_message message = {.type = RP_MESSAGE_ACQUIRE,
                                           .acquire = {.kind = RP_KIND_MODEL,
                                                       .resource_type = "model",
                                                       .name = name,
                                                       .engine = "simulated"}};
        if (rp_client_call(client, &message, NULL, rp_deadline_after_ms(PATIENCE_MS), NULL, &reply,
                           &why) != RP_OK) {
            return client;
        }
        char key[16 + sizeof name];
        snprintf(key, sizeof key, "model:%s@cpu", name);
        if (strncmp(reply.message.leased.key, key, strlen(key)) != 0) return client;
        release(client, reply.message.leased.lease_id);
        rp_reply_fini(&reply);
    }
    return NULL;
}

static void *acquire_from_stranger(void *user) {
    const struct rp_client_options no_start = {.no_start = true};
    struct rp_client *client = NULL;
    *(rp_status *)user = rp_client_acquire(&no_start, &client, NULL);
    return NULL;
}

/* While another thread is being welcomed: the child must not hold its parent's connection open. */
static void a_fork_in_the_middle_of_connecting_keeps_no_end(void **state) {
    (void)state;
    static char frame[RP_CHANNEL_FRAME_BYTES_MAX];
    struct rp_descriptors descriptors;
    char path[128];
    size_t bytes;
    int listening = -1;
    int fd = -1;
    rp_status status = RP_OK;
    pthread_t thread;
    snprintf(path, sizeof path, "%s/broker.sock", folder);
    unlink(path);
    assert_ok(rp_channel_listen(path, &listening, &err));
    assert_int_equal(pthread_create(&thread, NULL, acquire_from_stranger, &status), 0);
    while (fd < 0) {
        assert_ok(rp_channel_accept(listening, &fd, &err));
    }
    assert_ok(rp_channel_receive(fd, frame, &bytes, &descriptors, rp_deadline_after_ms(PATIENCE_MS),
                                 &err));
    pid_t child = fork();
    if (child == 0) stay();
    rp_error why = RP_ERROR_INIT;
    rp_fail(&why, RP_ERR_UNSUPPORTED, "not you");
    const struct rp_message refused = {
        .type = RP_MESSAGE_REFUSED, .number = 1, .failed = rp_error_to_text(&why)};
    assert_ok(rp_frame_write(&refused, frame, &bytes, &err));
    assert_ok(rp_channel_send(fd, frame, bytes, NULL, 0, &err));
    pthread_join(thread, NULL);
    assert_status(status, RP_ERR_UNSUPPORTED);
    rp_status ended =
        rp_channel_receive(fd, frame, &bytes, &descriptors, rp_deadline_after_ms(3000), &err);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(fd);
    close(listening);
    unlink(path);
    assert_status(ended, RP_ERR_STATE);
}

static void threads_share_one_connection(void **state) {
    (void)state;
    begin();
    struct rp_client *client = connect_to_broker();
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask_a_lot, client), 0);
    }
    for (int i = 0; i < 8; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    wait_until(lease_count, 0);
    wait_until(pool_leases, 0);
    assert_int_equal(stat_of("clients"), 1);
    rp_client_drop(client);
    end();
}

static void a_dead_broker_is_an_error_and_a_stopped_one_a_timeout(void **state) {
    (void)state;
    begin();
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    kill(broker_pid, SIGSTOP);
    const struct rp_message message = {.type = RP_MESSAGE_STATS};
    assert_status(
        rp_client_call(client, &message, NULL, rp_deadline_after_ms(100), NULL, &reply, &err),
        RP_ERR_TIMEOUT);
    /* What it was told meanwhile it hears later, however much that is. */
    for (int i = 0; i < 5000; i++) {
        release(client, 1000000);
    }
    kill(broker_pid, SIGCONT);
    assert_int_equal(stat_of("clients"), 1);
    kill(broker_pid, SIGKILL);
    waitpid(broker_pid, NULL, 0);
    assert_status(acquire(client, "a", 0, &reply), RP_ERR_STATE);
    rp_client_drop(client);
    begin();
    client = connect_to_broker(); /* a new one is found, over the socket that the old one left */
    assert_int_equal(rp_client_broker_pid(client), broker_pid);
    rp_client_drop(client);
    end();
}

/* ---- hosts ---- */

/* A host whose models are as if in another process: it counts, and one may die. */
struct host_figures {
    _Atomic int opened;
    _Atomic int closed;
    _Atomic int attached;
    _Atomic int detached;
    _Atomic int is_dead;
    _Atomic int fail_at; /* with the next ring: the n-th allocation after it fails */
};
static struct host_figures *figures; /* in memory that the broker's process shares */

static const struct rp_engine_ops *ops_of_engine;
static struct rp_engine_ops ops_that_count;

static void close_and_count(rp_model *model) {
    figures->closed++;
    ops_of_engine->close(model);
}

static rp_status open_and_count(void *user, const char *path, const rp_model_options *model_options,
                                const _Atomic int *cancelled, rp_model **model, rp_error *why) {
    assert_ptr_equal(user, figures);
    rp_status status = rp_model_open_until(path, model_options, cancelled, RP_NEVER_NS, model, why);
    if (status != RP_OK) return status;
    ops_of_engine = (*model)->ops;
    ops_that_count = *ops_of_engine;
    ops_that_count.close = close_and_count;
    (*model)->ops = &ops_that_count;
    figures->opened++;
    figures->is_dead = 0;
    return RP_OK;
}

static rp_status attach_and_count(void *user, rp_model *model, pid_t client,
                                  struct rp_broker_ring *ring, rp_error *why) {
    (void)user;
    (void)model;
    (void)client;
    if (figures->is_dead) return rp_fail(why, RP_ERR_STATE, "the worker has died");
    rp_memory_fail_at((uint64_t)figures->fail_at);
    int fd = memfd_create("ring", MFD_CLOEXEC);
    if (fd < 0 || write(fd, "ring", 4) != 4) return rp_fail_errno(why, "no ring");
    *ring = (struct rp_broker_ring){fd, (uint64_t)++figures->attached, 4};
    return RP_OK;
}

static void detach_and_count(void *user, rp_model *model, uint64_t ring_id) {
    (void)user;
    assert_non_null(model);
    assert_true(ring_id > 0);
    figures->detached++;
}

static pid_t name_process(void *user, const rp_model *model, bool *is_alone) {
    assert_ptr_equal(user, figures);
    assert_non_null(model);
    *is_alone = false;
    return 4711;
}

/* The host's minder, in the broker's process: looks whether the model has died. */
static struct {
    pthread_t thread;
    _Atomic bool is_over;
    void (*died)(void *watcher);
    void *watcher;
} minder;

static void *mind(void *unused) {
    (void)unused;
    bool is_told = false;
    while (!minder.is_over) {
        if (figures->is_dead && !is_told) minder.died(minder.watcher);
        is_told = figures->is_dead;
        usleep(1000);
    }
    return NULL;
}

static void watch_and_mind(void *user, void (*died)(void *watcher), void *watcher) {
    assert_ptr_equal(user, figures);
    if (watcher) {
        minder.died = died;
        minder.watcher = watcher;
        assert_int_equal(pthread_create(&minder.thread, NULL, mind, NULL), 0);
    } else {
        minder.is_over = true;
        pthread_join(minder.thread, NULL);
    }
}

static bool is_alive_as_counted(void *user, const rp_model *model, rp_error *story) {
    assert_ptr_equal(user, figures);
    if (!figures->is_dead) return true;
    rp_fail(story, RP_ERR_STATE, "the worker of '%s' has died", rp_model_path(model));
    return false;
}

/* Figures begin at 0, in memory that the broker's process shares; the caller unmaps them. */
static struct rp_broker_host host_that_counts(void) {
    figures =
        mmap(NULL, sizeof *figures, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return (struct rp_broker_host){.user = figures,
                                   .open_model = open_and_count,
                                   .attach = attach_and_count,
                                   .detach = detach_and_count,
                                   .process_of = name_process};
}

/* Answered, or refused for want of memory, or let go; the next one is served. */
static void expect_answer_or_want(struct rp_client **client, const char *name) {
    struct rp_reply reply;
    if (*client && !rp_client_is_alive(*client)) {
        rp_client_drop(*client);
        *client = NULL;
    }
    const struct rp_client_options no_start = {.no_start = true};
    if (!*client && rp_client_acquire(&no_start, client, &err) != RP_OK) {
        *client = NULL;
        return;
    }
    rp_status status = acquire(*client, name, 3000, &reply);
    if (status == RP_OK) {
        release(*client, lease_id(&reply));
    } else if (status != RP_ERR_MEMORY && status != RP_ERR_STATE) {
        fail_msg("%s: %s", rp_status_name(status), err.message);
    }
}

static void a_broker_without_memory_lives_on(void **state) {
    (void)state;
    enum { ALLOCATIONS = 60 };
    const struct rp_broker_host host = host_that_counts();
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    begin_with(&host);
    struct rp_client *client = connect_to_broker();
    for (int n = 1; n <= ALLOCATIONS; n++) {
        char name[32];
        char *text = NULL;
        snprintf(name, sizeof name, "m%d", n);
        figures->fail_at = n;
        expect_answer_or_want(&client, "a");
        figures->fail_at = 0;
        const struct rp_message stats = {.type = RP_MESSAGE_STATS};
        if (client && rp_client_call_text(client, &stats, rp_deadline_after_ms(PATIENCE_MS), &text,
                                          &err) == RP_OK) {
            rp_free(text);
        }
        if (client) expect_answer_or_want(&client, name);
        rp_client_drop(client);
        client = NULL;
        expect_answer_or_want(&client, name);
        if (!client) client = connect_to_broker();
        struct rp_reply reply;
        int64_t deadline_ns = rp_deadline_after_ms(PATIENCE_MS);
        rp_status status = acquire(client, name, 0, &reply);
        /* A load that found no memory is not tried again for 5 s. */
        while (status == RP_ERR_MEMORY && rp_clock_ns() < deadline_ns) {
            usleep(100000);
            status = acquire(client, name, 0, &reply);
        }
        assert_int_equal(status, RP_OK); /* all is well again */
        release(client, lease_id(&reply));
    }
    rp_client_drop(client);
    wait_until(lease_count, 0);
    wait_until(pool_leases, 0);
    end(); /* and nothing is left on its heap */
    munmap(figures, sizeof *figures);
}

/* One order while the n-th allocation fails: done, or refused for want of memory, or let go. */
static void order_or_want(int kind, const char *key) {
    const struct rp_message messages[] = {
        {.type = RP_MESSAGE_STATUS, .status = {1}},
        {.type = RP_MESSAGE_EVICT, .evict = {key, 0}},
        {.type = RP_MESSAGE_CLEAR, .clear = {1}},
        {.type = RP_MESSAGE_MOVE, .move = {key, "cuda:1", 1}},
        {.type = RP_MESSAGE_TELL, .tell = {"{\"kind\":\"fork_server\",\"memory_bytes\":1}"}},
    };
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    char *text = NULL;
    rp_status status = acquire(client, "a", 0, &reply); /* its ring arms the failure */
    if (status == RP_OK) rp_reply_fini(&reply);
    if (status != RP_OK) { /* it met the failure itself */
        assert_true(status == RP_ERR_MEMORY || status == RP_ERR_STATE);
        rp_client_drop(client);
        return;
    }
    status = rp_client_call_text(client, &messages[kind], rp_deadline_after_ms(PATIENCE_MS), &text,
                                 &err);
    if (status == RP_OK) rp_free(text);
    assert_true(status == RP_OK || status == RP_ERR_MEMORY || status == RP_ERR_STATE ||
                status == RP_ERR_NOT_FOUND);
    rp_client_drop(client);
}

static void orders_without_memory_leave_the_broker_well(void **state) {
    (void)state;
    enum { ALLOCATIONS = 60, KINDS = 5 };
    figures =
        mmap(NULL, sizeof *figures, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const struct rp_broker_host host = {.user = figures,
                                        .open_model = open_and_count,
                                        .attach = attach_and_count,
                                        .detach = detach_and_count};
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    setenv("RESOURCE_POOL_SIMULATE", SOURCE_ROOT "/tests/machines/8xh100.json", 1);
    begin_with(&host);
    unsetenv("RESOURCE_POOL_SIMULATE");
    for (int n = 1; n <= ALLOCATIONS; n++) {
        for (int kind = 0; kind < KINDS; kind++) {
            struct rp_client *client = connect_to_broker();
            struct rp_reply reply;
            assert_ok(acquire(client, "a", 0, &reply)); /* it is loaded */
            char key[128];
            snprintf(key, sizeof key, "%s", reply.message.leased.key);
            release(client, lease_id(&reply));
            figures->fail_at = n;
            order_or_want(kind, key);
            figures->fail_at = 0;
            expect_answer_or_want(&client, "b"); /* may meet what is still armed, and disarms it */
            if (!client) client = connect_to_broker();
            assert_ok(acquire(client, "b", 0, &reply)); /* all is well again */
            release(client, lease_id(&reply));
            rp_client_drop(client);
        }
    }
    wait_until(lease_count, 0);
    wait_until(pool_leases, 0);
    end(); /* and nothing is left on its heap */
    munmap(figures, sizeof *figures);
}

static void a_broker_that_cannot_begin_says_so(void **state) {
    (void)state;
    enum { ALLOCATIONS = 40 };
    int refused = 0;
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    options.idle_exit_ms = 1;
    for (int n = 1; n <= ALLOCATIONS; n++) {
        fail_broker_at = (uint64_t)n;
        int ready_fd;
        pid_t pid = start_with(NULL, &ready_fd);
        close(ready_fd);
        int code = wait_for_end(pid);
        if (code != RP_OK) assert_int_equal(code, RP_ERR_MEMORY);
        refused += code != RP_OK;
    }
    fail_broker_at = 0;
    assert_true(refused >= 3 && refused < ALLOCATIONS);
}

static void status_tells_what_a_model_is(void **state) {
    (void)state;
    const struct rp_broker_host host = host_that_counts();
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    begin_with(&host);
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    assert_ok(acquire(client, "a?memory_bytes=1MiB", 0, &reply));
    assert_string_equal(reply.message.leased.memory_method, "engine");
    release(client, lease_id(&reply));
    json_t *document = ask_for(true);
    const json_t *row = json_array_get(json_object_get(document, "entries"), 0);
    assert_string_equal(json_string_value(json_object_get(row, "method")), "engine");
    assert_string_equal(json_string_value(json_object_get(row, "engine")), "simulated");
    assert_string_equal(json_string_value(json_object_get(row, "device")), "cpu");
    assert_int_equal(json_integer_value(json_object_get(row, "threads")), 1);
    assert_int_equal(json_integer_value(json_object_get(row, "process")), 4711);
    json_decref(document);
    rp_client_drop(client);
    wait_until(lease_count, 0);
    end();
    munmap(figures, sizeof *figures);
}

static void what_dies_leaves_the_pool_at_once(void **state) {
    (void)state;
    struct rp_broker_host host = host_that_counts();
    host.watch = watch_and_mind;
    host.is_alive = is_alive_as_counted;
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    begin_with(&host);
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    assert_ok(acquire(client, "a?memory_bytes=1MiB", 0, &reply));
    release(client, lease_id(&reply));
    wait_until(pool_leases, 0);
    assert_int_equal(stat_of("entries"), 1);
    figures->is_dead = 1;
    wait_until(entry_count, 0); /* without anybody asking for it */
    assert_int_equal(stat_of("memory_bytes"), 0);
    assert_ok(acquire(client, "a?memory_bytes=1MiB", 0, &reply));
    assert_int_equal(reply.message.leased.is_hit, 0);
    release(client, lease_id(&reply));
    rp_client_drop(client);
    wait_until(lease_count, 0);
    end();
    assert_int_equal(figures->opened, 2);
    assert_int_equal(figures->closed, 2);
    munmap(figures, sizeof *figures);
}

static void a_host_opens_models_and_gives_out_rings(void **state) {
    (void)state;
    const struct rp_broker_host host = host_that_counts();
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    begin_with(&host);
    struct rp_client *client = connect_to_broker();
    struct rp_reply reply;
    assert_ok(acquire(client, "a", 0, &reply));
    assert_int_equal(reply.descriptors.count, 1);
    assert_int_equal(reply.message.leased.ring_bytes, 4);
    char bytes[5] = "";
    int fd = rp_descriptors_take(&reply.descriptors);
    assert_int_equal(pread(fd, bytes, 4, 0), 4);
    assert_string_equal(bytes, "ring");
    close(fd);
    uint64_t id = lease_id(&reply);
    /* One that has died is loaded afresh, while the old one is still leased. */
    figures->is_dead = 1;
    assert_ok(acquire(client, "a", 0, &reply));
    release(client, lease_id(&reply));
    assert_int_equal(figures->opened, 2);
    release(client, id);
    rp_client_drop(client);
    wait_until(lease_count, 0);
    end();
    assert_int_equal(figures->closed, 2);
    assert_int_equal(figures->attached, 2);
    assert_int_equal(figures->detached, 2);
    munmap(figures, sizeof *figures);
}

/* ---- pools that share ---- */

static struct {
    int opened;
    int closed;
    char key[128];
    struct rp_client *client;
    uint64_t lease_id;
} remote;

static void close_remote(rp_model *model) {
    (void)model;
    const struct rp_message message = {.type = RP_MESSAGE_RELEASE, .release = {remote.lease_id}};
    rp_client_tell(remote.client, &message);
    rp_client_drop(remote.client);
    remote.closed++;
}

static rp_status open_stub(struct rp_client *client, struct rp_reply *reply, const char *path,
                           rp_model **model, rp_error *why) {
    static const struct rp_engine_ops ops = {.name = "stub", .close = close_remote};
    const struct rp_engine_request request = {.path = path, .device = "cpu", .threads = 1};
    rp_status status = rp_model_make(&ops, &request, model, why);
    if (status != RP_OK) return status;
    remote.opened++;
    snprintf(remote.key, sizeof remote.key, "%s", reply->message.leased.key);
    remote.client = client;
    remote.lease_id = reply->message.leased.lease_id;
    return RP_OK;
}

static void a_pool_that_shares_asks_the_broker(void **state) {
    (void)state;
    begin();
    rp_pool_options pool_options = RP_POOL_OPTIONS_INIT;
    rp_pool *pool = NULL;
    rp_lease *lease = NULL;
    rp_lease *second = NULL;
    rp_request request = RP_REQUEST_INIT;
    rp_share_open_remote = open_stub;
    pool_options.share = RP_SHARE_MACHINE;
    request.type = "embedding";
    request.name = "a";
    request.engine = "simulated";
    assert_ok(rp_pool_open(&pool_options, &pool, &err));
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    assert_ok(rp_pool_get_model(pool, &request, &second, &err));
    assert_int_equal(remote.opened, 1);
    assert_int_equal(stat_of("leases"), 1);
    rp_lease_release(lease, NULL);
    assert_int_equal(stat_of("leases"), 1);
    rp_lease_release(second, NULL); /* the last one here: the machine's goes with it */
    wait_until(lease_count, 0);
    assert_int_equal(remote.closed, 1);
    assert_ok(rp_pool_close(pool, &err));
    end();
    /* Without a broker, and with none to start, it works alone. */
    setenv("RESOURCE_POOL_RPOOL", "/nowhere/rpool", 1);
    assert_ok(rp_pool_open(&pool_options, &pool, &err));
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    assert_string_equal(rp_model_engine(rp_lease_model(lease)), "simulated");
    assert_int_equal(remote.opened, 1);
    rp_lease_release(lease, NULL);
    assert_ok(rp_pool_close(pool, &err));
    unsetenv("RESOURCE_POOL_RPOOL");
    rp_share_open_remote = NULL;
}

static rp_pool *open_sharing_pool(void) {
    rp_pool_options pool_options = RP_POOL_OPTIONS_INIT;
    rp_pool *pool = NULL;
    pool_options.share = RP_SHARE_MACHINE;
    assert_ok(rp_pool_open(&pool_options, &pool, &err));
    return pool;
}

static rp_totals totals_of(rp_pool *pool) {
    rp_statistics *statistics = NULL;
    assert_ok(rp_pool_statistics(pool, &statistics, &err));
    rp_totals totals = *rp_statistics_totals(statistics);
    rp_statistics_destroy(statistics);
    return totals;
}

/* What was loaded already is a hit, whoever had it loaded, and however often it was given back. */
static void what_the_machine_has_is_a_hit(void **state) {
    (void)state;
    begin();
    rp_share_open_remote = open_stub;
    rp_pool *pool = open_sharing_pool();
    rp_lease *lease = NULL;
    rp_request request = RP_REQUEST_INIT;
    request.type = "embedding";
    request.name = "a";
    request.engine = "simulated";
    for (int i = 0; i < 5; i++) {
        request.timeout_ms = i % 2 ? 20000 : 0; /* with a deadline it is another thread that asks */
        assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
        assert_ok(rp_lease_release(lease, &err));
    }
    rp_totals totals = totals_of(pool);
    assert_int_equal(totals.requests, 5);
    assert_int_equal(totals.misses, 1);
    assert_int_equal(totals.hits, 4);
    assert_int_equal(totals.loads, 1);
    assert_int_equal(remote.opened, remote.closed);
    wait_until(lease_count, 0);
    assert_int_equal(stat_of("loads"), 1);
    assert_int_equal(stat_of("hits"), 4);
    /* The connection is there for the next lease: a new one would need the broker's hello. */
    const struct rp_client_options quick = {.no_start = true, .connect_timeout_ms = 200};
    struct rp_client *client = NULL;
    kill(broker_pid, SIGSTOP);
    assert_ok(rp_client_acquire(&quick, &client, &err));
    kill(broker_pid, SIGCONT);
    rp_client_drop(client);
    assert_ok(rp_pool_close(pool, &err));
    rp_share_open_remote = NULL;
    end();
}

static void the_broker_knows_a_model_as_the_program_does(void **state) {
    (void)state;
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    options.budget = "10MiB";
    begin_with(NULL);
    rp_share_open_remote = open_stub;
    rp_pool *pool = open_sharing_pool();
    rp_lease *lease = NULL;
    rp_request request = RP_REQUEST_INIT;
    request.type = "embedding";
    request.name = "my-words";
    request.path = "a";
    request.engine = "simulated";
    assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
    assert_says(remote.key, "embedding:my-words@cpu");
    assert_ok(rp_lease_release(lease, &err));
    /* What the program expects is what the broker makes room for. */
    request.name = "too-large";
    request.memory_bytes = 64 << 20;
    assert_status(rp_pool_get_model(pool, &request, &lease, &err), RP_ERR_CAPACITY);
    assert_says(err.message, "64.0 MiB (request)");
    assert_ok(rp_pool_close(pool, &err));
    rp_share_open_remote = NULL;
    end();
}

/* What a process that opens two models says on stderr, in `said`. */
static void hear_a_program(const char *level, char said[1024]) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        if (level) {
            setenv("RESOURCE_POOL_LOG", level, 1);
        } else {
            unsetenv("RESOURCE_POOL_LOG");
        }
        setenv("RESOURCE_POOL_RPOOL", "/nowhere/rpool", 1);
        rp_share_open_remote = open_stub;
        rp_pool *pool = open_sharing_pool();
        for (int i = 0; i < 2; i++) {
            rp_request request = RP_REQUEST_INIT;
            rp_lease *lease = NULL;
            request.type = "model";
            request.name = i ? "a" : "b";
            request.engine = "simulated";
            if (rp_pool_get_model(pool, &request, &lease, &err) != RP_OK) _exit(1);
            rp_lease_release(lease, NULL);
        }
        rp_pool_close(pool, NULL);
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t got;
    while ((got = read(ends[0], said + length, 1023 - length)) > 0) {
        length += (size_t)got;
    }
    said[length] = '\0';
    close(ends[0]);
    assert_int_equal(wait_for_end(pid), 0);
}

static size_t count_of(const char *text, const char *word) {
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, word)); at++) {
        count++;
    }
    return count;
}

static void who_works_alone_says_so_once(void **state) {
    (void)state;
    char said[1024];
    hear_a_program(NULL, said);
    assert_int_equal(count_of(said, "works alone"), 1);
    assert_says(said, "/nowhere/rpool");
    hear_a_program("warning", said);
    assert_int_equal(count_of(said, "event=alone"), 1);
    assert_int_equal(count_of(said, "works alone"), 0);
    hear_a_program("off", said);
    assert_string_equal(said, "");
}

/* A broker of another version, and nothing else: refuses whoever says hello. */
static pid_t start_stranger(void) {
    char path[128];
    int listening = -1;
    snprintf(path, sizeof path, "%s/broker.sock", folder);
    unlink(path);
    assert_ok(rp_channel_listen(path, &listening, &err));
    pid_t pid = fork();
    if (pid != 0) {
        close(listening);
        return pid;
    }
    alarm(PATIENCE_MS / 1000);
    for (;;) {
        static char frame[RP_CHANNEL_FRAME_BYTES_MAX];
        struct rp_descriptors descriptors;
        size_t bytes;
        struct rp_message message;
        int fd = -1;
        if (rp_channel_accept(listening, &fd, NULL) != RP_OK) _exit(1);
        if (fd < 0) {
            usleep(1000);
            continue;
        }
        if (rp_channel_receive(fd, frame, &bytes, &descriptors, RP_NEVER_NS, NULL) != RP_OK ||
            rp_frame_parse(frame, bytes, &message, NULL) != RP_OK) {
            _exit(2);
        }
        rp_error why = RP_ERROR_INIT;
        rp_fail(&why, RP_ERR_UNSUPPORTED, "the broker speaks version 99 of the protocol");
        message = (struct rp_message){.type = RP_MESSAGE_REFUSED,
                                      .version = 99,
                                      .number = message.number,
                                      .failed = rp_error_to_text(&why)};
        if (rp_frame_write(&message, frame, &bytes, NULL) != RP_OK) _exit(3);
        if (rp_channel_send(fd, frame, bytes, NULL, RP_NEVER_NS, NULL) != RP_OK) _exit(4);
        close(fd);
    }
}

static void beside_a_broker_of_another_version_it_works_alone(void **state) {
    (void)state;
    char said[1024];
    pid_t stranger = start_stranger();
    hear_a_program(NULL, said);
    kill(stranger, SIGKILL);
    waitpid(stranger, NULL, 0);
    assert_int_equal(count_of(said, "works alone"), 1);
    assert_says(said, "version 99");
}

/* A model that was opened for want of a broker is as good as any other of this process. */
static void what_was_opened_alone_stays(void **state) {
    (void)state;
    setenv("RESOURCE_POOL_RPOOL", "/nowhere/rpool", 1);
    rp_share_open_remote = open_stub;
    rp_pool *pool = open_sharing_pool();
    rp_lease *lease = NULL;
    rp_request request = RP_REQUEST_INIT;
    request.type = "embedding";
    request.name = "a";
    request.engine = "simulated";
    for (int i = 0; i < 3; i++) {
        assert_ok(rp_pool_get_model(pool, &request, &lease, &err));
        assert_ok(rp_lease_release(lease, &err));
    }
    assert_int_equal(totals_of(pool).loads, 1);
    assert_int_equal(totals_of(pool).hits, 2);
    assert_int_equal(totals_of(pool).entry_count, 1);
    assert_ok(rp_pool_close(pool, &err));
    rp_share_open_remote = NULL;
    unsetenv("RESOURCE_POOL_RPOOL");
}

static rp_pool *open_sharing(void) {
    rp_pool_options pool_options = RP_POOL_OPTIONS_INIT;
    rp_pool *pool = NULL;
    pool_options.share = RP_SHARE_MACHINE;
    return rp_pool_open(&pool_options, &pool, &err) == RP_OK ? pool : NULL;
}

static int stop_at_once(void *user) {
    return ++*(int *)user > 2;
}

static void room_of_a_pool_that_shares_is_the_brokers(void **state) {
    (void)state;
    options = (rp_broker_options)RP_BROKER_OPTIONS_INIT;
    options.budget = "10MiB";
    begin_with(NULL);
    rp_share_open_remote = open_stub; /* a pool that could not share models shares nothing */
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    rp_reservation request = RP_RESERVATION_INIT;
    request.device = "cpu";
    request.memory_bytes = 6 << 20;
    request.name = "room";
    rp_lease *lease = NULL;
    pid_t holder = fork();
    if (holder == 0) {
        rp_pool *own = open_sharing();
        if (!own || rp_pool_reserve(own, &request, &lease, NULL) != RP_OK) _exit(1);
        if (write(ends[1], "x", 1) != 1) _exit(2);
        stay();
    }
    char byte;
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    close(ends[1]);
    rp_pool *pool = open_sharing();
    assert_non_null(pool);
    request.timeout_ms = 30;
    assert_status(rp_pool_reserve(pool, &request, &lease, &err), RP_ERR_TIMEOUT);
    request.timeout_ms = 0;
    rp_cancel *cancel = NULL;
    int asked = 0;
    assert_ok(rp_cancel_create(&cancel, &err));
    rp_cancel_set_poll(cancel, stop_at_once, &asked);
    request.cancel = cancel;
    assert_status(rp_pool_reserve(pool, &request, &lease, &err), RP_ERR_CANCELLED);
    request.cancel = NULL;
    kill(holder, SIGKILL); /* and what it had is there again */
    assert_ok(rp_pool_reserve(pool, &request, &lease, &err));
    assert_int_equal(wait_for_end(holder), 1000 + SIGKILL);
    assert_string_equal(rp_lease_placement(lease)->device, "cpu");
    assert_int_equal(rp_lease_memory_bytes(lease), 6 << 20);
    assert_int_equal(stat_of("memory_bytes"), 6 << 20);
    assert_ok(rp_lease_release(lease, &err));
    wait_until(lease_count, 0);
    rp_cancel_destroy(cancel);
    assert_ok(rp_pool_close(pool, &err));
    rp_share_open_remote = NULL;
    end();
}

static void what_a_pool_shares_is_decided_once(void **state) {
    (void)state;
    rp_share share = RP_SHARE_DEFAULT;
    unsetenv("RESOURCE_POOL_SHARE");
    assert_ok(rp_share_decide(RP_SHARE_DEFAULT, &share, &err));
    assert_int_equal(share, RP_SHARE_PROCESS);
    setenv("RESOURCE_POOL_SHARE", "machine", 1);
    assert_ok(rp_share_decide(RP_SHARE_DEFAULT, &share, &err));
    assert_int_equal(share, RP_SHARE_MACHINE);
    assert_ok(rp_share_decide(RP_SHARE_PROCESS, &share, &err));
    assert_int_equal(share, RP_SHARE_PROCESS);
    setenv("RESOURCE_POOL_SHARE", "everybody", 1);
    assert_status(rp_share_decide(RP_SHARE_DEFAULT, &share, &err), RP_ERR_ARGUMENT);
    assert_status(rp_share_decide((rp_share)9, &share, &err), RP_ERR_ARGUMENT);
    unsetenv("RESOURCE_POOL_SHARE");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_is_loaded_once_for_all),
        cmocka_unit_test(one_load_answers_all_who_wait),
        cmocka_unit_test(each_request_has_its_own_deadline),
        cmocka_unit_test(a_request_that_is_called_off_leaves_nothing),
        cmocka_unit_test(room_is_made_and_refused_across_processes),
        cmocka_unit_test(who_wait_for_each_others_room_are_told),
        cmocka_unit_test(who_may_still_give_back_is_no_deadlock),
        cmocka_unit_test(room_is_leased_and_shared_with_nobody),
        cmocka_unit_test(those_who_wait_for_room_get_each_their_own),
        cmocka_unit_test(a_load_that_fails_tells_everybody_why),
        cmocka_unit_test(orders_respect_leases_unless_forced),
        cmocka_unit_test(a_model_moves_and_who_holds_the_old_one_keeps_it_unless_forced),
        cmocka_unit_test(what_failed_and_who_leaked_is_remembered),
        cmocka_unit_test(a_failure_is_kept_with_its_diagnosis_and_counted),
        cmocka_unit_test(it_ends_when_idle_and_not_before),
        cmocka_unit_test(who_counts_keeps_it_and_who_looks_does_not),
        cmocka_unit_test(what_a_program_says_of_itself_is_shown_until_it_goes),
        cmocka_unit_test(who_says_what_it_is_keeps_no_idle_broker),
        cmocka_unit_test(what_fork_servers_hold_is_no_room_and_no_part_of_a_budget),
        cmocka_unit_test(sigterm_waits_for_leases_and_a_second_one_does_not),
        cmocka_unit_test(garbage_ends_its_own_connection_only),
        cmocka_unit_test(a_process_may_wait_for_so_many_answers),
        cmocka_unit_test(a_process_may_lease_one_model_so_often),
        cmocka_unit_test(a_process_may_give_so_many_orders_at_once),
        cmocka_unit_test(another_version_is_refused_politely),
        cmocka_unit_test(a_client_that_does_not_read_is_let_go),
        cmocka_unit_test(of_two_brokers_exactly_one_serves),
        cmocka_unit_test(a_socket_that_answers_is_never_taken),
        cmocka_unit_test(a_broker_claims_its_folder_again),
        cmocka_unit_test(a_broker_whose_address_another_took_drains),
        cmocka_unit_test(what_a_dead_broker_left_is_in_nobodys_way),
        cmocka_unit_test(a_child_of_a_client_has_its_own_connection),
        cmocka_unit_test(a_fork_in_the_middle_of_connecting_keeps_no_end),
        cmocka_unit_test(threads_share_one_connection),
        cmocka_unit_test(a_dead_broker_is_an_error_and_a_stopped_one_a_timeout),
        cmocka_unit_test(a_host_opens_models_and_gives_out_rings),
        cmocka_unit_test(status_tells_what_a_model_is),
        cmocka_unit_test(what_dies_leaves_the_pool_at_once),
        cmocka_unit_test(a_broker_without_memory_lives_on),
        cmocka_unit_test(orders_without_memory_leave_the_broker_well),
        cmocka_unit_test(a_broker_that_cannot_begin_says_so),
        /* Before this process has said it itself, which its children would not say again. */
        cmocka_unit_test(who_works_alone_says_so_once),
        cmocka_unit_test(beside_a_broker_of_another_version_it_works_alone),
        cmocka_unit_test(a_pool_that_shares_asks_the_broker),
        cmocka_unit_test(what_the_machine_has_is_a_hit),
        cmocka_unit_test(the_broker_knows_a_model_as_the_program_does),
        cmocka_unit_test(what_was_opened_alone_stays),
        cmocka_unit_test(room_of_a_pool_that_shares_is_the_brokers),
        cmocka_unit_test(what_a_pool_shares_is_decided_once),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
