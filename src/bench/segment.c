/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sharing an object costs: bytes are written once, and each process that attaches them pays
 * for a mapping only. The object is of the size and in as many parts as the weights of a BERT.
 */
#include "bench/summary.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "machine/segment.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define OBJECT_BYTES (UINT64_C(417) << 20)

enum { PARTS = 199, ATTACHES = 20 };

/* Milliseconds; below 0 with *err. Freeing what was made is not part of it. */
static double time_publish(const rp_object_part *parts, rp_error *err) {
    struct rp_segment_info info;
    int fd = -1;
    uint64_t size = 0;
    int64_t start_ns = rp_clock_ns();
    if (rp_segment_create(parts, PARTS, &fd, &size, err) != RP_OK) return -1;
    rp_status status = rp_segment_check(fd, &info, err); /* as the broker does on receipt */
    double ms = rp_elapsed_ms(start_ns, rp_clock_ns());
    close(fd);
    return status == RP_OK ? ms : -1;
}

static double time_write(const char *bytes, rp_error *err) {
    int64_t start_ns = rp_clock_ns();
    int fd = memfd_create("baseline", MFD_CLOEXEC);
    for (uint64_t done = 0; fd >= 0 && done < OBJECT_BYTES;) {
        ssize_t written = write(fd, bytes + done, OBJECT_BYTES - done);
        if (written <= 0) break;
        done += (uint64_t)written;
    }
    double ms = rp_elapsed_ms(start_ns, rp_clock_ns());
    bool is_whole = fd >= 0 && lseek(fd, 0, SEEK_END) == (off_t)OBJECT_BYTES;
    if (!is_whole) rp_fail_errno(err, "cannot write 417 MiB into memory");
    if (fd >= 0) close(fd);
    return is_whole ? ms : -1;
}

static double time_attach(int fd, rp_error *err) {
    struct rp_segment *segments[ATTACHES] = {NULL};
    rp_status status = RP_OK;
    int64_t start_ns = rp_clock_ns();
    for (int i = 0; i < ATTACHES && status == RP_OK; i++) {
        status = rp_segment_attach(fd, &segments[i], err);
    }
    double ms = rp_elapsed_ms(start_ns, rp_clock_ns()) / ATTACHES;
    for (int i = 0; i < ATTACHES; i++) {
        rp_segment_detach(segments[i]);
    }
    return status == RP_OK ? ms : -1;
}

rp_status rp_bench_segment(rp_measure *rows, size_t rounds, rp_error *err) {
    double publish[RP_BENCH_ROUNDS_MAX];
    double write_once[RP_BENCH_ROUNDS_MAX];
    double attach[RP_BENCH_ROUNDS_MAX];
    double promised[RP_BENCH_ROUNDS_MAX];
    rp_object_part parts[PARTS];
    int fd = -1;
    uint64_t size = 0;
    rp_error why = RP_ERROR_INIT;
    rp_status status = rp_segment_check_room(2 * OBJECT_BYTES, &why);
    char *bytes = status == RP_OK ? rp_alloc(OBJECT_BYTES) : NULL;
    if (status == RP_OK && !bytes) status = rp_fail(&why, RP_ERR_MEMORY, "no memory for 417 MiB");
    if (status == RP_OK) {
        memset(bytes, 1, OBJECT_BYTES); /* else all of it is the kernel's one page of zeros */
        for (size_t i = 0; i < PARTS; i++) {
            size_t each = OBJECT_BYTES / PARTS;
            size_t rest = i + 1 == PARTS ? OBJECT_BYTES % PARTS : 0;
            parts[i] = (rp_object_part){bytes + i * each, each + rest};
        }
        status = rp_segment_create(parts, PARTS, &fd, &size, &why);
    }
    for (size_t i = 0; i < rounds && status == RP_OK; i++) {
        attach[i] = time_attach(fd, &why);
        promised[i] = 5;
        if (attach[i] < 0) status = why.status;
    }
    if (fd >= 0) close(fd);
    for (size_t i = 0; i < rounds && status == RP_OK; i++) {
        publish[i] = time_publish(parts, &why);
        write_once[i] = time_write(bytes, &why);
        if (publish[i] < 0 || write_once[i] < 0) status = why.status;
    }
    if (status == RP_OK) {
        rows[0] = rp_bench_summarise("publish 417 MiB (baseline: written once)", "ms", publish,
                                     write_once, rounds);
        rows[1] = rp_bench_summarise("attach 417 MiB (baseline: the promised 5 ms)", "ms", attach,
                                     promised, rounds);
    } else if (err) {
        *err = why;
    }
    rp_free(bytes);
    return status;
}
