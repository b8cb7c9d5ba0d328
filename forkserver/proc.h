/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel tells of processes, in small files. */
#ifndef RP_FORKSERVER_PROC_H
#define RP_FORKSERVER_PROC_H

#include <stddef.h>
#include <sys/types.h>

/* The beginning of a file, ended by NUL; how many bytes there are: 0 where it cannot be read. */
size_t fs_proc_read(const char *path, char *text, size_t room);

/* The same of /proc/PID/NAME. */
size_t fs_proc_read_of(pid_t pid, const char *name, char *text, size_t room);

/* As the kernel calls it: 'T' for a process that is stopped, 'Z' for a dead one; '\0': none. */
char fs_process_state(pid_t pid);

#endif
