/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots: built once, then read by any number of threads. Everything in one is small and dies at
 * the same moment, so it is cut from blocks that the snapshot owns, and freeing is one walk.
 */
#include "hardware/snapshot.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "hardware/fields.h"

#include <math.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A machine of eight GPUs fits one block. */
enum { BLOCK_BYTES = 8 << 10 };

struct rp_block {
    struct rp_block *next;
    size_t used;
    size_t capacity;
    alignas(max_align_t) unsigned char bytes[];
};

static const char *const kind_names[] = {
#define KIND_NAME(constant, number, name) [number] = name,
    RP_DEVICE_KIND_MAP(KIND_NAME)
#undef KIND_NAME
};

_Static_assert(sizeof kind_names / sizeof kind_names[0] == RP_DEVICE_KIND_COUNT,
               "kinds are numbered from 0 without a gap");

rp_status(rp_fail_no_memory)(rp_error *err) {
    return rp_fail(err, RP_ERR_MEMORY, "no memory for the description of this machine");
}

struct rp_snapshot *rp_snapshot_create(void) {
    struct rp_snapshot *snapshot = rp_alloc(sizeof *snapshot);
    if (!snapshot) return NULL;
    snapshot->self = snapshot;
    atomic_init(&snapshot->reference_count, 1);
    snapshot->generation = 1;
    snapshot->root = "";
    snapshot->detect_ms = -1;
    for (size_t i = 0; i < RP_DEVICE_KIND_COUNT; i++) {
        snapshot->probe_ms[i] = -1;
    }
    return snapshot;
}

void *rp_snapshot_alloc(struct rp_snapshot *snapshot, size_t bytes) {
    const size_t step = alignof(max_align_t);
    if (bytes > SIZE_MAX / 2) return NULL;
    bytes = (bytes + step - 1) / step * step;
    struct rp_block *block = snapshot->blocks;
    if (!block || block->capacity - block->used < bytes) {
        size_t capacity = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
        block = rp_alloc(sizeof *block + capacity);
        if (!block) return NULL;
        block->capacity = capacity;
        block->next = snapshot->blocks;
        snapshot->blocks = block;
    }
    void *memory = block->bytes + block->used;
    block->used += bytes;
    return memory;
}

const char *rp_snapshot_text(struct rp_snapshot *snapshot, const char *bytes, size_t length) {
    char *text = rp_snapshot_alloc(snapshot, length + 1);
    if (!text) return NULL;
    memcpy(text, bytes, length);
    rp_text_make_printable(text);
    return text;
}

const char *const *rp_snapshot_texts(struct rp_snapshot *snapshot, const char *const *texts,
                                     size_t count) {
    const char **copies = rp_snapshot_alloc(snapshot, count * sizeof *copies);
    for (size_t i = 0; copies && i < count; i++) {
        copies[i] = rp_snapshot_text(snapshot, texts[i], strlen(texts[i]));
        if (!copies[i]) return NULL;
    }
    return copies;
}

/* Room for one more pointer. What the array outgrew stays in its block until the end. */
static void *grow(struct rp_snapshot *snapshot, const void *array, size_t count, size_t *capacity) {
    size_t wanted = *capacity ? *capacity * 2 : 8;
    void *grown = rp_snapshot_alloc(snapshot, wanted * sizeof(void *));
    if (!grown) return NULL;
    if (count > 0) memcpy(grown, array, count * sizeof(void *));
    *capacity = wanted;
    return grown;
}

rp_status rp_snapshot_add_device(struct rp_snapshot *snapshot, rp_device *device, rp_error *err) {
    if (snapshot->device_count == RP_LIMIT_DEVICES) {
        return rp_fail(err, RP_ERR_LIMIT, "more than %d devices in one snapshot", RP_LIMIT_DEVICES);
    }
    if (snapshot->device_count == snapshot->device_capacity) {
        void *grown =
            grow(snapshot, snapshot->devices, snapshot->device_count, &snapshot->device_capacity);
        if (!grown) return rp_fail_no_memory(err);
        snapshot->devices = grown;
    }
    snapshot->devices[snapshot->device_count++] = device;
    return RP_OK;
}

