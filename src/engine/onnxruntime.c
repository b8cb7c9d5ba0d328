/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine that runs ONNX files with the real ONNX Runtime.
 *
 * Its byte figure is counted, not guessed: all sessions use an allocator of ours, which writes in
 * front of each block on whose account it stands. What a session takes is then the sum of its live
 * blocks (initialisers, prepacked weights, what runs left) plus the files beside the model that it
 * has mapped. The account is the calling thread's current session, set around creating and running;
 * what other threads of ONNX Runtime allocate is on nobody's account.
 */
#include "engine/engine.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "engine/onnxruntime_library.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <resourcepool/hardware.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK_ALIGNMENT = 64 };

/* What one session holds. Lives as long as it or a block of it does: outputs may outlive a session.
 */
struct account {
    _Atomic uint64_t bytes;
    _Atomic uint64_t reference_count;
};

/* In front of each block; as large as the alignment. */
struct block_head {
    struct account *account; /* NULL: nobody's */
    size_t bytes;
    char padding[BLOCK_ALIGNMENT - sizeof(void *) - sizeof(size_t)];
};
_Static_assert(sizeof(struct block_head) == BLOCK_ALIGNMENT, "blocks stay aligned");

struct session {
    const OrtApi *api;
    OrtSession *session;
    struct account *account;
    const char **input_names;
    const char **output_names;
    uint64_t mapped_bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static OrtEnv *environment;        /* guarded by lock until set; kept for the process */
static OrtMemoryInfo *memory_info; /* likewise */
static _Thread_local struct account *current;

/* ---- the counting allocator ---- */

static void account_release(struct account *account) {
    if (account &&
        atomic_fetch_sub_explicit(&account->reference_count, 1, memory_order_acq_rel) == 1) {
        rp_free(account);
    }
}

/* Not rp_alloc(): tensors need no zeroing, which would cost a pass over every activation. */
static void *ORT_API_CALL counted_alloc(OrtAllocator *self, size_t bytes) {
    (void)self;
    size_t total;
    void *memory = NULL;
    if (bytes == 0 || __builtin_add_overflow(bytes, sizeof(struct block_head), &total)) return NULL;
    if (posix_memalign(&memory, BLOCK_ALIGNMENT, total) != 0) return NULL;
    struct block_head *head = memory;
    head->account = current;
    head->bytes = bytes;
    if (current) {
        atomic_fetch_add_explicit(&current->bytes, bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&current->reference_count, 1, memory_order_relaxed);
    }
    return head + 1;
}

static void ORT_API_CALL counted_free(OrtAllocator *self, void *block) {
    (void)self;
    if (!block) return;
    struct block_head *head = (struct block_head *)block - 1;
    if (head->account) {
        atomic_fetch_sub_explicit(&head->account->bytes, head->bytes, memory_order_relaxed);
        account_release(head->account);
    }
    free(head);
}

static const OrtMemoryInfo *ORT_API_CALL counted_info(const OrtAllocator *self) {
    (void)self;
    return memory_info;
}

static OrtAllocator counting = {
    .version = RP_ORT_API_VERSION_MIN,
    .Alloc = counted_alloc,
    .Free = counted_free,
    .Info = counted_info,
    .Reserve = counted_alloc,
};

/* ---- errors ---- */

/* What ONNX Runtime says, on one line and without the place in its sources. */
static rp_status take_status(const OrtApi *api, OrtStatus *ort, rp_status otherwise, rp_error *err,
                             const char *doing, const char *path) {
    if (!ort) return RP_OK;
    const char *text = api->GetErrorMessage(ort);
    rp_status status = otherwise;
    switch (api->GetErrorCode(ort)) {
    case ORT_NO_SUCHFILE:
        status = RP_ERR_NOT_FOUND;
        break;
    case ORT_INVALID_PROTOBUF:
    case ORT_INVALID_GRAPH:
    case ORT_NO_MODEL:
        status = RP_ERR_DATA;
        break;
    case ORT_NOT_IMPLEMENTED:
        status = RP_ERR_UNSUPPORTED;
        break;
    default:
        break;
    }
    if (strstr(text, "bad_alloc") || strstr(text, "Failed to allocate memory")) {
        status = RP_ERR_MEMORY;
    } else if (strstr(text, "xternal data") || strstr(text, "xternal initializer")) {
        status = RP_ERR_DATA;
    }
    rp_fail(err, status, "cannot %s '%s': ONNX Runtime says: %.200s", doing, path, text);
    api->ReleaseStatus(ort);
    return status;
}

/* ---- the environment: one for the process ---- */

static rp_status prepare(const struct rp_ort_library **library, rp_error *err) {
    rp_status status = rp_ort_library_open(library, err);
    if (status != RP_OK) return status;
    const OrtApi *api = (*library)->api;
    pthread_mutex_lock(&lock);
    if (!environment) {
        OrtEnv *made = NULL;
        OrtStatus *ort = api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "resourcepool", &made);
        if (!ort && !memory_info) {
            ort = api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory_info);
        }
        if (!ort) ort = api->RegisterAllocator(made, &counting);
        status = take_status(api, ort, RP_ERR_LOAD, err, "start", (*library)->path);
        if (status == RP_OK) {
            environment = made;
        } else if (made) {
            api->ReleaseEnv(made);
        }
    }
    pthread_mutex_unlock(&lock);
    return status;
}

