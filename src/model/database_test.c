/* SPDX-License-Identifier: Apache-2.0 */
#include "model/database.h"

#include "base/memory.h"

#include "../../tests/json_heap.h"
#include "../../tests/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/rp_database_XXXXXX";
static char path[64];

static int enter_folder(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/models.json", folder);
    return 0;
}

static int leave_folder(void **state) {
    (void)state;
    static const char *const ends[] = {"", ".lock", ".new", ".link"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        char name[96];
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
    return rmdir(folder);
}

static void write_text(const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void assert_text(const char *text) {
    char found[4096] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    found[fread(found, 1, sizeof found - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(found, text);
}

static rp_classification answer_of(rp_family family, rp_subfamily subfamily, double confidence) {
    return (rp_classification){.family = family, .subfamily = subfamily, .confidence = confidence};
}

static rp_classification find(const char *name) {
    rp_error err = RP_ERROR_INIT;
    rp_model_database *database = NULL;
    rp_classification found = {.family = RP_FAMILY_UNKNOWN, .confidence = -1};
    assert_ok(rp_model_database_open(path, &database, &err));
    rp_model_database_find(database, name, &found);
    rp_model_database_close(database);
    return found;
}

static void what_is_recorded_is_found(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_classification kept;
    rp_classification answer = answer_of(RP_FAMILY_VISION, RP_SUBFAMILY_SEGMENTATION, 0.75);
    unlink(path);
    assert_ok(rp_model_database_record(path, "a/b", &answer, &kept, &err));
    assert_int_equal(kept.family, RP_FAMILY_VISION);
    rp_classification found = find("a/b");
    assert_int_equal(found.family, RP_FAMILY_VISION);
    assert_int_equal(found.subfamily, RP_SUBFAMILY_SEGMENTATION);
    assert_true(found.confidence == 0.75);
    assert_string_equal(found.source, "database");
    assert_says(found.evidence, "models.json");
    assert_true(find("a/B").confidence == -1);
}

static void a_weaker_answer_changes_nothing(void **state) {
    (void)state;
    static const char text[] = "{\"a\": {\"family\": \"audio\", \"confidence\": 0.8, \"by\": "
                               "\"hand\"}, \"b\": {\"family\": \"vision\"}}";
    rp_error err = RP_ERROR_INIT;
    rp_classification kept;
    write_text(text);
    rp_classification weak = answer_of(RP_FAMILY_VISION, RP_SUBFAMILY_NONE, 0.79);
    assert_ok(rp_model_database_record(path, "a", &weak, &kept, &err));
    assert_int_equal(kept.family, RP_FAMILY_AUDIO);
    assert_text(text);
    rp_classification equal = answer_of(RP_FAMILY_VISION, RP_SUBFAMILY_SEGMENTATION, 0.8);
    assert_ok(rp_model_database_record(path, "a", &equal, &kept, &err));
    assert_text(text);
    rp_classification sure = answer_of(RP_FAMILY_AUDIO, RP_SUBFAMILY_NONE, 1);
    assert_ok(rp_model_database_record(path, "b", &sure, &kept, &err)); /* a person's word is 1 */
    assert_int_equal(kept.family, RP_FAMILY_VISION);
    assert_text(text);
}

static void a_surer_answer_replaces_its_entry_and_no_more(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    write_text("{\"a\": {\"family\": \"audio\", \"confidence\": 0.5, \"by\": \"hand\"}, \"b\": "
               "{\"family\": \"vision\", \"note\": [1]}}");
    assert_int_equal(chmod(path, 0640), 0);
    rp_classification answer = answer_of(RP_FAMILY_VISION, RP_SUBFAMILY_NONE, 0.75);
    assert_ok(rp_model_database_record(path, "a", &answer, NULL, &err));
    assert_text(
        "{\n  \"a\": {\n    \"family\": \"vision\",\n    \"confidence\": 0.75,\n    \"by\": "
        "\"hand\"\n  },\n  \"b\": {\n    \"family\": \"vision\",\n    \"note\": [\n"
        "      1\n    ]\n  }\n}\n");
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0640);
}

static void a_damaged_file_is_an_error_and_stays(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *says;
    } damages[] = {
        {"", "line 1"},
        {"{\"a\": {\"family\": \"audio\"}", "line 1"},
        {"[1]", "no object"},
        {"{\n\"a\": {\"family\": \"audio\"},\n\"a\": {\"family\": \"audio\"}}", "line 3"},
        {"{\"a\": 1}", "family of 'a' is missing"},
        {"{\"a\": {\"family\": \"text\"}}", "text"},
        {"{\"a\": {\"family\": \"audio\", \"subfamily\": \"nonesuch\"}}", "nonesuch"},
        {"{\"a\": {\"family\": \"audio\", \"confidence\": 1.5}}", "'a'"},
        {"{\"a\": {\"family\": \"audio\", \"confidence\": \"high\"}}", "'a'"},
    };
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_database *database = NULL;
        rp_classification answer = answer_of(RP_FAMILY_VISION, RP_SUBFAMILY_NONE, 1);
        write_text(damages[i].text);
        assert_status(rp_model_database_open(path, &database, &err), RP_ERR_DATA);
        assert_null(database);
        assert_says(err.message, damages[i].says);
        assert_says(err.message, "models.json");
        assert_status(rp_model_database_record(path, "b", &answer, NULL, &err), RP_ERR_DATA);
        assert_text(damages[i].text);
    }
}

static void a_missing_file_and_misuse_are_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_database *database = NULL;
    rp_classification answer = answer_of(RP_FAMILY_VISION, RP_SUBFAMILY_NONE, 1);
    rp_classification nothing = answer_of(RP_FAMILY_UNKNOWN, RP_SUBFAMILY_NONE, 1);
    unlink(path);
    assert_status(rp_model_database_open(path, &database, &err), RP_ERR_NOT_FOUND);
    assert_status(rp_model_database_open("", &database, &err), RP_ERR_ARGUMENT);
    assert_status(rp_model_database_record(path, "", &answer, NULL, &err), RP_ERR_ARGUMENT);
    assert_status(rp_model_database_record(path, "\xff", &answer, NULL, &err), RP_ERR_ARGUMENT);
    assert_status(rp_model_database_record(path, "a", &nothing, NULL, &err), RP_ERR_ARGUMENT);
    assert_status(rp_model_database_record("/nonesuch/a", "a", &answer, NULL, &err),
                  RP_ERR_NOT_FOUND);
    assert_int_not_equal(access(path, F_OK), 0);
    rp_model_database_close(NULL);
}

