/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVIDIA's GPUs. The fast look reads what the kernel and the bus say, and whether the libraries are
 * installed. Asking has two witnesses: CUDA says which GPUs a program of this process gets and in
 * which order, and that order makes "cuda:0"; NVML knows each of them better, and knows those that
 * CUDA does not show. Either may be missing or broken: then the other one tells, and a note or a
 * reason says so.
 */
#include "base/limits.h"
#include "base/status.h"
#include "base/text.h"
#include "hardware/child.h"
#include "hardware/cuda_driver.h"
#include "hardware/cuda_visible.h"
#include "hardware/device.h"
#include "hardware/nvml.h"
#include "hardware/pci.h"
#include "hardware/proc.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define VISIBLE "CUDA_VISIBLE_DEVICES"

/* --- the fast look ------------------------------------------------------------------------- */

/* What points at a GPU of NVIDIA's without asking its driver. */
struct signs {
    const struct rp_pci_device *card; /* the first one; NULL: none on the bus */
    size_t card_count;
    bool is_bound;  /* a card has the driver 'nvidia'                          */
    bool is_loaded; /* the driver is in the kernel                             */
    bool is_tegra;  /* a Jetson: its GPU is no card                            */
    bool is_wsl;    /* Linux on Windows: the GPU is the host's                 */
    int control;    /* errno of reaching /dev/nvidiactl; 0: it may be opened   */
};

static bool is_this_machine(const struct rp_snapshot *snapshot) {
    return snapshot->root[0] == '\0';
}

static rp_status file_has(const struct rp_snapshot *snapshot, const char *path, const char *part,
                          bool *has, rp_error *err) {
    struct rp_proc_file file;
    rp_status status = rp_proc_file_read_start(&file, snapshot->root, path, err);
    *has = file.bytes && memmem(file.bytes, file.length, part, strlen(part)) != NULL;
    rp_proc_file_fini(&file);
    return status;
}

static bool path_exists(const struct rp_snapshot *snapshot, const char *path) {
    char whole[2 * RP_LIMIT_NAME_BYTES];
    snprintf(whole, sizeof whole, "%s%s", snapshot->root, path);
    return access(whole, F_OK) == 0;
}

static rp_status read_signs(struct rp_snapshot *snapshot, struct signs *signs, rp_error *err) {
    const struct rp_pci_device *cards;
    size_t count;
    *signs = (struct signs){0};
    rp_status status = rp_pci_devices(snapshot, &cards, &count, err);
    for (size_t i = 0; status == RP_OK && i < count; i++) {
        if (cards[i].vendor != RP_PCI_NVIDIA) continue;
        if (!signs->card) signs->card = &cards[i];
        signs->card_count++;
        if (strcmp(cards[i].driver, "nvidia") == 0) signs->is_bound = true;
    }
    if (status != RP_OK) return status;
    signs->is_loaded = path_exists(snapshot, "/proc/driver/nvidia/version");
    /* The names of the board in the device tree, parted by NUL: "nvidia,tegra234". */
    status =
        file_has(snapshot, "/proc/device-tree/compatible", "nvidia,tegra", &signs->is_tegra, err);
    if (status != RP_OK) return status;
    if (!signs->is_tegra) signs->is_tegra = path_exists(snapshot, "/etc/nv_tegra_release");
    signs->is_wsl = path_exists(snapshot, "/dev/dxg");
    if (is_this_machine(snapshot)) {
        signs->control = access("/dev/nvidiactl", R_OK | W_OK) == 0 ? 0 : errno;
    } else {
        signs->control = path_exists(snapshot, "/dev/nvidiactl") ? 0 : ENOENT;
    }
    return RP_OK;
}

/* "NVIDIA H100 80GB (10de:2330) at 0000:65:00.0 and 7 more" */
static const char *describe_cards(const struct signs *signs, char out[RP_PCI_TEXT_BYTES + 32]) {
    char first[RP_PCI_TEXT_BYTES];
    if (!signs->card) return "NVIDIA's driver";
    rp_pci_describe(signs->card, first);
    if (signs->card_count > 1) {
        snprintf(out, RP_PCI_TEXT_BYTES + 32, "%s and %zu more", first, signs->card_count - 1);
    } else {
        snprintf(out, RP_PCI_TEXT_BYTES + 32, "%s", first);
    }
    return out;
}

