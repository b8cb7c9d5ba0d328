/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AMD's GPUs. The kernel tells nearly all in /sys: the topology of its compute driver (KFD) has
 * each GPU with its instruction set, the card's own folder its memory, load, temperature and
 * errors, and KFD again whose memory it is. librocm_smi64 and libamd_smi read the same files and
 * are not needed.
 *
 * HIP is asked (in a child) for what only it knows: which of these GPUs programs will get, in which
 * order, what they are called, and its own version. A recorded machine has no HIP to ask: there the
 * kernel's word is all.
 */
#include "hardware/rocm.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "hardware/child.h"
#include "hardware/describe.h"
#include "hardware/device.h"
#include "hardware/hip_abi.h"
#include "hardware/library.h"
#include "hardware/pci.h"
#include "hardware/proc.h"
#include "hardware/sysfs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOPOLOGY "/sys/class/kfd/kfd/topology/nodes"

/* What an instruction set stands for. All others are known by their name alone. */
struct target {
    const char *name;
    const char *precisions; /* what it does well */
    bool has_matrix_units;  /* MFMA (CDNA) or WMMA (RDNA 3 and later) */
    bool is_processor_part; /* found in processors with graphics only */
    const char *override; /* not supported by ROCm; what is set to run it as another, "": nothing */
};

/* clang-format off */
static const struct target targets[] = {
    {"gfx803",  "fp32 fp16",                false, false, ""},
    {"gfx900",  "fp32 fp16",                false, false, ""},
    {"gfx902",  "fp32 fp16",                false, true,  ""},
    {"gfx906",  "fp32 fp16 int8",           false, false, NULL},
    {"gfx908",  "fp32 fp16 bf16 int8",      true,  false, NULL},
    {"gfx90a",  "fp32 fp16 bf16 int8",      true,  false, NULL},
    {"gfx90c",  "fp32 fp16",                false, true,  "9.0.0"},
    {"gfx942",  "fp32 fp16 bf16 int8 fp8",  true,  false, NULL},
    {"gfx950",  "fp32 fp16 bf16 int8 fp8 fp4", true, false, NULL},
    {"gfx1010", "fp32 fp16",                false, false, "10.3.0"},
    {"gfx1011", "fp32 fp16 int8",           false, false, "10.3.0"},
    {"gfx1012", "fp32 fp16 int8",           false, false, "10.3.0"},
    {"gfx1030", "fp32 fp16 int8",           false, false, NULL},
    {"gfx1031", "fp32 fp16 int8",           false, false, "10.3.0"},
    {"gfx1032", "fp32 fp16 int8",           false, false, "10.3.0"},
    {"gfx1033", "fp32 fp16 int8",           false, true,  "10.3.0"},
    {"gfx1034", "fp32 fp16 int8",           false, false, "10.3.0"},
    {"gfx1035", "fp32 fp16 int8",           false, true,  "10.3.0"},
    {"gfx1036", "fp32 fp16 int8",           false, true,  "10.3.0"},
    {"gfx1100", "fp32 fp16 bf16 int8 int4", true,  false, NULL},
    {"gfx1101", "fp32 fp16 bf16 int8 int4", true,  false, NULL},
    {"gfx1102", "fp32 fp16 bf16 int8 int4", true,  false, NULL},
    {"gfx1103", "fp32 fp16 bf16 int8 int4", true,  true,  "11.0.0"},
    {"gfx1150", "fp32 fp16 bf16 int8 int4", true,  true,  NULL},
    {"gfx1151", "fp32 fp16 bf16 int8 int4", true,  true,  NULL},
    {"gfx1152", "fp32 fp16 bf16 int8 int4", true,  true,  NULL},
    {"gfx1200", "fp32 fp16 bf16 int8 int4 fp8", true, false, NULL},
    {"gfx1201", "fp32 fp16 bf16 int8 int4 fp8", true, false, NULL},
};

/* Variables that hide GPUs from HIP, in the order in which it reads them. */
static const char *const hiding_variables[] = {
    "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "CUDA_VISIBLE_DEVICES",
};

static const char *const hip_sonames[] = {
    "libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5", "libamdhip64.so", NULL};
static const char *const hip_folders[] = {"/opt/rocm/lib", "/opt/rocm/lib64", "/opt/rocm/hip/lib",
                                          NULL};
static const struct rp_library_names hip_names = {"RESOURCE_POOL_HIP", hip_sonames, hip_folders};
/* clang-format on */

#define SYMBOL(name, field, required)                                                              \
    { name, offsetof(struct rp_hip, field), required }
