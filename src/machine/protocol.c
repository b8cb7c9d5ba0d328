/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames. One table of types and their fields; one writer and one reader walk it, so that what is
 * written can be read, and every length is checked at one place.
 */
#include "machine/protocol.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "machine/channel.h"

#include <stdbool.h>
#include <string.h>

#define ABSENT UINT32_MAX

enum field_kind { END, U32, U64, TEXT, BYTES, ERROR };

struct field {
    uint8_t kind;   /* enum field_kind */
    bool required;  /* a text that may not be absent */
    uint16_t place; /* in struct rp_message */
    uint32_t limit; /* of a text or bytes, without the NUL */
};

/* clang-format off */
#define AT(member)             offsetof(struct rp_message, member)
#define NUMBER(member)         {U32, false, AT(member), 0}
#define LONG(member)           {U64, false, AT(member), 0}
#define TEXT_OF(member, most)  {TEXT, true, AT(member), most}
#define MAYBE(member, most)    {TEXT, false, AT(member), most}
#define BYTES_OF(member)       {BYTES, false, AT(member), RP_CHANNEL_FRAME_BYTES_MAX}
#define ERROR_OF(member)       {ERROR, false, AT(member), 0}
#define LAST                   {END, false, 0, 0}

static const struct field hello_fields[] = {
    NUMBER(hello.version), LONG(hello.pid), TEXT_OF(hello.command, RP_LIMIT_COMMAND_BYTES), LAST};
static const struct field welcome_fields[] = {NUMBER(welcome.version), LONG(welcome.pid), LAST};
static const struct field failed_fields[] = {ERROR_OF(failed), LAST};
static const struct field acquire_fields[] = {
    NUMBER(acquire.kind), NUMBER(acquire.threads), LONG(acquire.timeout_ms),
    LONG(acquire.memory_bytes), LONG(acquire.thread),
    TEXT_OF(acquire.resource_type, RP_LIMIT_TYPE_BYTES - 1),
    TEXT_OF(acquire.name, RP_LIMIT_NAME_BYTES - 1),
    MAYBE(acquire.path, RP_LIMIT_NAME_BYTES - 1),
    MAYBE(acquire.device, RP_LIMIT_DEVICE_BYTES - 1),
    MAYBE(acquire.precision, RP_LIMIT_PRECISION_BYTES - 1),
    MAYBE(acquire.engine, RP_LIMIT_ENGINE_BYTES - 1),
    MAYBE(acquire.devices, RP_LIMIT_KEY_BYTES),
    MAYBE(acquire.precisions, RP_LIMIT_KEY_BYTES),
    MAYBE(acquire.preferences, RP_LIMIT_FRAME_TEXT_BYTES), LAST};
static const struct field leased_fields[] = {
    LONG(leased.lease_id), LONG(leased.memory_bytes), LONG(leased.ring_bytes), LONG(leased.ring_id),
    NUMBER(leased.threads), NUMBER(leased.policy), NUMBER(leased.is_hit),
    TEXT_OF(leased.key, RP_LIMIT_KEY_BYTES),
    TEXT_OF(leased.device, RP_LIMIT_DEVICE_BYTES - 1),
    MAYBE(leased.precision, RP_LIMIT_PRECISION_BYTES - 1),
    MAYBE(leased.engine, RP_LIMIT_ENGINE_BYTES - 1),
    TEXT_OF(leased.reason, RP_LIMIT_KEY_BYTES),
    MAYBE(leased.memory_method, RP_LIMIT_ENGINE_BYTES - 1),
    BYTES_OF(leased.inputs), BYTES_OF(leased.outputs), LAST};
static const struct field release_fields[] = {LONG(release.lease_id), NUMBER(release.how), LAST};
static const struct field cancel_fields[] = {NUMBER(cancel.number), LAST};
static const struct field object_get_fields[] = {
    TEXT_OF(object_get.key, RP_LIMIT_KEY_BYTES), LONG(object_get.timeout_ms),
    LONG(object_get.bytes_hint), LONG(object_get.thread), LAST};
static const struct field object_fields[] = {LONG(object.lease_id), LONG(object.size), LAST};
static const struct field object_build_fields[] = {LONG(object_build.token), LAST};
static const struct field object_put_fields[] = {LONG(object_put.token), LONG(object_put.size), LAST};
static const struct field object_abort_fields[] = {
    LONG(object_abort.token), ERROR_OF(object_abort.why), LAST};
