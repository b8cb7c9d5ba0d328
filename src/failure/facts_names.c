/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names in a line that no pattern knows: a message that was never seen before still says which file
 * it is about. Only what cannot be anything else is taken: a library by its ending, a path by its
 * drive or by the folder at its root, a file by the ending of a model's.
 */
#include "failure/facts.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

struct name {
    const char *at;
    size_t length;
};

static bool is_between(char c) {
    return c == '\0' || isspace((unsigned char)c) || strchr("'\"`<>,;()[]{}|=", c) != NULL;
}

static bool is_slash(char c) {
    return c == '/' || c == '\\';
}

static bool is_one_of(const char *at, size_t length, const char *const *words, size_t count) {
    int first = length > 0 ? tolower((unsigned char)at[0]) : 0;
    for (size_t i = 0; i < count; i++) {
        if (tolower((unsigned char)words[i][0]) != first || strlen(words[i]) != length) continue;
        if (strncasecmp(at, words[i], length) == 0) return true;
    }
    return false;
}

/* Behind the last slash. */
static struct name last_part(struct name name) {
    size_t from = name.length;
    while (from > 0 && !is_slash(name.at[from - 1])) {
        from--;
    }
    return (struct name){name.at + from, name.length - from};
}

/* Behind the last point, of length 0 where none is or nothing stands before it. */
static struct name ending(struct name name) {
    struct name part = last_part(name);
    for (size_t i = part.length; i-- > 1;) {
        if (part.at[i] == '.') return (struct name){part.at + i + 1, part.length - i - 1};
    }
    return (struct name){part.at, 0};
}

static bool is_source(struct name name) {
    static const char *const endings[] = {"py", "pyx",  "pxi", "pyc",   "c",  "cc",    "cpp",
                                          "cu", "cuh",  "h",   "hpp",   "hh", "mm",    "rs",
                                          "go", "js",   "mjs", "cjs",   "ts", "tsx",   "jsx",
                                          "cs", "java", "kt",  "swift", "sh", "ipynb", "html"};
    struct name end = ending(name);
    return is_one_of(end.at, end.length, endings, COUNT(endings));
}

/* "libcudnn.so.8", "c10.dll", "libomp.dylib" */
static bool is_library(struct name name) {
    static const char *const endings[] = {"so", "dll", "dylib"};
    struct name part = last_part(name);
    struct name end = ending(name);
    if (end.length == 0) return false;
    if (is_one_of(end.at, end.length, endings, COUNT(endings))) return true;
    for (size_t i = 1; i + 4 < part.length; i++) {
        if (memcmp(part.at + i, ".so.", 4) != 0) continue;
        size_t from = i + 4;
        while (from < part.length &&
               (isdigit((unsigned char)part.at[from]) || part.at[from] == '.')) {
            from++;
        }
        return from == part.length;
    }
    return false;
}

static bool is_model_file(struct name name) {
    if (name.length == 7 && strncasecmp(name.at, "ai.onnx", 7) == 0) return false; /* its domain */
    static const char *const endings[] = {
        "gguf",      "ggml", "bin",      "pt",   "pth",    "ckpt",      "safetensors", "onnx",
        "ort",       "h5",   "pb",       "npz",  "npy",    "tflite",    "mlmodelc",    "mlmodel",
        "mlpackage", "json", "whl",      "dlc",  "zip",    "gz",        "tar",         "txt",
        "xml",       "pkl",  "pdparams", "trt",  "hef",    "rknn",      "t7",          "pte",
        "ptl",       "nemo", "prototxt", "yaml", "kmodel", "caffemodel"};
    /* Parts of names in code too: "self.model", "tf.keras". */
    static const char *const words[] = {"engine", "plan", "model", "keras", "msgpack", "om", "mnn"};
    struct name end = ending(name);
    if (is_one_of(end.at, end.length, endings, COUNT(endings))) return true;
    bool has_slash = memchr(name.at, '/', name.length) || memchr(name.at, '\\', name.length);
    return has_slash && is_one_of(end.at, end.length, words, COUNT(words));
}

