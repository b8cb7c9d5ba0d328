/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processor and the machine's memory.
 *
 * Counts come from hwloc, loaded with nothing but packages, cores and NUMA nodes, and without its
 * x86 component: that one binds the calling thread to each processor in turn to ask CPUID, which
 * is slow on large machines and tells nothing here that Linux does not. A recorded machine cannot
 * go through hwloc, whose switch for another root is an environment variable, hence of the whole
 * process: its /sys is counted here, as that of a machine where hwloc fails.
 */
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "hardware/cgroup.h"
#include "hardware/device.h"
#include "hardware/proc.h"

#include <errno.h>
#include <hwloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static struct rp_span span_of(const struct rp_proc_file *file) {
    return (struct rp_span){file->bytes, file->length};
}

static bool is_this_machine(const struct rp_snapshot *snapshot) {
    return snapshot->root[0] == '\0';
}

/* A count of things that exist: hwloc and the parsers say 0 (or less) when they do not know. */
static uint32_t known_count(int64_t count) {
    return count > 0 && count < RP_UNKNOWN_U32 ? (uint32_t)count : RP_UNKNOWN_U32;
}

static rp_status put_text(struct rp_snapshot *snapshot, struct rp_span span, const char **field,
                          rp_error *err) {
    if (span.length == 0 || span.length >= RP_LIMIT_SNAPSHOT_TEXT_BYTES) return RP_OK;
    const char *text = rp_snapshot_text(snapshot, span.at, span.length);
    if (!text) return rp_fail_no_memory(err);
    *field = text[0] ? text : NULL;
    return RP_OK;
}

static struct rp_span span_of_text(const char *text) {
    return (struct rp_span){text, text ? strlen(text) : 0};
}

static rp_status put_features(struct rp_snapshot *snapshot, rp_cpu *cpu, struct rp_span words,
                              rp_error *err) {
    size_t count = 0;
    struct rp_span word;
    for (struct rp_span rest = words; rp_span_next_word(&rest, " \t", &word); count++) {
        if (count == RP_LIMIT_CPU_FEATURES || word.length >= RP_LIMIT_CPU_FEATURE_BYTES) {
            return rp_snapshot_add_note(snapshot, err,
                                        "/proc/cpuinfo: the features of the processor are damaged");
        }
    }
    if (count == 0) return RP_OK;
    const char **features = rp_snapshot_alloc(snapshot, count * sizeof *features);
    if (!features) return rp_fail_no_memory(err);
    for (size_t i = 0; i < count && rp_span_next_word(&words, " \t", &word); i++) {
        features[i] = rp_snapshot_text(snapshot, word.at, word.length);
        if (!features[i]) return rp_fail_no_memory(err);
    }
    cpu->features = features;
    cpu->feature_count = count;
    return RP_OK;
}

static rp_status put_architecture(struct rp_snapshot *snapshot, rp_cpu *cpu, const char *guess,
                                  rp_error *err) {
    struct utsname names;
    if (is_this_machine(snapshot) && uname(&names) == 0) {
        return put_text(snapshot, span_of_text(names.machine), &cpu->architecture, err);
    }
    struct rp_proc_file file;
    rp_status status = rp_proc_file_read(&file, snapshot->root, "/proc/sys/kernel/arch", err);
    if (status == RP_OK) {
        struct rp_span told = file.bytes ? rp_span_trim(span_of(&file)) : span_of_text(guess);
        status = put_text(snapshot, told, &cpu->architecture, err);
    }
    rp_proc_file_fini(&file);
    return status;
}

