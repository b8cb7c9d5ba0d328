/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots as JSON, both ways; docs/snapshot.md describes the schema. What is written reads back
 * as the same snapshot. What is read comes from people, other versions and other machines: every
 * type, range and length is checked, and a refusal names the place.
 */
#include "hardware/snapshot_json.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "hardware/fields.h"
#include "hardware/proc.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A year: what takes longer is no duration. Keeps ms with three decimals within 15 digits. */
static const double duration_ms_max = 366.0 * 24 * 3600 * 1000;

/* --- writing ------------------------------------------------------------------------------- */

/* jansson reports missing memory at each step; one flag gathers it. */
struct writer {
    bool failed;
};

static void put(struct writer *writer, json_t *object, const char *key, json_t *value) {
    if (json_object_set_new(object, key, value) != 0) writer->failed = true;
}

static void append(struct writer *writer, json_t *array, json_t *value) {
    if (json_array_append_new(array, value) != 0) writer->failed = true;
}

static json_t *from_text(const char *text) {
    return text ? json_string(text) : json_null();
}

static json_t *from_u64(uint64_t value) {
    return value <= INT64_MAX ? json_integer((json_int_t)value) : json_null();
}

static json_t *from_u32(uint32_t value) {
    return value != RP_UNKNOWN_U32 ? json_integer(value) : json_null();
}

static json_t *from_ms(double ms) {
    return ms >= 0 ? json_real(ms) : json_null();
}

static json_t *from_cpu(struct writer *writer, const rp_cpu *cpu) {
    json_t *object = json_object();
    put(writer, object, "architecture", from_text(cpu->architecture));
    json_t *features = cpu->features ? json_array() : json_null();
    for (size_t i = 0; cpu->features && i < cpu->feature_count; i++) {
        append(writer, features, json_string(cpu->features[i]));
    }
    put(writer, object, "features", features);
    put(writer, object, "logical_count", from_u32(cpu->logical_count));
    put(writer, object, "physical_count", from_u32(cpu->physical_count));
    put(writer, object, "socket_count", from_u32(cpu->socket_count));
    put(writer, object, "numa_count", from_u32(cpu->numa_count));
    json_t *nodes = cpu->numa_nodes ? json_array() : json_null();
    for (size_t i = 0; cpu->numa_nodes && i < cpu->numa_node_count; i++) {
        json_t *node = json_object();
        put(writer, node, "index", from_u32(cpu->numa_nodes[i]->index));
        put(writer, node, "memory_bytes_total", from_u64(cpu->numa_nodes[i]->memory_bytes_total));
        if (cpu->numa_nodes[i]->processors) {
            put(writer, node, "processors", json_string(cpu->numa_nodes[i]->processors));
        }
        append(writer, nodes, node);
    }
    put(writer, object, "numa_nodes", nodes);
    put(writer, object, "affinity", from_text(cpu->affinity));
    put(writer, object, "affinity_count", from_u32(cpu->affinity_count));
    put(writer, object, "memory_limit_bytes", from_u64(cpu->memory_limit_bytes));
    put(writer, object, "memory_limit_source", from_text(cpu->memory_limit_source));
    put(writer, object, "machine_memory_bytes_total", from_u64(cpu->machine_memory_bytes_total));
    return object;
}

static json_t *from_answer(rp_answer answer) {
    return answer == RP_ANSWER_UNKNOWN ? json_null() : json_boolean(answer == RP_ANSWER_YES);
}

static json_t *from_fields(struct writer *writer, const struct rp_fields *fields,
                           const void *owner);

static json_t *from_array(struct writer *writer, const struct rp_field *row,
                          const void *const *array, size_t count) {
    if (!array) return json_null();
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        append(writer, list,
               row->type == RP_FIELD_TEXTS ? json_string(array[i])
                                           : from_fields(writer, row->fields, array[i]));
    }
    return list;
}

