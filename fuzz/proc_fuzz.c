/* SPDX-License-Identifier: Apache-2.0 */
/* The parsers of what stands under /proc and /sys. */
#include "hardware/cgroup.h"
#include "hardware/proc.h"
#include "target.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct rp_span text = {(const char *)data, size};
    static char path[RP_LIMIT_NAME_BYTES];
    static struct rp_cgroup_mount mount;
    struct rp_cpuinfo info;
    uint32_t count = 0;
    rp_cpuinfo_parse(text, &info);
    rp_proc_meminfo_bytes(text, "MemTotal:");
    rp_proc_stat_value(text, "inactive_file");
    rp_cgroup_find_path(text, 1, path);
    rp_cgroup_find_path(text, 2, path);
    rp_cpulist_count(text, &count);
    for (struct rp_span rest = text; rp_cgroup_next_mount(&rest, &mount);) {
        const char *below = rp_cgroup_path_below(path, mount.root);
        FUZZ_ASSERT(!below || strlen(below) < sizeof path);
    }
    return 0;
}
