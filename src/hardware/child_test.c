/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/child.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"

#include "../../tests/json_heap.h"
#include "../../tests/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void wait_for_ever(void) {
    for (;;) {
        pause();
    }
}

/* --- drivers that misbehave ---------------------------------------------------------------- */

static rp_status tell(struct rp_snapshot *snapshot, rp_error *err) {
    rp_device *device = rp_snapshot_new_device(snapshot, RP_DEVICE_CUDA, "cuda:0");
    if (!device) return rp_fail_no_memory(err);
    device->name = "a GPU";
    device->memory_bytes_total = 1000;
    rp_status status = rp_snapshot_add_device(snapshot, device, err);
    return status == RP_OK ? rp_snapshot_add_note(snapshot, err, "a note") : status;
}

static rp_status find_nothing(struct rp_snapshot *snapshot, rp_error *err) {
    (void)snapshot;
    rp_fail(err, RP_ERR_ABSENT, "no GPU is there");
    rp_hint(err, "buy one");
    return RP_ERR_ABSENT;
}

static rp_status say_nothing(struct rp_snapshot *snapshot, rp_error *err) {
    (void)snapshot;
    (void)err;
    return RP_OK;
}

static rp_status tell_another(struct rp_snapshot *snapshot, rp_error *err) {
    rp_device *device = rp_snapshot_new_device(snapshot, RP_DEVICE_TPU, "tpu:0");
    return device ? rp_snapshot_add_device(snapshot, device, err) : rp_fail_no_memory(err);
}

static rp_status fail_after_half(struct rp_snapshot *snapshot, rp_error *err) {
    rp_status status = tell(snapshot, err);
    return status == RP_OK ? rp_fail(err, RP_ERR_IO, "the second GPU broke") : status;
}

static rp_status crash(struct rp_snapshot *snapshot, rp_error *err) {
    (void)snapshot;
    (void)err;
    rp_child_step("openDriver of libdriver.so.1");
    raise(SIGSEGV);
    return RP_OK;
}

static rp_status print_and_abort(struct rp_snapshot *snapshot, rp_error *err) {
    (void)snapshot;
    (void)err;
    printf("this goes nowhere\n");
    fflush(stdout);
    for (int i = 0; i < 1000; i++) {
        fprintf(stderr, "driver: line %d\n", i);
    }
    fprintf(stderr, "driver: out of \x01 luck\n\n");
    abort();
}

static rp_status end(struct rp_snapshot *snapshot, rp_error *err) {
    (void)snapshot;
    (void)err;
    exit(3);
}

static rp_status hang(struct rp_snapshot *snapshot, rp_error *err) {
    (void)snapshot;
    (void)err;
    rp_child_step("waitForever of libdriver.so.1");
    wait_for_ever();
    return RP_OK;
}

static rp_status spin_and_print(struct rp_snapshot *snapshot, rp_error *err) {
    (void)snapshot;
    (void)err;
    signal(SIGTERM, SIG_IGN);
    while (fputs("noise noise noise noise noise noise noise\n", stderr) >= 0) {
    }
    return RP_OK;
}

/* Leaves processes behind that hold the pipe: one in its group, which would run for ever. */
static rp_status leave_a_process(struct rp_snapshot *snapshot, rp_error *err) {
    pid_t pid = fork();
    if (pid == 0) wait_for_ever();
    rp_status status = rp_snapshot_add_note(snapshot, err, "%d", (int)pid);
    return status == RP_OK ? tell(snapshot, err) : status;
}

static rp_status leave_a_process_and_crash(struct rp_snapshot *snapshot, rp_error *err) {
    if (fork() == 0) wait_for_ever();
    return crash(snapshot, err);
}

