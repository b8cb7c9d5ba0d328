/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/report.h"

#include "base/memory.h"
#include "failure/new_file.h"
#include "tests/folder.h"
#include "tests/json_heap.h"
#include "tests/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];

/* A path in the folder of the test. */
static const char *in(const char *name) {
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/rp-report-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    return folder_remove(folder);
}

static rp_failure_question question_of(const char *error) {
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    question.error = error;
    question.error_bytes = error ? strlen(error) : 0;
    question.hardware = "cuda:1";
    question.model = "bert-base-uncased";
    return question;
}

/* The report as text and as a value; the caller frees both. */
static char *report_of(const rp_failure_question *question, json_t **value) {
    rp_error err = RP_ERROR_INIT;
    char *text = NULL;
    assert_ok(rp_failure_report(question, &text, &err));
    if (value) {
        *value = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(*value);
    }
    return text;
}

/* How many entries a folder has, those whose names begin with a dot too. */
static size_t entries_of(const char *path) {
    DIR *entries = opendir(path);
    assert_non_null(entries);
    size_t count = 0;
    struct dirent *entry;
    while ((entry = readdir(entries)) != NULL) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    closedir(entries);
    return count;
}

static char *read_text(const char *path) {
    char *text = NULL;
    size_t length;
    assert_int_equal(rp_text_read_file(path, 64 << 20, &text, &length), 0);
    return text;
}

static void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* --- making ---------------------------------------------------------------------------------- */

static void a_report_begins_with_the_keys_of_the_guide(void **state) {
    (void)state;
    static const char *const keys[] = {
        "timestamp",       "model_name",   "hardware_type", "error_message", "stack_trace",
        "recommendations", "model_family", "subfamily",     "alternatives",  "category",
    };
    static const char *const further[] = {"cause",   "confidence",     "evidence",
                                          "facts",   "checks",         "between",
                                          "version", "left_out_bytes", "resourcepool_report"};
    rp_failure_question question = question_of("RuntimeError: it went wrong");
    json_t *value;
    char *text = report_of(&question, &value);
    size_t i = 0;
    const char *key;
    json_t *each;
    json_object_foreach(value, key, each) {
        if (i < sizeof keys / sizeof keys[0]) assert_string_equal(key, keys[i]);
        i++;
    }
    for (i = 0; i < sizeof further / sizeof further[0]; i++) {
        if (!json_object_get(value, further[i])) fail_msg("no '%s'", further[i]);
    }
    assert_string_equal(rp_report_text(value, "model_name"), "bert-base-uncased");
    assert_string_equal(rp_report_text(value, "hardware_type"), "cuda:1");
    assert_string_equal(rp_report_text(value, "error_message"), "RuntimeError: it went wrong");
    assert_true(json_is_null(json_object_get(value, "stack_trace")));
    assert_string_equal(rp_report_text(value, "model_family"), "embedding");
    assert_string_equal(rp_report_text(value, "subfamily"), "masked_lm");
    assert_int_equal(strlen(rp_report_text(value, "timestamp")), 24);
    json_decref(value);
    rp_free(text);
}

static void a_report_of_nothing_is_a_report(void **state) {
    (void)state;
    rp_failure_question question = RP_FAILURE_QUESTION_INIT;
    json_t *value;
    char *text = report_of(&question, &value);
    assert_string_equal(rp_report_text(value, "error_message"), "");
    assert_string_equal(rp_report_text(value, "model_name"), "unknown");
    assert_string_equal(rp_report_text(value, "hardware_type"), "unknown");
    assert_string_equal(rp_report_text(value, "category"), "unknown");
    json_decref(value);
    rp_free(text);
}

static void a_wrong_hardware_is_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_failure_question question = question_of("x");
    question.hardware = "abacus";
    char *text = NULL;
    assert_status(rp_failure_report(&question, &text, &err), RP_ERR_ARGUMENT);
    assert_null(text);
}