/* Who has the card in place of 'nvidia', in brackets. */
static const char *describe_driver(const struct signs *signs, char out[64]) {
    const char *driver = signs->card ? signs->card->driver : "";
    if (strcmp(driver, "vfio-pci") == 0) return " (vfio-pci keeps the card for a virtual machine)";
    if (driver[0] == '\0') return "";
    snprintf(out, 64, " (%s has the card)", driver);
    return out;
}

static rp_status fail_without_driver(const struct signs *signs, rp_error *err) {
    char cards[RP_PCI_TEXT_BYTES + 32];
    char driver[64];
    rp_fail(err, RP_ERR_ABSENT, "%s is there, but the kernel's driver 'nvidia' is not loaded%s",
            describe_cards(signs, cards), describe_driver(signs, driver));
    rp_hint(err,
            "'modprobe nvidia'; after an update of the kernel the driver must be built for it");
    return RP_ERR_ABSENT;
}

static rp_status fail_without_library(const struct signs *signs, const rp_error *why,
                                      rp_error *err) {
    char cards[RP_PCI_TEXT_BYTES + 32];
    char driver[64];
    if (signs->is_wsl && !signs->card && !signs->is_loaded) {
        rp_fail(err, RP_ERR_ABSENT, "Windows shares no NVIDIA GPU with this Linux: %s",
                why->message);
        rp_hint(err, "install NVIDIA's driver in Windows, none in Linux");
        return RP_ERR_ABSENT;
    }
    if (signs->card && !signs->is_bound && !signs->is_loaded) {
        rp_fail(err, RP_ERR_ABSENT,
                "%s is there, but %s, and the kernel's driver 'nvidia' is not loaded%s",
                describe_cards(signs, cards), why->message, describe_driver(signs, driver));
    } else {
        rp_fail(err, RP_ERR_ABSENT, "%s is there, but %s",
                signs->is_tegra ? "a Jetson's GPU" : describe_cards(signs, cards), why->message);
    }
    rp_hint(err, "install NVIDIA's driver; in a container: 'docker run --gpus all'");
    return RP_ERR_ABSENT;
}

static rp_status fail_without_device(const struct signs *signs, rp_error *err) {
    char cards[RP_PCI_TEXT_BYTES + 32];
    describe_cards(signs, cards);
    if (signs->control == EACCES || signs->control == EPERM) {
        rp_fail(err, RP_ERR_ABSENT, "%s is there, but this user may not open /dev/nvidiactl",
                signs->card ? cards : "NVIDIA's driver");
        rp_hint(err, "give this user the group of /dev/nvidiactl (often 'video')");
        return RP_ERR_ABSENT;
    }
    rp_fail(err, RP_ERR_ABSENT, "%s is there, but /dev/nvidiactl is not",
            signs->card ? cards : "NVIDIA's driver");
    rp_hint(err,
            "in a container: give it the GPU ('docker run --gpus all'); else 'nvidia-modprobe'");
    return RP_ERR_ABSENT;
}

static rp_status cuda_probe(struct rp_snapshot *snapshot, rp_error *err) {
    char path[RP_LIMIT_NAME_BYTES];
    struct signs signs;
    bool is_chosen = rp_library_is_chosen(snapshot->root, &rp_nvml_library) ||
                     rp_library_is_chosen(snapshot->root, &rp_cuda_library);
    rp_status status = read_signs(snapshot, &signs, err);
    if (status != RP_OK) return status;
    bool is_there = signs.card || signs.is_loaded || signs.is_tegra || signs.is_wsl ||
                    (is_this_machine(snapshot) && signs.control == 0);
    if (!is_there && !is_chosen) {
        return rp_fail(err, RP_ERR_ABSENT, "no NVIDIA GPU is on the PCI bus, and no driver of one");
    }
    rp_error why = RP_ERROR_INIT;
    status = rp_library_find(snapshot->root, &rp_cuda_library, path, &why);
    if (status == RP_ERR_ABSENT) {
        /* NVML alone can say what is there, and why CUDA is not. */
        status = rp_library_find(snapshot->root, &rp_nvml_library, path, NULL);
    }
    if (status == RP_ERR_ABSENT) return fail_without_library(&signs, &why, err);
    if (status != RP_OK) return rp_fail_no_memory(err);
    if (is_chosen || signs.is_tegra || signs.is_wsl) return RP_OK;
    if (!signs.is_bound && !signs.is_loaded) return fail_without_driver(&signs, err);
    if (signs.control != 0) return fail_without_device(&signs, err);
    return RP_OK;
}

