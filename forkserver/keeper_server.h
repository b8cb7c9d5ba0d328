/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server as its keeper has it: an interpreter that is started, told what to import, and then
 * asked to fork. A module that leaves traces which a fork cannot carry is refused, and the server
 * begun anew without it.
 */
#ifndef RP_FORKSERVER_KEEPER_SERVER_H
#define RP_FORKSERVER_KEEPER_SERVER_H

#include "inventory.h"
#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum fs_server_state {
    FS_SERVER_STARTING, /* until it says that it can import */
    FS_SERVER_IMPORTING,
    FS_SERVER_FREEZING,
    FS_SERVER_READY,
    FS_SERVER_RETIRED, /* lives until its last child has ended */
    FS_SERVER_DEAD
};

/* A module that is to be preloaded, and what became of it. */
struct fs_preload {
    const char *name;
    bool is_refused; /* not to be tried again */
    bool is_loaded;
    char why[FS_TEXT_BYTES];
    uint64_t us;
    uint64_t bytes;
    uint64_t private_bytes;
};

/* What is to be preloaded: the same for every server of a keeper. */
struct fs_preloads {
    char *text; /* the names point into it */
    struct fs_preload *rows;
    size_t count;
    unsigned refusals; /* servers that were begun anew for one */
};

struct fs_server {
    enum fs_server_state state;
    pid_t pid;
    int control;
    int output; /* a memfd with what it prints */
    size_t import_index;
    int64_t deadline_ms;
    struct fs_inventory *inventory;
    uint64_t import_us;
    uint64_t private_bytes;
    unsigned child_count;
    struct fs_server *next;
};

int64_t fs_now_ms(void);

/* As many descriptors as the system allows, for requests; servers start with the limit of before.
 */
void fs_descriptors_raise(void);

/* Names, a line each. False: no memory. */
bool fs_preloads_read(struct fs_preloads *preloads, int fd);
void fs_preloads_fini(struct fs_preloads *preloads);

/* Start an interpreter. NULL with why not. */
struct fs_server *fs_server_start(const char *interpreter, char *why, size_t room);

/*
 * Something came, or the time is up: take it, and tell it what is next. `frame` is set to what the
 * caller must see to (FORKED, FAILED, CHILD_ENDED) with its descriptor, else its type is 0. False:
 * the server cannot go on and is to be killed; a module that is to blame was refused.
 */
bool fs_server_take(struct fs_server *server, struct fs_preloads *preloads, struct fs_frame *frame,
                    int *fd);

/* False: too late, as above. */
bool fs_server_check_time(struct fs_server *server, struct fs_preloads *preloads);

/* It has died by itself: whose fault that was. */
void fs_server_blame(struct fs_server *server, struct fs_preloads *preloads, const char *why);

/* "importing torch (1 of 3)" */
void fs_server_describe(const struct fs_server *server, const struct fs_preloads *preloads,
                        char *text, size_t room);

/* Log what it printed, and free it. Its process is ended unless it is dead or retired. */
void fs_server_free(struct fs_server *server);

#endif