static const struct field status_fields[] = {NUMBER(status.all), LAST};
static const struct field text_fields[] = {NUMBER(text.more), BYTES_OF(text.part), LAST};
static const struct field evict_fields[] = {TEXT_OF(evict.key, RP_LIMIT_KEY_BYTES), NUMBER(evict.force),
                                     LAST};
static const struct field clear_fields[] = {NUMBER(clear.force), LAST};
static const struct field move_fields[] = {
    TEXT_OF(move.key, RP_LIMIT_KEY_BYTES), TEXT_OF(move.device, RP_LIMIT_DEVICE_BYTES - 1),
    NUMBER(move.force), LAST};
static const struct field tell_fields[] = {TEXT_OF(tell.about, RP_LIMIT_TOLD_BYTES), LAST};
static const struct field load_fields[] = {
    TEXT_OF(load.path, RP_LIMIT_NAME_BYTES - 1), MAYBE(load.engine, RP_LIMIT_ENGINE_BYTES - 1),
    TEXT_OF(load.device, RP_LIMIT_DEVICE_BYTES - 1),
    MAYBE(load.precision, RP_LIMIT_PRECISION_BYTES - 1), NUMBER(load.threads), LAST};
static const struct field loaded_fields[] = {
    LONG(loaded.memory_bytes), TEXT_OF(loaded.engine, RP_LIMIT_ENGINE_BYTES - 1),
    TEXT_OF(loaded.device, RP_LIMIT_DEVICE_BYTES - 1),
    MAYBE(loaded.precision, RP_LIMIT_PRECISION_BYTES - 1), NUMBER(loaded.threads),
    NUMBER(loaded.simulated), BYTES_OF(loaded.inputs), BYTES_OF(loaded.outputs), LAST};
static const struct field ring_fields[] = {NUMBER(ring.worker), LONG(ring.ring_id),
                                    LONG(ring.client_pid), LONG(ring.ring_bytes), LAST};
static const struct field ring_close_fields[] = {LONG(ring_close.ring_id), LAST};
static const struct field nothing_fields[] = {LAST};

static const struct field *const fields_of[] = {
    [RP_MESSAGE_HELLO] = hello_fields,             [RP_MESSAGE_WELCOME] = welcome_fields,
    [RP_MESSAGE_REFUSED] = failed_fields,          [RP_MESSAGE_ACQUIRE] = acquire_fields,
    [RP_MESSAGE_LEASED] = leased_fields,           [RP_MESSAGE_FAILED] = failed_fields,
    [RP_MESSAGE_RELEASE] = release_fields,         [RP_MESSAGE_CANCEL] = cancel_fields,
    [RP_MESSAGE_OBJECT_GET] = object_get_fields,   [RP_MESSAGE_OBJECT] = object_fields,
    [RP_MESSAGE_OBJECT_BUILD] = object_build_fields, [RP_MESSAGE_OBJECT_PUT] = object_put_fields,
    [RP_MESSAGE_OBJECT_ABORT] = object_abort_fields, [RP_MESSAGE_STATUS] = status_fields,
    [RP_MESSAGE_TEXT] = text_fields,               [RP_MESSAGE_EVICT] = evict_fields,
    [RP_MESSAGE_CLEAR] = clear_fields,             [RP_MESSAGE_STOP] = clear_fields,
    [RP_MESSAGE_STATS] = nothing_fields,           [RP_MESSAGE_LOAD] = load_fields,
    [RP_MESSAGE_LOADED] = loaded_fields,           [RP_MESSAGE_RING] = ring_fields,
    [RP_MESSAGE_DONE] = nothing_fields,            [RP_MESSAGE_RING_CLOSE] = ring_close_fields,
    [RP_MESSAGE_UNLOAD] = nothing_fields,
    [RP_MESSAGE_MOVE] = move_fields,               [RP_MESSAGE_TELL] = tell_fields,
};

static const struct {
    const char *name;
    size_t fds_min;
    size_t fds_max;
} types[] = {
#define RP_MESSAGE_ROW(constant, number, name, fds_min, fds_max) [number] = {name, fds_min, fds_max},
    RP_MESSAGE_MAP(RP_MESSAGE_ROW)
#undef RP_MESSAGE_ROW
};
/* clang-format on */

enum { TYPE_COUNT = sizeof types / sizeof types[0], PORTS_NAME_BYTES_MAX = 4096 };
_Static_assert(sizeof fields_of / sizeof fields_of[0] == TYPE_COUNT, "each type has its fields");

static bool is_known(uint16_t type) {
    return type < TYPE_COUNT && types[type].name;
}

