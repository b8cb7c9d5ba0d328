/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine is: a runtime that loads and runs model files, behind one table of functions. An
 * engine knows nothing of pools, budgets or sharing.
 */
#ifndef RP_ENGINE_ENGINE_H
#define RP_ENGINE_ENGINE_H

#include "model/path.h"

#include <resourcepool/model.h>
#include <stdatomic.h>

/* Grows when a function below changes its meaning. */
enum { RP_ENGINE_ABI = 1 };

/* What to open. Every text is borrowed for the call and none is NULL except precision. */
struct rp_engine_request {
    const char *path;
    const char *device;    /* "cpu" when the caller named none */
    const char *precision; /* NULL: as stored */
    uint32_t threads;      /* at least 1 */

    /*
     * Stop early: once *cancelled is not 0, or once rp_clock_ns() has passed the deadline. An
     * engine looks where it can; ONNX Runtime cannot before version 1.22 of its C header.
     */
    const _Atomic int *cancelled; /* NULL: cannot be cancelled */
    int64_t deadline_ns;          /* RP_NEVER_NS: none */
};

/* An input or output as an engine describes it; all of it owned by the model's arena. */
struct rp_engine_ports {
    rp_port *ports;
    size_t count;
};

/*
 * An open model. An engine fills in `state`, the ports and, where it knows better, `precision`. On
 * failure it leaves the ports that it made: rp_model_close() frees them.
 */
struct rp_model {
    /* Set by rp_model_open(), constant afterwards: read without a lock. */
    const struct rp_engine_ops *ops;
    void *state; /* the engine's own */
    char *path;
    char *device;
    char *precision; /* NULL: unknown */
    uint32_t threads;
    struct rp_engine_ports inputs;
    struct rp_engine_ports outputs;

    /* Set by whoever opened it, before anybody runs it. NULL: nobody adds to what the engine says
     * of a run that failed. Misuse is not asked about. */
    void (*run_failed)(const rp_model *model, rp_error *err);
};

/* The outputs of a run: an engine fills in the tensors and what keeps them alive. */
struct rp_result {
    size_t count;
    rp_tensor *tensors; /* shapes are part of the same block as the result */
    int64_t *shapes;    /* RP_LIMIT_TENSOR_DIMENSIONS for each tensor */
    void *owner;        /* the engine's own; NULL: nothing to give back */
    void (*release)(void *owner);
};

struct rp_engine_ops {
    uint32_t abi; /* RP_ENGINE_ABI */
    const char *name;
    bool simulated; /* never chosen unless named */

    /* What it can do in this version, for placement, which opens nothing. */
    const char *format; /* of rp_model_facts.format; NULL: whatever is named */
    uint32_t kinds;     /* a bit for each kind of device: 1 << RP_DEVICE_CPU */

    /* Required. Fill in available, version, library_path and reason. Absence is no failure. */
    rp_status (*probe)(rp_engine_info *info, rp_error *err);

    /*
     * Required. RP_OK when this engine can, as far as a look at the file tells, run `path` on
     * `device`; otherwise the reason. Opens no runtime.
     */
    rp_status (*can_load)(const char *path, const char *device, rp_error *err);

    /* Required. Load. The ports come from rp_engine_ports_make(). */
    rp_status (*open)(const struct rp_engine_request *request, rp_model *model, rp_error *err);

    /* Required. Run on inputs that rp_model_run() has checked; any thread, several at once. */
    rp_status (*run)(rp_model *model, const rp_tensor *inputs, rp_result **result, rp_error *err);

    /* Optional. Bytes that a load of `path` would take, without loading; RP_UNKNOWN_U64. */
    uint64_t (*estimate)(const char *path, const char *device);

    /* Optional. Bytes held now, RP_UNKNOWN_U64 when unknown; NULL: always unknown. */
    uint64_t (*bytes)(const rp_model *model);

    /* Optional. Give back memory kept for the next run; NULL: nothing is kept. */
    void (*trim)(rp_model *model);

    /* Optional. Whether it can never run again; NULL: as long as it is open it can. */
    bool (*is_gone)(const rp_model *model);

    /* Required. Unload; model->state may be NULL when open failed half-way. */
    void (*close)(rp_model *model);
};

extern const struct rp_engine_ops rp_engine_onnxruntime;
extern const struct rp_engine_ops rp_engine_simulated;

/* The engine of this index or name; NULL when there is none. */
const struct rp_engine_ops *rp_engine_at(size_t index);
const struct rp_engine_ops *rp_engine_find(const char *name);

/* The engine that the caller named, or the first real one that can load `path` on `device`. */
rp_status rp_engine_choose(const char *name, const char *path, const char *device,
                           const struct rp_engine_ops **ops, rp_error *err);

/*
 * The file that the engine of this name (NULL: the first real one) would load of a folder. Any
 * other path is itself. Looks at names only.
 */
rp_status rp_engine_find_file(const char *name, const char *path, struct rp_path *file,
                              rp_error *err);

/* What an engine says that a load would take; RP_UNKNOWN_U64 when it cannot tell. */
uint64_t rp_engine_estimate(const char *name, const char *path, const char *device);

/* rp_model_open() for callers that may want to stop: what the pool uses. */
rp_status rp_model_open_until(const char *path, const rp_model_options *options,
                              const _Atomic int *cancelled, int64_t deadline_ns, rp_model **model,
                              rp_error *err);

/*
 * A model of an engine that is not in the table, such as one in another process, not opened yet:
 * `state` and ports are the caller's to fill in. rp_model_close() calls ops->close(). Such an
 * engine is never chosen for a file: it has no probe, can_load or open.
 */
rp_status rp_model_make(const struct rp_engine_ops *ops, const struct rp_engine_request *request,
                        rp_model **model, rp_error *err);

/* Memory that an engine keeps for the next run of this model goes back now. Any thread. */
void rp_model_trim(rp_model *model);

/* Room for `count` ports, zeroed; rp_engine_ports_fini() frees them with what they point to. */
bool rp_engine_ports_make(struct rp_engine_ports *ports, size_t count);
void rp_engine_ports_fini(struct rp_engine_ports *ports);

/* A copy of its own; false when there is no memory: what was made of it is still to be freed. */
bool rp_engine_ports_copy(const struct rp_engine_ports *from, struct rp_engine_ports *to);

/*
 * Describe port `index`. The texts and the shape are copied; dim_names may be NULL. `type` is used
 * for ports that are not tensors of numbers (dtype.lanes 0) and must be static. False when
 * there is no memory.
 */
bool rp_engine_ports_set(struct rp_engine_ports *ports, size_t index, const char *name,
                         const char *type, rp_dtype dtype, const int64_t *shape, int32_t ndim,
                         const char *const *dim_names);

/* A result with room for `count` tensors, each with its shape in place; NULL without memory. */
rp_result *rp_result_make(size_t count);

#endif
