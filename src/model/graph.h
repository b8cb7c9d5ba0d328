/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the inputs and outputs of a graph say of a model, where no configuration tells: ONNX and
 * OpenVINO files name them alike. Names are habits of exporters, so that the confidence stays below
 * that of a class or a type.
 */
#ifndef RP_MODEL_GRAPH_H
#define RP_MODEL_GRAPH_H

#include <resourcepool/facts.h>
#include <stdbool.h>

enum { RP_PORT_NAME_BYTES = 96, RP_PORT_DIMENSIONS = 8 };

/* An input or an output. */
struct rp_port {
    char name[RP_PORT_NAME_BYTES];
    bool has_shape;
    uint32_t dimension_count;                /* may be more than are kept */
    uint64_t dimensions[RP_PORT_DIMENSIONS]; /* RP_UNKNOWN_U64: any       */
};

struct rp_graph {
    uint32_t input_count;
    uint32_t output_count;
    uint64_t roles; /* private: what was recognised */
    uint32_t layer_count;
    uint32_t kv_head_count;
    uint32_t head_size;
    uint32_t hidden_size;
    uint32_t vocabulary_size;
    char inputs[70]; /* private: names that were recognised */
    char outputs[70];
};

void rp_graph_init(struct rp_graph *graph);
void rp_graph_add_input(struct rp_graph *graph, const struct rp_port *port);
void rp_graph_add_output(struct rp_graph *graph, const struct rp_port *port);

/* Put what they say into the facts; the classification only where they say something. */
void rp_graph_tell(const struct rp_graph *graph, rp_model_facts *facts);

/*
 * After the last tensor: rp_facts_finish_tensors(), with this graph's own count of parameters,
 * which leaves out constants of formulas. Counts of files that were read before into the same facts
 * add up.
 */
void rp_graph_tell_parameters(rp_model_facts *facts, uint64_t parameter_count);

#endif
