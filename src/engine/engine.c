/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of engines, and all that is the same for each of them: choosing one, checking inputs
 * before an engine sees them, keeping the description of a model.
 */
#include "engine/engine.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "engine/tensor.h"
#include "model/folder.h"

#include <resourcepool/facts.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Order is priority: the first that can load a file does, unless the caller names one. */
static const struct rp_engine_ops *const engines[] = {
    &rp_engine_onnxruntime,
    &rp_engine_simulated,
};
enum { ENGINE_COUNT = sizeof engines / sizeof engines[0] };

size_t rp_engine_count(void) {
    return ENGINE_COUNT;
}

const struct rp_engine_ops *rp_engine_at(size_t index) {
    return index < ENGINE_COUNT ? engines[index] : NULL;
}

const struct rp_engine_ops *rp_engine_find(const char *name) {
    for (size_t i = 0; i < ENGINE_COUNT; i++) {
        if (strcmp(engines[i]->name, name) == 0) return engines[i];
    }
    return NULL;
}

rp_status rp_engine_probe(size_t index, rp_engine_info *info, rp_error *err) {
    const struct rp_engine_ops *ops = rp_engine_at(index);
    if (!ops || !info) {
        return rp_fail(err, RP_ERR_ARGUMENT, "there is no engine number %zu: there are %d", index,
                       ENGINE_COUNT);
    }
    *info = (rp_engine_info){.name = ops->name, .simulated = ops->simulated};
    return ops->probe(info, err);
}

rp_status rp_engine_choose(const char *name, const char *path, const char *device,
                           const struct rp_engine_ops **ops, rp_error *err) {
    if (name) {
        const struct rp_engine_ops *named = rp_engine_find(name);
        if (!named) {
            rp_fail(err, RP_ERR_NOT_FOUND, "there is no engine '%s'", name);
            rp_hint(err, "'rpool version' lists the engines");
            return RP_ERR_NOT_FOUND;
        }
        rp_status status = named->can_load(path, device, err);
        if (status == RP_OK) *ops = named;
        return status;
    }
    rp_error first = RP_ERROR_INIT; /* the refusal of the engine with the highest priority */
    rp_status refused = RP_OK;
    for (size_t i = 0; i < ENGINE_COUNT; i++) {
        if (engines[i]->simulated) continue;
        rp_error refusal = RP_ERROR_INIT;
        rp_status status = engines[i]->can_load(path, device, &refusal);
        if (status == RP_OK) {
            *ops = engines[i];
            return RP_OK;
        }
        if (refused == RP_OK) {
            refused = status;
            first = refusal;
        }
    }
    if (refused == RP_OK) return rp_fail(err, RP_ERR_UNSUPPORTED, "no engine loads '%s'", path);
    if (err) *err = first;
    return refused;
}

rp_status rp_engine_find_file(const char *name, const char *path, struct rp_path *file,
                              rp_error *err) {
    struct stat found;
    const struct rp_engine_ops *ops = name ? rp_engine_find(name) : engines[0];
    if (ops && ops->format && stat(path, &found) == 0 && S_ISDIR(found.st_mode)) {
        return rp_folder_find_file(path, ops->format, file, err);
    }
    if (rp_path_join(file, "", path)) return RP_OK;
    return rp_fail(err, RP_ERR_LIMIT, "the path '%.80s...' is too long", path);
}

uint64_t rp_engine_estimate(const char *name, const char *path, const char *device) {
    const struct rp_engine_ops *ops = rp_engine_find(name);
    return ops && ops->estimate ? ops->estimate(path, device) : RP_UNKNOWN_U64;
}

/* ---- ports: what goes in and what comes out ---- */

bool rp_engine_ports_make(struct rp_engine_ports *ports, size_t count) {
    ports->ports = rp_alloc_array(count, sizeof *ports->ports);
    ports->count = ports->ports ? count : 0;
    return ports->ports != NULL;
}

