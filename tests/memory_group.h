/* SPDX-License-Identifier: Apache-2.0 */
/* A memory cgroup for a test: made below the one that the test runs in, removed again. */
#ifndef RP_TESTS_MEMORY_GROUP_H
#define RP_TESTS_MEMORY_GROUP_H

#include <stdint.h>
#include <sys/types.h>

struct memory_group {
    int version;       /* 1 or 2                           */
    char folder[1024]; /* "/sys/fs/cgroup/memory/rp-1-1"   */
    char name[1024];   /* "/rp-1-1", as in the whole tree  */
    char reason[1200]; /* why the last call failed         */
};

/*
 * Each returns NULL, or why it cannot be done: a test then skips with that reason. The text belongs
 * to the group. Below a group of version 2 that does not hand its memory controller on, the new one
 * is made beside it.
 */
const char *memory_group_make(struct memory_group *group);

/* Of memory; what is over it does not go to swap. */
const char *memory_group_set_limit(struct memory_group *group, uint64_t bytes);

/* 0: the calling process. */
const char *memory_group_move(struct memory_group *group, pid_t pid);

/* Bytes in use; UINT64_MAX when not known. */
uint64_t memory_group_usage(const struct memory_group *group);

/* Fails while a process is in it: wait for the children first. */
const char *memory_group_remove(struct memory_group *group);

/*
 * Take bytes of memory and write to each page, past what sanitizers keep beside it. NULL: none.
 * Give back with munmap().
 */
void *memory_group_touch(size_t bytes);

#endif
