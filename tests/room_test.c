/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for real: what loads take is measured and remembered. And under pressure: a process in a
 * control group with a limit loads more than fits, with a hog beside it. Everything here is touched
 * memory, and the kernel is the judge: nobody is killed.
 */
#include "memory_group.h"
#include "test.h"

#include <resourcepool/resourcepool.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

enum { LIMIT_MIB = 1280, OBJECT_MIB = 200, HOG_MIB = 90, OBJECTS = 12, LITTLE_MIB = 512 };

static rp_status make(rp_build *build, void *user, void **object, rp_error *err) {
    (void)build;
    (void)user;
    char *bytes = malloc(OBJECT_MIB * MIB);
    if (!bytes) return rp_fail(err, RP_ERR_MEMORY, "no memory");
    memset(bytes, 7, OBJECT_MIB * MIB);
    *object = bytes;
    return RP_OK;
}

static rp_status load(rp_pool *pool, int number, rp_lease **lease, rp_error *err) {
    char name[16];
    snprintf(name, sizeof name, "%d", number);
    rp_request request = RP_REQUEST_INIT;
    request.type = "real";
    request.name = name;
    request.construct = make;
    request.destroy = free;
    request.memory_bytes = OBJECT_MIB * MIB;
    return rp_pool_get_resource(pool, &request, lease, err);
}

/* A process beside ours, in the same group, that takes memory when it is told to. */
struct hog {
    pid_t pid;
    int orders;
    int answers;
};

static void obey(int orders, int answers) {
    uint64_t bytes;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (read(orders, &bytes, sizeof bytes) == (ssize_t)sizeof bytes) {
        char answer = memory_group_touch(bytes) ? 'y' : 'n';
        if (write(answers, &answer, 1) != 1) break;
    }
    _exit(0);
}

/* Before anything is loaded: a child shares, and so keeps, the pages that its parent had. */
static bool hog_start(struct hog *hog) {
    int orders[2];
    int answers[2];
    if (pipe(orders) != 0 || pipe(answers) != 0) return false;
    hog->pid = fork();
    if (hog->pid == 0) {
        close(orders[1]);
        close(answers[0]);
        obey(orders[0], answers[1]);
    }
    close(orders[0]);
    close(answers[1]);
    hog->orders = orders[1];
    hog->answers = answers[0];
    return hog->pid > 0;
}

static bool hog_take(const struct hog *hog, uint64_t bytes) {
    char answer = 0;
    if (write(hog->orders, &bytes, sizeof bytes) != (ssize_t)sizeof bytes) return false;
    return read(hog->answers, &answer, 1) == 1 && answer == 'y';
}

static void hog_end(const struct hog *hog) {
    close(hog->orders);
    close(hog->answers);
    waitpid(hog->pid, NULL, 0);
}

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, err.message);       \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

struct seen {
    int dropped;
    int evicted;
    int callbacks;
};

static void note(const rp_event *event, void *user) {
    struct seen *seen = user;
    seen->evicted += event->kind == RP_EVENT_EVICT;
    seen->dropped += event->kind == RP_EVENT_PRESSURE && strcmp(event->key, "drop") == 0;
}

static void on_pressure(const rp_pressure_info *info, void *user) {
    struct seen *seen = user;
    seen->callbacks += info->step > RP_PRESSURE_NONE;
}

/* In a group with little memory in all, low-memory mode is on by itself, and says why. */
static int begin_with_little(void) {
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    rp_lease *lease = NULL;
    rp_statistics *statistics = NULL;
    const char *why = "";
    REQUIRE(rp_pool_open(NULL, &pool, &err) == RP_OK);
    REQUIRE(load(pool, 1, &lease, &err) == RP_OK);
    REQUIRE(rp_pool_is_low_memory(pool, &why) && strstr(why, "1 GiB"));
    REQUIRE(rp_lease_release(lease, &err) == RP_OK);
    REQUIRE(rp_pool_statistics(pool, &statistics, &err) == RP_OK);
    REQUIRE(rp_statistics_entry_count(statistics) == 0); /* gone with its last lease */
    REQUIRE(rp_statistics_totals(statistics)->is_low_memory);
    rp_statistics_destroy(statistics);
    REQUIRE(rp_pool_close(pool, &err) == RP_OK);
    return 0;
}