void rp_engine_ports_fini(struct rp_engine_ports *ports) {
    for (size_t i = 0; i < ports->count; i++) {
        rp_free((void *)(uintptr_t)ports->ports[i].name); /* one block holds all of a port */
    }
    rp_free(ports->ports);
    *ports = (struct rp_engine_ports){0};
}

bool rp_engine_ports_set(struct rp_engine_ports *ports, size_t index, const char *name,
                         const char *type, rp_dtype dtype, const int64_t *shape, int32_t ndim,
                         const char *const *dim_names) {
    size_t rank = (size_t)ndim;
    size_t name_size = (strlen(name) + 8) & ~(size_t)7;
    size_t texts_size = 0;
    for (size_t i = 0; i < rank; i++) {
        texts_size += (dim_names ? strlen(dim_names[i]) : 0) + 1;
    }
    /* name (padded) | shape | pointers to the names of the dimensions | those names */
    char *block = rp_alloc(name_size + rank * (sizeof(int64_t) + sizeof(char *)) + texts_size);
    if (!block) return false;
    int64_t *sizes = (int64_t *)(void *)(block + name_size);
    const char **names = (const char **)(void *)(sizes + rank);
    char *text = (char *)(names + rank);
    memcpy(block, name, strlen(name) + 1);
    for (size_t i = 0; i < rank; i++) {
        const char *dim_name = dim_names ? dim_names[i] : "";
        size_t size = strlen(dim_name) + 1;
        sizes[i] = shape[i];
        names[i] = memcpy(text, dim_name, size);
        text += size;
    }
    ports->ports[index] = (rp_port){
        .name = block,
        .type = dtype.lanes ? rp_dtype_name(dtype) : type,
        .dtype = dtype,
        .ndim = ndim,
        .shape = sizes,
        .dim_names = names,
    };
    return true;
}

bool rp_engine_ports_copy(const struct rp_engine_ports *from, struct rp_engine_ports *to) {
    if (!rp_engine_ports_make(to, from->count)) return false;
    for (size_t i = 0; i < from->count; i++) {
        const rp_port *port = &from->ports[i];
        if (!rp_engine_ports_set(to, i, port->name, port->type, port->dtype, port->shape,
                                 port->ndim, port->dim_names)) {
            return false;
        }
    }
    return true;
}

/* ---- models ---- */

rp_status rp_model_make(const struct rp_engine_ops *ops, const struct rp_engine_request *request,
                        rp_model **model, rp_error *err) {
    rp_model *made = rp_alloc(sizeof *made);
    if (!made) return rp_fail(err, RP_ERR_MEMORY, "no memory for the model '%s'", request->path);
    made->ops = ops;
    made->threads = request->threads;
    made->path = rp_strdup(request->path);
    made->device = rp_strdup(request->device);
    if (request->precision) made->precision = rp_strdup(request->precision);
    if (!made->path || !made->device || (request->precision && !made->precision)) {
        rp_model_close(made);
        return rp_fail(err, RP_ERR_MEMORY, "no memory for the model '%s'", request->path);
    }
    *model = made;
    return RP_OK;
}

/*
 * What the weights are stored in, where the engine did not say: it runs them as they are. A file
 * that only the engine understands stays without; want of memory is the only failure.
 */
static rp_status tell_precision(rp_model *model, rp_error *err) {
    rp_model_facts facts;
    rp_error ignored = RP_ERROR_INIT;
    if (model->precision || !model->ops->format) return RP_OK;
    rp_status status = rp_model_facts_read(model->path, NULL, &facts, &ignored);
    if (status == RP_OK && facts.precision[0]) {
        model->precision = rp_strdup(facts.precision);
        if (!model->precision) status = RP_ERR_MEMORY;
    }
    if (status != RP_ERR_MEMORY) return RP_OK;
    return rp_fail(err, status, "no memory for the model '%s'", model->path);
}

