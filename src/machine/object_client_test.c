/* SPDX-License-Identifier: Apache-2.0 */
/* Objects end to end: a broker in a process of its own, clients in theirs, the public calls. */
#include "machine/object_store.h"

#include "base/memory.h"
#include "machine/broker.h"

#include "../../tests/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <resourcepool/resourcepool.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS = 8, OBJECT_BYTES = 3 << 20 };

static char folder[64];
static pid_t broker;

static int count_descriptors(pid_t pid) {
    char path[64];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *stream = opendir(path);
    assert_non_null(stream);
    while (readdir(stream)) {
        count++;
    }
    closedir(stream);
    return count;
}

/* In a process of its own, as 'rpool serve' would be. */
static int start(int64_t idle_exit_ms) {
    int ends[2];
    char line[64];
    snprintf(folder, sizeof folder, "/tmp/rp-objects-XXXXXX");
    if (!mkdtemp(folder) || pipe2(ends, O_CLOEXEC) != 0) return -1;
    broker = fork();
    if (broker == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves none behind */
        rp_broker_options options = RP_BROKER_OPTIONS_INIT;
        options.folder = folder;
        options.ready_fd = ends[1];
        options.idle_exit_ms = idle_exit_ms;
        options.history = "off";
        options.budget = "cpu=64MiB";
        close(ends[0]);
        if (!freopen("/dev/null", "w", stderr)) _exit(1);
        const struct rp_broker_setup setup = {.options = &options, .store = &rp_object_store};
        _exit(rp_broker_run(&setup, NULL) == RP_OK ? 0 : 1);
    }
    close(ends[1]);
    ssize_t length = read(ends[0], line, sizeof line);
    close(ends[0]);
    return length > 0 ? 0 : -1;
}

static int start_broker(void **state) {
    (void)state;
    return start(-1);
}

/* Only after its process has ended. */
static void remove_folder(void) {
    static const char *const files[] = {"broker.sock", "broker.lock", "broker.start", "broker.log"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
}

static int end_broker(void **state) {
    (void)state;
    int how = 0;
    kill(broker, SIGTERM);
    if (waitpid(broker, &how, 0) != broker) return -1;
    remove_folder();
    return how == 0 ? 0 : -1;
}

static rp_machine *open_machine(void) {
    rp_error err = RP_ERROR_INIT;
    rp_machine *machine = NULL;
    rp_machine_options options = RP_MACHINE_OPTIONS_INIT;
    options.folder = folder;
    options.no_start = true;
    if (rp_machine_open(&options, &machine, &err) != RP_OK) {
        fprintf(stderr, "%s\n", err.message);
        abort();
    }
    return machine;
}

static unsigned char byte_at(size_t at) {
    return (unsigned char)(at * 2654435761U >> 13);
}

static rp_status publish(rp_object_build *build, rp_object **object, rp_error *err) {
    static unsigned char bytes[OBJECT_BYTES];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = byte_at(i);
    }
    const rp_object_part parts[] = {{"head", 4}, {bytes, sizeof bytes}};
    return rp_machine_object_publish(build, parts, 2, object, err);
}

/* Start processes that run this, and wait for all: how many ended well, and how many were killed.
 */
static void run_clients(size_t count, int (*run)(size_t index), size_t *well, size_t *killed) {
    pid_t pids[CLIENTS];
    *well = 0;
    *killed = 0;
    for (size_t i = 0; i < count; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) _exit(run(i));
    }
    for (size_t i = 0; i < count; i++) {
        int how = 0;
        assert_int_equal(waitpid(pids[i], &how, 0), pids[i]);
        if (WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL) {
            ++*killed;
        } else if (how == 0) {
            ++*well;
        } else {
            fail_msg("process %zu ended with %#x", i, (unsigned)how);
        }
    }
}

/* In memory that all of them share. */
static struct {
    int builds;
    int deaths;
} * shared;