static const struct rp_library_symbol hip_symbols[] = {
    SYMBOL("hipGetDeviceCount", get_device_count, true),
    SYMBOL("hipDeviceGet", device_get, true),
    SYMBOL("hipDeviceGetName", device_get_name, true),
    SYMBOL("hipDeviceTotalMem", device_total_mem, true),
    SYMBOL("hipDeviceGetPCIBusId", device_get_pci_bus_id, true),
    SYMBOL("hipRuntimeGetVersion", runtime_get_version, false),
    SYMBOL("hipGetErrorName", get_error_name, false),
    {NULL, 0, false},
};

/* A GPU as the kernel's compute driver has it. */
struct card {
    rp_device *device;
    rp_accelerator *accelerator;
    uint64_t render_minor; /* of /dev/dri/renderD128; RP_UNKNOWN_U64 */
    bool is_listed;        /* by HIP */
};
struct cards {
    struct card cards[RP_SYSFS_NAMES];
    size_t count;
};

static const struct target *find_target(const char *name) {
    for (size_t i = 0; name && i < sizeof targets / sizeof targets[0]; i++) {
        if (strcmp(targets[i].name, name) == 0) return &targets[i];
    }
    return NULL;
}

/* --- the topology ---------------------------------------------------------------------------- */

/* The value of a line of a node's properties; RP_UNKNOWN_U64 when it has none. */
static uint64_t property(const char *text, const char *key) {
    struct rp_span rest = {text, strlen(text)};
    struct rp_span line;
    struct rp_span word;
    while (rp_span_next_line(&rest, &line)) {
        uint64_t value;
        if (!rp_span_next_word(&line, " ", &word) || !rp_span_is(word, key)) continue;
        return rp_span_parse_u64(rp_span_trim(line), &value) ? value : RP_UNKNOWN_U64;
    }
    return RP_UNKNOWN_U64;
}

/* As KFD writes it: 90402 is gfx942, 90010 gfx90a: the last digit is hexadecimal. */
bool rp_rocm_format_target(const char *properties, char out[RP_ROCM_TARGET_BYTES]) {
    uint64_t version = property(properties, "gfx_target_version");
    if (version == 0 || version >= 1000000) return false;
    snprintf(out, RP_ROCM_TARGET_BYTES, "gfx%u%u%x", (unsigned)(version / 10000),
             (unsigned)(version / 100 % 100), (unsigned)(version % 100));
    return true;
}

void rp_rocm_format_address(const char *properties, char out[RP_ROCM_ADDRESS_BYTES]) {
    uint64_t domain = property(properties, "domain");
    uint64_t location = property(properties, "location_id");
    if (location == RP_UNKNOWN_U64) location = 0;
    if (domain == RP_UNKNOWN_U64) domain = 0;
    snprintf(out, RP_ROCM_ADDRESS_BYTES, "%04x:%02x:%02x.%x", (unsigned)(domain & 0xffff),
             (unsigned)(location >> 8 & 0xff), (unsigned)(location >> 3 & 0x1f),
             (unsigned)(location & 7));
}

static bool read_properties(const char *root, const char *node, char *out, size_t out_bytes) {
    /* Of a GPU that is kept from this container the file cannot be read, or holds nothing. */
    if (!rp_sysfs_text(root, out, out_bytes, TOPOLOGY "/%s/properties", node)) return false;
    char target[RP_ROCM_TARGET_BYTES];
    return rp_rocm_format_target(out, target);
}

/* The number of a GPU in KFD, by its PCI address; RP_UNKNOWN_U64 when KFD has it not. */
static uint64_t find_gpu_id(const char *root, const char *address) {
    struct rp_sysfs_names nodes;
    rp_sysfs_list(root, TOPOLOGY, "", &nodes);
    for (size_t i = 0; i < nodes.count; i++) {
        char properties[4096];
        char its[16];
        if (!read_properties(root, nodes.names[i], properties, sizeof properties)) continue;
        rp_rocm_format_address(properties, its);
        if (strcmp(its, address) != 0) continue;
        return rp_sysfs_u64(root, TOPOLOGY "/%s/gpu_id", nodes.names[i]);
    }
    return RP_UNKNOWN_U64;
}

/* --- what moves ------------------------------------------------------------------------------ */

static uint32_t known_u32(uint64_t value, uint64_t max) {
    return value <= max ? (uint32_t)value : RP_UNKNOWN_U32;
}

static void read_temperature(const char *root, const char *address, rp_accelerator *accelerator) {
    char folder[96];
    struct rp_sysfs_names names;
    snprintf(folder, sizeof folder, "/sys/bus/pci/devices/%s/hwmon", address);
    rp_sysfs_list(root, folder, "hwmon", &names);
    accelerator->temperature_celsius = RP_UNKNOWN_U32;
    if (names.count == 0) return;
    uint64_t millis = rp_sysfs_u64(root, "%s/%s/temp1_input", folder, names.names[0]);
    if (millis <= 200000) accelerator->temperature_celsius = (uint32_t)(millis / 1000);
}

