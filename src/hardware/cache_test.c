/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/cache.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/text.h"

#include "../../tests/json_heap.h"
#include "../../tests/test.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_BYTES = 256 };

static char folder[PATH_BYTES / 2];
static char path[PATH_BYTES];

/* What asking two kinds may have given. */
static const char web_answer[] =
    "{\"version\":1,\"devices\":[{\"id\":\"webgpu:0\",\"kind\":\"webgpu\",\"name\":\"a GPU\","
    "\"memory_bytes_total\":4096,\"memory_bytes_free\":1024,\"accelerator\":{\"type\":\"gpu\","
    "\"utilization_percent\":7,\"temperature_celsius\":50,\"ecc_error_count\":3,"
    "\"throttle_reasons\":[\"heat\"],\"slices\":[{\"profile\":\"half\",\"memory_bytes_total\":2048,"
    "\"memory_bytes_free\":512}],\"processes\":[{\"pid\":1,\"memory_bytes\":3072}],"
    "\"source\":\"a browser\"}}],\"notes\":[\"it took long\"]}";
static const char cuda_answer[] =
    "{\"version\":1,\"devices\":[],\"absent\":[{\"kind\":\"cuda\",\"reason\":\"the driver hangs\","
    "\"hint\":\"restart the machine\"}]}";

static int make_folder(void **state) {
    (void)state;
    /* In memory where there is such a folder: hundreds of files are waited for on their disk. */
    snprintf(folder, sizeof folder, "%s/rp-cache-test-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/below/hardware.json", folder);
    return 0;
}

static void remove_below(const char *top) {
    DIR *entries = opendir(top);
    for (struct dirent *each = entries ? readdir(entries) : NULL; each; each = readdir(entries)) {
        if (strcmp(each->d_name, ".") == 0 || strcmp(each->d_name, "..") == 0) continue;
        char child[PATH_BYTES * 2];
        snprintf(child, sizeof child, "%s/%s", top, each->d_name);
        if (remove(child) != 0) remove_below(child);
    }
    if (entries) closedir(entries);
    remove(top);
}

static int empty_folder(void **state) {
    (void)state;
    char below[PATH_BYTES];
    snprintf(below, sizeof below, "%s/below", folder);
    remove_below(below);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    remove_below(folder);
    return 0;
}

/* How many files lie in the cache's folder. */
static int count_files(void) {
    char below[PATH_BYTES];
    snprintf(below, sizeof below, "%s/below", folder);
    int count = 0;
    DIR *entries = opendir(below);
    for (struct dirent *each = entries ? readdir(entries) : NULL; each; each = readdir(entries)) {
        count += each->d_name[0] != '.';
    }
    if (entries) closedir(entries);
    return count;
}

static const rp_snapshot *answer_of(const char *json) {
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *answer = NULL;
    assert_ok(rp_snapshot_from_json(json, strlen(json), NULL, &answer, &err));
    return answer;
}

static struct rp_snapshot *new_snapshot(void) {
    struct rp_snapshot *snapshot = rp_snapshot_create();
    assert_non_null(snapshot);
    return snapshot;
}

/* Keep an answer, as one detection does. The snapshot has the notes. */
static struct rp_snapshot *keep_at(const char *where, rp_device_kind kind, const char *json,
                                   bool is_failed) {
    rp_error err = RP_ERROR_INIT;
    struct rp_cache *cache = NULL;
    struct rp_snapshot *snapshot = new_snapshot();
    const rp_snapshot *answer = answer_of(json);
    assert_ok(rp_cache_open(where, snapshot, &cache, &err));
    assert_ok(rp_cache_keep(cache, kind, answer, is_failed, &err));
    assert_ok(rp_cache_close(cache, &err));
    rp_snapshot_release(answer);
    return snapshot;
}

