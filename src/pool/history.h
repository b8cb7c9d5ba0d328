/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A history: what earlier loads took, remembered on disk for the next process on this machine.
 *
 * It is a help, never a condition: a file that cannot be used is lived without, in the memory of
 * this process, and a note says why. Nothing here fails a load or holds one up for more than
 * RP_HISTORY_WAIT_MS, however long another process keeps the file locked. Opening touches no file;
 * the first find or record does.
 *
 * Any thread. After fork() the child's calls do nothing: the connection is the parent's.
 */
#ifndef RP_POOL_HISTORY_H
#define RP_POOL_HISTORY_H

#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RP_HISTORY_FORMAT = 1, /* of its tables: a file of another is not read */

    RP_HISTORY_METHOD_BYTES = 16,
    RP_HISTORY_MESSAGE_BYTES = 160,

    /* The longest that one call waits for other processes. */
    RP_HISTORY_WAIT_MS = 200,

    /* A load that took this long is written at once: it would be a pity to lose it to a kill. */
    RP_HISTORY_WRITE_AT_ONCE_MS = 100,

    /* More waiting records than this are written, and so are those that waited for longer. */
    RP_HISTORY_PENDING_MAX = 1024,
    RP_HISTORY_PENDING_MS = 1000,

    /* What is kept in memory, at about 400 bytes each; the longest unused answers go first. */
    RP_HISTORY_MEMORY_ROWS_MAX = 2048,

    /* What is kept on disk, at 150-400 bytes each; the longest not updated go first. */
    RP_HISTORY_DISK_ROWS_MAX = 100000,
};

/* What earlier loads of one instance took. */
struct rp_footprint {
    uint64_t bytes;                       /* RP_UNKNOWN_U64: never attributed                   */
    char method[RP_HISTORY_METHOD_BYTES]; /* how they were found: "engine", "constructor",
                                             "growth"; "" while the bytes are unknown           */
    double load_ms;                       /* of the latest load; negative: unknown              */
    uint64_t uses;                        /* requests over all runs                             */
    uint64_t loads;
    rp_status failure; /* of the last load; RP_OK: it did not fail, or one succeeded since       */
    char failure_message[RP_HISTORY_MESSAGE_BYTES];
    int64_t failed_wall_ns; /* 0: never, or a success since                                      */
    int64_t updated_wall_ns;
};

/* Zero means default. */
struct rp_history_options {
    const char *path;       /* NULL: RESOURCE_POOL_HISTORY, else the user's cache folder         */
    uint64_t machine;       /* 0: this machine's own identity                                    */
    uint32_t disk_rows_max; /* 0: RP_HISTORY_DISK_ROWS_MAX                                       */
};

struct rp_history;

/*
 * Open the history at `path` ("off" or "": nowhere); NULL: where RESOURCE_POOL_HISTORY says, else
 * ${XDG_CACHE_HOME:-$HOME/.cache}/resourcepool/history.sqlite. Does no I/O. RP_ERR_MEMORY is the
 * only failure. On RP_OK *out is the caller's: rp_history_close().
 */
rp_status rp_history_open(const char *path, struct rp_history **out, rp_error *err);
rp_status rp_history_open_with(const struct rp_history_options *options, struct rp_history **out,
                               rp_error *err);

/*
 * What is known of the instance `key`, a text of any length. `revision` tells versions of its file
 * apart, 0 for none: a row of another revision is not found. May read the file once.
 */
bool rp_history_find(struct rp_history *history, const char *key, uint64_t revision,
                     struct rp_footprint *out);

/*
 * A load succeeded. RP_UNKNOWN_U64 bytes: they could not be attributed to it, and those of an
 * earlier load stand. A negative load_ms is unknown. Replaces what is known of another revision.
 */
void rp_history_record_load(struct rp_history *history, const char *key, uint64_t revision,
                            uint64_t bytes, const char *method, double load_ms);

/* A load failed. Replaces what is known of another revision. */
void rp_history_record_failure(struct rp_history *history, const char *key, uint64_t revision,
                               rp_status failure, const char *message);

/* Add uses. What is known of another revision stands, and the uses are forgotten. */
void rp_history_record_uses(struct rp_history *history, const char *key, uint64_t revision,
                            uint64_t uses);

/* How many rows the file has, and how many this machine wrote; false: it cannot be read. */
bool rp_history_count(struct rp_history *history, uint64_t *rows, uint64_t *rows_here);

/* Remove what other machines wrote, and what is older than that; false: not possible now. */
bool rp_history_prune(struct rp_history *history, int64_t older_than_ns, uint64_t *removed);

/*
 * What tells machines apart here: RESOURCE_POOL_MACHINE, a name of the user's for machines that are
 * alike (runners of a CI), else what survives a restart. Never 0.
 */
uint64_t rp_history_machine(void);

/* Write what waits; false when some of it could not be written and waits on. */
bool rp_history_flush(struct rp_history *history);

/* Flush and close; accepts NULL. In a child of the process that opened it: does nothing. */
void rp_history_close(struct rp_history *history);

/* What was set aside, could not be used or got lost, and why. Borrowed; they live until close. */
size_t rp_history_note_count(struct rp_history *history);
const char *rp_history_note(struct rp_history *history, size_t index);

/* The file, borrowed; NULL when there is none by choice or for want of a home. */
const char *rp_history_path(const struct rp_history *history);

/* Whether there is a file and the last attempt to use it succeeded, or none was made yet. */
bool rp_history_is_persistent(struct rp_history *history);

#endif
