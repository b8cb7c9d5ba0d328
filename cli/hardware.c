/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

#include <stdio.h>
#include <string.h>

/* The snapshot's own JSON; what it needs is exactly what a bug report needs. */
static int print_snapshot_json(const rp_snapshot *snapshot) {
    rp_error err = RP_ERROR_INIT;
    char *json = NULL;
    if (rp_snapshot_to_json(snapshot, 2, &json, &err) != RP_OK) return report(&err);
    size_t length = strlen(json);
    fputs(json, stdout);
    if (length == 0 || json[length - 1] != '\n') putchar('\n');
    rp_string_free(json);
    return 0;
}

static void print_cpu(const rp_cpu *cpu) {
    if (!cpu) return;
    printf("%-10s %u logical, %u physical, %u socket%s, %u NUMA node%s; may use %s\n", "",
           cpu->logical_count, cpu->physical_count, cpu->socket_count,
           cpu->socket_count == 1 ? "" : "s", cpu->numa_count, cpu->numa_count == 1 ? "" : "s",
           cpu->affinity ? cpu->affinity : "unknown");
    if (cpu->memory_limit_source) {
        printf("%-10s memory limit %s by %s\n", "", bytes_text(cpu->memory_limit_bytes),
               cpu->memory_limit_source);
    }
}

int hardware_run(const struct arguments *arguments) {
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    if (rp_hardware_detect(NULL, &snapshot, &err) != RP_OK) return report(&err);
    if (arguments->json) {
        int code = print_snapshot_json(snapshot);
        rp_snapshot_release(snapshot);
        return code;
    }
    for (size_t i = 0; i < rp_snapshot_device_count(snapshot); i++) {
        const rp_device *device = rp_snapshot_device(snapshot, i);
        printf("%-10s %s%s%s\n", device->id, device->name ? device->name : "(name unknown)",
               device->simulated ? " (simulated)" : "",
               device->available ? "" : " (not available)");
        printf("%-10s %s free of %s\n", "", bytes_text(device->memory_bytes_free),
               bytes_text(device->memory_bytes_total));
        print_cpu(device->cpu);
    }
    for (size_t i = 0; i < rp_snapshot_absent_count(snapshot); i++) {
        const rp_absence *absence = rp_snapshot_absent(snapshot, i);
        printf("%-10s absent: %s\n", rp_device_kind_name(absence->kind), absence->reason);
    }
    for (size_t i = 0; i < rp_snapshot_note_count(snapshot); i++) {
        printf("note       %s\n", rp_snapshot_note(snapshot, i));
    }
    printf("detected in %.1f ms\n", rp_snapshot_detect_ms(snapshot));
    rp_snapshot_release(snapshot);
    return 0;
}
