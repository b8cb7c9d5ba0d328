/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a keeper tells the broker of itself, on a thread of its own: the broker may have to be
 * started, or may not answer, and launchers wait for neither.
 */
#ifndef RP_FORKSERVER_KEEPER_BROKER_H
#define RP_FORKSERVER_KEEPER_BROKER_H

#include "keeper_server.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FS_REFUSAL_REASONS = 16 };

struct fs_report {
    /* The loop's own. */
    const char *key;
    const char *interpreter;
    bool is_touched;
    int64_t told_ms;
    struct {
        char why[FS_TEXT_BYTES];
        uint64_t count;
    } refusals[FS_REFUSAL_REASONS];
    /* Shared with the thread. */
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char *text;     /* what is to be told next; NULL: nothing new. Guarded by lock */
    bool is_ending; /* guarded by lock */
    atomic_bool is_broker_gone;
};

/* The folder of sockets: the broker's. It is there, since a launcher has made it. */
bool fs_report_folder(char *folder, size_t room);

void fs_report_open(struct fs_report *report, const char *key, const char *interpreter);

/* Something has changed that is worth telling. */
void fs_report_touch(struct fs_report *report);
void fs_report_refusal(struct fs_report *report, const char *why);

/* Tell it, now or in a second at the latest. `server` may be NULL. */
void fs_report_update(struct fs_report *report, const struct fs_server *server,
                      const struct fs_preloads *preloads, size_t job_count, uint64_t forked_count,
                      bool is_ending);

/* Whether there was a broker and it has ended. */
bool fs_report_is_broker_gone(struct fs_report *report);

void fs_report_close(struct fs_report *report);

#endif
