/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper of a fork server: listens for launchers, starts the interpreter that forks for them,
 * has it import what is to be preloaded, starts it anew when a library changed on disk, and ends
 * when nobody came for a while. It is started by a launcher, in the launcher's session, and lives
 * until then; the broker is told what it holds.
 */
#ifndef RP_FORKSERVER_KEEPER_H
#define RP_FORKSERVER_KEEPER_H

/*
 * Be one: `rpool serve --fork-server KEY READY_FD INTERPRETER`. The modules to preload come from
 * stdin, a line each. A byte is written to READY_FD once it listens, or another one of that key
 * does. Returns the exit code.
 */
int fs_keeper_run(const char *key, const char *ready_fd, const char *interpreter);

#endif