/* What the child must not have: descriptors, handlers, blocked signals, a place to print. */
static rp_status look_around(struct rp_snapshot *snapshot, rp_error *err) {
    sigset_t blocked;
    struct sigaction action;
    if (isatty(0) || read(0, &(char){0}, 1) != 0) return rp_fail(err, RP_ERR_IO, "stdin is open");
    for (int fd = 4; fd < 200; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) return rp_fail(err, RP_ERR_IO, "descriptor %d is open", fd);
    }
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    for (int i = 1; i < NSIG; i++) {
        if (sigismember(&blocked, i) == 1)
            return rp_fail(err, RP_ERR_IO, "signal %d is blocked", i);
    }
    sigaction(SIGSEGV, NULL, &action);
    if (action.sa_handler != SIG_DFL) return rp_fail(err, RP_ERR_IO, "a handler is left");
    if (getpgrp() != getpid()) return rp_fail(err, RP_ERR_IO, "no group of its own");
    return tell(snapshot, err);
}

static rp_status tell_too_much(struct rp_snapshot *snapshot, rp_error *err) {
    rp_device *device = rp_snapshot_new_device(snapshot, RP_DEVICE_CUDA, "cuda:0");
    if (!device) return rp_fail_no_memory(err);
    char *name = malloc(RP_LIMIT_SNAPSHOT_BYTES + 1000);
    if (!name) return rp_fail_no_memory(err);
    memset(name, 'n', RP_LIMIT_SNAPSHOT_BYTES + 999);
    name[RP_LIMIT_SNAPSHOT_BYTES + 999] = '\0';
    device->name = name;
    return rp_snapshot_add_device(snapshot, device, err);
}

/* Writes into the pipe itself, as a program that lost its way may. */
static rp_status write_rubbish(struct rp_snapshot *snapshot, rp_error *err) {
    (void)snapshot;
    (void)err;
    if (write(3, "rubbish rubbish rubbish", 23) != 23) abort();
    wait_for_ever();
    return RP_OK;
}

static rp_status nothing_to_probe(struct rp_snapshot *snapshot, rp_error *err) {
    (void)snapshot;
    (void)err;
    return RP_OK;
}

typedef rp_status ask_function(struct rp_snapshot *snapshot, rp_error *err);

static struct rp_device_ops ops_of(ask_function *ask) {
    return (struct rp_device_ops){
        .kind = RP_DEVICE_CUDA,
        .name = "the driver",
        .when = RP_ASK_DRIVER,
        .probe = nothing_to_probe,
        .ask = ask,
        .ask_ms_max = 10000,
    };
}

/* --- what the tests look at ---------------------------------------------------------------- */

static size_t count_descriptors(void) {
    size_t count = 0;
    DIR *stream = opendir("/proc/self/fd");
    while (readdir(stream)) {
        count++;
    }
    closedir(stream);
    return count;
}

