/* SPDX-License-Identifier: Apache-2.0 */
/* A file that appears whole, under a name that nothing had before, or not at all. */
#ifndef RP_FAILURE_NEW_FILE_H
#define RP_FAILURE_NEW_FILE_H

#include <stddef.h>

/* Write it into an open folder, for this user alone. 0 or an errno: EEXIST, something of that name
 * is there. */
int rp_new_file_write(int folder, const char *name, const char *bytes, size_t length);

/* The way for file systems that have no files without a name; the other one tries itself. */
int rp_new_file_write_named(int folder, const char *name, const char *bytes, size_t length);

#endif
