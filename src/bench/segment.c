/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sharing an object costs: bytes are written once, and each process that attaches them pays
 * for a mapping only. The object is of the size and in as many parts as the weights of a BERT.
 */
#include "bench/served.h"
#include "bench/summary.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "machine/segment.h"

#include <fcntl.h>
#include <resourcepool/machine.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define OBJECT_BYTES (UINT64_C(417) << 20)

enum { PARTS = 199, ATTACHES = 20, READERS = 4 };

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

/* --- several processes that have it ---------------------------------------------------------- */

/* This process's part of the pages of objects; RP_UNKNOWN_U64. */
static uint64_t own_part(void) {
    FILE *file = fopen("/proc/self/smaps", "re");
    char line[512];
    uint64_t total = 0;
    bool is_object = false;
    if (!file) return RP_UNKNOWN_U64;
    while (fgets(line, sizeof line, file)) {
        if (strchr("0123456789abcdef", line[0])) is_object = strstr(line, "memfd:") != NULL;
        if (is_object && strncmp(line, "Pss:", 4) == 0) {
            total += strtoull(line + 4, NULL, 10) * 1024;
        }
    }
    fclose(file);
    return total;
}

/* Attach and read all of it; told, once all have done so, is this process's part of it. */
static _Noreturn void read_attached(int fd, int tell, int wait_for_all) {
    struct rp_segment *segment = NULL;
    rp_error why = RP_ERROR_INIT;
    unsigned char sum = 0;
    if (rp_segment_attach(fd, &segment, &why) != RP_OK) _exit(1);
    for (size_t i = 0; i < rp_segment_part_count(segment); i++) {
        size_t bytes = 0;
        const unsigned char *data = rp_segment_part(segment, i, &bytes);
        for (size_t at = 0; at < bytes; at += 4096) {
            sum = (unsigned char)(sum + ((const volatile unsigned char *)data)[at]);
        }
    }
    if (write(tell, &sum, 1) != 1 || read(wait_for_all, &sum, 1) < 0) _exit(1);
    uint64_t part = own_part();
    if (write(tell, &part, sizeof part) != (ssize_t)sizeof part) _exit(1);
    /* It keeps its share of the pages until the last one has looked. */
    while (read(wait_for_all, &sum, 1) > 0) {
    }
    pause();
    _exit(0);
}

struct reader {
    pid_t pid;
    int told;
    int goes_on;
};

static bool start_reader(struct reader *reader, int fd) {
    int told[2];
    int goes_on[2];
    if (pipe(told) != 0) return false;
    if (pipe(goes_on) != 0) {
        close(told[0]);
        close(told[1]);
        return false;
    }
    reader->pid = fork();
    if (reader->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(goes_on[1]);
        read_attached(fd, told[1], goes_on[0]);
    }
    close(told[1]);
    close(goes_on[0]);
    reader->told = told[0];
    reader->goes_on = goes_on[1];
    if (reader->pid > 0) return true;
    close(told[0]);
    close(goes_on[1]);
    return false;
}

/* MiB of the object that all of them together have; below 0 with *err. */
static double measure_readers(int fd, rp_error *err) {
    struct reader readers[READERS] = {{0, -1, -1}};
    int started = 0;
    uint64_t total = 0;
    bool is_good = true;
    char byte = 0;
    for (; started < READERS && is_good; started += is_good) {
        is_good = start_reader(&readers[started], fd);
    }
    for (int i = 0; i < started && is_good; i++) {
        is_good = read(readers[i].told, &byte, 1) == 1;
    }
    for (int i = 0; i < started && is_good; i++) {
        is_good = write(readers[i].goes_on, &byte, 1) == 1;
    }
    for (int i = 0; i < started && is_good; i++) {
        uint64_t part = 0;
        is_good = read(readers[i].told, &part, sizeof part) == (ssize_t)sizeof part;
        total += part;
    }
    for (int i = 0; i < started; i++) {
        kill(readers[i].pid, SIGKILL);
        waitpid(readers[i].pid, NULL, 0);
        close(readers[i].told);
        close(readers[i].goes_on);
    }
    if (!is_good) rp_fail(err, RP_ERR_RUN, "a process of a benchmark could not attach an object");
    return is_good ? (double)total / 0x1p20 : -1;
}

/* --- through a broker of its own ----------------------------------------------------------- */