static int use(rp_object *object, size_t index) {
    size_t bytes = 0;
    if (rp_object_part_count(object) != 2) return 12;
    unsigned char *data = rp_object_part_data(object, 1, &bytes);
    if (bytes != OBJECT_BYTES) return 13;
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] != byte_at(i)) return 14;
    }
    memset(data, (int)index, bytes);
    usleep(20000); /* all others write meanwhile */
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] != index) return 15;
    }
    return 0;
}

static int get_and_use(const char *key, size_t index, int deaths_wanted) {
    rp_machine *machine = open_machine();
    rp_object *object = NULL;
    rp_object_build *build = NULL;
    if (rp_machine_object_get(machine, key, 30000, NULL, &object, &build, NULL) != RP_OK) return 10;
    if (build) {
        usleep(20000); /* so that the others come and wait */
        if (__atomic_fetch_add(&shared->deaths, 1, __ATOMIC_SEQ_CST) < deaths_wanted) {
            kill(getpid(), SIGKILL);
        }
        __atomic_fetch_add(&shared->builds, 1, __ATOMIC_SEQ_CST);
        if (publish(build, &object, NULL) != RP_OK) return 11;
    }
    int how = use(object, index);
    rp_machine_object_release(object);
    rp_machine_close(machine);
    return how;
}

static int be_client(size_t index) {
    return get_and_use("suite/weights", index, 0);
}

static int be_mortal(size_t index) {
    return get_and_use("suite/mortal", index, 3);
}

static void eight_processes_get_what_one_builds(void **state) {
    (void)state;
    size_t well = 0;
    size_t killed = 0;
    run_clients(CLIENTS, be_client, &well, &killed);
    assert_int_equal(well, CLIENTS);
    assert_int_equal(shared->builds, 1);
}

static void when_builders_are_killed_the_next_one_builds(void **state) {
    (void)state;
    size_t well = 0;
    size_t killed = 0;
    shared->builds = 0;
    shared->deaths = 0;
    run_clients(CLIENTS, be_mortal, &well, &killed);
    assert_int_equal(killed, 3);
    assert_int_equal(well, CLIENTS - 3);
    assert_int_equal(shared->builds, 1);
}

static void without_a_broker_there_are_no_objects(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_machine *machine = NULL;
    rp_machine_options options = RP_MACHINE_OPTIONS_INIT;
    options.folder = "/tmp/rp-objects-nowhere";
    options.no_start = true;
    assert_status(rp_machine_open(&options, &machine, &err), RP_ERR_ABSENT);
}

/* Gives up when it is asked for the third time. */
static int ask_three_times(void *user) {
    return ++*(int *)user == 3;
}

static void a_token_is_asked_while_another_process_builds_and_ends_the_wait(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_machine *machine = open_machine();
    rp_object *object = NULL;
    rp_object_build *build = NULL;
    int asked = 0;
    assert_ok(rp_machine_object_get(machine, "polled", 0, NULL, &object, &build, &err));
    assert_non_null(build);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        rp_machine *own = open_machine();
        rp_object_build *none = NULL;
        rp_cancel *cancel = NULL;
        if (rp_cancel_create(&cancel, NULL) != RP_OK) _exit(3);
        rp_cancel_set_poll(cancel, ask_three_times, &asked);
        rp_status status = rp_machine_object_get(own, "polled", 0, cancel, &object, &none, NULL);
        if (status != RP_ERR_CANCELLED || asked != 3 || none || object) _exit(2);
        rp_cancel_set_poll(cancel, NULL, NULL);
        rp_cancel_fire(cancel);
        status = rp_machine_object_get(own, "polled", 0, cancel, &object, &none, NULL);
        _exit(status == RP_ERR_CANCELLED ? 0 : 1);
    }
    int how = 1;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_int_equal(how, 0);
    /* Nobody waits any more: what is given up is nobody's. */
    rp_machine_object_abort(build, NULL);
    assert_ok(rp_machine_object_get(machine, "polled", 0, NULL, &object, &build, &err));
    assert_non_null(build);
    rp_machine_object_abort(build, NULL);
    rp_machine_close(machine);
}