static json_t *from_field(struct writer *writer, const struct rp_field *row, const char *at) {
    const void *field = at;
    switch (row->type) {
    case RP_FIELD_TEXT:
        return from_text(*(const char *const *)field);
    case RP_FIELD_U32:
        return from_u32(*(const uint32_t *)field);
    case RP_FIELD_U64:
        return from_u64(*(const uint64_t *)field);
    case RP_FIELD_ANSWER:
        return from_answer(*(const rp_answer *)field);
    case RP_FIELD_TEXTS:
    case RP_FIELD_OBJECTS:
        break;
    }
    const void *const *array = *(const void *const *const *)field;
    return from_array(writer, row, array, *(const size_t *)(const void *)(at + sizeof array));
}

/* Its rows; what is not known is left out, as there are many of them. */
static json_t *from_fields(struct writer *writer, const struct rp_fields *fields,
                           const void *owner) {
    json_t *object = json_object();
    for (size_t i = 0; i < fields->count; i++) {
        const struct rp_field *row = &fields->rows[i];
        json_t *value = from_field(writer, row, (const char *)owner + row->offset);
        if (!json_is_null(value)) put(writer, object, row->key, value);
    }
    return object;
}

static json_t *from_device(struct writer *writer, const rp_device *device) {
    json_t *object = json_object();
    put(writer, object, "id", json_string(device->id));
    put(writer, object, "kind", json_string(rp_device_kind_name(device->kind)));
    put(writer, object, "name", from_text(device->name));
    put(writer, object, "available", json_boolean(device->available));
    put(writer, object, "simulated", json_boolean(device->simulated));
    put(writer, object, "memory_bytes_total", from_u64(device->memory_bytes_total));
    put(writer, object, "memory_bytes_free", from_u64(device->memory_bytes_free));
    if (device->reason) put(writer, object, "reason", json_string(device->reason));
    if (device->cpu) put(writer, object, "cpu", from_cpu(writer, device->cpu));
    if (device->accelerator) {
        put(writer, object, "accelerator",
            from_fields(writer, &rp_accelerator_fields, device->accelerator));
    }
    return object;
}

static json_t *from_snapshot(struct writer *writer, const rp_snapshot *snapshot) {
    json_t *root = json_object();
    put(writer, root, "version", json_integer(RP_SNAPSHOT_VERSION));
    put(writer, root, "generation", from_u64(snapshot->generation));
    put(writer, root, "simulated", json_boolean(snapshot->simulated));
    json_t *devices = json_array();
    for (size_t i = 0; i < snapshot->device_count; i++) {
        append(writer, devices, from_device(writer, snapshot->devices[i]));
    }
    put(writer, root, "devices", devices);
    json_t *absent = json_array();
    for (size_t i = 0; i < snapshot->absent_count; i++) {
        const rp_absence *absence = snapshot->absences[i];
        json_t *object = json_object();
        put(writer, object, "kind", json_string(rp_device_kind_name(absence->kind)));
        put(writer, object, "reason", json_string(absence->reason));
        if (absence->unprobed) put(writer, object, "unprobed", json_true());
        if (absence->hint) put(writer, object, "hint", json_string(absence->hint));
        append(writer, absent, object);
    }
    put(writer, root, "absent", absent);
    json_t *notes = json_array();
    for (size_t i = 0; i < snapshot->note_count; i++) {
        append(writer, notes, json_string(snapshot->notes[i]));
    }
    put(writer, root, "notes", notes);
    put(writer, root, "detect_ms", from_ms(snapshot->detect_ms));
    json_t *probe_ms = json_object();
    for (size_t i = 0; i < RP_DEVICE_KIND_COUNT; i++) {
        if (snapshot->probe_ms[i] < 0) continue;
        put(writer, probe_ms, rp_device_kind_name((rp_device_kind)i),
            json_real(snapshot->probe_ms[i]));
    }
    put(writer, root, "probe_ms", probe_ms);
    return root;
}

json_t *rp_snapshot_to_value(const rp_snapshot *snapshot) {
    struct writer writer = {false};
    json_t *root = from_snapshot(&writer, snapshot);
    if (!writer.failed) return root;
    json_decref(root);
    return NULL;
}

