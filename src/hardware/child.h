/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking drivers where they can do no harm: each kind in a child process of its own, all at once,
 * with a deadline. A driver that crashes, hangs, prints or leaks does so in the child.
 */
#ifndef RP_HARDWARE_CHILD_H
#define RP_HARDWARE_CHILD_H

#include "hardware/device.h"

/* How long a kind has to answer when its row does not say: one hang costs this much, once. */
enum { RP_CHILD_MS = 2000, RP_CHILD_SLOW_MS = 20000 };

/* One kind that is asked. */
struct rp_question {
    const struct rp_device_ops *ops;
    /*
     * NULL: all is asked, by ops->ask. Otherwise the devices of this kind in an earlier snapshot
     * are brought up to date by ops->refresh.
     */
    const rp_snapshot *previous;
    bool is_patient; /* the caller asked for all there is: a driver gets RP_CHILD_SLOW_MS       */
    bool is_harmful; /* out: it hung, crashed or babbled: whoever asks next suffers the same */

    struct rp_snapshot *answer; /* out: devices, absences and notes of that kind, or NULL     */
    rp_error why;               /* out: without an answer, why there is none                  */
    double ms;                  /* out: from the start of its child to the end of the answer  */
};

/*
 * Start a child for each question, then wait for all. An answer has at least one device or one
 * absence, and nothing of other kinds: what a child says is checked like any file. What went wrong
 * with one question stands in its `why` and stops no other. Give back with rp_questions_fini().
 *
 * Fails for lack of memory in this process only (RP_ERR_MEMORY); the questions are fit for
 * rp_questions_fini() then as well.
 *
 * Blocks until the last answer or deadline. Any thread. Leaves no process behind, except one that
 * the kernel does not let die (a driver that hangs inside the kernel): that one is taken up by a
 * later call.
 */
rp_status rp_questions_ask(struct rp_question *questions, size_t count, rp_error *err);
void rp_questions_fini(struct rp_question *questions, size_t count);

/*
 * For ask() and refresh(): say what is being called now, such as "cuInit of libcuda.so.1". The last
 * word before a crash or a hang becomes part of the reason. Does nothing outside a child.
 */
void rp_child_step(const char *what);

/* --- inside, for tests and fuzzing --------------------------------------------------------- */

/* What arrives from a child: frames of a type, a length and that many bytes. */
enum rp_frame {
    RP_FRAME_STEP = 1,   /* what it does now    */
    RP_FRAME_ANSWER = 2, /* the JSON; the last one */
};

enum { RP_CHILD_STEP_BYTES = 96, RP_FRAME_HEAD_BYTES = 8 };

struct rp_inbox {
    unsigned char head[RP_FRAME_HEAD_BYTES];
    size_t head_used;
    char step[RP_CHILD_STEP_BYTES]; /* the last one that arrived whole; "" */
    char step_arriving[RP_CHILD_STEP_BYTES];
    char *answer; /* base/memory.h; NULL until its frame begins */
    size_t length;
    size_t used; /* of the frame that arrives */
    bool is_complete;
    bool is_damaged; /* neither frame, or too large; nothing more is taken */
};

/* Take bytes as they come, in pieces of any size. Fails for lack of memory. */
rp_status rp_inbox_feed(struct rp_inbox *inbox, const char *bytes, size_t length, rp_error *err);
void rp_inbox_fini(struct rp_inbox *inbox);

/* The snapshot in an answer, if it is one about this kind. */
rp_status rp_child_read_answer(const char *json, size_t length, rp_device_kind kind,
                               struct rp_snapshot **answer, rp_error *err);

#endif