rp_device *rp_snapshot_new_device(struct rp_snapshot *snapshot, rp_device_kind kind,
                                  const char *id) {
    rp_device *device = rp_snapshot_alloc(snapshot, sizeof *device);
    if (!device) return NULL;
    *device = (rp_device){
        .size = sizeof *device,
        .id = rp_snapshot_text(snapshot, id, strlen(id)),
        .kind = kind,
        .available = true,
        .simulated = snapshot->simulated,
        .memory_bytes_total = RP_UNKNOWN_U64,
        .memory_bytes_free = RP_UNKNOWN_U64,
    };
    return device->id ? device : NULL;
}

rp_cpu *rp_snapshot_new_cpu(struct rp_snapshot *snapshot) {
    rp_cpu *cpu = rp_snapshot_alloc(snapshot, sizeof *cpu);
    if (!cpu) return NULL;
    *cpu = (rp_cpu){
        .size = sizeof *cpu,
        .logical_count = RP_UNKNOWN_U32,
        .physical_count = RP_UNKNOWN_U32,
        .socket_count = RP_UNKNOWN_U32,
        .numa_count = RP_UNKNOWN_U32,
        .affinity_count = RP_UNKNOWN_U32,
        .memory_limit_bytes = RP_UNKNOWN_U64,
        .machine_memory_bytes_total = RP_UNKNOWN_U64,
    };
    return cpu;
}

rp_accelerator *rp_snapshot_new_accelerator(struct rp_snapshot *snapshot) {
    return rp_fields_new(snapshot, &rp_accelerator_fields);
}

/* A copy of a text that may be missing; false without memory. */
static bool keep_text(struct rp_snapshot *snapshot, const char **text) {
    if (!*text) return true;
    *text = rp_snapshot_text(snapshot, *text, strlen(*text));
    return *text != NULL;
}

rp_status rp_snapshot_copy_absence(struct rp_snapshot *snapshot, const rp_absence *from,
                                   rp_error *err) {
    if (snapshot->absent_count == RP_LIMIT_DEVICES) {
        return rp_fail(err, RP_ERR_LIMIT, "more than %d absences in one snapshot",
                       RP_LIMIT_DEVICES);
    }
    if (snapshot->absent_count == snapshot->absent_capacity) {
        void *grown =
            grow(snapshot, snapshot->absences, snapshot->absent_count, &snapshot->absent_capacity);
        if (!grown) return rp_fail_no_memory(err);
        snapshot->absences = grown;
    }
    rp_absence *absence = rp_snapshot_alloc(snapshot, sizeof *absence);
    if (!absence) return rp_fail_no_memory(err);
    *absence = *from;
    absence->size = sizeof *absence;
    if (!keep_text(snapshot, &absence->reason) || !keep_text(snapshot, &absence->hint)) {
        return rp_fail_no_memory(err);
    }
    snapshot->absences[snapshot->absent_count++] = absence;
    return RP_OK;
}

rp_status rp_snapshot_add_absence(struct rp_snapshot *snapshot, rp_device_kind kind,
                                  const char *reason, rp_error *err) {
    const rp_absence absence = {.kind = kind, .reason = reason};
    return rp_snapshot_copy_absence(snapshot, &absence, err);
}

