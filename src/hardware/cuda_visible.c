/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/cuda_visible.h"

#include "hardware/proc.h"

#include <string.h>
#include <strings.h>

/* A uuid may be shortened, as long as it is the only one that begins so. */
static bool begins(const char *uuid, struct rp_span word) {
    return uuid && strlen(uuid) >= word.length && strncasecmp(uuid, word.at, word.length) == 0;
}

static bool find_number(struct rp_span word, const struct rp_cuda_candidate *candidates,
                        size_t count, struct rp_cuda_choice *choice) {
    uint64_t number;
    if (!rp_span_parse_u64(word, &number)) return false;
    /* A divided GPU without a slice is no device, and has no number. */
    for (size_t i = 0; i < count; i++) {
        if (candidates[i].is_divided && candidates[i].slice_count == 0) continue;
        if (number-- > 0) continue;
        *choice = (struct rp_cuda_choice){i, 0};
        return true;
    }
    return false;
}

static bool find_uuid(struct rp_span word, const struct rp_cuda_candidate *candidates, size_t count,
                      struct rp_cuda_choice *choice) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        const struct rp_cuda_candidate *each = &candidates[i];
        if (!each->is_divided && begins(each->gpu_uuid, word)) {
            *choice = (struct rp_cuda_choice){i, 0};
            found++;
        }
        for (size_t j = 0; each->is_divided && j < each->slice_count; j++) {
            if (!begins(each->slice_uuids[j], word)) continue;
            *choice = (struct rp_cuda_choice){i, j};
            found++;
        }
    }
    return found == 1;
}

static bool find(struct rp_span word, const struct rp_cuda_candidate *candidates, size_t count,
                 struct rp_cuda_choice *choice) {
    bool is_uuid = word.length > 4 &&
                   (strncasecmp(word.at, "GPU-", 4) == 0 || strncasecmp(word.at, "MIG-", 4) == 0);
    return is_uuid ? find_uuid(word, candidates, count, choice)
                   : find_number(word, candidates, count, choice);
}

static bool is_chosen(const struct rp_cuda_choice *choices, size_t count,
                      struct rp_cuda_choice choice) {
    for (size_t i = 0; i < count; i++) {
        if (choices[i].candidate == choice.candidate && choices[i].slice == choice.slice) {
            return true;
        }
    }
    return false;
}

size_t rp_cuda_visible(const char *text, const struct rp_cuda_candidate *candidates, size_t count,
                       struct rp_cuda_choice *choices, size_t choice_max, bool *is_cut) {
    size_t chosen = 0;
    *is_cut = false;
    if (!text) {
        for (size_t i = 0; i < count && chosen < choice_max; i++) {
            if (candidates[i].is_divided && candidates[i].slice_count == 0) continue;
            choices[chosen++] = (struct rp_cuda_choice){i, 0};
        }
        return chosen;
    }
    while (*text != '\0' && chosen < choice_max) {
        size_t length = strcspn(text, ",");
        struct rp_cuda_choice choice;
        struct rp_span word = rp_span_trim((struct rp_span){text, length});
        if (!find(word, candidates, count, &choice) || is_chosen(choices, chosen, choice)) {
            *is_cut = true;
            break;
        }
        choices[chosen++] = choice;
        text += length + (text[length] == ',');
    }
    return chosen;
}
