/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What this machine has: devices, their memory, and why other devices are absent.
 *
 * Detection yields a snapshot: immutable, shared by counting, with a generation that grows when a
 * newer one takes its place. Everything that is read from a snapshot (devices, names, reasons) is
 * borrowed from it and lives until the last share is released. Reading needs no lock.
 *
 * A figure that is not known is RP_UNKNOWN_U64 or RP_UNKNOWN_U32, a text NULL, never zero or "".
 * Memory is in bytes, durations are in milliseconds.
 */
#ifndef RESOURCEPOOL_HARDWARE_H
#define RESOURCEPOOL_HARDWARE_H

#include <resourcepool/api.h>
#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Not known. No real figure comes near. */
#define RP_UNKNOWN_U64 UINT64_MAX
#define RP_UNKNOWN_U32 UINT32_MAX

/*
 * One row per kind of device: constant, number, name. Numbers never change their meaning; a new
 * kind goes last.
 */
/* clang-format off */
#define RP_DEVICE_KIND_MAP(X)     \
    X(CPU,      0, "cpu")         \
    X(CUDA,     1, "cuda")        \
    X(ROCM,     2, "rocm")        \
    X(MPS,      3, "mps")         \
    X(OPENVINO, 4, "openvino")    \
    X(QUALCOMM, 5, "qualcomm")    \
    X(TPU,      6, "tpu")         \
    X(WEBNN,    7, "webnn")       \
    X(WEBGPU,   8, "webgpu")
/* clang-format on */

/** Kinds of device. */
typedef enum rp_device_kind {
#define RP_DEVICE_KIND_ENUM(constant, number, name) RP_DEVICE_##constant = number,
    RP_DEVICE_KIND_MAP(RP_DEVICE_KIND_ENUM)
#undef RP_DEVICE_KIND_ENUM
} rp_device_kind;

/** A part of the machine's memory that is near to some of its processors. */
typedef struct rp_numa_node {
    size_t size;                 /* of this struct, as the library was built */
    uint32_t index;              /* the operating system's number            */
    uint64_t memory_bytes_total; /* RP_UNKNOWN_U64 when not known            */
    const char *processors;      /* those near it, as a list: "0-55"; NULL   */
} rp_numa_node;

/** What only the processor has. A count that is not known is RP_UNKNOWN_U32. */
typedef struct rp_cpu {
    size_t size;                 /* of this struct, as the library was built                      */
    const char *architecture;    /* "x86_64", "aarch64", as uname says it; NULL when not known    */
    const char *const *features; /* "avx2", "asimd", ...; NULL when not known                   */
    size_t feature_count;
    uint32_t logical_count;  /* processors of the machine that are online, allowed or not      */
    uint32_t physical_count; /* their cores                                                    */
    uint32_t socket_count;   /* their packages                                                 */
    uint32_t numa_count;     /* nodes with memory                                              */
    const rp_numa_node *const *numa_nodes; /* those of which more is known                     */
    size_t numa_node_count;                /* how many stand in numa_nodes                     */
    const char *affinity;    /* processors this process may use, as a list: "0-3,8"; NULL      */
    uint32_t affinity_count; /* how many these are                                             */
    uint64_t memory_limit_bytes;     /* the most memory this process may use                   */
    const char *memory_limit_source; /* whose limit it is: "machine", "cgroup v2 /a/b",
                                        "cgroup v2 /a/b (memory.high)", "cgroup v1 /a/b",
                                        "cgroup v1 /a/b (above)": of a group out of sight      */
    uint64_t machine_memory_bytes_total; /* of the whole machine, whatever the limit           */
} rp_cpu;

/** Yes, no, or not known. */
typedef enum rp_answer {
    RP_ANSWER_UNKNOWN = 0,
    RP_ANSWER_NO = 1,
    RP_ANSWER_YES = 2,
} rp_answer;

