/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of the files that make up a model. */
#ifndef RP_MODEL_PATH_H
#define RP_MODEL_PATH_H

#include "base/limits.h"

#include <stdbool.h>
#include <stddef.h>

struct rp_path {
    char text[RP_LIMIT_NAME_BYTES];
};

/* "folder/name", or the name alone where the folder is ""; false when it is too long. */
bool rp_path_join(struct rp_path *path, const char *folder, const char *name);

/* The file of that name in the folder of another file; false when it is too long. */
bool rp_path_beside(struct rp_path *path, const char *file, const char *name);

/* What stands behind the last '/'. Borrowed. */
const char *rp_path_base(const char *path);

/*
 * Whether a name that a file gives stays in the folder of that file: relative, no "..". Links are
 * followed, since downloads are kept as links into a store; a name comes from the model's author, a
 * link from whoever made the folder.
 */
bool rp_path_stays_inside(const char *name);

bool rp_path_ends_with(const char *path, const char *ending);

#endif
