/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts that an error text states: bytes, versions, operators, ... A hole of a pattern is named
 * after the fact that stands there, and the fact's type says how it is read.
 */
#ifndef RP_FAILURE_FACTS_H
#define RP_FAILURE_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rp_fact_type {
    RP_FACT_BYTES,   /* "2.00 GiB", "1455 MB", "23802932552 bytes", "23802932552": u64         */
    RP_FACT_NUMBER,  /* a whole number, perhaps with commas: i64                               */
    RP_FACT_VERSION, /* "12.4", "535.104.05", "2.1.0+cu118": text                              */
    RP_FACT_WORD,    /* no spaces in it: text                                                  */
    RP_FACT_PATH,    /* a word; between quotes or <> with spaces too: text                     */
    RP_FACT_TEXT,    /* anything up to what follows in the pattern, or the end of the line     */
};

/* constant, name in JSON and in patterns, type */
/* clang-format off */
#define RP_FACT_MAP(X)                                                        \
    X(BYTES_ASKED,      "bytes_asked",      BYTES)                            \
    X(BYTES_FREE,       "bytes_free",       BYTES)                            \
    X(BYTES_TOTAL,      "bytes_total",      BYTES)                            \
    X(BYTES_USED,       "bytes_used",       BYTES)                            \
    X(BYTES_RESERVED,   "bytes_reserved",   BYTES)   /* by an allocator, unused   */ \
    X(BYTES_LIMIT,      "bytes_limit",      BYTES)                            \
    X(MEMORY,           "memory",           WORD)    /* "device", "host", "disk", "browser": which of them is meant */ \
    X(ASKED,            "asked",            NUMBER)  /* of a limit that is no bytes: tokens, ... */ \
    X(LIMIT,            "limit",            NUMBER)                           \
    X(EXPECTED,         "expected",         TEXT)    /* of shapes and the like */ \
    X(GOT,              "got",              TEXT)                             \
    X(AXIS,             "axis",             NUMBER)                           \
    X(VERSION_FOUND,    "version_found",    VERSION)                          \
    X(VERSION_NEEDED,   "version_needed",   VERSION)                          \
    X(DRIVER_VERSION,   "driver_version",   VERSION)                          \
    X(CUDA_CODE,        "cuda_code",        NUMBER)  /* 12040                  */ \
    X(OPSET_FOUND,      "opset_found",      NUMBER)                           \
    X(OPSET_SUPPORTED,  "opset_supported",  NUMBER)                           \
    X(OPERATOR,         "operator",         WORD)                             \
    X(NODE,             "node",             WORD)                             \
    X(DTYPE,            "dtype",            WORD)                             \
    X(DTYPE_EXPECTED,   "dtype_expected",   WORD)                             \
    X(LIBRARY,          "library",          WORD)                             \
    X(SYMBOL,           "symbol",           WORD)                             \
    X(PACKAGE,          "package",          WORD)                             \
    X(PACKAGE_OTHER,    "package_other",    WORD)                             \
    X(DEVICE,           "device",           WORD)                             \
    X(DEVICE_OTHER,     "device_other",     WORD)                             \
    X(DEVICE_INDEX,     "device_index",     NUMBER)                           \
    X(DEVICE_NAME,      "device_name",      TEXT)    /* "Tesla T4"             */ \
    X(CHIP,             "chip",             WORD)    /* "sm_86", "gfx1030"     */ \
    X(CHIPS_SUPPORTED,  "chips_supported",  TEXT)                             \
    X(COMPUTE,          "compute_capability", VERSION)                        \
    X(COMPUTE_NEEDED,   "compute_capability_needed", VERSION)                 \
    X(BACKEND,          "backend",          WORD)    /* execution provider, ... */ \
    X(BACKENDS,         "backends_available", TEXT)                           \
    X(FEATURE,          "feature",          WORD)                             \
    X(ARCHITECTURE,     "architecture",     WORD)    /* of a model             */ \
    X(MODEL,            "model",            WORD)    /* a name or repository   */ \
    X(TENSOR,           "tensor",           WORD)                             \
    X(FILE,             "file",             PATH)                             \
    X(FOLDER,           "folder",           PATH)                             \
    X(FILE_OFFSET,      "file_offset",      NUMBER)                           \
    X(HOST,             "host",             WORD)    /* of a network           */ \
    X(HTTP_STATUS,      "http_status",      NUMBER)                           \
    X(PROCESS,          "process",          WORD)    /* name of one            */ \
    X(PID,              "pid",              NUMBER)                           \
    X(SIGNAL,           "signal",           WORD)    /* "SIGKILL", "11"        */ \
    X(EXIT_CODE,        "exit_code",        NUMBER)                           \
    X(ERROR_CODE,       "error_code",       WORD)    /* the library's own: "CUDNN_STATUS_...", "804" */ \
    X(ERRNO,            "errno",            NUMBER)                           \
    X(RANK,             "rank",             NUMBER)                           \
    X(VALUE,            "value",            TEXT)    /* out of range           */ \
    X(BYTES_RESERVED_TOTAL, "bytes_reserved_total", BYTES) /* by an allocator, used or not */ \
    X(BYTES_PROCESS,    "bytes_process",    BYTES)   /* all that this process has */ \
    X(BYTES_OTHERS,     "bytes_others",     BYTES)   /* what somebody else has */ \
    X(CUDA_CODE_RUNTIME, "cuda_code_runtime", NUMBER) /* 12040: of the runtime; cuda_code is the driver's */ \
    X(CUDA_CODE_NEEDED, "cuda_code_needed", NUMBER)                           \
    X(CUDNN_CODE,       "cudnn_code",       NUMBER)  /* 8907, 90100            */ \
    X(CUDNN_CODE_NEEDED, "cudnn_code_needed", NUMBER)                         \
    X(CUDA_VERSION,     "cuda_version",     VERSION) /* of the runtime or toolkit */ \
    X(CUDA_NEEDED,      "cuda_needed",      VERSION)                          \
    X(CUDA_MAX,         "cuda_max",         VERSION) /* the newest that the driver runs */ \
    X(DRIVER_MIN,       "driver_min",       VERSION) /* the least that runs the CUDA that is meant */ \
    X(DRIVER_MIN_WINDOWS, "driver_min_windows", VERSION)                      \
    X(DRIVER_MIN_COMPATIBLE, "driver_min_compatible", VERSION) /* the least of that major CUDA */ \
    X(CUDA_ARCH,        "cuda_arch",        NUMBER)  /* 520: sm_52             */ \
    X(CHIP_NAME,        "chip_name",        TEXT)    /* "Ampere: RTX 30, A10"  */ \
    X(CHIP_NAME_NEEDED, "chip_name_needed", TEXT)                             \
    X(CHIP_CUDA_FIRST,  "chip_cuda_first",  VERSION) /* CUDA that knows the chip */ \
    X(CHIP_CUDA_LAST,   "chip_cuda_last",   VERSION) /* and the last that does */ \
    X(HSA_OVERRIDE,     "hsa_override",     VERSION) /* of HSA_OVERRIDE_GFX_VERSION */ \
    X(IR_VERSION,       "ir_version",       NUMBER)  /* of an ONNX file        */ \
    X(IR_SUPPORTED,     "ir_version_supported", NUMBER)                       \
    X(ONNX_NEEDED,      "onnx_needed",      VERSION)                          \
    X(ONNXRUNTIME_NEEDED, "onnxruntime_needed", VERSION)                      \
    X(GLIBC_NEEDED,     "glibc_needed",     VERSION)                          \
    X(GLIBCXX_NEEDED,   "glibcxx_needed",   VERSION) /* "3.4.30"               */ \
    X(CXXABI_NEEDED,    "cxxabi_needed",    VERSION) /* "1.3.13"               */ \
    X(GCC_NEEDED,       "gcc_needed",       VERSION)                          \
    X(SYSTEMS_NEEDED,   "systems_needed",   TEXT)    /* "Ubuntu 22.04, Debian 12" and newer */ \
    X(CUDA_ERROR,       "cuda_error",       NUMBER)  /* numbers of a library that is known */ \
    X(HIP_ERROR,        "hip_error",        NUMBER)                           \
    X(HSA_ERROR,        "hsa_error",        NUMBER)                           \
    X(NCCL_ERROR,       "nccl_error",       NUMBER)                           \
    X(CUDNN_ERROR,      "cudnn_error",      NUMBER)                           \
    X(CUBLAS_ERROR,     "cublas_error",     NUMBER)                           \
    X(OPENCL_ERROR,     "opencl_error",     NUMBER)                           \
    X(VULKAN_ERROR,     "vulkan_error",     NUMBER)                           \
    X(LEVEL_ZERO_ERROR, "level_zero_error", NUMBER)                           \
    X(QNN_ERROR,        "qnn_error",        NUMBER)                           \
    X(WINDOWS_ERROR,    "windows_error",    NUMBER)  /* 126, 0x887A0005, 0xC0000005 */ \
    X(XID,              "xid",              NUMBER)  /* of NVIDIA's kernel module */ \
    X(XID_TEXT,         "xid_text",         TEXT)                             \
    X(ERROR_CODE_NAME,  "error_code_name",  WORD)    /* "cudaErrorNoDevice", "STATUS_DLL_NOT_FOUND" */ \
    X(ERRNO_NAME,       "errno_name",       WORD)    /* "ENOMEM"               */ \
    X(HTTP_TEXT,        "http_status_text", TEXT)    /* "Not Found"            */
