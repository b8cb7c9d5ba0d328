/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The composed machines: that each file is exactly what the library would write, and says nothing
 * that no real machine could say. Placement is tested with them, so a slip here would be a wrong
 * expectation there.
 */
#include "base/memory.h"
#include "base/text.h"
#include "test.h"

#include <dirent.h>
#include <resourcepool/hardware.h>
#include <resourcepool/text.h>
#include <stdio.h>
#include <stdlib.h>

#define FOLDER SOURCE_ROOT "/tests/machines"

enum { MACHINES_MIN = 24, MACHINES_MAX = 128, NAME_BYTES = 64, FILE_BYTES_MAX = 1 << 20 };

/* What NVIDIA's generations do well, from their programming guide: the table is the test's own. */
static const struct {
    const char *capability;
    bool has_tensor_cores;
    const char *precisions; /* all of them, in order, each with a blank behind it */
} generations[] = {
    {"6.1", false, "fp32 int8 "},
    {"7.0", true, "fp32 fp16 int8 "},
    {"7.5", true, "fp32 fp16 int8 int4 "},
    {"8.0", true, "fp32 fp16 bf16 int8 int4 "},
    {"8.6", true, "fp32 fp16 bf16 int8 int4 "},
    {"8.7", true, "fp32 fp16 bf16 int8 int4 "},
    {"8.9", true, "fp32 fp16 bf16 int8 int4 fp8 "},
    {"9.0", true, "fp32 fp16 bf16 int8 fp8 "},
    {"12.0", true, "fp32 fp16 bf16 int8 fp8 fp4 "},
};

/* The same for AMD's targets. */
static const struct {
    const char *target;
    const char *precisions;
} targets[] = {
    {"gfx90a", "fp32 fp16 bf16 int8 "},
    {"gfx942", "fp32 fp16 bf16 int8 fp8 "},
    {"gfx1100", "fp32 fp16 bf16 int8 int4 "},
    {"gfx1103", "fp32 fp16 bf16 int8 int4 "},
};

struct machine {
    char name[NAME_BYTES];
    char *text;
    size_t length;
    const rp_snapshot *snapshot;
};

static struct machine machines[MACHINES_MAX];
static size_t machine_count;

#define assert_machine(machine, condition)                                                         \
    do {                                                                                           \
        if (!(condition)) fail_msg("%s.json: not so: %s", (machine)->name, #condition);            \
    } while (0)

static int read_all(void **state) {
    (void)state;
    DIR *folder = opendir(FOLDER);
    if (!folder) return -1;
    for (struct dirent *each = readdir(folder); each; each = readdir(folder)) {
        const char *dot = strrchr(each->d_name, '.');
        size_t length = dot ? (size_t)(dot - each->d_name) : 0;
        if (!dot || strcmp(dot, ".json") != 0 || length >= NAME_BYTES) continue;
        struct machine *machine = &machines[machine_count++];
        memcpy(machine->name, each->d_name, length);
        char path[sizeof FOLDER + NAME_BYTES + 16];
        snprintf(path, sizeof path, "%s/%s.json", FOLDER, machine->name);
        rp_error err = RP_ERROR_INIT;
        if (rp_text_read_file(path, FILE_BYTES_MAX, &machine->text, &machine->length) != 0 ||
            rp_snapshot_from_json(machine->text, machine->length, each->d_name, &machine->snapshot,
                                  &err) != RP_OK) {
            fprintf(stderr, "%s: %s\n", path, err.message);
            closedir(folder);
            return -1;
        }
    }
    closedir(folder);
    return 0;
}

static int forget_all(void **state) {
    (void)state;
    for (size_t i = 0; i < machine_count; i++) {
        rp_free(machines[i].text);
        rp_snapshot_release(machines[i].snapshot);
    }
    return 0;
}

/* Whether the table of the README has a row for it. */
static bool is_listed(const char *readme, const char *name) {
    char row[NAME_BYTES + 8];
    snprintf(row, sizeof row, "\n| `%s` | ", name);
    return strstr(readme, row) != NULL;
}

static void the_readme_lists_each_machine(void **state) {
    (void)state;
    char *readme = NULL;
    size_t length = 0;
    assert_int_equal(rp_text_read_file(FOLDER "/README.md", FILE_BYTES_MAX, &readme, &length), 0);
    assert_true(machine_count >= MACHINES_MIN);
    size_t entries = 0;
    DIR *folder = opendir(FOLDER);
    assert_non_null(folder);
    for (struct dirent *each = readdir(folder); each; each = readdir(folder)) {
        if (each->d_name[0] == '.' || strcmp(each->d_name, "README.md") == 0) continue;
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(each->d_name, "."), each->d_name);
        if (!is_listed(readme, name)) fail_msg("README.md does not list '%s'", name);
        entries++;
    }
    closedir(folder);
    /* And no row stands for one that is gone. */
    size_t rows = 0;
    for (const char *at = strstr(readme, "\n| `"); at; at = strstr(at + 1, "\n| `")) {
        rows++;
    }
    assert_int_equal(rows, entries);
    rp_free(readme);
}

