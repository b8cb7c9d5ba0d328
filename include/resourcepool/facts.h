/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What a model is, as far as its files, its configuration or its name tell: family, parameters,
 * bytes, layers; and the memory that follows from them. Nothing is loaded.
 *
 * Each figure carries the way it was found. A count that is not known is RP_UNKNOWN_U64 or
 * RP_UNKNOWN_U32, a text "" (or NULL where it is a pointer), never zero.
 */
#ifndef RESOURCEPOOL_FACTS_H
#define RESOURCEPOOL_FACTS_H

#include <resourcepool/api.h>
#include <resourcepool/classify.h>
#include <resourcepool/hardware.h>
#include <resourcepool/status.h>
#include <stddef.h>
#include <stdint.h>

/** How a figure was found, the weakest first. */
typedef enum rp_facts_method {
    RP_FACTS_UNKNOWN = 0,
    RP_FACTS_NAME = 1,   /* "name": read off the model's name, such as "7b"                     */
    RP_FACTS_CONFIG = 2, /* "config": computed from layers and widths in config.json            */
    RP_FACTS_FILE = 3,   /* "file": added up from a table of tensors, exact to the byte         */
} rp_facts_method;

enum { RP_FACTS_TEXT_BYTES = 96, RP_FACTS_STORED_MAX = 24 };

/** The tensors of one type of element. */
typedef struct rp_stored {
    char name[16]; /* "fp32", "bf16", "int8", "q4_k": as in rp_model_facts.precision        */
    uint64_t tensor_count;
    uint64_t element_count;
    uint64_t bytes;
} rp_stored;

/** What is known of a model. Owns nothing on the heap; new fields go last. */
typedef struct rp_model_facts {
    size_t size;                      /* sizeof(rp_model_facts), as the library was built         */
    rp_classification classification; /* family, subfamily, confidence, source, evidence          */
    const char *format; /* "safetensors", "gguf", "onnx", "openvino", "pytorch"; NULL: no weights
                           were found. Static storage                                          */
    char model_type[RP_FACTS_TEXT_BYTES];   /* config.json's, "bert"                              */
    char architecture[RP_FACTS_TEXT_BYTES]; /* config.json's first, "BertForMaskedLM"             */
    char task[RP_FACTS_TEXT_BYTES];         /* "fill-mask"                                        */
    char precision[16]; /* the type that most of the weights' bytes have: "fp32", "fp16", "bf16",
                           "int8", "int4", "fp8", "q4_k", ...; of a name: as it says           */
    char
        quantization[32]; /* the scheme, if there is one: "Q4_K_M", "gptq", "awq", "bitsandbytes" */

    uint64_t parameter_count;     /* elements of all weights                                      */
    uint64_t parameter_count_min; /* what it may be as well: equal to the count when it is exact  */
    uint64_t parameter_count_max;
    rp_facts_method parameter_method;

    uint64_t weights_bytes; /* of the tensors, as stored; by "config" an index's own claim       */
    rp_facts_method weights_method;
    uint64_t file_bytes; /* of the files that hold them, headers included                        */
    uint32_t file_count;
    uint64_t tensor_count;
    rp_stored stored[RP_FACTS_STORED_MAX]; /* the most bytes first; of further types, the last row
                                              has the sum and the name "other"                   */
    size_t stored_count;

    uint32_t layer_count;
    uint32_t hidden_size;       /* width of the residual stream                                  */
    uint32_t intermediate_size; /* width inside the feed-forward blocks                          */
    uint32_t head_count;
    uint32_t
        kv_head_count; /* heads of keys and values: fewer than head_count in grouped attention */
    uint32_t head_size;
    uint32_t vocabulary_size;
    uint32_t context_length; /* tokens, at most                                                  */
    uint32_t expert_count;   /* of a mixture of experts                                          */
    uint32_t expert_used_count;
    uint32_t input_count; /* of a graph                                                          */
    uint32_t output_count;
    uint32_t opset_version;             /* of a graph's standard operators                       */
    char producer[RP_FACTS_TEXT_BYTES]; /* what wrote a graph, "pytorch 2.1"                      */
} rp_model_facts;

/** What is done with a model, for its memory. Zero means the default. */
typedef struct rp_workload {
    size_t size;             /* sizeof(rp_workload)                                              */
    uint32_t batch_size;     /* 0: 1                                                             */
    uint32_t context_length; /* tokens of each; 0: 2048 for text generation, 512 for the rest, and
                                never more than the model can                                    */
} rp_workload;

#define RP_WORKLOAD_INIT                                                                           \
    { sizeof(rp_workload), 0, 0 }

/** The memory that a model needs on a device. total = weights + state + activations + overhead. */
typedef struct rp_memory_need {
    size_t size;
    uint64_t total_bytes;     /* RP_UNKNOWN_U64: nothing to go by                               */
    uint64_t total_bytes_min; /* the error band of the method                                   */
    uint64_t total_bytes_max;
    uint64_t weights_bytes;    /* in the asked precision                                         */
    uint64_t state_bytes;      /* keys and values of attention; 0 for what keeps none            */
    uint64_t activation_bytes; /* the largest set of intermediate results                        */
    uint64_t overhead_bytes;   /* of the engine and its device context                           */
    rp_facts_method method;    /* the weakest that went in: "file", "config", "name"             */
} rp_memory_need;

RP_BEGIN_DECLS

/** "file", "config", "name", "unknown". Static storage. */
RP_API const char *rp_facts_method_name(rp_facts_method method);

/**
 * Read what a model is: from a folder, a file, or a name when there is neither.
 *
 * model  a folder with config.json and weights, a file (.safetensors, .gguf, .onnx, .xml,
 *        *.index.json), or a name such as "meta-llama/Llama-2-70b"
 * hints  what the caller knows besides; NULL. What it says wins over what the name says
 * facts  filled in whole
 *
 * Reads headers and tables, not the weights: some kB of a file of 100 GB. Blocks on the disk.
 * RP_ERR_NOT_FOUND: it looks like a path ('/' first, './', or a known ending) and nothing is there.
 * RP_ERR_DATA: damaged; the message names file, offset and what was found. RP_ERR_UNSUPPORTED: a
 * file, but of no known format. RP_ERR_LIMIT, RP_ERR_IO, RP_ERR_MEMORY. Any thread.
 */
RP_API RP_MUST_CHECK rp_status rp_model_facts_read(const char *model, const rp_model_hints *hints,
                                                   rp_model_facts *facts, rp_error *err);

/** The same from the name alone: no file is looked at, nothing allocated, nothing can fail. */
RP_API void rp_model_facts_of_name(const char *name, const rp_model_hints *hints,
                                   rp_model_facts *facts);

/**
 * The memory that a model needs when its weights are in a precision.
 *
 * precision  "fp32", "fp16", "bf16", "int8", "int4", ...; NULL: as stored, fp32 when that is not
 *            known
 * workload   NULL means defaults
 * need       filled in
 */
RP_API void rp_model_memory_need(const rp_model_facts *facts, const char *precision,
                                 const rp_workload *workload, rp_memory_need *need);

RP_END_DECLS

#endif