static void keep(rp_device_kind kind, const char *json) {
    struct rp_snapshot *snapshot = keep_at(path, kind, json, false);
    assert_int_equal(rp_snapshot_note_count(snapshot), 0);
    rp_snapshot_release(snapshot);
}

/* Load one kind, as the next detection does. */
static struct rp_snapshot *load_at(const char *where, rp_device_kind kind, bool *found) {
    rp_error err = RP_ERROR_INIT;
    struct rp_cache *cache = NULL;
    struct rp_snapshot *snapshot = new_snapshot();
    assert_ok(rp_cache_open(where, snapshot, &cache, &err));
    assert_ok(rp_cache_load(cache, kind, found, &err));
    assert_ok(rp_cache_close(cache, &err));
    return snapshot;
}

static bool is_kept(rp_device_kind kind) {
    bool found = false;
    rp_snapshot_release(load_at(path, kind, &found));
    return found;
}

/* It is not used, says why in one note, adds nothing, and the next answer replaces it. */
static void assert_unused(const char *reason) {
    bool found = true;
    struct rp_snapshot *snapshot = load_at(path, RP_DEVICE_WEBGPU, &found);
    assert_false(found);
    assert_int_equal(rp_snapshot_device_count(snapshot) + rp_snapshot_absent_count(snapshot), 0);
    assert_int_equal(rp_snapshot_note_count(snapshot), 1);
    assert_says(rp_snapshot_note(snapshot, 0), reason);
    rp_snapshot_release(snapshot);
    rp_snapshot_release(keep_at(path, RP_DEVICE_WEBGPU, web_answer, false));
    assert_true(is_kept(RP_DEVICE_WEBGPU));
    assert_int_equal(count_files(), 1);
}

static char *read_text(const char *where) {
    char *text = NULL;
    size_t length = 0;
    assert_int_equal(rp_text_read_file(where, 8 << 20, &text, &length), 0);
    return text;
}

