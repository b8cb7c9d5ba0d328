/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of 'rpool run': the processes of the command (run_tree.c), how many workers fit
 * (run_width.c), the broker and what it counted (run_broker.c), and what is told (run_summary.c).
 */
#ifndef RP_CLI_RUN_H
#define RP_CLI_RUN_H

#include "isolated.h"
#include "run_python.h"

#include <jansson.h>
#include <resourcepool/resourcepool.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* As a shell, env and docker have them. */
enum { EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

/* --- the processes (run_tree.c) -------------------------------------------------------------- */

enum { LEFT_BEHIND_SHOWN = 4, COMMAND_SHOWN_BYTES = 64 };

struct run_left {
    pid_t pid;
    char command[COMMAND_SHOWN_BYTES];
};

/* How a command went. */
struct run_outcome {
    int exit_code;    /* its own; 128 + the signal it died of; 125 to 127 when it did not start  */
    bool has_started; /* it came to life, whatever became of it                                  */
    bool was_interrupted;        /* somebody asked for the end: everything was ended             */
    bool was_killed;             /* a row of the failures says so: run_killed_tell()              */
    double wall_ms;              /* on the monotonic clock                                       */
    uint64_t process_bytes_peak; /* of the largest of its processes; RP_UNKNOWN_U64              */
    size_t left_count;           /* processes that it started and that outlive it                */
    struct run_left left[LEFT_BEHIND_SHOWN];
};

/* Who wants to know how time passes: called every `interval_ms` while the command runs. */
struct run_watch {
    int interval_ms;
    void (*tick)(void *user);
    void (*pause)(void *user); /* before rpool itself is stopped */
    void *user;
};

/*
 * Hold back the signals that a run forwards, for this thread and those it will start: before
 * anything that starts a thread. Nothing is undone; the command gets what rpool found.
 */
void run_signals_init(void);

/* Back to what rpool found: from then on a signal ends it. Those that came before are forgotten. */
void run_signals_fini(void);

/* Run a command line to its end. What keeps it from starting is reported, and in the outcome. */
void run_tree(char *const *command, const struct run_watch *watch, struct run_outcome *outcome);

/* --- a command that was killed (run_killed.c) ------------------------------------------------ */

/* How memory stood, and what the kernel's records of processes killed for lack of it say. */
struct run_killed {
    rp_pool *pool; /* an empty one, whose meter it is; NULL: nothing is known */
    rp_pressure_info before;
    rp_pressure_info last;         /* of the latest look, while the command was there */
    uint64_t machine_kills_before; /* RP_UNKNOWN_U64 */
};

void run_killed_open(struct run_killed *killed);
void run_killed_look(struct run_killed *killed);

/*
 * Where the command died of SIGKILL that nobody sent through rpool, or says that something of its
 * own did (exit code 137): one more row for run_broker.failures, which says what is known.
 */
void run_killed_tell(struct run_killed *killed, const char *command, struct run_outcome *outcome,
                     json_t *failures);
void run_killed_close(struct run_killed *killed);

/* --- the broker (run_broker.c) --------------------------------------------------------------- */

enum { WHY_BYTES = 512, RUN_ID_BYTES = 48 };

enum run_broker_kind {
    RUN_BROKER_NONE,     /* the command runs alone: each process loads for itself  */
    RUN_BROKER_SHARED,   /* the user's, for this run and whoever else              */
    RUN_BROKER_ISOLATED, /* this run's own, ended after it                         */
};

/*
 * What the broker did while the command ran: sums of the differences between two looks, so that
 * neither what was before counts nor a broker that ended and was followed by another is lost. On a
 * shared broker, what others did meanwhile is in it.
 */
struct run_counts {
    uint64_t loads;
    uint64_t load_failures;
    uint64_t hits;
    uint64_t leases; /* requests that were answered: hits and loads that went well */
    uint64_t evictions;
    uint64_t reservations; /* of room, which are no leases on objects */
    uint64_t memory_bytes; /* at the latest look */
    uint64_t peak_bytes;   /* the most at any look; of an isolated broker its own figure */
    uint64_t saved_bytes;  /* the most at any look that processes would have held in addition,
                              less what they share anyway as pages of files; RP_UNKNOWN_U64     */
    double saved_ms;       /* hits x what loading that object took                              */
    uint64_t open_leases;
    uint64_t entry_count;
    uint64_t waiter_count;
};

struct run_broker {
    enum run_broker_kind kind;
    bool was_running; /* before this run */
    bool is_nested;   /* joined that of an outer run */
    char id[RUN_ID_BYTES];
    char folder[FOLDER_BYTES]; /* "": the usual one */
    int folder_lock;           /* of a folder of our own */
    char why[WHY_BYTES];       /* why there is none, or what is worth knowing; "" */
    rp_machine *machine;       /* NULL: none */
    json_int_t pid;
    struct run_counts counts;
    json_t *entries;   /* hits by key at the latest look */
    json_t *processes; /* what workers have that no file has, by pid, as of `processes_ns` */
    int64_t processes_ns;
    int64_t silent_until_ns;   /* it did not answer: it is not asked before       */
    json_t *failures;          /* [{reason, name, status, device, category, confidence, line,
                                  recommendation, count}], each reason once */
    json_t *failure_counts;    /* by number of the broker's row, at the latest look */
    json_t *leaked;            /* [{key, pid, command, leases}] */
    json_int_t failure_number; /* of the latest that was taken, and of the latest leak */
    json_int_t leak_number;
    json_int_t totals[6];
};

struct run_broker_wish {
    bool is_alone;    /* --share process */
    bool is_isolated; /* --isolated */
    const char *budget;
};

/*
 * Reach the broker that the wish calls for, starting it if need be, and set the environment of the
 * command. Without one the command runs alone; `why` says so. An error is a wish that nobody can
 * fulfil: a budget that is none.
 */
RP_MUST_CHECK rp_status run_broker_open(struct run_broker *broker,
                                        const struct run_broker_wish *wish, rp_error *err);

/* Look at what it did since the last look. */
void run_broker_look(struct run_broker *broker);

/* A last look; who leaked; the end of a broker of our own. What it counted stays. */
void run_broker_close(struct run_broker *broker);

/* Free what it counted. */
void run_broker_fini(struct run_broker *broker);

/* --- how many workers (run_width.c) ---------------------------------------------------------- */

/* What earlier runs of the same command line in the same folder took. */
struct run_history {
    char path[4096]; /* "": nothing is kept */
    char key[17];
    uint64_t process_bytes_peak; /* RP_UNKNOWN_U64: not known */
};

/* The file of all command lines; "": nothing is kept. */
void run_history_find(char *path, size_t path_bytes);

/*
 * Make the folder of a file that is to be kept there: only that and the one above it, since a home
 * that is not there stays away.
 */
void run_make_folders(const char *path);

/* How many command lines that file knows. */
size_t run_history_count(const char *path);

/* Forget those that were not run for so long; how many. */
size_t run_history_prune(const char *path, int64_t max_age_s);

/* Find out what is known of a command line. A damaged file is as good as none. */
void run_history_open(struct run_history *history, char *const *command);

/* Remember a run. Failing to is no failure. */
void run_history_add(const struct run_history *history, uint64_t process_bytes_peak);

struct run_width {
    long count; /* 0: nobody asked */
    char why[WHY_BYTES];
};

/* From "4" or "auto". False after a usage error. */
bool run_width_choose(struct run_width *width, const char *text, const struct run_history *history);

/* --- what is told (run_summary.c) ------------------------------------------------------------ */

/* The line on the terminal, while the command runs. */
struct run_line {
    bool is_shown;
    bool is_drawn;
    unsigned short rows;
};

void run_line_init(struct run_line *line, const struct run_broker *broker);
void run_line_draw(struct run_line *line, const struct run_broker *broker);
void run_line_clear(struct run_line *line);

/* A few lines on stderr; nothing where there is nothing to tell. */
void run_summary_print(const struct run_broker *broker, const struct run_python *python,
                       const struct run_outcome *outcome);

/* The document of --json, written whole or not at all. */
RP_MUST_CHECK rp_status run_summary_write(const char *path, const struct run_broker *broker,
                                          const struct run_python *python,
                                          const struct run_outcome *outcome,
                                          const struct run_width *width, rp_error *err);

/* Put the same into a JUnit file, as properties of its first suite. */
RP_MUST_CHECK rp_status run_junit_write(const char *path, const struct run_broker *broker,
                                        rp_error *err);

/* Replace a file by this text, whole or not at all. What is no regular file is written to. */
RP_MUST_CHECK rp_status run_file_write(const char *path, const char *text, size_t length,
                                       rp_error *err);

#endif
