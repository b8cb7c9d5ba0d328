/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes are written with pwrite(): into a fresh memory file that is twice as fast as copying
 * through a mapping, which takes a fault for each page, and no writable mapping is left that would
 * be in the way of F_SEAL_WRITE.
 *
 * A mapping is private and writable: a write copies the page for this process. It is made without
 * reserving memory for that, since hardly anybody writes. The head and the table stay in place
 * and are made read-only, so that no stray write of this process moves a part.
 */
#include "machine/segment.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "hardware/pressure.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    SEALS = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
    /* One write of the kernel's is at most 2 GiB - 4 KiB. */
    WRITE_BYTES_MAX = 1 << 30,
    /* Looking at memory costs 0.2 ms, as much as writing this. */
    ROOM_UNASKED_BYTES = 1 << 20,
};

/* Since Linux 6.3; older headers and kernels do not know it. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

/* False when it would not fit 64 bits. */
static bool align_up(uint64_t *value) {
    if (*value > UINT64_MAX - (RP_SEGMENT_ALIGN - 1)) return false;
    *value = (*value + RP_SEGMENT_ALIGN - 1) / RP_SEGMENT_ALIGN * RP_SEGMENT_ALIGN;
    return true;
}

static uint64_t table_end(uint64_t count) {
    return sizeof(struct rp_segment_head) + count * sizeof(struct rp_segment_entry);
}

/* --- making one ---------------------------------------------------------------------------- */

rp_status rp_segment_check_room_in(uint64_t bytes, const struct rp_pressure_reading *reading,
                                   rp_error *err) {
    if (reading->bytes_usable == RP_UNKNOWN_U64 || bytes <= reading->bytes_usable) return RP_OK;
    char need[RP_BYTES_TEXT_BYTES];
    char have[RP_BYTES_TEXT_BYTES];
    bool is_group = rp_pressure_group_bytes_room(reading) == reading->bytes_usable;
    rp_fail(err, RP_ERR_MEMORY, "no memory for a segment of %s: %s has %s left",
            rp_text_bytes(bytes, need, sizeof need),
            is_group && reading->group ? reading->group : "the machine",
            rp_text_bytes(reading->bytes_usable, have, sizeof have));
    rp_hint(err, "shared bytes cannot be swapped or dropped: publish less, or keep it in a file");
    return RP_ERR_MEMORY;
}

rp_status rp_segment_check_room(uint64_t bytes, rp_error *err) {
    if (bytes <= ROOM_UNASKED_BYTES) return RP_OK;
    struct rp_pressure *pressure = NULL;
    struct rp_pressure_reading reading;
    rp_status status = rp_pressure_open("", &pressure, err);
    if (status != RP_OK) return status;
    rp_pressure_read(pressure, &reading);
    status = rp_segment_check_room_in(bytes, &reading, err);
    rp_pressure_close(pressure);
    return status;
}

/* Fill in head and table; *size is that of the file. */
static rp_status lay_out(const rp_object_part *parts, size_t count, struct rp_segment_head *head,
                         rp_error *err) {
    struct rp_segment_entry *table = (struct rp_segment_entry *)(head + 1);
    uint64_t end = table_end(count);
    for (size_t i = 0; i < count; i++) {
        if (!align_up(&end) || end > INT64_MAX || parts[i].bytes > INT64_MAX - end) {
            return rp_fail(err, RP_ERR_LIMIT, "part %zu of a segment ends beyond 2^63 bytes", i);
        }
        table[i] = (struct rp_segment_entry){end, parts[i].bytes};
        end += parts[i].bytes;
    }
    *head = (struct rp_segment_head){
        .magic = RP_SEGMENT_MAGIC,
        .version = RP_SEGMENT_VERSION,
        .entry_bytes = sizeof *table,
        .size = end,
        .part_count = count,
    };
    return RP_OK;
}

static rp_status write_at(int fd, const void *bytes, uint64_t size, uint64_t offset,
                          rp_error *err) {
    const char *at = bytes;
    uint64_t left = size;
    while (left > 0) {
        size_t part = left < WRITE_BYTES_MAX ? (size_t)left : WRITE_BYTES_MAX;
        ssize_t written = pwrite(fd, at, part, (off_t)offset);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            if (written == 0) errno = ENOSPC;
            return rp_fail_errno(err, "cannot write %llu bytes at %llu of a segment",
                                 (unsigned long long)left, (unsigned long long)offset);
        }
        at += written;
        offset += (uint64_t)written;
        left -= (uint64_t)written;
    }
    return RP_OK;
}

