/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One file for a bug report: what failed, what the machine has, which versions and settings were at
 * work. Settings come from a list of names: an environment is full of what is nobody's business.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "failure/new_file.h"
#include "failure/report.h"

#include <errno.h>
#include <fcntl.h>
#include <resourcepool/model.h>
#include <resourcepool/version.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum {
    BUNDLE_VERSION = 1,
    VARIABLES_MAX = 300,
    VARIABLE_BYTES_MAX = 8 << 10,
    OS_RELEASE_BYTES_MAX = 64 << 10,
};

/* A name that ends in '*' stands for all that begin so. */
static const char *const variables[] = {"AMD_*",
                                        "CONDA_DEFAULT_ENV",
                                        "CONDA_PREFIX",
                                        "CUDA_*",
                                        "CUDNN_*",
                                        "FORCE_CUDA",
                                        "GGML_*",
                                        "GOMP_*",
                                        "GPU_*",
                                        "HARDWARE_DETECTION_CACHE",
                                        "HF_DATASETS_*",
                                        "HF_ENDPOINT",
                                        "HF_HOME",
                                        "HF_HUB_*",
                                        "HIP_*",
                                        "HSA_*",
                                        "JAX_*",
                                        "KMP_*",
                                        "KUBERNETES_SERVICE_HOST",
                                        "LANG",
                                        "LC_ALL",
                                        "LD_LIBRARY_PATH",
                                        "LD_PRELOAD",
                                        "LLAMA_*",
                                        "MALLOC_*",
                                        "MKL_*",
                                        "NCCL_*",
                                        "NVIDIA_*",
                                        "OCL_*",
                                        "OMP_*",
                                        "ONEAPI_*",
                                        "ONNXRUNTIME_*",
                                        "OPENBLAS_*",
                                        "OPENVINO_*",
                                        "ORT_*",
                                        "OV_*",
                                        "PATH",
                                        "PJRT_*",
                                        "PYTHONPATH",
                                        "PYTORCH_*",
                                        "QNN_*",
                                        "RCCL_*",
                                        "RESOURCE_POOL_*",
                                        "ROCM_*",
                                        "ROCR_*",
                                        "SYCL_*",
                                        "TF_CPP_MIN_LOG_LEVEL",
                                        "TF_CUDNN_*",
                                        "TF_ENABLE_*",
                                        "TF_FORCE_*",
                                        "TF_GPU_*",
                                        "TF_NUM_*",
                                        "TF_XLA_*",
                                        "TMPDIR",
                                        "TORCHDYNAMO_*",
                                        "TORCHINDUCTOR_*",
                                        "TORCH_*",
                                        "TPU_*",
                                        "TRANSFORMERS_*",
                                        "TRITON_*",
                                        "VIRTUAL_ENV",
                                        "VK_*",
                                        "VLLM_*",
                                        "WEBGPU_*",
                                        "WEBNN_*",
                                        "WSL_DISTRO_NAME",
                                        "XDG_CACHE_HOME",
                                        "XLA_*",
                                        "ZES_*",
                                        "ZE_*"};

static bool is_listed(const char *variable, size_t name_bytes) {
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        size_t length = strlen(variables[i]);
        bool is_family = variables[i][length - 1] == '*';
        if (is_family && name_bytes >= length && memcmp(variable, variables[i], length - 1) == 0) {
            return true;
        }
        if (!is_family && length == name_bytes && memcmp(variable, variables[i], length) == 0) {
            return true;
        }
    }
    return false;
}

/* One of them, read together with its name: that tells whether the value is a secret. */
static bool add_variable(json_t *object, const char *variable, size_t name_bytes) {
    struct rp_text line = RP_TEXT_INIT;
    char *left = NULL;
    size_t length = strnlen(variable, VARIABLE_BYTES_MAX);
    rp_text_append(&line, variable, length);
    if (!line.failed) rp_text_make_printable(line.bytes);
    bool is_good = !line.failed && rp_redact(line.bytes, line.length, &left, NULL) == RP_OK;
    char *sign = is_good ? strchr(left, '=') : NULL;
    /* A user's name within a variable's name is no name that we list. */
    if (sign && (size_t)(sign - left) == name_bytes) {
        *sign = '\0';
        is_good = json_object_set_new(object, left, json_string(sign + 1)) == 0;
    }
    rp_text_fini(&line);
    rp_free(left);
    return is_good;
}

static json_t *environment_value(void) {
    json_t *object = json_object();
    size_t count = 0;
    for (char **at = environ; object && at && *at && count < VARIABLES_MAX; at++) {
        const char *sign = strchr(*at, '=');
        if (!sign || !is_listed(*at, (size_t)(sign - *at))) continue;
        count++;
        if (add_variable(object, *at, (size_t)(sign - *at))) continue;
        json_decref(object);
        return NULL;
    }
    return object;
}

/* The value of a key in /etc/os-release, or null. */
static json_t *release_value(const char *text, const char *key) {
    size_t length = strlen(key);
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) != 0 || line[length] != '=') continue;
        const char *value = line + length + 1;
        value += *value == '"' || *value == '\'';
        return json_stringn(value, strcspn(value, "\"'\n"));
    }
    return json_null();
}