/* The types that no version may change. */
static bool is_shared_by_versions(uint16_t type) {
    return type == RP_MESSAGE_HELLO || type == RP_MESSAGE_WELCOME || type == RP_MESSAGE_REFUSED;
}

const char *rp_message_name(uint16_t type) {
    return is_known(type) ? types[type].name : "unknown";
}

bool rp_message_allows_descriptors(uint16_t type, size_t count) {
    return is_known(type) && count >= types[type].fds_min && count <= types[type].fds_max;
}

/* ---- writing ---- */

/* Where a frame is being written or read: `failed` once something did not fit. */
struct cursor {
    uint8_t *out;
    const uint8_t *in;
    size_t at;
    size_t end;
    bool failed;
};

static void put(struct cursor *to, const void *bytes, size_t size) {
    if (to->failed || size > to->end - to->at) {
        to->failed = true;
        return;
    }
    if (size > 0) memcpy(to->out + to->at, bytes, size);
    to->at += size;
}

static void put_u16(struct cursor *to, uint16_t value) {
    uint8_t bytes[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
    put(to, bytes, sizeof bytes);
}

static void put_u32(struct cursor *to, uint32_t value) {
    put_u16(to, (uint16_t)value);
    put_u16(to, (uint16_t)(value >> 16));
}

static void put_u64(struct cursor *to, uint64_t value) {
    put_u32(to, (uint32_t)value);
    put_u32(to, (uint32_t)(value >> 32));
}

static void put_text(struct cursor *to, const char *text) {
    if (!text) {
        put_u32(to, ABSENT);
        return;
    }
    size_t length = strlen(text);
    put_u32(to, (uint32_t)length);
    put(to, text, length + 1);
}

static rp_status check_text(const struct rp_message *message, const struct field *field,
                            const char *text, rp_error *err) {
    if (!text && !field->required) return RP_OK;
    if (!text) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a %s message lacks a text",
                       rp_message_name(message->type));
    }
    size_t length = strlen(text);
    if (length > field->limit) {
        return rp_fail(err, RP_ERR_LIMIT, "a text of %zu bytes, '%.60s...', is over %u", length,
                       text, (unsigned)field->limit);
    }
    if (rp_text_utf8_error_at(text, length) != length) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a text of a %s message is not UTF-8",
                       rp_message_name(message->type));
    }
    return RP_OK;
}

static rp_status put_field(struct cursor *to, const struct rp_message *message,
                           const struct field *field, rp_error *err) {
    const char *from = (const char *)message + field->place;
    rp_status status = RP_OK;
    if (field->kind == U32) {
        uint32_t value;
        memcpy(&value, from, sizeof value);
        put_u32(to, value);
    } else if (field->kind == U64) {
        uint64_t value;
        memcpy(&value, from, sizeof value);
        put_u64(to, value);
    } else if (field->kind == TEXT) {
        const char *value;
        memcpy(&value, from, sizeof value);
        status = check_text(message, field, value, err);
        if (status == RP_OK) put_text(to, value);
    } else if (field->kind == BYTES) {
        struct rp_bytes value;
        memcpy(&value, from, sizeof value);
        put_u32(to, value.size);
        put(to, value.bytes, value.size);
    } else {
        struct rp_error_text value;
        memcpy(&value, from, sizeof value);
        put_u32(to, value.status);
        put_u32(to, value.os_errno);
        put_text(to, value.message ? value.message : "");
        put_text(to, value.hint ? value.hint : "");
    }
    return status;
}

static void put_header(struct cursor *to, const struct rp_message *message, uint32_t size) {
    put_u32(to, RP_FRAME_MAGIC);
    put_u16(to, message->version ? message->version : RP_FRAME_VERSION);
    put_u16(to, message->type);
    put_u32(to, size);
    put_u32(to, message->number);
}

rp_status rp_frame_write(const struct rp_message *message, void *frame, size_t *bytes,
                         rp_error *err) {
    struct cursor to = {.out = frame, .end = RP_CHANNEL_FRAME_BYTES_MAX};
    if (!is_known(message->type)) {
        return rp_fail(err, RP_ERR_ARGUMENT, "there is no message of type %u", message->type);
    }
    put_header(&to, message, 0);
    for (const struct field *field = fields_of[message->type]; field->kind != END; field++) {
        rp_status status = put_field(&to, message, field, err);
        if (status != RP_OK) return status;
    }
    if (to.failed) {
        return rp_fail(err, RP_ERR_LIMIT, "a %s message is over the limit of %d bytes",
                       rp_message_name(message->type), RP_CHANNEL_FRAME_BYTES_MAX);
    }
    size_t size = to.at;
    to.at = 0;
    put_header(&to, message, (uint32_t)size);
    *bytes = size;
    return RP_OK;
}

