/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recorded/MACHINE.txt: what each machine answers for each model and each wish, byte for byte. A
 * change of an answer is a change of the program that somebody looked at: RP_RECORD=1 writes the
 * files anew, and the difference is read before it is committed.
 */
#include "../test.h"
#include "base/memory.h"
#include "base/text.h"
#include "placing.h"

#include <stdio.h>
#include <stdlib.h>

#define FOLDER SOURCE_ROOT "/tests/placement/recorded"

enum { TEXT_BYTES = 32 << 10, LINE_BYTES = 256, PATH_BYTES = 512 };

struct text {
    char bytes[TEXT_BYTES];
    size_t length;
};

static void put(struct text *text, const char *line) {
    size_t length = strlen(line);
    assert_true(text->length + length < TEXT_BYTES);
    memcpy(text->bytes + text->length, line, length + 1);
    text->length += length;
}

static size_t count_accepted(const rp_plan *plan) {
    size_t count = 0;
    for (size_t i = 0; i < rp_plan_candidate_count(plan); i++) {
        count += rp_plan_candidate(plan, i)->accepted;
    }
    return count;
}

static void put_answer(struct text *text, const rp_snapshot *snapshot, const char *model,
                       size_t wish) {
    char line[LINE_BYTES];
    char answer[64];
    rp_plan *plan = placing_ask(snapshot, model, placing_wishes[wish]);
    const rp_candidate *best = rp_plan_candidate(plan, 0);
    snprintf(line, sizeof line, "%zu %s", wish, placing_answer(plan, answer));
    put(text, line);
    if (best && best->accepted) {
        snprintf(line, sizeof line, ", %s, %.0f, of %zu\n", best->engine ? best->engine : "-",
                 best->score, count_accepted(plan));
        put(text, line);
    } else {
        rp_placement placement;
        rp_error err = RP_ERROR_INIT;
        assert_int_not_equal(rp_plan_placement(plan, &placement, &err), RP_OK);
        /* What it says first: the rest are figures that stand in it anyway. */
        const char *told = strstr(err.message, ": ");
        snprintf(line, sizeof line, ", %.72s\n", told ? told + 2 : err.message);
        put(text, line);
    }
    rp_plan_destroy(plan);
}

static void describe(const struct machine *machine, struct text *text) {
    char line[LINE_BYTES];
    text->length = 0;
    for (size_t wish = 0; wish < PLACING_WISH_COUNT; wish++) {
        snprintf(line, sizeof line, "# %zu: %s\n", wish, placing_wishes[wish]);
        put(text, line);
    }
    for (size_t model = 0; model < PLACING_MODEL_COUNT; model++) {
        put(text, "\n");
        put(text, placing_models[model]);
        put(text, "\n");
        for (size_t wish = 0; wish < PLACING_WISH_COUNT; wish++) {
            put_answer(text, machine->snapshot, placing_models[model], wish);
        }
    }
}

static void write_down(const char *path, const struct text *text) {
    FILE *file = fopen(path, "we");
    if (!file) fail_msg("cannot write '%s'", path);
    assert_int_equal(fwrite(text->bytes, 1, text->length, file), text->length);
    assert_int_equal(fclose(file), 0);
}

/* Tell the first line that differs; 1 when one does. */
static size_t compare(const char *name, const char *path, const struct text *text) {
    char *recorded = NULL;
    size_t length = 0;
    if (rp_text_read_file(path, TEXT_BYTES, &recorded, &length) != 0) {
        print_error("%s: there is no '%s'\n", name, path);
        return 1;
    }
    bool is_same = length == text->length && memcmp(recorded, text->bytes, length) == 0;
    size_t start = 0;
    for (size_t i = 0; !is_same && i < length && recorded[i] == text->bytes[i]; i++) {
        if (recorded[i] == '\n') start = i + 1;
    }
    if (!is_same) {
        print_error("%s: the first line that differs\n  recorded: %.*s\n  now:      %.*s\n", name,
                    (int)strcspn(recorded + start, "\n"), recorded + start,
                    (int)strcspn(text->bytes + start, "\n"), text->bytes + start);
    }
    rp_free(recorded);
    return !is_same;
}

static void answers_are_those_that_were_recorded(void **state) {
    (void)state;
    struct text *text = rp_alloc(sizeof *text);
    assert_non_null(text);
    size_t different = 0;
    for (size_t i = 0; i < placing_machine_count; i++) {
        char path[PATH_BYTES];
        snprintf(path, sizeof path, "%s/%s.txt", FOLDER, placing_machines[i].name);
        describe(&placing_machines[i], text);
        if (getenv("RP_RECORD")) {
            write_down(path, text);
        } else {
            different += compare(placing_machines[i].name, path, text);
        }
    }
    rp_free(text);
    if (different > 0) fail_msg("%zu machines answer otherwise", different);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_those_that_were_recorded),
    };
    return cmocka_run_group_tests(tests, placing_read_machines, placing_forget_machines);
}
