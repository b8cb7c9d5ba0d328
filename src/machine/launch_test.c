/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that find no broker start one: the real command, once for all of them. */
#include "machine/launch.h"

#include "base/clock.h"
#include "base/memory.h"
#include "machine/client.h"

#include "../../tests/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <resourcepool/machine.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROGRAMS = 8 };

static rp_error err;
static char folder[64];

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/rp-launch-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    setenv("RESOURCE_POOL_BROKER", folder, 1);
    setenv("RESOURCE_POOL_HISTORY", "off", 1);
    setenv("RESOURCE_POOL_RPOOL", RPOOL, 1);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    static const char *const names[] = {"broker.sock", "broker.lock", "broker.start", "broker.log",
                                        "program"};
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static bool is_gone(pid_t pid) {
    for (int i = 0; i < 5000; i++) {
        if (kill(pid, 0) != 0 && errno == ESRCH) return true;
        usleep(1000);
    }
    return false;
}

static void many_programs_start_one_broker(void **state) {
    (void)state;
    int ends[2];
    pid_t programs[PROGRAMS];
    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < PROGRAMS; i++) {
        programs[i] = fork();
        if (programs[i] != 0) continue;
        struct rp_client *client = NULL;
        rp_error why = RP_ERROR_INIT;
        if (rp_client_acquire(NULL, &client, &why) != RP_OK) {
            fprintf(stderr, "%s\n", why.message);
            _exit(1);
        }
        pid_t broker = rp_client_broker_pid(client);
        if (write(ends[1], &broker, sizeof broker) != sizeof broker) _exit(2);
        _exit(0);
    }
    pid_t broker = 0;
    for (int i = 0; i < PROGRAMS; i++) {
        int status;
        pid_t found;
        assert_int_equal(waitpid(programs[i], &status, 0), programs[i]);
        assert_int_equal(status, 0);
        assert_int_equal(read(ends[0], &found, sizeof found), sizeof found);
        if (i == 0) broker = found;
        assert_int_equal(found, broker);
    }
    close(ends[0]);
    close(ends[1]);
    rp_machine *machine = NULL;
    assert_ok(rp_machine_open(NULL, &machine, &err));
    assert_ok(rp_machine_stop(machine, false, &err));
    rp_machine_close(machine);
    assert_true(is_gone(broker));
}

static void what_was_started_is_nothing_to_the_program(void **state) {
    (void)state;
    struct rp_client *client = NULL;
    int secret = open("/dev/null", O_RDONLY); /* stays open on exec */
    assert_true(secret > 2);
    assert_ok(rp_client_acquire(NULL, &client, &err));
    pid_t broker = rp_client_broker_pid(client);
    errno = 0;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_true(getsid(broker) != getsid(0));
    char path[300];
    char target[64] = "";
    snprintf(path, sizeof path, "/proc/%d/fd", (int)broker);
    DIR *fds = opendir(path);
    assert_non_null(fds);
    for (struct dirent *entry = readdir(fds); entry; entry = readdir(fds)) {
        snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)broker, entry->d_name);
        ssize_t length = readlink(path, target, sizeof target - 1);
        bool is_standard = strlen(entry->d_name) == 1 && entry->d_name[0] <= '2';
        if (length <= 0 || is_standard) continue;
        target[length] = '\0';
        if (strcmp(target, "/dev/null") == 0) fail_msg("descriptor %s came along", entry->d_name);
    }
    closedir(fds);
    close(secret);
    rp_machine *machine = NULL;
    assert_ok(rp_machine_open(NULL, &machine, &err));
    assert_ok(rp_machine_stop(machine, false, &err));
    rp_machine_close(machine);
    rp_client_drop(client);
    assert_true(is_gone(broker));
}

static size_t open_count(void) {
    size_t count = 0;
    DIR *fds = opendir("/proc/self/fd");
    assert_non_null(fds);
    while (readdir(fds)) {
        count++;
    }
    closedir(fds);
    return count;
}

static void who_may_not_serve_keeps_nothing(void **state) {
    (void)state;
    struct rp_client *client = NULL;
    rp_machine *machine = NULL;
    assert_ok(rp_client_acquire(NULL, &client, &err));
    pid_t broker = rp_client_broker_pid(client);
    size_t before = open_count();
    int64_t blocks = rp_memory_live_count();
    assert_status(rp_broker_serve(NULL, &err), RP_ERR_BUSY);
    assert_says(err.message, "serves in");
    assert_int_equal(open_count(), before);
    assert_int_equal(rp_memory_live_count(), blocks);
    assert_ok(rp_machine_open(NULL, &machine, &err));
    assert_ok(rp_machine_stop(machine, false, &err));
    rp_machine_close(machine);
    rp_client_drop(client);
    assert_true(is_gone(broker));
}

static void a_program_that_cannot_serve_says_why(void **state) {
    (void)state;
    struct rp_client *client = NULL;
    setenv("RESOURCE_POOL_RPOOL", "/bin/true", 1);
    assert_status(rp_client_acquire(NULL, &client, &err), RP_ERR_IO);
    assert_says(err.message, "without a word");
    assert_says(err.hint, "broker.log");
    setenv("RESOURCE_POOL_RPOOL", "/nowhere/rpool", 1);
    assert_status(rp_client_acquire(NULL, &client, &err), RP_ERR_ABSENT);
    unsetenv("RESOURCE_POOL_RPOOL");
    setenv("PATH", "/nowhere", 1);
    assert_status(rp_client_acquire(NULL, &client, &err), RP_ERR_ABSENT);
    assert_says(err.hint, "RESOURCE_POOL_RPOOL");
    setenv("RESOURCE_POOL_RPOOL", RPOOL, 1);
    setenv("RESOURCE_POOL_BUDGET", "nonsense", 1);
    assert_status(rp_client_acquire(NULL, &client, &err), RP_ERR_IO);
    assert_says(err.message, "started: RESOURCE_POOL_BUDGET: 'nonsense' is no number of bytes");
    unsetenv("RESOURCE_POOL_BUDGET");
}

static void a_program_that_hangs_is_not_waited_for(void **state) {
    (void)state;
    static const char hangs[] = "#!/bin/sh\nexec /bin/sleep 600\n";
    const struct rp_client_options options = {.connect_timeout_ms = 300};
    struct rp_client *client = NULL;
    char path[128];
    snprintf(path, sizeof path, "%s/program", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(hangs, file);
    fclose(file);
    assert_int_equal(chmod(path, 0700), 0);
    setenv("RESOURCE_POOL_RPOOL", path, 1);
    alarm(60); /* it is a hang that is tested for */
    assert_status(rp_client_acquire(&options, &client, &err), RP_ERR_TIMEOUT);
    alarm(0);
    assert_says(err.message, "does not serve yet");
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nobody is left */
    setenv("RESOURCE_POOL_RPOOL", RPOOL, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_programs_start_one_broker),
        cmocka_unit_test(what_was_started_is_nothing_to_the_program),
        cmocka_unit_test(who_may_not_serve_keeps_nothing),
        cmocka_unit_test(a_program_that_cannot_serve_says_why),
        cmocka_unit_test(a_program_that_hangs_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
