/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records go into entries in memory, which also answer, and from there in batches into SQLite.
 *
 * An entry is what the row on disk said when it was last read, with what was recorded since on top
 * of it; which fields those are, and by how much the counters grew, is kept beside it. So a row
 * that another process changed in the meantime is merged, not overwritten: merge() is the only
 * place where the two meet. Entries wait in `pending`, oldest first, or rest in `clean`, longest
 * unused first, from where they are dropped when there are too many.
 *
 * Instances are told apart by a 128-bit hash of machine and key. The key itself is in the file only
 * for people, and cut: a row has a largest size.
 *
 * The file is set aside when it is damaged, foreign or newer. A database that others have open must
 * not be renamed (SQLite finds the journals by name), so whoever has it open holds a shared flock
 * on "<file>.lock", and renaming wants the exclusive one.
 *
 * synchronous=OFF: an fsync in the middle of a load from the same disk can take seconds, and all
 * that a power failure can cost is this file, which would be set aside and begun anew.
 *
 * SQLite keeps locks per process in memory. A child would inherit them without the locks, so a
 * child of a process that has a history file open lives without one.
 */
#include "pool/history.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/table.h"
#include "base/text.h"
#include "base/user_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <math.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    APPLICATION_ID = 0x52504f4c, /* "RPOL" */
    SCHEMA_VERSION = RP_HISTORY_FORMAT,
    LABEL_BYTES = 96,
    NOTES_MAX = 16,
    NOTE_BYTES = 320,
    PATH_BYTES = RP_LIMIT_NAME_BYTES,
    PATH_SUFFIX_BYTES = 32, /* ".damaged-8-journal" */
    SET_ASIDE_MAX = 8,      /* of each kind; the last one is overwritten then */
    TRIM_ROWS = 2048,       /* removed at once, at most: bounds the time of one flush */
    POLL_MS = 2,
};

/* How long to leave the file alone after a failure: others' locks go soon, full disks do not. */
static const int64_t retry_locked_ns = INT64_C(1000000000);
static const int64_t retry_failed_ns = INT64_C(30000000000);

/* How long an answer from disk stands before other processes' records are looked for. */
static const int64_t answer_stale_ns = INT64_C(10000000000);

/* No machine has an exbibyte, no load takes four months: what is beyond is damage. */
static const int64_t bytes_max = INT64_C(1) << 60;
static const double load_ms_max = 1e10;

static const char schema[] =
    "CREATE TABLE footprint ("
    " hash_low INTEGER PRIMARY KEY, hash_high INTEGER NOT NULL, machine INTEGER NOT NULL,"
    " revision INTEGER NOT NULL, key TEXT NOT NULL, bytes INTEGER, method TEXT NOT NULL,"
    " load_ms REAL, uses INTEGER NOT NULL, loads INTEGER NOT NULL, failure INTEGER NOT NULL,"
    " failure_message TEXT NOT NULL, failed_wall_ns INTEGER NOT NULL,"
    " updated_wall_ns INTEGER NOT NULL);"
    "CREATE INDEX footprint_by_age ON footprint (updated_wall_ns);";

enum statement { SELECT_ROW, REPLACE_ROW, COUNT_ROWS, TRIM_OLDEST, STATEMENTS };

static const char *const statement_texts[STATEMENTS] = {
    [SELECT_ROW] = "SELECT hash_high, machine, revision, bytes, method, load_ms, uses, loads,"
                   " failure, failure_message, failed_wall_ns, updated_wall_ns"
                   " FROM footprint WHERE hash_low = ?1",
    [REPLACE_ROW] = "INSERT OR REPLACE INTO footprint (hash_low, hash_high, machine, revision,"
                    " bytes, method, load_ms, uses, loads, failure, failure_message,"
                    " failed_wall_ns, updated_wall_ns, key)"
                    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    [COUNT_ROWS] = "SELECT count(*) FROM footprint",
    [TRIM_OLDEST] = "DELETE FROM footprint WHERE hash_low IN (SELECT hash_low FROM footprint"
                    " ORDER BY updated_wall_ns LIMIT ?1)",
};

struct link {
    struct link *previous;
    struct link *next;
};

/* A row as it is on disk, or would be. */
struct row {
    bool exists;
    uint64_t revision;
    struct rp_footprint footprint;
};

struct entry {
    struct link link; /* in pending or clean; first, so that a link is its entry */
    XXH128_hash_t id;
    int64_t read_ns;    /* when the row was last read or written; 0: never */
    int64_t pending_ns; /* since when it waits; 0: it does not */
    struct row row;     /* with all that was recorded */
    uint64_t uses_more; /* than what is on disk */
    uint64_t loads_more;
    bool has_new_bytes;
    bool has_new_load; /* load_ms */
    bool has_new_failure;
    char label[LABEL_BYTES];
};

struct rp_history {
    /* Set by rp_history_open(), constant afterwards. */
    char *path; /* NULL: none */
    pid_t pid;
    uint32_t disk_rows_max;

    struct rp_lock lock; /* guards all below; held across SQLite, which waits RP_HISTORY_WAIT_MS */
    uint64_t machine;    /* 0: not read yet */
    struct rp_table table;
    struct link pending;
    struct link clean;
    size_t pending_count;
    uint64_t rows_until_trim;