/* --- what follows from what the driver said ------------------------------------------------ */

/*
 * What a GPU does well follows from its compute capability, times ten. int8 came as an instruction
 * (dp4a) with 6.1; 6.1 itself has fp16 at a 64th of the speed, which is not well.
 */
static const struct {
    int least;
    int most;
    const char *name;
} precisions[] = {
    {0, 999, "fp32"},  {53, 60, "fp16"}, {62, 999, "fp16"}, {80, 999, "bf16"},
    {61, 999, "int8"}, {75, 89, "int4"}, {89, 999, "fp8"},  {100, 999, "fp4"},
};

/* Of 7.5 there are GPUs with and without tensor cores; their names tell. */
static rp_answer has_tensor_cores(int capability, const char *name) {
    if (capability < 70) return RP_ANSWER_NO;
    if (capability != 75) return RP_ANSWER_YES;
    if (!name) return RP_ANSWER_UNKNOWN;
    if (strstr(name, "RTX") || strstr(name, "TITAN")) return RP_ANSWER_YES;
    if (strstr(name, "GTX 16") || strstr(name, "MX4") || strstr(name, "MX5")) return RP_ANSWER_NO;
    const char *last = strrchr(name, ' ');
    if (last && (strcmp(last, " T4") == 0 || strcmp(last, " T4G") == 0)) return RP_ANSWER_YES;
    return RP_ANSWER_UNKNOWN;
}

static rp_status derive(struct rp_snapshot *snapshot, rp_device *device,
                        rp_accelerator *accelerator, rp_error *err) {
    const char *text = accelerator->compute_capability;
    if (!text) return RP_OK;
    const char *dot = strchr(text, '.');
    uint64_t major;
    uint64_t minor;
    if (!dot || !rp_span_parse_u64((struct rp_span){text, (size_t)(dot - text)}, &major) ||
        !rp_text_parse_u64(dot + 1, &minor)) {
        return RP_OK;
    }
    int capability = (int)(major * 10 + minor);
    const char *names[sizeof precisions / sizeof precisions[0]];
    size_t count = 0;
    for (size_t i = 0; i < sizeof precisions / sizeof precisions[0]; i++) {
        if (capability >= precisions[i].least && capability <= precisions[i].most) {
            names[count++] = precisions[i].name;
        }
    }
    accelerator->has_tensor_cores = has_tensor_cores(capability, device->name);
    accelerator->precisions = rp_snapshot_texts(snapshot, names, count);
    accelerator->precision_count = count;
    return accelerator->precisions ? RP_OK : rp_fail_no_memory(err);
}

static rp_status put_text(struct rp_snapshot *snapshot, const char *text, const char **field,
                          rp_error *err) {
    const char *copy = rp_snapshot_text(snapshot, text, strlen(text));
    if (!copy) return rp_fail_no_memory(err);
    *field = copy;
    return RP_OK;
}

/* "12.4" of 12040. */
static rp_status put_version(struct rp_snapshot *snapshot, uint32_t version, const char **field,
                             rp_error *err) {
    char text[24];
    if (version == RP_UNKNOWN_U32) return RP_OK;
    snprintf(text, sizeof text, "%u.%u", version / 1000, version % 1000 / 10);
    return put_text(snapshot, text, field, err);
}

static rp_status put_numa(struct rp_snapshot *snapshot, rp_accelerator *accelerator,
                          rp_error *err) {
    const struct rp_pci_device *cards;
    size_t count;
    rp_status status = rp_pci_devices(snapshot, &cards, &count, err);
    for (size_t i = 0; status == RP_OK && accelerator->pci_address && i < count; i++) {
        if (strcmp(cards[i].address, accelerator->pci_address) != 0) continue;
        accelerator->numa_node = cards[i].numa_node;
        if (accelerator->pci_id) continue;
        char id[RP_PCI_ID_BYTES];
        status = put_text(snapshot, rp_pci_format_id(&cards[i], id), &accelerator->pci_id, err);
    }
    return status;
}