#define SECRET                                                                                     \
    "hf_"                                                                                          \
    "AbCdEfGhIjKlMnO9"                                                                             \
    "AbCdEfGhIjKlMnO9"

static void nothing_private_is_in_a_report(void **state) {
    (void)state;
    rp_failure_question question =
        question_of("OSError: /home/bob/model.onnx: [Errno 28] No space left on device\n"
                    "RuntimeError: CUDA out of memory. token " SECRET " password=hunter2\n");
    question.stack_trace = "File \"/home/bob/x.py\", line 3\n" SECRET;
    question.stack_trace_bytes = strlen(question.stack_trace);
    question.model = "/home/bob/models/" SECRET;
    json_t *value;
    char *text = report_of(&question, &value);
    assert_null(strstr(text, "bob"));
    assert_null(strstr(text, "AbCd"));
    assert_null(strstr(text, "hunter2"));
    assert_says(rp_report_text(value, "error_message"), "~/model.onnx");
    assert_says(rp_report_text(value, "stack_trace"), "\"~/x.py\", line 3");
    assert_string_equal(rp_report_text(value, "model_name"), "~/models/<token>");
    json_decref(value);
    rp_free(text);
}

static void a_long_text_is_cut_around_its_cause(void **state) {
    (void)state;
    enum { LENGTH = 2 << 20 };
    static const char cause[] =
        "\nRuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0)\n";
    char *error = rp_alloc(LENGTH + 1);
    memset(error, 'x', LENGTH);
    for (size_t i = 79; i < LENGTH; i += 80) {
        error[i] = '\n';
    }
    rp_failure_question question = question_of(error);
    size_t places[] = {300 << 10, LENGTH / 2, LENGTH - (400 << 10)};
    for (size_t i = 0; i < 3; i++) {
        char under[sizeof cause];
        memcpy(under, error + places[i], sizeof cause - 1);
        memcpy(error + places[i], cause, sizeof cause - 1);
        json_t *value;
        char *text = report_of(&question, &value);
        const json_t *left = json_object_get(value, "left_out_bytes");
        assert_true(strlen(text) < 100 << 10);
        assert_says(rp_report_text(value, "error_message"), "Tried to allocate 2.00 GiB");
        assert_says(rp_report_text(value, "error_message"), "bytes left out ...]");
        assert_true(json_integer_value(json_object_get(left, "error_message")) >
                    LENGTH - (80 << 10));
        assert_int_equal(json_integer_value(json_object_get(left, "stack_trace")), 0);
        json_decref(value);
        rp_free(text);
        memcpy(error + places[i], under, sizeof cause - 1);
    }
    rp_free(error);
}

/* --- saving ---------------------------------------------------------------------------------- */

static void a_saved_report_has_a_safe_name_in_a_new_folder(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_failure_question question = question_of("x");
    question.model =
        "../../etc/org//a name: \xC3\xA9\n with all sorts of things and much too long to "
        "be kept whole in the name of a file, where 255 bytes are the limit, or are "
        "they not, and still no end of it";
    char *text = report_of(&question, NULL);
    char *path = NULL;
    assert_ok(rp_failure_report_save(text, in("new/er"), &path, &err));
    assert_int_equal(strncmp(path, in("new/er/hardware_error_.._.._etc_org_a_name_with_all"),
                             strlen(in("new/er/hardware_error_.._.._etc_org_a_name_with_all"))),
                     0);
    assert_says(path, "_cuda_1_2");
    assert_string_equal(path + strlen(path) - 5, ".json");
    assert_true(strlen(strrchr(path, '/')) < 200);
    struct stat found;
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    assert_int_equal(entries_of(in("new/er")), 1);
    char *saved = read_text(path);
    assert_int_equal(strncmp(saved, text, strlen(text)), 0);
    assert_string_equal(saved + strlen(text), "\n");
    rp_free(saved);
    rp_free(path);
    rp_free(text);
}