    sqlite3 *db; /* NULL: not open now */
    sqlite3_stmt *statements[STATEMENTS];
    int lock_fd;         /* holds the shared flock while db is open; else -1 */
    struct stat file;    /* which file db is */
    int64_t deadline_ns; /* of the call that holds the lock */
    int64_t retry_ns;    /* leave the file alone until then */
    bool is_persistent;

    char notes[NOTES_MAX][NOTE_BYTES];
    size_t note_count;
};

/* Connections of this process, and which process that is: see above about fork(). */
static _Atomic int connection_count;
static _Atomic pid_t connection_pid;

static void link_init(struct link *list) {
    list->previous = list->next = list;
}

static void link_remove(struct link *item) {
    item->previous->next = item->next;
    item->next->previous = item->previous;
}

static void link_append(struct link *list, struct link *item) {
    item->previous = list->previous;
    item->next = list;
    list->previous->next = item;
    list->previous = item;
}

/* The oldest of a list; NULL when it is empty. */
static struct entry *list_oldest(struct link *list) {
    return list->next == list ? NULL : (struct entry *)list->next;
}

RP_PRINTF(2, 3)
static void note(struct rp_history *history, const char *format, ...) {
    assert(rp_lock_is_held(&history->lock));
    if (history->note_count == NOTES_MAX) return;
    char *text = history->notes[history->note_count];
    va_list args;
    va_start(args, format);
    vsnprintf(text, NOTE_BYTES, format, args);
    va_end(args);
    rp_text_make_printable(text);
    for (size_t i = 0; i < history->note_count; i++) {
        if (strcmp(history->notes[i], text) == 0) return;
    }
    if (history->note_count == NOTES_MAX - 1) {
        snprintf(text, NOTE_BYTES, "further notes on the history are left out");
    }
    history->note_count++;
}

/* Copy a text that may be cut, at a character, and make it fit for people. */
static void copy_text(char *out, size_t out_bytes, const char *text) {
    size_t length = text ? strnlen(text, out_bytes - 1) : 0;
    if (length) memcpy(out, text, length);
    out[length] = '\0';
    if (length == out_bytes - 1) {
        /* At most three bytes of a character that was cut. */
        size_t valid = rp_text_utf8_error_at(out, length);
        if (length - valid <= 3) out[valid] = '\0';
    }
    rp_text_make_printable(out);
}

static struct rp_footprint footprint_unknown(void) {
    return (struct rp_footprint){.bytes = RP_UNKNOWN_U64, .load_ms = -1};
}

static uint64_t add_saturating(uint64_t a, uint64_t b) {
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) || sum > INT64_MAX ? INT64_MAX : sum;
}

static bool method_is_valid(const char *method) {
    size_t length = strspn(method, "abcdefghijklmnopqrstuvwxyz_");
    return length > 0 && length < RP_HISTORY_METHOD_BYTES && method[length] == '\0';
}

/* ---- the file ---- */

/* Folders may be shared between machines. */
uint64_t rp_history_machine(void) {
    const char *named = secure_getenv("RESOURCE_POOL_MACHINE");
    uint64_t alike = named && named[0] ? XXH3_64bits_withSeed(named, strlen(named), 1) : 0;
    if (alike) return alike;
    static const char *const files[] = {"/etc/machine-id", "/var/lib/dbus/machine-id"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *text = NULL;
        size_t length = 0;
        if (rp_text_read_file(files[i], 256, &text, &length) != 0) continue;
        length = strspn(text, "0123456789abcdef");
        uint64_t hash = length == 32 ? XXH3_64bits(text, length) : 0;
        rp_free(text);
        if (hash) return hash;
    }
    struct utsname names;
    if (uname(&names) != 0) return 1;
    uint64_t hash = XXH3_64bits_withSeed(names.nodename, strlen(names.nodename),
                                         XXH3_64bits(names.machine, strlen(names.machine)));
    return hash ? hash : 1;
}

static void wait_a_little(void) {
    nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
}

static int on_busy(void *user, int count) {
    (void)count;
    const struct rp_history *history = user;
    if (rp_clock_ns() >= history->deadline_ns) return 0;
    wait_a_little();
    return 1;
}

/* Called by SQLite every so many steps: a damaged file must not keep it busy for ever. */
static int on_progress(void *user) {
    const struct rp_history *history = user;
    return rp_clock_ns() >= history->deadline_ns;
}

static void detach(struct rp_history *history) {
    for (size_t i = 0; i < STATEMENTS; i++) {
        sqlite3_finalize(history->statements[i]);
        history->statements[i] = NULL;
    }
    if (history->db) {
        sqlite3_close(history->db);
        history->db = NULL;
        connection_count--;
    }
    if (history->lock_fd >= 0) close(history->lock_fd);
    history->lock_fd = -1;
}

