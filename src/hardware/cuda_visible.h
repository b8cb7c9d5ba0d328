/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CUDA_VISIBLE_DEVICES, read as CUDA reads it: for when CUDA itself cannot be asked, and to say who
 * hides a GPU. A pure function over what is given.
 */
#ifndef RP_HARDWARE_CUDA_VISIBLE_H
#define RP_HARDWARE_CUDA_VISIBLE_H

#include <stdbool.h>
#include <stddef.h>

/* A GPU, or one slice of one, that may be shown: its uuids as NVML tells them; NULL: not known. */
struct rp_cuda_candidate {
    const char *gpu_uuid;
    const char *const *slice_uuids; /* of a divided GPU; its first one stands for it */
    size_t slice_count;
    bool is_divided; /* without a slice it can show none */
};

struct rp_cuda_choice {
    size_t candidate;
    size_t slice; /* meaningful when the candidate is divided */
};

/*
 * Which of the candidates, in the order of their numbers, are shown, in which order. `text` is the
 * variable's value, NULL when it is not set. Up to the first word that names no candidate, or one
 * that was named already, as CUDA has it. `choices` holds `choice_max`. *is_cut says whether such
 * a word came.
 */
size_t rp_cuda_visible(const char *text, const struct rp_cuda_candidate *candidates, size_t count,
                       struct rp_cuda_choice *choices, size_t choice_max, bool *is_cut);

#endif