static void what_is_no_report_is_not_saved(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "[",
        "[]",
        "{}",
        "{\"timestamp\": \"x\"}",
        "{\"timestamp\": \"x\", \"error_message\": \"y\"}",
        "{\"timestamp\": 1, \"error_message\": \"y\", \"resourcepool_report\": 1}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        char *path = NULL;
        assert_status(rp_failure_report_save(texts[i], in("none"), &path, &err), RP_ERR_DATA);
        assert_null(path);
        assert_int_equal(access(in("none"), F_OK), -1);
    }
    rp_error err = RP_ERROR_INIT;
    char *path = NULL;
    assert_status(rp_failure_report_save(NULL, in("none"), &path, &err), RP_ERR_ARGUMENT);
    assert_status(rp_failure_report_save("{}", "", &path, &err), RP_ERR_ARGUMENT);
}

static void many_processes_never_replace_a_report(void **state) {
    (void)state;
    enum { PROCESSES = 6, EACH = 25 };
    rp_failure_question question = question_of("x");
    char *text = report_of(&question, NULL);
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] != 0) continue;
        int bad = 0;
        for (int j = 0; j < EACH; j++) {
            char *path = NULL;
            bad += rp_failure_report_save(text, in("many"), &path, NULL) != RP_OK;
            rp_free(path);
        }
        _exit(bad);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(entries_of(in("many")), PROCESSES * EACH);
    rp_free(text);
}

static void a_name_that_is_taken_stays_what_it_is(void **state) {
    (void)state;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    size_t before = entries_of(folder);
    write_text(in("taken"), "mine");
    assert_int_equal(symlink("nowhere", in("hanging")), 0);
    assert_int_equal(rp_new_file_write(fd, "taken", "x", 1), EEXIST);
    assert_int_equal(rp_new_file_write_named(fd, "taken", "x", 1), EEXIST);
    assert_int_equal(rp_new_file_write(fd, "hanging", "x", 1), EEXIST);
    assert_int_equal(rp_new_file_write_named(fd, "hanging", "x", 1), EEXIST);
    assert_int_equal(rp_new_file_write_named(fd, "other", "whole", 5), 0);
    char *text = read_text(in("taken"));
    assert_string_equal(text, "mine");
    rp_free(text);
    text = read_text(in("other"));
    assert_string_equal(text, "whole");
    rp_free(text);
    assert_int_equal(entries_of(folder), before + 3);
    close(fd);
}

/* Save the text `count` times. */
static void save_often(const char *text, const char *path, int count) {
    for (int i = 0; i < count; i++) {
        rp_error err = RP_ERROR_INIT;
        char *saved = NULL;
        assert_ok(rp_failure_report_save(text, path, &saved, &err));
        assert_int_equal(access(saved, F_OK), 0);
        rp_free(saved);
    }
}

static void the_oldest_reports_go_and_nothing_else(void **state) {
    (void)state;
    rp_failure_question question = question_of("x");
    char *text = report_of(&question, NULL);
    char *first = NULL;
    rp_error err = RP_ERROR_INIT;
    assert_ok(rp_failure_report_save(text, in("full"), &first, &err));
    save_often(text, in("full"), RP_REPORTS_KEPT - 1);
    assert_int_equal(access(first, F_OK), 0);
    /* Older by their names, and none of ours. */
    write_text(in("full/hardware_error_a_b_20000101_000000_000000.json"), "{\"mine\": 1}\n");
    write_text(in("full/hardware_error_a_b_20000101_000000_000000_2.json"), "");
    write_text(in("full/hardware_error_2000.json"), "\"resourcepool_report\": 1\n}\n");
    write_text(in("full/notes.txt"), "mine");
    assert_int_equal(symlink(first, in("full/hardware_error_c_d_20000101_000000_000000.json")), 0);
    assert_int_equal(mkdir(in("full/hardware_error_e_f_20000101_000000_000000.json"), 0700), 0);
    save_often(text, in("full"), 3);
    assert_int_equal(access(first, F_OK), -1);
    assert_int_equal(entries_of(in("full")), RP_REPORTS_KEPT + 6);
    assert_int_equal(access(in("full/notes.txt"), F_OK), 0);
    rp_free(first);
    rp_free(text);
}

