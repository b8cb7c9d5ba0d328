/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tried and left: eventfd and SEQPACKET instead of futexes (1.2 and 1.7 times the round trip on one
 * processor, the same when the peer sleeps on another), a copy through a pipe. What costs is the
 * wake of a sleeping processor, 20-45 us on virtual machines, and only spinning hides that. A spin
 * in vain costs as much, on both sides, so that each waiter remembers whether its last ones paid:
 * after the n-th failure in a row, 2^n - 1 waits go to sleep at once.
 */
#include "machine/ring.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
    PAGE = 4096,
    SPIN_NS = 50000,
    SPINS_PER_LOOK = 64, /* a look at the clock costs as much as some pauses */
    STREAK_MAX = 8,
};

_Static_assert(RP_LIMIT_TENSOR_DIMENSIONS == 32, "the shape in rp_ring_tensor");

static uint64_t round_up(uint64_t bytes, uint64_t unit) {
    return (bytes + unit - 1) / unit * unit;
}

/* ---- size ---- */

/* Add what the ports take at their fixed sizes; false when one has an open size. */
static bool add_ports(const struct rp_engine_ports *ports, uint64_t *bytes, bool *is_too_large) {
    uint64_t table = sizeof(struct rp_ring_table) + ports->count * sizeof(struct rp_ring_tensor);
    *bytes = round_up(table, RP_RING_ALIGNMENT);
    for (size_t i = 0; i < ports->count; i++) {
        const rp_port *port = &ports->ports[i];
        rp_tensor tensor = {
            .ndim = port->ndim, .dtype = port->dtype, .shape = (int64_t *)(uintptr_t)port->shape};
        uint64_t each = 0;
        /* A rank of 0 may also be one that the file leaves open. */
        if (port->dtype.lanes == 0 || port->ndim == 0) return false;
        for (int32_t d = 0; d < port->ndim; d++) {
            if (port->shape[d] < 0) return false;
        }
        if (rp_tensor_bytes(&tensor, &each, NULL) != RP_OK || each > RP_LIMIT_RING_SLOT_BYTES) {
            *is_too_large = true;
            each = RP_LIMIT_RING_SLOT_BYTES;
        }
        *bytes += round_up(each, RP_RING_ALIGNMENT);
    }
    return true;
}

rp_status rp_ring_measure(const struct rp_engine_ports *inputs,
                          const struct rp_engine_ports *outputs, uint64_t *slot_bytes,
                          rp_error *err) {
    bool is_too_large = false;
    uint64_t in = 0;
    uint64_t out = 0;
    bool in_fixed = add_ports(inputs, &in, &is_too_large);
    bool out_fixed = add_ports(outputs, &out, &is_too_large);
    uint64_t needed = in > out ? in : out;
    if (!(in_fixed && out_fixed) && needed < RP_RING_OPEN_BYTES) needed = RP_RING_OPEN_BYTES;
    /* Room for a failure, whatever the ports. */
    if (needed < PAGE) needed = PAGE;
    needed = round_up(needed + RP_RING_SLOT_HEAD_BYTES, PAGE);
    if (is_too_large || needed > RP_LIMIT_RING_SLOT_BYTES) {
        char need[RP_BYTES_TEXT_BYTES];
        char most[RP_BYTES_TEXT_BYTES];
        rp_fail(err, RP_ERR_LIMIT, "one run needs %s%s of shared memory, at most %s are possible",
                is_too_large ? "more than " : "", rp_text_bytes(needed, need, sizeof need),
                rp_text_bytes(RP_LIMIT_RING_SLOT_BYTES, most, sizeof most));
        rp_hint(err, "use share=process for this model");
        return RP_ERR_LIMIT;
    }
    *slot_bytes = needed;
    return RP_OK;
}

/* ---- the mapping ---- */