/* ---- reading ---- */

static const uint8_t *take(struct cursor *from, size_t size) {
    if (from->failed || size > from->end - from->at) {
        from->failed = true;
        return NULL;
    }
    const uint8_t *bytes = from->in + from->at;
    from->at += size;
    return bytes;
}

static uint16_t take_u16(struct cursor *from) {
    const uint8_t *bytes = take(from, 2);
    return bytes ? (uint16_t)((unsigned)bytes[0] | (unsigned)bytes[1] << 8) : 0;
}

static uint32_t take_u32(struct cursor *from) {
    uint32_t low = take_u16(from);
    return low | (uint32_t)take_u16(from) << 16;
}

static uint64_t take_u64(struct cursor *from) {
    uint64_t low = take_u32(from);
    return low | (uint64_t)take_u32(from) << 32;
}

/* A text that is whole, has one NUL, at its end, and is UTF-8; anything else fails the cursor. */
static const char *take_text(struct cursor *from, size_t limit, bool required) {
    uint32_t length = take_u32(from);
    if (length == ABSENT && !required) return NULL;
    if (length > limit) from->failed = true;
    const char *text = (const char *)take(from, (size_t)length + 1);
    if (!text) return NULL;
    if (memchr(text, '\0', (size_t)length + 1) != text + length ||
        rp_text_utf8_error_at(text, length) != length) {
        from->failed = true;
        return NULL;
    }
    return text;
}

static void take_field(struct cursor *from, const struct field *field, struct rp_message *message) {
    char *to = (char *)message + field->place;
    if (field->kind == U32) {
        uint32_t value = take_u32(from);
        memcpy(to, &value, sizeof value);
    } else if (field->kind == U64) {
        uint64_t value = take_u64(from);
        memcpy(to, &value, sizeof value);
    } else if (field->kind == TEXT) {
        const char *value = take_text(from, field->limit, field->required);
        memcpy(to, &value, sizeof value);
    } else if (field->kind == BYTES) {
        struct rp_bytes value = {NULL, take_u32(from)};
        value.bytes = take(from, value.size);
        memcpy(to, &value, sizeof value);
    } else {
        static const rp_error sizes = RP_ERROR_INIT;
        struct rp_error_text value = {.status = take_u32(from)};
        value.os_errno = take_u32(from);
        value.message = take_text(from, sizeof sizes.message - 1, true);
        value.hint = take_text(from, sizeof sizes.hint - 1, true);
        memcpy(to, &value, sizeof value);
    }
}

rp_status rp_frame_parse(const void *frame, size_t bytes, struct rp_message *message,
                         rp_error *err) {
    struct cursor from = {.in = frame, .end = bytes};
    struct rp_message found = {.type = 0};
    uint32_t magic = take_u32(&from);
    found.version = take_u16(&from);
    found.type = take_u16(&from);
    uint32_t size = take_u32(&from);
    found.number = take_u32(&from);
    if (from.failed || magic != RP_FRAME_MAGIC || size != bytes) {
        return rp_fail(err, RP_ERR_DATA, "%zu bytes that are no frame", bytes);
    }
    if (found.version != RP_FRAME_VERSION && !is_shared_by_versions(found.type)) {
        *message = found;
        return rp_fail(err, RP_ERR_UNSUPPORTED, "a frame of version %u, where %d is spoken",
                       found.version, RP_FRAME_VERSION);
    }
    if (!is_known(found.type)) {
        return rp_fail(err, RP_ERR_DATA, "a frame of the unknown type %u", found.type);
    }
    for (const struct field *field = fields_of[found.type]; field->kind != END; field++) {
        take_field(&from, field, &found);
    }
    if (from.failed || from.at != bytes) {
        return rp_fail(err, RP_ERR_DATA, "a %s frame of %zu bytes is %s",
                       rp_message_name(found.type), bytes,
                       from.failed ? "cut off, or one of its texts damaged" : "too long");
    }
    *message = found;
    return RP_OK;
}

/* ---- errors ---- */

struct rp_error_text rp_error_to_text(const rp_error *err) {
    return (struct rp_error_text){(uint32_t)err->status, (uint32_t)err->os_errno, err->message,
                                  err->hint};
}

rp_status rp_error_from_text(const struct rp_error_text *text, rp_error *err) {
    rp_status status = (rp_status)text->status;
    if (status == RP_OK || !rp_status_name(status)) status = RP_ERR_DATA;
    rp_fail(err, status, "%s", text->message ? text->message : "");
    if (text->hint && text->hint[0]) rp_hint(err, "%s", text->hint);
    if (err) err->os_errno = (int)text->os_errno;
    return status;
}

