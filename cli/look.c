/* SPDX-License-Identifier: Apache-2.0 */
#include "look.h"

#include "command.h"

#include <string.h>

rp_machine *look_reach(const char *folder, int64_t timeout_ms, int *code) {
    rp_machine_options options = RP_MACHINE_OPTIONS_INIT;
    rp_machine *machine = NULL;
    rp_error err = RP_ERROR_INIT;
    options.folder = folder;
    options.no_start = true;
    options.timeout_ms = timeout_ms;
    rp_status status = rp_machine_open(&options, &machine, &err);
    if (status == RP_OK) return machine;
    *code = report(&err);
    if (status == RP_ERR_ABSENT) *code = EXIT_NO_BROKER;
    return NULL;
}

json_t *look_ask(rp_machine *machine, bool all, int *code) {
    char *text = NULL;
    rp_error err = RP_ERROR_INIT;
    if (rp_machine_status(machine, all, &text, &err) != RP_OK) {
        *code = report(&err);
        return NULL;
    }
    json_t *document = json_loads(text, 0, NULL);
    rp_string_free(text);
    if (!document) {
        fprintf(stderr, "rpool: the broker's answer is no JSON\n");
        *code = 1;
    }
    return document;
}

const char *look_text(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

long long look_number(const json_t *object, const char *key) {
    return (long long)json_integer_value(json_object_get(object, key));
}

uint64_t look_bytes(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? (uint64_t)json_integer_value(value) : RP_UNKNOWN_U64;
}

double look_ms(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : -1;
}

json_t *look_holders(const json_t *document, const char *key) {
    json_t *list = json_array();
    json_t *lease;
    size_t i;
    json_array_foreach(json_object_get(document, "leases"), i, lease) {
        if (!key || strcmp(look_text(lease, "key"), key) == 0) json_array_append(list, lease);
    }
    return list;
}

uint64_t look_held(const json_t *totals) {
    uint64_t bytes = look_bytes(totals, "memory_bytes");
    uint64_t reserved = look_bytes(totals, "reserved_bytes");
    return bytes == RP_UNKNOWN_U64 || reserved == RP_UNKNOWN_U64 ? bytes : bytes + reserved;
}