/* Name, features, architecture. aarch64 has no name, only the numbers of maker and part. */
static rp_status read_identity(struct rp_snapshot *snapshot, rp_device *device, rp_cpu *cpu,
                               rp_error *err) {
    /*
     * The kernel writes this file while it is read, and asks every processor for its clock: on this
     * machine the first processor is enough, a recorded one may have to be counted.
     */
    struct rp_proc_file file;
    rp_status status = is_this_machine(snapshot)
                           ? rp_proc_file_read_start(&file, snapshot->root, "/proc/cpuinfo", err)
                           : rp_proc_file_read(&file, snapshot->root, "/proc/cpuinfo", err);
    struct rp_cpuinfo info = {0};
    if (status == RP_OK && file.bytes) {
        rp_cpuinfo_parse(span_of(&file), &info);
        if (!is_this_machine(snapshot)) cpu->logical_count = known_count(info.processor_count);
    }
    if (status == RP_OK && info.name.at) {
        status = put_text(snapshot, info.name, &device->name, err);
    } else if (status == RP_OK && info.implementer.at && info.part.at) {
        char name[128];
        snprintf(name, sizeof name, "arm implementer %.*s, part %.*s",
                 info.implementer.length < 16 ? (int)info.implementer.length : 16,
                 info.implementer.at, info.part.length < 16 ? (int)info.part.length : 16,
                 info.part.at);
        status = put_text(snapshot, span_of_text(name), &device->name, err);
    }
    if (status == RP_OK && info.features.at) {
        status = put_features(snapshot, cpu, info.features, err);
    }
    if (status == RP_OK) status = put_architecture(snapshot, cpu, info.architecture, err);
    rp_proc_file_fini(&file);
    return status;
}

static rp_status put_numa(struct rp_snapshot *snapshot, rp_cpu *cpu, size_t count,
                          const uint32_t *indexes, const uint64_t *bytes,
                          const char *const *processors, rp_error *err) {
    if (count == 0) return RP_OK;
    const rp_numa_node **nodes = rp_snapshot_alloc(snapshot, count * sizeof *nodes);
    rp_numa_node *each = rp_snapshot_alloc(snapshot, count * sizeof *each);
    if (!nodes || !each) return rp_fail_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        each[i] = (rp_numa_node){sizeof each[i], indexes[i], bytes[i], processors[i]};
        nodes[i] = &each[i];
    }
    cpu->numa_nodes = nodes;
    cpu->numa_node_count = count;
    cpu->numa_count = (uint32_t)count;
    return RP_OK;
}

/* The processors of a node: a list of 8,192 of them, every other one, is cut and not known. */
enum { LIST_BYTES = 4096 };

static rp_status put_topology(struct rp_snapshot *snapshot, rp_cpu *cpu, hwloc_topology_t topology,
                              rp_error *err) {
    cpu->logical_count = known_count(hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU));
    cpu->physical_count = known_count(hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE));
    cpu->socket_count = known_count(hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PACKAGE));
    uint32_t indexes[RP_LIMIT_NUMA_NODES];
    uint64_t bytes[RP_LIMIT_NUMA_NODES];
    const char *processors[RP_LIMIT_NUMA_NODES];
    size_t count = 0;
    hwloc_obj_t node = NULL;
    while (count < RP_LIMIT_NUMA_NODES &&
           (node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node))) {
        uint64_t local = node->attr->numanode.local_memory; /* 0: hwloc does not know */
        char list[LIST_BYTES];
        int length = hwloc_bitmap_list_snprintf(list, sizeof list, node->cpuset);
        bool is_whole = length > 0 && (size_t)length < sizeof list;
        processors[count] = is_whole ? rp_snapshot_text(snapshot, list, (size_t)length) : NULL;
        if (is_whole && !processors[count]) return rp_fail_no_memory(err);
        indexes[count] = node->os_index;
        bytes[count++] = local > 0 && local <= INT64_MAX ? local : RP_UNKNOWN_U64;
    }
    return put_numa(snapshot, cpu, count, indexes, bytes, processors, err);
}

/* Count this machine by hwloc. *counted stays false when it cannot. */
static rp_status read_hwloc(struct rp_snapshot *snapshot, rp_cpu *cpu, bool *counted,
                            rp_error *err) {
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) != 0) return RP_OK;
    rp_status status = RP_OK;
    hwloc_topology_set_all_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_type_filter(topology, HWLOC_OBJ_PACKAGE, HWLOC_TYPE_FILTER_KEEP_ALL);
    hwloc_topology_set_type_filter(topology, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED |
                                           HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING);
    hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
    if (hwloc_topology_load(topology) == 0) {
        if (hwloc_topology_is_thissystem(topology)) {
            status = put_topology(snapshot, cpu, topology, err);
            *counted = true;
        } else {
            status = rp_snapshot_add_note(snapshot, err,
                                          "hwloc was told to describe another machine by an "
                                          "HWLOC_ variable; counted from /sys instead");
        }
    }
    hwloc_topology_destroy(topology);
    return status;
}