rp_status rp_snapshot_add_note(struct rp_snapshot *snapshot, rp_error *err, const char *format,
                               ...) {
    if (snapshot->note_count == RP_LIMIT_SNAPSHOT_NOTES) {
        snapshot->notes[RP_LIMIT_SNAPSHOT_NOTES - 1] = "more was met than is noted here";
        return RP_OK;
    }
    if (snapshot->note_count == snapshot->note_capacity) {
        void *grown =
            grow(snapshot, snapshot->notes, snapshot->note_count, &snapshot->note_capacity);
        if (!grown) return rp_fail_no_memory(err);
        snapshot->notes = grown;
    }
    char note[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(note, sizeof note, format, args);
    va_end(args);
    const char *copy = rp_snapshot_text(snapshot, note, strlen(note));
    if (!copy) return rp_fail_no_memory(err);
    snapshot->notes[snapshot->note_count++] = copy;
    return RP_OK;
}

static const rp_cpu *copy_cpu(struct rp_snapshot *snapshot, const rp_cpu *from) {
    rp_cpu *cpu = rp_snapshot_alloc(snapshot, sizeof *cpu);
    if (!cpu) return NULL;
    *cpu = *from;
    const char **texts[] = {&cpu->architecture, &cpu->affinity, &cpu->memory_limit_source};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (!*texts[i]) continue;
        *texts[i] = rp_snapshot_text(snapshot, *texts[i], strlen(*texts[i]));
        if (!*texts[i]) return NULL;
    }
    if (from->features) {
        cpu->features = rp_snapshot_texts(snapshot, from->features, from->feature_count);
        if (!cpu->features) return NULL;
    }
    if (from->numa_nodes) {
        const rp_numa_node **nodes =
            rp_snapshot_alloc(snapshot, from->numa_node_count * sizeof *nodes);
        rp_numa_node *each = rp_snapshot_alloc(snapshot, from->numa_node_count * sizeof *each);
        if (!nodes || !each) return NULL;
        for (size_t i = 0; i < from->numa_node_count; i++) {
            each[i] = *from->numa_nodes[i];
            if (!keep_text(snapshot, &each[i].processors)) return NULL;
            nodes[i] = &each[i];
        }
        cpu->numa_nodes = nodes;
    }
    return cpu;
}

rp_device *rp_snapshot_copy_device(struct rp_snapshot *snapshot, const rp_device *from) {
    rp_device *device = rp_snapshot_new_device(snapshot, from->kind, from->id);
    if (!device) return NULL;
    const char *id = device->id;
    *device = *from;
    device->id = id;
    if (!keep_text(snapshot, &device->name) || !keep_text(snapshot, &device->reason)) return NULL;
    if (from->cpu) {
        device->cpu = copy_cpu(snapshot, from->cpu);
        if (!device->cpu) return NULL;
    }
    if (from->accelerator) {
        device->accelerator = rp_fields_copy(snapshot, &rp_accelerator_fields, from->accelerator);
        if (!device->accelerator) return NULL;
    }
    return device;
}

rp_status rp_snapshot_add_all(struct rp_snapshot *snapshot, const rp_snapshot *from,
                              rp_error *err) {
    rp_status status = RP_OK;
    for (size_t i = 0; status == RP_OK && i < from->device_count; i++) {
        rp_device *device = rp_snapshot_copy_device(snapshot, from->devices[i]);
        status = device ? rp_snapshot_add_device(snapshot, device, err) : rp_fail_no_memory(err);
    }
    for (size_t i = 0; status == RP_OK && i < from->absent_count; i++) {
        status = rp_snapshot_copy_absence(snapshot, from->absences[i], err);
    }
    for (size_t i = 0; status == RP_OK && i < from->note_count; i++) {
        status = rp_snapshot_add_note(snapshot, err, "%s", from->notes[i]);
    }
    for (size_t i = 0; i < RP_DEVICE_KIND_COUNT; i++) {
        if (from->probe_ms[i] >= 0) snapshot->probe_ms[i] = from->probe_ms[i];
    }
    return status;
}

double rp_snapshot_round_ms(double ms) {
    return round(ms * 1e3) / 1e3;
}