rp_status rp_model_open_until(const char *path, const rp_model_options *options,
                              const _Atomic int *cancelled, int64_t deadline_ns, rp_model **model,
                              rp_error *err) {
    rp_model_options own = RP_MODEL_OPTIONS_INIT;
    if (!path || !model) return rp_fail(err, RP_ERR_ARGUMENT, "no path of a model to open");
    if (options) memcpy(&own, options, options->size < sizeof own ? options->size : sizeof own);
    struct rp_engine_request request = {
        .path = path,
        .device = own.device ? own.device : "cpu",
        .precision = own.precision,
        .threads = own.threads ? own.threads : 1,
        .cancelled = cancelled,
        .deadline_ns = deadline_ns,
    };
    const struct rp_engine_ops *ops = NULL;
    rp_status status = rp_engine_choose(own.engine, path, request.device, &ops, err);
    if (status != RP_OK) return status;
    if (request.threads > RP_LIMIT_THREADS) {
        return rp_fail(err, RP_ERR_LIMIT, "%u threads are more than the limit of %d",
                       request.threads, RP_LIMIT_THREADS);
    }
    rp_model *made = NULL;
    status = rp_model_make(ops, &request, &made, err);
    if (status != RP_OK) return status;
    status = ops->open(&request, made, err);
    if (status == RP_OK) status = tell_precision(made, err);
    if (status != RP_OK) {
        rp_model_close(made);
        return status;
    }
    *model = made;
    return RP_OK;
}

rp_status rp_model_open(const char *path, const rp_model_options *options, rp_model **model,
                        rp_error *err) {
    return rp_model_open_until(path, options, NULL, RP_NEVER_NS, model, err);
}

void rp_model_close(rp_model *model) {
    if (!model) return;
    model->ops->close(model);
    rp_engine_ports_fini(&model->inputs);
    rp_engine_ports_fini(&model->outputs);
    rp_free(model->path);
    rp_free(model->device);
    rp_free(model->precision);
    rp_free(model);
}

void rp_model_trim(rp_model *model) {
    if (model->ops->trim) model->ops->trim(model);
}

const char *rp_model_path(const rp_model *model) {
    return model->path;
}

const char *rp_model_engine(const rp_model *model) {
    return model->ops->name;
}

const char *rp_model_device(const rp_model *model) {
    return model->device;
}

const char *rp_model_precision(const rp_model *model) {
    return model->precision;
}

uint32_t rp_model_threads(const rp_model *model) {
    return model->threads;
}

bool rp_model_is_simulated(const rp_model *model) {
    return model->ops->simulated;
}

uint64_t rp_model_bytes(const rp_model *model) {
    return model->ops->bytes ? model->ops->bytes(model) : RP_UNKNOWN_U64;
}

bool rp_model_is_gone(const rp_model *model) {
    return model->ops->is_gone && model->ops->is_gone(model);
}

size_t rp_model_input_count(const rp_model *model) {
    return model->inputs.count;
}

size_t rp_model_output_count(const rp_model *model) {
    return model->outputs.count;
}

const rp_port *rp_model_input(const rp_model *model, size_t index) {
    return index < model->inputs.count ? &model->inputs.ports[index] : NULL;
}

const rp_port *rp_model_output(const rp_model *model, size_t index) {
    return index < model->outputs.count ? &model->outputs.ports[index] : NULL;
}

/* ---- running ---- */

rp_result *rp_result_make(size_t count) {
    size_t shapes = count * RP_LIMIT_TENSOR_DIMENSIONS;
    size_t head = (sizeof(rp_result) + 15) & ~(size_t)15;
    rp_result *result = rp_alloc(head + count * sizeof(rp_tensor) + shapes * sizeof(int64_t));
    if (!result) return NULL;
    result->count = count;
    result->tensors = (rp_tensor *)(void *)((char *)result + head);
    result->shapes = (int64_t *)(void *)(result->tensors + count);
    for (size_t i = 0; i < count; i++) {
        result->tensors[i].shape = result->shapes + i * RP_LIMIT_TENSOR_DIMENSIONS;
    }
    return result;
}

void rp_result_close(rp_result *result) {
    if (!result) return;
    if (result->release) result->release(result->owner);
    rp_free(result);
}

size_t rp_result_count(const rp_result *result) {
    return result->count;
}