/* "ue: 0" and "ce: 12", of which the first are those that could not be corrected. */
static void read_errors(const char *root, const char *address, rp_accelerator *accelerator) {
    char text[128];
    accelerator->ecc_error_count = RP_UNKNOWN_U64;
    if (!rp_sysfs_text(root, text, sizeof text, "/sys/bus/pci/devices/%s/ras/umc_err_count",
                       address)) {
        return;
    }
    accelerator->ecc_error_count = rp_proc_stat_value((struct rp_span){text, strlen(text)}, "ue:");
}

/*
 * Whether the numbers of processes that the kernel tells are those under /proc. They are not in a
 * container with numbers of its own, where the same number is another process.
 */
static bool has_the_kernel_s_numbers(const char *root) {
    char name[32];
    if (root[0] != '\0') return true;
    return rp_sysfs_link_name("", name, sizeof name, "/proc/self/ns/pid") &&
           strcmp(name, "pid:[4026531836]") == 0; /* the first namespace, in every kernel */
}

/* The processes that KFD knows, with what each holds on the GPU of that number. */
static rp_status read_processes(struct rp_snapshot *snapshot, uint64_t gpu_id,
                                rp_accelerator *accelerator, rp_error *err) {
    const char *root = snapshot->root;
    struct rp_sysfs_names pids;
    accelerator->processes = NULL;
    accelerator->process_count = 0;
    if (gpu_id == RP_UNKNOWN_U64 || !rp_sysfs_exists(root, "/sys/class/kfd/kfd/proc")) return RP_OK;
    rp_sysfs_list(root, "/sys/class/kfd/kfd/proc", "", &pids);
    const rp_device_process **processes =
        rp_snapshot_alloc(snapshot, (pids.count + 1) * sizeof *processes);
    if (!processes) return rp_fail_no_memory(err);
    size_t count = 0;
    bool has_names = has_the_kernel_s_numbers(root);
    for (size_t i = 0; i < pids.count; i++) {
        uint64_t pid;
        if (!rp_sysfs_parse_u64(pids.names[i], &pid) || pid >= RP_UNKNOWN_U32) continue;
        uint64_t bytes = rp_sysfs_u64(root, "/sys/class/kfd/kfd/proc/%s/vram_%llu", pids.names[i],
                                      (unsigned long long)gpu_id);
        if (bytes == 0 || bytes > INT64_MAX) continue;
        rp_device_process *process = rp_snapshot_alloc(snapshot, sizeof *process);
        if (!process) return rp_fail_no_memory(err);
        *process = (rp_device_process){sizeof *process, (uint32_t)pid, NULL, bytes};
        char name[64];
        if (has_names && rp_sysfs_line(root, name, sizeof name, "/proc/%s/comm", pids.names[i])) {
            rp_status status = rp_describe_text(snapshot, &process->name, name, err);
            if (status != RP_OK) return status;
        }
        processes[count++] = process;
    }
    accelerator->processes = processes;
    accelerator->process_count = count;
    return RP_OK;
}

static rp_status read_figures(struct rp_snapshot *snapshot, rp_device *device,
                              rp_accelerator *accelerator, uint64_t gpu_id, rp_error *err) {
    const char *root = snapshot->root;
    const char *address = accelerator->pci_address;
    uint64_t used = rp_sysfs_u64(root, "/sys/bus/pci/devices/%s/mem_info_vram_used", address);
    uint64_t total = device->memory_bytes_total;
    bool is_known = used <= INT64_MAX && total <= INT64_MAX && used <= total;
    /* HIP lets a GPU without memory of its own use the processor's as well: not known from here. */
    bool is_shared = accelerator->is_integrated == RP_ANSWER_YES;
    device->memory_bytes_free = is_known && !is_shared ? total - used : RP_UNKNOWN_U64;
    accelerator->utilization_percent =
        known_u32(rp_sysfs_u64(root, "/sys/bus/pci/devices/%s/gpu_busy_percent", address), 100);
    read_temperature(root, address, accelerator);
    read_errors(root, address, accelerator);
    return read_processes(snapshot, gpu_id, accelerator, err);
}

/* --- what stays ------------------------------------------------------------------------------ */

bool rp_rocm_parse_name(struct rp_span line, uint64_t device, uint64_t revision,
                        struct rp_span *name) {
    const uint64_t wanted[] = {device, revision};
    for (size_t i = 0; i < 2; i++) {
        const char *comma = line.length > 0 ? memchr(line.at, ',', line.length) : NULL;
        if (!comma) return false;
        char number[24];
        struct rp_span field = rp_span_trim((struct rp_span){line.at, (size_t)(comma - line.at)});
        uint64_t value;
        if (field.length == 0 || field.length > 8) return false;
        snprintf(number, sizeof number, "0x%.*s", (int)field.length, field.at);
        if (!rp_sysfs_parse_u64(number, &value) || value != wanted[i]) return false;
        line.length -= (size_t)(comma + 1 - line.at);
        line.at = comma + 1;
    }
    *name = rp_span_trim(line);
    return name->length > 0;
}