/* ---- ports ---- */

/* What is no tensor of numbers; an engine's word is static, and so is what stands for it here. */
static const char *const other_types[] = {"string", "an unusual type of element",
                                          "something other than a tensor"};
enum { OTHER_TYPE_COUNT = sizeof other_types / sizeof other_types[0] };

static const char *other_type(const char *name) {
    for (size_t i = 0; i < OTHER_TYPE_COUNT; i++) {
        if (strcmp(other_types[i], name) == 0) return other_types[i];
    }
    return other_types[OTHER_TYPE_COUNT - 1];
}

static void append_u32(struct rp_text *out, uint32_t value) {
    char bytes[4] = {(char)value, (char)(value >> 8), (char)(value >> 16), (char)(value >> 24)};
    rp_text_append(out, bytes, sizeof bytes);
}

static void append_text(struct rp_text *out, const char *text) {
    size_t length = strlen(text);
    append_u32(out, (uint32_t)length);
    rp_text_append(out, text, length + 1);
}

void rp_ports_encode(const struct rp_engine_ports *ports, struct rp_text *out) {
    append_u32(out, (uint32_t)ports->count);
    for (size_t i = 0; i < ports->count; i++) {
        const rp_port *port = &ports->ports[i];
        rp_dtype dtype = port->dtype;
        append_text(out, port->name);
        append_text(out, port->type);
        append_u32(out, dtype.code | (uint32_t)dtype.bits << 8 | (uint32_t)dtype.lanes << 16);
        append_u32(out, (uint32_t)port->ndim);
        for (int32_t d = 0; d < port->ndim; d++) {
            append_u32(out, (uint32_t)(uint64_t)port->shape[d]);
            append_u32(out, (uint32_t)((uint64_t)port->shape[d] >> 32));
            append_text(out, port->dim_names ? port->dim_names[d] : "");
        }
    }
}

/* One port; false when there is no memory. A cursor that fails is the sender's fault. */
static bool take_port(struct cursor *from, struct rp_engine_ports *ports, size_t index) {
    int64_t shape[RP_LIMIT_TENSOR_DIMENSIONS];
    const char *names[RP_LIMIT_TENSOR_DIMENSIONS];
    const char *name = take_text(from, PORTS_NAME_BYTES_MAX, true);
    const char *type = take_text(from, PORTS_NAME_BYTES_MAX, true);
    uint32_t packed = take_u32(from);
    uint32_t rank = take_u32(from);
    rp_dtype dtype = {(uint8_t)packed, (uint8_t)(packed >> 8), (uint16_t)(packed >> 16)};
    if (rank > RP_LIMIT_TENSOR_DIMENSIONS) from->failed = true;
    /* A number of a kind that this library does not know has no name and no size. */
    if (dtype.lanes != 0 && !rp_dtype_name(dtype)) from->failed = true;
    for (uint32_t i = 0; i < rank && !from->failed; i++) {
        uint64_t size = take_u64(from);
        memcpy(&shape[i], &size, sizeof size);
        names[i] = take_text(from, PORTS_NAME_BYTES_MAX, true);
        if (shape[i] < -1) from->failed = true;
    }
    if (from->failed) return true;
    return rp_engine_ports_set(ports, index, name, other_type(type), dtype, shape, (int32_t)rank,
                               names);
}

rp_status rp_ports_decode(const struct rp_bytes *bytes, struct rp_engine_ports *ports,
                          rp_error *err) {
    struct cursor from = {.in = bytes->bytes, .end = bytes->size};
    struct rp_engine_ports made = {0};
    uint32_t count = take_u32(&from);
    bool has_memory = true;
    if (!from.failed && count <= RP_LIMIT_MODEL_PORTS && count <= bytes->size) {
        has_memory = count == 0 || rp_engine_ports_make(&made, count);
        for (uint32_t i = 0; i < count && has_memory && !from.failed; i++) {
            has_memory = take_port(&from, &made, i);
        }
    } else {
        from.failed = true;
    }
    if (has_memory && !from.failed && from.at == bytes->size) {
        *ports = made;
        return RP_OK;
    }
    rp_engine_ports_fini(&made);
    if (!has_memory) return rp_fail(err, RP_ERR_MEMORY, "no memory for the ports of a model");
    return rp_fail(err, RP_ERR_DATA, "%u bytes that are no list of ports", (unsigned)bytes->size);
}
