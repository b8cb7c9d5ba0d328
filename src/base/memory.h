/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All heap use of the library. Memory comes zeroed; sizes multiply with an overflow check; a test
 * can make the n-th allocation fail and count what is still out.
 */
#ifndef RP_BASE_MEMORY_H
#define RP_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed, aligned for any type; NULL when there is none. Give back with rp_free(). */
void *rp_alloc(size_t bytes);

/* Zeroed array; NULL also when count * bytes_each overflows. */
void *rp_alloc_array(size_t count, size_t bytes_each);

/* Zeroed and aligned to a power of two of at least sizeof(void *); bytes is rounded up to it. */
void *rp_alloc_aligned(size_t alignment, size_t bytes);

/* Grow or shrink; what is new is not zeroed. On failure the old block stays as it was. */
void *rp_realloc_array(void *block, size_t count, size_t bytes_each);

/* Accepts NULL. */
void rp_free(void *block);

/* Copies of texts; NULL when there is no memory. */
char *rp_strdup(const char *text);
char *rp_memdup(const void *bytes, size_t size);

/*
 * For tests only. Make the n-th allocation from now on fail (1 = the next), once; 0 = never. Counts
 * over all threads. rp_memory_fail_pending() is false once it has failed: the loop over n ends
 * when a run finishes with the failure still pending.
 */
void rp_memory_fail_at(uint64_t n);
int rp_memory_fail_pending(void);

/* How many blocks are out. Exact when no other thread allocates at the moment. */
int64_t rp_memory_live_count(void);

#endif
