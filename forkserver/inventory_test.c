/* SPDX-License-Identifier: Apache-2.0 */
#include "inventory.h"

#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder of libraries: library.py in it, a folder that people work in beside it. */
static char root[64];

static void in_root(char path[256], const char *name) {
    snprintf(path, 256, "%s/%s", root, name);
}

static void write_file(const char *name, const char *text) {
    char path[256];
    in_root(path, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void remove_file(const char *name) {
    char path[256];
    in_root(path, name);
    assert_int_equal(remove(path), 0);
}

static int set_up(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/inventory-test-XXXXXX");
    if (!mkdtemp(root)) return -1;
    write_file("library.py", "value = 1\n");
    return 0;
}

static int tear_down(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    FILE *done = popen(command, "r");
    return done ? pclose(done) : -1;
}

static struct fs_inventory *read_text(const char *text) {
    return fs_inventory_read(text, strlen(text));
}

static long long mtime_ns(const char *path) {
    struct stat found;
    assert_int_equal(stat(path, &found), 0);
    return (long long)found.st_mtim.tv_sec * 1000000000 + found.st_mtim.tv_nsec;
}

static struct fs_inventory *take_inventory(void) {
    char text[1024];
    char path[256];
    in_root(path, "library.py");
    snprintf(text, sizeof text,
             "file\t%s\t10\t%lld\nfolder\t%s\t%lld\nname\tlibrary\nname\tpackage\n", path,
             mtime_ns(path), root, mtime_ns(root));
    struct fs_inventory *inventory = read_text(text);
    assert_non_null(inventory);
    return inventory;
}

/* What changed, relative to the root; "" if nothing did. */
static const char *stale_of(struct fs_inventory *inventory) {
    static char what[256];
    what[0] = '\0';
    if (!fs_inventory_is_stale(inventory, what, sizeof what)) return "";
    return strncmp(what, root, strlen(root)) == 0 ? what + strlen(root) : what;
}

static void damaged_lines_are_no_inventory(void **state) {
    (void)state;
    static const char *const texts[] = {
        "name\ttorch",     "name\n",        "name\t\n",
        "other\tx\n",      "file\t/a\t1\n", "file\t/a\t1\tx\n",
        "file\t/a\t1\t\n", "folder\t/a\n",  "env\tNAME\n",
        "unset\tNAME=1\n", "name\ta\n\n",   "folder\t/a\t99999999999999999999\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (fs_inventory_read(texts[i], strlen(texts[i]))) fail_msg("'%s' was read", texts[i]);
    }
    assert_null(fs_inventory_read("name\ta\0b\n", 9));
}

static void a_path_may_have_tabs(void **state) {
    (void)state;
    char what[256] = "";
    struct fs_inventory *inventory = read_text("file\t/no/such\tfile\t1\t2\n");
    assert_non_null(inventory);
    assert_true(fs_inventory_is_stale(inventory, what, sizeof what));
    assert_string_equal(what, "/no/such\tfile");
    fs_inventory_free(inventory);
}

static void a_library_that_changed_is_stale(void **state) {
    (void)state;
    struct fs_inventory *inventory = take_inventory();
    assert_string_equal(stale_of(inventory), "");
    write_file("library.py", "value = 22\n");
    assert_string_equal(stale_of(inventory), "/library.py");
    remove_file("library.py");
    assert_string_equal(stale_of(inventory), "/library.py");
    fs_inventory_free(inventory);
}

static void what_people_write_beside_it_is_not(void **state) {
    (void)state;
    struct fs_inventory *inventory = take_inventory();
    write_file("notes.txt", "");
    write_file("other.py", "");
    assert_string_equal(stale_of(inventory), "");
    remove_file("notes.txt");
    assert_string_equal(stale_of(inventory), "");
    fs_inventory_free(inventory);
}

static void what_could_be_found_instead_is(void **state) {
    (void)state;
    static const char *const names[] = {"package.py", "library.so", "new.pth", "x-1.dist-info"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct fs_inventory *inventory = take_inventory();
        write_file(names[i], "");
        if (strcmp(stale_of(inventory), "") != 0) fail_msg("%s", stale_of(inventory));
        remove_file(names[i]);
        fs_inventory_free(inventory);
    }
}

/* Why a request of that kind does not fit; "" if it does. */
static const char *misfit_of(struct fs_inventory *inventory, enum fs_mode mode, const char *target,
                             const char *variable) {
    static char why[FS_TEXT_BYTES];
    const char *environment[] = {"OTHER=1", variable, NULL};
    struct fs_request_head head = {.mode = mode};
    struct fs_request request = {.head = &head, .target = target, .environment = environment};
    int folder = open(root, O_PATH | O_CLOEXEC);
    why[0] = '\0';
    bool fits = fs_inventory_fits(inventory, &request, folder, why, sizeof why);
    assert_int_equal(fits, why[0] == '\0');
    close(folder);
    return why;
}

static void variables_that_were_read_must_be_the_same(void **state) {
    (void)state;
    struct fs_inventory *inventory =
        read_text("env\tHF_HOME=/models\nunset\tWISH\nenv\tPATH=/bin\nunset\tRESOURCE_POOL_X\n");
    assert_non_null(inventory);
    static const struct {
        const char *variable;
        const char *says;
    } rows[] = {
        {"HF_HOME=/models", ""},
        {"HF_HOME=/model", "HF_HOME"},
        {"HF_HOME=/models/2", "HF_HOME"},
        {NULL, "HF_HOME"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_says(misfit_of(inventory, FS_MODE_CODE, "pass", rows[i].variable), rows[i].says);
    assert_string_equal(misfit_of(inventory, FS_MODE_CODE, "pass", "HF_HOME=/models"), "");
    fs_inventory_free(inventory);
    inventory = read_text("unset\tWISH\n");
    assert_says(misfit_of(inventory, FS_MODE_CODE, "pass", "WISH="), "WISH");
    assert_string_equal(misfit_of(inventory, FS_MODE_CODE, "pass", "WISH2=x"), "");
    fs_inventory_free(inventory);
}

static void a_namesake_beside_the_program_does_not_fit(void **state) {
    (void)state;
    char path[256];
    struct fs_inventory *inventory = read_text("name\tlibrary\nname\tpackage\n");
    assert_says(misfit_of(inventory, FS_MODE_CODE, "pass", NULL), "'library'");
    remove_file("library.py");
    assert_string_equal(misfit_of(inventory, FS_MODE_CODE, "pass", NULL), "");
    /* A folder without __init__.py comes after everything else on the path. */
    in_root(path, "package");
    assert_int_equal(mkdir(path, 0700), 0);
    assert_string_equal(misfit_of(inventory, FS_MODE_MODULE, "x", NULL), "");
    write_file("package/__init__.py", "");
    assert_says(misfit_of(inventory, FS_MODE_MODULE, "x", NULL), "'package'");
    /* Of a script its own folder counts. */
    write_file("package/library.cpython-311-x86_64-linux-gnu.so", "");
    write_file("package/script.py", "");
    assert_says(misfit_of(inventory, FS_MODE_SCRIPT, "package/script.py", NULL), "'library'");
    remove_file("package/library.cpython-311-x86_64-linux-gnu.so");
    assert_string_equal(misfit_of(inventory, FS_MODE_SCRIPT, "package/script.py", NULL), "");
    fs_inventory_free(inventory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_lines_are_no_inventory),
        cmocka_unit_test(a_path_may_have_tabs),
        cmocka_unit_test_setup_teardown(a_library_that_changed_is_stale, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_people_write_beside_it_is_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_could_be_found_instead_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(variables_that_were_read_must_be_the_same, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_namesake_beside_the_program_does_not_fit, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