/* The maker's name: the card's own, else what libdrm's table calls this revision of the device. */
static rp_status read_name(struct rp_snapshot *snapshot, rp_device *device, const char *address,
                           rp_error *err) {
    char line[128];
    if (rp_sysfs_line(snapshot->root, line, sizeof line, "/sys/bus/pci/devices/%s/product_name",
                      address)) {
        return rp_describe_text(snapshot, &device->name, line, err);
    }
    uint64_t number = rp_sysfs_u64(snapshot->root, "/sys/bus/pci/devices/%s/device", address);
    uint64_t revision = rp_sysfs_u64(snapshot->root, "/sys/bus/pci/devices/%s/revision", address);
    struct rp_proc_file file;
    rp_status status =
        rp_proc_file_read(&file, snapshot->root, "/usr/share/libdrm/amdgpu.ids", err);
    struct rp_span rest = {file.bytes, file.length};
    struct rp_span each;
    struct rp_span name;
    while (status == RP_OK && file.bytes && rp_span_next_line(&rest, &each)) {
        if (!rp_rocm_parse_name(each, number, revision, &name)) continue;
        snprintf(line, sizeof line, "%.*s", name.length < 100 ? (int)name.length : 100, name.at);
        status = rp_describe_text(snapshot, &device->name, line, err);
        break;
    }
    rp_proc_file_fini(&file);
    return status;
}

static rp_status read_versions(struct rp_snapshot *snapshot, rp_accelerator *accelerator,
                               rp_error *err) {
    char line[64];
    rp_status status = RP_OK;
    /* The driver in the kernel's own tree has no version but the kernel's. */
    if (rp_sysfs_line(snapshot->root, line, sizeof line, "/sys/module/amdgpu/version")) {
        status = rp_describe_text(snapshot, &accelerator->driver_version, line, err);
    }
    if (status == RP_OK &&
        rp_sysfs_line(snapshot->root, line, sizeof line, "/opt/rocm/.info/version")) {
        line[strcspn(line, "-")] = '\0'; /* "6.2.0-66": what follows is the number of the build */
        status = rp_describe_text(snapshot, &accelerator->runtime_version, line, err);
    }
    return status;
}

/* The instruction set that "10.3.0" stands for: "gfx1030". False for what ROCm would not take. */
static bool parse_override(const char *text, char out[RP_ROCM_TARGET_BYTES]) {
    static const unsigned long most[] = {63, 15, 15};
    unsigned numbers[3];
    for (size_t i = 0; i < 3; i++) {
        char *end;
        if (*text < '0' || *text > '9') return false;
        unsigned long value = strtoul(text, &end, 10);
        if (value > most[i] || *end != (i < 2 ? '.' : '\0')) return false;
        numbers[i] = (unsigned)value;
        text = end + 1;
    }
    snprintf(out, RP_ROCM_TARGET_BYTES, "gfx%u%x%x", numbers[0], numbers[1], numbers[2]);
    return true;
}

/* What the environment says that programs run for, whatever the card is; "": nothing. */
static rp_status read_override(struct rp_snapshot *snapshot, char out[RP_ROCM_TARGET_BYTES],
                               rp_error *err) {
    const char *text = getenv("HSA_OVERRIDE_GFX_VERSION");
    out[0] = '\0';
    if (!text || !*text || parse_override(text, out)) return RP_OK;
    out[0] = '\0';
    return rp_snapshot_add_note(
        snapshot, err, "rocm: HSA_OVERRIDE_GFX_VERSION=%.40s is no version like 10.3.0, ignored",
        text);
}

