/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/channel.h"

#include "base/clock.h"
#include "base/status.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* More descriptors than any frame may have, so that a surplus is seen rather than cut off. */
enum { ROOM_FOR_DESCRIPTORS = RP_CHANNEL_DESCRIPTORS_MAX + 1, BACKLOG = 4096, CONNECT_S_MAX = 5 };

void rp_descriptors_close(struct rp_descriptors *descriptors) {
    for (size_t i = 0; i < descriptors->count; i++) {
        close(descriptors->fds[i]);
    }
    descriptors->count = 0;
}

int rp_descriptors_take(struct rp_descriptors *descriptors) {
    if (descriptors->count == 0) return -1;
    int fd = descriptors->fds[0];
    descriptors->count--;
    memmove(descriptors->fds, descriptors->fds + 1, descriptors->count * sizeof fd);
    return fd;
}

static rp_status open_socket(int *fd, rp_error *err) {
    int made = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (made < 0) return rp_fail_errno(err, "cannot make a socket");
    *fd = made;
    return RP_OK;
}

static rp_status fill_address(const char *path, struct sockaddr_un *address, rp_error *err) {
    size_t length = strlen(path);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (length >= sizeof address->sun_path) {
        return rp_fail(err, RP_ERR_LIMIT, "the path of a socket, '%.60s...', has %zu bytes of %zu",
                       path, length, sizeof address->sun_path - 1);
    }
    memcpy(address->sun_path, path, length + 1);
    return RP_OK;
}

rp_status rp_channel_pair(int fds[2], rp_error *err) {
    int made[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, made) != 0) {
        return rp_fail_errno(err, "cannot make a pair of sockets");
    }
    memcpy(fds, made, sizeof made);
    return RP_OK;
}

rp_status rp_channel_connect(const char *path, int *fd, rp_error *err) {
    struct sockaddr_un address;
    int made = -1;
    rp_status status = fill_address(path, &address, err);
    if (status == RP_OK) status = open_socket(&made, err);
    if (status != RP_OK) return status;
    /* A listener that is stopped, with a full queue, is not waited for longer. */
    const struct timeval most = {CONNECT_S_MAX, 0};
    (void)setsockopt(made, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    int rc;
    do {
        rc = connect(made, (const struct sockaddr *)&address, sizeof address);
    } while (rc != 0 && errno == EINTR);
    if (rc == 0) {
        *fd = made;
        return RP_OK;
    }
    int error = errno;
    close(made);
    errno = error;
    if (error == ENOENT || error == ECONNREFUSED) {
        return rp_fail(err, RP_ERR_ABSENT, "nobody listens at '%s'", path);
    }
    if (error == EAGAIN) {
        return rp_fail(err, RP_ERR_TIMEOUT, "nobody answered at '%s' within %d s", path,
                       CONNECT_S_MAX);
    }
    return rp_fail_errno(err, "cannot connect to '%s'", path);
}

rp_status rp_channel_listen(const char *path, int *fd, rp_error *err) {
    struct sockaddr_un address;
    int made = -1;
    rp_status status = fill_address(path, &address, err);
    if (status == RP_OK) status = open_socket(&made, err);
    if (status != RP_OK) return status;
    if (bind(made, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(made, BACKLOG) != 0) {
        int error = errno;
        close(made);
        errno = error;
        if (error == EADDRINUSE) {
            return rp_fail(err, RP_ERR_BUSY, "something is at '%s' already", path);
        }
        return rp_fail_errno(err, "cannot listen at '%s'", path);
    }
    *fd = made;
    return RP_OK;
}

rp_status rp_channel_accept(int listening, int *fd, rp_error *err) {
    struct pollfd wait = {.fd = listening, .events = POLLIN};
    *fd = -1;
    if (poll(&wait, 1, 0) <= 0) return RP_OK;
    int made = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    if (made >= 0) {
        *fd = made;
        return RP_OK;
    }
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return RP_OK;
    return rp_fail_errno(err, "cannot accept a connection");
}

rp_status rp_channel_check_peer(int fd, pid_t *pid, rp_error *err) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || size != sizeof peer) {
        return rp_fail_errno(err, "cannot tell who is at the other end of a connection");
    }
    if (peer.uid != geteuid()) {
        return rp_fail(err, RP_ERR_UNSUPPORTED,
                       "process %d belongs to user %u: only processes of user %u are served",
                       (int)peer.pid, (unsigned)peer.uid, (unsigned)geteuid());
    }
    *pid = peer.pid;
    return RP_OK;
}