/* In the group: more than fits, one after the other, while the hog takes its part. */
static int fill_beyond_the_limit(void) {
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    struct seen seen = {0};
    rp_pressure_info info;
    struct hog hog;
    REQUIRE(hog_start(&hog));
    options.history = "off";
    options.on_pressure = on_pressure;
    options.pressure_user = &seen;
    REQUIRE(rp_pool_open(&options, &pool, &err) == RP_OK);
    REQUIRE(rp_pool_check_pressure(pool, &info, &err) == RP_OK);
    REQUIRE(info.total_bytes == LIMIT_MIB * MIB);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < OBJECTS; i++) {
            rp_lease *lease = NULL;
            REQUIRE(load(pool, i, &lease, &err) == RP_OK);
            const char *bytes = rp_lease_object(lease);
            REQUIRE(bytes[0] == 7 && bytes[OBJECT_MIB * MIB - 1] == 7);
            REQUIRE(rp_lease_release(lease, &err) == RP_OK);
            if (round == 0 && i == OBJECTS / 2) REQUIRE(hog_take(&hog, HOG_MIB * MIB));
        }
    }
    REQUIRE(rp_pool_check_pressure(pool, &info, &err) == RP_OK);
    REQUIRE(info.group_oom_kills == 0 || info.group_oom_kills == RP_UNKNOWN_U64);
    uint64_t cursor = 0;
    rp_pool_read_events(pool, &cursor, note, &seen);
    REQUIRE(seen.evicted >= OBJECTS); /* two rounds of twelve, never more than five at a time */

    /* Nothing is asked for any more, and the hog takes more: what is idle goes by itself. */
    rp_statistics *before = NULL;
    REQUIRE(rp_pool_statistics(pool, &before, &err) == RP_OK);
    uint64_t idle_bytes = rp_statistics_totals(before)->memory_bytes;
    rp_statistics_destroy(before);
    REQUIRE(idle_bytes >= 2 * OBJECT_MIB * MIB);
    REQUIRE(rp_pool_check_pressure(pool, &info, &err) == RP_OK);
    uint64_t take = info.usable_bytes > 20 * MIB ? info.usable_bytes - 20 * MIB : 0;
    REQUIRE(hog_take(&hog, take));
    for (int i = 0; i < 200 && seen.dropped == 0; i++) {
        struct timespec pause_span = {0, 50000000};
        REQUIRE(rp_pool_relieve_pressure(pool, &info, &err) == RP_OK);
        rp_pool_read_events(pool, &cursor, note, &seen);
        if (seen.dropped == 0) nanosleep(&pause_span, NULL); /* a step is held for half a second */
    }
    REQUIRE(seen.dropped > 0);
    REQUIRE(seen.callbacks > 0);
    rp_statistics *after = NULL;
    REQUIRE(rp_pool_statistics(pool, &after, &err) == RP_OK);
    REQUIRE(rp_statistics_totals(after)->memory_bytes < idle_bytes);
    rp_statistics_destroy(after);
    REQUIRE(rp_pool_check_pressure(pool, &info, &err) == RP_OK);
    REQUIRE(info.usable_bytes > OBJECT_MIB * MIB); /* and it really came back */
    hog_end(&hog);
    REQUIRE(rp_pool_close(pool, &err) == RP_OK);
    return 0;
}

/* Nobody calls anything any more: the monitor thread sees the shortage and drops what is idle. */
static int leave_it_to_the_monitor(void) {
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    struct seen seen = {0};
    rp_pressure_info info;
    struct hog hog;
    uint64_t cursor = 0;
    REQUIRE(hog_start(&hog));
    options.history = "off";
    options.monitor = true;
    REQUIRE(rp_pool_open(&options, &pool, &err) == RP_OK);
    for (int i = 0; i < 4; i++) {
        rp_lease *lease = NULL;
        REQUIRE(load(pool, i, &lease, &err) == RP_OK);
        REQUIRE(rp_lease_release(lease, &err) == RP_OK);
    }
    REQUIRE(rp_pool_check_pressure(pool, &info, &err) == RP_OK);
    REQUIRE(info.usable_bytes > 60 * MIB);
    REQUIRE(hog_take(&hog, info.usable_bytes - 40 * MIB));
    for (int i = 0; i < 200 && (seen.evicted == 0 || seen.dropped == 0); i++) {
        struct timespec pause_span = {0, 50000000};
        nanosleep(&pause_span, NULL);
        rp_pool_read_events(pool, &cursor, note, &seen);
    }
    REQUIRE(seen.dropped > 0 && seen.evicted > 0);
    hog_end(&hog);
    REQUIRE(rp_pool_close(pool, &err) == RP_OK);
    return 0;
}

/* ---- what a load took, as the process itself grew by it ---- */

enum { MEASURED_MIB = 51, PIECE_BYTES = 1008 };

/*
 * One block, many small ones in a list, or one block after as much in small ones that are freed on
 * the way, below one that stays: the C library keeps those until it is told to give them back.
 */