/* The memory of such a GPU is the machine's: what is left there is left here. */
static rp_status read_shared_memory(struct rp_snapshot *snapshot, rp_device *device,
                                    rp_error *err) {
    struct rp_proc_file file;
    rp_status status = rp_proc_file_read(&file, snapshot->root, "/proc/meminfo", err);
    if (status != RP_OK) return status;
    struct rp_span text = {file.bytes, file.length};
    uint64_t available = rp_proc_meminfo_bytes(text, "MemAvailable:");
    if (available != RP_UNKNOWN_U64) {
        device->memory_bytes_free =
            available < device->memory_bytes_total ? available : device->memory_bytes_total;
    }
    rp_proc_file_fini(&file);
    return RP_OK;
}

/* --- putting both witnesses together ------------------------------------------------------- */

struct answers {
    struct rp_nvml_machine nvml;
    bool has_nvml;
    rp_error nvml_why; /* when it has not */
    struct rp_cuda_devices *cuda;
    bool has_cuda;
    bool has_cuda_library;
    rp_error cuda_why;
};

/* Which of NVML's GPUs, and which slice, a device of CUDA's is; false when NVML knows none. */
static bool match(const struct answers *answers, const struct rp_cuda_device *device, size_t *gpu,
                  size_t *slice) {
    char gpu_uuid[RP_CUDA_UUID_BYTES] = "";
    char slice_uuid[RP_CUDA_UUID_BYTES] = "";
    if (device->has_uuid) {
        rp_cuda_format_uuid("GPU-", device->uuid, gpu_uuid);
        rp_cuda_format_uuid("MIG-", device->uuid, slice_uuid);
    }
    *slice = SIZE_MAX;
    for (size_t i = 0; i < answers->nvml.gpu_count; i++) {
        const rp_accelerator *each = answers->nvml.accelerators[i];
        *gpu = i;
        if (each->uuid && strcasecmp(each->uuid, gpu_uuid) == 0) return true;
        for (size_t j = 0; j < each->slice_count; j++) {
            if (!each->slices[j]->uuid || strcasecmp(each->slices[j]->uuid, slice_uuid) != 0) {
                continue;
            }
            *slice = j;
            return true;
        }
    }
    for (size_t i = 0; i < answers->nvml.gpu_count; i++) {
        const char *address = answers->nvml.accelerators[i]->pci_address;
        *gpu = i;
        if (address && strcmp(address, device->pci_address) == 0) return true;
    }
    return false;
}

/* A device cuda:N that starts as what NVML says about the GPU, or its slice; gpu SIZE_MAX: nothing.
 */
static rp_status new_device(struct rp_snapshot *snapshot, const struct answers *answers, size_t gpu,
                            size_t slice, size_t number, rp_device **out,
                            rp_accelerator **out_accelerator, rp_error *err) {
    char id[32];
    snprintf(id, sizeof id, "cuda:%zu", number);
    rp_device *device = rp_snapshot_new_device(snapshot, RP_DEVICE_CUDA, id);
    rp_accelerator *accelerator = rp_snapshot_new_accelerator(snapshot);
    if (!device || !accelerator) return rp_fail_no_memory(err);
    accelerator->type = "gpu";
    accelerator->vendor = "nvidia";
    if (gpu != SIZE_MAX) {
        const rp_device *known = answers->nvml.gpus[gpu];
        *accelerator = *answers->nvml.accelerators[gpu];
        device->name = known->name;
        device->available = known->available;
        device->reason = known->reason;
        device->memory_bytes_total = known->memory_bytes_total;
        device->memory_bytes_free = known->memory_bytes_free;
    }
    if (gpu != SIZE_MAX && accelerator->is_mig_enabled == RP_ANSWER_YES &&
        slice < accelerator->slice_count) {
        const rp_slice *part = accelerator->slices[slice];
        char name[RP_NVML_NAME_BYTES + 64];
        snprintf(name, sizeof name, "%s MIG %s", device->name ? device->name : "NVIDIA GPU",
                 part->profile ? part->profile : "slice");
        rp_status status = put_text(snapshot, name, &device->name, err);
        if (status != RP_OK) return status;
        accelerator->uuid = part->uuid;
        accelerator->utilization_percent = RP_UNKNOWN_U32; /* that of the whole says nothing */
        device->memory_bytes_total = part->memory_bytes_total;
        device->memory_bytes_free = part->memory_bytes_free;
    }
    device->accelerator = accelerator;
    *out = device;
    *out_accelerator = accelerator;
    return RP_OK;
}