static void write_text(const char *where, const char *text, size_t length) {
    char below[PATH_BYTES];
    snprintf(below, sizeof below, "%s/below", folder);
    mkdir(below, 0700);
    FILE *file = fopen(where, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    fclose(file);
    assert_int_equal(chmod(where, 0600), 0);
}

/* Put `with` in the place of everything from behind `after` to the end of its line. */
static void edit(const char *after, const char *with) {
    char *text = NULL;
    size_t length = 0;
    assert_int_equal(rp_text_read_file(path, 8 << 20, &text, &length), 0);
    const char *at = strstr(text, after);
    assert_true(at != NULL);
    at += strlen(after);
    struct rp_text edited = RP_TEXT_INIT;
    rp_text_print(&edited, "%.*s%s%s", (int)(at - text), text, with, strchr(at, '\n'));
    assert_false(edited.failed);
    write_text(path, edited.bytes, edited.length);
    rp_text_fini(&edited);
    rp_free(text);
}

/* Another name for a key, of the same length. */
static void rename_key(const char *from, const char *to) {
    char *text = NULL;
    size_t length = 0;
    assert_int_equal(rp_text_read_file(path, 8 << 20, &text, &length), 0);
    char *at = strstr(text, from);
    assert_true(at != NULL);
    memcpy(at, to, strlen(to));
    write_text(path, text, length);
    rp_free(text);
}

static void edit_time(int64_t ago_s) {
    char number[32];
    snprintf(number, sizeof number, "%lld,", (long long)(rp_wall_ns() / 1000000000 - ago_s));
    edit("\"asked_wall_s\": ", number);
}

static void what_is_kept_comes_back_without_what_moves(void **state) {
    (void)state;
    keep(RP_DEVICE_WEBGPU, web_answer);
    struct stat found_file;
    assert_int_equal(stat(path, &found_file), 0);
    assert_int_equal(found_file.st_mode & 0777, 0600);
    char *text = read_text(path);
    static const char *const moving[] = {"memory_bytes_free\": 1024",
                                         "memory_bytes_free\": 512",
                                         "utilization",
                                         "temperature",
                                         "processes",
                                         "throttle",
                                         "ecc_error"};
    for (size_t i = 0; i < sizeof moving / sizeof moving[0]; i++) {
        if (strstr(text, moving[i])) fail_msg("the file has '%s'", moving[i]);
    }
    rp_free(text);

    bool found = false;
    struct rp_snapshot *snapshot = load_at(path, RP_DEVICE_WEBGPU, &found);
    assert_true(found);
    assert_int_equal(rp_snapshot_device_count(snapshot), 1);
    const rp_device *device = rp_snapshot_device(snapshot, 0);
    assert_string_equal(device->id, "webgpu:0");
    assert_string_equal(device->name, "a GPU");
    assert_true(device->memory_bytes_total == 4096);
    assert_true(device->memory_bytes_free == RP_UNKNOWN_U64);
    assert_string_equal(device->accelerator->source, "a browser");
    assert_true(device->accelerator->utilization_percent == RP_UNKNOWN_U32);
    assert_true(device->accelerator->slices[0]->memory_bytes_total == 2048);
    assert_true(device->accelerator->slices[0]->memory_bytes_free == RP_UNKNOWN_U64);
    assert_int_equal(rp_snapshot_note_count(snapshot), 2);
    assert_string_equal(rp_snapshot_note(snapshot, 0), "it took long");
    assert_says(rp_snapshot_note(snapshot, 1), "webgpu: asked 0 seconds ago");
    rp_snapshot_release(snapshot);
    assert_false(is_kept(RP_DEVICE_WEBNN)); /* nobody asked it */
}

static void what_moves_is_not_believed_when_it_was_written_in(void **state) {
    (void)state;
    keep(RP_DEVICE_WEBGPU, web_answer);
    edit("\"memory_bytes_total\": ", "4096, \"memory_bytes_free\": 77,");
    bool found = false;
    struct rp_snapshot *snapshot = load_at(path, RP_DEVICE_WEBGPU, &found);
    assert_true(found);
    assert_true(rp_snapshot_device(snapshot, 0)->memory_bytes_free == RP_UNKNOWN_U64);
    rp_snapshot_release(snapshot);
}

static void an_absence_is_an_answer_too(void **state) {
    (void)state;
    rp_snapshot_release(keep_at(path, RP_DEVICE_CUDA, cuda_answer, true));
    bool found = false;
    struct rp_snapshot *snapshot = load_at(path, RP_DEVICE_CUDA, &found);
    assert_true(found);
    assert_string_equal(rp_snapshot_absent(snapshot, 0)->reason, "the driver hangs");
    assert_string_equal(rp_snapshot_absent(snapshot, 0)->hint, "restart the machine");
    rp_snapshot_release(snapshot);
}

static void a_driver_that_answers_again_is_forgotten(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    keep(RP_DEVICE_WEBGPU, web_answer);
    rp_snapshot_release(keep_at(path, RP_DEVICE_CUDA, cuda_answer, true));
    for (int i = 0; i < 2; i++) { /* the second time there is nothing to forget */
        struct rp_cache *cache = NULL;
        struct rp_snapshot *snapshot = new_snapshot();
        assert_ok(rp_cache_open(path, snapshot, &cache, &err));
        assert_ok(rp_cache_drop(cache, RP_DEVICE_CUDA, &err));
        assert_ok(rp_cache_close(cache, &err));
        rp_snapshot_release(snapshot);
        assert_false(is_kept(RP_DEVICE_CUDA));
        assert_true(is_kept(RP_DEVICE_WEBGPU));
    }
}

static void without_a_file_there_is_nothing_to_say(void **state) {
    (void)state;
    static const char *const none[] = {"off", "", path};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        bool found = true;
        struct rp_snapshot *snapshot = load_at(none[i], RP_DEVICE_WEBGPU, &found);
        assert_false(found);
        assert_int_equal(rp_snapshot_note_count(snapshot), 0);
        rp_snapshot_release(snapshot);
    }
    rp_snapshot_release(keep_at("off", RP_DEVICE_WEBGPU, web_answer, false));
    assert_int_equal(count_files(), 0); /* and looking made none */
}