static void a_link_stays_a_link(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    char name[96];
    struct stat file;
    rp_classification answer = answer_of(RP_FAMILY_AUDIO, RP_SUBFAMILY_NONE, 0.5);
    write_text("{}");
    snprintf(name, sizeof name, "%s.link", path);
    assert_int_equal(symlink(path, name), 0);
    assert_ok(rp_model_database_record(name, "a", &answer, NULL, &err));
    assert_int_equal(lstat(name, &file), 0);
    assert_true(S_ISLNK(file.st_mode));
    assert_int_equal(find("a").family, RP_FAMILY_AUDIO);
}

/* Processes that record at once lose nothing, and who reads meanwhile sees whole files. */
static void processes_record_side_by_side(void **state) {
    (void)state;
    enum { PROCESSES = 6, EACH = 25 };
    rp_error err = RP_ERROR_INIT;
    write_text("{}");
    for (int i = 0; i < PROCESSES; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child > 0) continue;
        for (int j = 0; j < EACH; j++) {
            char name[32];
            rp_classification own = answer_of(RP_FAMILY_AUDIO, RP_SUBFAMILY_NONE, 0.9);
            rp_classification shared = answer_of(RP_FAMILY_VISION, RP_SUBFAMILY_NONE,
                                                 (double)(i * EACH + j) / (PROCESSES * EACH));
            snprintf(name, sizeof name, "own-%d-%d", i, j);
            if (rp_model_database_record(path, name, &own, NULL, NULL) != RP_OK) _exit(1);
            if (rp_model_database_record(path, "shared", &shared, NULL, NULL) != RP_OK) _exit(2);
        }
        _exit(0);
    }
    int running = PROCESSES;
    while (running > 0) {
        rp_model_database *database = NULL;
        assert_ok(rp_model_database_open(path, &database, &err));
        rp_model_database_close(database);
        int code = 0;
        while (running > 0 && waitpid(-1, &code, WNOHANG) > 0) {
            running--;
            assert_int_equal(code, 0);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        for (int j = 0; j < EACH; j++) {
            char name[32];
            snprintf(name, sizeof name, "own-%d-%d", i, j);
            assert_int_equal(find(name).family, RP_FAMILY_AUDIO);
        }
    }
    double surest = (double)(PROCESSES * EACH - 1) / (PROCESSES * EACH);
    assert_true(find("shared").confidence == surest);
}

/* Each allocation fails once: an error, nothing lost, and the file as it was or as it should be. */
static void memory_that_runs_out_is_an_error(void **state) {
    (void)state;
    static const char text[] = "{\"a\": {\"family\": \"audio\"}}";
    rp_classification answer = answer_of(RP_FAMILY_VISION, RP_SUBFAMILY_SEGMENTATION, 0.5);
    bool is_done = false;
    for (uint64_t n = 1; !is_done; n++) {
        rp_error err = RP_ERROR_INIT;
        assert_true(n < 1000);
        write_text(text);
        int64_t before = rp_memory_live_count();
        rp_memory_fail_at(n);
        rp_status status = rp_model_database_record(path, "b", &answer, NULL, &err);
        is_done = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(rp_memory_live_count(), before);
        if (status == RP_OK) {
            assert_int_equal(find("b").family, RP_FAMILY_VISION);
            continue;
        }
        assert_true(status == RP_ERR_MEMORY || status == RP_ERR_DATA);
        assert_text(text);
    }
}

int main(void) {
    json_heap_is_ours();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_recorded_is_found),
        cmocka_unit_test(a_weaker_answer_changes_nothing),
        cmocka_unit_test(a_surer_answer_replaces_its_entry_and_no_more),
        cmocka_unit_test(a_damaged_file_is_an_error_and_stays),
        cmocka_unit_test(a_missing_file_and_misuse_are_refused),
        cmocka_unit_test(a_link_stays_a_link),
        cmocka_unit_test(processes_record_side_by_side),
        cmocka_unit_test(memory_that_runs_out_is_an_error),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
