/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folders of brokers of their own ('rpool run --isolated'), below that of the user's broker:
 *
 *     FOLDER/run-PID-XXXXXX/run.lock      held by the run for as long as it lives
 *     FOLDER/run-PID-XXXXXX/broker.*      as in any broker's folder (broker.lock: while it lives)
 *
 * A folder of which nobody holds either lock is of a run that was killed. Whoever comes by removes
 * it. Folders are made and removed under a lock on FOLDER itself, so that none goes in the making.
 */
#ifndef RP_CLI_ISOLATED_H
#define RP_CLI_ISOLATED_H

#include <resourcepool/resourcepool.h>
#include <stddef.h>

enum { FOLDER_BYTES = 128 };

/* The folder of the user's broker, as the library finds it. */
void usual_folder(char *out, size_t out_bytes);

/* Make a folder below the usual one; *lock is a descriptor, closed by isolated_remove(). */
RP_MUST_CHECK rp_status isolated_make(char folder[FOLDER_BYTES], int *lock, rp_error *err);

/* Remove it with what a broker left in it. */
void isolated_remove(const char *folder, int lock);

/* Remove what killed runs left below the usual folder; how many folders went. */
size_t isolated_tidy(void);

/* Call `see` for each folder below the usual one. */
void isolated_each(void (*see)(const char *folder, void *user), void *user);

#endif
