/* SPDX-License-Identifier: Apache-2.0 */
/* What the comparisons with vendors' headers say: that they compile is the test. */
#ifndef RP_TESTS_LAYOUT_H
#define RP_TESTS_LAYOUT_H

#include <stddef.h>

#define SAME_SIZE(ours, theirs) _Static_assert(sizeof(ours) == sizeof(theirs), #ours)
#define SAME_FIELD(ours, our_field, theirs, their_field)                                           \
    _Static_assert(offsetof(ours, our_field) == offsetof(theirs, their_field) &&                   \
                       sizeof(((ours *)0)->our_field) == sizeof(((theirs *)0)->their_field),       \
                   #ours "." #our_field)
#define SAME_NUMBER(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #ours)

/*
 * Our pointer to a function and the vendor's function, each with its type, one below the other:
 * handles and enumerations of theirs are pointers and numbers of ours, so that the two differ in
 * words, and a reader compares what the compiler holds to be true.
 */
#define SAME_TYPE(expression, type)                                                                \
    _Static_assert(__builtin_types_compatible_p(__typeof__(expression), type), #expression)
#define SAME_CALL(ours, field, our_type, function, their_type)                                     \
    SAME_TYPE(((ours *)0)->field, our_type);                                                       \
    SAME_TYPE(&function, their_type)

#endif
