/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Was a signal for this process, or for its whole process group? The kernel does not say, and a
 * launcher must know: what the group got the child has already, and a second Ctrl-C is not what the
 * first one is.
 *
 * A witness is a process of the same group that holds all signals back and does nothing. A signal
 * that is pending there too was for the group.
 */
#ifndef RP_FORKSERVER_WITNESS_H
#define RP_FORKSERVER_WITNESS_H

#include <stdbool.h>

/*
 * All signals are blocked from now on, in the witness for good. `argv` is main()'s: the witness
 * does not go by what the launcher is called. False: there is none.
 */
bool witness_open(char **argv);

/*
 * Comes back when a kill() of the group that is under way has reached all of it: such a call walks
 * through the group under the kernel's lock of all tasks, and this one needs that lock for itself.
 */
void witness_barrier(void);

/* Whether the signal that was just taken off the queue here went to the whole group. */
bool witness_saw(int signal);

bool witness_is_open(void);
void witness_close(void);

#endif
