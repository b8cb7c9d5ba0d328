/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes over a channel. docs/protocol.md describes it for people.
 *
 * A frame is a header of 16 bytes and the fields of its type, one behind the other, little endian:
 *
 *     u32 magic | u16 version | u16 type | u32 size of the whole frame | u32 number | fields
 *
 *     u32, u64          4 and 8 bytes
 *     text              u32 length, the bytes, a NUL; an absent one (NULL) is the length UINT32_MAX
 *     bytes             u32 length, the bytes
 *     error             u32 status, u32 errno, text message, text hint
 *
 * A table says which fields a type has, with the limit of each, and how many descriptors come with
 * it. Decoding copies nothing: texts point into the frame. Header, HELLO, WELCOME and REFUSED stay
 * as they are in every version, so that strangers can tell each other so.
 */
#ifndef RP_MACHINE_PROTOCOL_H
#define RP_MACHINE_PROTOCOL_H

#include "base/text.h"
#include "engine/engine.h"

#include <resourcepool/status.h>
#include <stddef.h>
#include <stdint.h>

enum { RP_FRAME_MAGIC = 0x4D505231 /* "1RPM" */, RP_FRAME_VERSION = 2, RP_FRAME_HEADER_BYTES = 16 };

/*
 * One row per type: constant, number, name, descriptors at least, at most. Numbers never change
 * their meaning.
 */
/* clang-format off */
#define RP_MESSAGE_MAP(X)                           \
    X(HELLO,        1, "hello",        0, 0)        \
    X(WELCOME,      2, "welcome",      0, 0)        \
    X(REFUSED,      3, "refused",      0, 0)        \
    X(ACQUIRE,      4, "acquire",      0, 0)        \
    X(LEASED,       5, "leased",       0, 1)        \
    X(FAILED,       6, "failed",       0, 0)        \
    X(RELEASE,      7, "release",      0, 0)        \
    X(CANCEL,       8, "cancel",       0, 0)        \
    X(OBJECT_GET,   9, "object_get",   0, 0)        \
    X(OBJECT,       10, "object",      1, 1)        \
    X(OBJECT_BUILD, 11, "object_build", 0, 0)       \
    X(OBJECT_PUT,   12, "object_put",  1, 1)        \
    X(OBJECT_ABORT, 13, "object_abort", 0, 0)       \
    X(STATUS,       14, "status",      0, 0)        \
    X(TEXT,         15, "text",        0, 0)        \
    X(EVICT,        16, "evict",       0, 0)        \
    X(CLEAR,        17, "clear",       0, 0)        \
    X(STOP,         18, "stop",        0, 0)        \
    X(STATS,        19, "stats",       0, 0)        \
    X(LOAD,         20, "load",        0, 1)        \
    X(LOADED,       21, "loaded",      0, 0)        \
    X(RING,         22, "ring",        1, 1)        \
    X(DONE,         23, "done",        0, 0)        \
    X(RING_CLOSE,   24, "ring_close",  0, 0)        \
    X(UNLOAD,       25, "unload",      0, 0)        \
    X(MOVE,         26, "move",        0, 0)        \
    X(TELL,         27, "tell",        0, 0)
/* clang-format on */

enum rp_message_type {
#define RP_MESSAGE_ENUM(constant, number, name, fds_min, fds_max) RP_MESSAGE_##constant = number,
    RP_MESSAGE_MAP(RP_MESSAGE_ENUM)
#undef RP_MESSAGE_ENUM
};

/* Bytes inside a frame, or of the caller's while encoding. */
struct rp_bytes {
    const void *bytes;
    uint32_t size;
};

/* How a lease is given back. */
enum rp_release_how {
    RP_RELEASE_PLAIN = 0,
    RP_RELEASE_KEEPS_RING = 1, /* the client has its ring mapped still, for its next lease */
    RP_RELEASE_RETIRES = 2,    /* an object's: nobody is to get it any more                */
};

/* An error whose texts are in a frame. */
struct rp_error_text {
    uint32_t status;
    uint32_t os_errno;
    const char *message;
    const char *hint;
};