static rp_status onnxruntime_probe(rp_engine_info *info, rp_error *err) {
    (void)err; /* absence is an answer */
    const struct rp_ort_library *library = NULL;
    rp_error absence = RP_ERROR_INIT;
    if (rp_ort_library_open(&library, &absence) != RP_OK) {
        snprintf(info->reason, sizeof info->reason, "%s%s%s", absence.message,
                 absence.hint[0] ? "; " : "", absence.hint);
        return RP_OK;
    }
    info->available = true;
    snprintf(info->version, sizeof info->version, "%s", library->version);
    snprintf(info->library_path, sizeof info->library_path, "%s", library->path);
    return RP_OK;
}

/* ---- loading ---- */

/* What can be said of a file before a runtime is asked: it is there, regular, readable, not empty.
 */
static rp_status onnxruntime_can_load(const char *path, const char *device, rp_error *err) {
    struct stat info;
    if (strcmp(device, "cpu") != 0) {
        rp_fail(err, RP_ERR_UNSUPPORTED,
                "the engine onnxruntime runs on 'cpu' in this version, not on '%s'", device);
        rp_hint(err, "ask for the device 'cpu', or for none");
        return RP_ERR_UNSUPPORTED;
    }
    if (stat(path, &info) != 0) {
        rp_status status = rp_fail_errno(err, "cannot load the model '%s'", path);
        if (status == RP_ERR_NOT_FOUND) rp_hint(err, "give the path of an .onnx file");
        return status;
    }
    if (S_ISDIR(info.st_mode)) {
        rp_fail(err, RP_ERR_UNSUPPORTED, "cannot load the model '%s': it is a folder", path);
        rp_hint(err, "give the .onnx file inside it");
        return RP_ERR_UNSUPPORTED;
    }
    if (!S_ISREG(info.st_mode)) {
        return rp_fail(err, RP_ERR_UNSUPPORTED,
                       "cannot load the model '%s': it is not a regular file", path);
    }
    if (info.st_size == 0) {
        return rp_fail(err, RP_ERR_DATA, "cannot load the model '%s': the file is empty (0 bytes)",
                       path);
    }
    if (access(path, R_OK) != 0) return rp_fail_errno(err, "cannot read the model '%s'", path);
    return RP_OK;
}

static const rp_dtype no_dtype = {0, 0, 0};

static rp_dtype dtype_of(ONNXTensorElementDataType type) {
    switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
        return RP_DTYPE_FLOAT32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
        return RP_DTYPE_FLOAT64;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
        return RP_DTYPE_FLOAT16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
        return RP_DTYPE_BFLOAT16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
        return RP_DTYPE_INT8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16:
        return RP_DTYPE_INT16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
        return RP_DTYPE_INT32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
        return RP_DTYPE_INT64;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
        return RP_DTYPE_UINT8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16:
        return RP_DTYPE_UINT16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32:
        return RP_DTYPE_UINT32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64:
        return RP_DTYPE_UINT64;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL:
        return RP_DTYPE_BOOL;
    default:
        return no_dtype;
    }
}

