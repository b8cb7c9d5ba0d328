/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/claim.h"

#include "base/status.h"
#include "base/text.h"
#include "machine/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROUNDS = 8, PID_BYTES_MAX = 32 };

/* Whether `path` still leads to the file that is open: somebody may have removed it meanwhile. */
static bool is_still_there(int fd, const char *path) {
    struct stat opened;
    struct stat found;
    return fstat(fd, &opened) == 0 && stat(path, &found) == 0 && opened.st_ino == found.st_ino &&
           opened.st_dev == found.st_dev;
}

/* Whose lock it is, as the file has it; "another process" before its holder wrote it down. */
static rp_status tell_holder(const struct rp_address *address, int fd, rp_error *err) {
    char pid[PID_BYTES_MAX] = "";
    ssize_t got = pread(fd, pid, sizeof pid - 1, 0);
    pid[got > 0 ? got : 0] = '\0';
    pid[strspn(pid, "0123456789")] = '\0';
    rp_fail(err, RP_ERR_BUSY, "%s%s serves in '%s' already",
            pid[0] ? "process " : "another process", pid, address->folder);
    rp_hint(err, "'rpool status' tells what it holds, 'rpool stop' ends it");
    return RP_ERR_BUSY;
}

static rp_status take_lock(const struct rp_address *address, int *lock_fd, rp_error *err) {
    for (int round = 0; round < ROUNDS; round++) {
        int fd = open(address->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) return rp_fail_errno(err, "cannot open '%s'", address->lock);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            int error = errno;
            rp_status status = RP_ERR_BUSY;
            if (error == EWOULDBLOCK) {
                status = tell_holder(address, fd, err);
            } else {
                status = rp_fail_errno(err, "cannot lock '%s'", address->lock);
            }
            close(fd);
            return status;
        }
        if (is_still_there(fd, address->lock)) {
            *lock_fd = fd;
            return RP_OK;
        }
        close(fd);
    }
    return rp_fail(err, RP_ERR_BUSY, "'%s' is being removed again and again", address->lock);
}

/* With the lock: a socket that answers is served by somebody whose lock file was removed. */
static rp_status clear_socket(const struct rp_address *address, rp_error *err) {
    int fd = -1;
    struct stat found;
    if (lstat(address->socket, &found) != 0) return RP_OK;
    if (!S_ISSOCK(found.st_mode)) {
        return rp_fail(err, RP_ERR_BUSY, "'%s' is in the way: it is no socket", address->socket);
    }
    rp_status status = rp_channel_connect(address->socket, &fd, err);
    if (status == RP_OK) {
        close(fd);
        return rp_fail(err, RP_ERR_BUSY, "somebody answers at '%s' already", address->socket);
    }
    if (status != RP_ERR_ABSENT) return status;
    if (unlink(address->socket) == 0 || errno == ENOENT) return RP_OK;
    return rp_fail_errno(err, "cannot remove the stale socket '%s'", address->socket);
}

static void note_pid(int fd) {
    char pid[PID_BYTES_MAX];
    int length = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    /* For people only: a full disk does not keep anybody from serving. */
    if (ftruncate(fd, 0) == 0 && pwrite(fd, pid, (size_t)length, 0) < 0) return;
}

/* With the lock held in made->lock_fd: bind the socket anew. */
static rp_status listen_there(struct rp_claim *made, rp_error *err) {
    const struct rp_address *address = &made->address;
    rp_status status = clear_socket(address, err);
    if (status == RP_OK) status = rp_channel_listen(address->socket, &made->listening_fd, err);
    struct stat found;
    if (status == RP_OK &&
        (chmod(address->socket, 0600) != 0 || stat(address->socket, &found) != 0)) {
        status = rp_fail_errno(err, "cannot keep '%s' for this user", address->socket);
    }
    if (status != RP_OK) return status;
    made->device = found.st_dev;
    made->inode = found.st_ino;
    note_pid(made->lock_fd);
    return RP_OK;
}

rp_status rp_claim_take(const struct rp_address *address, struct rp_claim *claim, rp_error *err) {
    struct rp_claim made = {.address = *address, .lock_fd = -1, .listening_fd = -1};
    rp_status status = rp_address_prepare(address, err);
    if (status == RP_OK) status = take_lock(address, &made.lock_fd, err);
    if (status == RP_OK) status = listen_there(&made, err);
    if (status == RP_OK) {
        *claim = made;
    } else {
        rp_claim_leave(&made);
    }
    return status;
}

bool rp_claim_is_whole(const struct rp_claim *claim) {
    struct stat found;
    return stat(claim->address.socket, &found) == 0 && found.st_ino == claim->inode &&
           found.st_dev == claim->device;
}

rp_status rp_claim_renew(struct rp_claim *claim, rp_error *err) {
    struct rp_claim made = {.address = claim->address, .lock_fd = -1, .listening_fd = -1};
    /* A lock of this process's on a second opening of the file would be in its own way. */
    bool has_lock = is_still_there(claim->lock_fd, claim->address.lock);
    rp_status status = rp_address_prepare(&made.address, err);
    if (status == RP_OK && !has_lock) status = take_lock(&made.address, &made.lock_fd, err);
    if (has_lock) made.lock_fd = claim->lock_fd;
    if (status == RP_OK) status = listen_there(&made, err);
    if (status != RP_OK) {
        if (has_lock) made.lock_fd = -1;
        rp_claim_leave(&made);
        return status;
    }
    close(claim->listening_fd);
    if (!has_lock) close(claim->lock_fd);
    *claim = made;
    return RP_OK;
}

void rp_claim_leave(struct rp_claim *claim) {
    /* The file goes first: who connects later finds nobody, rather than somebody who leaves. */
    if (claim->listening_fd >= 0 && rp_claim_is_whole(claim)) {
        unlink(claim->address.socket);
    }
    if (claim->listening_fd >= 0) close(claim->listening_fd);
    if (claim->lock_fd >= 0) close(claim->lock_fd);
    claim->listening_fd = claim->lock_fd = -1;
}