static void the_processor_is_never_kept(void **state) {
    (void)state;
    static const char cpu[] = "{\"version\":1,\"devices\":[{\"id\":\"cpu\",\"kind\":\"cpu\"}]}";
    keep(RP_DEVICE_CPU, cpu);
    assert_int_equal(count_files(), 0);
    assert_false(is_kept(RP_DEVICE_CPU));
}

static void the_environment_says_where(void **state) {
    (void)state;
    setenv("HARDWARE_DETECTION_CACHE", path, 1);
    rp_snapshot_release(keep_at(NULL, RP_DEVICE_WEBGPU, web_answer, false));
    bool found = false;
    rp_snapshot_release(load_at(NULL, RP_DEVICE_WEBGPU, &found));
    assert_true(found);
    assert_true(is_kept(RP_DEVICE_WEBGPU));
    setenv("HARDWARE_DETECTION_CACHE", "off", 1);
    rp_snapshot_release(load_at(NULL, RP_DEVICE_WEBGPU, &found));
    assert_false(found);
    unsetenv("HARDWARE_DETECTION_CACHE");
}

static void what_another_machine_wrote_is_replaced(void **state) {
    (void)state;
    keep(RP_DEVICE_WEBGPU, web_answer);
    edit("\"machine\": ", "\"00000000000000000000000000000000\",");
    assert_unused("it is of another machine, or of other cards or drivers");
}

static void what_another_version_wrote_is_replaced(void **state) {
    (void)state;
    keep(RP_DEVICE_WEBGPU, web_answer);
    edit("\"resourcepool_hardware_cache\": ", "2,");
    assert_unused("a newer version wrote it");
    edit("\"library\": ", "\"9.8.7\",");
    assert_unused("version 9.8.7 wrote it");
}

static void what_is_damaged_is_replaced(void **state) {
    (void)state;
    keep(RP_DEVICE_WEBGPU, web_answer);
    char *text = read_text(path);
    write_text(path, text, strlen(text) / 2);
    rp_free(text);
    assert_unused("it is damaged: line");
    edit("\"resourcepool_hardware_cache\": ", "\"1\",");
    assert_unused("it is damaged");
    edit("\"kinds\": ", "[], \"ignored\": {");
    assert_unused("it is damaged");
    edit("\"conditions\": ", "5,");
    assert_unused("webgpu: what is kept of it is not used: it is damaged");
    edit("\"asked_wall_s\": ", "\"yesterday\",");
    assert_unused("it is damaged");
    edit("\"asked_wall_s\": ", "-1,");
    assert_unused("it is damaged");
    edit("\"memory_bytes_total\": ", "\"much\",");
    assert_unused("devices[0].memory_bytes_total: a string, not a whole number");
    edit("\"snapshot\": ", "[], \"ignored\": {");
    assert_unused("it is damaged");
    rename_key("\"snapshot\":", "\"snapshop\":");
    assert_unused("it is damaged");
    edit("\"snapshot\": ", "{\"version\": 1, \"devices\": []}, \"ignored\": {");
    assert_unused("it is damaged");
    edit("\"snapshot\": ",
         "{\"version\": 1, \"devices\": [{\"id\": \"cuda:0\", \"kind\": \"cuda\"}]"
         "}, \"ignored\": {");
    assert_unused("it is damaged");
    write_text(path, "", 0);
    assert_unused("it is damaged");
}

