/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file in the place of the hardware cache is anybody's. Fingerprints and times that only this
 * machine knows stand in it as @M (the machine), @C (the conditions of webgpu) and @N (now).
 */
#include "base/clock.h"
#include "base/text.h"
#include "hardware/cache.h"
#include "hardware/identity.h"
#include "target.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64];
static char machine[RP_IDENTITY_BYTES];
static char conditions[RP_IDENTITY_BYTES];

static void remove_file(void) {
    unlink(path);
}

static void prepare(void) {
    if (path[0]) return;
    /* In memory where there is such a folder: each file that is kept is waited for on its disk. */
    snprintf(path, sizeof path, "%s/rp-cache-fuzz-%ld.json",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (long)getpid());
    atexit(remove_file);
    struct rp_snapshot *snapshot = rp_snapshot_create();
    FUZZ_ASSERT(snapshot);
    FUZZ_ASSERT(rp_identity_machine(snapshot, machine, NULL) == RP_OK);
    FUZZ_ASSERT(rp_identity_conditions(snapshot, RP_DEVICE_WEBGPU, conditions, NULL) == RP_OK);
    rp_snapshot_release(snapshot);
}

static void write_file(const uint8_t *data, size_t size) {
    struct rp_text text = RP_TEXT_INIT;
    for (size_t i = 0; i < size; i++) {
        bool is_mark = data[i] == '@' && i + 1 < size;
        if (is_mark && data[i + 1] == 'M') rp_text_print(&text, "%s", machine);
        if (is_mark && data[i + 1] == 'C') rp_text_print(&text, "%s", conditions);
        if (is_mark && data[i + 1] == 'N') {
            rp_text_print(&text, "%lld", (long long)(rp_wall_ns() / 1000000000));
        }
        if (is_mark) {
            i++;
        } else {
            rp_text_append(&text, (const char *)&data[i], 1);
        }
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FUZZ_ASSERT(fd >= 0 && !text.failed);
    FUZZ_ASSERT(write(fd, text.bytes ? text.bytes : "", text.length) == (ssize_t)text.length);
    close(fd);
    rp_text_fini(&text);
}

/* What is found is about the kind that was asked for, and does not move. */
static void check(const struct rp_snapshot *snapshot, bool found) {
    FUZZ_ASSERT(found == (snapshot->device_count + snapshot->absent_count > 0));
    for (size_t i = 0; i < snapshot->device_count; i++) {
        const rp_device *device = snapshot->devices[i];
        FUZZ_ASSERT(device->kind == RP_DEVICE_WEBGPU);
        FUZZ_ASSERT(device->memory_bytes_free == RP_UNKNOWN_U64);
        FUZZ_ASSERT(!device->accelerator || !device->accelerator->processes);
    }
    for (size_t i = 0; i < snapshot->absent_count; i++) {
        FUZZ_ASSERT(snapshot->absences[i]->kind == RP_DEVICE_WEBGPU);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    prepare();
    write_file(data, size);
    rp_error err = RP_ERROR_INIT;
    bool found = false;
    struct rp_cache *cache = NULL;
    struct rp_snapshot *snapshot = rp_snapshot_create();
    FUZZ_ASSERT(snapshot);
    FUZZ_ASSERT(rp_cache_open(path, snapshot, &cache, &err) == RP_OK);
    FUZZ_ASSERT(rp_cache_load(cache, RP_DEVICE_WEBGPU, &found, &err) == RP_OK);
    check(snapshot, found);
    /* What was found is kept again, over whatever else the file holds, and is found again. */
    if (found) {
        FUZZ_ASSERT(rp_cache_keep(cache, RP_DEVICE_WEBGPU, snapshot, false, &err) == RP_OK);
    }
    FUZZ_ASSERT(rp_cache_close(cache, &err) == RP_OK);
    struct rp_snapshot *again = rp_snapshot_create();
    bool found_again = false;
    FUZZ_ASSERT(again);
    FUZZ_ASSERT(rp_cache_open(path, again, &cache, &err) == RP_OK);
    FUZZ_ASSERT(rp_cache_load(cache, RP_DEVICE_WEBGPU, &found_again, &err) == RP_OK);
    FUZZ_ASSERT(rp_cache_close(cache, &err) == RP_OK);
    FUZZ_ASSERT(found_again == found && again->device_count == snapshot->device_count);
    rp_snapshot_release(snapshot);
    rp_snapshot_release(again);
    return 0;
}
