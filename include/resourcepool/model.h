/* SPDX-License-Identifier: Apache-2.0 */
/**
 * A model by itself: open a file with an engine, run it, close it. No pool, no budget, no sharing:
 * what a program does today, and the plain half of every comparison. Programs that load more
 * than one model want the pool.
 */
#ifndef RESOURCEPOOL_MODEL_H
#define RESOURCEPOOL_MODEL_H

#include <resourcepool/api.h>
#include <resourcepool/status.h>
#include <resourcepool/tensor.h>
#include <stdbool.h>
#include <stddef.h>

/** A loaded model. */
typedef struct rp_model rp_model;

/** What one run gave: the outputs, and the memory they are in. */
typedef struct rp_result rp_result;

/** How to open a model. Zero means default; new fields go last. */
typedef struct rp_model_options {
    size_t size;           /* sizeof(rp_model_options)                                           */
    const char *engine;    /* "onnxruntime", "simulated"; NULL: the first real one that can      */
    const char *device;    /* NULL: "cpu"                                                        */
    const char *precision; /* NULL: as stored in the file                                        */
    uint32_t threads;      /* inside one run. 0: one, because parallel runs of one thread each
                              give more answers a second than runs that fight over processors    */
} rp_model_options;

#define RP_MODEL_OPTIONS_INIT                                                                      \
    { sizeof(rp_model_options), NULL, NULL, NULL, 0 }

/** One input or output of a model. Everything in it is borrowed from the model. */
typedef struct rp_port {
    const char *name;
    const char *type;             /* "float32", "string", "sequence", "map", ...                 */
    rp_dtype dtype;               /* lanes 0 when it is not a tensor of numbers                  */
    int32_t ndim;                 /* 0 may also be a rank that the file leaves open              */
    const int64_t *shape;         /* -1: any size                                                */
    const char *const *dim_names; /* the file's name for a size, such as "batch"; "" for none    */
} rp_port;

/** What is known of an engine on this machine. */
typedef struct rp_engine_info {
    const char *name;        /* static storage                                                    */
    bool simulated;          /* it runs nothing: never chosen unless named                        */
    bool available;          /* it can be used now                                                */
    char version[32];        /* of the runtime; empty when not available                          */
    char library_path[4096]; /* where the runtime was found; empty when there is none             */
    char reason[2048];       /* why it is not available, and where was looked                     */
} rp_engine_info;

RP_BEGIN_DECLS

/** How many engines this library knows. */
RP_API size_t rp_engine_count(void);

/**
 * Look whether an engine can be used; opens its runtime, which takes some ten milliseconds the
 * first time. An absent runtime is an answer (available is false, reason says why), not a
 * failure. RP_ERR_ARGUMENT for an index of rp_engine_count() or more. Any thread.
 */
RP_API rp_status rp_engine_probe(size_t index, rp_engine_info *info, rp_error *err) RP_MUST_CHECK;

/**
 * Load a model.
 *
 * path     of the model's file, borrowed; for the engine "simulated" what it should pretend
 * options  borrowed; NULL means defaults
 * model    on RP_OK owned by the caller: close it with rp_model_close()
 *
 * Blocks until the model is loaded. Any thread; several at once.
 * RP_ERR_NOT_FOUND no such file; RP_ERR_DATA it is not a model, or damaged; RP_ERR_UNSUPPORTED the
 * engine cannot do this model, device or precision; RP_ERR_ABSENT the runtime is not installed;
 * RP_ERR_MEMORY; RP_ERR_LOAD the runtime refused for another reason.
 */
RP_API rp_status rp_model_open(const char *path, const rp_model_options *options, rp_model **model,
                               rp_error *err) RP_MUST_CHECK;

/** Unload. Accepts NULL. No run may be under way; results live on until they are closed. */
RP_API void rp_model_close(rp_model *model);

/** What the model was opened as. Borrowed from the model. */
RP_API const char *rp_model_path(const rp_model *model);
RP_API const char *rp_model_engine(const rp_model *model);
RP_API const char *rp_model_device(const rp_model *model);

/** NULL when the engine does not tell. */
RP_API const char *rp_model_precision(const rp_model *model);
RP_API uint32_t rp_model_threads(const rp_model *model);
RP_API bool rp_model_is_simulated(const rp_model *model);

/**
 * The engine's own figure of the memory this model holds now: what it allocated for it and the
 * parts of files it mapped for it. RP_UNKNOWN_U64 when the engine cannot tell. Any thread.
 */
RP_API uint64_t rp_model_bytes(const rp_model *model);

/**
 * Whether the model can never run again: it was in another process, and that has died. Somebody who
 * asks the pool anew once all leases on it were given back, or after rp_pool_evict(), gets a fresh
 * one. False for a model of this process. Any thread.
 */
RP_API bool rp_model_is_gone(const rp_model *model);

/** Inputs and outputs; NULL for an index that is too large. */
RP_API size_t rp_model_input_count(const rp_model *model);
RP_API size_t rp_model_output_count(const rp_model *model);
RP_API const rp_port *rp_model_input(const rp_model *model, size_t index);
RP_API const rp_port *rp_model_output(const rp_model *model, size_t index);

/**
 * Run a model.
 *
 * inputs   in the order of rp_model_input(), in ordinary memory, compact; borrowed for the call
 * result   on RP_OK owned by the caller: close it with rp_result_close()
 *
 * Count, types, dimensions and sizes are checked before the engine sees anything
 * (RP_ERR_ARGUMENT, naming the input). Safe from several threads at once on one model.
 * RP_ERR_UNSUPPORTED inputs or outputs that are not tensors of numbers; RP_ERR_MEMORY; RP_ERR_RUN
 * the engine failed on these inputs.
 */
RP_API rp_status rp_model_run(rp_model *model, const rp_tensor *inputs, size_t input_count,
                              rp_result **result, rp_error *err) RP_MUST_CHECK;

/**
 * Run a model once on made-up inputs: open sizes become small numbers that usually fit, integers
 * are 0 (1 in masks), floats a small pattern. For trying out that a model runs at all.
 *
 * result   as of rp_model_run(); NULL when the outputs are not wanted
 * run_ms   how long the run that succeeded took; NULL when not wanted
 */
RP_API rp_status rp_model_run_sample(rp_model *model, rp_result **result, double *run_ms,
                                     rp_error *err) RP_MUST_CHECK;

/** The outputs, in the order of rp_model_output(). Borrowed from the result. */
RP_API size_t rp_result_count(const rp_result *result);
RP_API const rp_tensor *rp_result_tensor(const rp_result *result, size_t index);

/** Give the outputs back. Accepts NULL; may come before or after rp_model_close(). */
RP_API void rp_result_close(rp_result *result);

RP_END_DECLS

#endif