/* What CUDA knows as well or better. */
static rp_status add_cuda(struct rp_snapshot *snapshot, const struct rp_cuda_device *told,
                          rp_device *device, rp_accelerator *accelerator, rp_error *err) {
    rp_status status = RP_OK;
    char text[RP_CUDA_UUID_BYTES];
    if (told->name[0] && (!device->name || accelerator->is_mig_enabled == RP_ANSWER_YES)) {
        status = put_text(snapshot, told->name, &device->name, err);
    }
    if (status == RP_OK && told->pci_address[0] && !accelerator->pci_address) {
        status = put_text(snapshot, told->pci_address, &accelerator->pci_address, err);
    }
    if (status == RP_OK && told->has_uuid && !accelerator->uuid) {
        rp_cuda_format_uuid("GPU-", told->uuid, text);
        status = put_text(snapshot, text, &accelerator->uuid, err);
    }
    if (status == RP_OK && told->capability_major > 0) {
        snprintf(text, sizeof text, "%d.%d", told->capability_major, told->capability_minor);
        status = put_text(snapshot, text, &accelerator->compute_capability, err);
    }
    accelerator->compute_unit_count = told->compute_unit_count;
    accelerator->is_integrated = told->is_integrated;
    if (accelerator->is_ecc_enabled == RP_ANSWER_UNKNOWN) {
        accelerator->is_ecc_enabled = told->is_ecc_enabled;
    }
    /* Unknown is the largest number: the less of both. */
    if (told->memory_bytes_total < device->memory_bytes_total) {
        device->memory_bytes_total = told->memory_bytes_total;
    }
    if (device->memory_bytes_free != RP_UNKNOWN_U64 &&
        device->memory_bytes_free > device->memory_bytes_total) {
        device->memory_bytes_free = device->memory_bytes_total;
    }
    bool is_shared = told->is_integrated == RP_ANSWER_YES;
    if (status == RP_OK && is_shared && device->memory_bytes_free == RP_UNKNOWN_U64) {
        status = read_shared_memory(snapshot, device, err);
    }
    return status;
}

static rp_status finish_device(struct rp_snapshot *snapshot, const struct answers *answers,
                               rp_device *device, rp_accelerator *accelerator, rp_error *err) {
    uint32_t version = answers->cuda->version != RP_UNKNOWN_U32 ? answers->cuda->version
                                                                : answers->nvml.cuda_version;
    accelerator->driver_version = answers->nvml.driver_version;
    accelerator->source = answers->has_nvml && answers->has_cuda ? "nvml, cuda"
                          : answers->has_nvml                    ? "nvml"
                                                                 : "cuda";
    rp_status status = put_version(snapshot, version, &accelerator->runtime_version, err);
    if (status == RP_OK) status = put_numa(snapshot, accelerator, err);
    if (status == RP_OK) status = derive(snapshot, device, accelerator, err);
    return status == RP_OK ? rp_snapshot_add_device(snapshot, device, err) : status;
}

/* The devices that CUDA shows. */
static rp_status add_shown(struct rp_snapshot *snapshot, const struct answers *answers,
                           bool *is_shown, rp_error *err) {
    rp_status status = RP_OK;
    for (size_t i = 0; status == RP_OK && i < answers->cuda->count; i++) {
        const struct rp_cuda_device *told = &answers->cuda->devices[i];
        rp_device *device;
        rp_accelerator *accelerator;
        size_t gpu;
        size_t slice;
        if (match(answers, told, &gpu, &slice)) {
            is_shown[gpu] = true;
        } else {
            gpu = SIZE_MAX;
        }
        status = new_device(snapshot, answers, gpu, slice, i, &device, &accelerator, err);
        if (status == RP_OK) status = add_cuda(snapshot, told, device, accelerator, err);
        if (status == RP_OK) status = finish_device(snapshot, answers, device, accelerator, err);
    }
    return status;
}

