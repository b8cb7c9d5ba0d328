/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of a fork server say to each other. All of them are on one machine, of one user
 * and of one version, so frames are structs of fixed size in the machine's own byte order.
 *
 *     launcher   rpool-python, in the place of the interpreter: the process that its caller knows
 *     keeper     'rpool serve --fork-server': one for each key; listens, starts and watches the
 *                server, forgets it when it is idle, tells the broker
 *     server     the interpreter with its libraries loaded; it only imports and forks
 *     child      a fork of the server that became what the launcher asked for
 *
 *     launcher --ASK--> keeper --FORK--> server --fork--> child
 *     launcher <--WAIT, REFUSED-- keeper
 *     launcher <--STARTED, REFUSED-- child          (on the launcher's own connection, which goes
 *     launcher <--STOPPED, CONTINUED, ENDED-- server  along; the keeper stands in for a server
 *                                                     that died)
 *
 * Every socket is SOCK_SEQPACKET, every message one frame with the descriptors that belong to it.
 * A connection of a launcher is one request: it ends with it, and who closes it early kills the
 * child.
 */
#ifndef RP_FORKSERVER_WIRE_H
#define RP_FORKSERVER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FS_MAGIC = 0x31534652 /* "RFS1" */, FS_VERSION = 1 };

/* The kernel takes 253 descriptors with a message: three are the connection, request and folder. */
enum { FS_PASSED_MAX = 240, FS_TEXT_BYTES = 200, FS_REQUEST_BYTES_MAX = 16 << 20 };

enum fs_type {
    /* Launcher to keeper. Descriptors: request (sealed memfd), current folder (O_PATH), passed. */
    FS_ASK = 1,
    /* To the launcher. */
    FS_WAIT = 2,      /* text: what is done meanwhile ("importing torch"), for people          */
    FS_REFUSED = 3,   /* text: why; nothing was started, start the plain interpreter            */
    FS_STARTED = 4,   /* value: pid. Descriptor: pidfd. The program begins to run               */
    FS_STOPPED = 5,   /* value: signal                                                          */
    FS_CONTINUED = 6, /*                                                                        */
    FS_ENDED = 7,     /* value: status as of waitpid(); numbers: user us, system us, KiB at most */
    /* Keeper to server. */
    FS_IMPORT = 16, /* text: a module. Answer: FS_IMPORTED                                      */
    FS_FREEZE = 17, /* all is imported: collect, freeze. Answer: FS_INVENTORY                   */
    FS_FORK = 18,   /* number. Descriptors: launcher's connection, request, folder, passed      */
    FS_RETIRE = 19, /* no more requests; end when the last child has                            */
    /* Server to keeper. */
    FS_READY = 32,      /* it can import; value, text: as FS_IMPORTED, of the interpreter's start */
    FS_IMPORTED = 33,   /* value: enum fs_import; text: why; numbers: us, bytes, bytes private   */
    FS_INVENTORY = 34,  /* descriptor: a memfd of lines, below; numbers as FS_IMPORTED, of all   */
    FS_FORKED = 35,     /* number; value: pid. Descriptor: pidfd                                 */
    FS_FAILED = 36,     /* number; text: why nothing was forked. The launcher was told           */
    FS_CHILD_ENDED = 37 /* number; value: status. The launcher was told; as with FS_CONTINUED */
};

/* What became of a module that was to be preloaded. Whatever is not FS_IMPORT_GOOD left traces in
 * the server, which is started anew without that module. */
enum fs_import {
    FS_IMPORT_GOOD,
    FS_IMPORT_RAISED,
    FS_IMPORT_THREADS,     /* threads that do not end in the library's own fork handler */
    FS_IMPORT_DESCRIPTORS, /* open files, sockets, devices                             */
    FS_IMPORT_DEVICE,      /* a device's driver is mapped: CUDA, ROCm, ...             */
    FS_IMPORT_FORKED,      /* os.fork(), or children that it left                      */
    FS_IMPORT_PRINTED,     /* wrote to stdout or stderr: each plain start would show it */
    FS_IMPORT_EXITED       /* ended the process (the keeper's finding)                 */
};