/* Every field of every type; which one counts, `type` tells. NULL texts are absent. */
struct rp_message {
    uint16_t type; /* enum rp_message_type */
    uint16_t version;
    uint32_t number; /* of the request, and of its answer */
    union {
        struct {
            uint32_t version;
            uint64_t pid;
            const char *command; /* for people */
        } hello;
        struct {
            uint32_t version;
            uint64_t pid; /* the broker's */
        } welcome;
        struct rp_error_text failed; /* also REFUSED */
        struct {
            uint32_t kind; /* rp_kind */
            uint32_t threads;
            uint64_t timeout_ms;   /* 0: as long as it takes */
            uint64_t memory_bytes; /* 0: the broker estimates */
            uint64_t thread;       /* of the process, that waits for the answer; 0: unknown */
            const char *resource_type;
            const char *name;
            const char *path;
            const char *device;
            const char *precision;
            const char *engine;
            const char *devices;
            const char *precisions;
            const char *preferences; /* as JSON */
        } acquire;
        struct {
            uint64_t lease_id;
            uint64_t memory_bytes; /* RP_UNKNOWN_U64 */
            uint64_t ring_bytes;   /* of the descriptor; 0: none came */
            uint64_t ring_id;
            uint32_t threads;
            uint32_t policy;
            uint32_t is_hit; /* it was loaded already, or by another's request */
            const char *key;
            const char *device;
            const char *precision;
            const char *engine;
            const char *reason;
            const char *memory_method;
            struct rp_bytes inputs;  /* rp_ports_decode() */
            struct rp_bytes outputs; /* the same */
        } leased;
        struct {
            uint64_t lease_id;
            uint32_t how; /* enum rp_release_how */
        } release;
        struct {
            uint32_t number; /* of the request that nobody waits for any more */
        } cancel;
        struct {
            const char *key;
            uint64_t timeout_ms;
            uint64_t bytes_hint; /* 0: unknown */
            uint64_t thread;     /* that waits, and that builds if it is to; 0: unknown */
        } object_get;
        struct {
            uint64_t lease_id;
            uint64_t size;
        } object;
        struct {
            uint64_t token;
        } object_build;
        struct {
            uint64_t token;
            uint64_t size;
        } object_put;
        struct {
            uint64_t token;
            struct rp_error_text why;
        } object_abort;
        struct {
            uint32_t all;
        } status;
        struct {
            uint32_t more; /* another TEXT of the same number follows */
            struct rp_bytes part;
        } text;
        struct {
            const char *key;
            uint32_t force;
        } evict;
        struct {
            uint32_t force;
        } clear; /* also STOP */
        struct {
            const char *key;
            const char *device;
            uint32_t force;
        } move;
        struct {
            const char *about; /* a JSON object */
        } tell;
        struct {
            const char *path;
            const char *engine;
            const char *device;
            const char *precision;
            uint32_t threads;
        } load;
        struct {
            uint64_t memory_bytes; /* RP_UNKNOWN_U64 */
            const char *engine;
            const char *device;
            const char *precision;
            uint32_t threads;
            uint32_t simulated;
            struct rp_bytes inputs;
            struct rp_bytes outputs;
        } loaded;
        struct {
            uint32_t worker; /* the number of the LOAD whose model it is for */
            uint64_t ring_id;
            uint64_t client_pid;
            uint64_t ring_bytes;
        } ring;
        struct {
            uint64_t ring_id;
        } ring_close;
    };
};

/* "acquire"; "unknown" for a stranger. Static storage. */
const char *rp_message_name(uint16_t type);

/* How many descriptors may come with a frame of that type. */
bool rp_message_allows_descriptors(uint16_t type, size_t count);

/*
 * Write the message as a frame into `frame`, which holds RP_CHANNEL_FRAME_BYTES_MAX.
 * RP_ERR_LIMIT: it, or one of its texts, is too long; RP_ERR_ARGUMENT: a text is not UTF-8.
 */
RP_MUST_CHECK rp_status rp_frame_write(const struct rp_message *message, void *frame, size_t *bytes,
                                       rp_error *err);

/*
 * Read a frame of anybody's. Texts and bytes in `message` point into `frame`.
 * RP_ERR_DATA: it is none, with what is wrong; RP_ERR_UNSUPPORTED: it is of another version and of
 * no type that all versions share (message->type, version and number are set).
 */
RP_MUST_CHECK rp_status rp_frame_parse(const void *frame, size_t bytes, struct rp_message *message,
                                       rp_error *err);

/* An error as a message's texts, borrowed from it, and back (statuses of strangers: ERR_DATA). */
struct rp_error_text rp_error_to_text(const rp_error *err);
rp_status rp_error_from_text(const struct rp_error_text *text, rp_error *err);

/* Ports of a model as bytes, appended to `out`; look at out->failed. */
void rp_ports_encode(const struct rp_engine_ports *ports, struct rp_text *out);

/* And back: *ports is the caller's, rp_engine_ports_fini(). RP_ERR_DATA, RP_ERR_MEMORY. */
RP_MUST_CHECK rp_status rp_ports_decode(const struct rp_bytes *bytes, struct rp_engine_ports *ports,
                                        rp_error *err);

#endif