rp_status rp_ring_create(uint64_t slot_bytes, uint32_t slot_count, int *fd, rp_error *err) {
    struct rp_ring_head head = {
        .magic = RP_RING_MAGIC,
        .version = RP_RING_VERSION,
        .bytes = RP_RING_HEAD_BYTES + slot_bytes * slot_count,
        .slot_bytes = slot_bytes,
        .slot_count = slot_count,
    };
    int made = memfd_create("resourcepool-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (made < 0) return rp_fail_errno(err, "cannot make shared memory for a ring");
    if (ftruncate(made, (off_t)head.bytes) != 0 ||
        pwrite(made, &head, sizeof head, 0) != (ssize_t)sizeof head ||
        fcntl(made, F_ADD_SEALS, SEALS) != 0) {
        rp_status status =
            rp_fail_errno(err, "cannot make a ring of %" PRIu64 " bytes", head.bytes);
        close(made);
        return status;
    }
    *fd = made;
    return RP_OK;
}

/* Whether a head describes a ring of that many bytes that this version can use. */
static bool is_sound(const struct rp_ring_head *head, uint64_t bytes) {
    return head->magic == RP_RING_MAGIC && head->bytes == bytes && head->slot_count >= 1 &&
           head->slot_count <= RP_RING_SLOTS && head->slot_bytes % PAGE == 0 &&
           head->slot_bytes > RP_RING_SLOT_HEAD_BYTES &&
           head->slot_bytes <= RP_LIMIT_RING_SLOT_BYTES &&
           bytes == RP_RING_HEAD_BYTES + head->slot_count * head->slot_bytes;
}

rp_status rp_ring_map(int fd, struct rp_ring *ring, rp_error *err) {
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat info;
    struct rp_ring_head head;
    if (seals < 0 || fstat(fd, &info) != 0) {
        return rp_fail_errno(err, "what was sent as a ring is no shared memory");
    }
    if ((seals & SEALS) != SEALS || (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))) {
        return rp_fail(err, RP_ERR_DATA,
                       "a ring must be sealed against changes of its size only "
                       "(seals %#x, not %#x)",
                       (unsigned)seals, (unsigned)SEALS);
    }
    if (pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head || head.magic != RP_RING_MAGIC) {
        return rp_fail(err, RP_ERR_DATA, "what was sent as a ring is none");
    }
    if (head.version != RP_RING_VERSION) {
        return rp_fail(err, RP_ERR_DATA, "a ring is of version %u, not %d", head.version,
                       RP_RING_VERSION);
    }
    if (!is_sound(&head, (uint64_t)info.st_size)) {
        return rp_fail(err, RP_ERR_DATA,
                       "a ring of %u slots of %" PRIu64 " bytes cannot have %lld bytes",
                       head.slot_count, head.slot_bytes, (long long)info.st_size);
    }
    void *base = mmap(NULL, head.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        return rp_fail_errno(err, "cannot map a ring of %" PRIu64 " bytes", head.bytes);
    }
    *ring = (struct rp_ring){base, head.bytes, head.slot_bytes, head.slot_count};
    return RP_OK;
}

void rp_ring_unmap(struct rp_ring *ring) {
    if (ring->base) munmap(ring->base, ring->bytes);
    *ring = (struct rp_ring){0};
}

struct rp_ring_head *rp_ring_head(const struct rp_ring *ring) {
    return (struct rp_ring_head *)(void *)ring->base;
}

static unsigned char *slot_base(const struct rp_ring *ring, uint32_t index) {
    return ring->base + RP_RING_HEAD_BYTES + index * ring->slot_bytes;
}

struct rp_ring_slot *rp_ring_slot(const struct rp_ring *ring, uint32_t index) {
    return (struct rp_ring_slot *)(void *)slot_base(ring, index);
}

unsigned char *rp_ring_area(const struct rp_ring *ring, uint32_t index) {
    return slot_base(ring, index) + RP_RING_SLOT_HEAD_BYTES;
}

uint64_t rp_ring_area_bytes(const struct rp_ring *ring) {
    return ring->slot_bytes - RP_RING_SLOT_HEAD_BYTES;
}

