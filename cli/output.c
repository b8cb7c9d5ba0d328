/* SPDX-License-Identifier: Apache-2.0 */
/* What every command says the same way: errors, numbers, JSON. */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int report(const rp_error *err) {
    fprintf(stderr, "rpool: %s\n", err->message);
    if (err->hint[0]) fprintf(stderr, "hint: %s\n", err->hint);
    return rp_status_exit_code(err->status);
}

bool parse_number(const char *command, const char *option, const char *text, long min, long max,
                  long *value) {
    if (!text) return true;
    errno = 0;
    char *end;
    long number = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || number < min || number > max) {
        usage_error(command, "'%s%s %s': not a whole number from %ld to %ld",
                    option[1] ? "--" : "-", option, text, min, max);
        return false;
    }
    *value = number;
    return true;
}

int print_json(json_t *document) {
    if (!document || json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) != 0) {
        fprintf(stderr, "rpool: cannot make the JSON document: out of memory\n");
        json_decref(document);
        return 1;
    }
    putchar('\n');
    json_decref(document);
    return 0;
}

json_t *json_text(const char *text) {
    return text ? json_string(text) : json_null();
}

json_t *json_bytes(uint64_t bytes) {
    return bytes == RP_UNKNOWN_U64 ? json_null() : json_integer((json_int_t)bytes);
}

json_t *json_placement(const rp_placement *placement) {
    return json_pack("{s:o, s:o, s:o, s:s, s:o}", "device", json_text(placement->device),
                     "precision", json_text(placement->precision), "engine",
                     json_text(placement->engine), "policy", rp_policy_name(placement->policy),
                     "reason", json_text(placement->reason));
}

const char *bytes_text(uint64_t bytes) {
    static char texts[4][24];
    static unsigned next;
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes == RP_UNKNOWN_U64) return "unknown";
    char *text = texts[next++ % 4];
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1023.95 && unit < 6) {
        value /= 1024;
        unit++;
    }
    snprintf(text, sizeof texts[0], unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}