static void no_child_is_left(void) {
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* Asks one driver; the question is the caller's to give back. */
static struct rp_question ask(ask_function *function, uint32_t ms_max) {
    static struct rp_device_ops ops;
    rp_error err = RP_ERROR_INIT;
    ops = ops_of(function);
    if (ms_max > 0) ops.ask_ms_max = ms_max;
    struct rp_question question = {.ops = &ops};
    size_t before = count_descriptors();
    assert_ok(rp_questions_ask(&question, 1, &err));
    assert_int_equal(count_descriptors(), before);
    no_child_is_left();
    assert_true(!question.answer != (question.why.message[0] == '\0'));
    return question;
}

static void expect_why(ask_function *function, uint32_t ms_max, const char *part) {
    struct rp_question question = ask(function, ms_max);
    assert_null(question.answer);
    assert_says(question.why.message, part);
    rp_questions_fini(&question, 1);
}

/* --- tests --------------------------------------------------------------------------------- */

static void an_answer_comes_back_whole(void **state) {
    (void)state;
    struct rp_question question = ask(tell, 0);
    assert_non_null(question.answer);
    assert_int_equal(question.answer->device_count, 1);
    assert_string_equal(question.answer->devices[0]->name, "a GPU");
    assert_int_equal(question.answer->devices[0]->memory_bytes_total, 1000);
    assert_string_equal(question.answer->notes[0], "a note");
    assert_true(question.ms > 0);
    rp_questions_fini(&question, 1);
}

static void an_absence_comes_with_its_hint(void **state) {
    (void)state;
    struct rp_question question = ask(find_nothing, 0);
    assert_non_null(question.answer);
    assert_int_equal(question.answer->device_count, 0);
    assert_string_equal(question.answer->absences[0]->reason, "no GPU is there");
    assert_string_equal(question.answer->absences[0]->hint, "buy one");
    rp_questions_fini(&question, 1);
    question = ask(fail_after_half, 0);
    assert_int_equal(question.answer->device_count, 0);
    assert_string_equal(question.answer->absences[0]->reason, "the second GPU broke");
    rp_questions_fini(&question, 1);
}

static void what_is_no_answer_is_refused(void **state) {
    (void)state;
    expect_why(say_nothing, 0, "no cuda device and of no reason");
    expect_why(tell_another, 0, "told of 'tpu:0'");
    expect_why(tell_too_much, 0, "what is no answer");
    expect_why(write_rubbish, 0, "what is no answer");
}

static void a_crash_is_told_by_its_signal_and_place(void **state) {
    (void)state;
    expect_why(crash, 0, "crashed (SIGSEGV) in openDriver of libdriver.so.1");
    expect_why(print_and_abort, 0, "(SIGABRT); it said: 'driver: out of ? luck'");
    expect_why(end, 0, "exit status 3");
    expect_why(leave_a_process_and_crash, 500, "openDriver of libdriver.so.1");
}

static void a_hang_ends_at_its_deadline(void **state) {
    (void)state;
    int64_t start_ns = rp_clock_ns();
    expect_why(hang, 300, "did not answer within 300 ms: it hangs in waitForever");
    double ms = rp_elapsed_ms(start_ns, rp_clock_ns());
    assert_true(ms >= 300 && ms < 5000);
    expect_why(spin_and_print, 1000, "did not answer within 1 s");
}

static void drivers_hang_at_the_same_time(void **state) {
    (void)state;
    struct rp_device_ops slow = ops_of(hang);
    struct rp_device_ops fast = ops_of(tell);
    slow.ask_ms_max = 600;
    struct rp_question questions[5] = {
        {.ops = &slow}, {.ops = &slow}, {.ops = &fast}, {.ops = &slow}, {.ops = &fast}};
    rp_error err = RP_ERROR_INIT;
    int64_t start_ns = rp_clock_ns();
    assert_ok(rp_questions_ask(questions, 5, &err));
    double ms = rp_elapsed_ms(start_ns, rp_clock_ns());
    assert_true(ms >= 600 && ms < 1700);
    assert_true(questions[2].answer && questions[4].answer);
    assert_true(questions[2].ms < 600);
    assert_false(questions[0].answer || questions[1].answer || questions[3].answer);
    rp_questions_fini(questions, 5);
    no_child_is_left();
}

static void what_a_driver_left_running_is_ended(void **state) {
    (void)state;
    int64_t start_ns = rp_clock_ns();
    struct rp_question question = ask(leave_a_process, 8000);
    assert_non_null(question.answer);
    assert_true(rp_elapsed_ms(start_ns, rp_clock_ns()) < 6000);
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/cmdline", question.answer->notes[0]);
    for (int i = 0;; i++) { /* gone, or a zombie that nobody took: its command line is empty */
        FILE *file = fopen(path, "re");
        int byte = file ? fgetc(file) : EOF;
        if (file) fclose(file);
        if (byte == EOF) break;
        assert_true(i < 500);
        usleep(10000);
    }
    rp_questions_fini(&question, 1);
}

static _Atomic int handled;

static void count_signal(int number) {
    (void)number;
    handled++;
}

static void the_child_has_nothing_of_its_parent(void **state) {
    (void)state;
    int extra[8];
    sigset_t some;
    sigset_t before;
    signal(SIGSEGV, count_signal);
    sigemptyset(&some);
    sigaddset(&some, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &some, &before);
    for (size_t i = 0; i < 8; i++) {
        extra[i] = open(i % 2 ? "/proc/self/stat" : "/dev/null", O_RDONLY);
    }
    struct rp_question question = ask(look_around, 0);
    assert_non_null(question.answer);
    if (question.answer->device_count == 0) {
        fail_msg("%s", question.answer->absences[0]->reason);
    }
    rp_questions_fini(&question, 1);
    sigset_t after;
    pthread_sigmask(SIG_SETMASK, &before, &after);
    assert_int_equal(sigismember(&after, SIGUSR1), 1);
    assert_int_equal(sigismember(&after, SIGINT), 0);
    handled = 0;
    expect_why(crash, 0, "SIGSEGV");
    assert_int_equal(handled, 0);
    signal(SIGSEGV, SIG_DFL);
    for (size_t i = 0; i < 8; i++) {
        close(extra[i]);
    }
}

/* A program that takes the status of every child: then it is not known how this one ended. */
static void a_parent_that_reaps_all_does_no_harm(void **state) {
    (void)state;
    signal(SIGCHLD, SIG_IGN);
    struct rp_question question = ask(tell, 0);
    assert_non_null(question.answer);
    rp_questions_fini(&question, 1);
    expect_why(crash, 0, "ended the process that asked it in openDriver");
    expect_why(hang, 200, "did not answer");
    signal(SIGCHLD, SIG_DFL);
}

static void interrupted_calls_go_on(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = count_signal};
    struct sigaction before;
    sigaction(SIGALRM, &action, &before); /* without SA_RESTART */
    const struct itimerval often = {{0, 2000}, {0, 2000}};
    const struct itimerval never = {{0, 0}, {0, 0}};
    handled = 0;
    setitimer(ITIMER_REAL, &often, NULL);
    struct rp_question first = ask(tell, 0);
    struct rp_question second = ask(hang, 200);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_true(handled > 10);
    assert_non_null(first.answer);
    assert_null(second.answer);
    rp_questions_fini(&first, 1);
    rp_questions_fini(&second, 1);
}