void rp_ring_trim(const struct rp_ring *ring, uint32_t index) {
    /* The first page has the words that both sides wait on. */
    madvise(slot_base(ring, index) + PAGE, ring->slot_bytes - PAGE, MADV_REMOVE);
}

/* ---- areas ---- */

/* What counts of a row. The rest of its shape is neither written nor read: a small run is a matter
 * of few cache lines. */
static size_t row_bytes(const struct rp_ring_tensor *row) {
    return offsetof(struct rp_ring_tensor, shape) + (size_t)row->ndim * sizeof row->shape[0];
}

rp_status rp_ring_write(unsigned char *area, uint64_t area_bytes, const rp_tensor *tensors,
                        size_t count, rp_error *err) {
    uint64_t table_bytes = sizeof(struct rp_ring_table) + count * sizeof(struct rp_ring_tensor);
    uint64_t needed = round_up(table_bytes, RP_RING_ALIGNMENT);
    for (size_t i = 0; i < count; i++) {
        uint64_t bytes = 0;
        rp_status status = rp_tensor_bytes(&tensors[i], &bytes, err);
        if (status != RP_OK) return status;
        if (tensors[i].device.type != RP_TENSOR_DEVICE_CPU ||
            !rp_tensor_is_contiguous(&tensors[i])) {
            return rp_fail(err, RP_ERR_UNSUPPORTED,
                           "tensor %zu is not compact in ordinary memory (device type %d)", i,
                           tensors[i].device.type);
        }
        if (__builtin_add_overflow(needed, bytes, &needed) ||
            __builtin_add_overflow(needed, RP_RING_ALIGNMENT - 1, &needed)) {
            needed = UINT64_MAX;
            break;
        }
        needed = needed / RP_RING_ALIGNMENT * RP_RING_ALIGNMENT;
    }
    if (needed > area_bytes) {
        rp_fail(err, RP_ERR_LIMIT,
                "the tensors of one run take %" PRIu64
                " bytes, the shared memory of this model has "
                "room for %" PRIu64,
                needed, area_bytes);
        rp_hint(err, "run smaller batches, or use share=process for this model");
        return RP_ERR_LIMIT;
    }
    uint64_t offset = round_up(table_bytes, RP_RING_ALIGNMENT);
    unsigned char *at = area + sizeof(struct rp_ring_table);
    for (size_t i = 0; i < count; i++) {
        const rp_tensor *tensor = &tensors[i];
        uint64_t bytes = 0;
        rp_status status = rp_tensor_bytes(tensor, &bytes, err);
        if (status != RP_OK) return status;
        struct rp_ring_tensor row = {
            .offset = offset,
            .bytes = bytes,
            .code = tensor->dtype.code,
            .bits = tensor->dtype.bits,
            .lanes = tensor->dtype.lanes,
            .ndim = tensor->ndim,
        };
        for (int32_t d = 0; d < tensor->ndim; d++) {
            row.shape[d] = tensor->shape[d];
        }
        memcpy(at, &row, row_bytes(&row));
        if (bytes > 0) memcpy(area + offset, rp_tensor_data(tensor), bytes);
        at += sizeof row;
        offset = round_up(offset + bytes, RP_RING_ALIGNMENT);
    }
    struct rp_ring_table table = {RP_OK, (uint32_t)count};
    memcpy(area, &table, sizeof table);
    return RP_OK;
}

void rp_ring_write_error(unsigned char *area, const rp_error *story) {
    struct rp_ring_table table = {(uint32_t)story->status, 0};
    memcpy(area, &table, sizeof table);
    memcpy(area + sizeof table, story, sizeof *story);
}

void rp_ring_clean_error(rp_error *story) {
    story->message[sizeof story->message - 1] = '\0';
    story->hint[sizeof story->hint - 1] = '\0';
    rp_text_make_printable(story->message);
    rp_text_make_printable(story->hint);
    if (story->status == RP_OK || !rp_status_name(story->status)) story->status = RP_ERR_RUN;
    if (!story->message[0]) rp_fail(story, story->status, "the worker gave no reason");
}

