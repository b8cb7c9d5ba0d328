/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fork server was made of, in the words of an interpreter in which anything may have been
 * loaded; and whether requests fit it.
 */
#include "inventory.h"
#include "target.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void ask(struct fs_inventory *inventory, enum fs_mode mode, const char *target,
                const char **environment) {
    struct fs_request_head head = {.mode = mode};
    struct fs_request request = {.head = &head, .target = target, .environment = environment};
    char why[FS_TEXT_BYTES] = "";
    int folder = open("/", O_PATH | O_CLOEXEC);
    FUZZ_ASSERT(folder >= 0);
    bool fits = fs_inventory_fits(inventory, &request, folder, why, sizeof why);
    FUZZ_ASSERT(fits == (why[0] == '\0') && memchr(why, '\0', sizeof why));
    close(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *environment[] = {"HOME=/home/ada", "HF_HOME=/models", "EMPTY=", NULL};
    char what[FS_TEXT_BYTES] = "";
    struct fs_inventory *inventory = fs_inventory_read((const char *)data, size);
    if (!inventory) return 0;
    bool is_stale = fs_inventory_is_stale(inventory, what, sizeof what);
    FUZZ_ASSERT((is_stale || what[0] == '\0') && memchr(what, '\0', sizeof what));
    ask(inventory, FS_MODE_CODE, "pass", environment);
    ask(inventory, FS_MODE_SCRIPT, "no/such/script.py", environment);
    fs_inventory_free(inventory);
    return 0;
}