/* Live without the file for a while, and say why. */
RP_PRINTF(3, 4)
static void leave_alone(struct rp_history *history, int64_t for_ns, const char *format, ...) {
    char why[NOTE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    note(history, "the history '%s' is not used for now: %s", history->path, why);
    history->retry_ns = rp_clock_ns() + for_ns;
    history->is_persistent = false;
}

static bool path_of(const struct rp_history *history, const char *suffix, char *out) {
    int length = snprintf(out, PATH_BYTES + PATH_SUFFIX_BYTES, "%s%s", history->path, suffix);
    return length > 0 && length < PATH_BYTES + PATH_SUFFIX_BYTES;
}

/* The lock file with that lock (LOCK_SH or LOCK_EX) taken before the deadline, or -1. */
static int open_lock(struct rp_history *history, int operation) {
    char path[PATH_BYTES + PATH_SUFFIX_BYTES];
    if (!path_of(history, ".lock", path)) return -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0) {
        leave_alone(history, retry_failed_ns, "cannot open its lock file: %s", strerror(errno));
        return -1;
    }
    while (flock(fd, operation | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        int error = errno;
        if (error == EWOULDBLOCK && rp_clock_ns() < history->deadline_ns) {
            wait_a_little();
            continue;
        }
        close(fd);
        if (error == EWOULDBLOCK) {
            leave_alone(history, retry_locked_ns, "another process has it open");
        } else {
            leave_alone(history, retry_failed_ns, "cannot lock: %s", strerror(error));
        }
        return -1;
    }
    return fd;
}

/*
 * Rename the file and what belongs to it, unless another process did so already. The connection is
 * closed. True when opening may be tried again at once.
 */
static bool set_aside(struct rp_history *history, const char *kind, const char *why) {
    assert(rp_lock_is_held(&history->lock));
    static const char *const companions[] = {"", "-wal", "-shm", "-journal"};
    detach(history);
    int fd = open_lock(history, LOCK_EX);
    if (fd < 0) return false;
    struct stat now;
    bool is_same = lstat(history->path, &now) == 0 && now.st_dev == history->file.st_dev &&
                   now.st_ino == history->file.st_ino;
    if (!is_same) {
        close(fd);
        return true;
    }
    char from[PATH_BYTES + PATH_SUFFIX_BYTES];
    char to[PATH_BYTES + PATH_SUFFIX_BYTES];
    char suffix[PATH_SUFFIX_BYTES];
    int number = 1;
    for (; number < SET_ASIDE_MAX; number++) {
        snprintf(suffix, sizeof suffix, ".%s-%d", kind, number);
        if (path_of(history, suffix, to) && lstat(to, &now) != 0) break;
    }
    int error = 0;
    /* The database first: SQLite throws away journals that lie beside an empty one. */
    for (size_t i = 0; i < sizeof companions / sizeof companions[0] && !error; i++) {
        snprintf(suffix, sizeof suffix, ".%s-%d%s", kind, number, companions[i]);
        bool fits = path_of(history, companions[i], from) && path_of(history, suffix, to);
        if (!fits) error = ENAMETOOLONG;
        if (fits && rename(from, to) != 0 && errno != ENOENT) error = errno;
    }
    close(fd);
    if (error) {
        leave_alone(history, retry_failed_ns, "%s, and cannot be set aside: %s", why,
                    strerror(error));
        return false;
    }
    note(history, "the history '%s' %s: it was set aside as '.%s-%d' and a new one begun",
         history->path, why, kind, number);
    return true;
}

/*
 * After SQLite failed; no transaction is open. True when the file was set aside and the call can be
 * done again with a new one.
 */
static bool recover(struct rp_history *history, int rc) {
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
    case SQLITE_INTERRUPT:
        /* The connection stays: opening it again would not help. */
        leave_alone(history, retry_locked_ns, "another process keeps it locked");
        return false;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* our own statements do not fit: not our tables */
    case SQLITE_SCHEMA:
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_FORMAT:
        return set_aside(history, "damaged", "is damaged");
    default:
        detach(history);
        leave_alone(history, retry_failed_ns, "%s", sqlite3_errstr(rc));
        return false;
    }
}

/*
 * Make sure that there is a file of ours in a folder that nobody else can exchange it in. The file
 * is not opened: closing it would take away the locks of every connection of this process.
 */
static bool prepare_file(struct rp_history *history) {
    char why[NOTE_BYTES];
    if (!rp_user_file_prepare(history->path, why, sizeof why)) {
        leave_alone(history, retry_failed_ns, "%s", why);
        return false;
    }
    if (mknod(history->path, S_IFREG | 0600, 0) != 0 && errno != EEXIST) {
        leave_alone(history, retry_failed_ns, "cannot make it: %s", strerror(errno));
        return false;
    }
    if (lstat(history->path, &history->file) != 0) {
        leave_alone(history, retry_failed_ns, "%s", strerror(errno));
        return false;
    }
    if (!S_ISREG(history->file.st_mode) || history->file.st_uid != geteuid()) {
        leave_alone(history, retry_failed_ns, "it is not a file of this user");
        return false;
    }
    return true;
}

/* Write-ahead logs want memory shared by all who have the file open: one machine, that is. */
static bool file_system_is_local(const char *path) {
    static const unsigned long local[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
                                          F2FS_SUPER_MAGIC, TMPFS_MAGIC,     OVERLAYFS_SUPER_MAGIC,
                                          0x2fc12fc1 /* ZFS */};
    struct statfs found;
    if (statfs(path, &found) != 0) return false;
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++) {
        if ((unsigned long)found.f_type == local[i]) return true;
    }
    return false;
}

static int execute(struct rp_history *history, const char *text) {
    return sqlite3_exec(history->db, text, NULL, NULL, NULL);
}

/* The one number that a statement gives. */
static int query_number(struct rp_history *history, const char *text, int64_t *number) {
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(history->db, text, -1, &statement, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        *number = sqlite3_column_int64(statement, 0);
        rc = SQLITE_OK;
    } else if (rc == SQLITE_DONE) {
        rc = SQLITE_CORRUPT;
    }
    sqlite3_finalize(statement);
    return rc;
}