/* Copy one row, each byte of it once, and check the copy. */
static rp_status read_row(const unsigned char *at, struct rp_ring_tensor *row, size_t index,
                          uint64_t data_offset, uint64_t area_bytes, rp_error *err) {
    size_t head_bytes = offsetof(struct rp_ring_tensor, shape);
    memcpy(row, at, head_bytes);
    if (row->ndim < 0 || row->ndim > RP_LIMIT_TENSOR_DIMENSIONS) {
        return rp_fail(err, RP_ERR_DATA,
                       "tensor %zu of a ring has %d dimensions, at most %d can be", index,
                       row->ndim, RP_LIMIT_TENSOR_DIMENSIONS);
    }
    memcpy(row->shape, at + head_bytes, row_bytes(row) - head_bytes);
    rp_tensor tensor = {
        .ndim = row->ndim, .dtype = {row->code, row->bits, row->lanes}, .shape = row->shape};
    uint64_t bytes = 0;
    rp_status status = rp_tensor_bytes(&tensor, &bytes, err);
    if (status != RP_OK) {
        rp_error_prefix(err, "tensor %zu of a ring", index);
        return status;
    }
    if (!rp_dtype_name(tensor.dtype)) {
        return rp_fail(err, RP_ERR_DATA, "tensor %zu of a ring is of no known type", index);
    }
    if (bytes != row->bytes) {
        return rp_fail(err, RP_ERR_DATA,
                       "tensor %zu of a ring has %" PRIu64 " bytes, its shape %" PRIu64, index,
                       row->bytes, bytes);
    }
    if (row->offset < data_offset || row->offset % RP_RING_ALIGNMENT != 0 ||
        row->offset > area_bytes || bytes > area_bytes - row->offset) {
        return rp_fail(err, RP_ERR_DATA,
                       "tensor %zu of a ring is at %" PRIu64 ", with %" PRIu64
                       " bytes, outside of its %" PRIu64,
                       index, row->offset, bytes, area_bytes);
    }
    return RP_OK;
}

rp_status rp_ring_read_table(const unsigned char *area, uint64_t area_bytes, size_t count,
                             struct rp_ring_tensor *table, uint64_t *data_bytes, rp_error *err) {
    struct rp_ring_table head;
    if (area_bytes < sizeof head + sizeof(rp_error)) {
        return rp_fail(err, RP_ERR_DATA, "the area of a ring has %" PRIu64 " bytes only",
                       area_bytes);
    }
    memcpy(&head, area, sizeof head);
    if (head.status != RP_OK) {
        rp_error story;
        memcpy(&story, area + sizeof head, sizeof story);
        rp_ring_clean_error(&story);
        if (err) *err = story;
        return story.status;
    }
    uint64_t table_bytes = sizeof head + count * sizeof *table;
    if (head.count != count || table_bytes > area_bytes) {
        return rp_fail(err, RP_ERR_DATA, "a ring holds %u tensors, not %zu", head.count, count);
    }
    uint64_t data_offset = round_up(table_bytes, RP_RING_ALIGNMENT);
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        const unsigned char *at = area + sizeof head + i * sizeof *table;
        rp_status status = read_row(at, &table[i], i, data_offset, area_bytes, err);
        if (status != RP_OK) return status;
        total += round_up(table[i].bytes, RP_RING_ALIGNMENT);
        /* Tensors that lie over each other are small in the ring and large in private memory. */
        if (total > area_bytes) {
            return rp_fail(err, RP_ERR_DATA,
                           "the tensors of a ring take more than its %" PRIu64 " bytes",
                           area_bytes);
        }
    }
    *data_bytes = total;
    return RP_OK;
}

