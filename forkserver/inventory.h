/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a server was made of (the lines of wire.h): whether it is still so on disk, and whether a
 * request would have found the same.
 */
#ifndef RP_FORKSERVER_INVENTORY_H
#define RP_FORKSERVER_INVENTORY_H

#include "wire.h"

#include <stdbool.h>
#include <stddef.h>

struct fs_inventory;

/* Read one; `text` need not end in NUL and is copied. NULL: damaged, or no memory. */
struct fs_inventory *fs_inventory_read(const char *text, size_t bytes);

/* The same of a descriptor. */
struct fs_inventory *fs_inventory_receive(int fd);

/* Whether a file or folder is another than it was; `what` gets its path. */
bool fs_inventory_is_stale(struct fs_inventory *inventory, char *what, size_t room);

/*
 * Whether the request would find the same modules: its variables, and the folder that it puts first
 * on the path. False with why not.
 */
bool fs_inventory_fits(const struct fs_inventory *inventory, const struct fs_request *request,
                       int folder_fd, char *why, size_t room);

/* Accepts NULL. */
void fs_inventory_free(struct fs_inventory *inventory);

#endif