/* As after a clock that was put back. */
static void a_report_that_is_older_than_all_stays_when_it_is_new(void **state) {
    (void)state;
    rp_failure_question question = question_of("x");
    char *text = report_of(&question, NULL);
    save_often(text, in("late"), RP_REPORTS_KEPT);
    DIR *entries = opendir(in("late"));
    assert_non_null(entries);
    struct dirent *entry;
    while ((entry = readdir(entries)) != NULL) {
        char later[300];
        snprintf(later, sizeof later, "%s", entry->d_name);
        char *year = strstr(later, "_1_20");
        if (!year) continue;
        memcpy(year + 3, "9999", 4);
        assert_int_equal(renameat(dirfd(entries), entry->d_name, dirfd(entries), later), 0);
    }
    closedir(entries);
    save_often(text, in("late"), 1); /* sees to it that it is there */
    assert_int_equal(entries_of(in("late")), RP_REPORTS_KEPT);
    rp_free(text);
}

static void reports_take_a_bounded_room(void **state) {
    (void)state;
    enum { BYTES = 3 << 20 };
    struct rp_text text = RP_TEXT_INIT;
    rp_text_print(&text, "{\"timestamp\": \"x\", \"error_message\": \"");
    for (int i = 0; i < BYTES; i += 64) {
        rp_text_print(&text, "%064d", i);
    }
    rp_text_print(&text, "\", \"resourcepool_report\": 1}");
    save_often(text.bytes, in("large"), 14);
    assert_int_equal(entries_of(in("large")), RP_REPORTS_BYTES_KEPT / BYTES);
    rp_text_fini(&text);
}

/* A folder in which nothing can be saved: the reason, a way out, nothing left behind. */
static void assert_cannot_save(const char *where, const char *reason, const char *way_out) {
    rp_error err = RP_ERROR_INIT;
    rp_failure_question question = question_of("x");
    char *text = report_of(&question, NULL);
    char *path = NULL;
    assert_status(rp_failure_report_save(text, where, &path, &err), RP_ERR_IO);
    assert_null(path);
    assert_says(err.message, where);
    assert_says(err.message, reason);
    assert_says(err.hint, way_out);
    assert_int_not_equal(err.os_errno, 0);
    rp_free(text);
}

static void a_folder_that_cannot_be_is_refused(void **state) {
    (void)state;
    write_text(in("file"), "");
    assert_cannot_save(in("file"), "Not a directory", "path of a folder");
    assert_cannot_save(in("file/below"), "Not a directory", "path of a folder");
    assert_cannot_save("/proc/self/reports", "No such file", "another folder");
    struct stat found;
    if (geteuid() != 0) assert_cannot_save("/reports", "Permission denied", "may write to");
    assert_int_equal(stat(in("file"), &found), 0);
    assert_int_equal(found.st_size, 0);
}

/* Exit codes of the children below. */
enum { CHILD_GOOD = 0, CHILD_BAD = 1, CHILD_SKIPPED = 77 };

static void assert_child(pid_t child) {
    int status;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_SKIPPED) skip();
    assert_int_equal(status, CHILD_GOOD);
}

/* In a child: saving fails with that errno, and leaves nothing. */
static int fails_with(const char *text, const char *where, int problem, bool is_named) {
    rp_error err = RP_ERROR_INIT;
    char *path = NULL;
    if (is_named) {
        int fd = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (rp_new_file_write_named(fd, "name", text, strlen(text)) != problem) return CHILD_BAD;
        close(fd);
    } else if (rp_failure_report_save(text, where, &path, &err) != RP_ERR_IO ||
               err.os_errno != problem || path || !err.hint[0]) {
        return CHILD_BAD;
    }
    DIR *entries = opendir(where);
    int count = 0;
    while (readdir(entries)) {
        count++;
    }
    closedir(entries);
    return count == 2 ? CHILD_GOOD : CHILD_BAD;
}