static int append_to_text(const char *bytes, size_t length, void *user) {
    struct rp_text *text = user;
    rp_text_append(text, bytes, length);
    return text->failed ? -1 : 0;
}

rp_status rp_snapshot_to_json(const rp_snapshot *snapshot, int indent, char **json, rp_error *err) {
    if (!snapshot || !json || indent < 0 || indent > 8) {
        return rp_fail(err, RP_ERR_ARGUMENT,
                       "a snapshot, a place for its JSON and 0 to 8 spaces of indent are needed");
    }
    struct rp_text text = RP_TEXT_INIT;
    json_t *root = rp_snapshot_to_value(snapshot);
    size_t flags = indent > 0 ? JSON_INDENT((size_t)indent) : JSON_COMPACT;
    /* 15 digits carry any duration that has whole microseconds, and print 0.61 as 0.61. */
    flags |= JSON_REAL_PRECISION(15);
    int rc = root ? json_dump_callback(root, append_to_text, &text, flags) : -1;
    json_decref(root);
    if (rc != 0) {
        rp_text_fini(&text);
        return rp_fail(err, RP_ERR_MEMORY, "no memory for the JSON of a snapshot");
    }
    *json = text.bytes;
    return RP_OK;
}

/* --- reading ------------------------------------------------------------------------------- */

enum { WHERE_BYTES = 64 };

struct reader {
    const char *source;
    struct rp_snapshot *snapshot;
    rp_error *err;
};

/* An object that is being read, and what to call it: "devices[2]." or "". */
struct place {
    const struct reader *reader;
    const json_t *object;
    char where[WHERE_BYTES];
};

static const char *type_name(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "a whole number";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a truth value";
    case JSON_NULL:
        break;
    }
    return "null";
}

RP_PRINTF(3, 4)
static rp_status refuse(const struct place *place, const char *key, const char *format, ...) {
    char what[160];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return rp_fail(place->reader->err, RP_ERR_DATA, "'%s': %s%s: %s", place->reader->source,
                   place->where, key, what);
}

static rp_status refuse_type(const struct place *place, const char *key, const json_t *value,
                             const char *wanted) {
    return refuse(place, key, "%s, not %s", type_name(value), wanted);
}

/* The value of a key; NULL when it is not there or null, which both mean unknown. */
static const json_t *find(const struct place *place, const char *key) {
    const json_t *value = json_object_get(place->object, key);
    return json_is_null(value) ? NULL : value;
}

static rp_status get_u64(const struct place *place, const char *key, uint64_t max,
                         uint64_t *field) {
    const json_t *value = find(place, key);
    if (!value) return RP_OK;
    if (!json_is_integer(value)) return refuse_type(place, key, value, "a whole number");
    json_int_t number = json_integer_value(value);
    if (number < 0 || (uint64_t)number > max) {
        return refuse(place, key, "%" JSON_INTEGER_FORMAT " is not from 0 to %llu", number,
                      (unsigned long long)max);
    }
    *field = (uint64_t)number;
    return RP_OK;
}

static rp_status get_u32(const struct place *place, const char *key, uint32_t *field) {
    uint64_t number = RP_UNKNOWN_U64;
    rp_status status = get_u64(place, key, RP_UNKNOWN_U32 - 1, &number);
    if (status == RP_OK && number != RP_UNKNOWN_U64) *field = (uint32_t)number;
    return status;
}

static rp_status get_bool(const struct place *place, const char *key, bool *field) {
    const json_t *value = find(place, key);
    if (!value) return RP_OK;
    if (!json_is_boolean(value)) return refuse_type(place, key, value, "true or false");
    *field = json_is_true(value);
    return RP_OK;
}

