/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/memory.h"
#include "pool/history.h"

#include "../../tests/test.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

static char folder[64];
static char path[128];

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/rp-history-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/history.sqlite", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "%s", folder);
    pid_t child = fork();
    if (child == 0) execlp("rm", "rm", "-rf", command, NULL);
    waitpid(child, NULL, 0);
    return 0;
}

static struct rp_history *open_history(void) {
    rp_error err = RP_ERROR_INIT;
    struct rp_history *history = NULL;
    assert_ok(rp_history_open(path, &history, &err));
    return history;
}

static void record(struct rp_history *history, const char *key, uint64_t bytes) {
    rp_history_record_load(history, key, 1, bytes, "engine", 250);
}

static void what_was_recorded_is_found_again_by_the_next_process(void **state) {
    (void)state;
    struct rp_history *history = open_history();
    struct rp_footprint found;
    assert_false(rp_history_find(history, "a", 1, &found));
    record(history, "a", 100 * MIB);
    record(history, "it's \"b\" \xc3\xa4;--", 7);
    rp_history_record_uses(history, "a", 1, 40);
    rp_history_record_load(history, "a", 1, RP_UNKNOWN_U64, NULL, 300); /* ran beside others */
    rp_history_record_failure(history, "c", 1, RP_ERR_MEMORY, "no memory");
    rp_history_close(history);

    history = open_history();
    assert_true(rp_history_find(history, "a", 1, &found));
    assert_int_equal(found.bytes, 100 * MIB);
    assert_string_equal(found.method, "engine");
    assert_true(found.load_ms == 300);
    assert_int_equal(found.uses, 40);
    assert_int_equal(found.failure, RP_OK);
    assert_true(rp_history_find(history, "it's \"b\" \xc3\xa4;--", 1, &found));
    assert_int_equal(found.bytes, 7);
    assert_true(rp_history_find(history, "c", 1, &found));
    assert_int_equal(found.failure, RP_ERR_MEMORY);
    assert_string_equal(found.failure_message, "no memory");
    assert_int_equal(found.bytes, RP_UNKNOWN_U64);
    assert_false(rp_history_find(history, "a", 2, &found)); /* the file has changed since */
    assert_true(rp_history_is_persistent(history));
    assert_int_equal(rp_history_note_count(history), 0);
    rp_history_close(history);
}

static void what_another_machine_measured_does_not_count(void **state) {
    (void)state;
    struct rp_history *history = NULL;
    struct rp_footprint found;
    rp_error err = RP_ERROR_INIT;
    struct rp_history_options options = {.path = path, .machine = 1};
    assert_ok(rp_history_open_with(&options, &history, &err));
    record(history, "a", 5);
    rp_history_close(history);
    options.machine = 2;
    assert_ok(rp_history_open_with(&options, &history, &err));
    assert_false(rp_history_find(history, "a", 1, &found));
    rp_history_close(history);
}

static void several_processes_lose_nothing(void **state) {
    (void)state;
    enum { PROCESSES = 4, KEYS = 50 };
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] != 0) continue;
        struct rp_history *history = NULL;
        if (rp_history_open(path, &history, NULL) != RP_OK) _exit(1);
        for (int key = 0; key < KEYS; key++) {
            char name[32];
            snprintf(name, sizeof name, "%d-%d", i, key);
            record(history, name, (uint64_t)key + 1);
            rp_history_record_uses(history, "common", 1, 1);
        }
        for (int tries = 0; tries < 100 && !rp_history_flush(history); tries++) {
        }
        rp_history_close(history);
        _exit(0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int ended = -1;
        waitpid(children[i], &ended, 0);
        assert_int_equal(ended, 0);
    }
    struct rp_history *history = open_history();
    struct rp_footprint found;
    for (int i = 0; i < PROCESSES; i++) {
        for (int key = 0; key < KEYS; key++) {
            char name[32];
            snprintf(name, sizeof name, "%d-%d", i, key);
            assert_true(rp_history_find(history, name, 1, &found));
            assert_int_equal(found.bytes, key + 1);
        }
    }
    rp_history_close(history);
}

static void write_file(const void *bytes, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
}

/* Begins anew, says so, and works. */
static void assert_set_aside(const char *word) {
    struct rp_history *history = open_history();
    struct rp_footprint found;
    record(history, "new", 9);
    assert_true(rp_history_flush(history));
    assert_true(rp_history_note_count(history) > 0);
    assert_says(rp_history_note(history, 0), word);
    rp_history_close(history);
    history = open_history();
    assert_true(rp_history_find(history, "new", 1, &found));
    assert_int_equal(rp_history_note_count(history), 0);
    rp_history_close(history);
}

