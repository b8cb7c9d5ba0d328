/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of kinds of device: a snapshot to add to, and scripts for the fake drivers. */
#ifndef RP_TESTS_DRIVERS_KINDS_H
#define RP_TESTS_DRIVERS_KINDS_H

#include "hardware/device.h"

#include "../test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* An empty snapshot of a folder of tests/machines; NULL: of this machine. */
static inline struct rp_snapshot *fake_snapshot(const char *machine) {
    char root[1024] = "";
    struct rp_snapshot *snapshot = rp_snapshot_create();
    assert_non_null(snapshot);
    if (machine) snprintf(root, sizeof root, "%s/tests/machines/%s", SOURCE_ROOT, machine);
    snapshot->root = rp_snapshot_text(snapshot, root, strlen(root));
    snapshot->simulated = machine != NULL;
    return snapshot;
}

/* What the fake drivers of this process answer from now on. */
static inline void fake_answers(const char *text) {
    static char path[64];
    if (path[0] == '\0') {
        snprintf(path, sizeof path, "/tmp/rp-answers-%d", (int)getpid());
        setenv("FAKE_SCRIPT", path, 1);
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static inline void fake_forget_answers(void) {
    const char *path = getenv("FAKE_SCRIPT");
    if (path) unlink(path);
}

/* A device by its id; the test ends when it is not there. */
static inline const rp_device *fake_device(const struct rp_snapshot *snapshot, const char *id) {
    for (size_t i = 0; i < snapshot->device_count; i++) {
        if (strcmp(snapshot->devices[i]->id, id) == 0) return snapshot->devices[i];
    }
    fail_msg("there is no %s among %zu devices", id, snapshot->device_count);
    return NULL;
}

/* Both texts are equal or both unknown. */
#define assert_text(is, should)                                                                    \
    do {                                                                                           \
        const char *is_ = (is);                                                                    \
        const char *should_ = (should);                                                            \
        if (!is_ != !should_ || (is_ && strcmp(is_, should_) != 0)) {                              \
            fail_msg("%s is %s, not %s", #is, is_ ? is_ : "unknown",                               \
                     should_ ? should_ : "unknown");                                               \
        }                                                                                          \
    } while (0)

/* The words of a list, as one text. */
static inline const char *fake_words(const char *const *words, size_t count) {
    static char text[512];
    text[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(text);
        snprintf(text + length, sizeof text - length, "%s%s", i > 0 ? " " : "", words[i]);
    }
    return text;
}

/* How a call ended that ran in a child for at most `seconds`: 'h' it hung, 'c' it crashed, 'e'. */
static inline char fake_ending(const struct rp_device_ops *ops, const char *machine,
                               unsigned seconds) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        rp_error err = RP_ERROR_INIT;
        signal(SIGALRM, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        alarm(seconds);
        rp_status status = ops->ask(fake_snapshot(machine), &err);
        _exit(status == RP_OK ? 0 : 1);
    }
    int how = 0;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    if (WIFSIGNALED(how)) return WTERMSIG(how) == SIGALRM ? 'h' : 'c';
    return 'e';
}

#endif