static rp_status get_ms(const struct place *place, const char *key, double *field) {
    const json_t *value = find(place, key);
    if (!value) return RP_OK;
    if (!json_is_number(value)) return refuse_type(place, key, value, "a number");
    double ms = json_number_value(value);
    if (!(ms >= 0 && ms <= duration_ms_max)) {
        return refuse(place, key, "%g is no duration in milliseconds", ms);
    }
    *field = rp_snapshot_round_ms(ms) + 0.0; /* -0.0 becomes 0.0 */
    return RP_OK;
}

static rp_status take_text(const struct place *place, const char *key, const json_t *value,
                           size_t bytes_max, const char **field) {
    if (!json_is_string(value)) return refuse_type(place, key, value, "a string");
    const char *text = json_string_value(value);
    size_t length = json_string_length(value);
    if (length >= bytes_max) {
        return refuse(place, key, "%zu bytes long, fewer than %zu are allowed", length, bytes_max);
    }
    size_t control_at = rp_text_control_at(text, length);
    if (control_at < length)
        return refuse(place, key, "a control character at byte %zu", control_at);
    const char *copy = rp_snapshot_text(place->reader->snapshot, text, length);
    if (!copy) return rp_fail_no_memory(place->reader->err);
    *field = copy;
    return RP_OK;
}

static rp_status get_text(const struct place *place, const char *key, const char **field) {
    const json_t *value = find(place, key);
    return value ? take_text(place, key, value, RP_LIMIT_SNAPSHOT_TEXT_BYTES, field) : RP_OK;
}

/* An array by its key: *count is 0 and *array NULL without one. */
static rp_status get_array(const struct place *place, const char *key, size_t count_max,
                           const json_t **array, size_t *count) {
    *array = find(place, key);
    *count = 0;
    if (!*array) return RP_OK;
    if (!json_is_array(*array)) return refuse_type(place, key, *array, "an array");
    *count = json_array_size(*array);
    if (*count <= count_max) return RP_OK;
    return refuse(place, key, "%zu elements, at most %zu are allowed", *count, count_max);
}

/* Say where in the document the reader is. What is cut off is only missed in a message. */
RP_PRINTF(2, 3)
static void set_where(struct place *place, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(place->where, sizeof place->where, format, args);
    va_end(args);
}

/* The index-th element of an array, which must be an object. */
static rp_status enter(const struct place *place, const char *key, const json_t *array,
                       size_t index, struct place *inside) {
    const json_t *value = json_array_get(array, index);
    *inside = (struct place){.reader = place->reader, .object = value};
    set_where(inside, "%s%s[%zu]", place->where, key, index);
    if (!json_is_object(value)) return refuse_type(inside, "", value, "an object");
    set_where(inside, "%s%s[%zu].", place->where, key, index);
    return RP_OK;
}

static rp_status get_kind(const struct place *place, rp_device_kind *kind) {
    const char *name = NULL;
    rp_status status = get_text(place, "kind", &name);
    if (status != RP_OK) return status;
    if (!name) return refuse(place, "kind", "missing");
    if (rp_device_kind_parse(name, kind, NULL) == RP_OK) return RP_OK;
    return refuse(place, "kind", "'%.40s' is no kind of device that this version knows", name);
}

/* An array of texts, as a field and the count behind it; both stay as they are without one. */
static rp_status get_texts(const struct place *place, const char *key, size_t count_max,
                           size_t bytes_max, const char *const **field, size_t *field_count) {
    const json_t *array;
    size_t count;
    rp_status status = get_array(place, key, count_max, &array, &count);
    if (status != RP_OK || !array) return status;
    const char **texts = rp_snapshot_alloc(place->reader->snapshot, count * sizeof *texts);
    if (!texts) return rp_fail_no_memory(place->reader->err);
    for (size_t i = 0; i < count; i++) {
        char where[WHERE_BYTES];
        snprintf(where, sizeof where, "%s[%zu]", key, i);
        status = take_text(place, where, json_array_get(array, i), bytes_max, &texts[i]);
        if (status != RP_OK) return status;
    }
    *field = texts;
    *field_count = count;
    return RP_OK;
}

