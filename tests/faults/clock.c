/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The time of day jumps, for tests/faults/campaign: preloaded, it adds to it the seconds that stand
 * as an int64_t in the file FAULT_CLOCK, which may change at any time. The monotonic clock is the
 * kernel's: nothing that sets a machine's clock touches that.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SEEN __attribute__((visibility("default"))) /* by the loader */

static const volatile int64_t *jump;

static __attribute__((constructor)) void find_file(void) {
    const char *path = getenv("FAULT_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *found = mmap(NULL, sizeof *jump, PROT_READ, MAP_SHARED, fd, 0);
    if (found != MAP_FAILED) jump = found;
    close(fd);
}

SEEN int clock_gettime(clockid_t clock, struct timespec *now) {
    int rc = (int)syscall(SYS_clock_gettime, clock, now);
    if (rc == 0 && jump && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        now->tv_sec += *jump;
    }
    return rc;
}

SEEN time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