/* Counts, memory and what follows from the instruction set. */
static rp_status describe_target(struct rp_snapshot *snapshot, const char *properties,
                                 const char *override, rp_accelerator *accelerator, rp_error *err) {
    char name[RP_ROCM_TARGET_BYTES] = "";
    (void)rp_rocm_format_target(properties, name); /* who is here is a GPU */
    const struct target *target = find_target(name);
    uint64_t simds = property(properties, "simd_count");
    uint64_t simds_per_unit = property(properties, "simd_per_cu");
    if (simds <= UINT32_MAX && simds_per_unit > 0 && simds_per_unit <= simds) {
        accelerator->compute_unit_count = (uint32_t)(simds / simds_per_unit);
    }
    uint64_t cores = property(properties, "cpu_cores_count");
    bool has_cores = cores != RP_UNKNOWN_U64 && cores > 0;
    if (cores != RP_UNKNOWN_U64 || target) {
        accelerator->is_integrated =
            has_cores || (target && target->is_processor_part) ? RP_ANSWER_YES : RP_ANSWER_NO;
    }
    accelerator->type = "gpu";
    accelerator->vendor = "amd";
    accelerator->source = "sysfs";
    char address[RP_ROCM_ADDRESS_BYTES];
    rp_status status = RP_OK;
    rp_rocm_format_address(properties, address);
    bool is_other = override[0] != '\0' && strcmp(override, name) != 0;
    if (is_other) {
        status = rp_snapshot_add_note(
            snapshot, err, "rocm: the %s at %s runs programs for %s, by HSA_OVERRIDE_GFX_VERSION",
            name, address, override);
        snprintf(name, sizeof name, "%s", override);
        target = find_target(name);
    }
    if (status == RP_OK) status = rp_describe_text(snapshot, &accelerator->gfx_target, name, err);
    if (status == RP_OK && target) {
        accelerator->has_tensor_cores = target->has_matrix_units ? RP_ANSWER_YES : RP_ANSWER_NO;
        status = rp_describe_precisions(snapshot, accelerator, target->precisions, err);
    }
    if (status == RP_OK && target && target->override && !is_other) {
        const char *set = "; programs that use it nevertheless set HSA_OVERRIDE_GFX_VERSION=";
        status =
            rp_snapshot_add_note(snapshot, err, "rocm: the %s at %s is not supported by ROCm%s%s",
                                 name, address, target->override[0] ? set : "", target->override);
    }
    uint64_t unique = property(properties, "unique_id");
    if (status == RP_OK && unique != RP_UNKNOWN_U64 && unique != 0) {
        status = rp_describe_print(snapshot, &accelerator->uuid, err, "GPU-%016llx",
                                   (unsigned long long)unique);
    }
    return status;
}

static rp_status read_card(struct rp_snapshot *snapshot, const char *node, const char *properties,
                           const char *override, struct card *card, rp_error *err) {
    const char *root = snapshot->root;
    rp_device *device = card->device;
    rp_accelerator *accelerator = card->accelerator;
    char address[16];
    rp_rocm_format_address(properties, address);
    rp_status status = describe_target(snapshot, properties, override, accelerator, err);
    if (status == RP_OK)
        status = rp_describe_text(snapshot, &accelerator->pci_address, address, err);
    uint64_t vendor = property(properties, "vendor_id");
    uint64_t number = property(properties, "device_id");
    if (status == RP_OK && vendor <= 0xffff && number <= 0xffff) {
        status = rp_describe_print(snapshot, &accelerator->pci_id, err, "%04x:%04x",
                                   (unsigned)vendor, (unsigned)number);
    }
    if (status == RP_OK) status = read_name(snapshot, device, address, err);
    if (status == RP_OK) status = read_versions(snapshot, accelerator, err);
    if (status != RP_OK) return status;
    uint64_t total = rp_sysfs_u64(root, "/sys/bus/pci/devices/%s/mem_info_vram_total", address);
    if (total > 0 && total <= INT64_MAX) device->memory_bytes_total = total;
    accelerator->numa_node =
        known_u32(rp_sysfs_u64(root, "/sys/bus/pci/devices/%s/numa_node", address), 4096);
    char mask[64];
    if (rp_sysfs_line(root, mask, sizeof mask, "/sys/bus/pci/devices/%s/ras/features", address)) {
        /* "feature mask: 0x21": the first bit is the memory's. */
        const char *digits = strstr(mask, "0x");
        uint64_t bits;
        if (digits && rp_sysfs_parse_u64(digits, &bits)) {
            accelerator->is_ecc_enabled = (bits & 1) != 0 ? RP_ANSWER_YES : RP_ANSWER_NO;
        }
    }
    card->render_minor = property(properties, "drm_render_minor");
    return read_figures(snapshot, device, accelerator,
                        rp_sysfs_u64(root, TOPOLOGY "/%s/gpu_id", node), err);
}

/* is_asked: for programs of this process; a recorded machine had an environment of its own. */
static rp_status read_cards(struct rp_snapshot *snapshot, bool is_asked, struct cards *cards,
                            rp_error *err) {
    struct rp_sysfs_names nodes;
    rp_sysfs_list(snapshot->root, TOPOLOGY, "", &nodes);
    cards->count = 0;
    char override[RP_ROCM_TARGET_BYTES] = "";
    rp_status status = is_asked ? read_override(snapshot, override, err) : RP_OK;
    for (size_t i = 0; status == RP_OK && i < nodes.count; i++) {
        char properties[4096];
        if (!read_properties(snapshot->root, nodes.names[i], properties, sizeof properties)) {
            continue;
        }
        char id[32];
        snprintf(id, sizeof id, "rocm:%zu", cards->count);
        struct card *card = &cards->cards[cards->count];
        *card = (struct card){.render_minor = RP_UNKNOWN_U64};
        status =
            rp_describe_new(snapshot, RP_DEVICE_ROCM, id, &card->device, &card->accelerator, err);
        if (status != RP_OK) break;
        status = read_card(snapshot, nodes.names[i], properties, override, card, err);
        cards->count++;
    }
    return status;
}

