/* SPDX-License-Identifier: Apache-2.0 */
/* Types of elements in OpenVINO's IR. rp_openvino_read() is declared in facts.h. */
#ifndef RP_MODEL_OPENVINO_H
#define RP_MODEL_OPENVINO_H

#include <stddef.h>
#include <stdint.h>

struct rp_openvino_type {
    const char *name;   /* as the IR has it                                             */
    const char *stored; /* as in rp_model_facts.precision                               */
    uint32_t bits;      /* 0: texts, each of its own length                             */
    uint32_t unit_bits; /* what they are packed into: bytes, or three bytes for 3 and 6 */
};

extern const struct rp_openvino_type rp_openvino_types[];
extern const size_t rp_openvino_type_count;

#endif
