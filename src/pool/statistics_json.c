/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot of a pool as JSON. Printed straight into a text: for 10,000 objects a tree of jansson
 * values would be a quarter of a million allocations, at five times the time.
 */
#include <resourcepool/statistics.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

#include <math.h>
#include <resourcepool/text.h>
#include <string.h>

struct writer {
    struct rp_text text;
    int indent; /* spaces per level; 0: all on one line */
    int level;
    bool is_first; /* in the list or object that is open */
};

/* A comma where one is due, the new line, and the key if there is one. */
static void begin_value(struct writer *writer, const char *key) {
    if (!writer->is_first) rp_text_append(&writer->text, ",", 1);
    writer->is_first = false;
    if (writer->indent > 0)
        rp_text_print(&writer->text, "\n%*s", writer->indent * writer->level, "");
    if (key) rp_text_print(&writer->text, writer->indent > 0 ? "\"%s\": " : "\"%s\":", key);
}

static void open_value(struct writer *writer, const char *key, const char *bracket) {
    if (writer->level > 0) begin_value(writer, key);
    rp_text_append(&writer->text, bracket, 1);
    writer->level++;
    writer->is_first = true;
}

static void close_value(struct writer *writer, const char *bracket) {
    writer->level--;
    if (!writer->is_first && writer->indent > 0) {
        rp_text_print(&writer->text, "\n%*s", writer->indent * writer->level, "");
    }
    rp_text_append(&writer->text, bracket, 1);
    writer->is_first = false;
}

/* The bytes of a text are valid UTF-8 without control characters: names are checked at the door. */
static void put_escaped(struct rp_text *out, const char *text) {
    rp_text_append(out, "\"", 1);
    while (*text) {
        size_t plain = strcspn(text, "\"\\");
        rp_text_append(out, text, plain);
        text += plain;
        if (!*text) break;
        rp_text_append(out, "\\", 1);
        rp_text_append(out, text++, 1);
    }
    rp_text_append(out, "\"", 1);
}

static void put_text(struct writer *writer, const char *key, const char *text) {
    begin_value(writer, key);
    if (text) {
        put_escaped(&writer->text, text);
    } else {
        rp_text_append(&writer->text, "null", 4);
    }
}

static void put_u64(struct writer *writer, const char *key, uint64_t value) {
    begin_value(writer, key);
    if (value == RP_UNKNOWN_U64) {
        rp_text_append(&writer->text, "null", 4);
        return;
    }
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    rp_text_append(&writer->text, digits + at, sizeof digits - at);
}

/* A span or a share with three decimals; below 0 is not known. */
static void put_number(struct writer *writer, const char *key, double value) {
    if (!(value >= 0) || value > 1e15) {
        begin_value(writer, key);
        rp_text_append(&writer->text, "null", 4);
        return;
    }
    uint64_t thousandths = (uint64_t)(value * 1000 + 0.5);
    put_u64(writer, key, thousandths / 1000);
    char decimals[4] = {'.', (char)('0' + thousandths / 100 % 10),
                        (char)('0' + thousandths / 10 % 10), (char)('0' + thousandths % 10)};
    rp_text_append(&writer->text, decimals, sizeof decimals);
}

static void put_bool(struct writer *writer, const char *key, bool value) {
    begin_value(writer, key);
    rp_text_append(&writer->text, value ? "true" : "false", value ? 4 : 5);
}

static void put_time(struct writer *writer, const char *key, int64_t wall_ns) {
    char text[RP_ISO_TIME_BYTES];
    if (wall_ns > 0) rp_wall_format_iso(wall_ns, text, sizeof text);
    put_text(writer, key, wall_ns > 0 ? text : NULL);
}

