/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/channel.h"

#include "base/clock.h"

#include "../../tests/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static rp_error err;
static char frame[RP_CHANNEL_FRAME_BYTES_MAX];

static size_t open_count(void) {
    size_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count;
}

static void a_frame_comes_whole_with_its_descriptors(void **state) {
    (void)state;
    int ends[2];
    size_t before = open_count();
    assert_ok(rp_channel_pair(ends, &err));
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    struct rp_descriptors sent = {{pipes[0], pipes[1]}, 2};
    struct rp_descriptors came;
    size_t bytes = 0;
    memset(frame, 'a', sizeof frame);
    assert_ok(rp_channel_send(ends[0], frame, sizeof frame, &sent, 0, &err));
    assert_ok(rp_channel_send(ends[0], "second", 6, NULL, 0, &err));
    memset(frame, 'b', sizeof frame);
    assert_ok(rp_channel_receive(ends[1], frame, &bytes, &came, 0, &err));
    assert_int_equal(bytes, sizeof frame);
    assert_int_equal(frame[sizeof frame - 1], 'a');
    assert_int_equal(came.count, 2);
    assert_true(fcntl(came.fds[0], F_GETFD) & FD_CLOEXEC);
    int first = rp_descriptors_take(&came);
    assert_int_equal(write(rp_descriptors_take(&came), "x", 1), 1);
    char byte = 0;
    assert_int_equal(read(first, &byte, 1), 1);
    assert_int_equal(byte, 'x');
    assert_int_equal(rp_descriptors_take(&came), -1);
    assert_ok(rp_channel_receive(ends[1], frame, &bytes, &came, 0, &err));
    assert_int_equal(bytes, 6);
    assert_int_equal(came.count, 0);
    close(first);
    close(first + 1);
    close(pipes[0]);
    close(pipes[1]);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(open_count(), before);
}

static void what_is_no_frame_leaves_no_descriptor_behind(void **state) {
    (void)state;
    int ends[2];
    assert_ok(rp_channel_pair(ends, &err));
    size_t before = open_count();
    struct rp_descriptors came;
    size_t bytes = 0;
    int size = 1 << 20;
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    static char large[RP_CHANNEL_FRAME_BYTES_MAX + 1];
    assert_status(rp_channel_send(ends[0], large, sizeof large, NULL, 0, &err), RP_ERR_LIMIT);
    assert_int_equal(send(ends[0], large, sizeof large, 0), sizeof large);
    assert_status(rp_channel_receive(ends[1], frame, &bytes, &came, 0, &err), RP_ERR_DATA);
    /* Five, and as many as the kernel lets through. */
    for (size_t count = 5; count <= 200; count += 195) {
        union {
            struct cmsghdr header;
            char bytes[CMSG_SPACE(200 * sizeof(int))];
        } control = {.bytes = {0}};
        struct iovec part = {large, 10};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = CMSG_SPACE(count * sizeof(int))};
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof(int));
        for (size_t i = 0; i < count; i++) {
            memcpy(CMSG_DATA(header) + i * sizeof(int), &ends[0], sizeof(int));
        }
        assert_int_equal(sendmsg(ends[0], &message, 0), 10);
        assert_status(rp_channel_receive(ends[1], frame, &bytes, &came, 0, &err), RP_ERR_DATA);
        assert_says(err.message, "more than 4 descriptors");
    }
    assert_int_equal(open_count(), before);
    close(ends[0]);
    close(ends[1]);
}

static void a_frame_whose_descriptors_cannot_be_opened_comes_without_them(void **state) {
    (void)state;
    int ends[2];
    struct rlimit before;
    assert_ok(rp_channel_pair(ends, &err));
    size_t open_before = open_count();
    struct rp_descriptors sent = {{ends[0], ends[0], ends[0], ends[0]}, 4};
    struct rp_descriptors came = {.count = 0};
    size_t bytes = 0;
    assert_ok(rp_channel_send(ends[0], "first", 5, &sent, 0, &err));
    assert_ok(rp_channel_send(ends[0], "second", 6, &sent, 0, &err));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit few = {(rlim_t)ends[1] + 3, before.rlim_max}; /* room for two of them */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    rp_status status = rp_channel_receive(ends[1], frame, &bytes, &came, 0, &err);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_status(status, RP_ERR_LIMIT);
    assert_says(err.message, "as many files open as it may");
    assert_int_equal(bytes, 5);
    assert_memory_equal(frame, "first", 5);
    assert_int_equal(came.count, 0);
    assert_int_equal(open_count(), open_before);
    assert_ok(rp_channel_receive(ends[1], frame, &bytes, &came, 0, &err));
    assert_int_equal(came.count, 4);
    rp_descriptors_close(&came);
    close(ends[0]);
    close(ends[1]);
}