/* A list of numbers in a file such as /sys/devices/system/cpu/online; none when unreadable. */
static rp_status read_list(const char *root, const char *path, uint32_t *numbers, uint32_t *count,
                           rp_error *err) {
    struct rp_proc_file file;
    *count = 0;
    rp_status status = rp_proc_file_read(&file, root, path, err);
    if (status == RP_OK && file.bytes && !rp_cpulist_parse(span_of(&file), numbers, count)) {
        *count = 0;
    }
    rp_proc_file_fini(&file);
    return status;
}

/* What one processor's folder says: its package, and whether it is the first of its core. */
static rp_status read_processor(const char *root, uint32_t number, uint32_t *siblings,
                                uint64_t *package, bool *is_first, bool *known, rp_error *err) {
    char path[96];
    struct rp_proc_file file;
    uint32_t sibling_count;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology/physical_package_id",
             number);
    rp_status status = rp_proc_file_read(&file, root, path, err);
    if (status != RP_OK) return status;
    /* -1 stands for a package that the firmware does not tell. */
    *known = file.bytes && rp_span_parse_u64(rp_span_trim(span_of(&file)), package);
    rp_proc_file_fini(&file);
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list",
             number);
    status = read_list(root, path, siblings, &sibling_count, err);
    *known = *known && sibling_count > 0;
    *is_first = *known && siblings[0] == number;
    return status;
}

static int compare_u64(const void *left, const void *right) {
    uint64_t a;
    uint64_t b;
    memcpy(&a, left, sizeof a);
    memcpy(&b, right, sizeof b);
    return (a > b) - (a < b);
}

/* What stands in a node's cpulist; NULL when it is no list. */
static rp_status read_node_list(struct rp_snapshot *snapshot, uint32_t number, const char **list,
                                rp_error *err) {
    char path[96];
    struct rp_proc_file file;
    uint32_t count;
    snprintf(path, sizeof path, "/sys/devices/system/node/node%u/cpulist", number);
    rp_status status = rp_proc_file_read(&file, snapshot->root, path, err);
    struct rp_span text = rp_span_trim(span_of(&file));
    if (status == RP_OK && file.bytes && rp_cpulist_count(text, &count) && count > 0) {
        *list = rp_snapshot_text(snapshot, text.at, text.length);
        if (!*list) status = rp_fail_no_memory(err);
    }
    rp_proc_file_fini(&file);
    return status;
}

static rp_status read_sysfs_nodes(struct rp_snapshot *snapshot, rp_cpu *cpu, uint32_t *numbers,
                                  rp_error *err) {
    uint32_t count;
    rp_status status =
        read_list(snapshot->root, "/sys/devices/system/node/online", numbers, &count, err);
    if (count > RP_LIMIT_NUMA_NODES) count = 0;
    uint64_t bytes[RP_LIMIT_NUMA_NODES];
    const char *processors[RP_LIMIT_NUMA_NODES] = {NULL};
    for (uint32_t i = 0; status == RP_OK && i < count; i++) {
        char path[96];
        struct rp_proc_file file;
        snprintf(path, sizeof path, "/sys/devices/system/node/node%u/meminfo", numbers[i]);
        status = rp_proc_file_read(&file, snapshot->root, path, err);
        bytes[i] = file.bytes ? rp_proc_meminfo_bytes(span_of(&file), "MemTotal:") : RP_UNKNOWN_U64;
        rp_proc_file_fini(&file);
        if (status == RP_OK) status = read_node_list(snapshot, numbers[i], &processors[i], err);
    }
    return status == RP_OK ? put_numa(snapshot, cpu, count, numbers, bytes, processors, err)
                           : status;
}

/* Lists of processors that the count needs: too large for the stack of a small thread. */
struct sysfs_scratch {
    uint32_t online[RP_LIMIT_PROCESSORS];
    uint32_t siblings[RP_LIMIT_PROCESSORS];
    uint64_t packages[RP_LIMIT_PROCESSORS];
};

