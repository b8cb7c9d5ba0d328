/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target without libFuzzer: over each file of the folder that is given, whole and cut
 * at every byte, and with each byte changed.
 */
#include "target.h"

#include <dirent.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 16, CUTS_MAX = 2000 };

/* A copy of exactly this size, so that a sanitizer sees a read beyond it. */
static void run(const uint8_t *bytes, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    FUZZ_ASSERT(copy != NULL);
    memcpy(copy, bytes, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

int main(int argc, char **argv) {
    static uint8_t bytes[FILE_BYTES_MAX];
    if (argc != 2) return 2;
    DIR *folder = opendir(argv[1]);
    FUZZ_ASSERT(folder != NULL);
    int files = 0;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        char path[1024];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        FILE *file = fopen(path, "r");
        FUZZ_ASSERT(file != NULL);
        size_t size = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        run(bytes, size);
        for (size_t i = 0; i < size && i < CUTS_MAX; i++) {
            uint8_t kept = bytes[i];
            run(bytes, i);
            bytes[i] ^= (uint8_t)(1 + i % 255);
            run(bytes, size);
            bytes[i] = kept;
        }
        files++;
    }
    closedir(folder);
    printf("%d files\n", files);
    return files ? 0 : 1;
}