static void without_descriptors_the_reason_says_so(void **state) {
    (void)state;
    struct rp_device_ops ops = ops_of(tell);
    rp_error err = RP_ERROR_INIT;
    size_t open_before = count_descriptors() - 3; /* ".", ".." and the stream itself */
    struct rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    bool has_failed = false;
    for (rlim_t extra = 0; extra < 12; extra++) {
        const struct rlimit tight = {open_before + extra, before.rlim_max};
        struct rp_question question = {.ops = &ops};
        setrlimit(RLIMIT_NOFILE, &tight);
        rp_status status = rp_questions_ask(&question, 1, &err);
        setrlimit(RLIMIT_NOFILE, &before);
        assert_int_equal(status, RP_OK);
        if (!question.answer) {
            has_failed = true;
            assert_says(question.why.message, "the driver");
        }
        rp_questions_fini(&question, 1);
        assert_int_equal(count_descriptors() - 3, open_before);
        no_child_is_left();
    }
    assert_true(has_failed);
}

/* A daemon has 0, 1 and 2 closed, so that the pipes get these numbers. */
static void closed_standard_descriptors_are_no_trouble(void **state) {
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        alarm(20);
        for (int fd = 0; fd < 10; fd++) {
            close(fd);
        }
        struct rp_device_ops ops = ops_of(look_around);
        struct rp_question question = {.ops = &ops};
        if (rp_questions_ask(&question, 1, NULL) != RP_OK) _exit(1);
        _exit(question.answer && question.answer->device_count == 1 ? 0 : 2);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    struct rp_device_ops ops = ops_of(tell);
    int64_t before = rp_memory_live_count();
    bool has_child_failed = false;
    for (uint64_t n = 1;; n++) {
        struct rp_question question = {.ops = &ops};
        rp_error err = RP_ERROR_INIT;
        rp_memory_fail_at(n);
        rp_status status = rp_questions_ask(&question, 1, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        if (pending && !question.answer) {
            has_child_failed = true;
            assert_says(question.why.message, "no memory in its child");
        } else if (!pending && status == RP_OK) {
            /* jansson calls a text damaged for which it had no memory. */
            assert_says(question.why.message, "what is no answer");
        } else {
            assert_int_equal(status, pending ? RP_OK : RP_ERR_MEMORY);
        }
        bool is_whole = question.answer != NULL;
        rp_questions_fini(&question, 1);
        assert_int_equal(rp_memory_live_count(), before);
        no_child_is_left();
        if (pending && is_whole) break;
    }
    assert_true(has_child_failed);
}

/*
 * The thread sanitizer does not follow a fork of several threads, and the heap of the address
 * sanitizer, unlike that of glibc, is not locked over it: a child may find it locked for ever.
 */
#if !defined(RP_THREAD_SANITIZER) && !defined(__SANITIZE_ADDRESS__)
#define CAN_FORK_THREADS
#endif

#ifdef CAN_FORK_THREADS
static void *ask_in_a_thread(void *user) {
    struct rp_device_ops ops = ops_of(tell);
    int *good = user;
    for (int i = 0; i < 25; i++) {
        struct rp_question question = {.ops = &ops};
        if (rp_questions_ask(&question, 1, NULL) == RP_OK && question.answer) ++*good;
        if (!question.answer) print_message("%s\n", question.why.message);
        rp_questions_fini(&question, 1);
    }
    return NULL;
}

static void threads_ask_at_once(void **state) {
    (void)state;
    pthread_t threads[4];
    int good[4] = {0};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask_in_a_thread, &good[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(good[i], 25);
    }
    no_child_is_left();
}
#endif

static void put_frame(char *out, size_t *length, uint32_t type, const char *bytes, size_t size) {
    uint32_t head[2] = {type, (uint32_t)size};
    memcpy(out + *length, head, sizeof head);
    memcpy(out + *length + sizeof head, bytes, size);
    *length += sizeof head + size;
}

static void frames_may_come_in_any_pieces(void **state) {
    (void)state;
    char bytes[256];
    size_t length = 0;
    rp_error err = RP_ERROR_INIT;
    put_frame(bytes, &length, RP_FRAME_STEP, "one", 3);
    put_frame(bytes, &length, RP_FRAME_STEP, "", 0);
    put_frame(bytes, &length, RP_FRAME_STEP, "two\n", 4);
    put_frame(bytes, &length, RP_FRAME_ANSWER, "{}", 2);
    for (size_t piece = 1; piece <= length; piece++) {
        struct rp_inbox inbox = {0};
        for (size_t at = 0; at < length; at += piece) {
            size_t size = length - at < piece ? length - at : piece;
            assert_false(inbox.is_complete);
            assert_ok(rp_inbox_feed(&inbox, bytes + at, size, &err));
        }
        assert_true(inbox.is_complete);
        assert_string_equal(inbox.step, "two?");
        assert_string_equal(inbox.answer, "{}");
        assert_int_equal(inbox.used, 2);
        rp_inbox_fini(&inbox);
    }
}

int main(void) {
    json_heap_is_ours();
    json_object_seed(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_back_whole),
        cmocka_unit_test(an_absence_comes_with_its_hint),
        cmocka_unit_test(what_is_no_answer_is_refused),
        cmocka_unit_test(a_crash_is_told_by_its_signal_and_place),
        cmocka_unit_test(a_hang_ends_at_its_deadline),
        cmocka_unit_test(drivers_hang_at_the_same_time),
        cmocka_unit_test(what_a_driver_left_running_is_ended),
        cmocka_unit_test(the_child_has_nothing_of_its_parent),
        cmocka_unit_test(a_parent_that_reaps_all_does_no_harm),
        cmocka_unit_test(interrupted_calls_go_on),
        cmocka_unit_test(without_descriptors_the_reason_says_so),
        cmocka_unit_test(closed_standard_descriptors_are_no_trouble),
        cmocka_unit_test(every_allocation_may_fail),
#ifdef CAN_FORK_THREADS
        cmocka_unit_test(threads_ask_at_once),
#endif
        cmocka_unit_test(frames_may_come_in_any_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
