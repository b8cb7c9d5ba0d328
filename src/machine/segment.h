/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A segment: parts in one memory file that no process can change any more, so that a descriptor
 * of it can be handed to anyone.
 *
 *     0                                head, then {offset, size} of each part
 *     a multiple of RP_SEGMENT_ALIGN   the bytes of part 0
 *     ...                              parts in order, each at a multiple of it, zeros between
 *
 * Its numbers are in the byte order of the machine, which it never leaves. Whoever receives a
 * descriptor trusts nothing: only the four seals make what was checked stay so.
 *
 * A plain file can stand in for a segment with one part, the whole of it: it is mapped where it
 * is and nothing is copied. Files have no seals. Their owner could still change or cut one, and a
 * reader beyond the cut gets SIGBUS; other users cannot, and that is what is checked.
 */
#ifndef RP_MACHINE_SEGMENT_H
#define RP_MACHINE_SEGMENT_H

#include <resourcepool/machine.h>
#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rp_pressure_reading;

enum { RP_SEGMENT_MAGIC = 0x47535052, RP_SEGMENT_VERSION = 1, RP_SEGMENT_ALIGN = 4096 };

struct rp_segment_head {
    uint32_t magic;
    uint16_t version;
    uint16_t entry_bytes; /* sizeof(struct rp_segment_entry) */
    uint64_t size;        /* of the whole file */
    uint64_t part_count;
};
_Static_assert(sizeof(struct rp_segment_head) == 24, "what other processes read");

struct rp_segment_entry {
    uint64_t offset; /* from the start of the file */
    uint64_t size;
};
_Static_assert(sizeof(struct rp_segment_entry) == 16, "what other processes read");

/* What a descriptor turned out to be. */
struct rp_segment_info {
    uint64_t size;       /* of the file: what it costs the machine, where it is memory */
    uint64_t part_count; /* 1 for a plain file */
    bool is_file;        /* a plain file: its pages come and go as memory is needed */
    dev_t device;        /* with inode: which one it is, however often it was passed on */
    ino_t inode;
};

/*
 * Write parts once into a new memory file and seal it. *fd is the caller's, close-on-exec.
 * RP_ERR_MEMORY: the machine or a control group has no room for it, with both figures; nothing is
 * written then. RP_ERR_LIMIT: more than RP_LIMIT_SEGMENT_PARTS. Otherwise what the kernel said.
 */
rp_status rp_segment_create(const rp_object_part *parts, size_t count, int *fd, uint64_t *size,
                            rp_error *err);

/*
 * Whether there is room for that many bytes, which no swap and no eviction will give back. Small
 * ones pass unasked. The second form is told how memory stands.
 */
rp_status rp_segment_check_room(uint64_t bytes, rp_error *err);
rp_status rp_segment_check_room_in(uint64_t bytes, const struct rp_pressure_reading *reading,
                                   rp_error *err);

/*
 * Check a descriptor that anybody may have sent: a sealed segment with a sound head, or a plain
 * file that only this user (or root) can write. RP_ERR_DATA says what is wrong with it.
 */
rp_status rp_segment_check(int fd, struct rp_segment_info *info, rp_error *err);

/*
 * A descriptor of a plain file, open for reading only, that passes rp_segment_check(). *fd is the
 * caller's. The file must not be written to afterwards, only be replaced or removed.
 */
rp_status rp_segment_from_file(const char *path, int *fd, uint64_t *size, rp_error *err);

/*
 * The head of a segment of `size` bytes, of which `have` are at hand: sets *count on RP_OK. The
 * table follows the head. Pure: for the check above and its fuzz target.
 */
rp_status rp_segment_parse(const void *bytes, uint64_t have, uint64_t size, uint64_t *count,
                           rp_error *err);

/* A segment in this process's memory. */
struct rp_segment;

/*
 * Check a descriptor and map it. The descriptor stays the caller's and may be closed: the mapping
 * holds the memory. Parts can be written to, and each process sees its own changes only.
 */
rp_status rp_segment_attach(int fd, struct rp_segment **segment, rp_error *err);

/* From now on a write to it ends this process. */
rp_status rp_segment_protect(struct rp_segment *segment, rp_error *err);

/* Unmap. Accepts NULL. Its parts must not be used any more. */
void rp_segment_detach(struct rp_segment *segment);

size_t rp_segment_part_count(const struct rp_segment *segment);

/* index is below the count. A part of no bytes has an address all the same. */
void *rp_segment_part(const struct rp_segment *segment, size_t index, size_t *bytes);

const struct rp_segment_info *rp_segment_info(const struct rp_segment *segment);

#endif