static void an_abort_tells_who_waits_and_a_deadline_ends_waiting(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_machine *machine = open_machine();
    rp_object *object = NULL;
    rp_object_build *build = NULL;
    rp_object_build *none = NULL;
    assert_ok(rp_machine_object_get(machine, "k", 0, NULL, &object, &build, &err));
    assert_null(object);
    assert_non_null(build);
    assert_status(rp_machine_object_get(machine, "k", 0, NULL, &object, &none, &err), RP_ERR_CYCLE);
    assert_null(none);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        rp_machine *own = open_machine();
        rp_status status = rp_machine_object_get(own, "k", 50, NULL, &object, &none, &err);
        if (status != RP_ERR_TIMEOUT || none) _exit(2);
        status = rp_machine_object_get(own, "k", 20000, NULL, &object, &none, &err);
        _exit(status == RP_ERR_LOAD && strstr(err.message, "no such checkpoint") ? 0 : 1);
    }
    usleep(200000);
    rp_error why = RP_ERROR_INIT;
    rp_fail(&why, RP_ERR_LOAD, "no such checkpoint");
    rp_machine_object_abort(build, &why);
    int how = 1;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_int_equal(how, 0);
    rp_machine_close(machine);
}

/* Each builds one, and then asks for the other's. */
static void two_processes_that_wait_for_each_other_do_not_hang(void **state) {
    (void)state;
    int turns[2];
    int results[2];
    assert_int_equal(pipe(turns), 0);
    assert_int_equal(pipe(results), 0);
    for (int i = 0; i < 2; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid != 0) continue;
        rp_error err = RP_ERROR_INIT;
        rp_object *object = NULL;
        rp_object_build *build = NULL;
        rp_object_build *none = NULL;
        char byte = 'x';
        alarm(10);
        rp_machine *own = open_machine();
        if (rp_machine_object_get(own, i ? "right" : "left", 0, NULL, &object, &build, &err) !=
            RP_OK) {
            _exit(1);
        }
        if (write(results[1], &byte, 1) != 1 || read(turns[0], &byte, 1) != 1) _exit(2);
        rp_status status =
            rp_machine_object_get(own, i ? "left" : "right", 0, NULL, &object, &none, &err);
        if (status == RP_ERR_CYCLE && strstr(err.message, "'left'") &&
            strstr(err.message, "'right'")) {
            byte = 'c';
        } else if (status == RP_OK && object) {
            byte = 'o'; /* the other gave up waiting, and published */
        }
        if (publish(build, NULL, &err) != RP_OK) _exit(3);
        if (write(results[1], &byte, 1) != 1) _exit(4);
        _exit(0);
    }
    char bytes[4] = "";
    close(results[1]); /* so that the end of both is an end of reading */
    close(turns[0]);
    assert_int_equal(read(results[0], bytes, 1), 1);
    assert_int_equal(read(results[0], bytes, 1), 1);
    assert_int_equal(write(turns[1], "xx", 2), 2); /* both have begun to build */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(read(results[0], bytes + i, 1), 1);
    }
    assert_true((bytes[0] == 'c' && bytes[1] == 'o') || (bytes[0] == 'o' && bytes[1] == 'c'));
    for (int i = 0; i < 2; i++) {
        int how = 1;
        assert_true(wait(&how) > 0);
        assert_int_equal(how, 0);
    }
    close(turns[1]);
    close(results[0]);
}

