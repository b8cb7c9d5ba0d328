/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thin layer over malloc. The two counters cost one relaxed atomic each, which is nothing beside
 * malloc itself, and no hot path of the library allocates.
 */
#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic int64_t live_count;
static _Atomic int64_t fail_countdown; /* 0: never; n: the n-th allocation from now fails */

static int must_fail(void) {
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) == 0) return 0;
    return atomic_fetch_sub_explicit(&fail_countdown, 1, memory_order_relaxed) == 1;
}

static void *counted(void *block) {
    if (block) atomic_fetch_add_explicit(&live_count, 1, memory_order_relaxed);
    return block;
}

void *rp_alloc(size_t bytes) {
    if (must_fail()) return NULL;
    return counted(calloc(1, bytes ? bytes : 1));
}

void *rp_alloc_array(size_t count, size_t bytes_each) {
    size_t bytes;
    if (__builtin_mul_overflow(count, bytes_each, &bytes)) return NULL;
    return rp_alloc(bytes);
}

void *rp_alloc_aligned(size_t alignment, size_t bytes) {
    size_t rounded;
    if (__builtin_add_overflow(bytes, alignment - 1, &rounded)) return NULL;
    rounded &= ~(alignment - 1);
    if (must_fail()) return NULL;
    void *block = aligned_alloc(alignment, rounded);
    if (block) memset(block, 0, rounded);
    return counted(block);
}

void *rp_realloc_array(void *block, size_t count, size_t bytes_each) {
    size_t bytes;
    if (__builtin_mul_overflow(count, bytes_each, &bytes)) return NULL;
    if (must_fail()) return NULL;
    void *grown = realloc(block, bytes ? bytes : 1);
    if (grown && !block) counted(grown);
    return grown;
}

void rp_free(void *block) {
    if (!block) return;
    atomic_fetch_sub_explicit(&live_count, 1, memory_order_relaxed);
    free(block);
}

char *rp_memdup(const void *bytes, size_t size) {
    char *copy = rp_alloc(size);
    if (copy && size) memcpy(copy, bytes, size);
    return copy;
}

char *rp_strdup(const char *text) {
    return rp_memdup(text, strlen(text) + 1);
}

void rp_memory_fail_at(uint64_t n) {
    atomic_store_explicit(&fail_countdown, (int64_t)n, memory_order_relaxed);
}

int rp_memory_fail_pending(void) {
    return atomic_load_explicit(&fail_countdown, memory_order_relaxed) > 0;
}

int64_t rp_memory_live_count(void) {
    return atomic_load_explicit(&live_count, memory_order_relaxed);
}