/** A part of a GPU that is used like a GPU of its own: an instance of NVIDIA's MIG. */
typedef struct rp_slice {
    size_t size;         /* of this struct, as the library was built            */
    const char *uuid;    /* "MIG-...": what CUDA_VISIBLE_DEVICES takes          */
    const char *profile; /* "1g.10gb"                                           */
    uint64_t memory_bytes_total;
    uint64_t memory_bytes_free;
} rp_slice;

/** A process that holds memory on a device. */
typedef struct rp_device_process {
    size_t size;      /* of this struct, as the library was built               */
    uint32_t pid;     /* as the driver says; of another namespace in a container */
    const char *name; /* NULL when it cannot be seen                            */
    uint64_t memory_bytes;
} rp_device_process;

/** What an accelerator tells: a GPU, an NPU, a TPU, a browser. Only what its driver said. */
typedef struct rp_accelerator {
    size_t size;                 /* of this struct, as the library was built                      */
    const char *type;            /* "gpu", "npu", "tpu", "cpu" (a runtime's own processor device) */
    const char *vendor;          /* "nvidia", "amd", "intel", "apple", "qualcomm", "google", ...  */
    const char *uuid;            /* "GPU-...": the maker's, the same on every start               */
    const char *pci_address;     /* "0000:65:00.0"                                                */
    const char *pci_id;          /* "10de:2330": maker and device                                 */
    uint32_t numa_node;          /* whose memory is near                                          */
    const char *driver_version;  /* of the kernel's driver: "550.54.15"                           */
    const char *runtime_version; /* of what programs call: CUDA "12.4", HIP "6.2", OpenVINO     */
    const char *compute_capability; /* NVIDIA's: "9.0" */
    const char *gfx_target;        /* AMD's: "gfx942"                                             */
    uint32_t compute_unit_count;   /* multiprocessors, compute units, cores                       */
    rp_answer has_tensor_cores;    /* units that multiply matrices                                */
    const char *const *precisions; /* "fp32", "fp16", "bf16", "int8", "fp8": what it does well    */
    size_t precision_count;
    rp_answer is_integrated;      /* its memory is the processor's                               */
    uint32_t utilization_percent; /* lately                                                      */
    uint32_t temperature_celsius;
    rp_answer is_ecc_enabled;
    uint64_t ecc_error_count;            /* that could not be corrected                          */
    const char *const *throttle_reasons; /* why its clock is held back; none: it is not          */
    size_t throttle_reason_count;        /* with NULL before it: not known                       */
    rp_answer is_mig_enabled;
    const rp_slice *const *slices; /* all of them: the device itself stands for one              */
    size_t slice_count;
    const rp_device_process *const *processes; /* NULL: not known                                */
    size_t process_count;
    const char *source; /* who said it: "nvml", "nvml, cuda", "sysfs", "level-zero"             */
} rp_accelerator;

/** One device. New fields go last: look at `size` before reading one that came later. */
typedef struct rp_device {
    size_t size;    /* of this struct, as the library was built                               */
    const char *id; /* "cpu", "cuda:0": the kind, then what tells devices of a kind apart     */
    rp_device_kind kind;
    const char *name; /* the maker's, for people; NULL when not known                        */
    bool available;   /* can be used now                                                     */
    bool simulated;   /* does not exist here: comes from a file or a recorded machine        */
    uint64_t memory_bytes_total; /* what this process could use at most: cgroup limits count   */
    uint64_t memory_bytes_free;  /* what it could still take, reclaimable file cache included  */
    const rp_cpu *cpu;           /* NULL unless kind is RP_DEVICE_CPU; may be NULL even then   */
    const char *reason;          /* why it is not available; NULL when it is                   */
    const rp_accelerator *accelerator; /* NULL for the processor, and where nothing more is known */
} rp_device;

/** A kind of device that is not in the snapshot, and why. */
typedef struct rp_absence {
    size_t size; /* of this struct, as the library was built */
    rp_device_kind kind;
    const char *reason;
    bool unprobed;    /* nobody looked yet, because looking is slow: it may be there         */
    const char *hint; /* what would bring it, or how to look; NULL when nothing would        */
} rp_absence;