static ONNXTensorElementDataType element_type_of(rp_dtype dtype) {
    for (int type = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
         type <= ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16; type++) {
        if (rp_dtype_equals(dtype_of((ONNXTensorElementDataType)type), dtype)) {
            return (ONNXTensorElementDataType)type;
        }
    }
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

/* Describe one input or output. */
static rp_status read_port(struct session *state, bool is_input, size_t index,
                           struct rp_engine_ports *ports, rp_model *model, rp_error *err) {
    const OrtApi *api = state->api;
    OrtAllocator *allocator = NULL;
    OrtTypeInfo *info = NULL;
    const OrtTensorTypeAndShapeInfo *tensor = NULL; /* borrowed from info */
    char *name = NULL;
    int64_t shape[RP_LIMIT_TENSOR_DIMENSIONS] = {0};
    const char *dim_names[RP_LIMIT_TENSOR_DIMENSIONS] = {NULL};
    size_t rank = 0;
    rp_dtype dtype = no_dtype;
    const char *type = "something other than a tensor";
    OrtStatus *ort = api->GetAllocatorWithDefaultOptions(&allocator);
    if (!ort) {
        ort = is_input ? api->SessionGetInputName(state->session, index, allocator, &name)
                       : api->SessionGetOutputName(state->session, index, allocator, &name);
    }
    if (!ort) {
        ort = is_input ? api->SessionGetInputTypeInfo(state->session, index, &info)
                       : api->SessionGetOutputTypeInfo(state->session, index, &info);
    }
    if (!ort) ort = api->CastTypeInfoToTensorInfo(info, &tensor);
    if (!ort && tensor) {
        ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        ort = api->GetTensorElementType(tensor, &element);
        dtype = dtype_of(element);
        type = element == ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING ? "string"
                                                               : "an unusual type of element";
        if (!ort) ort = api->GetDimensionsCount(tensor, &rank);
        if (!ort && rank <= RP_LIMIT_TENSOR_DIMENSIONS) {
            ort = api->GetDimensions(tensor, shape, rank);
            if (!ort) ort = api->GetSymbolicDimensions(tensor, dim_names, rank);
        }
    }
    rp_status status = take_status(api, ort, RP_ERR_LOAD, err, "describe", model->path);
    if (status == RP_OK && rank > RP_LIMIT_TENSOR_DIMENSIONS) {
        status = rp_fail(err, RP_ERR_LIMIT, "'%s' of '%s' has %zu dimensions, more than %d", name,
                         model->path, rank, RP_LIMIT_TENSOR_DIMENSIONS);
    }
    char *copy = status == RP_OK ? rp_strdup(name) : NULL;
    if (status == RP_OK && copy) {
        for (size_t i = 0; i < rank; i++) {
            if (shape[i] < 0) shape[i] = -1;
            if (!dim_names[i]) dim_names[i] = "";
        }
        (is_input ? state->input_names : state->output_names)[index] = copy;
    }
    if (status == RP_OK && (!copy || !rp_engine_ports_set(ports, index, name, type, dtype, shape,
                                                          (int32_t)rank, dim_names))) {
        status = rp_fail(err, RP_ERR_MEMORY, "no memory to describe the model '%s'", model->path);
    }
    if (info) api->ReleaseTypeInfo(info);
    if (name) {
        OrtStatus *freed = api->AllocatorFree(allocator, name);
        if (freed) api->ReleaseStatus(freed);
    }
    return status;
}

static rp_status read_ports(struct session *state, rp_model *model, rp_error *err) {
    const OrtApi *api = state->api;
    size_t input_count = 0;
    size_t output_count = 0;
    OrtStatus *ort = api->SessionGetInputCount(state->session, &input_count);
    if (!ort) ort = api->SessionGetOutputCount(state->session, &output_count);
    rp_status status = take_status(api, ort, RP_ERR_LOAD, err, "describe", model->path);
    if (status != RP_OK) return status;
    if (input_count > RP_LIMIT_MODEL_PORTS || output_count > RP_LIMIT_MODEL_PORTS) {
        return rp_fail(err, RP_ERR_LIMIT, "'%s' has %zu inputs and %zu outputs, more than %d",
                       model->path, input_count, output_count, RP_LIMIT_MODEL_PORTS);
    }
    state->input_names = rp_alloc_array(input_count, sizeof *state->input_names);
    state->output_names = rp_alloc_array(output_count, sizeof *state->output_names);
    if (!state->input_names || !state->output_names ||
        !rp_engine_ports_make(&model->inputs, input_count) ||
        !rp_engine_ports_make(&model->outputs, output_count)) {
        return rp_fail(err, RP_ERR_MEMORY, "no memory to describe the model '%s'", model->path);
    }
    for (size_t i = 0; i < input_count && status == RP_OK; i++) {
        status = read_port(state, true, i, &model->inputs, model, err);
    }
    for (size_t i = 0; i < output_count && status == RP_OK; i++) {
        status = read_port(state, false, i, &model->outputs, model, err);
    }
    return status;
}

/* Bytes of files in the model's folder that this process has mapped: its external weights. */
static uint64_t mapped_beside(const char *path) {
    char *real = realpath(path, NULL);
    char *slash = real ? strrchr(real, '/') : NULL;
    char *maps = NULL;
    size_t length = 0;
    uint64_t total = 0;
    if (slash &&
        rp_text_read_file("/proc/self/maps", RP_LIMIT_SYSTEM_FILE_BYTES, &maps, &length) == 0) {
        size_t folder_length = (size_t)(slash + 1 - real);
        uint64_t last_end = 0;
        for (char *line = maps, *end; line && *line; line = end) {
            end = strchr(line, '\n');
            if (end) *end++ = '\0';
            char *at = line;
            uint64_t from = strtoull(at, &at, 16);
            uint64_t to = *at == '-' ? strtoull(at + 1, NULL, 16) : 0;
            char *file = strchr(line, '/');
            if (!file || to <= from || from < last_end) continue;
            last_end = to;
            if (strncmp(file, real, folder_length) != 0 || strchr(file + folder_length, '/'))
                continue;
            total += to - from;
        }
    }
    rp_free(maps);
    free(real);
    return total;
}

static OrtStatus *make_options(const OrtApi *api, uint32_t threads, OrtSessionOptions **options) {
    OrtStatus *ort = api->CreateSessionOptions(options);
    if (!ort) ort = api->SetIntraOpNumThreads(*options, (int)threads);
    if (!ort) ort = api->SetInterOpNumThreads(*options, 1);
    if (!ort) ort = api->SetSessionExecutionMode(*options, ORT_SEQUENTIAL);
    if (!ort) ort = api->AddSessionConfigEntry(*options, "session.intra_op.allow_spinning", "0");
    if (!ort) ort = api->AddSessionConfigEntry(*options, "session.use_env_allocators", "1");
    return ort;
}

static rp_status onnxruntime_open(const struct rp_engine_request *request, rp_model *model,
                                  rp_error *err) {
    const struct rp_ort_library *library = NULL;
    rp_status status = prepare(&library, err);
    if (status != RP_OK) return status;
    const OrtApi *api = library->api;
    struct session *state = rp_alloc(sizeof *state);
    if (!state)
        return rp_fail(err, RP_ERR_MEMORY, "no memory for a session of '%s'", request->path);
    model->state = state;
    state->api = api;
    state->account = rp_alloc(sizeof *state->account);
    if (!state->account)
        return rp_fail(err, RP_ERR_MEMORY, "no memory for a session of '%s'", request->path);
    atomic_init(&state->account->reference_count, 1);
    if (request->precision) {
        return rp_fail(err, RP_ERR_UNSUPPORTED, "onnxruntime runs '%s' as it is stored, not in %s",
                       request->path, request->precision);
    }
    OrtSessionOptions *options = NULL;
    OrtStatus *ort = make_options(api, request->threads, &options);
    if (!ort) {
        current = state->account;
        ort = api->CreateSession(environment, request->path, options, &state->session);
        current = NULL;
    }
    if (options) api->ReleaseSessionOptions(options);
    status = take_status(api, ort, RP_ERR_LOAD, err, "load the model", request->path);
    if (status != RP_OK) return status;
    status = read_ports(state, model, err);
    state->mapped_bytes = mapped_beside(request->path);
    return status;
}

static uint64_t onnxruntime_bytes(const rp_model *model) {
    const struct session *state = model->state;
    return atomic_load_explicit(&state->account->bytes, memory_order_relaxed) + state->mapped_bytes;
}

static void free_names(const char **names, size_t count) {
    for (size_t i = 0; names && i < count; i++) {
        rp_free((void *)(uintptr_t)names[i]);
    }
    rp_free(names);
}

static void onnxruntime_close(rp_model *model) {
    struct session *state = model->state;
    if (!state) return;
    if (state->session) state->api->ReleaseSession(state->session);
    free_names(state->input_names, model->inputs.count);
    free_names(state->output_names, model->outputs.count);
    account_release(state->account);
    rp_free(state);
    malloc_trim(0); /* otherwise glibc keeps the weights' pages for a next time */
}

/* ---- running ---- */

/* The outputs as ONNX Runtime has them; a result owns them. */
struct values {
    const OrtApi *api;
    size_t count;
    OrtValue *of[];
};

static void release_values(void *owner) {
    struct values *values = owner;
    for (size_t i = 0; i < values->count; i++) {
        if (values->of[i]) values->api->ReleaseValue(values->of[i]);
    }
    rp_free(values);
}

static struct values *make_values(const OrtApi *api, size_t count) {
    struct values *values = rp_alloc(sizeof *values + count * sizeof(OrtValue *));
    if (!values) return NULL;
    values->api = api;
    values->count = count;
    return values;
}

static rp_status describe_output(const OrtApi *api, OrtValue *value, rp_tensor *tensor,
                                 const rp_model *model, size_t index, rp_error *err) {
    const char *name = model->outputs.ports[index].name;
    OrtTensorTypeAndShapeInfo *info = NULL;
    ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    size_t rank = 0;
    int is_tensor = 0;
    OrtStatus *ort = api->IsTensor(value, &is_tensor);
    if (!ort && !is_tensor) {
        return rp_fail(err, RP_ERR_UNSUPPORTED, "the output '%s' of '%s' is not a tensor", name,
                       model->path);
    }
    if (!ort) ort = api->GetTensorTypeAndShape(value, &info);
    if (!ort) ort = api->GetTensorElementType(info, &element);
    if (!ort) ort = api->GetDimensionsCount(info, &rank);
    if (!ort && rank <= RP_LIMIT_TENSOR_DIMENSIONS)
        ort = api->GetDimensions(info, tensor->shape, rank);
    tensor->dtype = dtype_of(element);
    tensor->ndim = (int32_t)rank;
    tensor->device.type = RP_TENSOR_DEVICE_CPU;
    if (!ort && tensor->dtype.lanes) ort = api->GetTensorMutableData(value, &tensor->data);
    if (info) api->ReleaseTensorTypeAndShapeInfo(info);
    rp_status status = take_status(api, ort, RP_ERR_RUN, err, "read the outputs of", model->path);
    if (status == RP_OK && (!tensor->dtype.lanes || rank > RP_LIMIT_TENSOR_DIMENSIONS)) {
        status = rp_fail(err, RP_ERR_UNSUPPORTED,
                         "the output '%s' of '%s' is of type %s, which cannot be handed out", name,
                         model->path, model->outputs.ports[index].type);
    }
    return status;
}

static rp_status onnxruntime_run(rp_model *model, const rp_tensor *inputs, rp_result **result,
                                 rp_error *err) {
    struct session *state = model->state;
    const OrtApi *api = state->api;
    struct values *given = make_values(api, model->inputs.count);
    struct values *got = make_values(api, model->outputs.count);
    rp_result *made = rp_result_make(model->outputs.count);
    rp_status status = given && got && made
                           ? RP_OK
                           : rp_fail(err, RP_ERR_MEMORY, "no memory to run '%s'", model->path);
    OrtStatus *ort = NULL;
    for (size_t i = 0; i < model->inputs.count && status == RP_OK && !ort; i++) {
        uint64_t bytes = 0;
        status = rp_tensor_bytes(&inputs[i], &bytes, err);
        if (status != RP_OK) break;
        ort = api->CreateTensorWithDataAsOrtValue(memory_info, rp_tensor_data(&inputs[i]), bytes,
                                                  inputs[i].shape, (size_t)inputs[i].ndim,
                                                  element_type_of(inputs[i].dtype), &given->of[i]);
    }
    if (status == RP_OK && !ort) {
        struct account *outer = current;
        current = state->account;
        ort = api->Run(state->session, NULL, state->input_names, (const OrtValue *const *)given->of,
                       given->count, state->output_names, got->count, got->of);
        current = outer;
    }
    if (status == RP_OK) status = take_status(api, ort, RP_ERR_RUN, err, "run", model->path);
    for (size_t i = 0; i < model->outputs.count && status == RP_OK; i++) {
        status = describe_output(api, got->of[i], &made->tensors[i], model, i, err);
    }
    if (given) release_values(given);
    if (status != RP_OK) {
        if (got) release_values(got);
        rp_result_close(made);
        return status;
    }
    made->owner = got;
    made->release = release_values;
    *result = made;
    return RP_OK;
}

const struct rp_engine_ops rp_engine_onnxruntime = {
    .abi = RP_ENGINE_ABI,
    .name = "onnxruntime",
    .format = "onnx",
    .kinds = UINT32_C(1) << RP_DEVICE_CPU,
    .probe = onnxruntime_probe,
    .can_load = onnxruntime_can_load,
    .open = onnxruntime_open,
    .run = onnxruntime_run,
    .bytes = onnxruntime_bytes,
    .close = onnxruntime_close,
};