enum manner { BLOCK, PIECES, WITH_SCRATCH, MANNERS };

static void *make_list(size_t size) {
    void **list = NULL;
    for (size_t at = 0; at < size; at += PIECE_BYTES + 16) { /* and what malloc() adds */
        void **piece = malloc(PIECE_BYTES);
        memset(piece, 7, PIECE_BYTES);
        *piece = list;
        list = piece;
    }
    return list;
}

static void free_list(void *object) {
    for (void **piece = object, **next; piece; piece = next) {
        next = *piece;
        free(piece);
    }
}

static rp_status make_in_manner(rp_build *build, void *user, void **object, rp_error *err) {
    const enum manner *manner = user;
    size_t size = MEASURED_MIB * MIB;
    (void)build;
    (void)err;
    if (*manner == PIECES) {
        *object = make_list(size);
        return RP_OK;
    }
    void *scratch = *manner == WITH_SCRATCH ? make_list(size) : NULL;
    void **block = malloc(size);
    memset(block, 7, size);
    *block = make_list(1);
    free_list(scratch);
    *object = block;
    return RP_OK;
}

static void load_in_manner(const char *history, enum manner manner) {
    static const char *const names[MANNERS] = {"block", "pieces", "with scratch"};
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    rp_lease *lease = NULL;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.history = history;
    assert_ok(rp_pool_open(&options, &pool, &err));
    rp_request request = RP_REQUEST_INIT;
    request.type = "measured";
    request.name = names[manner];
    request.construct = make_in_manner;
    request.destroy = free_list;
    request.user = &manner;
    assert_ok(rp_pool_get_resource(pool, &request, &lease, &err));
    rp_lease_release(lease, NULL);
    assert_ok(rp_pool_close(pool, &err));

    /* Another pool, as another process would, is told what fits: not a byte of it is loaded. */
    options.budget = "1MiB";
    assert_ok(rp_pool_open(&options, &pool, &err));
    assert_status(rp_pool_get_resource(pool, &request, &lease, &err), RP_ERR_CAPACITY);
    const char *needs = strstr(err.message, "needs ");
    assert_non_null(needs);
    double known_mib = strtod(needs + strlen("needs "), NULL);
    if (!strstr(err.message, " MiB (measured)") || known_mib < MEASURED_MIB * 0.95 ||
        known_mib > MEASURED_MIB * 1.05) {
        fail_msg("%s: %s", names[manner], err.message);
    }
    assert_ok(rp_pool_close(pool, &err));
}

static void the_second_load_is_known_within_five_percent(void **state) {
    (void)state;
    char path[] = "/tmp/rp-measured-XXXXXX";
    char other[64];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (int manner = 0; manner < MANNERS; manner++) {
        load_in_manner(path, (enum manner)manner);
    }
    static const char *const endings[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        snprintf(other, sizeof other, "%s%s", path, endings[i]);
        unlink(other);
    }
}

/* ---- in a control group ---- */

/* Run that in a process of its own, in a control group with that limit. */
static void run_in_group(uint64_t limit_bytes, int (*run)(void)) {
    struct memory_group group;
    const char *reason = memory_group_make(&group);
    if (!reason) reason = memory_group_set_limit(&group, limit_bytes);
    if (reason) {
        printf("no control group with a limit can be made here: %s\n", reason);
        skip();
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (memory_group_move(&group, 0)) _exit(2);
        _exit(run());
    }
    int ended = -1;
    waitpid(child, &ended, 0);
    memory_group_remove(&group);
    if (WIFSIGNALED(ended)) fail_msg("the child was ended by signal %d", WTERMSIG(ended));
    assert_int_equal(WEXITSTATUS(ended), 0);
}

static void a_pool_in_a_control_group_stays_below_its_limit(void **state) {
    (void)state;
    run_in_group(LIMIT_MIB * MIB, fill_beyond_the_limit);
}

static void the_monitor_thread_drops_what_is_idle_when_memory_is_short(void **state) {
    (void)state;
    run_in_group(LIMIT_MIB * MIB, leave_it_to_the_monitor);
}

static void a_group_with_little_memory_means_low_memory_mode(void **state) {
    (void)state;
    run_in_group(LITTLE_MIB * MIB, begin_with_little);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_with_little_memory_means_low_memory_mode),
        cmocka_unit_test(a_pool_in_a_control_group_stays_below_its_limit),
        cmocka_unit_test(the_monitor_thread_drops_what_is_idle_when_memory_is_short),
        /* Last: it looks at the hardware, and what a parent saw of it its children see. */
        cmocka_unit_test(the_second_load_is_known_within_five_percent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