void rp_ring_read_data(const unsigned char *area, struct rp_ring_tensor *table, size_t count,
                       unsigned char *data, rp_tensor *tensors) {
    for (size_t i = 0; i < count; i++) {
        struct rp_ring_tensor *row = &table[i];
        if (row->bytes > 0) memcpy(data, area + row->offset, row->bytes);
        tensors[i] = (rp_tensor){
            .data = data,
            .device = {RP_TENSOR_DEVICE_CPU, 0},
            .ndim = row->ndim,
            .dtype = {row->code, row->bits, row->lanes},
            .shape = row->shape,
        };
        data += round_up(row->bytes, RP_RING_ALIGNMENT);
    }
}

/* ---- waiting ---- */

static void pause_a_little(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* A peer on this thread's only processor cannot answer while it spins. */
static bool has_processors(void) {
    static _Atomic int count;
    int known = atomic_load_explicit(&count, memory_order_relaxed);
    if (known == 0) {
        cpu_set_t set;
        known = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 2;
        atomic_store_explicit(&count, known, memory_order_relaxed);
    }
    return known > 1;
}

static bool has_changed(_Atomic uint32_t *word, uint32_t seen) {
    return atomic_load_explicit(word, memory_order_acquire) != seen; /* pairs with rp_ring_post() */
}

static bool spin_for(_Atomic uint32_t *word, uint32_t seen, struct rp_ring_spin *spin,
                     int64_t wait_ns) {
    if (spin->skip > 0) {
        spin->skip--;
        return false;
    }
    int64_t end_ns = rp_clock_ns() + (wait_ns < SPIN_NS ? wait_ns : SPIN_NS);
    do {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (has_changed(word, seen)) {
                spin->streak = 0;
                return true;
            }
            pause_a_little();
        }
    } while (rp_clock_ns() < end_ns);
    if (spin->streak < STREAK_MAX) spin->streak++;
    spin->skip = (1u << spin->streak) - 1;
    return false;
}

bool rp_ring_wait(_Atomic uint32_t *word, _Atomic uint32_t *sleeps, uint32_t seen,
                  struct rp_ring_spin *spin, int64_t wait_ns) {
    if (has_changed(word, seen)) return true;
    if (wait_ns <= 0) return false;
    if (has_processors() && spin_for(word, seen, spin, wait_ns)) return true;
    struct timespec wait = {wait_ns / 1000000000, wait_ns % 1000000000};
    /* "I say that I sleep, then look; you write, then look whether I sleep": pairs with
     * rp_ring_post(). */
    atomic_store_explicit(sleeps, 1, memory_order_seq_cst);
    if (atomic_load_explicit(word, memory_order_seq_cst) == seen) {
        syscall(SYS_futex, word, FUTEX_WAIT, seen, &wait, NULL, 0);
    }
    atomic_store_explicit(sleeps, 0, memory_order_relaxed);
    return has_changed(word, seen);
}

void rp_ring_wake(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void rp_ring_post(_Atomic uint32_t *word, _Atomic uint32_t *sleeps, uint32_t value) {
    atomic_store_explicit(word, value, memory_order_seq_cst); /* pairs with rp_ring_wait() */
    if (atomic_load_explicit(sleeps, memory_order_seq_cst)) rp_ring_wake(word);
}

void rp_ring_tell_story(const struct rp_ring *ring, const rp_error *story) {
    struct rp_ring_head *head = rp_ring_head(ring);
    if (atomic_load_explicit(&head->gone, memory_order_relaxed)) return;
    head->story = *story;
    atomic_store_explicit(&head->gone, 1, memory_order_release); /* pairs with rp_ring_is_gone() */
    for (uint32_t i = 0; i < ring->slot_count; i++) {
        rp_ring_wake(&rp_ring_slot(ring, i)->response);
    }
}

bool rp_ring_is_gone(const struct rp_ring *ring, rp_error *story) {
    struct rp_ring_head *head = rp_ring_head(ring);
    if (!atomic_load_explicit(&head->gone, memory_order_acquire)) return false;
    *story = head->story;
    rp_ring_clean_error(story);
    return true;
}