const rp_tensor *rp_result_tensor(const rp_result *result, size_t index) {
    return index < result->count ? &result->tensors[index] : NULL;
}

/* An engine trusts what passes here: type, rank, sizes, layout and memory of one input. */
static rp_status check_input(const rp_model *model, size_t index, const rp_tensor *tensor,
                             rp_error *err) {
    const rp_port *port = &model->inputs.ports[index];
    if (port->dtype.lanes == 0) {
        return rp_fail(err, RP_ERR_UNSUPPORTED,
                       "the input '%s' of '%s' is of type %s: only tensors of numbers can be given",
                       port->name, model->path, port->type);
    }
    if (!rp_dtype_equals(tensor->dtype, port->dtype)) {
        const char *given = rp_dtype_name(tensor->dtype);
        return rp_fail(err, RP_ERR_ARGUMENT, "the input '%s' wants %s, not %s", port->name,
                       port->type, given ? given : "an unknown type");
    }
    if (tensor->ndim < 0 || tensor->ndim > RP_LIMIT_TENSOR_DIMENSIONS ||
        (tensor->ndim > 0 && !tensor->shape)) {
        return rp_fail(err, RP_ERR_ARGUMENT, "the input '%s' has %d dimensions, or no shape",
                       port->name, tensor->ndim);
    }
    if (tensor->ndim != port->ndim && port->ndim > 0) {
        return rp_fail(err, RP_ERR_ARGUMENT, "the input '%s' wants %d dimensions, not %d",
                       port->name, port->ndim, tensor->ndim);
    }
    for (int32_t i = 0; i < tensor->ndim; i++) {
        if (tensor->shape[i] < 0) {
            return rp_fail(err, RP_ERR_ARGUMENT, "dimension %d of the input '%s' is %lld", i,
                           port->name, (long long)tensor->shape[i]);
        }
        if (port->ndim > 0 && port->shape[i] >= 0 && port->shape[i] != tensor->shape[i]) {
            return rp_fail(err, RP_ERR_ARGUMENT, "dimension %d of the input '%s' is %lld, not %lld",
                           i, port->name, (long long)port->shape[i], (long long)tensor->shape[i]);
        }
    }
    if (tensor->device.type != RP_TENSOR_DEVICE_CPU) {
        return rp_fail(err, RP_ERR_UNSUPPORTED,
                       "the input '%s' is not in ordinary memory (device type %d)", port->name,
                       tensor->device.type);
    }
    if (!rp_tensor_is_contiguous(tensor)) {
        return rp_fail(err, RP_ERR_ARGUMENT, "the input '%s' has gaps: give it compact, in C order",
                       port->name);
    }
    uint64_t bytes = 0;
    rp_status status = rp_tensor_bytes(tensor, &bytes, err);
    if (status != RP_OK) {
        rp_error_prefix(err, "the input '%s'", port->name);
        return status;
    }
    if (bytes > 0 && !tensor->data) {
        return rp_fail(err, RP_ERR_ARGUMENT, "the input '%s' has no data", port->name);
    }
    return RP_OK;
}

rp_status rp_model_run(rp_model *model, const rp_tensor *inputs, size_t input_count,
                       rp_result **result, rp_error *err) {
    if (!model || !result || (input_count > 0 && !inputs)) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "a run needs a model, its inputs and a place for the result");
    }
    if (input_count != model->inputs.count) {
        return rp_fail(err, RP_ERR_ARGUMENT, "'%s' has %zu inputs, %zu were given", model->path,
                       model->inputs.count, input_count);
    }
    for (size_t i = 0; i < input_count; i++) {
        rp_status status = check_input(model, i, &inputs[i], err);
        if (status != RP_OK) return status;
    }
    rp_status status = model->ops->run(model, inputs, result, err);
    if (status != RP_OK && err && model->run_failed) model->run_failed(model, err);
    return status;
}

