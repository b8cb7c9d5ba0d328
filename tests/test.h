/* SPDX-License-Identifier: Apache-2.0 */
/* What every test includes: cmocka, which wants these headers before its own. */
#ifndef RP_TESTS_TEST_H
#define RP_TESTS_TEST_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

/* The call succeeded; otherwise the test fails with the message of `err`. */
#define assert_ok(call)                                                                            \
    do {                                                                                           \
        rp_status status_ = (call);                                                                \
        if (status_ != RP_OK) fail_msg("%s: %s: %s", #call, rp_status_name(status_), err.message); \
    } while (0)

/* The call failed with exactly this status. */
#define assert_status(call, expected)                                                              \
    do {                                                                                           \
        rp_status status_ = (call);                                                                \
        if (status_ != (expected)) {                                                               \
            fail_msg("%s: %s instead of %s: %s", #call, rp_status_name(status_),                   \
                     rp_status_name(expected), err.message);                                       \
        }                                                                                          \
    } while (0)

/* A message says what it must say. */
#define assert_says(text, part)                                                                    \
    do {                                                                                           \
        if (!strstr((text), (part))) fail_msg("'%s' does not say '%s'", (text), (part));           \
    } while (0)

#endif