static void a_file_that_may_not_grow_leaves_nothing(void **state) {
    (void)state;
    rp_failure_question question = question_of("x");
    char *text = report_of(&question, NULL);
    assert_int_equal(mkdir(in("bounded"), 0700), 0);
    for (int is_named = 0; is_named < 2; is_named++) {
        pid_t child = fork();
        if (child == 0) {
            const struct rlimit limit = {64, 64};
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &limit);
            _exit(fails_with(text, in("bounded"), EFBIG, is_named));
        }
        assert_child(child);
    }
    rp_free(text);
}

/* A small file system of its own, in a name space of its own. */
static bool mount_small(const char *where, const char *options, unsigned long flags) {
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("small", where, "tmpfs", flags, options) == 0;
}

static void a_full_or_read_only_disk_is_told(void **state) {
    (void)state;
    static const struct {
        const char *options;
        unsigned long flags;
        int problem;
    } disks[] = {
        {"size=4k", 0, ENOSPC},
        {"nr_inodes=1", 0, ENOSPC},
        {"size=1m", MS_RDONLY, EROFS},
    };
    char error[20000];
    memset(error, 'x', sizeof error - 1);
    error[sizeof error - 1] = '\0';
    rp_failure_question question = question_of(error);
    char *text = report_of(&question, NULL);
    assert_int_equal(mkdir(in("disk"), 0700), 0);
    for (size_t i = 0; i < sizeof disks / sizeof disks[0]; i++) {
        for (int is_named = 0; is_named < 2; is_named++) {
            pid_t child = fork();
            if (child == 0) {
                if (!mount_small(in("disk"), disks[i].options, disks[i].flags)) {
                    _exit(CHILD_SKIPPED);
                }
                _exit(fails_with(text, in("disk"), disks[i].problem, is_named));
            }
            int status;
            assert_int_equal(waitpid(child, &status, 0), child);
            if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_SKIPPED) {
                rp_free(text);
                skip();
            }
            if (status != 0) fail_msg("disk %zu, way %d", i, is_named);
        }
    }
    rp_free(text);
}

/* --- showing --------------------------------------------------------------------------------- */

static void a_saved_report_is_shown(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_failure_question question =
        question_of("RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB\n\x1B[31mred\n");
    char *text = report_of(&question, NULL);
    char *path = NULL;
    char *shown = NULL;
    assert_ok(rp_failure_report_save(text, in("show"), &path, &err));
    assert_ok(rp_failure_report_show(path, &shown, &err));
    assert_says(shown, "report of 20");
    assert_says(shown, "  model        bert-base-uncased\n");
    assert_says(shown, "  hardware     cuda:1\n");
    assert_says(shown, "\nerror\n  | RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB\n"
                       "  | red\n");
    rp_free(shown);
    rp_free(path);
    rp_free(text);
}

static void what_somebody_else_wrote_is_shown_safely(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    char *shown = NULL;
    write_text(
        in("guide.json"),
        "{\"timestamp\": \"2026\\u001b[2J\", \"error_message\": \"a\\u001b]0;x\\u0007\\n\\tb\","
        "\"recommendations\": [\"do\\nthis\", 3, null], \"facts\": {\"bytes_asked\": 2048,"
        "\"exit_code\": -9, \"x\": []}, \"checks\": [{\"what\": \"see\", \"command\": null},"
        "{\"what\": \"look\", \"command\": \"ls\"}, 1], \"alternatives\": \"cpu\","
        "\"confidence\": \"sure\", \"stack_trace\": 5}");
    assert_ok(rp_failure_report_show(in("guide.json"), &shown, &err));
    assert_says(shown, "report of 2026?[2J\n");
    assert_says(shown, "  fact         bytes_asked: 2.0 KiB\n");
    assert_says(shown, "  fact         exit_code: -9\n");
    assert_says(shown, "  - do\n  - this\n");
    assert_says(shown, "  - look\n      ls\n");
    assert_says(shown, "  | a?]0;x?\n  |  b\n");
    rp_free(shown);
}