/* --- why it cannot be used ------------------------------------------------------------------- */

/* Whether this process may use a device file. A recorded machine without /dev does not tell. */
static bool may_open(const char *root, const char *path, char *reason, size_t reason_bytes) {
    char whole[RP_LIMIT_NAME_BYTES];
    int length = snprintf(whole, sizeof whole, "%s%s", root, path);
    if (length < 0 || (size_t)length >= sizeof whole) return true;
    if (root[0] != '\0' && !rp_sysfs_exists(root, "/dev")) return true;
    if (access(whole, R_OK | W_OK) == 0) return true;
    if (errno == EACCES || errno == EPERM) {
        snprintf(reason, reason_bytes,
                 "no permission for %s: its user must be in the group that owns it ('render')",
                 path);
    } else {
        snprintf(reason, reason_bytes,
                 "%s is not there: a container needs --device=/dev/kfd --device=/dev/dri", path);
    }
    return false;
}

static bool is_reachable(const char *root, const struct card *card, char *reason,
                         size_t reason_bytes) {
    char path[64];
    if (!may_open(root, "/dev/kfd", reason, reason_bytes)) return false;
    if (card->render_minor == RP_UNKNOWN_U64 || card->render_minor == 0) return true;
    snprintf(path, sizeof path, "/dev/dri/renderD%llu", (unsigned long long)card->render_minor);
    return may_open(root, path, reason, reason_bytes);
}

/* There is no GPU that KFD has: because there is no card, or because nobody drives it. */
static rp_status tell_absence(struct rp_snapshot *snapshot, rp_error *err) {
    const struct rp_pci_device *devices = NULL;
    size_t count = 0;
    rp_status status = rp_pci_devices(snapshot, &devices, &count, err);
    if (status != RP_OK) return status;
    for (size_t i = 0; i < count; i++) {
        char text[RP_PCI_TEXT_BYTES];
        uint32_t base = rp_pci_base_class(&devices[i]);
        if (devices[i].vendor != RP_PCI_AMD) continue;
        if (base != RP_PCI_DISPLAY && base != RP_PCI_ACCELERATOR) continue;
        rp_pci_describe(&devices[i], text);
        if (devices[i].driver[0] == '\0') {
            rp_fail(err, RP_ERR_ABSENT, "%s has no driver: amdgpu is not loaded", text);
            rp_hint(err, "'modprobe amdgpu', or install the package firmware-amd-graphics");
        } else if (strcmp(devices[i].driver, "amdgpu") != 0) {
            rp_fail(err, RP_ERR_ABSENT, "%s is driven by '%s', which does not compute", text,
                    devices[i].driver);
            rp_hint(err, "let amdgpu have it");
        } else {
            rp_fail(err, RP_ERR_ABSENT, "%s is not in " TOPOLOGY ": no compute driver (KFD)", text);
            rp_hint(err, "the kernel needs CONFIG_HSA_AMD, and a card that KFD knows");
        }
        return RP_ERR_ABSENT;
    }
    return rp_fail(err, RP_ERR_ABSENT, "no AMD GPU is in this machine");
}

/* --- the driver ------------------------------------------------------------------------------ */

static const char *error_name(const struct rp_hip *hip, int error, char out[32]) {
    const char *name = hip->get_error_name ? hip->get_error_name(error) : NULL;
    snprintf(out, 32, "HIP error %d", error);
    return name && name[0] ? name : out;
}

/* The first variable that is set and may be why HIP lists less than there is; NULL. */
static const char *find_hiding(void) {
    for (size_t i = 0; i < sizeof hiding_variables / sizeof hiding_variables[0]; i++) {
        if (getenv(hiding_variables[i])) return hiding_variables[i];
    }
    return NULL;
}

static rp_status add_hidden(struct rp_snapshot *snapshot, struct card *card, size_t index,
                            const char *why, rp_error *err) {
    char reason[512];
    const char *variable = find_hiding();
    if (why) {
        snprintf(reason, sizeof reason, "%s", why);
    } else if (variable) {
        snprintf(reason, sizeof reason, "hidden by %s=%.200s", variable, getenv(variable));
    } else {
        snprintf(reason, sizeof reason, "HIP does not list it");
    }
    rp_status status = rp_describe_print(snapshot, &card->device->id, err, "rocm:%zu", index);
    if (status == RP_OK) status = rp_describe_unavailable(snapshot, card->device, reason, err);
    return status == RP_OK ? rp_snapshot_add_device(snapshot, card->device, err) : status;
}