static void what_is_old_or_ahead_is_asked_again(void **state) {
    (void)state;
    keep(RP_DEVICE_WEBGPU, web_answer);
    edit_time(RP_CACHE_SECONDS - 60);
    assert_true(is_kept(RP_DEVICE_WEBGPU));
    edit_time(RP_CACHE_SECONDS + 1);
    assert_unused("it is 1 day old");
    edit_time(-RP_CACHE_AHEAD_SECONDS + 5); /* a clock that was set back a little */
    assert_true(is_kept(RP_DEVICE_WEBGPU));
    edit_time(-RP_CACHE_AHEAD_SECONDS - 60);
    assert_unused("it comes from the future");
    edit("\"asked_wall_s\": ", "9223372036854775807,");
    assert_unused("it comes from the future");
}

static void a_failure_stands_for_a_short_time(void **state) {
    (void)state;
    rp_snapshot_release(keep_at(path, RP_DEVICE_CUDA, cuda_answer, true));
    edit_time(RP_CACHE_FAILED_SECONDS - 30);
    assert_true(is_kept(RP_DEVICE_CUDA));
    edit_time(RP_CACHE_FAILED_SECONDS + 1);
    assert_false(is_kept(RP_DEVICE_CUDA));
}

static void another_environment_asks_again(void **state) {
    (void)state;
    unsetenv("VK_ICD_FILENAMES");
    keep(RP_DEVICE_WEBGPU, web_answer);
    setenv("VK_ICD_FILENAMES", "/nowhere.json", 1);
    bool found = true;
    struct rp_snapshot *snapshot = load_at(path, RP_DEVICE_WEBGPU, &found);
    assert_false(found);
    assert_says(rp_snapshot_note(snapshot, 0), "the environment or what is installed has changed");
    rp_snapshot_release(snapshot);
    unsetenv("VK_ICD_FILENAMES");
    assert_true(is_kept(RP_DEVICE_WEBGPU));
}

/* Another version of the browser is another file in the place of the old one. */
static void an_upgraded_browser_is_asked_again(void **state) {
    (void)state;
    char browser[PATH_BYTES];
    char upgrade[PATH_BYTES + 8];
    snprintf(browser, sizeof browser, "%s/chromium", folder);
    snprintf(upgrade, sizeof upgrade, "%s.new", browser);
    write_text(browser, "one", 3);
    assert_int_equal(chmod(browser, 0700), 0);
    setenv("CHROME_PATH", browser, 1);
    keep(RP_DEVICE_WEBGPU, web_answer);
    keep(RP_DEVICE_CUDA, cuda_answer);
    assert_true(is_kept(RP_DEVICE_WEBGPU));
    write_text(upgrade, "two", 3);
    assert_int_equal(chmod(upgrade, 0700), 0);
    assert_int_equal(rename(upgrade, browser), 0);
    assert_false(is_kept(RP_DEVICE_WEBGPU));
    assert_true(is_kept(RP_DEVICE_CUDA));
    keep(RP_DEVICE_WEBGPU, web_answer);
    assert_int_equal(unlink(browser), 0);
    assert_false(is_kept(RP_DEVICE_WEBGPU));
    unsetenv("CHROME_PATH");
}

/* Neither read nor written, however often. */
static void assert_left_alone(const char *reason) {
    bool found = true;
    struct rp_snapshot *snapshot = load_at(path, RP_DEVICE_WEBGPU, &found);
    assert_false(found);
    assert_int_equal(rp_snapshot_note_count(snapshot), 1);
    assert_says(rp_snapshot_note(snapshot, 0), reason);
    rp_snapshot_release(snapshot);
    rp_snapshot_release(keep_at(path, RP_DEVICE_WEBGPU, web_answer, false));
}

static void a_file_that_is_no_cache_is_left_alone(void **state) {
    (void)state;
    static const char *const texts[] = {"precious", "{\"hardware\": {\"cpu\": true}}", "{"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_text(path, texts[i], strlen(texts[i]));
        assert_left_alone("it is no hardware cache, and is left as it is");
        char *text = read_text(path);
        assert_string_equal(text, texts[i]);
        rp_free(text);
    }
}

