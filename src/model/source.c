/* SPDX-License-Identifier: Apache-2.0 */
#include "model/source.h"

#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

rp_status rp_source_open(const char *path, struct rp_source *source, rp_error *err) {
    /* Without O_NONBLOCK a pipe of that name would hold us up before we see what it is. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return rp_fail_errno(err, "cannot open '%s'", path);
    struct stat file;
    if (fstat(fd, &file) != 0) {
        rp_status status = rp_fail_errno(err, "cannot look at '%s'", path);
        close(fd);
        return status;
    }
    if (!S_ISREG(file.st_mode)) {
        close(fd);
        return rp_fail(err, RP_ERR_DATA, "'%s' is %s, not a file", path,
                       S_ISDIR(file.st_mode) ? "a folder" : "a device or a pipe");
    }
    *source = (struct rp_source){.name = path, .size = (uint64_t)file.st_size, .fd = fd};
    return RP_OK;
}

void rp_source_init_memory(struct rp_source *source, const char *name, const void *bytes,
                           size_t size) {
    *source = (struct rp_source){.name = name, .size = size, .fd = -1, .bytes = bytes};
}

void rp_source_close(struct rp_source *source) {
    if (source->fd >= 0) close(source->fd);
    source->fd = -1;
}

rp_status rp_source_read(const struct rp_source *source, uint64_t offset, void *out, size_t length,
                         const char *what, rp_error *err) {
    if (length > source->size || offset > source->size - length) {
        return rp_fail(err, RP_ERR_DATA,
                       "'%s' ends at byte %llu, %s needs %zu bytes from byte %llu", source->name,
                       (unsigned long long)source->size, what, length, (unsigned long long)offset);
    }
    if (source->fd < 0) {
        if (length > 0) memcpy(out, source->bytes + offset, length);
        return RP_OK;
    }
    for (size_t done = 0; done < length;) {
        ssize_t got = pread(source->fd, (char *)out + done, length - done, (off_t)(offset + done));
        if (got > 0) {
            done += (size_t)got;
        } else if (got == 0) {
            return rp_fail(err, RP_ERR_DATA, "'%s' was cut at byte %llu while %s was read",
                           source->name, (unsigned long long)(offset + done), what);
        } else if (errno != EINTR) {
            return rp_fail_errno(err, "cannot read %s of '%s'", what, source->name);
        }
    }
    return RP_OK;
}
