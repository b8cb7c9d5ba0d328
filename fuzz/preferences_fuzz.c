/* SPDX-License-Identifier: Apache-2.0 */
/* Preferences as JSON; what is sound is asked a placement with, on a machine of two cards. */
#include "target.h"

#include <resourcepool/placement.h>
#include <string.h>

static const char machine[] =
    "{\"version\":1,\"simulated\":true,\"devices\":[{\"id\":\"cpu\",\"kind\":\"cpu\",\"available\":"
    "true,\"simulated\":true,\"memory_bytes_total\":68719476736,\"memory_bytes_free\":60000000000},"
    "{\"id\":\"cuda:0\",\"kind\":\"cuda\",\"available\":true,\"simulated\":true,"
    "\"memory_bytes_total\":25757220864,\"memory_bytes_free\":24000000000,\"accelerator\":{"
    "\"type\":"
    "\"gpu\",\"compute_capability\":\"8.9\",\"precisions\":[\"fp32\",\"fp16\",\"int8\"]}},"
    "{\"id\":\"webgpu:0\",\"kind\":\"webgpu\",\"available\":true,\"simulated\":true}],"
    "\"absent\":[{\"kind\":\"rocm\",\"reason\":\"none is here\"}]}";

static void place(const rp_preferences *preferences) {
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    rp_plan *plan = NULL;
    rp_placement placement;
    rp_model_facts facts;
    FUZZ_ASSERT(rp_snapshot_from_json(machine, sizeof machine - 1, NULL, &snapshot, &err) == RP_OK);
    rp_model_facts_of_name("meta-llama/Llama-2-7b-hf", NULL, &facts);
    rp_place_request request = RP_PLACE_REQUEST_INIT;
    request.snapshot = snapshot;
    request.facts = &facts;
    request.name = "meta-llama/Llama-2-7b-hf";
    request.preferences = preferences;
    rp_status status = rp_place(&request, &plan, &err);
    if (status == RP_OK) {
        size_t count = rp_plan_candidate_count(plan);
        for (size_t i = 1; i < count; i++) {
            const rp_candidate *one = rp_plan_candidate(plan, i - 1);
            const rp_candidate *next = rp_plan_candidate(plan, i);
            FUZZ_ASSERT(one->accepted || !next->accepted);
            FUZZ_ASSERT(!next->accepted || one->score >= next->score);
        }
        status = rp_plan_placement(plan, &placement, &err);
        FUZZ_ASSERT((status == RP_OK) == rp_plan_candidate(plan, 0)->accepted);
    }
    FUZZ_ASSERT(status == RP_OK || err.message[0] != '\0');
    rp_plan_destroy(plan);
    rp_snapshot_release(snapshot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    rp_error err = RP_ERROR_INIT;
    rp_preferences *preferences = NULL;
    char warning[64];
    rp_status status =
        rp_preferences_parse((const char *)data, size, &preferences, warning, sizeof warning, &err);
    FUZZ_ASSERT(size > 64 << 10 || memchr(warning, '\0', sizeof warning));
    if (status != RP_OK) {
        FUZZ_ASSERT(err.message[0] != '\0');
        return 0;
    }
    FUZZ_ASSERT(preferences->priority_count <= 9 && preferences->compatibility_count <= 9);
    place(preferences);
    rp_preferences_destroy(preferences);
    return 0;
}