static void but_not_where_only_ours_can_be(void **state) {
    (void)state;
    char ours[PATH_BYTES];
    char below[PATH_BYTES];
    snprintf(below, sizeof below, "%s/below", folder);
    snprintf(ours, sizeof ours, "%s/below/resourcepool/hardware.json", folder);
    setenv("XDG_CACHE_HOME", below, 1);
    rp_snapshot_release(keep_at(NULL, RP_DEVICE_WEBGPU, web_answer, false));
    write_text(ours, "zeros", 5);
    struct rp_snapshot *snapshot = keep_at(NULL, RP_DEVICE_WEBGPU, web_answer, false);
    assert_int_equal(rp_snapshot_note_count(snapshot), 1);
    assert_says(rp_snapshot_note(snapshot, 0), "it is no hardware cache");
    rp_snapshot_release(snapshot);
    bool found = false;
    rp_snapshot_release(load_at(NULL, RP_DEVICE_WEBGPU, &found));
    assert_true(found);
    unsetenv("XDG_CACHE_HOME");
}

static void a_link_is_neither_followed_nor_replaced(void **state) {
    (void)state;
    char elsewhere[PATH_BYTES];
    snprintf(elsewhere, sizeof elsewhere, "%s/below/elsewhere.json", folder);
    rp_snapshot_release(keep_at(elsewhere, RP_DEVICE_WEBGPU, web_answer, false));
    char *before = read_text(elsewhere);
    assert_int_equal(symlink(elsewhere, path), 0);
    assert_left_alone("it is a symbolic link");
    struct stat found;
    assert_int_equal(lstat(path, &found), 0);
    assert_true(S_ISLNK(found.st_mode));
    char *after = read_text(elsewhere);
    assert_string_equal(before, after);
    rp_free(before);
    rp_free(after);
}