static void arguments_are_checked_and_a_build_is_used_up(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_machine *machine = open_machine();
    rp_object *object = NULL;
    rp_object_build *build = NULL;
    const rp_object_part nowhere = {NULL, 5};
    assert_status(rp_machine_object_get(machine, "", 0, NULL, &object, &build, &err),
                  RP_ERR_ARGUMENT);
    assert_status(rp_machine_object_get(machine, "a", -1, NULL, &object, &build, &err),
                  RP_ERR_ARGUMENT);
    assert_status(rp_machine_object_publish(NULL, NULL, 0, NULL, &err), RP_ERR_ARGUMENT);
    assert_ok(rp_machine_object_get(machine, "a", 0, NULL, &object, &build, &err));
    assert_status(rp_machine_object_publish(build, &nowhere, 1, &object, &err), RP_ERR_ARGUMENT);
    assert_ok(rp_machine_object_get(machine, "a", 0, NULL, &object, &build, &err)); /* anew */
    assert_non_null(build);
    assert_ok(rp_machine_object_publish(build, NULL, 0, NULL, &err)); /* nothing, for others */
    assert_ok(rp_machine_object_get(machine, "a", 0, NULL, &object, &build, &err));
    assert_non_null(object);
    assert_null(build);
    assert_int_equal(rp_object_part_count(object), 0);
    rp_machine_object_release(object);
    rp_machine_object_release(NULL);
    rp_machine_object_abort(NULL, NULL);
    rp_machine_close(machine);
}

static void over_the_budget_is_told_with_figures(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_machine *machine = open_machine();
    rp_object *object = NULL;
    rp_object_build *build = NULL;
    static char bytes[65 << 20];
    const rp_object_part part = {bytes, sizeof bytes};
    assert_ok(rp_machine_object_get(machine, "huge", 1000, NULL, &object, &build, &err));
    assert_status(rp_machine_object_publish(build, &part, 1, &object, &err), RP_ERR_CAPACITY);
    assert_says(err.message, "64.0 MiB");
    rp_machine_close(machine);
}

/* The next descriptor that it opens, or is sent, is one too many. */
static struct rlimit fill_descriptors(pid_t pid) {
    struct rlimit before;
    char path[64];
    rlim_t count = 0;
    struct stat found;
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, NULL, &before), 0);
    for (int fd = 0; fd < 1024; fd++) { /* the first number that is free decides */
        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
        if (lstat(path, &found) != 0) break;
        count++;
    }
    const struct rlimit full = {count, before.rlim_max};
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, &full, NULL), 0);
    return before;
}

/* It fails by name, on either side, and the connection and all that is leased over it goes on. */
static void without_descriptors_one_request_fails_and_no_more(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_machine *machine = open_machine();
    rp_object *object = NULL;
    rp_object *again = NULL;
    rp_object_build *build = NULL;
    int before = count_descriptors(getpid());
    assert_ok(rp_machine_object_get(machine, "crowded", 0, NULL, &object, &build, &err));
    struct rlimit limit = fill_descriptors(broker);
    rp_status status = publish(build, &object, &err);
    prlimit(broker, RLIMIT_NOFILE, &limit, NULL);
    assert_status(status, RP_ERR_LIMIT);
    assert_says(err.message, "as many files open as it may");
    assert_ok(rp_machine_object_get(machine, "crowded", 1000, NULL, &object, &build, &err));
    assert_non_null(build); /* nobody is thought to be at it still */
    assert_ok(publish(build, &object, &err));

    limit = fill_descriptors(getpid());
    status = rp_machine_object_get(machine, "crowded", 1000, NULL, &again, &build, &err);
    prlimit(getpid(), RLIMIT_NOFILE, &limit, NULL);
    assert_status(status, RP_ERR_LIMIT);
    assert_says(err.message, "as many files open as it may");
    assert_ok(rp_machine_object_get(machine, "crowded", 1000, NULL, &again, &build, &err));
    rp_machine_object_release(again);
    rp_machine_object_release(object);
    assert_int_equal(count_descriptors(getpid()), before);
    rp_cleared cleared;
    assert_ok(rp_machine_clear(machine, false, &cleared, &err));
    assert_int_equal(cleared.leased_count, 0); /* what could not be taken was given back */
    rp_machine_close(machine);
}

