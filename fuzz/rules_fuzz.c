/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of placement as a user may write them, after the built-in ones, and a question to them. */
#include "placement/built_in_rules.h"
#include "placement/rules.h"
#include "target.h"

#include <string.h>

static void ask(const struct rp_rules *rules) {
    rp_model_facts facts;
    rp_model_facts_of_name("openai/whisper-large-v3", NULL, &facts);
    facts.parameter_count = 1540000000;
    rp_accelerator told = {
        .size = sizeof told,
        .type = "gpu",
        .vendor = "nvidia",
        .driver_version = "470.82.01",
        .compute_capability = "8.6",
        .gfx_target = "gfx1103",
    };
    for (int kind = 0; rp_device_kind_name((rp_device_kind)kind); kind++) {
        const rp_device device = {
            .size = sizeof device,
            .id = "it",
            .kind = (rp_device_kind)kind,
            .accelerator = kind == RP_DEVICE_CPU ? NULL : &told,
        };
        const struct rp_rule_subject subject = {
            .device = &device,
            .facts = &facts,
            .name = "openai/whisper-large-v3",
            .family = RP_FAMILY_AUDIO,
            .subfamily = RP_SUBFAMILY_SPEECH_RECOGNITION,
            .precision = "fp16",
        };
        const struct rp_problem *problem = rp_rules_find_problem(rules, &subject);
        if (problem) {
            FUZZ_ASSERT(problem->effect != RP_EFFECT_ACCEPT && problem->kind == device.kind);
            FUZZ_ASSERT(problem->reason && strlen(problem->reason) < 1 << 20);
            FUZZ_ASSERT(rp_rules_has_problems(rules, device.kind));
        }
        for (int family = 0; rp_family_name((rp_family)family); family++) {
            const char *note = "";
            enum rp_level level = rp_rules_level(rules, (rp_family)family, device.kind, &note);
            FUZZ_ASSERT(level < RP_LEVEL_COUNT && rp_level_name(level));
            FUZZ_ASSERT(!note || strlen(note) < 1 << 20);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct rp_rules *rules = rp_rules_create();
    if (!rules) return 0;
    rp_error err = RP_ERROR_INIT;
    FUZZ_ASSERT(rp_rules_add(rules, rp_built_in_rules, rp_built_in_rules_bytes, "built in", &err) ==
                RP_OK);
    if (rp_rules_add(rules, (const char *)data, size, "input", &err) != RP_OK) {
        FUZZ_ASSERT(err.message[0] != '\0');
    }
    ask(rules);
    rp_rules_destroy(rules);
    return 0;
}
