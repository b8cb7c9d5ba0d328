/* SPDX-License-Identifier: Apache-2.0 */
/*
 * by_hand.txt against the program. A line that differs prints both answers and every candidate;
 * all of them are told before the test fails.
 */
#include "../test.h"
#include "base/memory.h"
#include "base/text.h"
#include "placing.h"

#include <stdio.h>
#include <stdlib.h>

enum { FIELD_COUNT = 5, ANSWERS_MIN = 3, FILE_BYTES_MAX = 1 << 20 };
enum field { MACHINE, MODEL, WISHES, ANSWER, WHY };

/* Cut a line at each '|' and take the blanks off both ends; false when there are not five parts. */
static bool cut(char *line, char *fields[FIELD_COUNT]) {
    size_t count = 0;
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        fields[i] = line + strlen(line);
    }
    for (char *at = line; at && count < FIELD_COUNT; count++) {
        char *bar = count + 1 < FIELD_COUNT ? strchr(at, '|') : NULL;
        if (bar) *bar = '\0';
        at += strspn(at, " ");
        size_t length = strlen(at);
        while (length > 0 && at[length - 1] == ' ') {
            at[--length] = '\0';
        }
        fields[count] = at;
        at = bar ? bar + 1 : NULL;
    }
    return count == FIELD_COUNT && fields[WHY][0] != '\0';
}

/* 1 when the program says otherwise. */
static size_t check(size_t number, char *const fields[FIELD_COUNT]) {
    const struct machine *machine = placing_machine(fields[MACHINE]);
    rp_plan *plan = placing_ask(machine->snapshot, fields[MODEL], fields[WISHES]);
    char answer[64];
    bool is_same = strcmp(placing_answer(plan, answer), fields[ANSWER]) == 0;
    if (!is_same) {
        char *all = placing_describe(plan);
        print_error("line %zu: %s, %s %s\n  by hand: %s (%s)\n  program: %s\n%s\n", number,
                    machine->name, fields[MODEL], fields[WISHES], fields[ANSWER], fields[WHY],
                    answer, all);
        rp_free(all);
    }
    rp_plan_destroy(plan);
    return !is_same;
}

static void the_program_answers_as_people_did(void **state) {
    (void)state;
    char *text = NULL;
    size_t length = 0;
    size_t wrong = 0;
    size_t number = 0;
    assert_int_equal(rp_text_read_file(SOURCE_ROOT "/tests/placement/by_hand.txt", FILE_BYTES_MAX,
                                       &text, &length),
                     0);
    for (char *line = text, *next; line; line = next) {
        char *fields[FIELD_COUNT];
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        number++;
        if (line[0] == '\0' || line[0] == '#') continue;
        if (!cut(line, fields)) fail_msg("by_hand.txt, line %zu: not five parts", number);
        wrong += check(number, fields);
    }
    rp_free(text);
    if (wrong > 0) fail_msg("%zu answers are not those that were written by hand", wrong);
}

/* Each machine has three answers, one of them with preferences. */
static void each_machine_is_asked(void **state) {
    (void)state;
    char *text = NULL;
    size_t length = 0;
    assert_int_equal(rp_text_read_file(SOURCE_ROOT "/tests/placement/by_hand.txt", FILE_BYTES_MAX,
                                       &text, &length),
                     0);
    for (size_t i = 0; i < placing_machine_count; i++) {
        char start[80];
        snprintf(start, sizeof start, "\n%s | ", placing_machines[i].name);
        size_t answers = 0;
        size_t plain = 0;
        for (const char *at = strstr(text, start); at; at = strstr(at + 1, start)) {
            const char *end = strchr(at + 1, '\n');
            const char *nothing = strstr(at, "| {} |");
            answers++;
            plain += nothing && nothing < end;
        }
        if (answers < ANSWERS_MIN || plain == answers) {
            fail_msg("%s: %zu answers, %zu of them without preferences", placing_machines[i].name,
                     answers, plain);
        }
    }
    rp_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_machine_is_asked),
        cmocka_unit_test(the_program_answers_as_people_did),
    };
    return cmocka_run_group_tests(tests, placing_read_machines, placing_forget_machines);
}
