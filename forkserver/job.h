/* SPDX-License-Identifier: Apache-2.0 */
/* A launcher's request, from its connection to the end of its child. */
#ifndef RP_FORKSERVER_JOB_H
#define RP_FORKSERVER_JOB_H

#include "inventory.h"
#include "keeper_server.h"
#include "wire.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

enum { FS_JOBS_MAX = 2048, FS_JOB_FDS = FS_PASSED_MAX + 2 };

enum fs_job_state {
    FS_JOB_NEW,     /* has not asked yet */
    FS_JOB_QUEUED,  /* waits for a server */
    FS_JOB_FORKING, /* the server was asked */
    FS_JOB_RUNNING,
    FS_JOB_ENDED /* its launcher was told, and is about to end */
};

struct fs_job {
    enum fs_job_state state;
    uint32_t number;
    int connection;
    bool is_left;    /* the launcher has gone */
    bool is_counted; /* as a child of its server */
    pid_t launcher;
    int fds[FS_JOB_FDS]; /* as they came: request, folder, passed; closed once they are the server's
                          */
    size_t fd_count;
    struct fs_server *server; /* NULL: none, or it died */
    pid_t pid;
    int process;            /* a pidfd; -1 */
    bool was_alone_stopped; /* the launcher, and not the child, at the last look */
    bool was_over;          /* the child, at the last look */
    uint64_t asked_ticks;   /* when the server was asked, as the kernel counts starts */
    int64_t since_ms;
    struct fs_job *next;
};

/* Takes the connection. NULL: no memory. */
struct fs_job *fs_job_new(int connection, pid_t launcher);

/* 1: it has asked; 0: it went away; -1: its request is none, with why. */
int fs_job_receive(struct fs_job *job, char *why, size_t room);

bool fs_job_fits(const struct fs_job *job, const struct fs_inventory *inventory, char *why,
                 size_t room);

/*
 * Before it is handed over: what somebody's program has left behind just now must not look like
 * what the server forks for the job. The kernel counts starts in ticks of 10 ms; one may be waited
 * for.
 */
void fs_job_await_tick(struct fs_job *job, const struct fs_job *jobs,
                       const struct fs_server *servers);

/* Hand it to a server: its descriptors are that one's from now on. */
bool fs_job_send(struct fs_job *job, int control);

void fs_job_set_child(struct fs_job *job, pid_t pid, int process);
void fs_job_tell(const struct fs_job *job, enum fs_type type, int32_t value, const char *text);
void fs_job_tell_ended(const struct fs_job *job, int status, const struct rusage *usage);
void fs_job_kill(const struct fs_job *job);

/*
 * SIGSTOP of a launcher, which it cannot catch, is its child's. Called a few times a second: what
 * is seen once may be a group that is being continued, the child before its launcher.
 */
void fs_job_follow_stop(struct fs_job *job);

/* A launcher that is stopped cannot read that its child was continued, or has ended: it goes on. */
void fs_job_wake_launcher(const struct fs_job *job);

/* The terminal is gone: both are told, and go on if they were stopped. */
void fs_job_hang_up(const struct fs_job *job);

/*
 * Whether its child is no more, and this process has not heard how it ended. Called after each look
 * for children that ended: it counts when it was so at the last one already.
 */
bool fs_job_is_over(struct fs_job *job);

/*
 * The child that a dead server forked for the job: one of this process that is younger than the
 * request, neither a server nor known as another job's. 0: none.
 */
pid_t fs_job_find_orphan(const struct fs_job *job, const struct fs_job *jobs,
                         const struct fs_server *servers);

void fs_job_free(struct fs_job *job);

#endif
