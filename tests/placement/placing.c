/* SPDX-License-Identifier: Apache-2.0 */
#include "placing.h"

#include "../test.h"
#include "base/memory.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#define FOLDER SOURCE_ROOT "/tests/machines"

enum { MACHINES_MAX = 128, ANSWER_BYTES = 64 };

static struct machine machines[MACHINES_MAX];
const struct machine *const placing_machines = machines;
size_t placing_machine_count;

const char *const placing_models[] = {
    "bert-base-uncased",
    "sentence-transformers/all-MiniLM-L6-v2",
    "meta-llama/Llama-2-7b-hf",
    "meta-llama/Llama-2-70b",
    "mistralai/Mixtral-8x7B-v0.1",
    "openai/whisper-large-v3",
    "google/vit-base-patch16-224",
    "openai/clip-vit-large-patch14",
    "llava-hf/llava-1.5-7b-hf",
    "t5-small",
    "gpt2",
    "Qwen/Qwen2.5-0.5B",
};

const char *const placing_wishes[] = {
    "{}",
    "{\"priority_list\":[\"cuda\",\"mps\",\"cpu\"]}",
    "{\"precision\":\"fp16\"}",
    "{\"device\":\"cpu\"}",
    "{\"policy\":\"prefer\",\"device\":\"cuda:1\"}",
    "{\"subfamily\":\"web_deployment\",\"priority_list\":[\"webnn\",\"webgpu\",\"cpu\"]}",
};

static int by_name(const void *left, const void *right) {
    const struct machine *a = left;
    const struct machine *b = right;
    return strcmp(a->name, b->name);
}

static int read_machine(const char *file, size_t name_length) {
    struct machine *machine = &machines[placing_machine_count];
    char path[sizeof FOLDER + sizeof machine->name + 8];
    rp_error err = RP_ERROR_INIT;
    if (placing_machine_count == MACHINES_MAX || name_length >= sizeof machine->name) return -1;
    memcpy(machine->name, file, name_length);
    machine->name[name_length] = '\0';
    snprintf(path, sizeof path, "%s/%s.json", FOLDER, machine->name);
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    options.simulate = path;
    if (rp_hardware_detect(&options, &machine->snapshot, &err) != RP_OK) {
        fprintf(stderr, "%s: %s\n", path, err.message);
        return -1;
    }
    placing_machine_count++;
    return 0;
}

int placing_read_machines(void **state) {
    (void)state;
    DIR *folder = opendir(FOLDER);
    if (!folder) return -1;
    int result = 0;
    for (struct dirent *each = readdir(folder); each && result == 0; each = readdir(folder)) {
        const char *dot = strrchr(each->d_name, '.');
        if (!dot || strcmp(dot, ".json") != 0) continue;
        result = read_machine(each->d_name, (size_t)(dot - each->d_name));
    }
    closedir(folder);
    qsort(machines, placing_machine_count, sizeof *machines, by_name);
    return result;
}

int placing_forget_machines(void **state) {
    (void)state;
    for (size_t i = 0; i < placing_machine_count; i++) {
        rp_snapshot_release(machines[i].snapshot);
    }
    placing_machine_count = 0;
    return 0;
}

const struct machine *placing_machine(const char *name) {
    for (size_t i = 0; i < placing_machine_count; i++) {
        if (strcmp(machines[i].name, name) == 0) return &machines[i];
    }
    fail_msg("there is no machine '%s'", name);
    return NULL;
}

rp_plan *placing_ask(const rp_snapshot *snapshot, const char *model, const char *wishes) {
    rp_error err = RP_ERROR_INIT;
    rp_preferences *preferences = NULL;
    char warning[256] = "";
    rp_model_facts facts;
    rp_plan *plan = NULL;
    assert_ok(
        rp_preferences_parse(wishes, strlen(wishes), &preferences, warning, sizeof warning, &err));
    assert_string_equal(warning, "");
    rp_model_facts_of_name(model, NULL, &facts);
    rp_place_request request = RP_PLACE_REQUEST_INIT;
    request.snapshot = snapshot;
    request.facts = &facts;
    request.name = model;
    request.preferences = preferences;
    assert_ok(rp_place(&request, &plan, &err));
    rp_preferences_destroy(preferences);
    return plan;
}

const char *placing_answer(const rp_plan *plan, char *text) {
    rp_placement placement;
    rp_error err = RP_ERROR_INIT;
    rp_status status = rp_plan_placement(plan, &placement, &err);
    if (status == RP_OK) {
        snprintf(text, ANSWER_BYTES, "%s/%s", placement.device, placement.precision);
    } else {
        snprintf(text, ANSWER_BYTES, "error: %s", rp_status_name(status));
    }
    return text;
}

char *placing_describe(const rp_plan *plan) {
    char *text = rp_alloc(PLACING_TEXT_BYTES);
    rp_placement placement;
    rp_error err = RP_ERROR_INIT;
    assert_non_null(text);
    size_t length = 0;
    for (size_t i = 0; i < rp_plan_candidate_count(plan); i++) {
        const rp_candidate *each = rp_plan_candidate(plan, i);
        length += (size_t)snprintf(
            text + length, PLACING_TEXT_BYTES - length,
            "%c %s/%s by %s, %.17g, %d%d%d%d, %llu of %llu (%s): %s\n", each->accepted ? '+' : '-',
            each->device, each->precision ? each->precision : "-",
            each->engine ? each->engine : "-", each->score, each->is_short, each->is_later,
            each->is_stored, each->simulated, (unsigned long long)each->memory_bytes_needed,
            (unsigned long long)each->memory_bytes_usable,
            each->memory_method ? each->memory_method : "-", each->reason);
        assert_true(length < PLACING_TEXT_BYTES);
    }
    if (rp_plan_placement(plan, &placement, &err) == RP_OK) {
        snprintf(text + length, PLACING_TEXT_BYTES - length, "%s/%s: %s\n", placement.device,
                 placement.precision, placement.reason);
    } else {
        snprintf(text + length, PLACING_TEXT_BYTES - length, "%s: %s; %s\n",
                 rp_status_name(err.status), err.message, err.hint);
    }
    return text;
}