/* A memory file that no program can be started from, where the kernel knows such. */
static rp_status open_memory(int *fd, rp_error *err) {
    const char *name = "resourcepool-object";
    *fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (*fd < 0 && errno == EINVAL) *fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd >= 0) return RP_OK;
    bool is_full = errno == EMFILE;
    rp_status status = rp_fail_errno(err, "cannot make a memory file for a segment");
    if (is_full) rp_hint(err, "this process has as many files open as it may: see 'ulimit -n'");
    return status;
}

static rp_status fill(int fd, const struct rp_segment_head *head, const rp_object_part *parts,
                      rp_error *err) {
    const struct rp_segment_entry *table = (const struct rp_segment_entry *)(head + 1);
    /* The size first: what lies between parts, and an empty one at the end, is never written. */
    if (ftruncate(fd, (off_t)head->size) != 0) {
        return rp_fail_errno(err, "cannot make a segment of %llu bytes",
                             (unsigned long long)head->size);
    }
    rp_status status = write_at(fd, head, table_end(head->part_count), 0, err);
    for (size_t i = 0; i < head->part_count && status == RP_OK; i++) {
        status = write_at(fd, parts[i].data, parts[i].bytes, table[i].offset, err);
    }
    if (status == RP_OK && fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
        status = rp_fail_errno(err, "cannot seal a segment of %llu bytes",
                               (unsigned long long)head->size);
    }
    return status;
}

rp_status rp_segment_create(const rp_object_part *parts, size_t count, int *fd, uint64_t *size,
                            rp_error *err) {
    if (count > RP_LIMIT_SEGMENT_PARTS) {
        return rp_fail(err, RP_ERR_LIMIT, "%zu parts are more than the %d that a segment may have",
                       count, RP_LIMIT_SEGMENT_PARTS);
    }
    struct rp_segment_head *head = rp_alloc(table_end(count));
    if (!head) return rp_fail(err, RP_ERR_MEMORY, "no memory for the table of %zu parts", count);
    int made = -1;
    rp_status status = lay_out(parts, count, head, err);
    if (status == RP_OK) status = rp_segment_check_room(head->size, err);
    if (status == RP_OK) status = open_memory(&made, err);
    if (status == RP_OK) status = fill(made, head, parts, err);
    if (status == RP_OK) {
        *fd = made;
        *size = head->size;
    } else if (made >= 0) {
        close(made);
    }
    rp_free(head);
    return status;
}

rp_status rp_segment_from_file(const char *path, int *fd, uint64_t *size, rp_error *err) {
    struct rp_segment_info info;
    /* Without O_NONBLOCK the open of a pipe waits for its other end. */
    int opened = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (opened < 0) return rp_fail_errno(err, "cannot open '%s' to share it", path);
    rp_status status = rp_segment_check(opened, &info, err);
    if (status != RP_OK) {
        rp_error_prefix(err, "cannot share '%s'", path);
        close(opened);
        return status;
    }
    *fd = opened;
    *size = info.size;
    return RP_OK;
}

/* --- checking one -------------------------------------------------------------------------- */