bool rp_device_id_fits(const char *id, rp_device_kind kind) {
    const char *name = rp_device_kind_name(kind);
    if (!name || strncmp(id, name, strlen(name)) != 0) return false;
    if (strlen(id) >= RP_LIMIT_DEVICE_BYTES) return false;
    const char *rest = id + strlen(name);
    if (*rest == '\0') return true;
    if (*rest++ != ':' || *rest == '\0') return false;
    return rest[strspn(
               rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")] == '\0';
}

const char *rp_device_kind_name(rp_device_kind kind) {
    return (unsigned)kind < RP_DEVICE_KIND_COUNT ? kind_names[kind] : NULL;
}

rp_status rp_device_kind_parse(const char *name, rp_device_kind *kind, rp_error *err) {
    if (!name || !kind) {
        return rp_fail(err, RP_ERR_ARGUMENT, "a kind of device needs a name and a place to go");
    }
    for (size_t i = 0; i < RP_DEVICE_KIND_COUNT; i++) {
        if (strcmp(name, kind_names[i]) != 0) continue;
        *kind = (rp_device_kind)i;
        return RP_OK;
    }
    rp_fail(err, RP_ERR_NOT_FOUND, "'%s' is no kind of device", name);
    rp_hint(err, "the kinds are"
#define KIND_WORD(constant, number, name) " " name
            RP_DEVICE_KIND_MAP(KIND_WORD)
#undef KIND_WORD
    );
    return RP_ERR_NOT_FOUND;
}

const rp_snapshot *rp_snapshot_acquire(const rp_snapshot *snapshot) {
    atomic_fetch_add_explicit(&snapshot->self->reference_count, 1, memory_order_relaxed);
    return snapshot;
}

void rp_snapshot_release(const rp_snapshot *snapshot) {
    if (!snapshot) return;
    struct rp_snapshot *self = snapshot->self;
    /* Acquire-release: what any holder read is read before the last one frees. */
    if (atomic_fetch_sub_explicit(&self->reference_count, 1, memory_order_acq_rel) != 1) return;
    while (self->blocks) {
        struct rp_block *next = self->blocks->next;
        rp_free(self->blocks);
        self->blocks = next;
    }
    rp_free(self);
}

uint64_t rp_snapshot_generation(const rp_snapshot *snapshot) {
    return snapshot->generation;
}

bool rp_snapshot_is_simulated(const rp_snapshot *snapshot) {
    return snapshot->simulated;
}

double rp_snapshot_detect_ms(const rp_snapshot *snapshot) {
    return snapshot->detect_ms;
}

double rp_snapshot_probe_ms(const rp_snapshot *snapshot, rp_device_kind kind) {
    return (unsigned)kind < RP_DEVICE_KIND_COUNT ? snapshot->probe_ms[kind] : -1;
}

size_t rp_snapshot_device_count(const rp_snapshot *snapshot) {
    return snapshot->device_count;
}

const rp_device *rp_snapshot_device(const rp_snapshot *snapshot, size_t index) {
    return index < snapshot->device_count ? snapshot->devices[index] : NULL;
}

static const rp_device *find_exactly(const rp_snapshot *snapshot, const char *id, size_t length) {
    for (size_t i = 0; i < snapshot->device_count; i++) {
        const char *its = snapshot->devices[i]->id;
        if (strlen(its) == length && memcmp(its, id, length) == 0) return snapshot->devices[i];
    }
    return NULL;
}

static const rp_device *find_first(const rp_snapshot *snapshot, rp_device_kind kind) {
    for (size_t i = 0; i < snapshot->device_count; i++) {
        if (snapshot->devices[i]->kind == kind) return snapshot->devices[i];
    }
    return NULL;
}

const rp_device *rp_snapshot_find_device(const rp_snapshot *snapshot, const char *id) {
    if (!id) return NULL;
    const rp_device *device = find_exactly(snapshot, id, strlen(id));
    if (device) return device;
    for (size_t i = 0; i < RP_DEVICE_KIND_COUNT; i++) {
        const char *name = kind_names[i];
        size_t name_length = strlen(name);
        if (strncmp(id, name, name_length) != 0) continue;
        if (strcmp(id + name_length, ":0") == 0) return find_exactly(snapshot, id, name_length);
        if (id[name_length] == '\0') return find_first(snapshot, (rp_device_kind)i);
    }
    return NULL;
}

size_t rp_snapshot_absent_count(const rp_snapshot *snapshot) {
    return snapshot->absent_count;
}

const rp_absence *rp_snapshot_absent(const rp_snapshot *snapshot, size_t index) {
    return index < snapshot->absent_count ? snapshot->absences[index] : NULL;
}

size_t rp_snapshot_note_count(const rp_snapshot *snapshot) {
    return snapshot->note_count;
}

const char *rp_snapshot_note(const rp_snapshot *snapshot, size_t index) {
    return index < snapshot->note_count ? snapshot->notes[index] : NULL;
}