/* Wait until something can be done; false once the deadline has passed. */
static bool wait_for(int fd, short events, int64_t deadline_ns) {
    for (;;) {
        struct timespec left = {0, 0};
        int64_t left_ns = deadline_ns == 0 ? 0 : deadline_ns - rp_clock_ns();
        if (left_ns > 0) left = (struct timespec){left_ns / 1000000000, left_ns % 1000000000};
        struct pollfd wait = {.fd = fd, .events = events};
        int rc = ppoll(&wait, 1, deadline_ns == RP_NEVER_NS ? NULL : &left, NULL);
        if (rc > 0 || (rc < 0 && errno != EINTR)) return true; /* the call itself tells an error */
        if (rc == 0 && left_ns <= 0) return false;
    }
}

rp_status rp_channel_send(int fd, const void *frame, size_t bytes,
                          const struct rp_descriptors *descriptors, int64_t deadline_ns,
                          rp_error *err) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(RP_CHANNEL_DESCRIPTORS_MAX * sizeof(int))];
    } control = {.bytes = {0}};
    if (bytes > RP_CHANNEL_FRAME_BYTES_MAX) {
        return rp_fail(err, RP_ERR_LIMIT, "a frame of %zu bytes is over the limit of %d", bytes,
                       RP_CHANNEL_FRAME_BYTES_MAX);
    }
    char *start;
    memcpy(&start, &frame, sizeof start); /* sendmsg() only reads, but takes no const */
    struct iovec part = {start, bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptors && descriptors->count > 0) {
        size_t size = descriptors->count * sizeof(int);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(header), descriptors->fds, size);
    }
    for (;;) {
        if (sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return RP_OK;
        if (errno == EINTR) continue;
        if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) {
            return rp_fail(err, RP_ERR_STATE, "the process at the other end has gone");
        }
        /* ETOOMANYREFS: descriptors in flight, which the other side has to take first. */
        if (errno != EAGAIN && errno != ENOBUFS && errno != ETOOMANYREFS) {
            return rp_fail_errno(err, "cannot send a frame of %zu bytes", bytes);
        }
        if (deadline_ns == 0 || !wait_for(fd, POLLOUT, deadline_ns)) {
            return rp_fail(err, RP_ERR_TIMEOUT, "the process at the other end does not read");
        }
    }
}

/* Take the descriptors out of what came. False when there are too many. */
static bool take_descriptors(struct msghdr *message, struct rp_descriptors *descriptors) {
    bool fits = true;
    descriptors->count = 0;
    for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at; at = CMSG_NXTHDR(message, at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(at) + i * sizeof fd, sizeof fd);
            if (descriptors->count < RP_CHANNEL_DESCRIPTORS_MAX) {
                descriptors->fds[descriptors->count++] = fd;
            } else {
                close(fd);
                fits = false;
            }
        }
    }
    return fits;
}

rp_status rp_channel_receive(int fd, void *frame, size_t *bytes, struct rp_descriptors *descriptors,
                             int64_t deadline_ns, rp_error *err) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(ROOM_FOR_DESCRIPTORS * sizeof(int))];
    } control;
    struct iovec part = {frame, RP_CHANNEL_FRAME_BYTES_MAX};
    for (;;) {
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof control.bytes};
        ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) {
            if (deadline_ns == 0 || !wait_for(fd, POLLIN, deadline_ns)) {
                return rp_fail(err, RP_ERR_TIMEOUT, "nothing came from the other end in time");
            }
            continue;
        }
        if (got < 0 && errno != ECONNRESET) return rp_fail_errno(err, "cannot receive a frame");
        struct rp_descriptors came = {.count = 0};
        bool fits = got < 0 || take_descriptors(&message, &came);
        /* An empty frame cannot be told from the end, and no frame of ours is empty. */
        if (got <= 0) {
            rp_descriptors_close(&came);
            return rp_fail(err, RP_ERR_STATE, "the process at the other end has gone");
        }
        if (!fits || (message.msg_flags & MSG_TRUNC) != 0) {
            rp_descriptors_close(&came);
            return rp_fail(err, RP_ERR_DATA,
                           fits ? "a frame is longer than %d bytes"
                                : "a frame came with more than %d descriptors",
                           fits ? RP_CHANNEL_FRAME_BYTES_MAX : RP_CHANNEL_DESCRIPTORS_MAX);
        }
        *bytes = (size_t)got;
        /* There was room for one too many: what is missing, this process could not open. */
        if (message.msg_flags & MSG_CTRUNC) {
            rp_descriptors_close(&came);
            rp_fail(err, RP_ERR_LIMIT,
                    "process %d has as many files open as it may, and lost what came with a frame",
                    (int)getpid());
            rp_hint(err, "see 'ulimit -n'");
            return RP_ERR_LIMIT;
        }
        *descriptors = came;
        return RP_OK;
    }
}