/* Without CUDA's answer: those that it would show, by the rules of its variable. */
static rp_status add_expected(struct rp_snapshot *snapshot, const struct answers *answers,
                              bool *is_shown, rp_error *err) {
    struct rp_cuda_candidate candidates[RP_NVIDIA_GPUS_MAX];
    const char *uuids[RP_NVIDIA_GPUS_MAX][RP_NVIDIA_SLICES_MAX];
    struct rp_cuda_choice choices[RP_NVIDIA_GPUS_MAX];
    bool is_cut;
    for (size_t i = 0; i < answers->nvml.gpu_count; i++) {
        const rp_accelerator *each = answers->nvml.accelerators[i];
        for (size_t j = 0; j < each->slice_count; j++) {
            uuids[i][j] = each->slices[j]->uuid;
        }
        candidates[i] = (struct rp_cuda_candidate){
            .gpu_uuid = each->uuid,
            .slice_uuids = uuids[i],
            .slice_count = each->slice_count,
            .is_divided = each->is_mig_enabled == RP_ANSWER_YES,
        };
    }
    size_t count = rp_cuda_visible(getenv(VISIBLE), candidates, answers->nvml.gpu_count, choices,
                                   RP_NVIDIA_GPUS_MAX, &is_cut);
    rp_status status = RP_OK;
    for (size_t i = 0; status == RP_OK && i < count; i++) {
        rp_device *device;
        rp_accelerator *accelerator;
        is_shown[choices[i].candidate] = true;
        status = new_device(snapshot, answers, choices[i].candidate, choices[i].slice, i, &device,
                            &accelerator, err);
        if (status == RP_OK && !answers->has_cuda && device->available) {
            device->available = false;
            status = put_text(snapshot, answers->cuda_why.message, &device->reason, err);
        }
        if (status == RP_OK) status = finish_device(snapshot, answers, device, accelerator, err);
    }
    return status;
}

static const char *name_gpu(const struct answers *answers, size_t i) {
    const char *name = answers->nvml.gpus[i]->name;
    return name ? name : "NVIDIA GPU";
}

static bool is_alike(const struct answers *answers) {
    for (size_t i = 1; i < answers->nvml.gpu_count; i++) {
        if (strcmp(name_gpu(answers, i), name_gpu(answers, 0)) != 0) return false;
    }
    return true;
}

/* A GPU that is there and is none of the devices. */
static rp_status note_hidden(struct rp_snapshot *snapshot, const struct answers *answers,
                             const bool *is_shown, rp_error *err) {
    const char *visible = getenv(VISIBLE);
    rp_status status = RP_OK;
    for (size_t i = 0; status == RP_OK && i < answers->nvml.gpu_count; i++) {
        if (is_shown[i]) continue;
        const rp_accelerator *each = answers->nvml.accelerators[i];
        const rp_device *device = answers->nvml.gpus[i];
        char why[128];
        if (device->reason) {
            snprintf(why, sizeof why, "%s", device->reason);
        } else if (each->is_mig_enabled == RP_ANSWER_YES && each->slice_count == 0) {
            snprintf(why, sizeof why, "it is divided (MIG), and has no instance yet");
        } else if (visible) {
            snprintf(why, sizeof why, VISIBLE " ('%.60s') hides it", visible);
        } else {
            snprintf(why, sizeof why, "CUDA does not show it");
        }
        status = rp_snapshot_add_note(
            snapshot, err, "%s at %s is no device here: %s", name_gpu(answers, i),
            each->pci_address ? each->pci_address : "an unknown address", why);
    }
    return status;
}