static void what_cannot_be_shown_says_why(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    char *shown = NULL;
    assert_status(rp_failure_report_show(in("absent.json"), &shown, &err), RP_ERR_NOT_FOUND);
    assert_says(err.message, "absent.json");
    assert_status(rp_failure_report_show(folder, &shown, &err), RP_ERR_IO);
    write_text(in("broken.json"), "{\"timestamp\": ");
    assert_status(rp_failure_report_show(in("broken.json"), &shown, &err), RP_ERR_DATA);
    assert_says(err.message, "line 1");
    write_text(in("other.json"), "{\"name\": \"x\"}");
    assert_status(rp_failure_report_show(in("other.json"), &shown, &err), RP_ERR_DATA);
    assert_says(err.message, "error_message");
    write_text(in("huge.json"), "");
    assert_int_equal(truncate(in("huge.json"), RP_REPORT_BYTES_MAX + 1), 0);
    assert_status(rp_failure_report_show(in("huge.json"), &shown, &err), RP_ERR_DATA);
    assert_says(err.message, "4 MiB");
    assert_null(shown);
}

/* --- bundles --------------------------------------------------------------------------------- */

static void a_bundle_has_what_matters_and_nothing_private(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    assert_ok(rp_hardware_snapshot(&snapshot, &err));
    setenv("CUDA_VISIBLE_DEVICES", "0,1", 1);
    setenv("LD_LIBRARY_PATH", "/home/bob/lib:/usr/lib", 1);
    setenv("RESOURCE_POOL_ACCESS_TOKEN", "hunter2", 1);
    setenv("HF_TOKEN", "hunter2", 1);
    setenv("NOBODYS_BUSINESS", "hunter2", 1);
    rp_failure_question question = question_of("password=hunter2");
    question.snapshot = snapshot;
    assert_ok(rp_failure_bundle_save(&question, in("bundle.json"), &err));
    char *text = read_text(in("bundle.json"));
    assert_null(strstr(text, "hunter2"));
    assert_null(strstr(text, "NOBODYS"));
    assert_null(strstr(text, "\"HF_TOKEN\""));
    json_t *bundle = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const json_t *environment = json_object_get(bundle, "environment");
    assert_string_equal(rp_report_text(environment, "CUDA_VISIBLE_DEVICES"), "0,1");
    assert_string_equal(rp_report_text(environment, "LD_LIBRARY_PATH"), "~/lib:/usr/lib");
    assert_string_equal(rp_report_text(environment, "RESOURCE_POOL_ACCESS_TOKEN"), "<secret>");
    assert_string_equal(rp_report_text(json_object_get(bundle, "report"), "error_message"),
                        "password=<secret>");
    assert_true(json_array_size(json_object_get(json_object_get(bundle, "hardware"), "devices")) >
                0);
    assert_string_equal(rp_report_text(json_object_get(bundle, "system"), "kernel"), "Linux");
    assert_int_equal(
        json_array_size(json_object_get(json_object_get(bundle, "versions"), "engines")), 2);
    char *shown = NULL;
    assert_ok(rp_failure_report_show(in("bundle.json"), &shown, &err));
    assert_says(shown, "password=<secret>");
    rp_free(shown);
    /* Never over another file. */
    assert_status(rp_failure_bundle_save(&question, in("bundle.json"), &err), RP_ERR_IO);
    assert_says(err.message, "File exists");
    char *again = read_text(in("bundle.json"));
    assert_string_equal(again, text);
    rp_free(again);
    assert_status(rp_failure_bundle_save(&question, in("no/such/b.json"), &err), RP_ERR_IO);
    assert_status(rp_failure_bundle_save(&question, "", &err), RP_ERR_ARGUMENT);
    json_decref(bundle);
    rp_free(text);
    rp_snapshot_release(snapshot);
    unsetenv("LD_LIBRARY_PATH");
}