static rp_status get_answer(const struct place *place, const char *key, rp_answer *field) {
    bool is_yes = false;
    if (!find(place, key)) return RP_OK;
    rp_status status = get_bool(place, key, &is_yes);
    if (status == RP_OK) *field = is_yes ? RP_ANSWER_YES : RP_ANSWER_NO;
    return status;
}

static rp_status read_fields(const struct place *place, const struct rp_fields *fields,
                             void *owner);

static rp_status read_field_objects(const struct place *place, const struct rp_field *row,
                                    const void *const **field, size_t *field_count) {
    const json_t *array;
    size_t count;
    rp_status status = get_array(place, row->key, RP_LIMIT_DEVICES, &array, &count);
    if (status != RP_OK || !array) return status;
    const void **objects = rp_snapshot_alloc(place->reader->snapshot, count * sizeof *objects);
    if (!objects) return rp_fail_no_memory(place->reader->err);
    for (size_t i = 0; i < count; i++) {
        struct place inside;
        status = enter(place, row->key, array, i, &inside);
        if (status != RP_OK) return status;
        void *owner = rp_fields_new(place->reader->snapshot, row->fields);
        if (!owner) return rp_fail_no_memory(place->reader->err);
        status = read_fields(&inside, row->fields, owner);
        if (status != RP_OK) return status;
        objects[i] = owner;
    }
    *field = objects;
    *field_count = count;
    return RP_OK;
}

static rp_status read_fields(const struct place *place, const struct rp_fields *fields,
                             void *owner) {
    rp_status status = RP_OK;
    for (size_t i = 0; status == RP_OK && i < fields->count; i++) {
        const struct rp_field *row = &fields->rows[i];
        void *field = (char *)owner + row->offset;
        size_t *count = (size_t *)(void *)((char *)field + sizeof(void *));
        switch (row->type) {
        case RP_FIELD_TEXT:
            status = get_text(place, row->key, field);
            break;
        case RP_FIELD_TEXTS:
            status = get_texts(place, row->key, RP_LIMIT_CPU_FEATURES, RP_LIMIT_CPU_FEATURE_BYTES,
                               field, count);
            break;
        case RP_FIELD_U32:
            status = get_u32(place, row->key, field);
            break;
        case RP_FIELD_U64:
            status = get_u64(place, row->key, INT64_MAX, field);
            break;
        case RP_FIELD_ANSWER:
            status = get_answer(place, row->key, field);
            break;
        case RP_FIELD_OBJECTS:
            status = read_field_objects(place, row, field, count);
            break;
        }
    }
    return status;
}

/* A list of processors such as "0-3,8". */
static rp_status read_processors(const struct place *place, const char **list) {
    uint32_t count;
    rp_status status = get_text(place, "processors", list);
    if (status != RP_OK || !*list) return status;
    struct rp_span text = {*list, strlen(*list)};
    if (rp_cpulist_count(text, &count) && count > 0) return RP_OK;
    return refuse(place, "processors", "'%.40s' is no list of processors such as '0-3,8'", *list);
}

static rp_status read_numa(const struct place *place, rp_cpu *cpu) {
    const json_t *array;
    size_t count;
    rp_status status = get_u32(place, "numa_count", &cpu->numa_count);
    if (status != RP_OK) return status;
    status = get_array(place, "numa_nodes", RP_LIMIT_NUMA_NODES, &array, &count);
    if (status != RP_OK || !array) return status;
    const rp_numa_node **nodes = rp_snapshot_alloc(place->reader->snapshot, count * sizeof *nodes);
    rp_numa_node *each = rp_snapshot_alloc(place->reader->snapshot, count * sizeof *each);
    if (!nodes || !each) return rp_fail_no_memory(place->reader->err);
    for (size_t i = 0; i < count; i++) {
        struct place inside;
        status = enter(place, "numa_nodes", array, i, &inside);
        if (status != RP_OK) return status;
        each[i] = (rp_numa_node){sizeof each[i], RP_UNKNOWN_U32, RP_UNKNOWN_U64, NULL};
        status = get_u32(&inside, "index", &each[i].index);
        if (status == RP_OK) status = read_processors(&inside, &each[i].processors);
        if (status == RP_OK) {
            status = get_u64(&inside, "memory_bytes_total", INT64_MAX, &each[i].memory_bytes_total);
        }
        if (status != RP_OK) return status;
        nodes[i] = &each[i];
    }
    cpu->numa_nodes = nodes;
    cpu->numa_node_count = count;
    return RP_OK;
}