static bool has_drive(struct name name) {
    return name.length > 3 && isalpha((unsigned char)name.at[0]) && name.at[1] == ':' &&
           is_slash(name.at[2]);
}

/* A graph's nodes are "/encoder/layer.0/Add": a path is known by where it begins. */
static bool has_root(struct name name) {
    static const char *const roots[] = {
        "home",    "usr",  "opt",     "mnt",          "data",      "tmp",    "dev",     "sys",
        "var",     "root", "users",   "content",      "workspace", "kaggle", "app",     "srv",
        "media",   "run",  "proc",    "lib",          "lib64",     "etc",    "private", "volumes",
        "scratch", "work", "library", "applications", "cache",     "models", "nvme"};
    size_t from = 0;
    if (name.length > 2 && name.at[0] == '~' && name.at[1] == '/') return true;
    while (from < name.length && name.at[from] == '.') {
        from++;
    }
    if (from > 0 && from < 3) return from < name.length && is_slash(name.at[from]);
    if (name.at[0] != '/') return false;
    size_t length = 1;
    while (length < name.length && name.at[length] != '/') {
        length++;
    }
    return length < name.length && is_one_of(name.at + 1, length - 1, roots, COUNT(roots));
}

/* "https://...", "/opt/a:/opt/b", "$HOME/a": no one file. */
static bool has_many(struct name name) {
    for (size_t i = 2; i + 1 < name.length; i++) {
        if (name.at[i] == ':' && (is_slash(name.at[i + 1]) || name.at[i + 1] == '$')) return true;
    }
    return memchr(name.at, '$', name.length) != NULL;
}

/* "message.rs:231:25": what stands before the numbers. */
static struct name without_place(struct name name) {
    for (;;) {
        size_t length = name.length;
        while (length > 0 && isdigit((unsigned char)name.at[length - 1])) {
            length--;
        }
        bool is_place = length > 1 && length < name.length && name.at[length - 1] == ':';
        if (is_place) name.length = length - 1;
        size_t trimmed = name.length;
        while (trimmed > 0 && strchr(".:!?", name.at[trimmed - 1])) {
            trimmed--;
        }
        if (!is_place && trimmed == name.length) return name;
        name.length = trimmed;
    }
}

/* "/usr/bin/python", "/dev/kfd" */
static bool is_program(struct name name) {
    struct name part = last_part(name);
    size_t before = (size_t)(part.at - name.at);
    return (before >= 5 && memcmp(part.at - 5, "/bin/", 5) == 0) ||
           (name.length > 5 && memcmp(name.at, "/dev/", 5) == 0);
}

/* "CUDNN_STATUS_ALLOC_FAILED", "hipErrorNoBinaryForGpu": what a library calls its failure. */
static bool is_code(struct name name) {
    static const char *const beginnings[] = {
        "CUDNN_STATUS_",    "CUBLAS_STATUS_", "CUSOLVER_STATUS_", "CUSPARSE_STATUS_",
        "CUFFT_",           "CUDA_ERROR_",    "cudaError",        "hipError",
        "HIP_ERROR_",       "HSA_STATUS_",    "VK_ERROR_",        "ZE_RESULT_ERROR_",
        "UR_RESULT_ERROR_", "PI_ERROR_",      "CL_OUT_OF_",       "CL_INVALID_",
        "CL_MEM_OBJECT_",   "DXGI_ERROR_",    "MIOPEN_STATUS_",   "miopenStatus",
        "rocblas_status_",  "QNN_",           "ncclSystemError",  "ncclRemoteError"};
    for (size_t i = 0; i < COUNT(beginnings); i++) {
        if (name.at[0] != beginnings[i][0]) continue;
        size_t length = strlen(beginnings[i]);
        if (name.length < length || memcmp(name.at, beginnings[i], length) != 0) continue;
        for (size_t j = 0; j < name.length; j++) {
            if (!isalnum((unsigned char)name.at[j]) && name.at[j] != '_') return false;
        }
        return name.length > length || name.at[0] == 'n';
    }
    return false;
}

