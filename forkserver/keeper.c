/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper.h"

int fs_keeper_run(const char *key, const char *ready_fd, const char *interpreter) {
    (void)key;
    (void)ready_fd;
    (void)interpreter;
    return 1;
}