/* clang-format on */

enum rp_fact_name {
#define RP_FACT_ENUM(constant, name, type) RP_FACT_NAME_##constant,
    RP_FACT_MAP(RP_FACT_ENUM)
#undef RP_FACT_ENUM
        RP_FACT_NAME_COUNT,
    RP_FACT_NAME_NONE = -1,
};

enum { RP_FACT_TEXT_MAX = 200, RP_FACTS_KEPT = 48 };

/* A fact and where it stands in the original input. */
struct rp_fact {
    enum rp_fact_name name;
    bool is_derived; /* by decoding another: the span is that one's */
    uint64_t number; /* of BYTES and NUMBER (two's complement)      */
    char text[RP_FACT_TEXT_MAX];
    uint64_t start; /* bytes from the beginning of the input       */
    uint64_t end;
    int weight; /* of the line that it stood on: facts beside the cause win */
};

struct rp_facts {
    struct rp_fact rows[RP_FACTS_KEPT];
    size_t count;
};

const char *rp_fact_name_text(enum rp_fact_name name);
enum rp_fact_type rp_fact_type_of(enum rp_fact_name name);
enum rp_fact_name rp_fact_name_of_text(const char *text, size_t length);

/*
 * Read a BYTES, NUMBER or VERSION that begins at `at`; the others are cut out by the pattern.
 * Returns where it ends, NULL when none begins there. Bytes keep their unit: "MB" is a million,
 * "MiB" 2^20; a bare number is bytes. A figure that does not fit is none.
 */