static void put_pressure(struct writer *writer, const rp_pressure_info *info) {
    open_value(writer, "pressure", "{");
    put_text(writer, "step", rp_pressure_step_name(info->step));
    put_u64(writer, "total_bytes", info->total_bytes);
    put_u64(writer, "usable_bytes", info->usable_bytes);
    put_u64(writer, "machine_total_bytes", info->machine_total_bytes);
    put_u64(writer, "machine_available_bytes", info->machine_available_bytes);
    put_text(writer, "group", info->group[0] ? info->group : NULL);
    put_u64(writer, "group_limit_bytes", info->group_limit_bytes);
    put_u64(writer, "group_used_bytes", info->group_used_bytes);
    put_u64(writer, "group_oom_kills", info->group_oom_kills);
    put_number(writer, "stall_percent", info->stall_percent);
    put_number(writer, "cpu_percent", info->cpu_percent);
    put_u64(writer, "process_bytes", info->process_bytes);
    put_u64(writer, "to_free_bytes", info->to_free_bytes);
    put_text(writer, "reason", info->reason);
    close_value(writer, "}");
}

static void put_totals(struct writer *writer, const rp_totals *totals) {
    open_value(writer, "totals", "{");
    put_u64(writer, "requests", totals->requests);
    put_u64(writer, "hits", totals->hits);
    put_u64(writer, "misses", totals->misses);
    put_number(writer, "hit_ratio", totals->hit_ratio);
    put_u64(writer, "waits", totals->waits);
    put_u64(writer, "loads", totals->loads);
    put_u64(writer, "load_failures", totals->load_failures);
    put_u64(writer, "entries", totals->entry_count);
    put_u64(writer, "resources", totals->resource_count);
    put_u64(writer, "models", totals->model_count);
    put_u64(writer, "tokenizers", totals->tokenizer_count);
    put_u64(writer, "loading", totals->loading_count);
    put_u64(writer, "leases", totals->lease_count);
    put_u64(writer, "memory_bytes", totals->memory_bytes);
    put_u64(writer, "unknown_memory", totals->unknown_memory_count);
    put_u64(writer, "reserved", totals->reserved_count);
    put_u64(writer, "reserved_bytes", totals->reserved_bytes);
    put_u64(writer, "reservations", totals->reservations);
    put_u64(writer, "peak_bytes", totals->peak_bytes);
    put_u64(writer, "evictions", totals->evictions);
    put_u64(writer, "evicted_bytes", totals->evicted_bytes);
    put_u64(writer, "unloads", totals->unloads);
    put_u64(writer, "freed_bytes", totals->freed_bytes);
    put_u64(writer, "room_waits", totals->room_waits);
    put_u64(writer, "refusals", totals->refusals);
    put_u64(writer, "retries", totals->retries);
    put_u64(writer, "fallbacks", totals->fallbacks);
    open_value(writer, "failures", "{");
    for (int i = 0; i < RP_CATEGORY_COUNT; i++) {
        if (totals->failures[i] == 0) continue;
        put_u64(writer, rp_category_name((rp_category)i), totals->failures[i]);
    }
    close_value(writer, "}");
    open_value(writer, "cleanup", "{");
    put_u64(writer, "runs", totals->cleanup_runs);
    put_u64(writer, "removed", totals->cleanup_removed);
    put_u64(writer, "freed_bytes", totals->cleanup_bytes);
    put_time(writer, "last", totals->cleanup_wall_ns);
    close_value(writer, "}");
    put_bool(writer, "low_memory", totals->is_low_memory);
    put_text(writer, "low_memory_reason", totals->low_memory_reason);
    put_time(writer, "taken", totals->taken_wall_ns);
    close_value(writer, "}");
}

static void put_device(struct writer *writer, const rp_ledger_info *device) {
    open_value(writer, NULL, "{");
    put_text(writer, "device", device->device);
    put_u64(writer, "budget_bytes", device->budget_bytes);
    put_u64(writer, "charged_bytes", device->charged_bytes);
    put_u64(writer, "peak_bytes", device->peak_bytes);
    put_u64(writer, "usable_bytes", device->usable_bytes);
    open_value(writer, "in_state_bytes", "{");
    for (int state = RP_CHARGE_RESERVED; state < RP_CHARGE_STATES; state++) {
        put_u64(writer, rp_charge_state_name((rp_charge_state)state),
                device->in_state_bytes[state]);
    }
    close_value(writer, "}");
    close_value(writer, "}");
}

static void put_keys(struct writer *writer, const char *key, const char *const *keys,
                     size_t count) {
    open_value(writer, key, "[");
    for (size_t i = 0; i < count; i++) {
        put_text(writer, NULL, keys[i]);
    }
    close_value(writer, "]");
}