/* --- memory ---------------------------------------------------------------------------------- */

typedef rp_status step(rp_error *err);

static char *given;

static rp_status step_report(rp_error *err) {
    rp_failure_question question = question_of("RuntimeError: CUDA out of memory, /home/bob/x");
    char *text = NULL;
    rp_status status = rp_failure_report(&question, &text, err);
    rp_free(text);
    return status;
}

static rp_status step_save(rp_error *err) {
    char *path = NULL;
    rp_status status = rp_failure_report_save(given, in("starved"), &path, err);
    rp_free(path);
    return status;
}

static rp_status step_show(rp_error *err) {
    char *text = NULL;
    rp_status status = rp_failure_report_show(in("starved.json"), &text, err);
    rp_free(text);
    return status;
}

static rp_status step_bundle(rp_error *err) {
    rp_failure_question question = question_of("x");
    unlink(in("starved.bundle"));
    return rp_failure_bundle_save(&question, in("starved.bundle"), err);
}

static void without_memory_each_step_says_so(void **state) {
    (void)state;
    static step *const steps[] = {step_report, step_save, step_show, step_bundle};
    rp_failure_question question = question_of("x");
    given = report_of(&question, NULL);
    write_text(in("starved.json"), given);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        assert_ok(steps[i](&err)); /* what is made once, is made */
        int64_t live = rp_memory_live_count();
        bool is_pending = false;
        for (uint64_t n = 1; !is_pending; n++) {
            rp_memory_fail_at(n);
            rp_status status = steps[i](&err);
            is_pending = rp_memory_fail_pending();
            rp_memory_fail_at(0);
            if (is_pending) assert_int_equal(status, RP_OK);
            /* Jansson takes a text that it has no memory for, for a broken one. */
            bool is_told = status == RP_ERR_MEMORY || (i < 3 && status == RP_ERR_DATA);
            if (status != RP_OK && !is_told) {
                fail_msg("step %zu at %d: %s", i, (int)n, err.message);
            }
            if (rp_memory_live_count() != live) fail_msg("step %zu leaks at %d", i, (int)n);
        }
    }
    rp_free(given);
}

int main(void) {
    json_heap_is_ours();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_report_begins_with_the_keys_of_the_guide),
        cmocka_unit_test(a_report_of_nothing_is_a_report),
        cmocka_unit_test(a_wrong_hardware_is_refused),
        cmocka_unit_test(nothing_private_is_in_a_report),
        cmocka_unit_test(a_long_text_is_cut_around_its_cause),
        cmocka_unit_test(a_saved_report_has_a_safe_name_in_a_new_folder),
        cmocka_unit_test(what_is_no_report_is_not_saved),
        cmocka_unit_test(many_processes_never_replace_a_report),
        cmocka_unit_test(a_name_that_is_taken_stays_what_it_is),
        cmocka_unit_test(the_oldest_reports_go_and_nothing_else),
        cmocka_unit_test(a_report_that_is_older_than_all_stays_when_it_is_new),
        cmocka_unit_test(reports_take_a_bounded_room),
        cmocka_unit_test(a_folder_that_cannot_be_is_refused),
        cmocka_unit_test(a_file_that_may_not_grow_leaves_nothing),
        cmocka_unit_test(a_full_or_read_only_disk_is_told),
        cmocka_unit_test(a_saved_report_is_shown),
        cmocka_unit_test(what_somebody_else_wrote_is_shown_safely),
        cmocka_unit_test(what_cannot_be_shown_says_why),
        cmocka_unit_test(a_bundle_has_what_matters_and_nothing_private),
        cmocka_unit_test(without_memory_each_step_says_so),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