static void each_is_written_as_it_was_read(void **state) {
    (void)state;
    for (size_t i = 0; i < machine_count; i++) {
        const struct machine *machine = &machines[i];
        static const char start[] = "{\n  \"_comment\": \"Composed by hand, not recorded: ";
        assert_machine(machine, strncmp(machine->text, start, sizeof start - 1) == 0);
        const char *rest = strchr(machine->text + sizeof start, '\n');
        assert_machine(machine, rest);
        rp_error err = RP_ERROR_INIT;
        char *json = NULL;
        assert_ok(rp_snapshot_to_json(machine->snapshot, 2, &json, &err));
        /* A key that is misspelt or that no reader knows would be missing here. */
        assert_machine(machine, strncmp(json, "{\n", 2) == 0);
        size_t length = strlen(json + 2);
        assert_machine(machine, strncmp(rest + 1, json + 2, length) == 0);
        assert_string_equal(rest + 1 + length, "\n");
        rp_string_free(json);
    }
}

static void each_kind_is_there_or_absent_with_a_reason(void **state) {
    (void)state;
    for (size_t i = 0; i < machine_count; i++) {
        const struct machine *machine = &machines[i];
        const rp_snapshot *snapshot = machine->snapshot;
        assert_machine(machine, rp_snapshot_is_simulated(snapshot));
        assert_machine(machine, strcmp(rp_snapshot_device(snapshot, 0)->id, "cpu") == 0);
        for (int kind = 0; rp_device_kind_name((rp_device_kind)kind); kind++) {
            size_t devices = 0;
            size_t absences = 0;
            for (size_t j = 0; j < rp_snapshot_device_count(snapshot); j++) {
                devices += (int)rp_snapshot_device(snapshot, j)->kind == kind;
            }
            for (size_t j = 0; j < rp_snapshot_absent_count(snapshot); j++) {
                const rp_absence *absence = rp_snapshot_absent(snapshot, j);
                absences += (int)absence->kind == kind;
                assert_machine(machine, strlen(absence->reason) > 10);
                assert_machine(machine, !absence->hint || strlen(absence->hint) > 10);
                assert_machine(machine, !absence->unprobed || absence->hint);
            }
            if ((devices > 0) + absences != 1) {
                fail_msg("%s.json: %s: %zu devices and %zu absences", machine->name,
                         rp_device_kind_name((rp_device_kind)kind), devices, absences);
            }
        }
    }
}

static bool are_same(const char *a, const char *b) {
    return a && b && strcmp(a, b) == 0;
}

