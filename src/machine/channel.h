/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection between two processes of a user: whole frames in order, each with up to four
 * descriptors. Used between a client and the broker and between the broker and a worker.
 *
 * A channel is a SOCK_SEQPACKET socket: a frame comes whole or not at all. What the other side
 * sends is data: a frame that is too long, or that was cut, or comes with more descriptors than
 * allowed, is RP_ERR_DATA and its descriptors are closed. No call raises SIGPIPE.
 *
 * One thread at a time may receive, any may send.
 */
#ifndef RP_MACHINE_CHANNEL_H
#define RP_MACHINE_CHANNEL_H

#include <resourcepool/status.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { RP_CHANNEL_FRAME_BYTES_MAX = 64 << 10, RP_CHANNEL_DESCRIPTORS_MAX = 4 };

/* Descriptors that came with a frame, or go with one. The receiver's: close them or take them. */
struct rp_descriptors {
    int fds[RP_CHANNEL_DESCRIPTORS_MAX];
    size_t count;
};

/* Close what is left and forget it. */
void rp_descriptors_close(struct rp_descriptors *descriptors);

/* Take the first out, the caller's from now on; -1 when there is none. */
int rp_descriptors_take(struct rp_descriptors *descriptors);

/* Two ends of a new channel, both closed on exec. */
RP_MUST_CHECK rp_status rp_channel_pair(int fds[2], rp_error *err);

/* Connect to a socket of that path. RP_ERR_ABSENT: nobody listens there. */
RP_MUST_CHECK rp_status rp_channel_connect(const char *path, int *fd, rp_error *err);

/* Listen on that path, not blocking. Something is there already: RP_ERR_BUSY. */
RP_MUST_CHECK rp_status rp_channel_listen(const char *path, int *fd, rp_error *err);

/* Accept one, not blocking; *fd is -1 when nobody is there any more. */
RP_MUST_CHECK rp_status rp_channel_accept(int listening, int *fd, rp_error *err);

/* Who is at the other end; RP_ERR_UNSUPPORTED when that is another user's process. */
RP_MUST_CHECK rp_status rp_channel_check_peer(int fd, pid_t *pid, rp_error *err);

/*
 * Send one frame; descriptors (NULL: none) stay the caller's. Waits for room up to the deadline
 * (rp_clock_ns(); 0: not at all; RP_NEVER_NS).
 *
 * RP_ERR_TIMEOUT: no room until then, nothing was sent; RP_ERR_STATE: the other side has gone;
 * RP_ERR_LIMIT: too long.
 */
RP_MUST_CHECK rp_status rp_channel_send(int fd, const void *frame, size_t bytes,
                                        const struct rp_descriptors *descriptors,
                                        int64_t deadline_ns, rp_error *err);

/*
 * Receive one frame into `frame`, which holds RP_CHANNEL_FRAME_BYTES_MAX. Descriptors are closed
 * on exec; `descriptors` is filled in on RP_OK only.
 *
 * RP_ERR_TIMEOUT: none came until the deadline (0: none was there); RP_ERR_STATE: the other side
 * has gone; RP_ERR_DATA: what came is no frame, and the channel of no further use;
 * RP_ERR_LIMIT: the frame is there, but this process had no number left for what came with it,
 * which is lost.
 */
RP_MUST_CHECK rp_status rp_channel_receive(int fd, void *frame, size_t *bytes,
                                           struct rp_descriptors *descriptors, int64_t deadline_ns,
                                           rp_error *err);

#endif