static rp_status read_sysfs(struct rp_snapshot *snapshot, rp_cpu *cpu, rp_error *err) {
    struct sysfs_scratch *scratch = rp_alloc(sizeof *scratch);
    if (!scratch) return rp_fail_no_memory(err);
    uint32_t count = 0;
    rp_status status =
        read_list(snapshot->root, "/sys/devices/system/cpu/online", scratch->online, &count, err);
    uint32_t cores = 0;
    bool all_known = count > 0;
    for (uint32_t i = 0; status == RP_OK && all_known && i < count; i++) {
        bool is_first = false;
        status = read_processor(snapshot->root, scratch->online[i], scratch->siblings,
                                &scratch->packages[i], &is_first, &all_known, err);
        if (status == RP_OK && is_first) cores++;
    }
    if (status == RP_OK && count > 0) cpu->logical_count = count;
    if (status == RP_OK && all_known) {
        qsort(scratch->packages, count, sizeof scratch->packages[0], compare_u64);
        uint32_t sockets = 1;
        for (uint32_t i = 1; i < count; i++) {
            if (scratch->packages[i] != scratch->packages[i - 1]) sockets++;
        }
        cpu->physical_count = known_count(cores);
        cpu->socket_count = sockets;
    }
    if (status == RP_OK) status = read_sysfs_nodes(snapshot, cpu, scratch->online, err);
    rp_free(scratch);
    return status;
}

static rp_status read_topology(struct rp_snapshot *snapshot, rp_cpu *cpu, rp_error *err) {
    bool counted = false;
    if (is_this_machine(snapshot)) {
        rp_status status = read_hwloc(snapshot, cpu, &counted, err);
        if (status != RP_OK) return status;
    }
    return counted ? RP_OK : read_sysfs(snapshot, cpu, err);
}

static rp_status put_affinity(struct rp_snapshot *snapshot, rp_cpu *cpu, struct rp_span list,
                              rp_error *err) {
    list = rp_span_trim(list);
    uint32_t count;
    if (!rp_cpulist_count(list, &count) || count == 0) return RP_OK;
    cpu->affinity_count = count;
    return put_text(snapshot, list, &cpu->affinity, err);
}

/* A mask of any size as a list: "0-3,8". */
static void print_mask(struct rp_text *text, const cpu_set_t *mask, size_t mask_bytes) {
    size_t end = mask_bytes * 8;
    for (size_t i = 0; i < end; i++) {
        if (!CPU_ISSET_S(i, mask_bytes, mask)) continue;
        size_t last = i;
        while (last + 1 < end && CPU_ISSET_S(last + 1, mask_bytes, mask)) {
            last++;
        }
        rp_text_print(text, text->length > 0 ? ",%zu" : "%zu", i);
        if (last > i) rp_text_print(text, "-%zu", last);
        i = last;
    }
}

/* The mask of the process (its first thread), not of the thread that happens to detect. */
static rp_status read_own_affinity(struct rp_snapshot *snapshot, rp_cpu *cpu, rp_error *err) {
    /* The kernel refuses a mask smaller than its own: 8,192 bits are enough for any. */
    size_t mask_bytes = CPU_ALLOC_SIZE(RP_LIMIT_PROCESSORS);
    cpu_set_t *mask = rp_alloc(mask_bytes);
    if (!mask) return rp_fail_no_memory(err);
    struct rp_text text = RP_TEXT_INIT;
    rp_status status = RP_OK;
    if (sched_getaffinity(getpid(), mask_bytes, mask) == 0) {
        print_mask(&text, mask, mask_bytes);
        status = text.failed
                     ? rp_fail_no_memory(err)
                     : put_affinity(snapshot, cpu, (struct rp_span){text.bytes, text.length}, err);
    } else {
        status = rp_snapshot_add_note(snapshot, err, "cannot read the affinity of the process: %s",
                                      strerrordesc_np(errno));
    }
    rp_text_fini(&text);
    rp_free(mask);
    return status;
}

static rp_status read_recorded_affinity(struct rp_snapshot *snapshot, rp_cpu *cpu, rp_error *err) {
    static const char key[] = "Cpus_allowed_list:";
    struct rp_proc_file file;
    rp_status status = rp_proc_file_read(&file, snapshot->root, "/proc/self/status", err);
    struct rp_span rest = span_of(&file);
    struct rp_span line;
    while (status == RP_OK && rp_span_next_line(&rest, &line)) {
        if (line.length < sizeof key || memcmp(line.at, key, sizeof key - 1) != 0) continue;
        struct rp_span list = {line.at + sizeof key - 1, line.length - (sizeof key - 1)};
        status = put_affinity(snapshot, cpu, list, err);
        break;
    }
    rp_proc_file_fini(&file);
    return status;
}

