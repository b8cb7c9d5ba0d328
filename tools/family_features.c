/* SPDX-License-Identifier: Apache-2.0 */
/* Names on stdin; the features of each on stdout, a line of "bucket:value". For train-families. */
#include "model/family.h"

#include <stdio.h>
#include <string.h>

static void print_feature(void *user, uint32_t bucket, int value) {
    (void)user;
    printf(" %u:%d", bucket, value);
}

int main(void) {
    char name[1024];
    while (fgets(name, sizeof name, stdin)) {
        name[strcspn(name, "\n")] = '\0';
        rp_family_features(name, print_feature, NULL);
        putchar('\n');
    }
    return 0;
}