static struct card *find_card(struct cards *cards, const char *address) {
    for (size_t i = 0; i < cards->count; i++) {
        struct card *card = &cards->cards[i];
        if (!card->is_listed && strcmp(card->accelerator->pci_address, address) == 0) return card;
    }
    return NULL;
}

/* One of HIP's devices: the kernel's card of that address, with what HIP adds. */
static rp_status add_listed(struct rp_snapshot *snapshot, const struct rp_hip *hip,
                            struct cards *cards, int index, rp_error *err) {
    char id[32];
    char text[RP_HIP_NAME_BYTES] = "";
    char address[16] = "";
    int number = index;
    rp_device *device = NULL;
    rp_accelerator *accelerator = NULL;
    struct card *card = NULL;
    snprintf(id, sizeof id, "rocm:%d", index);
    rp_child_step("libamdhip64.so, asked about a device");
    if (hip->device_get_pci_bus_id(text, (int)sizeof text, index) == RP_HIP_SUCCESS) {
        text[sizeof text - 1] = '\0';
        if (rp_pci_parse_address(text, address)) card = find_card(cards, address);
    }
    rp_status status = RP_OK;
    if (card) {
        card->is_listed = true;
        device = card->device;
        accelerator = card->accelerator;
        accelerator->source = "hip, sysfs";
        status = rp_describe_text(snapshot, &device->id, id, err);
    } else {
        status = rp_describe_new(snapshot, RP_DEVICE_ROCM, id, &device, &accelerator, err);
        if (status != RP_OK) return status;
        accelerator->type = "gpu";
        accelerator->vendor = "amd";
        accelerator->source = "hip";
        status = rp_describe_text(snapshot, &accelerator->pci_address, address, err);
    }
    size_t bytes = 0;
    if (hip->device_get(&number, index) == RP_HIP_SUCCESS) {
        memset(text, 0, sizeof text);
        int rc = hip->device_get_name(text, (int)sizeof text, number);
        text[sizeof text - 1] = '\0';
        if (status == RP_OK && rc == RP_HIP_SUCCESS) {
            status = rp_describe_text(snapshot, &device->name, text, err);
        }
        bool is_told = hip->device_total_mem(&bytes, number) == RP_HIP_SUCCESS;
        /* Only where the kernel does not say: what HIP calls the total leaves some of it out. */
        bool is_needed = device->memory_bytes_total == RP_UNKNOWN_U64 ||
                         accelerator->is_integrated == RP_ANSWER_YES;
        if (is_told && is_needed && bytes > 0 && bytes <= INT64_MAX) {
            device->memory_bytes_total = bytes;
        }
    }
    int version = 0;
    if (status == RP_OK && hip->runtime_get_version &&
        hip->runtime_get_version(&version) == RP_HIP_SUCCESS && version > 0) {
        status = rp_describe_print(snapshot, &accelerator->runtime_version, err, "%d.%d.%d",
                                   version / 10000000, version / 100000 % 100, version % 100000);
    }
    return status == RP_OK ? rp_snapshot_add_device(snapshot, device, err) : status;
}

static rp_status ask_hip(struct rp_snapshot *snapshot, const struct rp_hip *hip,
                         struct cards *cards, rp_error *err) {
    int count = 0;
    rp_child_step("hipGetDeviceCount of libamdhip64.so");
    int rc = hip->get_device_count(&count);
    char name[32];
    char why[160] = "";
    if (rc == RP_HIP_NO_DEVICE) {
        count = 0;
    } else if (rc != RP_HIP_SUCCESS) {
        snprintf(why, sizeof why, "HIP cannot count the GPUs: %.100s", error_name(hip, rc, name));
        count = 0;
    } else if (count < 0 || count > RP_SYSFS_NAMES) {
        snprintf(why, sizeof why, "HIP says that there are %d GPUs, which is not believed", count);
        count = 0;
    }
    rp_status status = RP_OK;
    for (int i = 0; status == RP_OK && i < count; i++) {
        status = add_listed(snapshot, hip, cards, i, err);
    }
    size_t index = (size_t)count;
    for (size_t i = 0; status == RP_OK && i < cards->count; i++) {
        struct card *card = &cards->cards[i];
        if (card->is_listed) continue;
        char reason[256];
        bool is_explained =
            why[0] == '\0' && !is_reachable(snapshot->root, card, reason, sizeof reason);
        status = add_hidden(snapshot, card, index++,
                            is_explained ? reason : (why[0] != '\0' ? why : NULL), err);
    }
    if (status != RP_OK || index > 0) return status;
    return rp_fail(err, RP_ERR_ABSENT, "%s", why[0] != '\0' ? why : "HIP lists no GPU");
}