static rp_status read_affinity(struct rp_snapshot *snapshot, rp_cpu *cpu, rp_error *err) {
    cpu->affinity = NULL;
    cpu->affinity_count = RP_UNKNOWN_U32;
    return is_this_machine(snapshot) ? read_own_affinity(snapshot, cpu, err)
                                     : read_recorded_affinity(snapshot, cpu, err);
}

static uint64_t lesser(uint64_t a, uint64_t b) {
    return a < b ? a : b; /* unknown is the largest number */
}

/* What the process may use: the machine's memory, or less where a group limits it. */
static rp_status read_memory(struct rp_snapshot *snapshot, rp_device *device, rp_cpu *cpu,
                             rp_error *err) {
    struct rp_proc_file file;
    rp_status status = rp_proc_file_read(&file, snapshot->root, "/proc/meminfo", err);
    if (status != RP_OK) return status;
    uint64_t machine = RP_UNKNOWN_U64;
    uint64_t available = RP_UNKNOWN_U64;
    if (file.bytes) {
        machine = rp_proc_meminfo_bytes(span_of(&file), "MemTotal:");
        available = rp_proc_meminfo_bytes(span_of(&file), "MemAvailable:");
    }
    if (machine == RP_UNKNOWN_U64) {
        status = rp_snapshot_add_note(
            snapshot, err, "/proc/meminfo does not tell the memory of the machine: %s",
            file.bytes ? "no MemTotal that can be read" : strerrordesc_np(file.os_errno));
    }
    rp_proc_file_fini(&file);
    struct rp_cgroup_limit limit;
    if (status == RP_OK) status = rp_cgroup_read_limit(snapshot->root, snapshot, &limit, err);
    if (status != RP_OK) return status;

    cpu->machine_memory_bytes_total = machine;
    cpu->memory_limit_bytes = lesser(machine, limit.bytes_total);
    cpu->memory_limit_source = limit.bytes_total < machine ? limit.source
                               : machine != RP_UNKNOWN_U64 ? "machine"
                                                           : NULL;
    device->memory_bytes_total = cpu->memory_limit_bytes;
    bool is_limited = limit.bytes_total != RP_UNKNOWN_U64;
    bool is_known =
        available != RP_UNKNOWN_U64 && !(is_limited && limit.bytes_free == RP_UNKNOWN_U64);
    uint64_t room = lesser(available, lesser(limit.bytes_free, device->memory_bytes_total));
    device->memory_bytes_free = is_known ? room : RP_UNKNOWN_U64;
    return RP_OK;
}

static rp_status cpu_probe(struct rp_snapshot *snapshot, rp_error *err) {
    rp_device *device = rp_snapshot_new_device(snapshot, RP_DEVICE_CPU, "cpu");
    rp_cpu *cpu = rp_snapshot_new_cpu(snapshot);
    if (!device || !cpu) return rp_fail_no_memory(err);
    device->cpu = cpu;
    rp_status status = read_identity(snapshot, device, cpu, err);
    if (status == RP_OK) status = read_topology(snapshot, cpu, err);
    if (status == RP_OK) status = read_affinity(snapshot, cpu, err);
    if (status == RP_OK) status = read_memory(snapshot, device, cpu, err);
    return status == RP_OK ? rp_snapshot_add_device(snapshot, device, err) : status;
}

static rp_status cpu_refresh(struct rp_snapshot *snapshot, rp_device *device, rp_error *err) {
    rp_cpu *cpu = rp_snapshot_alloc(snapshot, sizeof *cpu);
    if (!cpu) return rp_fail_no_memory(err);
    *cpu = *device->cpu;
    rp_status status = read_affinity(snapshot, cpu, err);
    if (status == RP_OK) status = read_memory(snapshot, device, cpu, err);
    if (status == RP_OK) device->cpu = cpu;
    return status;
}

const struct rp_device_ops rp_device_cpu = {
    .kind = RP_DEVICE_CPU,
    .name = "hwloc",
    .probe = cpu_probe,
    .refresh = cpu_refresh,
};
