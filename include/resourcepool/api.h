/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What every other header needs: how a symbol is exported and how the compiler is told
 * that a result must be looked at or that a string is a printf format.
 */
#ifndef RESOURCEPOOL_API_H
#define RESOURCEPOOL_API_H

#include <stdint.h>

#ifdef __cplusplus
#define RP_BEGIN_DECLS extern "C" {
#define RP_END_DECLS   }
#else
#define RP_BEGIN_DECLS
#define RP_END_DECLS
#endif

#if defined(__GNUC__)
#define RP_API                             __attribute__((visibility("default")))
#define RP_MUST_CHECK                      __attribute__((warn_unused_result))
#define RP_PRINTF(format_index, first_arg) __attribute__((format(printf, format_index, first_arg)))
#else
#define RP_API
#define RP_MUST_CHECK
#define RP_PRINTF(format_index, first_arg)
#endif

/** A number of bytes, or a count, that nobody knows. Unknown is never 0. */
#define RP_UNKNOWN_U64 UINT64_MAX

#endif