static void what_others_may_write_is_left_alone(void **state) {
    (void)state;
    keep(RP_DEVICE_WEBGPU, web_answer);
    assert_int_equal(chmod(path, 0620), 0);
    assert_left_alone("others may write to it");
    assert_int_equal(chmod(path, 0600), 0);
    assert_true(is_kept(RP_DEVICE_WEBGPU));
    assert_int_equal(remove(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* opening it must not wait for a writer */
    assert_left_alone("it is not a file of this user");
    assert_int_equal(remove(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_left_alone("it is not a file of this user");
}

static void a_file_of_another_user_is_left_alone(void **state) {
    (void)state;
    keep(RP_DEVICE_WEBGPU, web_answer);
    if (geteuid() != 0) skip();
    assert_int_equal(chown(path, 12345, 12345), 0);
    assert_left_alone("it is not a file of this user");
}

static void a_place_that_cannot_be_written_is_a_note(void **state) {
    (void)state;
    struct rp_snapshot *snapshot =
        keep_at("/proc/no-such/hardware.json", RP_DEVICE_WEBGPU, web_answer, false);
    assert_int_equal(rp_snapshot_note_count(snapshot), 1);
    assert_says(rp_snapshot_note(snapshot, 0),
                "'/proc/no-such/hardware.json' is not written: cannot make the folder");
    rp_snapshot_release(snapshot);
}

static void a_full_disk_leaves_the_old_file_whole(void **state) {
    (void)state;
    keep(RP_DEVICE_WEBGPU, web_answer);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit small = {16, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct rp_snapshot *snapshot = keep_at(path, RP_DEVICE_CUDA, cuda_answer, true);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(rp_snapshot_note_count(snapshot), 1);
    assert_says(rp_snapshot_note(snapshot, 0), "is not written: File too large");
    rp_snapshot_release(snapshot);
    assert_true(is_kept(RP_DEVICE_WEBGPU));
    assert_int_equal(count_files(), 1); /* no half of a new one */
}

static void a_file_that_is_too_large_is_not_read(void **state) {
    (void)state;
    keep(RP_DEVICE_WEBGPU, web_answer);
    assert_int_equal(truncate(path, RP_LIMIT_HARDWARE_CACHE_BYTES + 1), 0);
    assert_left_alone("File too large");
}

static void an_answer_that_is_too_large_is_not_kept(void **state) {
    (void)state;
    enum { ABSENCES = 20, REASON_BYTES = 60000 };
    keep(RP_DEVICE_WEBGPU, web_answer);
    struct rp_text json = RP_TEXT_INIT;
    rp_text_print(&json, "{\"version\":1,\"devices\":[],\"absent\":[");
    for (int i = 0; i < ABSENCES; i++) {
        rp_text_print(&json, "%s{\"kind\":\"cuda\",\"reason\":\"%0*d\"}", i ? "," : "",
                      REASON_BYTES, i);
    }
    rp_text_print(&json, "]}");
    assert_false(json.failed);
    struct rp_snapshot *snapshot = keep_at(path, RP_DEVICE_CUDA, json.bytes, false);
    assert_int_equal(rp_snapshot_note_count(snapshot), 1);
    assert_says(rp_snapshot_note(snapshot, 0), "of 1048576 at most");
    rp_snapshot_release(snapshot);
    rp_text_fini(&json);
    assert_true(is_kept(RP_DEVICE_WEBGPU));
}

static void answers_about_other_kinds_survive(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_snapshot *snapshots[2] = {new_snapshot(), new_snapshot()};
    struct rp_cache *caches[2] = {NULL, NULL};
    const rp_snapshot *answers[2] = {answer_of(web_answer), answer_of(cuda_answer)};
    static const rp_device_kind kinds[2] = {RP_DEVICE_WEBGPU, RP_DEVICE_CUDA};
    for (size_t i = 0; i < 2; i++) {
        assert_ok(rp_cache_open(path, snapshots[i], &caches[i], &err));
    }
    for (size_t i = 0; i < 2; i++) {
        assert_ok(rp_cache_keep(caches[i], kinds[i], answers[i], false, &err));
        assert_ok(rp_cache_close(caches[i], &err));
        rp_snapshot_release(snapshots[i]);
        rp_snapshot_release(answers[i]);
    }
    assert_true(is_kept(RP_DEVICE_WEBGPU));
    assert_true(is_kept(RP_DEVICE_CUDA));
}

/* What each of several processes does at once: every file it meets must be whole. */
static int read_and_write_often(void) {
    for (int i = 0; i < 40; i++) {
        bool found = false;
        struct rp_snapshot *snapshot = load_at(path, RP_DEVICE_WEBGPU, &found);
        bool is_whole = found && rp_snapshot_note_count(snapshot) == 2;
        rp_snapshot_release(snapshot);
        if (!is_whole) return 1;
        snapshot = keep_at(path, RP_DEVICE_WEBGPU, web_answer, false);
        bool is_written = rp_snapshot_note_count(snapshot) == 0;
        rp_snapshot_release(snapshot);
        if (!is_written) return 2;
    }
    return 0;
}

static void many_processes_see_whole_files(void **state) {
    (void)state;
    enum { PROCESSES = 6 };
    keep(RP_DEVICE_WEBGPU, web_answer);
    pid_t pids[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0) _exit(read_and_write_often());
        assert_true(pids[i] > 0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = 0;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_true(is_kept(RP_DEVICE_WEBGPU));
    assert_int_equal(count_files(), 1);
}

static rp_status use(const rp_snapshot *answer, bool *found, rp_error *err) {
    struct rp_cache *cache = NULL;
    struct rp_snapshot *snapshot = rp_snapshot_create();
    if (!snapshot) return RP_ERR_MEMORY;
    rp_status status = rp_cache_open(path, snapshot, &cache, err);
    if (status == RP_OK) status = rp_cache_load(cache, RP_DEVICE_WEBGPU, found, err);
    if (status == RP_OK) status = rp_cache_keep(cache, RP_DEVICE_CUDA, answer, true, err);
    rp_status closed = rp_cache_close(cache, err);
    rp_snapshot_release(snapshot);
    return status == RP_OK ? closed : status;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    json_object_seed(1); /* jansson's own first-use state stays out of the count */
    const rp_snapshot *answer = answer_of(cuda_answer);
    int64_t before = rp_memory_live_count();
    int told = 0;
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        bool found = false;
        keep(RP_DEVICE_WEBGPU, web_answer);
        rp_memory_fail_at(n);
        rp_status status = use(answer, &found, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(rp_memory_live_count(), before);
        assert_int_equal(count_files(), 1);
        if (pending) {
            assert_int_equal(status, RP_OK);
            assert_true(found);
            assert_true(told > 50);
            break;
        }
        /*
         * jansson takes a string that it has no memory for as damaged, and then what was kept is
         * asked for again.
         */
        assert_true(status == RP_ERR_MEMORY || status == RP_OK);
        told += status == RP_ERR_MEMORY;
    }
    rp_snapshot_release(answer);
    assert_true(is_kept(RP_DEVICE_CUDA));
}

int main(void) {
    json_heap_is_ours();
    unsetenv("HARDWARE_DETECTION_CACHE");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_is_kept_comes_back_without_what_moves, empty_folder),
        cmocka_unit_test_teardown(what_moves_is_not_believed_when_it_was_written_in, empty_folder),
        cmocka_unit_test_teardown(an_absence_is_an_answer_too, empty_folder),
        cmocka_unit_test_teardown(a_driver_that_answers_again_is_forgotten, empty_folder),
        cmocka_unit_test_teardown(without_a_file_there_is_nothing_to_say, empty_folder),
        cmocka_unit_test_teardown(the_processor_is_never_kept, empty_folder),
        cmocka_unit_test_teardown(the_environment_says_where, empty_folder),
        cmocka_unit_test_teardown(what_another_machine_wrote_is_replaced, empty_folder),
        cmocka_unit_test_teardown(what_another_version_wrote_is_replaced, empty_folder),
        cmocka_unit_test_teardown(what_is_damaged_is_replaced, empty_folder),
        cmocka_unit_test_teardown(what_is_old_or_ahead_is_asked_again, empty_folder),
        cmocka_unit_test_teardown(a_failure_stands_for_a_short_time, empty_folder),
        cmocka_unit_test_teardown(another_environment_asks_again, empty_folder),
        cmocka_unit_test_teardown(an_upgraded_browser_is_asked_again, empty_folder),
        cmocka_unit_test_teardown(a_file_that_is_no_cache_is_left_alone, empty_folder),
        cmocka_unit_test_teardown(but_not_where_only_ours_can_be, empty_folder),
        cmocka_unit_test_teardown(a_link_is_neither_followed_nor_replaced, empty_folder),
        cmocka_unit_test_teardown(what_others_may_write_is_left_alone, empty_folder),
        cmocka_unit_test_teardown(a_file_of_another_user_is_left_alone, empty_folder),
        cmocka_unit_test_teardown(a_place_that_cannot_be_written_is_a_note, empty_folder),
        cmocka_unit_test_teardown(a_full_disk_leaves_the_old_file_whole, empty_folder),
        cmocka_unit_test_teardown(a_file_that_is_too_large_is_not_read, empty_folder),
        cmocka_unit_test_teardown(an_answer_that_is_too_large_is_not_kept, empty_folder),
        cmocka_unit_test_teardown(answers_about_other_kinds_survive, empty_folder),
        cmocka_unit_test_teardown(many_processes_see_whole_files, empty_folder),
        cmocka_unit_test_teardown(every_allocation_may_fail, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