static rp_status read_affinity(const struct place *place, rp_cpu *cpu) {
    rp_status status = get_text(place, "affinity", &cpu->affinity);
    if (status == RP_OK) status = get_u32(place, "affinity_count", &cpu->affinity_count);
    if (status != RP_OK || !cpu->affinity) return status;
    uint32_t count;
    struct rp_span list = {cpu->affinity, strlen(cpu->affinity)};
    if (!rp_cpulist_count(list, &count) || count == 0) {
        return refuse(place, "affinity", "'%.40s' is no list of processors such as '0-3,8'",
                      cpu->affinity);
    }
    if (cpu->affinity_count == RP_UNKNOWN_U32) cpu->affinity_count = count;
    if (cpu->affinity_count == count) return RP_OK;
    return refuse(place, "affinity_count", "%u, but 'affinity' lists %u", cpu->affinity_count,
                  count);
}

static rp_status read_cpu(const struct place *place, rp_device *device) {
    const json_t *object = find(place, "cpu");
    if (!object) return RP_OK;
    if (!json_is_object(object)) return refuse_type(place, "cpu", object, "an object");
    if (device->kind != RP_DEVICE_CPU) {
        return refuse(place, "cpu", "only a device of kind 'cpu' has one");
    }
    rp_cpu *cpu = rp_snapshot_new_cpu(place->reader->snapshot);
    if (!cpu) return rp_fail_no_memory(place->reader->err);
    struct place inside = {.reader = place->reader, .object = object};
    snprintf(inside.where, sizeof inside.where, "%.40scpu.", place->where);
    rp_status status = get_text(&inside, "architecture", &cpu->architecture);
    if (status == RP_OK) {
        status = get_texts(&inside, "features", RP_LIMIT_CPU_FEATURES, RP_LIMIT_CPU_FEATURE_BYTES,
                           &cpu->features, &cpu->feature_count);
    }
    if (status == RP_OK) status = get_u32(&inside, "logical_count", &cpu->logical_count);
    if (status == RP_OK) status = get_u32(&inside, "physical_count", &cpu->physical_count);
    if (status == RP_OK) status = get_u32(&inside, "socket_count", &cpu->socket_count);
    if (status == RP_OK) status = read_numa(&inside, cpu);
    if (status == RP_OK) status = read_affinity(&inside, cpu);
    if (status == RP_OK) {
        status = get_u64(&inside, "memory_limit_bytes", INT64_MAX, &cpu->memory_limit_bytes);
    }
    if (status == RP_OK) {
        status = get_text(&inside, "memory_limit_source", &cpu->memory_limit_source);
    }
    if (status == RP_OK) {
        status = get_u64(&inside, "machine_memory_bytes_total", INT64_MAX,
                         &cpu->machine_memory_bytes_total);
    }
    device->cpu = cpu;
    return status;
}

static rp_status read_accelerator(const struct place *place, rp_device *device) {
    const json_t *object = find(place, "accelerator");
    if (!object) return RP_OK;
    if (!json_is_object(object)) return refuse_type(place, "accelerator", object, "an object");
    rp_accelerator *accelerator = rp_snapshot_new_accelerator(place->reader->snapshot);
    if (!accelerator) return rp_fail_no_memory(place->reader->err);
    struct place inside = {.reader = place->reader, .object = object};
    snprintf(inside.where, sizeof inside.where, "%.40saccelerator.", place->where);
    device->accelerator = accelerator;
    return read_fields(&inside, &rp_accelerator_fields, accelerator);
}