/*
 * Lines of an inventory, each KEYWORD TAB TEXT:
 *     file   PATH TAB SIZE TAB MTIME_NS   of a loaded module, as it was before the first import
 *     folder PATH TAB MTIME_NS            an entry of sys.path
 *     name   NAME                         a top-level module that a plain start does not have
 *     env    NAME=VALUE                   a variable that a module read while it was imported
 *     unset  NAME                         one that it looked for in vain
 * A server is stale when a file or folder differs; a request does not fit it when a variable
 * differs, or when the folder that a plain start would put first on sys.path has a module of such a
 * name.
 */

struct fs_frame {
    uint32_t magic;
    uint16_t version;
    uint16_t type; /* enum fs_type */
    uint32_t number;
    int32_t value;
    uint64_t numbers[4];
    char text[FS_TEXT_BYTES]; /* ends with NUL; what is longer is cut */
};
_Static_assert(sizeof(struct fs_frame) == 248, "a wire format");

/* What the interpreter was asked to run. */
enum fs_mode {
    FS_MODE_CODE,   /* -c target                                         */
    FS_MODE_MODULE, /* -m target                                         */
    FS_MODE_SCRIPT, /* target: a file, or a folder or zip with __main__  */
    FS_MODE_STDIN   /* a program on a stdin that is no terminal; target: "" or "-" */
};

enum { FS_LIMITS = 16 };

/*
 * A request: this head, then `passed_count` numbers of descriptors (int32_t, in the order in which
 * they come), then texts, each ended by NUL: target, argv, original argv, environment. Bytes, not
 * UTF-8: whatever the kernel took.
 */
struct fs_request_head {
    uint32_t magic;
    uint32_t version;
    uint64_t bytes;             /* of all */
    uint32_t mode;              /* enum fs_mode */
    uint32_t argv_count;        /* sys.argv; of -c and -m its first is "-c", "-m"      */
    uint32_t original_count;    /* sys.orig_argv                                       */
    uint32_t environment_count; /* NAME=VALUE, in the caller's order                   */
    uint32_t passed_count;
    uint32_t is_unbuffered; /* -u */
    uint32_t umask;
    int32_t pid; /* the launcher's, with its process group and session */
    int32_t process_group;
    int32_t session;
    int32_t oom_score_adj;
    int32_t nice;
    uint64_t signals_blocked; /* bit n-1: signal n */
    uint64_t signals_ignored;
    uint64_t limits[FS_LIMITS][2]; /* soft, hard; as of getrlimit(), by RLIMIT_* */
};

/* A request as it was read: all texts point into the bytes that were given. */
struct fs_request {
    const struct fs_request_head *head;
    const int32_t *passed;
    const char *target;
    const char *
        *argv; /* these arrays are one allocation, of fs_request_read(); each ends in NULL */
    const char **original;
    const char **environment;
};

/* Read a request of anybody's. NULL, or what is wrong with it. free(request->argv). */
const char *fs_request_read(const void *bytes, size_t size, struct fs_request *request);

/*
 * A memfd with that request, sealed; -1 with errno. `head` is completed: magic, version, bytes and
 * counts are set here.
 */
int fs_request_write(struct fs_request_head *head, const int32_t *passed, const char *target,
                     char *const *argv, char *const *original, char *const *environment);

/* A sealed memfd of at most FS_REQUEST_BYTES_MAX, mapped for reading; NULL with errno. munmap(). */
const void *fs_request_map(int fd, size_t *size);

/* Frames. `fds` may be NULL when the count is 0. False with errno. Never SIGPIPE. */
bool fs_send(int socket, const struct fs_frame *frame, const int *fds, size_t fd_count);

/*
 * The same without descriptors and without waiting for a reader: false if there is no room. WAIT,
 * STOPPED and CONTINUED leave room for the one that tells the end.
 */
bool fs_send_now(int socket, const struct fs_frame *frame);

/*
 * The next frame, waiting for it. *fd_count: room on the way in, what came on the way out; they are
 * closed on exec, and the caller's. 1; 0: the other side has gone; -1 with errno (EBADMSG: no
 * frame of this version, whose descriptors were closed).
 */
int fs_receive(int socket, struct fs_frame *frame, int *fds, size_t *fd_count);

/* A frame with its header, and a text (NULL: none) that is cut to fit; control characters in it
 * become blanks. */
struct fs_frame fs_frame_of(enum fs_type type, uint32_t number, int32_t value, const char *text);

#endif