rp_status rp_segment_parse(const void *bytes, uint64_t have, uint64_t size, uint64_t *count,
                           rp_error *err) {
    struct rp_segment_head head;
    if (size < sizeof head || have < sizeof head) {
        return rp_fail(err, RP_ERR_DATA, "a segment of %llu bytes has no room for its head",
                       (unsigned long long)size);
    }
    memcpy(&head, bytes, sizeof head);
    if (head.magic != RP_SEGMENT_MAGIC) {
        return rp_fail(err, RP_ERR_DATA, "it begins with %08x: not a segment",
                       (unsigned)head.magic);
    }
    if (head.version != RP_SEGMENT_VERSION || head.entry_bytes != sizeof(struct rp_segment_entry)) {
        return rp_fail(err, RP_ERR_UNSUPPORTED,
                       "a segment of version %u (entries of %u bytes), where this library knows %d",
                       head.version, head.entry_bytes, RP_SEGMENT_VERSION);
    }
    if (head.size != size) {
        return rp_fail(err, RP_ERR_DATA, "a segment says that it has %llu bytes, and has %llu",
                       (unsigned long long)head.size, (unsigned long long)size);
    }
    if (head.part_count > RP_LIMIT_SEGMENT_PARTS) {
        return rp_fail(err, RP_ERR_LIMIT, "a segment of %llu parts, where at most %d are allowed",
                       (unsigned long long)head.part_count, RP_LIMIT_SEGMENT_PARTS);
    }
    uint64_t end = table_end(head.part_count);
    if (end > size || end > have) {
        return rp_fail(err, RP_ERR_DATA,
                       "the table of %llu parts does not fit a segment of %llu bytes",
                       (unsigned long long)head.part_count, (unsigned long long)size);
    }
    const char *table = (const char *)bytes + sizeof head;
    for (uint64_t i = 0; i < head.part_count; i++) {
        struct rp_segment_entry entry;
        memcpy(&entry, table + i * sizeof entry, sizeof entry);
        /* In order, so that each is checked against the one before only. */
        if (entry.offset % RP_SEGMENT_ALIGN != 0 || entry.offset < end || entry.offset > size ||
            entry.size > size - entry.offset) {
            return rp_fail(err, RP_ERR_DATA,
                           "part %llu of a segment of %llu bytes (%llu bytes at %llu) is out of "
                           "place: the next may begin at %llu, a multiple of %d",
                           (unsigned long long)i, (unsigned long long)size,
                           (unsigned long long)entry.size, (unsigned long long)entry.offset,
                           (unsigned long long)end, RP_SEGMENT_ALIGN);
        }
        end = entry.offset + entry.size;
    }
    *count = head.part_count;
    return RP_OK;
}

/* Of a plain file: nobody but its owner may change it, and the owner is trusted. */
static rp_status check_file(int fd, const struct stat *found, rp_error *err) {
    if (found->st_uid != geteuid() && found->st_uid != 0) {
        return rp_fail(err, RP_ERR_DATA, "the file belongs to user %u, not to this one (%u)",
                       (unsigned)found->st_uid, (unsigned)geteuid());
    }
    if (found->st_mode & (S_IWGRP | S_IWOTH)) {
        rp_fail(err, RP_ERR_DATA, "the file may be written to by others (mode %03o)",
                (unsigned)found->st_mode & 0777U);
        rp_hint(err, "chmod go-w, so that it cannot change while others use it");
        return RP_ERR_DATA;
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) return rp_fail_errno(err, "cannot tell how a file is open");
    if ((flags & O_ACCMODE) != O_RDONLY || flags & O_PATH) {
        return rp_fail(err, RP_ERR_DATA, "the file is not open for reading only");
    }
    return RP_OK;
}

/* What it is by its kind, seals and owner; nothing of it is read. */
static rp_status check_outside(int fd, struct rp_segment_info *info, rp_error *err) {
    struct stat found;
    if (fstat(fd, &found) != 0) return rp_fail_errno(err, "cannot look at a descriptor");
    if (!S_ISREG(found.st_mode)) {
        return rp_fail(err, RP_ERR_DATA, "the descriptor is neither a file nor shared memory");
    }
    int seals = fcntl(fd, F_GET_SEALS);
    /* Only what was made without a name has seals of use; files of tmpfs only have F_SEAL_SEAL. */
    bool is_memory = seals >= 0 && found.st_nlink == 0;
    if (is_memory && (seals & SEALS) != SEALS) {
        return rp_fail(err, RP_ERR_DATA,
                       "shared memory of %llu bytes is not sealed (seals %02x of %02x): its sender "
                       "could change it",
                       (unsigned long long)found.st_size, (unsigned)seals, (unsigned)SEALS);
    }
    /* Huge pages have sizes and a reserve of their own; nothing of ours makes such segments. */
    struct statfs system;
    if (is_memory && (fstatfs(fd, &system) != 0 || system.f_type != TMPFS_MAGIC)) {
        return rp_fail(err, RP_ERR_DATA, "shared memory of %llu bytes is not of ordinary pages",
                       (unsigned long long)found.st_size);
    }
    if (found.st_size <= 0) return rp_fail(err, RP_ERR_DATA, "the descriptor is of an empty file");
    *info = (struct rp_segment_info){
        .size = (uint64_t)found.st_size,
        .part_count = 1,
        .is_file = !is_memory,
        .device = found.st_dev,
        .inode = found.st_ino,
    };
    return is_memory ? RP_OK : check_file(fd, &found, err);
}