/* Instead of the C library's: the wall clock as it is set. */
static int64_t ahead_s;

int clock_gettime(clockid_t id, struct timespec *now) {
    int rc = (int)syscall(SYS_clock_gettime, id, now);
    if (id == CLOCK_REALTIME) now->tv_sec += ahead_s;
    return rc;
}

static void what_was_recorded_under_a_wrong_clock_does_not_lie_ahead(void **state) {
    (void)state;
    struct rp_footprint found;
    struct rp_history *history = open_history();
    ahead_s = INT64_C(10) * 365 * 86400;
    record(history, "a", 100 * MIB);
    rp_history_record_failure(history, "b", 1, RP_ERR_MEMORY, "no memory");
    rp_history_close(history);
    ahead_s = 0; /* set right again */
    history = open_history();
    assert_true(rp_history_find(history, "a", 1, &found));
    assert_int_equal(found.bytes, 100 * MIB);
    assert_true(found.updated_wall_ns <= rp_wall_ns());
    assert_true(rp_history_find(history, "b", 1, &found));
    assert_true(found.failed_wall_ns > 0 && found.failed_wall_ns <= rp_wall_ns());
    rp_history_close(history);
}

static void a_damaged_file_is_set_aside(void **state) {
    (void)state;
    char garbage[5000];
    memset(garbage, 'x', sizeof garbage);
    write_file(garbage, sizeof garbage);
    assert_set_aside("damaged");
}

static void execute(const char *statement) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, statement, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void a_newer_file_is_set_aside(void **state) {
    (void)state;
    struct rp_history *history = open_history();
    record(history, "a", 5);
    rp_history_close(history);
    execute("PRAGMA user_version = 99");
    assert_set_aside("newer");
}

static void any_byte_may_be_wrong(void **state) {
    (void)state;
    struct rp_history *history = open_history();
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        record(history, name, (uint64_t)i * MIB);
    }
    rp_history_close(history);
    static char whole[1 << 18];
    int fd = open(path, O_RDONLY);
    ssize_t size = read(fd, whole, sizeof whole);
    close(fd);
    assert_true(size > 4096);
    uint64_t random = 12345;
    for (int round = 0; round < 120; round++) {
        static char bytes[1 << 18];
        memcpy(bytes, whole, (size_t)size);
        for (int i = 0; i < 8; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
            bytes[(random >> 33) % (uint64_t)size] ^= (char)(1 + (random >> 20) % 255);
        }
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        size_t length = round % 3 ? (size_t)size : (random >> 33) % (uint64_t)size;
        write_file(bytes, length);
        history = open_history();
        for (int i = 0; i < 40; i++) {
            char name[16];
            struct rp_footprint found;
            snprintf(name, sizeof name, "%d", i);
            if (!rp_history_find(history, name, 1, &found)) continue;
            assert_true(found.load_ms >= -1 && memchr(found.method, 0, sizeof found.method));
            assert_non_null(memchr(found.failure_message, 0, sizeof found.failure_message));
        }
        record(history, "after", 3);
        rp_history_close(history);
    }
}

static void a_locked_file_holds_nobody_up_and_is_written_later(void **state) {
    (void)state;
    struct rp_history *history = open_history();
    record(history, "a", 5);
    assert_true(rp_history_flush(history));
    sqlite3 *other = NULL;
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    struct rp_footprint found;
    record(history, "b", 6);
    assert_false(rp_history_flush(history));
    assert_true(rp_history_find(history, "b", 1, &found)); /* from memory meanwhile */
    assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    rp_history_close(history); /* writes what waits */
    history = open_history();
    assert_true(rp_history_find(history, "b", 1, &found));
    rp_history_close(history);
}

static void a_full_disk_is_lived_without(void **state) {
    (void)state;
    if (mount("tmpfs", folder, "tmpfs", 0, "size=32k") != 0) {
        printf("cannot mount a small file system here\n");
        skip();
    }
    struct rp_history *history = open_history();
    struct rp_footprint found;
    for (int i = 0; i < 2000; i++) {
        char name[64];
        snprintf(name, sizeof name, "a model with a long name, number %d", i);
        record(history, name, (uint64_t)i + 1);
    }
    assert_true(rp_history_find(history, "a model with a long name, number 1999", 1, &found));
    assert_int_equal(found.bytes, 2000);
    assert_true(rp_history_note_count(history) > 0);
    rp_history_close(history);
    assert_int_equal(umount(folder), 0);
}

