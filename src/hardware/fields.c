/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/fields.h"

#include <string.h>

#define ROW(owner, key, field, kind)                                                               \
    { key, offsetof(owner, field), RP_FIELD_##kind, NULL }
#define ROWS(owner, key, field, table)                                                             \
    { key, offsetof(owner, field), RP_FIELD_OBJECTS, table }
#define TABLE(owner, rows)                                                                         \
    { sizeof(owner), rows, sizeof(rows) / sizeof(rows)[0] }

/* clang-format off */
static const struct rp_field slice_rows[] = {
    ROW(rp_slice, "uuid", uuid, TEXT),
    ROW(rp_slice, "profile", profile, TEXT),
    ROW(rp_slice, "memory_bytes_total", memory_bytes_total, U64),
    ROW(rp_slice, "memory_bytes_free", memory_bytes_free, U64),
};
static const struct rp_fields slice_fields = TABLE(rp_slice, slice_rows);

static const struct rp_field process_rows[] = {
    ROW(rp_device_process, "pid", pid, U32),
    ROW(rp_device_process, "name", name, TEXT),
    ROW(rp_device_process, "memory_bytes", memory_bytes, U64),
};
static const struct rp_fields process_fields = TABLE(rp_device_process, process_rows);

static const struct rp_field accelerator_rows[] = {
    ROW(rp_accelerator, "type", type, TEXT),
    ROW(rp_accelerator, "vendor", vendor, TEXT),
    ROW(rp_accelerator, "uuid", uuid, TEXT),
    ROW(rp_accelerator, "pci_address", pci_address, TEXT),
    ROW(rp_accelerator, "pci_id", pci_id, TEXT),
    ROW(rp_accelerator, "numa_node", numa_node, U32),
    ROW(rp_accelerator, "driver_version", driver_version, TEXT),
    ROW(rp_accelerator, "runtime_version", runtime_version, TEXT),
    ROW(rp_accelerator, "compute_capability", compute_capability, TEXT),
    ROW(rp_accelerator, "gfx_target", gfx_target, TEXT),
    ROW(rp_accelerator, "compute_unit_count", compute_unit_count, U32),
    ROW(rp_accelerator, "tensor_cores", has_tensor_cores, ANSWER),
    ROW(rp_accelerator, "precisions", precisions, TEXTS),
    ROW(rp_accelerator, "integrated", is_integrated, ANSWER),
    ROW(rp_accelerator, "utilization_percent", utilization_percent, U32),
    ROW(rp_accelerator, "temperature_celsius", temperature_celsius, U32),
    ROW(rp_accelerator, "ecc_enabled", is_ecc_enabled, ANSWER),
    ROW(rp_accelerator, "ecc_error_count", ecc_error_count, U64),
    ROW(rp_accelerator, "throttle_reasons", throttle_reasons, TEXTS),
    ROW(rp_accelerator, "mig_enabled", is_mig_enabled, ANSWER),
    ROWS(rp_accelerator, "slices", slices, &slice_fields),
    ROWS(rp_accelerator, "processes", processes, &process_fields),
    ROW(rp_accelerator, "source", source, TEXT),
};
const struct rp_fields rp_accelerator_fields = TABLE(rp_accelerator, accelerator_rows);
/* clang-format on */

/* The count of an array stands right behind it. */
#define COUNT_FOLLOWS(owner, field, count)                                                         \
    _Static_assert(offsetof(owner, count) == offsetof(owner, field) + sizeof(void *),              \
                   #count " follows " #field)
COUNT_FOLLOWS(rp_accelerator, precisions, precision_count);
COUNT_FOLLOWS(rp_accelerator, throttle_reasons, throttle_reason_count);
COUNT_FOLLOWS(rp_accelerator, slices, slice_count);
COUNT_FOLLOWS(rp_accelerator, processes, process_count);

void *rp_fields_new(struct rp_snapshot *snapshot, const struct rp_fields *fields) {
    char *owner = rp_snapshot_alloc(snapshot, fields->bytes);
    if (!owner) return NULL;
    memcpy(owner, &fields->bytes, sizeof fields->bytes);
    for (size_t i = 0; i < fields->count; i++) {
        const struct rp_field *row = &fields->rows[i];
        if (row->type == RP_FIELD_U32) *(uint32_t *)(void *)(owner + row->offset) = RP_UNKNOWN_U32;
        if (row->type == RP_FIELD_U64) *(uint64_t *)(void *)(owner + row->offset) = RP_UNKNOWN_U64;
    }
    return owner;
}

static const void *copy_array(struct rp_snapshot *snapshot, const struct rp_field *row,
                              const void *const *array, size_t count) {
    if (row->type == RP_FIELD_TEXTS) {
        return rp_snapshot_texts(snapshot, (const char *const *)array, count);
    }
    const void **copies = rp_snapshot_alloc(snapshot, count * sizeof *copies);
    for (size_t i = 0; copies && i < count; i++) {
        copies[i] = rp_fields_copy(snapshot, row->fields, array[i]);
        if (!copies[i]) return NULL;
    }
    return copies;
}

void *rp_fields_copy(struct rp_snapshot *snapshot, const struct rp_fields *fields,
                     const void *from) {
    char *owner = rp_snapshot_alloc(snapshot, fields->bytes);
    if (!owner) return NULL;
    memcpy(owner, from, fields->bytes);
    for (size_t i = 0; i < fields->count; i++) {
        const struct rp_field *row = &fields->rows[i];
        const void **field = (const void **)(void *)(owner + row->offset);
        switch (row->type) {
        case RP_FIELD_TEXT:
            if (!*field) continue;
            *field = rp_snapshot_text(snapshot, *field, strlen(*field));
            break;
        case RP_FIELD_TEXTS:
        case RP_FIELD_OBJECTS:
            if (!*field) continue;
            *field = copy_array(snapshot, row, *field, *(const size_t *)(const void *)(field + 1));
            break;
        case RP_FIELD_U32:
        case RP_FIELD_U64:
        case RP_FIELD_ANSWER:
            continue;
        }
        if (!*field) return NULL;
    }
    return owner;
}
