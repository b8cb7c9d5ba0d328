/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a folder of files that is made for one test and removed after it. */
#ifndef RP_TESTS_TREE_H
#define RP_TESTS_TREE_H

#include "test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A new empty folder. */
static inline const char *tree_create(char path[64]) {
    snprintf(path, 64, "/tmp/rp-tree-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

/* Make the folders above root + path. */
static inline void tree_make_parents(const char *root, const char *path) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    for (char *at = whole + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        mkdir(whole, 0755);
        *at = '/';
    }
}

static inline void tree_write(const char *root, const char *path, const char *text) {
    char whole[512];
    tree_make_parents(root, path);
    snprintf(whole, sizeof whole, "%s%s", root, path);
    FILE *file = fopen(whole, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static inline void tree_link(const char *root, const char *path, const char *target) {
    char whole[512];
    tree_make_parents(root, path);
    snprintf(whole, sizeof whole, "%s%s", root, path);
    assert_int_equal(symlink(target, whole), 0);
}

static inline int tree_remove_one(const char *path, const struct stat *info, int type,
                                  struct FTW *at) {
    (void)info;
    (void)type;
    (void)at;
    return remove(path);
}

static inline void tree_remove(const char *root) {
    nftw(root, tree_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