/* No device, though drivers answered. */
static rp_status fail_empty(const struct answers *answers, rp_error *err) {
    const char *visible = getenv(VISIBLE);
    size_t count = answers->nvml.gpu_count;
    if (!answers->has_nvml) {
        if (visible) {
            rp_fail(err, RP_ERR_ABSENT, "CUDA finds no GPU that it can use: " VISIBLE " is '%.60s'",
                    visible);
            rp_hint(err, "unset " VISIBLE " to use all");
            return RP_ERR_ABSENT;
        }
        return rp_fail(err, RP_ERR_ABSENT, "CUDA finds no GPU that it can use");
    }
    if (count == 0) return rp_fail(err, RP_ERR_ABSENT, "NVIDIA's driver finds no GPU");
    if (visible) {
        rp_fail(err, RP_ERR_ABSENT, VISIBLE " ('%.60s') hides %s%zu NVIDIA GPU%s: %s", visible,
                count > 1 ? "all " : "the only one of ", count, count > 1 ? "s" : "",
                name_gpu(answers, 0));
        rp_hint(err, "unset " VISIBLE " to use %s", count > 1 ? "them" : "it");
        return RP_ERR_ABSENT;
    }
    if (answers->nvml.accelerators[0]->is_mig_enabled == RP_ANSWER_YES) {
        rp_fail(err, RP_ERR_ABSENT, "%s is divided (MIG), and has no instance that CUDA shows",
                name_gpu(answers, 0));
        rp_hint(err, "'nvidia-smi mig -cgi 1g.10gb -C' makes one, or switch MIG off");
        return RP_ERR_ABSENT;
    }
    return rp_fail(err, RP_ERR_ABSENT, "CUDA shows none of %zu NVIDIA GPU%s (%s)", count,
                   count > 1 ? "s" : "", name_gpu(answers, 0));
}

/* The first release whose CUDA is 12: older ones cannot run what is built for it. */
static rp_status note_old_driver(struct rp_snapshot *snapshot, const struct answers *answers,
                                 rp_error *err) {
    uint32_t version = answers->cuda->version != RP_UNKNOWN_U32 ? answers->cuda->version
                                                                : answers->nvml.cuda_version;
    if (version == RP_UNKNOWN_U32 || version >= 12000 || snapshot->device_count == 0) return RP_OK;
    const char *driver = answers->nvml.driver_version;
    return rp_snapshot_add_note(
        snapshot, err,
        "cuda: driver %s offers CUDA %u.%u; ONNX Runtime's builds for CUDA 12 "
        "need driver 525.60.13 or newer",
        driver ? driver : "(of unknown version)", version / 1000, version % 1000 / 10);
}

static rp_status combine(struct rp_snapshot *snapshot, const struct answers *answers,
                         rp_error *err) {
    bool is_shown[RP_NVIDIA_GPUS_MAX] = {0};
    bool is_told = answers->has_cuda && !answers->cuda->is_spoilt_by_fork;
    rp_status status = is_told ? add_shown(snapshot, answers, is_shown, err)
                               : add_expected(snapshot, answers, is_shown, err);
    if (status != RP_OK) return status;
    if (snapshot->device_count == 0) return fail_empty(answers, err);
    if (!is_told && !is_alike(answers) && !getenv("CUDA_DEVICE_ORDER")) {
        status = rp_snapshot_add_note(snapshot, err,
                                      "cuda: the GPUs differ, and CUDA was not there to tell its "
                                      "order: devices may be numbered otherwise in a program");
    }
    if (status == RP_OK && !answers->has_nvml) {
        status = rp_snapshot_add_note(snapshot, err, "cuda: only CUDA answered: %s",
                                      answers->nvml_why.message);
    }
    if (status == RP_OK) status = note_hidden(snapshot, answers, is_shown, err);
    if (status == RP_OK) status = note_old_driver(snapshot, answers, err);
    return status;
}

/* From "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue ...", for want of NVML. */
static rp_status read_driver_version(struct rp_snapshot *snapshot, const char **version,
                                     rp_error *err) {
    struct rp_proc_file file;
    rp_status status =
        rp_proc_file_read_start(&file, snapshot->root, "/proc/driver/nvidia/version", err);
    struct rp_span rest = {file.bytes, file.length};
    struct rp_span line;
    struct rp_span word;
    if (status == RP_OK && rp_span_next_line(&rest, &line)) {
        while (rp_span_next_word(&line, " \t", &word)) {
            size_t digits = 0;
            size_t dots = 0;
            for (size_t i = 0; i < word.length; i++) {
                digits += isdigit((unsigned char)word.at[i]) != 0;
                dots += word.at[i] == '.';
            }
            if (dots == 0 || digits + dots != word.length || word.at[0] == '.') continue;
            *version = rp_snapshot_text(snapshot, word.at, word.length);
            if (!*version) status = rp_fail_no_memory(err);
            break;
        }
    }
    rp_proc_file_fini(&file);
    return status;
}