static bool is_success(struct name name) {
    return name.length > 8 && strncasecmp(name.at + name.length - 7, "success", 7) == 0;
}

static enum rp_fact_name kind_of(struct name name) {
    if (name.length < 4 || has_many(name) || is_source(name)) return RP_FACT_NAME_NONE;
    if (is_library(name)) return RP_FACT_NAME_LIBRARY;
    if (is_code(name)) return is_success(name) ? RP_FACT_NAME_NONE : RP_FACT_NAME_ERROR_CODE;
    bool is_path = has_drive(name) || has_root(name);
    if (is_model_file(name)) return RP_FACT_NAME_FILE;
    if (!is_path) return RP_FACT_NAME_NONE;
    bool is_file = ending(name).length > 0 || is_program(name);
    return is_file ? RP_FACT_NAME_FILE : RP_FACT_NAME_FOLDER;
}

/* Where the quote at `at` is closed, SIZE_MAX: it is none. Only a path has spaces in it. */
static size_t end_of_quote(const char *line, size_t length, size_t at) {
    enum { QUOTED_MAX = 300 };
    char quote = line[at];
    if (quote == '<') quote = '>';
    if (!strchr("'\"`>", quote) || (at > 0 && isalnum((unsigned char)line[at - 1]))) {
        return SIZE_MAX;
    }
    struct name rest = {line + at + 1, length - at - 1};
    bool is_path = has_drive(rest) || has_root(rest);
    for (size_t end = at + 1; end < length && end - at < QUOTED_MAX; end++) {
        if (line[end] == quote) return end > at + 1 ? end : SIZE_MAX;
        if (!is_path && isspace((unsigned char)line[end])) return SIZE_MAX;
    }
    return SIZE_MAX;
}

/* A shell's last word on a program, with nothing else on the line. */
static bool scan_signal(const char *line, size_t length, rp_facts_take_fn *take, void *user) {
    static const char *const words[] = {"Killed", "Aborted", "Terminated"};
    size_t from = 0;
    size_t end = 0;
    while (from < length && isspace((unsigned char)line[from])) {
        from++;
    }
    for (end = from; end < length && isalpha((unsigned char)line[end]);) {
        end++;
    }
    if (!is_one_of(line + from, end - from, words, COUNT(words))) return false;
    /* "Aborted (core dumped)", in any language */
    size_t rest = end;
    while (rest < length && (isspace((unsigned char)line[rest]) || line[rest] == '.')) {
        rest++;
    }
    if (rest < length && !(rest > end && line[rest] == '(')) return false;
    take(RP_FACT_NAME_SIGNAL, from, end, user);
    return true;
}

void rp_facts_scan_names(const char *line, size_t length, rp_facts_take_fn *take, void *user) {
    size_t at = scan_signal(line, length, take, user) ? length : 0;
    while (at < length) {
        size_t quoted = end_of_quote(line, length, at);
        size_t from = at + (quoted != SIZE_MAX);
        size_t end = quoted;
        if (quoted == SIZE_MAX) {
            if (is_between(line[at])) {
                at++;
                continue;
            }
            end = rp_fact_path_end(line, length, at);
            for (size_t i = at; i < end; i++) {
                if (line[i] == '=') end = i;
            }
            if (end == at) end++;
        }
        struct name name = without_place((struct name){line + from, end - from});
        bool is_call = end < length && line[end] == '(';
        bool is_cut = at > 0 && line[at - 1] == ')'; /* "(…)ef86/config.json" of a progress bar */
        enum rp_fact_name kind = is_call || is_cut ? RP_FACT_NAME_NONE : kind_of(name);
        if (kind != RP_FACT_NAME_NONE) take(kind, from, from + name.length, user);
        at = end + (quoted != SIZE_MAX);
    }
}