static void a_plain_file_is_shared_where_it_is(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_machine *machine = open_machine();
    rp_object *object = NULL;
    rp_object_build *build = NULL;
    char path[] = "/tmp/rp-weights-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "weights", 7), 7);
    close(fd);
    assert_ok(rp_machine_object_get(machine, "file", 0, NULL, &object, &build, &err));
    assert_ok(rp_machine_object_publish_file(build, path, NULL, &err));
    unlink(path); /* the descriptor holds it */
    assert_ok(rp_machine_object_get(machine, "file", 0, NULL, &object, &build, &err));
    size_t size = 0;
    char *data = rp_object_part_data(object, 0, &size);
    assert_int_equal(size, 7);
    assert_memory_equal(data, "weights", 7);
    assert_ok(rp_object_protect(object, &err));
    assert_null(rp_object_part_data(object, 1, &size));
    rp_machine_object_release(object);
    rp_machine_close(machine);
}

static rp_object *make(rp_machine *machine, const char *key, bool is_made_here) {
    rp_error err = RP_ERROR_INIT;
    rp_object *object = NULL;
    rp_object_build *build = NULL;
    assert_ok(rp_machine_object_get(machine, key, 0, NULL, &object, &build, &err));
    assert_int_equal(build != NULL, is_made_here);
    if (build) assert_ok(publish(build, &object, &err));
    return object;
}

/* Two who hold the old one find that it is outdated, one after the other. */
static void what_took_the_place_of_a_retired_object_stays(void **state) {
    (void)state;
    rp_machine *machine = open_machine();
    rp_object *first = make(machine, "retired", true);
    rp_object *second = make(machine, "retired", false);
    rp_machine_object_retire(first);
    rp_object *fresh = make(machine, "retired", true);
    rp_machine_object_retire(second);
    rp_machine_object_retire(second);
    rp_object *again = make(machine, "retired", false);
    assert_int_equal(use(second, 1), 0); /* attached still */
    rp_machine_object_retire(NULL);
    rp_machine_object_retire(again);
    rp_object *third = make(machine, "retired", true);
    rp_machine_object_release(first);
    rp_machine_object_release(second);
    rp_machine_object_release(fresh);
    rp_machine_object_release(again);
    rp_machine_object_release(third);
    rp_machine_close(machine);
}

static void a_child_of_a_builder_publishes_nothing(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_machine *machine = open_machine();
    rp_object *object = NULL;
    rp_object_build *build = NULL;
    assert_ok(rp_machine_object_get(machine, "forked", 0, NULL, &object, &build, &err));
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(rp_machine_object_publish(build, NULL, 0, NULL, NULL) == RP_ERR_FORKED ? 0 : 1);
    }
    int how = 1;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_int_equal(how, 0);
    assert_ok(publish(build, &object, &err)); /* the parent's is still good */
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        size_t bytes = 0;
        unsigned char *data = rp_object_part_data(object, 1, &bytes);
        int is_right = data[17] == byte_at(17);
        rp_machine_object_release(object); /* the mapping only */
        _exit(is_right ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_int_equal(how, 0);
    char *json = NULL;
    assert_ok(rp_machine_status(machine, true, &json, &err));
    assert_says(json, "forked");
    rp_string_free(json);
    rp_machine_object_release(object);
    rp_machine_close(machine);
}

static void getting_500_times_leaks_nothing_anywhere(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_machine *machine = open_machine();
    rp_object *object = NULL;
    rp_object_build *build = NULL;
    assert_ok(rp_machine_object_get(machine, "often", 0, NULL, &object, &build, &err));
    assert_ok(publish(build, &object, &err));
    rp_machine_object_release(object);
    int own = count_descriptors(getpid());
    int theirs = count_descriptors(broker);
    int64_t blocks = rp_memory_live_count();
    for (int i = 0; i < 500; i++) {
        object = NULL;
        assert_ok(rp_machine_object_get(machine, "often", 0, NULL, &object, &build, &err));
        assert_non_null(object);
        rp_machine_object_release(object);
    }
    assert_int_equal(count_descriptors(getpid()), own);
    assert_int_equal(count_descriptors(broker), theirs);
    assert_int_equal(rp_memory_live_count(), blocks);
    rp_machine_close(machine);
}

