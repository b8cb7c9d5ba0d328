/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/address.h"

#include "base/status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(RP_ADDRESS_FOLDER_BYTES + sizeof "/broker.start" <= RP_ADDRESS_PATH_BYTES,
               "each path fits, whatever the folder is");

/* The text of the environment; nothing for a program that runs with another user's rights. */
static const char *environment(const char *name) {
    const char *text = secure_getenv(name);
    return text && text[0] ? text : NULL;
}

rp_status rp_address_find(const char *folder, struct rp_address *address, rp_error *err) {
    const char *given = folder ? folder : environment("RESOURCE_POOL_BROKER");
    const char *runtime = environment("XDG_RUNTIME_DIR");
    char found[RP_ADDRESS_PATH_BYTES * 2];
    int length;
    if (given) {
        length = snprintf(found, sizeof found, "%s", given);
    } else if (runtime && runtime[0] == '/') {
        length = snprintf(found, sizeof found, "%s/resourcepool", runtime);
    } else {
        length = snprintf(found, sizeof found, "/tmp/resourcepool-%u", (unsigned)geteuid());
    }
    if (found[0] != '/') {
        rp_fail(err, RP_ERR_ARGUMENT, "the broker's folder '%s' is not absolute", found);
        rp_hint(err, "RESOURCE_POOL_BROKER is a path that begins with '/'");
        return RP_ERR_ARGUMENT;
    }
    if (length < 0 || length >= RP_ADDRESS_FOLDER_BYTES) {
        rp_fail(err, RP_ERR_LIMIT,
                "the broker's folder '%.40s...' has %d bytes: sockets allow no more than %d", found,
                length, RP_ADDRESS_FOLDER_BYTES - 1);
        rp_hint(err, "set RESOURCE_POOL_BROKER to a folder with a shorter path");
        return RP_ERR_LIMIT;
    }
    while (length > 1 && found[length - 1] == '/') {
        found[--length] = '\0';
    }
    struct rp_address made;
    memset(&made, 0, sizeof made);
    memcpy(made.folder, found, (size_t)length + 1);
    snprintf(made.socket, sizeof made.socket, "%s/broker.sock", made.folder);
    snprintf(made.lock, sizeof made.lock, "%s/broker.lock", made.folder);
    snprintf(made.start, sizeof made.start, "%s/broker.start", made.folder);
    snprintf(made.log, sizeof made.log, "%s/broker.log", made.folder);
    *address = made;
    return RP_OK;
}

rp_status rp_address_check(const struct rp_address *address, rp_error *err) {
    const char *folder = address->folder;
    struct stat found;
    if (lstat(folder, &found) != 0) {
        if (errno == ENOENT) return rp_fail(err, RP_ERR_ABSENT, "no broker is running");
        return rp_fail_errno(err, "cannot look at the broker's folder '%s'", folder);
    }
    if (!S_ISDIR(found.st_mode)) {
        rp_fail(err, RP_ERR_UNSUPPORTED, "the broker's folder '%s' is no folder", folder);
    } else if (found.st_uid != geteuid()) {
        rp_fail(err, RP_ERR_UNSUPPORTED,
                "the broker's folder '%s' belongs to user %u, and this process to %u", folder,
                (unsigned)found.st_uid, (unsigned)geteuid());
    } else if ((found.st_mode & 077) != 0) {
        rp_fail(err, RP_ERR_UNSUPPORTED,
                "others may enter the broker's folder '%s': its mode is %03o, not 700", folder,
                (unsigned)(found.st_mode & 0777));
    } else {
        return RP_OK;
    }
    rp_hint(err, "set RESOURCE_POOL_BROKER to a folder that only you may enter");
    return RP_ERR_UNSUPPORTED;
}

rp_status rp_address_prepare(const struct rp_address *address, rp_error *err) {
    char folder[RP_ADDRESS_FOLDER_BYTES];
    memcpy(folder, address->folder, sizeof folder);
    for (char *at = folder + 1;; at++) {
        if (*at != '/' && *at != '\0') continue;
        char kept = *at;
        *at = '\0';
        struct stat found;
        /* What is there may be on a file system where mkdir() says something else first. */
        if (stat(folder, &found) != 0 && mkdir(folder, 0700) != 0 && errno != EEXIST) {
            return rp_fail_errno(err, "cannot make the broker's folder '%s'", folder);
        }
        *at = kept;
        if (kept == '\0') break;
    }
    return rp_address_check(address, err);
}
