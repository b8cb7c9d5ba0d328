/* SPDX-License-Identifier: Apache-2.0 */
#include "isolated.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *set_text(const char *name) {
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

void usual_folder(char *out, size_t out_bytes) {
    const char *own = set_text("RESOURCE_POOL_BROKER");
    const char *runtime = set_text("XDG_RUNTIME_DIR");
    if (own) {
        snprintf(out, out_bytes, "%s", own);
    } else if (runtime && runtime[0] == '/') {
        snprintf(out, out_bytes, "%s/resourcepool", runtime);
    } else {
        snprintf(out, out_bytes, "/tmp/resourcepool-%ld", (long)geteuid());
    }
}

/* This user's and nobody else's, and a folder. */
static bool is_ours(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == geteuid() &&
           (info.st_mode & 077) == 0;
}

/* Open and lock a file of a folder, or the folder itself (name "."); -1 with errno. */
static int lock_in(const char *folder, const char *name, int flags, int how) {
    char path[FOLDER_BYTES + 32];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int file = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file >= 0 && flock(file, how) != 0) {
        int error = errno;
        close(file);
        errno = error;
        return -1;
    }
    return file;
}

static int lock_folder(const char *folder) {
    return lock_in(folder, ".", O_RDONLY | O_DIRECTORY, LOCK_EX);
}

rp_status isolated_make(char folder[FOLDER_BYTES], int *lock, rp_error *err) {
    char above[FOLDER_BYTES];
    char made[FOLDER_BYTES];
    usual_folder(above, sizeof above);
    if (mkdir(above, 0700) != 0 && errno != EEXIST) {
        return rp_fail_errno(err, "cannot make the folder '%s' for a broker", above);
    }
    if (!is_ours(above)) {
        return rp_fail(err, RP_ERR_UNSUPPORTED, "'%s' is not a folder of this user's alone", above);
    }
    if (snprintf(made, sizeof made, "%s/run-%d-XXXXXX", above, (int)getpid()) >= (int)sizeof made) {
        return rp_fail(err, RP_ERR_LIMIT, "'%s' is too long for the folder of a broker", above);
    }
    int making = lock_folder(above);
    if (making < 0) return rp_fail_errno(err, "cannot lock the folder '%s'", above);
    rp_status status = RP_OK;
    int held = -1;
    if (!mkdtemp(made)) {
        status = rp_fail_errno(err, "cannot make a folder in '%s'", above);
    } else {
        held = lock_in(made, "run.lock", O_RDWR | O_CREAT, LOCK_EX | LOCK_NB);
        if (held < 0) {
            status = rp_fail_errno(err, "cannot lock a file in '%s'", made);
            rmdir(made);
        }
    }
    close(making);
    if (status != RP_OK) return status;
    snprintf(folder, FOLDER_BYTES, "%s", made);
    *lock = held;
    return RP_OK;
}

/* The links to rpool-python, by which a run's Pythons are called. */
static void empty_links(int above) {
    int folder = openat(above, "python", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *listing = folder >= 0 ? fdopendir(folder) : NULL;
    for (const struct dirent *at; listing && (at = readdir(listing));) {
        if (strncmp(at->d_name, "python", 6) == 0) unlinkat(folder, at->d_name, 0);
    }
    if (listing) {
        closedir(listing);
        unlinkat(above, "python", AT_REMOVEDIR);
    } else if (folder >= 0) {
        close(folder);
    }
}

/* What a run, a broker or a fork server puts there; anything else keeps the folder. */
static void empty(const char *folder) {
    static const char *const names[] = {"broker.", "python-", "python."};
    DIR *listing = opendir(folder);
    for (const struct dirent *at; listing && (at = readdir(listing));) {
        bool is_known = strcmp(at->d_name, "run.lock") == 0;
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            is_known = is_known || strncmp(at->d_name, names[i], strlen(names[i])) == 0;
        }
        if (is_known) unlinkat(dirfd(listing), at->d_name, 0);
    }
    if (listing) {
        empty_links(dirfd(listing));
        closedir(listing);
    }
    rmdir(folder);
}

void isolated_remove(const char *folder, int lock) {
    empty(folder);
    if (lock >= 0) close(lock);
}

void isolated_each(void (*see)(const char *folder, void *user), void *user) {
    char above[FOLDER_BYTES];
    char path[FOLDER_BYTES + sizeof(struct dirent)];
    usual_folder(above, sizeof above);
    DIR *listing = is_ours(above) ? opendir(above) : NULL;
    for (const struct dirent *at; listing && (at = readdir(listing));) {
        if (strncmp(at->d_name, "run-", 4) != 0) continue;
        int length = snprintf(path, sizeof path, "%s/%s", above, at->d_name);
        if (length < FOLDER_BYTES && is_ours(path)) see(path, user);
    }
    if (listing) closedir(listing);
}

/* Nobody holds that lock; *file, to be closed, keeps it so. A file that is not there is as good. */
static bool is_free(const char *folder, const char *name, int *file) {
    *file = lock_in(folder, name, O_RDWR, LOCK_EX | LOCK_NB);
    return *file >= 0 || errno == ENOENT;
}

static void remove_stale(const char *folder, void *user) {
    size_t *count = user;
    int run = -1;
    int broker = -1;
    if (is_free(folder, "run.lock", &run) && is_free(folder, "broker.lock", &broker)) {
        empty(folder);
        ++*count;
    }
    if (run >= 0) close(run);
    if (broker >= 0) close(broker);
}

size_t isolated_tidy(void) {
    char above[FOLDER_BYTES];
    size_t count = 0;
    usual_folder(above, sizeof above);
    if (!is_ours(above)) return 0;
    int making = lock_folder(above);
    if (making < 0) return 0;
    isolated_each(remove_stale, &count);
    close(making);
    return count;
}