/* The broker of all tests, while one has a broker of its own. */
struct aside {
    pid_t broker;
    char folder[sizeof folder];
};

static struct aside start_own(int64_t idle_exit_ms) {
    struct aside aside = {.broker = broker};
    memcpy(aside.folder, folder, sizeof folder);
    assert_int_equal(start(idle_exit_ms), 0);
    return aside;
}

/* Returns how the own one ended; it ends within 20 s or the test does. */
static int end_own(const struct aside *aside) {
    int how = 1;
    alarm(20);
    assert_int_equal(waitpid(broker, &how, 0), broker);
    alarm(0);
    remove_folder();
    broker = aside->broker;
    memcpy(folder, aside->folder, sizeof folder);
    return how;
}

static void what_is_attached_survives_the_broker(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct aside aside = start_own(-1);
    rp_machine *machine = open_machine();
    rp_object *object = NULL;
    rp_object_build *build = NULL;
    assert_ok(rp_machine_object_get(machine, "survivor", 0, NULL, &object, &build, &err));
    assert_ok(publish(build, &object, &err));
    kill(broker, SIGKILL);
    size_t bytes = 0;
    unsigned char *data = rp_object_part_data(object, 1, &bytes);
    for (size_t i = 0; i < bytes; i++) {
        assert_int_equal(data[i], byte_at(i));
    }
    rp_object *another = NULL;
    rp_status status = rp_machine_object_get(machine, "x", 5000, NULL, &another, &build, &err);
    assert_int_not_equal(status, RP_OK);
    rp_machine_object_release(object);
    rp_machine_close(machine);
    assert_true(WIFSIGNALED(end_own(&aside)));
}

static void with_nothing_leased_the_broker_ends_though_clients_stay(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_object *object = NULL;
    rp_object_build *build = NULL;
    struct aside aside = start_own(300);
    rp_machine *machine = open_machine();
    assert_ok(rp_machine_object_get(machine, "x", 0, NULL, &object, &build, &err));
    assert_ok(publish(build, &object, &err));
    usleep(900000);
    assert_int_equal(waitpid(broker, NULL, WNOHANG), 0); /* leased: it stays */
    rp_machine_object_release(object);
    assert_int_equal(end_own(&aside), 0);
    rp_machine_close(machine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_processes_get_what_one_builds),
        cmocka_unit_test(when_builders_are_killed_the_next_one_builds),
        cmocka_unit_test(without_a_broker_there_are_no_objects),
        cmocka_unit_test(a_token_is_asked_while_another_process_builds_and_ends_the_wait),
        cmocka_unit_test(an_abort_tells_who_waits_and_a_deadline_ends_waiting),
        cmocka_unit_test(two_processes_that_wait_for_each_other_do_not_hang),
        cmocka_unit_test(arguments_are_checked_and_a_build_is_used_up),
        cmocka_unit_test(over_the_budget_is_told_with_figures),
        cmocka_unit_test(without_descriptors_one_request_fails_and_no_more),
        cmocka_unit_test(a_plain_file_is_shared_where_it_is),
        cmocka_unit_test(what_took_the_place_of_a_retired_object_stays),
        cmocka_unit_test(a_child_of_a_builder_publishes_nothing),
        cmocka_unit_test(getting_500_times_leaks_nothing_anywhere),
        cmocka_unit_test(what_is_attached_survives_the_broker),
        cmocka_unit_test(with_nothing_leased_the_broker_ends_though_clients_stay),
    };
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 1;
    return cmocka_run_group_tests(tests, start_broker, end_broker);
}