static json_t *system_value(void) {
    struct utsname names;
    char libc[64] = "";
    char *release = NULL;
    size_t length = 0;
    if (uname(&names) != 0) memset(&names, 0, sizeof names);
    if (rp_text_read_file("/etc/os-release", OS_RELEASE_BYTES_MAX, &release, &length) != 0) {
        release = NULL;
    }
    if (confstr(_CS_GNU_LIBC_VERSION, libc, sizeof libc) == 0) libc[0] = '\0';
    bool is_container = access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0;
    json_t *value =
        json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:b}", "kernel", names.sysname,
                  "kernel_release", names.release, "kernel_version", names.version, "architecture",
                  names.machine, "distribution", release_value(release, "PRETTY_NAME"),
                  "distribution_id", release_value(release, "ID"), "distribution_version",
                  release_value(release, "VERSION_ID"), "libc", libc, "container", is_container);
    rp_free(release);
    return value;
}

static json_t *text_or_null(const char *text) {
    return text[0] ? json_string(text) : json_null();
}

static rp_status engines_value(json_t **out, rp_error *err) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < rp_engine_count(); i++) {
        rp_engine_info info;
        rp_status status = rp_engine_probe(i, &info, err);
        if (status != RP_OK) {
            json_decref(list);
            return status;
        }
        json_array_append_new(
            list, json_pack("{s:s, s:b, s:o, s:o, s:o}", "name", info.name, "available",
                            info.available, "version", text_or_null(info.version), "library_path",
                            text_or_null(info.library_path), "reason", text_or_null(info.reason)));
    }
    *out = list;
    return RP_OK;
}

static rp_status hardware_value(const rp_snapshot *snapshot, json_t **out, rp_error *err) {
    char *text = NULL;
    *out = json_null();
    if (!snapshot) return RP_OK;
    rp_status status = rp_snapshot_to_json(snapshot, 0, &text, err);
    if (status != RP_OK) return status;
    *out = json_loads(text, 0, NULL);
    rp_free(text);
    return RP_OK;
}

static rp_status make(const rp_failure_question *question, struct rp_text *out, rp_error *err) {
    json_t *report = NULL;
    json_t *engines = NULL;
    json_t *hardware = NULL;
    char time[RP_ISO_TIME_BYTES];
    rp_wall_format_iso(rp_wall_ns(), time, sizeof time);
    rp_status status = rp_failure_report_make(question, &report, err);
    if (status == RP_OK) status = engines_value(&engines, err);
    if (status == RP_OK) status = hardware_value(question->snapshot, &hardware, err);
    if (status != RP_OK) {
        json_decref(report);
        json_decref(engines);
        return status;
    }
    json_t *versions =
        json_pack("{s:s, s:o}", "resourcepool", rp_version_string(), "engines", engines);
    json_t *bundle =
        json_pack("{s:i, s:s, s:o, s:o, s:o, s:o, s:o}", "resourcepool_bundle", BUNDLE_VERSION,
                  "timestamp", time, "report", report, "versions", versions, "system",
                  system_value(), "environment", environment_value(), "hardware", hardware);
    /* The report is redacted already, and the same a second time. */
    bool is_good = bundle && rp_redact_json(bundle) && rp_report_print(bundle, out);
    json_decref(bundle);
    rp_text_append(out, "\n", 1);
    if (is_good && !out->failed) return RP_OK;
    return rp_fail(err, RP_ERR_MEMORY, "no memory for a bundle");
}

static rp_status fail_to_write(rp_error *err, const char *path, int problem) {
    rp_fail(err, RP_ERR_IO, "cannot write the bundle '%s': %s", path, strerrordesc_np(problem));
    rp_hint(err, "%s",
            problem == EEXIST                         ? "nothing is replaced: give another name"
            : problem == ENOENT || problem == ENOTDIR ? "its folder must be there"
            : problem == ENOSPC || problem == EDQUOT
                ? "free some space there, or give a file on another disk"
                : "give a file in a folder that you may write to");
    if (err) err->os_errno = problem;
    return RP_ERR_IO;
}

/* 0 or an errno. */
static int write_bundle(const char *path, const struct rp_text *text) {
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    char folder[4096] = ".";
    if (!name[0]) return EISDIR;
    if (slash) {
        size_t length = slash == path ? 1 : (size_t)(slash - path);
        if (length >= sizeof folder) return ENAMETOOLONG;
        memcpy(folder, path, length);
        folder[length] = '\0';
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno;
    int problem = rp_new_file_write(fd, name, text->bytes, text->length);
    close(fd);
    return problem;
}

rp_status rp_failure_bundle_save(const rp_failure_question *question, const char *path,
                                 rp_error *err) {
    if (!question || !path || !path[0]) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a question and the name of a file are needed");
    }
    /* Before the work: it would be done for nothing. */
    if (access(path, F_OK) == 0) return fail_to_write(err, path, EEXIST);
    struct rp_text text = RP_TEXT_INIT;
    rp_status status = make(question, &text, err);
    int problem = status == RP_OK ? write_bundle(path, &text) : 0;
    rp_text_fini(&text);
    return problem == 0 ? status : fail_to_write(err, path, problem);
}