/* What a file says of itself. */
enum identity { OURS, EMPTY, NEWER, FOREIGN };

static int identify(struct rp_history *history, enum identity *identity) {
    int64_t application = 0;
    int64_t version = 0;
    int64_t tables = 0;
    int rc = query_number(history, "PRAGMA application_id", &application);
    if (rc == SQLITE_OK) rc = query_number(history, "PRAGMA user_version", &version);
    if (rc == SQLITE_OK) rc = query_number(history, "SELECT count(*) FROM sqlite_master", &tables);
    if (rc != SQLITE_OK) return rc;
    if (application == 0 && version == 0 && tables == 0) {
        *identity = EMPTY;
    } else if (application == APPLICATION_ID && version == SCHEMA_VERSION) {
        *identity = OURS;
    } else {
        *identity = application == APPLICATION_ID && version > SCHEMA_VERSION ? NEWER : FOREIGN;
    }
    return SQLITE_OK;
}

/* All at one moment: another process may be laying the tables just now. */
static int identify_at_once(struct rp_history *history, enum identity *identity) {
    int rc = execute(history, "BEGIN");
    if (rc != SQLITE_OK) return rc;
    rc = identify(history, identity);
    int ended = execute(history, rc == SQLITE_OK ? "COMMIT" : "ROLLBACK");
    return rc == SQLITE_OK ? ended : rc;
}

/* Lay the tables, unless another process is faster. */
static int create_tables(struct rp_history *history) {
    int rc = execute(history, "BEGIN IMMEDIATE");
    if (rc != SQLITE_OK) return rc;
    enum identity identity = FOREIGN;
    rc = identify(history, &identity);
    if (rc == SQLITE_OK && identity == EMPTY) {
        char text[96];
        snprintf(text, sizeof text, "PRAGMA application_id=%d; PRAGMA user_version=%d;",
                 APPLICATION_ID, SCHEMA_VERSION);
        rc = execute(history, schema);
        if (rc == SQLITE_OK) rc = execute(history, text);
    }
    if (rc == SQLITE_OK) rc = execute(history, "COMMIT");
    if (rc != SQLITE_OK) execute(history, "ROLLBACK");
    return rc;
}

