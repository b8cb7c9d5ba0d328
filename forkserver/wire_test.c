/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static char option[] = "-c";
static char word[] = "a";
static char program[] = "/usr/bin/python3";
static char code[] = "pass";
static char home[] = "HOME=/home/ada";
static char empty[] = "EMPTY=";
static char bytes[] = "\xff=\xfe";
static char *const argv[] = {option, word, NULL};
static char *const original[] = {program, option, code, word, NULL};
static char *const environment[] = {home, empty, bytes, NULL};

/* How many descriptors this process has open. */
static int open_count(void) {
    int count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void make_pair(int pair[2]) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void close_pair(const int pair[2]) {
    close(pair[0]);
    close(pair[1]);
}

/* --- requests -------------------------------------------------------------------------------- */

/* One as it is sent, changed by `change`; what is said of it. */
static const char *judge(void (*change)(struct fs_request_head *)) {
    static const int32_t passed[] = {0, 1, 7};
    struct fs_request_head head = {.mode = FS_MODE_CODE, .passed_count = 3};
    struct fs_request request;
    size_t size;
    int fd = fs_request_write(&head, passed, "pass", argv, original, environment);
    assert_true(fd >= 0);
    const void *map = fs_request_map(fd, &size);
    assert_non_null(map);
    void *copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, map, size);
    if (change) change(copy);
    const char *wrong = fs_request_read(copy, size, &request);
    if (!wrong) free(request.argv);
    free(copy);
    munmap((void *)(uintptr_t)map, size);
    close(fd);
    return wrong ? wrong : "good";
}

static void a_request_is_read_as_it_was_written(void **state) {
    (void)state;
    static const int32_t passed[] = {0, 1, 7};
    struct fs_request_head head = {.mode = FS_MODE_CODE, .passed_count = 3, .umask = 022};
    struct fs_request request;
    size_t size;
    int fd = fs_request_write(&head, passed, "pass", argv, original, environment);
    const void *map = fs_request_map(fd, &size);
    assert_non_null(map);
    assert_null(fs_request_read(map, size, &request));
    assert_int_equal(request.head->umask, 022);
    assert_int_equal(request.passed[2], 7);
    assert_string_equal(request.target, "pass");
    assert_string_equal(request.argv[1], "a");
    assert_null(request.argv[2]);
    assert_string_equal(request.original[3], "a");
    assert_null(request.original[4]);
    assert_string_equal(request.environment[2], "\xff=\xfe");
    assert_null(request.environment[3]);
    free(request.argv);
    munmap((void *)(uintptr_t)map, size);
    close(fd);
}

static void other_version(struct fs_request_head *head) {
    head->version++;
}
static void other_size(struct fs_request_head *head) {
    head->bytes++;
}
static void other_mode(struct fs_request_head *head) {
    head->mode = 4;
}
static void too_many_passed(struct fs_request_head *head) {
    head->passed_count = FS_PASSED_MAX + 1;
}
static void more_passed(struct fs_request_head *head) {
    head->passed_count = FS_PASSED_MAX;
}
static void more_texts(struct fs_request_head *head) {
    head->environment_count++;
}
static void fewer_texts(struct fs_request_head *head) {
    head->environment_count--;
}
static void all_texts(struct fs_request_head *head) {
    head->argv_count = head->original_count = head->environment_count = UINT32_MAX;
}
static void no_argv(struct fs_request_head *head) {
    head->argv_count = 0;
}
static void highest_descriptor(struct fs_request_head *head) {
    ((int32_t *)(head + 1))[2] = INT32_MAX;
}
static void same_descriptor(struct fs_request_head *head) {
    ((int32_t *)(head + 1))[1] = 0;
}