static bool has_id(const struct rp_snapshot *snapshot, const char *id) {
    for (size_t i = 0; i < snapshot->device_count; i++) {
        if (strcmp(snapshot->devices[i]->id, id) == 0) return true;
    }
    return false;
}

static rp_status read_device(const struct place *place) {
    rp_device_kind kind = RP_DEVICE_CPU;
    const char *id = NULL;
    rp_status status = get_kind(place, &kind);
    if (status == RP_OK) status = get_text(place, "id", &id);
    if (status != RP_OK) return status;
    if (!id) return refuse(place, "id", "missing");
    if (!rp_device_id_fits(id, kind)) {
        return refuse(place, "id", "'%.40s' is not '%s' or '%s:' and a short name", id,
                      rp_device_kind_name(kind), rp_device_kind_name(kind));
    }
    if (has_id(place->reader->snapshot, id)) {
        return refuse(place, "id", "'%s' stands for an earlier device already", id);
    }
    rp_device *device = rp_snapshot_new_device(place->reader->snapshot, kind, id);
    if (!device) return rp_fail_no_memory(place->reader->err);
    status = get_text(place, "name", &device->name);
    if (status == RP_OK) status = get_bool(place, "available", &device->available);
    if (status == RP_OK) status = get_bool(place, "simulated", &device->simulated);
    if (status == RP_OK) {
        status = get_u64(place, "memory_bytes_total", INT64_MAX, &device->memory_bytes_total);
    }
    if (status == RP_OK) {
        status = get_u64(place, "memory_bytes_free", INT64_MAX, &device->memory_bytes_free);
    }
    if (status == RP_OK) status = get_text(place, "reason", &device->reason);
    if (status == RP_OK) status = read_cpu(place, device);
    if (status == RP_OK) status = read_accelerator(place, device);
    if (status != RP_OK) return status;
    return rp_snapshot_add_device(place->reader->snapshot, device, place->reader->err);
}

static rp_status read_absence(const struct place *place) {
    rp_absence absence = {0};
    rp_status status = get_kind(place, &absence.kind);
    if (status == RP_OK) status = get_text(place, "reason", &absence.reason);
    if (status == RP_OK) status = get_bool(place, "unprobed", &absence.unprobed);
    if (status == RP_OK) status = get_text(place, "hint", &absence.hint);
    if (status != RP_OK) return status;
    if (!absence.reason) return refuse(place, "reason", "missing");
    return rp_snapshot_copy_absence(place->reader->snapshot, &absence, place->reader->err);
}

static rp_status read_objects(const struct place *place, const char *key,
                              rp_status (*read)(const struct place *place)) {
    const json_t *array;
    size_t count;
    rp_status status = get_array(place, key, RP_LIMIT_DEVICES, &array, &count);
    for (size_t i = 0; status == RP_OK && i < count; i++) {
        struct place inside;
        status = enter(place, key, array, i, &inside);
        if (status == RP_OK) status = read(&inside);
    }
    return status;
}

static rp_status read_notes(const struct place *place) {
    const json_t *array;
    size_t count;
    rp_status status = get_array(place, "notes", RP_LIMIT_SNAPSHOT_NOTES, &array, &count);
    for (size_t i = 0; status == RP_OK && i < count; i++) {
        char key[WHERE_BYTES];
        const char *note = NULL;
        snprintf(key, sizeof key, "notes[%zu]", i);
        /* A note of ours is below 1,024 bytes, and must come back whole. */
        status = take_text(place, key, json_array_get(array, i), 1024, &note);
        if (status == RP_OK) {
            status = rp_snapshot_add_note(place->reader->snapshot, place->reader->err, "%s", note);
        }
    }
    return status;
}