static void check_memory(const struct machine *machine, const rp_device *device) {
    uint64_t total = device->memory_bytes_total;
    uint64_t free_bytes = device->memory_bytes_free;
    if (free_bytes != RP_UNKNOWN_U64) {
        assert_machine(machine, total != RP_UNKNOWN_U64);
        assert_machine(machine, free_bytes <= total);
    }
    const rp_accelerator *accelerator = device->accelerator;
    if (!accelerator) return;
    uint64_t held = 0;
    for (size_t i = 0; i < accelerator->process_count; i++) {
        assert_machine(machine, accelerator->processes[i]->memory_bytes != RP_UNKNOWN_U64);
        held += accelerator->processes[i]->memory_bytes;
    }
    /* Of a divided GPU the device is its first slice; who holds memory holds it in any of them. */
    bool is_slice = accelerator->uuid && strncmp(accelerator->uuid, "MIG-", 4) == 0;
    if (held > 0 && !is_slice) assert_machine(machine, held <= total - free_bytes);
    uint64_t sliced = 0;
    for (size_t i = 0; i < accelerator->slice_count; i++) {
        const rp_slice *slice = accelerator->slices[i];
        assert_machine(machine, slice->memory_bytes_free <= slice->memory_bytes_total);
        sliced += slice->memory_bytes_total;
    }
    if (sliced > 0) assert_machine(machine, accelerator->is_mig_enabled == RP_ANSWER_YES);
    if (sliced > 0 && !is_slice) assert_machine(machine, sliced <= total);
    if (!is_slice) return;
    assert_machine(machine, sliced > 0);
    assert_machine(machine, are_same(accelerator->slices[0]->uuid, accelerator->uuid));
    assert_machine(machine, accelerator->slices[0]->memory_bytes_total == total);
    assert_machine(machine, accelerator->slices[0]->memory_bytes_free == free_bytes);
}

static void memory_adds_up(void **state) {
    (void)state;
    for (size_t i = 0; i < machine_count; i++) {
        const rp_snapshot *snapshot = machines[i].snapshot;
        for (size_t j = 0; j < rp_snapshot_device_count(snapshot); j++) {
            check_memory(&machines[i], rp_snapshot_device(snapshot, j));
        }
        const rp_device *processor = rp_snapshot_device(snapshot, 0);
        assert_machine(&machines[i], processor->memory_bytes_free != RP_UNKNOWN_U64);
        uint64_t in_nodes = 0;
        for (size_t j = 0; j < processor->cpu->numa_node_count; j++) {
            in_nodes += processor->cpu->numa_nodes[j]->memory_bytes_total;
        }
        assert_machine(&machines[i], in_nodes == processor->cpu->machine_memory_bytes_total);
    }
}

static void what_cannot_be_used_says_why(void **state) {
    (void)state;
    for (size_t i = 0; i < machine_count; i++) {
        const rp_snapshot *snapshot = machines[i].snapshot;
        for (size_t j = 0; j < rp_snapshot_device_count(snapshot); j++) {
            const rp_device *device = rp_snapshot_device(snapshot, j);
            assert_machine(&machines[i], device->simulated);
            assert_machine(&machines[i], device->available == (device->reason == NULL));
            assert_machine(&machines[i], (device->kind == RP_DEVICE_CPU) == (device->cpu != NULL));
            assert_machine(&machines[i],
                           (device->kind == RP_DEVICE_CPU) == (device->accelerator == NULL));
            if (device->accelerator) assert_machine(&machines[i], device->accelerator->source);
        }
    }
}

/* The precisions as one text, in their order. */
static void join(const rp_accelerator *accelerator, char *out, size_t out_bytes) {
    size_t length = 0;
    out[0] = '\0';
    for (size_t i = 0; i < accelerator->precision_count; i++) {
        length +=
            (size_t)snprintf(out + length, out_bytes - length, "%s ", accelerator->precisions[i]);
        assert_true(length < out_bytes);
    }
}

static void check_generation(const struct machine *machine, const rp_accelerator *accelerator) {
    char precisions[128];
    join(accelerator, precisions, sizeof precisions);
    bool is_known = !accelerator->compute_capability && !accelerator->gfx_target;
    for (size_t i = 0;
         accelerator->compute_capability && i < sizeof generations / sizeof *generations; i++) {
        if (strcmp(generations[i].capability, accelerator->compute_capability) != 0) continue;
        is_known = true;
        assert_string_equal(precisions, generations[i].precisions);
        assert_machine(machine, (accelerator->has_tensor_cores == RP_ANSWER_YES) ==
                                    generations[i].has_tensor_cores);
        assert_machine(machine, strcmp(accelerator->vendor, "nvidia") == 0);
    }
    for (size_t i = 0; accelerator->gfx_target && i < sizeof targets / sizeof *targets; i++) {
        if (strcmp(targets[i].target, accelerator->gfx_target) != 0) continue;
        is_known = true;
        assert_string_equal(precisions, targets[i].precisions);
        assert_machine(machine, strcmp(accelerator->vendor, "amd") == 0);
    }
    assert_machine(machine, is_known);
}