static void a_folder_that_cannot_be_made_is_lived_without(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_history *history = NULL;
    struct rp_footprint found;
    assert_ok(rp_history_open("/proc/nowhere/history.sqlite", &history, &err));
    record(history, "a", 5);
    assert_true(rp_history_find(history, "a", 1, &found));
    assert_false(rp_history_is_persistent(history));
    rp_history_close(history);
    assert_ok(rp_history_open("off", &history, &err));
    record(history, "a", 5);
    assert_true(rp_history_find(history, "a", 1, &found));
    rp_history_close(history);
}

static void a_child_leaves_the_file_to_its_parent(void **state) {
    (void)state;
    struct rp_history *history = open_history();
    record(history, "a", 5);
    pid_t child = fork();
    if (child == 0) {
        struct rp_footprint found;
        record(history, "b", 6);
        rp_history_find(history, "a", 1, &found);
        rp_history_close(history);
        _exit(0);
    }
    int ended = -1;
    waitpid(child, &ended, 0);
    assert_int_equal(ended, 0);
    record(history, "c", 7);
    assert_true(rp_history_flush(history));
    assert_int_equal(rp_history_note_count(history), 0);
    rp_history_close(history);
}

static void what_is_of_no_use_here_is_pruned(void **state) {
    (void)state;
    struct rp_history *history = NULL;
    rp_error err = RP_ERROR_INIT;
    struct rp_footprint found;
    uint64_t rows = 0;
    uint64_t rows_here = 0;
    uint64_t removed = 0;
    struct rp_history_options options = {.path = path, .machine = 1};
    assert_ok(rp_history_open_with(&options, &history, &err));
    record(history, "a", 5);
    record(history, "b", 5);
    rp_history_close(history);
    options.machine = 2;
    assert_ok(rp_history_open_with(&options, &history, &err));
    record(history, "a", 6);
    assert_true(rp_history_flush(history));
    assert_true(rp_history_count(history, &rows, &rows_here));
    assert_int_equal(rows, 3);
    assert_int_equal(rows_here, 1);
    assert_true(rp_history_prune(history, INT64_C(3600000000000), &removed));
    assert_int_equal(removed, 2);
    assert_true(rp_history_find(history, "a", 1, &found));
    usleep(1000);
    assert_true(rp_history_prune(history, 0, &removed));
    assert_int_equal(removed, 1);
    assert_true(rp_history_count(history, &rows, &rows_here));
    assert_int_equal(rows, 0);
    rp_history_close(history);
}

static void machines_that_are_alike_have_a_name(void **state) {
    (void)state;
    uint64_t own = rp_history_machine();
    setenv("RESOURCE_POOL_MACHINE", "runner", 1);
    uint64_t alike = rp_history_machine();
    assert_true(alike != own && alike != 0);
    assert_true(rp_history_machine() == alike);
    setenv("RESOURCE_POOL_MACHINE", "runner2", 1);
    assert_true(rp_history_machine() != alike);
    setenv("RESOURCE_POOL_MACHINE", "", 1);
    assert_true(rp_history_machine() == own);
    unsetenv("RESOURCE_POOL_MACHINE");
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    for (uint64_t n = 1;; n++) {
        int64_t blocks = rp_memory_live_count();
        struct rp_history *history = NULL;
        struct rp_footprint found;
        rp_memory_fail_at(n);
        rp_status status = rp_history_open(path, &history, NULL);
        assert_true(status == RP_OK || status == RP_ERR_MEMORY);
        for (int i = 0; status == RP_OK && i < 3; i++) {
            char name[16];
            snprintf(name, sizeof name, "%d", i);
            rp_history_find(history, name, 1, &found);
            record(history, name, 5);
            rp_history_record_uses(history, name, 1, 2);
        }
        rp_history_close(history);
        int is_pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(rp_memory_live_count(), blocks);
        if (is_pending) break;
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_was_recorded_is_found_again_by_the_next_process),
        TEST(what_another_machine_measured_does_not_count),
        TEST(several_processes_lose_nothing),
        TEST(what_was_recorded_under_a_wrong_clock_does_not_lie_ahead),
        TEST(a_damaged_file_is_set_aside),
        TEST(a_newer_file_is_set_aside),
        TEST(any_byte_may_be_wrong),
        TEST(a_locked_file_holds_nobody_up_and_is_written_later),
        TEST(a_full_disk_is_lived_without),
        TEST(a_folder_that_cannot_be_made_is_lived_without),
        TEST(a_child_leaves_the_file_to_its_parent),
        TEST(what_is_of_no_use_here_is_pruned),
        TEST(machines_that_are_alike_have_a_name),
        TEST(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
