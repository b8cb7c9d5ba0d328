/* SPDX-License-Identifier: Apache-2.0 */
/* The parsers of what stands under /proc and /sys. */
#include "hardware/cgroup.h"
#include "hardware/proc.h"
#include "hardware/quota.h"
#include "target.h"

#include <string.h>

static bool is_bytes(uint64_t value) {
    return value == RP_UNKNOWN_U64 || value <= INT64_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint32_t numbers[RP_LIMIT_PROCESSORS];
    static char path[RP_LIMIT_NAME_BYTES];
    static struct rp_cgroup_mount mount;
    struct rp_span text = {(const char *)data, size};
    struct rp_cpuinfo info;
    uint32_t count = 0;
    uint32_t again = 0;
    rp_cpuinfo_parse(text, &info);
    FUZZ_ASSERT(info.name.length <= size && info.features.length <= size);
    FUZZ_ASSERT(is_bytes(rp_proc_meminfo_bytes(text, "MemTotal:")));
    FUZZ_ASSERT(is_bytes(rp_proc_stat_value(text, "inactive_file")));
    if (rp_cpulist_parse(text, numbers, &count)) {
        FUZZ_ASSERT(rp_cpulist_count(text, &again) && count == again);
        for (uint32_t i = 0; i < count; i++) {
            FUZZ_ASSERT(numbers[i] < RP_LIMIT_PROCESSORS &&
                        (i == 0 || numbers[i - 1] < numbers[i]));
        }
    }
    for (int version = 1; version <= 2; version++) {
        if (!rp_cgroup_find_path(text, version, "memory", path)) memcpy(path, "/", 2);
        FUZZ_ASSERT(path[0] == '/');
        for (struct rp_span rest = text; rp_cgroup_next_mount(&rest, "memory", &mount);) {
            FUZZ_ASSERT(mount.root[0] == '/' && mount.point[0] == '/');
            const char *below = rp_cgroup_path_below(path, mount.root);
            /* What is read lies in the mount: no way leads out of it. */
            FUZZ_ASSERT(!below || below[0] == '\0' || below[0] == '/');
            FUZZ_ASSERT(!below || !strstr(below, "/../"));
        }
    }
    double quota = rp_quota_parse(text);
    FUZZ_ASSERT(quota == -1 || (quota > 0 && quota <= RP_LIMIT_PROCESSORS));
    return 0;
}
