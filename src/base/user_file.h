/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that the library keeps for its user between runs: where they are, and whether the folder
 * that holds one can be trusted. The files are a help, never a condition: what is wrong with one is
 * a text for people, and its caller lives without it.
 */
#ifndef RP_BASE_USER_FILE_H
#define RP_BASE_USER_FILE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Where the file is: `path`, else what the environment variable (NULL: none) says, else `name` in
 * ${XDG_CACHE_HOME:-$HOME/.cache}/resourcepool; always absolute. False when there is to be none:
 * *why is NULL if that was asked for ("off" or ""), else the reason. A program that runs with
 * another user's rights is told nothing by the environment.
 */
bool rp_user_file_find(const char *path, const char *variable, const char *name, char *out,
                       size_t out_bytes, const char **why);

/*
 * Make the folders above a file that are missing, each for this user only, and see to it that
 * nobody else can exchange what is in the last. False with the reason in `why`, cut if need be.
 */
bool rp_user_file_prepare(const char *path, char *why, size_t why_bytes);

#endif