/* Open the connection and make it careful with what the file holds. */
static int open_connection(struct rp_history *history) {
    connection_count++;
    int rc = sqlite3_open_v2(history->path, &history->db,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE,
                             NULL);
    if (!history->db) connection_count--;
    if (rc != SQLITE_OK) return rc;
    sqlite3_extended_result_codes(history->db, 1);
    sqlite3_busy_handler(history->db, on_busy, history);
    sqlite3_progress_handler(history->db, 1000, on_progress, history);
    sqlite3_db_config(history->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(history->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(history->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    sqlite3_db_config(history->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_limit(history->db, SQLITE_LIMIT_LENGTH, 1 << 20);
    return execute(history, "PRAGMA cell_size_check=ON; PRAGMA mmap_size=0;"
                            "PRAGMA synchronous=OFF; PRAGMA cache_size=-1024;"
                            "PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit=4194304;");
}

static int prepare_statements(struct rp_history *history) {
    for (size_t i = 0; i < STATEMENTS; i++) {
        int rc = sqlite3_prepare_v3(history->db, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                    &history->statements[i], NULL);
        if (rc != SQLITE_OK) return rc;
    }
    return SQLITE_OK;
}

/* One attempt to open the file. True when it is open, or was set aside and another will do it. */
static bool attach_once(struct rp_history *history) {
    if (!prepare_file(history)) return false;
    history->lock_fd = open_lock(history, LOCK_SH);
    if (history->lock_fd < 0) return false;
    /* The file may have been set aside before the lock was ours. */
    if (!prepare_file(history)) {
        detach(history);
        return false;
    }
    enum identity identity = FOREIGN;
    int rc = open_connection(history);
    if (rc == SQLITE_OK) rc = identify_at_once(history, &identity);
    if (rc == SQLITE_OK && identity == NEWER) {
        return set_aside(history, "newer", "was written by a newer version");
    }
    if (rc == SQLITE_OK && identity == FOREIGN) {
        return set_aside(history, "damaged", "is not a history");
    }
    if (rc == SQLITE_OK) {
        /* Refused where the file is in use the other way; then that way will do. */
        rc = execute(history, file_system_is_local(history->path) ? "PRAGMA journal_mode=WAL"
                                                                  : "PRAGMA journal_mode=DELETE");
        if ((rc & 0xff) == SQLITE_BUSY) rc = SQLITE_OK;
    }
    if (rc == SQLITE_OK && identity == EMPTY) rc = create_tables(history);
    if (rc == SQLITE_OK) rc = prepare_statements(history);
    if (rc == SQLITE_OK) return true;
    /* Half open is no use: close it also where recover() would keep the connection. */
    bool again = recover(history, rc);
    detach(history);
    return again;
}

/* Whether the file can be used now; opens it when need be. */
static bool attach(struct rp_history *history) {
    assert(rp_lock_is_held(&history->lock));
    if (!history->path) return false;
    if (history->retry_ns && rp_clock_ns() < history->retry_ns) return false;
    if (!history->db) {
        if (connection_pid != getpid()) {
            if (connection_count > 0) {
                leave_alone(history, retry_failed_ns, "the parent of this process has it open");
                return false;
            }
            connection_pid = getpid();
        }
        for (int tries = 0; tries < 3 && !history->db; tries++) {
            if (!attach_once(history)) return false;
        }
        if (!history->db) {
            leave_alone(history, retry_failed_ns, "it is damaged again and again");
            return false;
        }
    }
    history->retry_ns = 0;
    history->is_persistent = true;
    return true;
}

/* ---- rows ---- */

/* A number from the file that must not be negative. */
static int64_t column_number(sqlite3_stmt *statement, int column) {
    int64_t number = sqlite3_column_int64(statement, column);
    return number < 0 ? 0 : number;
}

/* A time from the file, which cannot lie ahead. */
static int64_t column_time(sqlite3_stmt *statement, int column) {
    int64_t number = column_number(statement, column);
    int64_t now = rp_wall_ns();
    return number > now ? now : number;
}

/* Read what stands in a row; what is out of range becomes unknown. */
static struct rp_footprint column_footprint(sqlite3_stmt *statement) {
    struct rp_footprint found = footprint_unknown();
    int64_t bytes = sqlite3_column_int64(statement, 3);
    const char *method = (const char *)sqlite3_column_text(statement, 4);
    bool has_bytes = sqlite3_column_type(statement, 3) == SQLITE_INTEGER && bytes >= 0 &&
                     bytes <= bytes_max && method && method_is_valid(method);
    if (has_bytes) {
        found.bytes = (uint64_t)bytes;
        copy_text(found.method, sizeof found.method, method);
    }
    if (sqlite3_column_type(statement, 5) != SQLITE_NULL) {
        double load_ms = sqlite3_column_double(statement, 5);
        if (load_ms >= 0 && load_ms <= load_ms_max) found.load_ms = load_ms;
    }
    found.uses = (uint64_t)column_number(statement, 6);
    found.loads = (uint64_t)column_number(statement, 7);
    int64_t failure = sqlite3_column_int64(statement, 8);
    if (failure > 0 && failure <= INT32_MAX && rp_status_name((rp_status)failure)) {
        found.failure = (rp_status)failure;
        copy_text(found.failure_message, sizeof found.failure_message,
                  (const char *)sqlite3_column_text(statement, 9));
        found.failed_wall_ns = column_time(statement, 10);
    }
    found.updated_wall_ns = column_time(statement, 11);
    return found;
}

static int read_row(struct rp_history *history, XXH128_hash_t id, struct row *row) {
    *row = (struct row){.footprint = footprint_unknown()};
    sqlite3_stmt *statement = history->statements[SELECT_ROW];
    int rc = sqlite3_bind_int64(statement, 1, (int64_t)id.low64);
    if (rc == SQLITE_OK) rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW && (uint64_t)sqlite3_column_int64(statement, 0) == id.high64 &&
        (uint64_t)sqlite3_column_int64(statement, 1) == history->machine) {
        row->exists = true;
        row->revision = (uint64_t)sqlite3_column_int64(statement, 2);
        row->footprint = column_footprint(statement);
    }
    int reset_rc = sqlite3_reset(statement);
    if (rc == SQLITE_ROW || rc == SQLITE_DONE) rc = reset_rc;
    return rc;
}

static int write_row(struct rp_history *history, const struct entry *entry) {
    sqlite3_stmt *statement = history->statements[REPLACE_ROW];
    const struct rp_footprint *of = &entry->row.footprint;
    bool has_bytes = of->bytes <= (uint64_t)bytes_max;
    int rc = SQLITE_OK;
    const int64_t numbers[] = {(int64_t)entry->id.low64, (int64_t)entry->id.high64,
                               (int64_t)history->machine, (int64_t)entry->row.revision};
    for (int i = 0; i < 4; i++) {
        rc |= sqlite3_bind_int64(statement, i + 1, numbers[i]);
    }
    rc |= has_bytes ? sqlite3_bind_int64(statement, 5, (int64_t)of->bytes)
                    : sqlite3_bind_null(statement, 5);
    rc |= sqlite3_bind_text(statement, 6, of->method, -1, SQLITE_STATIC);
    rc |= of->load_ms >= 0 ? sqlite3_bind_double(statement, 7, of->load_ms)
                           : sqlite3_bind_null(statement, 7);
    rc |= sqlite3_bind_int64(statement, 8, (int64_t)of->uses);
    rc |= sqlite3_bind_int64(statement, 9, (int64_t)of->loads);
    rc |= sqlite3_bind_int64(statement, 10, of->failure);
    rc |= sqlite3_bind_text(statement, 11, of->failure_message, -1, SQLITE_STATIC);
    rc |= sqlite3_bind_int64(statement, 12, of->failed_wall_ns);
    rc |= sqlite3_bind_int64(statement, 13, of->updated_wall_ns);
    rc |= sqlite3_bind_text(statement, 14, entry->label, -1, SQLITE_STATIC);
    rc = rc == SQLITE_OK ? sqlite3_step(statement) : SQLITE_NOMEM;
    if (rc == SQLITE_DONE) rc = SQLITE_OK;
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return rc;
}

/* Keep the number of rows bounded; looks now and then, inside the transaction of a flush. */
static int trim(struct rp_history *history) {
    if (history->rows_until_trim > 0) return SQLITE_OK;
    sqlite3_stmt *statement = history->statements[COUNT_ROWS];
    int rc = sqlite3_step(statement);
    int64_t count = rc == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_reset(statement);
    if (rc != SQLITE_ROW) return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
    int64_t room = (int64_t)history->disk_rows_max - count;
    /* Not before half of what is left can be used up by this process. */
    history->rows_until_trim = room > 2 ? (uint64_t)room / 2 : 1;
    if (history->rows_until_trim > TRIM_ROWS) history->rows_until_trim = TRIM_ROWS;
    if (room >= 0) return SQLITE_OK;
    statement = history->statements[TRIM_OLDEST];
    rc = sqlite3_bind_int64(statement, 1, -room < TRIM_ROWS ? -room : TRIM_ROWS);
    if (rc == SQLITE_OK) rc = sqlite3_step(statement);
    sqlite3_reset(statement);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* ---- entries ---- */

static bool entry_is_pending(const struct entry *entry) {
    return entry->pending_ns != 0;
}

static void make_clean(struct rp_history *history, struct entry *entry) {
    if (entry_is_pending(entry)) history->pending_count--;
    entry->pending_ns = 0;
    entry->uses_more = entry->loads_more = 0;
    entry->has_new_bytes = entry->has_new_load = entry->has_new_failure = false;
    link_remove(&entry->link);
    link_append(&history->clean, &entry->link);
}

/*
 * Put what was recorded on top of what is on disk. May be done any number of times before the
 * entry is clean. False when nothing is left to be written: the row is of another revision, which
 * uses alone do not replace.
 */
static bool merge(struct entry *entry, const struct row *disk) {
    entry->read_ns = rp_clock_ns();
    if (!entry_is_pending(entry)) {
        entry->row = *disk;
        return false;
    }
    bool same = disk->exists && disk->revision == entry->row.revision;
    if (disk->exists && !same && !entry->has_new_load && !entry->has_new_failure) {
        entry->row = *disk;
        return false;
    }
    struct rp_footprint merged = same ? disk->footprint : footprint_unknown();
    const struct rp_footprint *own = &entry->row.footprint;
    if (entry->has_new_bytes) {
        merged.bytes = own->bytes;
        memcpy(merged.method, own->method, sizeof merged.method);
    }
    if (entry->has_new_load && own->load_ms >= 0) merged.load_ms = own->load_ms;
    if (entry->has_new_failure) {
        merged.failure = own->failure;
        memcpy(merged.failure_message, own->failure_message, sizeof merged.failure_message);
        merged.failed_wall_ns = own->failed_wall_ns;
    }
    merged.uses = add_saturating(merged.uses, entry->uses_more);
    merged.loads = add_saturating(merged.loads, entry->loads_more);
    merged.updated_wall_ns = own->updated_wall_ns;
    entry->row.footprint = merged;
    return true;
}

static struct entry *find_entry(struct rp_history *history, XXH128_hash_t id) {
    for (struct rp_table_probe at = rp_table_find(&history->table, id.low64); at.value;
         at = rp_table_find_next(&history->table, at)) {
        struct entry *entry = at.value;
        if (entry->id.high64 == id.high64) return entry;
    }
    return NULL;
}

/* Forget an entry and give it back for another; NULL when there is none. */
static struct entry *drop_oldest(struct rp_history *history) {
    struct entry *entry = list_oldest(&history->clean);
    if (!entry) {
        entry = list_oldest(&history->pending);
        if (!entry) return NULL;
        if (history->path) {
            note(history,
                 "records that could not be written were forgotten: more than %d, or no memory",
                 RP_HISTORY_MEMORY_ROWS_MAX);
        }
        history->pending_count--;
    }
    link_remove(&entry->link);
    rp_table_remove(&history->table, entry->id.low64, entry);
    return entry;
}

/* The entry of that id, a new one when there was none; NULL without memory. */
static struct entry *ensure_entry(struct rp_history *history, XXH128_hash_t id, const char *key) {
    struct entry *entry = find_entry(history, id);
    if (entry) return entry;
    bool is_full = history->table.count >= RP_HISTORY_MEMORY_ROWS_MAX;
    entry = is_full || !rp_table_reserve(&history->table) ? NULL : rp_alloc(sizeof *entry);
    /* A place that was just freed is room for one: no reservation. */
    if (!entry) entry = drop_oldest(history);
    if (!entry) return NULL;
    *entry = (struct entry){.id = id, .row.footprint = footprint_unknown()};
    copy_text(entry->label, sizeof entry->label, key);
    rp_table_insert(&history->table, id.low64, entry);
    link_append(&history->clean, &entry->link);
    return entry;
}

/* Write all that waits in one transaction. */
static int write_pending(struct rp_history *history) {
    int rc = execute(history, "BEGIN IMMEDIATE");
    if (rc != SQLITE_OK) return rc;
    struct link *pending = &history->pending;
    for (struct link *at = pending->next; at != pending && rc == SQLITE_OK; at = at->next) {
        struct entry *entry = (struct entry *)at;
        struct row disk;
        rc = read_row(history, entry->id, &disk);
        if (rc != SQLITE_OK) break;
        if (merge(entry, &disk)) rc = write_row(history, entry);
        if (!disk.exists && history->rows_until_trim > 0) history->rows_until_trim--;
    }
    if (rc == SQLITE_OK) rc = trim(history);
    if (rc == SQLITE_OK) rc = execute(history, "COMMIT");
    if (rc != SQLITE_OK) {
        execute(history, "ROLLBACK");
        return rc;
    }
    for (struct entry *entry; (entry = list_oldest(pending));) {
        make_clean(history, entry);
    }
    return SQLITE_OK;
}

static bool flush(struct rp_history *history) {
    for (int tries = 0; tries < 2 && history->pending_count > 0; tries++) {
        if (!attach(history)) return false;
        int rc = write_pending(history);
        if (rc != SQLITE_OK && !recover(history, rc)) return false;
    }
    return history->pending_count == 0;
}

/* ---- the calls ---- */

/* Take the lock for a call; false in a child of the process that opened it. */
static bool enter(struct rp_history *history) {
    if (getpid() != history->pid) return false;
    rp_lock_acquire(&history->lock);
    history->deadline_ns = rp_deadline_after_ms(RP_HISTORY_WAIT_MS);
    return true;
}

static XXH128_hash_t id_of(struct rp_history *history, const char *key) {
    if (!history->machine) history->machine = rp_history_machine();
    return XXH3_128bits_withSeed(key, strlen(key), history->machine);
}

/* The path that a caller or the environment asks for; false without memory. */
static bool choose_path(struct rp_history *history, const char *path) {
    char text[PATH_BYTES - PATH_SUFFIX_BYTES];
    const char *why = NULL;
    if (!rp_user_file_find(path, "RESOURCE_POOL_HISTORY", "history.sqlite", text, sizeof text,
                           &why)) {
        if (why) note(history, "there is no history: %s", why);
        return true;
    }
    history->path = rp_strdup(text);
    return history->path != NULL;
}

rp_status rp_history_open_with(const struct rp_history_options *options, struct rp_history **out,
                               rp_error *err) {
    struct rp_history *history = rp_alloc(sizeof *history);
    if (!history) return rp_fail(err, RP_ERR_MEMORY, "no memory for a history");
    rp_lock_init(&history->lock);
    link_init(&history->pending);
    link_init(&history->clean);
    history->pid = getpid();
    history->lock_fd = -1;
    history->machine = options->machine;
    history->disk_rows_max =
        options->disk_rows_max ? options->disk_rows_max : RP_HISTORY_DISK_ROWS_MAX;
    rp_lock_acquire(&history->lock);
    bool chosen = choose_path(history, options->path);
    if (chosen && history->path && !sqlite3_threadsafe()) {
        note(history, "there is no history: SQLite was built without threads");
        rp_free(history->path);
        history->path = NULL;
    }
    history->is_persistent = history->path != NULL;
    rp_lock_release(&history->lock);
    if (!chosen) {
        rp_history_close(history);
        return rp_fail(err, RP_ERR_MEMORY, "no memory for the path of the history");
    }
    *out = history;
    return RP_OK;
}

rp_status rp_history_open(const char *path, struct rp_history **out, rp_error *err) {
    return rp_history_open_with(&(struct rp_history_options){.path = path}, out, err);
}

bool rp_history_find(struct rp_history *history, const char *key, uint64_t revision,
                     struct rp_footprint *out) {
    if (!enter(history)) return false;
    XXH128_hash_t id = id_of(history, key);
    struct entry spare = {.id = id, .row.footprint = footprint_unknown()};
    struct entry *entry = ensure_entry(history, id, key);
    if (!entry) entry = &spare;
    bool is_stale = !entry->read_ns || rp_clock_ns() - entry->read_ns > answer_stale_ns;
    if (is_stale && attach(history)) {
        struct row disk;
        int rc = read_row(history, id, &disk);
        if (rc == SQLITE_OK) {
            merge(entry, &disk);
        } else {
            recover(history, rc);
        }
    }
    if (entry != &spare && !entry_is_pending(entry)) {
        link_remove(&entry->link);
        link_append(&history->clean, &entry->link);
    }
    bool found = entry->row.exists && entry->row.revision == revision;
    if (found) *out = entry->row.footprint;
    rp_lock_release(&history->lock);
    return found;
}

/*
 * The entry to record in, made to wait for the next flush; NULL without memory. `replaces`: what is
 * known of another revision goes; else NULL is the answer.
 */
static struct entry *begin_record(struct rp_history *history, const char *key, uint64_t revision,
                                  bool replaces) {
    struct entry *entry = ensure_entry(history, id_of(history, key), key);
    if (!entry) {
        note(history, "a record was lost for want of memory");
        return NULL;
    }
    if (entry->row.exists && entry->row.revision != revision) {
        if (!replaces) return NULL;
        if (entry_is_pending(entry)) make_clean(history, entry);
        entry->row.exists = false;
    }
    if (!entry->row.exists) {
        entry->row =
            (struct row){.exists = true, .revision = revision, .footprint = footprint_unknown()};
    }
    if (!entry_is_pending(entry)) {
        entry->pending_ns = rp_clock_ns();
        link_remove(&entry->link);
        link_append(&history->pending, &entry->link);
        history->pending_count++;
    }
    entry->row.footprint.updated_wall_ns = rp_wall_ns();
    return entry;
}

/* Write if it is time to, and give up the lock. */
static void end_record(struct rp_history *history, bool at_once) {
    const struct entry *oldest = list_oldest(&history->pending);
    bool is_due = at_once || history->pending_count > RP_HISTORY_PENDING_MAX;
    if (oldest && !is_due) {
        is_due = rp_elapsed_ms(oldest->pending_ns, rp_clock_ns()) > RP_HISTORY_PENDING_MS;
    }
    if (is_due) flush(history);
    rp_lock_release(&history->lock);
}

void rp_history_record_load(struct rp_history *history, const char *key, uint64_t revision,
                            uint64_t bytes, const char *method, double load_ms) {
    if (!enter(history)) return;
    struct entry *entry = begin_record(history, key, revision, true);
    if (entry) {
        struct rp_footprint *of = &entry->row.footprint;
        if (bytes <= (uint64_t)bytes_max && method && method_is_valid(method)) {
            of->bytes = bytes;
            copy_text(of->method, sizeof of->method, method);
            entry->has_new_bytes = true;
        }
        if (load_ms >= 0 && load_ms <= load_ms_max) of->load_ms = load_ms;
        of->failure = RP_OK;
        of->failure_message[0] = '\0';
        of->failed_wall_ns = 0;
        of->loads = add_saturating(of->loads, 1);
        entry->loads_more = add_saturating(entry->loads_more, 1);
        entry->has_new_load = entry->has_new_failure = true;
    }
    end_record(history, load_ms >= RP_HISTORY_WRITE_AT_ONCE_MS);
}

void rp_history_record_failure(struct rp_history *history, const char *key, uint64_t revision,
                               rp_status failure, const char *message) {
    if (!enter(history)) return;
    struct entry *entry = begin_record(history, key, revision, true);
    if (entry) {
        struct rp_footprint *of = &entry->row.footprint;
        of->failure = failure;
        copy_text(of->failure_message, sizeof of->failure_message, message);
        of->failed_wall_ns = of->updated_wall_ns;
        entry->has_new_failure = true;
    }
    end_record(history, false);
}

void rp_history_record_uses(struct rp_history *history, const char *key, uint64_t revision,
                            uint64_t uses) {
    if (uses == 0 || !enter(history)) return;
    struct entry *entry = begin_record(history, key, revision, false);
    if (entry) {
        struct rp_footprint *of = &entry->row.footprint;
        of->uses = add_saturating(of->uses, uses);
        entry->uses_more = add_saturating(entry->uses_more, uses);
    }
    end_record(history, false);
}

/* A number that a statement gives for this machine. */
static int query_for_machine(struct rp_history *history, const char *text, int64_t older_wall_ns,
                             int64_t *number) {
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(history->db, text, -1, &statement, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_bind_int64(statement, 1, (int64_t)history->machine);
    if (rc == SQLITE_OK && older_wall_ns) rc = sqlite3_bind_int64(statement, 2, older_wall_ns);
    if (rc == SQLITE_OK) rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW && number) *number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

bool rp_history_count(struct rp_history *history, uint64_t *rows, uint64_t *rows_here) {
    int64_t all = 0;
    int64_t here = 0;
    if (!enter(history)) return false;
    if (!history->machine) history->machine = rp_history_machine();
    bool is_read = attach(history) &&
                   query_number(history, "SELECT count(*) FROM footprint", &all) == SQLITE_OK &&
                   query_for_machine(history, "SELECT count(*) FROM footprint WHERE machine = ?1",
                                     0, &here) == SQLITE_OK;
    rp_lock_release(&history->lock);
    if (!is_read) return false;
    *rows = (uint64_t)all;
    *rows_here = (uint64_t)here;
    return true;
}

bool rp_history_prune(struct rp_history *history, int64_t older_than_ns, uint64_t *removed) {
    int64_t count = 0;
    if (!enter(history)) return false;
    if (!history->machine) history->machine = rp_history_machine();
    bool is_done = attach(history) &&
                   query_for_machine(
                       history, "DELETE FROM footprint WHERE machine <> ?1 OR updated_wall_ns < ?2",
                       rp_wall_ns() - older_than_ns, NULL) == SQLITE_OK &&
                   query_number(history, "SELECT changes()", &count) == SQLITE_OK;
    /* The room is given back where nobody else has the file open just now. */
    if (is_done && count > 0) (void)execute(history, "VACUUM");
    rp_lock_release(&history->lock);
    if (is_done) *removed = (uint64_t)count;
    return is_done;
}

bool rp_history_flush(struct rp_history *history) {
    if (!enter(history)) return false;
    bool done = !history->path || flush(history);
    rp_lock_release(&history->lock);
    return done;
}

static void free_entries(struct link *list) {
    for (struct entry *entry; (entry = list_oldest(list));) {
        link_remove(&entry->link);
        rp_free(entry);
    }
}

void rp_history_close(struct rp_history *history) {
    if (!history || !enter(history)) return;
    history->retry_ns = 0; /* the last chance, whatever went wrong a moment ago */
    flush(history);
    detach(history);
    rp_lock_release(&history->lock);
    free_entries(&history->pending);
    free_entries(&history->clean);
    rp_table_fini(&history->table);
    rp_lock_fini(&history->lock);
    rp_free(history->path);
    rp_free(history);
}

size_t rp_history_note_count(struct rp_history *history) {
    if (!enter(history)) return 0;
    size_t count = history->note_count;
    rp_lock_release(&history->lock);
    return count;
}

const char *rp_history_note(struct rp_history *history, size_t index) {
    if (!enter(history)) return NULL;
    /* A note never changes once it is counted. */
    const char *text = index < history->note_count ? history->notes[index] : NULL;
    rp_lock_release(&history->lock);
    return text;
}

const char *rp_history_path(const struct rp_history *history) {
    return history->path;
}

bool rp_history_is_persistent(struct rp_history *history) {
    if (!enter(history)) return false;
    bool is_persistent = history->is_persistent;
    rp_lock_release(&history->lock);
    return is_persistent;
}