static void a_damaged_request_is_named(void **state) {
    (void)state;
    static const struct {
        void (*change)(struct fs_request_head *);
        const char *says;
    } rows[] = {
        {NULL, "good"},
        {other_version, "another version"},
        {other_size, "size"},
        {other_mode, "mode"},
        {too_many_passed, "too many descriptors"},
        {more_passed, "fewer descriptors"},
        {more_texts, "texts do not end"},
        {fewer_texts, "texts do not end"},
        {all_texts, "fewer texts"},
        {no_argv, "no argv"},
        {highest_descriptor, "not in order"},
        {same_descriptor, "not in order"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_says(judge(rows[i].change), rows[i].says);
}

static void memory_that_could_change_is_no_request(void **state) {
    (void)state;
    size_t size;
    int fd = memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_null(fs_request_map(fd, &size));
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    assert_null(fs_request_map(fd, &size));
    close(fd);
}

/* --- frames ---------------------------------------------------------------------------------- */

static void descriptors_come_with_a_frame_and_are_closed_on_exec(void **state) {
    (void)state;
    int pair[2];
    int fds[4] = {-1, -1, -1, -1};
    size_t count = 4;
    struct fs_frame frame = fs_frame_of(FS_FORKED, 3, 4, "text");
    make_pair(pair);
    assert_true(fs_send(pair[0], &frame, (int[]){pair[0], pair[1]}, 2));
    assert_int_equal(fs_receive(pair[1], &frame, fds, &count), 1);
    assert_int_equal(count, 2);
    assert_int_equal(fcntl(fds[1], F_GETFD), FD_CLOEXEC);
    assert_int_equal(frame.number, 3);
    assert_string_equal(frame.text, "text");
    close(fds[0]);
    close(fds[1]);
    close_pair(pair);
}

static void descriptors_that_nobody_wants_are_closed(void **state) {
    (void)state;
    int pair[2];
    int fd = -1;
    int before;
    struct fs_frame frame = fs_frame_of(FS_FORKED, 1, 0, NULL);
    make_pair(pair);
    before = open_count();
    /* More than there is room for; none wanted; a frame of another version; an empty message. */
    size_t count = 1;
    assert_true(fs_send(pair[0], &frame, (int[]){0, 1, 2}, 3));
    assert_int_equal(fs_receive(pair[1], &frame, &fd, &count), 1);
    assert_int_equal(count, 1);
    close(fd);
    assert_true(fs_send(pair[0], &frame, (int[]){0}, 1));
    assert_int_equal(fs_receive(pair[1], &frame, NULL, NULL), 1);
    frame.version++;
    count = 1;
    assert_true(fs_send(pair[0], &frame, (int[]){0}, 1));
    assert_int_equal(fs_receive(pair[1], &frame, &fd, &count), -1);
    assert_int_equal(errno, EBADMSG);
    assert_int_equal(count, 0);
    assert_int_equal(send(pair[0], "", 0, 0), 0);
    count = 1;
    assert_int_equal(fs_receive(pair[1], &frame, &fd, &count), 0);
    assert_int_equal(count, 0);
    assert_int_equal(open_count(), before);
    close_pair(pair);
}

static void the_end_is_heard_by_who_did_not_read(void **state) {
    (void)state;
    int pair[2];
    struct fs_frame stopped = fs_frame_of(FS_STOPPED, 0, 19, NULL);
    struct fs_frame ended = fs_frame_of(FS_ENDED, 0, 7, NULL);
    struct fs_frame frame = {0};
    int sent = 0;
    make_pair(pair);
    while (sent < 100000 && fs_send_now(pair[0], &stopped))
        sent++;
    assert_in_range(sent, 1, 99999);
    assert_int_equal(errno, EAGAIN);
    assert_true(fs_send_now(pair[0], &ended));
    for (int i = 0; i <= sent; i++)
        assert_int_equal(fs_receive(pair[1], &frame, NULL, NULL), 1);
    assert_int_equal(frame.type, FS_ENDED);
    assert_int_equal(frame.value, 7);
    close_pair(pair);
}

static void who_is_gone_is_no_signal(void **state) {
    (void)state;
    int pair[2];
    struct fs_frame frame = fs_frame_of(FS_WAIT, 0, 0, NULL);
    make_pair(pair);
    close(pair[1]);
    assert_false(fs_send(pair[0], &frame, NULL, 0));
    assert_int_equal(errno, EPIPE);
    assert_false(fs_send_now(pair[0], &frame));
    assert_int_equal(fs_receive(pair[0], &frame, NULL, NULL), 0);
    close(pair[0]);
}

static void a_text_is_cut_and_is_one_line(void **state) {
    (void)state;
    char longer[2 * FS_TEXT_BYTES];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    struct fs_frame frame = fs_frame_of(FS_REFUSED, 0, 0, longer);
    assert_int_equal(strlen(frame.text), FS_TEXT_BYTES - 1);
    frame = fs_frame_of(FS_REFUSED, 0, 0, "a\tb\nc\033[2J\xc3\xa9");
    assert_string_equal(frame.text, "a b c [2J\xc3\xa9");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_read_as_it_was_written),
        cmocka_unit_test(a_damaged_request_is_named),
        cmocka_unit_test(memory_that_could_change_is_no_request),
        cmocka_unit_test(descriptors_come_with_a_frame_and_are_closed_on_exec),
        cmocka_unit_test(descriptors_that_nobody_wants_are_closed),
        cmocka_unit_test(the_end_is_heard_by_who_did_not_read),
        cmocka_unit_test(who_is_gone_is_no_signal),
        cmocka_unit_test(a_text_is_cut_and_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