/* How much of a segment its head and table may take. */
static uint64_t head_bytes_of(uint64_t size) {
    uint64_t most = table_end(RP_LIMIT_SEGMENT_PARTS);
    return size < most ? size : most;
}

rp_status rp_segment_check(int fd, struct rp_segment_info *info, rp_error *err) {
    struct rp_segment_info found;
    rp_status status = check_outside(fd, &found, err);
    if (status == RP_OK && !found.is_file) {
        uint64_t have = head_bytes_of(found.size);
        void *head = mmap(NULL, have, PROT_READ, MAP_PRIVATE, fd, 0);
        if (head == MAP_FAILED) {
            return rp_fail_errno(err, "cannot map the head of a segment of %llu bytes",
                                 (unsigned long long)found.size);
        }
        status = rp_segment_parse(head, have, found.size, &found.part_count, err);
        munmap(head, have);
    }
    if (status == RP_OK) *info = found;
    return status;
}

/* --- using one ----------------------------------------------------------------------------- */

struct rp_segment {
    struct rp_segment_info info;
    void *bytes; /* of all of the file */
};

/* Map, and look again: a plain file may have been cut since it was checked. */
static rp_status map(int fd, struct rp_segment *segment, rp_error *err) {
    struct rp_segment_info *info = &segment->info;
    if (info->size > SIZE_MAX) {
        return rp_fail(err, RP_ERR_MEMORY, "%llu bytes are more than this process can address",
                       (unsigned long long)info->size);
    }
    void *bytes =
        mmap(NULL, info->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    if (bytes == MAP_FAILED) {
        return rp_fail_errno(err, "cannot map a segment of %llu bytes",
                             (unsigned long long)info->size);
    }
    segment->bytes = bytes;
    struct stat now;
    if (fstat(fd, &now) != 0) return rp_fail_errno(err, "cannot look at a segment again");
    if ((uint64_t)now.st_size != info->size) {
        return rp_fail(err, RP_ERR_DATA, "the file changed from %llu to %llu bytes meanwhile",
                       (unsigned long long)info->size, (unsigned long long)now.st_size);
    }
    if (info->is_file) return RP_OK;
    rp_status status = rp_segment_parse(bytes, info->size, info->size, &info->part_count, err);
    uint64_t head_bytes = table_end(info->part_count);
    if (status != RP_OK || info->part_count == 0 || !align_up(&head_bytes)) return status;
    /* No part shares a page with it, unless pages are larger than what parts are aligned to. */
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t whole_pages = head_bytes / page_bytes * page_bytes;
    if (whole_pages > 0 && whole_pages <= info->size) mprotect(bytes, whole_pages, PROT_READ);
    return RP_OK;
}

rp_status rp_segment_attach(int fd, struct rp_segment **segment, rp_error *err) {
    struct rp_segment *made = rp_alloc(sizeof *made);
    if (!made) return rp_fail(err, RP_ERR_MEMORY, "no memory to attach a segment");
    rp_status status = check_outside(fd, &made->info, err);
    if (status == RP_OK) status = map(fd, made, err);
    if (status != RP_OK) {
        rp_segment_detach(made);
        return status;
    }
    *segment = made;
    return RP_OK;
}

void rp_segment_detach(struct rp_segment *segment) {
    if (!segment) return;
    if (segment->bytes) munmap(segment->bytes, segment->info.size);
    rp_free(segment);
}

rp_status rp_segment_protect(struct rp_segment *segment, rp_error *err) {
    if (mprotect(segment->bytes, segment->info.size, PROT_READ) == 0) return RP_OK;
    return rp_fail_errno(err, "cannot make a segment of %llu bytes read-only",
                         (unsigned long long)segment->info.size);
}

size_t rp_segment_part_count(const struct rp_segment *segment) {
    return (size_t)segment->info.part_count;
}

void *rp_segment_part(const struct rp_segment *segment, size_t index, size_t *bytes) {
    assert(index < segment->info.part_count);
    if (segment->info.is_file) {
        *bytes = (size_t)segment->info.size;
        return segment->bytes;
    }
    const struct rp_segment_head *head = segment->bytes;
    const struct rp_segment_entry *entry = (const struct rp_segment_entry *)(head + 1) + index;
    *bytes = (size_t)entry->size;
    return (char *)segment->bytes + entry->offset;
}

const struct rp_segment_info *rp_segment_info(const struct rp_segment *segment) {
    return &segment->info;
}