static rp_status ask_nvml(struct rp_snapshot *snapshot, struct answers *answers, rp_error *err) {
    char path[RP_LIMIT_NAME_BYTES];
    rp_error *why = &answers->nvml_why;
    rp_status status = rp_library_find(snapshot->root, &rp_nvml_library, path, why);
    if (status == RP_OK) status = rp_nvml_read(snapshot, path, &answers->nvml, why);
    answers->has_nvml = status == RP_OK;
    if (status == RP_ERR_MEMORY) return rp_fail_no_memory(err);
    if (answers->has_nvml && answers->nvml.driver_version) return RP_OK;
    if (!answers->has_nvml)
        answers->nvml = (struct rp_nvml_machine){.cuda_version = RP_UNKNOWN_U32};
    return read_driver_version(snapshot, &answers->nvml.driver_version, err);
}

static rp_status ask_cuda(struct rp_snapshot *snapshot, struct answers *answers, rp_error *err) {
    char path[RP_LIMIT_NAME_BYTES];
    rp_error *why = &answers->cuda_why;
    rp_status status = rp_library_find(snapshot->root, &rp_cuda_library, path, why);
    answers->has_cuda_library = status == RP_OK;
    if (status == RP_OK) status = rp_cuda_driver_read(path, answers->cuda, why);
    answers->has_cuda = status == RP_OK;
    return status == RP_ERR_MEMORY ? rp_fail_no_memory(err) : RP_OK;
}

static rp_status cuda_ask(struct rp_snapshot *snapshot, rp_error *err) {
    struct answers answers = {.nvml_why = RP_ERROR_INIT, .cuda_why = RP_ERROR_INIT};
    answers.cuda = rp_snapshot_alloc(snapshot, sizeof *answers.cuda);
    if (!answers.cuda) return rp_fail_no_memory(err);
    answers.cuda->version = RP_UNKNOWN_U32;
    rp_status status = ask_nvml(snapshot, &answers, err);
    if (status == RP_OK) status = ask_cuda(snapshot, &answers, err);
    if (status != RP_OK) return status;
    bool is_useful = answers.has_nvml || (answers.has_cuda && !answers.cuda->is_spoilt_by_fork);
    if (is_useful) return combine(snapshot, &answers, err);
    if (answers.has_cuda) {
        rp_fail(err, RP_ERR_ABSENT,
                "CUDA was in use in this process before, and can't be asked again: %s",
                answers.nvml_why.message);
        rp_hint(err, "look at the hardware before CUDA is used");
        return RP_ERR_ABSENT;
    }
    if (err) *err = answers.has_cuda_library ? answers.cuda_why : answers.nvml_why;
    return RP_ERR_ABSENT;
}

static rp_status cuda_refresh(struct rp_snapshot *snapshot, rp_device *device, rp_error *err) {
    char path[RP_LIMIT_NAME_BYTES];
    const rp_accelerator *accelerator = device->accelerator;
    rp_status status = rp_library_find(snapshot->root, &rp_nvml_library, path, err);
    bool is_shared = accelerator && accelerator->is_integrated == RP_ANSWER_YES;
    if (status == RP_ERR_ABSENT && is_shared) return read_shared_memory(snapshot, device, err);
    if (status != RP_OK) return status;
    bool was_available = device->available;
    const char *reason = device->reason;
    status = rp_nvml_refresh(snapshot, path, device, err);
    /* NVML knows of a lost GPU; that CUDA works again it does not. */
    if (status == RP_OK && !was_available && device->available) {
        device->available = false;
        device->reason = reason;
    }
    return status;
}

const struct rp_device_ops rp_device_cuda = {
    .kind = RP_DEVICE_CUDA,
    .name = "NVIDIA's driver",
    .when = RP_ASK_DRIVER,
    .probe = cuda_probe,
    .ask = cuda_ask,
    .refresh = cuda_refresh,
    .close = rp_nvml_close,
};