/* All cards, none of which can be used for the same reason. */
static rp_status add_unusable(struct rp_snapshot *snapshot, struct cards *cards, const char *why,
                              rp_error *err) {
    rp_status status = RP_OK;
    for (size_t i = 0; status == RP_OK && i < cards->count; i++) {
        status = add_hidden(snapshot, &cards->cards[i], i, why, err);
    }
    return status;
}

static rp_status ask(struct rp_snapshot *snapshot, struct cards *cards, rp_error *err) {
    rp_status status = read_cards(snapshot, true, cards, err);
    if (status != RP_OK) return status;
    char reason[256];
    if (cards->count > 0 && !may_open(snapshot->root, "/dev/kfd", reason, sizeof reason)) {
        return add_unusable(snapshot, cards, reason, err);
    }
    char path[RP_LIMIT_NAME_BYTES];
    struct rp_hip hip;
    void *handle = NULL;
    rp_error why = RP_ERROR_INIT;
    /* Only this machine is asked: the library is its own, whatever stands for /sys in a test. */
    status = rp_library_find("", &hip_names, path, &why);
    if (status == RP_OK) status = rp_library_open(path, hip_symbols, &hip, &handle, &why);
    if (status == RP_OK) {
        status = ask_hip(snapshot, &hip, cards, err);
        rp_library_close(handle);
        return status;
    }
    if (status != RP_ERR_MEMORY && cards->count > 0) {
        rp_error told = RP_ERROR_INIT;
        rp_fail(&told, status, "ROCm cannot be used: %s", why.message);
        return add_unusable(snapshot, cards, told.message, err);
    }
    if (err) *err = why;
    return status;
}

static rp_status rocm_ask(struct rp_snapshot *snapshot, rp_error *err) {
    struct cards *cards = rp_alloc(sizeof *cards);
    if (!cards) return rp_fail_no_memory(err);
    rp_status status = ask(snapshot, cards, err);
    rp_free(cards);
    return status;
}

/* A recorded machine: the kernel's word, and whether the device files are there. */
static rp_status add_recorded(struct rp_snapshot *snapshot, struct cards *cards, rp_error *err) {
    rp_status status = RP_OK;
    for (size_t i = 0; status == RP_OK && i < cards->count; i++) {
        struct card *card = &cards->cards[i];
        char reason[256];
        if (!is_reachable(snapshot->root, card, reason, sizeof reason)) {
            status = rp_describe_unavailable(snapshot, card->device, reason, err);
        }
        if (status == RP_OK) status = rp_snapshot_add_device(snapshot, card->device, err);
    }
    return status;
}

static bool has_gpu(const char *root) {
    struct rp_sysfs_names nodes;
    char properties[4096];
    rp_sysfs_list(root, TOPOLOGY, "", &nodes);
    for (size_t i = 0; i < nodes.count; i++) {
        if (read_properties(root, nodes.names[i], properties, sizeof properties)) return true;
    }
    return false;
}

static rp_status rocm_probe(struct rp_snapshot *snapshot, rp_error *err) {
    bool is_recorded = snapshot->root[0] != '\0';
    if (!has_gpu(snapshot->root)) {
        /* A library that the user named is asked even where the kernel shows nothing. */
        return rp_library_is_chosen(snapshot->root, &hip_names) ? RP_OK
                                                                : tell_absence(snapshot, err);
    }
    if (!is_recorded) return RP_OK;
    struct cards *cards = rp_alloc(sizeof *cards);
    if (!cards) return rp_fail_no_memory(err);
    rp_status status = read_cards(snapshot, false, cards, err);
    if (status == RP_OK) status = add_recorded(snapshot, cards, err);
    rp_free(cards);
    return status;
}

static rp_status rocm_refresh(struct rp_snapshot *snapshot, rp_device *device, rp_error *err) {
    if (!device->accelerator || !device->accelerator->pci_address) return RP_OK;
    const char *address = device->accelerator->pci_address;
    if (!rp_sysfs_exists(snapshot->root, "/sys/bus/pci/devices/%s", address)) {
        return rp_fail(err, RP_ERR_ABSENT, "%s is gone from the bus", address);
    }
    rp_accelerator *accelerator = rp_snapshot_alloc(snapshot, sizeof *accelerator);
    if (!accelerator) return rp_fail_no_memory(err);
    *accelerator = *device->accelerator;
    rp_status status =
        read_figures(snapshot, device, accelerator, find_gpu_id(snapshot->root, address), err);
    if (status == RP_OK) device->accelerator = accelerator;
    return status;
}

const struct rp_device_ops rp_device_rocm = {
    .kind = RP_DEVICE_ROCM,
    .name = "hip",
    .when = RP_ASK_DRIVER,
    .probe = rocm_probe,
    .ask = rocm_ask,
    .refresh = rocm_refresh,
};