const char *rp_fact_read(enum rp_fact_type type, const char *at, const char *end, uint64_t *number);

/* Where a path that begins at `at` ends, as far as that can be told without quotes: a space is part
 * of it where another slash follows before the next ("C:\Program Files\a.dll"). At most 300 bytes.
 */
size_t rp_fact_path_end(const char *line, size_t length, size_t at);

/* Add a fact; of the same name and value the heavier stays. Full: the lightest goes. What cannot be
 * (HTTP status 5, signal "handler") is not taken. */
void rp_facts_add(struct rp_facts *facts, const struct rp_fact *fact);

/* Drop what was read of that name at that place. */
void rp_facts_remove(struct rp_facts *facts, enum rp_fact_name name, uint64_t start);

/* The weightiest of that name, what was read before what was derived (of equals the later one),
 * NULL: none. */
const struct rp_fact *rp_facts_find(const struct rp_facts *facts, enum rp_fact_name name);

/*
 * Files, folders and libraries that a line names, whatever else it says: "C:\models\a.gguf",
 * "libcudnn.so.8"; "Killed" alone on its line. Source code, links and nodes of graphs are none. For
 * lines that say what happened and whose rule reads no name.
 */
typedef void rp_facts_take_fn(enum rp_fact_name name, size_t start, size_t end, void *user);
void rp_facts_scan_names(const char *line, size_t length, rp_facts_take_fn *take, void *user);

/*
 * What follows from the facts that were read: CUDA 12040 is 12.4, a driver's version the newest
 * CUDA it runs, a compute capability its chip, exit code 137 a signal, errno 12 its name, ...
 */
void rp_facts_decode(struct rp_facts *facts);

#endif