static void generations_do_what_they_can(void **state) {
    (void)state;
    for (size_t i = 0; i < machine_count; i++) {
        const rp_snapshot *snapshot = machines[i].snapshot;
        for (size_t j = 0; j < rp_snapshot_device_count(snapshot); j++) {
            const rp_device *device = rp_snapshot_device(snapshot, j);
            if (!device->accelerator) continue;
            check_generation(&machines[i], device->accelerator);
            /* What works is known by its generation. */
            bool is_cuda = device->kind == RP_DEVICE_CUDA && device->available;
            bool is_rocm = device->kind == RP_DEVICE_ROCM && device->available;
            assert_machine(&machines[i], !is_cuda || device->accelerator->compute_capability);
            assert_machine(&machines[i], !is_rocm || device->accelerator->gfx_target);
        }
    }
}

static void devices_are_numbered_without_a_gap(void **state) {
    (void)state;
    for (size_t i = 0; i < machine_count; i++) {
        const rp_snapshot *snapshot = machines[i].snapshot;
        int next[16] = {0};
        int last_kind = 0;
        for (size_t j = 0; j < rp_snapshot_device_count(snapshot); j++) {
            const rp_device *device = rp_snapshot_device(snapshot, j);
            assert_machine(&machines[i], (int)device->kind >= last_kind);
            last_kind = (int)device->kind;
            /* OpenVINO has names of its own ("GPU.0", "NPU"), and browsers are called by theirs. */
            bool is_numbered = device->kind == RP_DEVICE_CUDA || device->kind == RP_DEVICE_ROCM ||
                               device->kind == RP_DEVICE_MPS || device->kind == RP_DEVICE_TPU;
            if (!is_numbered) continue;
            char expected[NAME_BYTES];
            snprintf(expected, sizeof expected, "%s:%d", rp_device_kind_name(device->kind),
                     next[device->kind]++);
            assert_string_equal(device->id, expected);
        }
    }
}

static bool fits(const char *text, const char *shape) {
    for (; *shape; shape++, text++) {
        bool is_hex = *text && strchr("0123456789abcdef", *text);
        if (*shape == 'x' ? !is_hex : *text != *shape) return false;
    }
    return *text == '\0';
}

static void addresses_are_unique_and_well_formed(void **state) {
    (void)state;
    for (size_t i = 0; i < machine_count; i++) {
        const rp_snapshot *snapshot = machines[i].snapshot;
        for (size_t j = 0; j < rp_snapshot_device_count(snapshot); j++) {
            const rp_accelerator *one = rp_snapshot_device(snapshot, j)->accelerator;
            if (!one) continue;
            if (one->pci_address)
                assert_machine(&machines[i], fits(one->pci_address, "xxxx:xx:xx.x"));
            if (one->pci_id) assert_machine(&machines[i], fits(one->pci_id, "xxxx:xxxx"));
            if (one->uuid && are_same(one->vendor, "nvidia")) {
                assert_machine(&machines[i],
                               fits(one->uuid, "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") ||
                                   fits(one->uuid, "MIG-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"));
            }
            for (size_t k = 0; k < j; k++) {
                const rp_accelerator *other = rp_snapshot_device(snapshot, k)->accelerator;
                if (!other) continue;
                assert_machine(&machines[i], !are_same(one->uuid, other->uuid));
                assert_machine(&machines[i], !are_same(one->pci_address, other->pci_address));
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_readme_lists_each_machine),
        cmocka_unit_test(each_is_written_as_it_was_read),
        cmocka_unit_test(each_kind_is_there_or_absent_with_a_reason),
        cmocka_unit_test(memory_adds_up),
        cmocka_unit_test(what_cannot_be_used_says_why),
        cmocka_unit_test(generations_do_what_they_can),
        cmocka_unit_test(devices_are_numbered_without_a_gap),
        cmocka_unit_test(addresses_are_unique_and_well_formed),
    };
    return cmocka_run_group_tests(tests, read_all, forget_all);
}
