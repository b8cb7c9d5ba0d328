/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vendor's library: where it is, and what is needed of it. Finding opens nothing, so that it may
 * be part of a fast look; opening runs the vendor's code and belongs into a child (child.h).
 */
#ifndef RP_HARDWARE_LIBRARY_H
#define RP_HARDWARE_LIBRARY_H

#include "base/limits.h"
#include "hardware/proc.h"

#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>

/* What a library is called and where it may be. Arrays end with NULL. */
struct rp_library_names {
    /*
     * An environment variable that names the file (or its folder) in place of the search, for tests
     * and unusual installations; "off": as if it were not installed. NULL: there is none.
     */
    const char *variable;
    const char *const *sonames; /* required; the first that is found wins: newest first      */
    const char *const *folders; /* the vendor's own, after all others; NULL: it has none     */
};

/*
 * Look, in this order: the variable alone if it is set; LD_LIBRARY_PATH; the folders of
 * /etc/ld.so.conf; the system's; the vendor's. Of a recorded machine (root is not "") neither the
 * variable nor LD_LIBRARY_PATH counts, as they are about this process, and paths are below root,
 * without it in *path.
 *
 * RP_ERR_ABSENT: it is not installed, or what stands there cannot be it (an empty file, a library
 * for another processor); the message says which.
 */
rp_status rp_library_find(const char *root, const struct rp_library_names *names,
                          char path[RP_LIMIT_NAME_BYTES], rp_error *err);

/* Whether the variable of a library leads to a file of the caller's choice: a wish to ask it. */
bool rp_library_is_chosen(const char *root, const struct rp_library_names *names);

/*
 * The next folder of a text such as /etc/ld.so.conf, or the next pattern of further files that it
 * includes. `words` is the reader's place in a line, empty at first. False at the end.
 */
bool rp_library_next_folder(struct rp_span *text, struct rp_span *words, struct rp_span *folder,
                            bool *is_pattern);

/* A function of a library, and where its address goes: the offset in a struct of pointers. */
struct rp_library_symbol {
    const char *name; /* NULL ends a table */
    size_t offset;
    bool required;
};

/*
 * Open a library by its path and fill in `functions`, a struct of pointers to functions; one that
 * is not required and not there is NULL. Never fails half-way: on failure nothing stays open.
 * Close with rp_library_close().
 *
 * RP_ERR_UNSUPPORTED: it lacks a symbol, which is named. RP_ERR_ABSENT: the loader refuses it.
 */
rp_status rp_library_open(const char *path, const struct rp_library_symbol *symbols,
                          void *functions, void **handle, rp_error *err);

/* Accepts NULL. */
void rp_library_close(void *handle);

#endif