/* Fill a made-up input: masks are on, other whole numbers are 0, which is in range of any table. */
static void fill_sample(const rp_port *port, void *data, uint64_t bytes) {
    if (rp_dtype_equals(port->dtype, RP_DTYPE_FLOAT32)) {
        float *values = data;
        for (uint64_t i = 0; i < bytes / sizeof *values; i++) {
            values[i] = (float)(i % 17) * 0.0625f - 0.5f;
        }
    } else if (rp_dtype_equals(port->dtype, RP_DTYPE_FLOAT64)) {
        double *values = data;
        for (uint64_t i = 0; i < bytes / sizeof *values; i++) {
            values[i] = (double)(i % 17) * 0.0625 - 0.5;
        }
    } else if (strstr(port->name, "mask")) {
        /* Little-endian: a whole number 1 is a 1 in its first byte. */
        uint64_t step = port->dtype.bits / 8u ? port->dtype.bits / 8u : 1;
        for (uint64_t i = 0; i < bytes; i += step) {
            ((unsigned char *)data)[i] = 1;
        }
    }
}

/* One try with made-up inputs whose open sizes (but for the first, the batch) are `size`. */
static rp_status try_sample(rp_model *model, int64_t size, rp_result **result, double *run_ms,
                            rp_error *err) {
    size_t count = model->inputs.count;
    rp_tensor *inputs = rp_alloc_array(count, sizeof *inputs);
    int64_t *shapes = rp_alloc_array(count * RP_LIMIT_TENSOR_DIMENSIONS, sizeof *shapes);
    rp_status status =
        inputs && shapes ? RP_OK : rp_fail(err, RP_ERR_MEMORY, "no memory for made-up inputs");
    for (size_t i = 0; i < count && status == RP_OK; i++) {
        const rp_port *port = &model->inputs.ports[i];
        rp_tensor *input = &inputs[i];
        input->device.type = RP_TENSOR_DEVICE_CPU;
        input->dtype = port->dtype;
        input->ndim = port->ndim;
        input->shape = shapes + i * RP_LIMIT_TENSOR_DIMENSIONS;
        for (int32_t d = 0; d < port->ndim; d++) {
            input->shape[d] = port->shape[d] >= 0 ? port->shape[d] : d == 0 ? 1 : size;
        }
        uint64_t bytes = 0;
        if (port->dtype.lanes == 0) continue; /* rp_model_run() says what is wrong with it */
        status = rp_tensor_bytes(input, &bytes, err);
        if (status != RP_OK) break;
        input->data = rp_alloc_aligned(64, bytes ? bytes : 1);
        if (!input->data) {
            char text[24];
            snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
            status = rp_fail(err, RP_ERR_MEMORY, "no memory for %s bytes of the input '%s'", text,
                             port->name);
        } else {
            fill_sample(port, input->data, bytes);
        }
    }
    rp_result *made = NULL;
    if (status == RP_OK) {
        int64_t start_ns = rp_clock_ns();
        status = rp_model_run(model, inputs, count, &made, err);
        if (status == RP_OK && run_ms) *run_ms = rp_elapsed_ms(start_ns, rp_clock_ns());
    }
    for (size_t i = 0; inputs && i < count; i++) {
        rp_free(inputs[i].data);
    }
    rp_free(inputs);
    rp_free(shapes);
    if (status == RP_OK && result) {
        *result = made;
    } else {
        rp_result_close(made);
    }
    return status;
}

rp_status rp_model_run_sample(rp_model *model, rp_result **result, double *run_ms, rp_error *err) {
    static const int64_t sizes[] = {16, 224, 1}; /* tokens, pixels, and what wants neither */
    rp_error first = RP_ERROR_INIT;
    if (!model) return rp_fail(err, RP_ERR_ARGUMENT, "no model to run");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        rp_error story = RP_ERROR_INIT;
        rp_status status = try_sample(model, sizes[i], result, run_ms, &story);
        if (status == RP_OK) return RP_OK;
        if (first.status == RP_OK) first = story;
        if (status != RP_ERR_RUN && status != RP_ERR_ARGUMENT) break;
    }
    rp_error_prefix(&first, "made-up inputs with open sizes of 16, 224 and 1 do not run");
    if (err) *err = first;
    return first.status;
}