/* Publish under a fresh name, then get it again `ATTACHES` times, then have it taken out. */
static rp_status time_served(struct rp_bench_served *served, size_t round,
                             const rp_object_part *parts, double *publish_ms, double *get_ms,
                             rp_error *err) {
    char key[32];
    char entry[64];
    rp_object *objects[ATTACHES + 1] = {NULL};
    rp_object_build *build = NULL;
    rp_cleared cleared;
    snprintf(key, sizeof key, "bench-%zu", round);
    snprintf(entry, sizeof entry, "object:%s@cpu", key);
    int64_t start_ns = rp_clock_ns();
    rp_status status =
        rp_machine_object_get(served->machine, key, 0, NULL, &objects[ATTACHES], &build, err);
    if (status == RP_OK) {
        status = rp_machine_object_publish(build, parts, PARTS, &objects[ATTACHES], err);
    }
    *publish_ms = rp_elapsed_ms(start_ns, rp_clock_ns());
    start_ns = rp_clock_ns();
    for (int i = 0; i < ATTACHES && status == RP_OK; i++) {
        status = rp_machine_object_get(served->machine, key, 0, NULL, &objects[i], &build, err);
    }
    *get_ms = rp_elapsed_ms(start_ns, rp_clock_ns()) / ATTACHES;
    for (int i = 0; i <= ATTACHES; i++) {
        rp_machine_object_release(objects[i]);
    }
    if (status == RP_OK) status = rp_machine_evict(served->machine, entry, true, &cleared, err);
    return status;
}

/* --- all of it ----------------------------------------------------------------------------- */

struct figures {
    double publish[RP_BENCH_ROUNDS_MAX];
    double served[RP_BENCH_ROUNDS_MAX];
    double write_once[RP_BENCH_ROUNDS_MAX];
    double attach[RP_BENCH_ROUNDS_MAX];
    double get[RP_BENCH_ROUNDS_MAX];
    double promised[RP_BENCH_ROUNDS_MAX];
    double readers[RP_BENCH_ROUNDS_MAX];
    double size[RP_BENCH_ROUNDS_MAX];
};

static rp_status time_all(struct rp_bench_served *served, const char *bytes,
                          const rp_object_part *parts, struct figures *figures, size_t rounds,
                          rp_error *err) {
    int fd = -1;
    uint64_t size = 0;
    rp_status status = rp_segment_create(parts, PARTS, &fd, &size, err);
    for (size_t i = 0; i < rounds && status == RP_OK; i++) {
        figures->attach[i] = time_attach(fd, err);
        figures->promised[i] = 5;
        if (figures->attach[i] < 0) status = err->status;
        if (status != RP_OK) break;
        figures->readers[i] = measure_readers(fd, err);
        figures->size[i] = (double)size / 0x1p20;
        if (figures->readers[i] < 0) status = err->status;
    }
    if (fd >= 0) close(fd);
    for (size_t i = 0; i < rounds && status == RP_OK; i++) {
        figures->publish[i] = time_publish(parts, err);
        figures->write_once[i] = time_write(bytes, err);
        if (figures->publish[i] < 0 || figures->write_once[i] < 0) return err->status;
        status = time_served(served, i, parts, &figures->served[i], &figures->get[i], err);
    }
    return status;
}

rp_status rp_bench_segment(rp_measure *rows, size_t rounds, rp_error *err) {
    struct rp_bench_served served = {.machine = NULL};
    struct figures figures;
    rp_object_part parts[PARTS];
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
        status = rp_bench_served_start(&served, &why);
    }
    if (status == RP_OK) status = time_all(&served, bytes, parts, &figures, rounds, &why);
    if (status == RP_OK) {
        rows[0] = rp_bench_summarise("write and seal 417 MiB (baseline: written once)", "ms",
                                     figures.publish, figures.write_once, rounds);
        rows[1] = rp_bench_summarise("publish 417 MiB at the broker (same baseline)", "ms",
                                     figures.served, figures.write_once, rounds);
        rows[2] = rp_bench_summarise("map 417 MiB (baseline: the promised 5 ms)", "ms",
                                     figures.attach, figures.promised, rounds);
        rows[3] = rp_bench_summarise("get 417 MiB from the broker (baseline: 5 ms)", "ms",
                                     figures.get, figures.promised, rounds);
        rows[4] = rp_bench_summarise("4 processes have it and read it (baseline: once)", "MiB",
                                     figures.readers, figures.size, rounds);
    } else if (err) {
        *err = why;
    }
    rp_bench_served_end(&served);
    rp_free(bytes);
    return status;
}
