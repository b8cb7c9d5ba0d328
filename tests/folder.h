/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: remove a folder with all that is in it. */
#ifndef RP_TESTS_FOLDER_H
#define RP_TESTS_FOLDER_H

#include <ftw.h>
#include <stdio.h>

static inline int folder_remove_one(const char *path, const struct stat *info, int type,
                                    struct FTW *at) {
    (void)info;
    (void)type;
    (void)at;
    return remove(path);
}

/* 0 on success. */
static inline int folder_remove(const char *folder) {
    return nftw(folder, folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