/** What detection saw. Opaque, immutable, shared by counting. */
typedef struct rp_snapshot rp_snapshot;

/** How to detect. Start from RP_HARDWARE_OPTIONS_INIT; what is zero means the default. */
typedef struct rp_hardware_options {
    size_t size; /* sizeof(rp_hardware_options) */
    /**
     * A folder to read in place of "/": proc/ and sys/ of a recorded machine. Its devices are
     * marked simulated. NULL or "/": this machine.
     */
    const char *root;
    /**
     * A snapshot file to be that machine. NULL: the environment variable RESOURCE_POOL_SIMULATE
     * decides, unless root is given. Not together with root.
     */
    const char *simulate;
    /**
     * For rp_hardware_refresh(): look for devices anew, not only at what moves on those that are
     * known. rp_hardware_detect() always does. What is in the cache file is not believed.
     */
    bool refresh;
    /** Also ask what takes longer: browsers and runtimes that list their devices slowly. */
    bool all;
    /**
     * The file that keeps what drivers and slow runtimes said (never free memory). NULL:
     * HARDWARE_DETECTION_CACHE, else hardware.json in the user's cache folder; "off": none.
     */
    const char *cache;
} rp_hardware_options;

#define RP_HARDWARE_OPTIONS_INIT                                                                   \
    { sizeof(rp_hardware_options), NULL, NULL, false, false, NULL }

RP_BEGIN_DECLS

/** "cpu", "cuda", ...; NULL for a number that is no kind. Static storage. */
RP_API const char *rp_device_kind_name(rp_device_kind kind);

/** The kind of that name. RP_ERR_NOT_FOUND: there is none; the error lists those there are. */
RP_API RP_MUST_CHECK rp_status rp_device_kind_parse(const char *name, rp_device_kind *kind,
                                                    rp_error *err);

/**
 * Look at the machine now, afresh, for this caller alone. Its generation is 1.
 *
 * options   borrowed for the call; NULL means defaults.
 * snapshot  on RP_OK owns one share: give it back with rp_snapshot_release().
 * Takes a few milliseconds where no driver of an accelerator is installed. Drivers that are there
 * are asked in child processes, all at once, for at most 2 s (20 s with `all`): one that hangs or
 * crashes is a reason in the snapshot. Creates no context on a device. Any thread. What the machine
 * does not tell is unknown in the snapshot, not an error.
 * RP_ERR_NOT_FOUND, RP_ERR_DATA, RP_ERR_LIMIT, RP_ERR_UNSUPPORTED, RP_ERR_IO: a file to simulate
 * is missing or damaged; the real machine never stands in for it.
 */
RP_API RP_MUST_CHECK rp_status rp_hardware_detect(const rp_hardware_options *options,
                                                  const rp_snapshot **snapshot, rp_error *err);

/**
 * The snapshot of the whole process: detected at the first call (as rp_hardware_detect() with
 * defaults, once, however many threads ask), a share of the same one afterwards, at the cost of an
 * uncontended mutex. Release the share. Any thread; also in a child after fork().
 */
RP_API RP_MUST_CHECK rp_status rp_hardware_snapshot(const rp_snapshot **snapshot, rp_error *err);

/**
 * Replace the snapshot of the process by one of the next generation. Who holds the old one keeps
 * it.
 *
 * options   NULL: look again only at what moves (free memory, limits, affinity) on the devices that
 *           are known. With `refresh` set, or a root or file to simulate, everything anew.
 * snapshot  NULL, or on RP_OK owns one share of the new one.
 * On failure the old one stays. Readers are not held up meanwhile. Any thread.
 */
RP_API RP_MUST_CHECK rp_status rp_hardware_refresh(const rp_hardware_options *options,
                                                   const rp_snapshot **snapshot, rp_error *err);