static void waiting_ends_at_the_deadline(void **state) {
    (void)state;
    int ends[2];
    struct rp_descriptors came;
    size_t bytes = 0;
    assert_ok(rp_channel_pair(ends, &err));
    int64_t start_ns = rp_clock_ns();
    assert_status(rp_channel_receive(ends[0], frame, &bytes, &came, rp_deadline_after_ms(60), &err),
                  RP_ERR_TIMEOUT);
    double waited_ms = rp_elapsed_ms(start_ns, rp_clock_ns());
    assert_true(waited_ms >= 60 && waited_ms < 2000);
    rp_status status = RP_OK;
    int sent = 0;
    while (status == RP_OK) {
        status = rp_channel_send(ends[0], frame, 60000, NULL, 0, &err);
        sent += status == RP_OK;
    }
    assert_int_equal(status, RP_ERR_TIMEOUT);
    assert_true(sent > 0);
    assert_status(rp_channel_send(ends[0], frame, 60000, NULL, rp_deadline_after_ms(20), &err),
                  RP_ERR_TIMEOUT);
    while (sent-- > 0) {
        assert_ok(rp_channel_receive(ends[1], frame, &bytes, &came, 0, &err));
        assert_int_equal(bytes, 60000);
    }
    close(ends[0]);
    close(ends[1]);
}

static void the_end_of_the_other_side_is_no_signal(void **state) {
    (void)state;
    int ends[2];
    struct rp_descriptors came;
    size_t bytes = 0;
    signal(SIGPIPE, SIG_DFL);
    assert_ok(rp_channel_pair(ends, &err));
    assert_ok(rp_channel_send(ends[1], "last", 4, NULL, 0, &err));
    close(ends[1]);
    assert_ok(rp_channel_receive(ends[0], frame, &bytes, &came, RP_NEVER_NS, &err));
    assert_status(rp_channel_receive(ends[0], frame, &bytes, &came, RP_NEVER_NS, &err),
                  RP_ERR_STATE);
    assert_status(rp_channel_send(ends[0], "x", 1, NULL, RP_NEVER_NS, &err), RP_ERR_STATE);
    close(ends[0]);
}

static void connecting_tells_who_is_there(void **state) {
    (void)state;
    char folder[] = "/tmp/rp-channel-XXXXXX";
    char path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s", folder);
    int fd = -1;
    int listening = -1;
    int accepted = -1;
    pid_t pid = 0;
    assert_status(rp_channel_connect(path, &fd, &err), RP_ERR_ABSENT);
    assert_ok(rp_channel_listen(path, &listening, &err));
    assert_status(rp_channel_listen(path, &fd, &err), RP_ERR_BUSY);
    assert_ok(rp_channel_accept(listening, &accepted, &err));
    assert_int_equal(accepted, -1);
    assert_ok(rp_channel_connect(path, &fd, &err));
    assert_ok(rp_channel_accept(listening, &accepted, &err));
    assert_true(accepted >= 0);
    assert_ok(rp_channel_check_peer(accepted, &pid, &err));
    assert_int_equal(pid, getpid());
    close(fd);
    close(accepted);
    close(listening);
    /* The file of one that has gone. */
    assert_status(rp_channel_connect(path, &fd, &err), RP_ERR_ABSENT);
    unlink(path);
    rmdir(folder);
}

static void another_users_process_is_refused(void **state) {
    (void)state;
    if (geteuid() != 0) skip();
    char folder[] = "/tmp/rp-channel-XXXXXX";
    char path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s", folder);
    int listening = -1;
    assert_ok(rp_channel_listen(path, &listening, &err));
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(chmod(path, 0777), 0);
    pid_t child = fork();
    if (child == 0) {
        int fd = -1;
        if (setuid(12345) != 0) _exit(2);
        _exit(rp_channel_connect(path, &fd, NULL) == RP_OK ? (pause(), 0) : 1);
    }
    int accepted = -1;
    pid_t pid = 0;
    while (accepted < 0) {
        assert_ok(rp_channel_accept(listening, &accepted, &err));
    }
    assert_status(rp_channel_check_peer(accepted, &pid, &err), RP_ERR_UNSUPPORTED);
    assert_says(err.message, "user 12345");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(accepted);
    close(listening);
    unlink(path);
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_comes_whole_with_its_descriptors),
        cmocka_unit_test(what_is_no_frame_leaves_no_descriptor_behind),
        cmocka_unit_test(a_frame_whose_descriptors_cannot_be_opened_comes_without_them),
        cmocka_unit_test(waiting_ends_at_the_deadline),
        cmocka_unit_test(the_end_of_the_other_side_is_no_signal),
        cmocka_unit_test(connecting_tells_who_is_there),
        cmocka_unit_test(another_users_process_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
