/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Pythons of a run: they are started through rpool-python, so that they are forked from one
 * that has its libraries loaded. What to load is learnt from the run before (run_preloads.c).
 */
#ifndef RP_CLI_RUN_PYTHON_H
#define RP_CLI_RUN_PYTHON_H

#include "isolated.h"

#include <jansson.h>
#include <limits.h>
#include <resourcepool/resourcepool.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- what to load (run_preloads.c) ----------------------------------------------------------- */

/* A file that people edit: see its first lines. */
struct run_preloads {
    char path[PATH_MAX]; /* "": nothing is kept */
    bool is_given;       /* somebody's own: nothing is added to it */
    size_t known_count;  /* modules in it */
    size_t learnt_count; /* of these, by this run */
    json_t *packages;    /* in it as the run begins, those of most modules first; may be NULL */
};

/*
 * The file of this suite: the one that RESOURCE_POOL_PYTHON_PRELOADS names, else that of the
 * current folder and the program that runs it.
 */
void run_preloads_find(struct run_preloads *preloads, char *const *command);

/* Look at what is in it now. */
void run_preloads_look(struct run_preloads *preloads);

/*
 * Add what a run has learnt. groups: {GROUP: {"count": n, "names": {NAME: n, ...}}}: of each kind
 * of process how many there were, and how many of them had imported what, in order. refused: {NAME:
 * REASON}. A file that cannot be written teaches nothing.
 */
void run_preloads_learn(struct run_preloads *preloads, const json_t *groups, const json_t *refused);

/* --- the run (run_python.c) ------------------------------------------------------------------ */

struct run_python {
    bool is_on;
    char folder[FOLDER_BYTES]; /* of the links and the events */
    bool is_own_folder;        /* of this run alone: removed after it */
    int folder_lock;
    char events_path[FOLDER_BYTES + 32];
    int64_t read_bytes; /* of the events so far */
    struct run_preloads preloads;
    uint64_t forked;
    uint64_t plain;
    uint64_t server_count; /* that forked for this run */
    double plain_ms;       /* of imports that all forked ones were spared */
    double servers_ms;     /* of imports in servers that this run started */
    double import_ms;      /* one plain process's, as measured in its server; the most */
    uint64_t private_bytes;
    uint64_t preload_count;
    uint64_t saved_bytes; /* the most at once */
    json_t *reasons;      /* {REASON: count} */
    json_t *servers;      /* {PID: 1} */
    json_t *groups;       /* for run_preloads_learn() */
    json_t *refused;
    pid_t *alive; /* forked ones, as of the last look */
    size_t alive_count;
    size_t alive_room;
};

struct run_python_wish {
    const char *how;      /* "fork", "plain"; NULL: fork */
    const char *preloads; /* of --preload */
    const char *folder;   /* of an isolated broker, which is there; NULL: none */
};

/*
 * Set the environment of the command. Where that cannot be done Pythons are started as they are,
 * and *why, if it is worth knowing, says so.
 */
void run_python_open(struct run_python *python, const struct run_python_wish *wish,
                     char *const *command, char *why, size_t why_bytes);

/* Look at what happened since the last look. */
void run_python_look(struct run_python *python);

/* A last look; what was learnt is kept. */
void run_python_close(struct run_python *python, bool learns);

/* Lines of the summary on stderr; nothing where no Python was started. */
void run_python_print(const struct run_python *python);

/* For the summary's document; null where it is off. */
json_t *run_python_describe(const struct run_python *python);

void run_python_fini(struct run_python *python);

#endif