static rp_status read_probe_ms(const struct place *place) {
    const json_t *object = find(place, "probe_ms");
    if (!object) return RP_OK;
    if (!json_is_object(object)) return refuse_type(place, "probe_ms", object, "an object");
    struct place inside = {.reader = place->reader, .object = object, .where = "probe_ms."};
    rp_status status = RP_OK;
    for (size_t i = 0; status == RP_OK && i < RP_DEVICE_KIND_COUNT; i++) {
        status = get_ms(&inside, rp_device_kind_name((rp_device_kind)i),
                        &place->reader->snapshot->probe_ms[i]);
    }
    return status;
}

static rp_status read_snapshot(const struct place *place) {
    struct rp_snapshot *snapshot = place->reader->snapshot;
    uint64_t version = RP_UNKNOWN_U64;
    rp_status status = get_u64(place, "version", INT64_MAX, &version);
    if (status != RP_OK) return status;
    if (version == RP_UNKNOWN_U64) return refuse(place, "version", "missing");
    if (version != RP_SNAPSHOT_VERSION) {
        return rp_fail(place->reader->err, RP_ERR_UNSUPPORTED,
                       "'%s': version %llu of a snapshot, this library reads version %d",
                       place->reader->source, (unsigned long long)version, RP_SNAPSHOT_VERSION);
    }
    if (!find(place, "devices")) return refuse(place, "devices", "missing");
    status = get_u64(place, "generation", INT64_MAX, &snapshot->generation);
    if (status == RP_OK) status = get_bool(place, "simulated", &snapshot->simulated);
    if (status == RP_OK) status = read_objects(place, "devices", read_device);
    if (status == RP_OK) status = read_objects(place, "absent", read_absence);
    if (status == RP_OK) status = read_notes(place);
    if (status == RP_OK) status = get_ms(place, "detect_ms", &snapshot->detect_ms);
    if (status == RP_OK) status = read_probe_ms(place);
    return status;
}

static rp_status fail_syntax(const char *source, const json_error_t *error, rp_error *err) {
    /*
     * jansson says nothing where it lacks memory, except inside a string: that it calls damaged,
     * and nothing tells the two apart.
     */
    if (error->text[0] == '\0') return rp_fail_no_memory(err);
    return rp_fail(err, RP_ERR_DATA, "'%s': line %d, column %d: %s", source, error->line,
                   error->column, error->text);
}

rp_status rp_snapshot_from_value(const json_t *root, const char *source, struct rp_snapshot **out,
                                 rp_error *err) {
    struct rp_snapshot *snapshot = rp_snapshot_create();
    if (!snapshot) return rp_fail_no_memory(err);
    snapshot->from_file = true;
    struct reader reader = {.source = source, .snapshot = snapshot, .err = err};
    struct place place = {.reader = &reader, .object = root};
    rp_status status = json_is_object(root) ? read_snapshot(&place)
                                            : refuse_type(&place, "the whole", root, "an object");
    if (status != RP_OK) {
        rp_snapshot_release(snapshot);
        return status;
    }
    *out = snapshot;
    return RP_OK;
}

rp_status rp_snapshot_parse(const char *json, size_t length, const char *source_name,
                            struct rp_snapshot **out, rp_error *err) {
    const char *source = source_name ? source_name : "snapshot";
    if (length > RP_LIMIT_SNAPSHOT_BYTES) {
        return rp_fail(err, RP_ERR_LIMIT, "'%s': %zu bytes, a snapshot has at most %d", source,
                       length, RP_LIMIT_SNAPSHOT_BYTES);
    }
    json_error_t error;
    json_t *root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &error);
    if (!root) return fail_syntax(source, &error, err);
    rp_status status = rp_snapshot_from_value(root, source, out, err);
    json_decref(root);
    return status;
}

rp_status rp_snapshot_from_json(const char *json, size_t length, const char *source_name,
                                const rp_snapshot **snapshot, rp_error *err) {
    if (!json || !snapshot) {
        return rp_fail(err, RP_ERR_ARGUMENT, "JSON and a place for the snapshot are needed");
    }
    struct rp_snapshot *parsed = NULL;
    rp_status status = rp_snapshot_parse(json, length, source_name, &parsed, err);
    if (status == RP_OK) *snapshot = parsed;
    return status;
}
