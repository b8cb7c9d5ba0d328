/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the file system can, the file has no name until it is whole: what is killed meanwhile
 * leaves nothing. Elsewhere it has a name of its own first. link() gives a name only if nothing has
 * it.
 */
#include "failure/new_file.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MODE = 0600, TEMPORARY_BYTES = 64 };

/* All bytes, and safe on the disk. 0 or an errno. */
static int write_all(int fd, const char *bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t wrote = write(fd, bytes + done, length - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return errno;
        if (wrote == 0) return ENOSPC;
        done += (size_t)wrote;
    }
    return fsync(fd) == 0 ? 0 : errno;
}

/* False: not here, try the other way. */
static bool write_nameless(int folder, const char *name, const char *bytes, size_t length,
                           int *problem) {
    char path[32];
    int fd = openat(folder, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, MODE);
    if (fd < 0) return false;
    *problem = write_all(fd, bytes, length);
    bool is_done = *problem != 0;
    if (!is_done) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        *problem = linkat(AT_FDCWD, path, folder, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
        is_done = *problem == 0 || *problem == EEXIST;
    }
    close(fd);
    return is_done;
}

/* Give the file its name; file systems without links take the name first. */
static int name_file(int folder, const char *temporary, const char *name) {
    if (linkat(folder, temporary, folder, name, 0) == 0) return 0;
    if (errno == EEXIST) return EEXIST;
    if (renameat2(folder, temporary, folder, name, RENAME_NOREPLACE) == 0) return 0;
    if (errno == EEXIST) return EEXIST;
    int claim = openat(folder, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, MODE);
    if (claim < 0) return errno;
    close(claim);
    if (renameat(folder, temporary, folder, name) == 0) return 0;
    int problem = errno;
    unlinkat(folder, name, 0);
    return problem;
}

int rp_new_file_write_named(int folder, const char *name, const char *bytes, size_t length) {
    char temporary[TEMPORARY_BYTES];
    int fd = -1;
    for (int i = 0; i < 16 && fd < 0; i++) {
        snprintf(temporary, sizeof temporary, ".rpool-%ld-%lld-%d.tmp", (long)getpid(),
                 (long long)rp_clock_ns(), i);
        fd = openat(folder, temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, MODE);
        if (fd < 0 && errno != EEXIST) return errno;
    }
    if (fd < 0) return EEXIST;
    int problem = write_all(fd, bytes, length);
    if (close(fd) != 0 && problem == 0) problem = errno;
    if (problem == 0) problem = name_file(folder, temporary, name);
    unlinkat(folder, temporary, 0);
    return problem;
}

int rp_new_file_write(int folder, const char *name, const char *bytes, size_t length) {
    int problem = 0;
    if (!write_nameless(folder, name, bytes, length, &problem)) {
        problem = rp_new_file_write_named(folder, name, bytes, length);
    }
    if (problem == 0)
        fsync(folder); /* a name that a power cut takes back is no loss worth a failure */
    return problem;
}