static void put_entry(struct writer *writer, const rp_entry_info *entry) {
    open_value(writer, NULL, "{");
    put_text(writer, "key", entry->key);
    put_text(writer, "kind", rp_kind_name(entry->kind));
    put_text(writer, "type", entry->type);
    put_text(writer, "name", entry->name);
    put_text(writer, "state", entry->is_draining ? "draining" : "loaded");
    open_value(writer, "placement", "{");
    put_text(writer, "device", entry->placement.device);
    put_text(writer, "precision", entry->placement.precision);
    put_text(writer, "engine", entry->placement.engine);
    put_text(writer, "policy", rp_policy_name(entry->placement.policy));
    put_text(writer, "reason", entry->placement.reason);
    close_value(writer, "}");
    put_u64(writer, "hits", entry->hits);
    put_u64(writer, "misses", entry->misses);
    put_u64(writer, "leases", entry->lease_count);
    put_u64(writer, "memory_bytes", entry->memory_bytes);
    put_text(writer, "method", entry->memory_method);
    put_number(writer, "load_ms", entry->load_ms);
    put_number(writer, "age_ms", entry->age_ms);
    put_number(writer, "idle_ms", entry->idle_ms);
    put_time(writer, "created", entry->created_wall_ns);
    put_keys(writer, "depends_on", entry->depends_on, entry->depends_on_count);
    put_keys(writer, "dependents", entry->dependents, entry->dependent_count);
    close_value(writer, "}");
}

static void put_lease(struct writer *writer, const rp_lease_info *lease) {
    open_value(writer, NULL, "{");
    put_text(writer, "key", lease->key);
    put_u64(writer, "pid", (uint64_t)lease->pid);
    put_u64(writer, "thread", (uint64_t)lease->thread_id);
    put_u64(writer, "count", lease->count);
    put_number(writer, "oldest_ms", lease->oldest_ms);
    put_text(writer, "kind", rp_kind_name(lease->kind));
    if (lease->kind == RP_KIND_RESERVATION) {
        put_text(writer, "device", lease->device);
        put_u64(writer, "memory_bytes", lease->memory_bytes);
    }
    close_value(writer, "}");
}

/* The snapshot of the machine writes itself. */
static void put_hardware(struct writer *writer, const rp_snapshot *hardware) {
    char *json = NULL;
    if (hardware && rp_snapshot_to_json(hardware, 0, &json, NULL) != RP_OK) {
        writer->text.failed = true;
        return;
    }
    begin_value(writer, "hardware");
    rp_text_append(&writer->text, json ? json : "null", json ? strlen(json) : 4);
    rp_string_free(json);
}

rp_status rp_statistics_to_json(const rp_statistics *statistics, int indent, char **json,
                                rp_error *err) {
    if (!statistics || !json || indent < 0 || indent > 8) {
        return rp_fail(err, RP_ERR_ARGUMENT, "statistics as JSON take a snapshot, 0 to 8 spaces");
    }
    struct writer writer = {.indent = indent};
    open_value(&writer, NULL, "{");
    put_totals(&writer, rp_statistics_totals(statistics));
    put_pressure(&writer, &rp_statistics_totals(statistics)->pressure);
    open_value(&writer, "devices", "[");
    for (size_t i = 0; i < rp_statistics_device_count(statistics); i++) {
        put_device(&writer, rp_statistics_device(statistics, i));
    }
    close_value(&writer, "]");
    open_value(&writer, "entries", "[");
    for (size_t i = 0; i < rp_statistics_entry_count(statistics); i++) {
        put_entry(&writer, rp_statistics_entry(statistics, i));
    }
    close_value(&writer, "]");
    open_value(&writer, "leases", "[");
    for (size_t i = 0; i < rp_statistics_lease_count(statistics); i++) {
        put_lease(&writer, rp_statistics_lease(statistics, i));
    }
    close_value(&writer, "]");
    put_hardware(&writer, rp_statistics_hardware(statistics));
    close_value(&writer, "}");
    if (writer.text.failed) {
        rp_text_fini(&writer.text);
        return rp_fail(err, RP_ERR_MEMORY, "no memory for statistics as JSON");
    }
    *json = writer.text.bytes;
    return RP_OK;
}