/**
 * The processor time that control groups leave this process, in processors: 2.5 is two and a half.
 * Negative: no group limits it, or that cannot be told.
 *
 * root          NULL, or the folder that stands for "/".
 * source        NULL, or gets whose limit it is: "cgroup v2 /a/b"; "" without one.
 * Reads a few files. Any thread.
 */
RP_API double rp_hardware_quota(const char *root, char *source, size_t source_bytes);

/** Take one more share; returns its argument, which must not be NULL. Any thread. */
RP_API const rp_snapshot *rp_snapshot_acquire(const rp_snapshot *snapshot);

/** Give one share back; the last one frees. Accepts NULL. Any thread. */
RP_API void rp_snapshot_release(const rp_snapshot *snapshot);

/** Grows by one each time the snapshot of the process is replaced. */
RP_API uint64_t rp_snapshot_generation(const rp_snapshot *snapshot);

/** Whether this is not the machine the process runs on. */
RP_API bool rp_snapshot_is_simulated(const rp_snapshot *snapshot);

/**
 * How long the fast look took, which starts no process and opens no vendor's library, in
 * milliseconds; negative when not known.
 */
RP_API double rp_snapshot_detect_ms(const rp_snapshot *snapshot);

/**
 * How long looking for one kind took, in milliseconds, with the time to ask its driver; negative
 * when it was not looked for. Drivers are asked at the same time: the sum says nothing.
 */
RP_API double rp_snapshot_probe_ms(const rp_snapshot *snapshot, rp_device_kind kind);

/** How many devices there are. */
RP_API size_t rp_snapshot_device_count(const rp_snapshot *snapshot);

/** One of them, borrowed; NULL beyond the last. */
RP_API const rp_device *rp_snapshot_device(const rp_snapshot *snapshot, size_t index);

/**
 * The device of that id, borrowed; NULL when there is none. A kind alone ("cuda") is the first
 * device of it; "cpu:0" is "cpu" as well.
 */
RP_API const rp_device *rp_snapshot_find_device(const rp_snapshot *snapshot, const char *id);

/** How many absences are recorded. */
RP_API size_t rp_snapshot_absent_count(const rp_snapshot *snapshot);

/** One of them, borrowed; NULL beyond the last. */
RP_API const rp_absence *rp_snapshot_absent(const rp_snapshot *snapshot, size_t index);

/** How many notes there are: what was met and passed over, such as a damaged file under /proc. */
RP_API size_t rp_snapshot_note_count(const rp_snapshot *snapshot);

/** One of them, a sentence, borrowed; NULL beyond the last. */
RP_API const char *rp_snapshot_note(const rp_snapshot *snapshot, size_t index);

/**
 * The snapshot as JSON (docs/snapshot.md), the same that rp_snapshot_from_json() and
 * RESOURCE_POOL_SIMULATE read.
 *
 * indent  spaces per level, 0 to 8; 0 puts all on one line.
 * json    on RP_OK a text of the caller's: give it back with rp_string_free().
 */
RP_API RP_MUST_CHECK rp_status rp_snapshot_to_json(const rp_snapshot *snapshot, int indent,
                                                   char **json, rp_error *err);

/**
 * Read a snapshot from JSON. Keys that are not known are ignored; a wrong type, a duplicate key or
 * id, or a text with control characters is RP_ERR_DATA and the message names where it stands
 * ("devices[2].memory_bytes_total: a string, not a whole number").
 *
 * json         need not end in NUL; `length` bytes of UTF-8.
 * source_name  what to call it in messages, such as the path; NULL: "snapshot".
 * snapshot     on RP_OK owns one share.
 * RP_ERR_LIMIT: larger than any snapshot. RP_ERR_UNSUPPORTED: of another version of the schema.
 */
RP_API RP_MUST_CHECK rp_status rp_snapshot_from_json(const char *json, size_t length,
                                                     const char *source_name,
                                                     const rp_snapshot **snapshot, rp_error *err);

RP_END_DECLS

#endif
