/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How memory stood when the kernel took a process for want of it, in the words of whoever keeps the
 * ledger. Taken when the death is noticed, before the entries of what lived there go.
 */
#ifndef RP_MACHINE_MEMORY_LOOK_H
#define RP_MACHINE_MEMORY_LOOK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct rp_memory_look {
    uint64_t needed_bytes; /* what the process was charged with; RP_UNKNOWN_U64, as 0: not known */
    uint64_t free_bytes;   /* what it could have had; RP_UNKNOWN_U64                            */
    bool is_budget;        /* the budget left no more; else the machine did not                 */
    char holders[200];     /* "'bert-large' 1.3 GiB (2 leases), ...", the largest first; ""     */
};

/*
 * Called with the process that died and the path of a model in it, which may have been loading. On
 * a thread of the host's, under none of its locks: it may take the pool's.
 */
typedef void rp_memory_looker(void *user, pid_t process, const char *path,
                              struct rp_memory_look *look);

#endif
