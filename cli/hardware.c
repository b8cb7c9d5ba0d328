/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpool hardware: a row for each device with what moves, a line below it with what it is, and more
 * lines only for what is worth one: who holds its memory, its slices, what is wrong. Then what is
 * absent, and why.
 */
#include "command.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    REFRESH,
    ALL,
    SIMULATE,

    ID_COLUMNS_MIN = 10,
    NAME_COLUMNS_MAX = 56,
    LINE_BYTES = 640,
    PROCESSES_SHOWN = 6,
    PROGRESS_AFTER_MS = 300,
};

/* What is called what, by kind. */
static const struct {
    const char *unit;
    const char *runtime; /* NULL: the version says whose it is */
} words[] = {
    [RP_DEVICE_CPU] = {"cores", NULL},
    [RP_DEVICE_CUDA] = {"multiprocessors", "CUDA"},
    [RP_DEVICE_ROCM] = {"compute units", "HIP"},
    [RP_DEVICE_MPS] = {"cores", NULL},
    [RP_DEVICE_OPENVINO] = {"execution units", "OpenVINO"},
    [RP_DEVICE_QUALCOMM] = {"units", "QNN"},
    [RP_DEVICE_TPU] = {"cores", "runtime"},
    [RP_DEVICE_WEBNN] = {"units", "browser"},
    [RP_DEVICE_WEBGPU] = {"units", "browser"},
};

/* Of the hundred features of a processor, those that make a model faster. */
static const char *const telling_features[] = {
    "avx2",  "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "asimd", "asimddp",  "dotprod", "i8mm",        "bf16",        "sve",      "sve2",
};

/* --- while it takes long -------------------------------------------------------------------- */

struct progress {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t finished;
    bool is_running; /* the thread exists; only its maker looks */
    bool is_done;    /* guarded by lock */
};

static struct timespec after_ms(long ms) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += ms * 1000000L;
    at.tv_sec += at.tv_nsec / 1000000000L;
    at.tv_nsec %= 1000000000L;
    return at;
}

static void *show_progress(void *argument) {
    struct progress *progress = argument;
    bool is_shown = false;
    pthread_mutex_lock(&progress->lock);
    for (long waited_ms = 0; !progress->is_done; waited_ms += PROGRESS_AFTER_MS) {
        struct timespec at = after_ms(PROGRESS_AFTER_MS);
        if (pthread_cond_timedwait(&progress->finished, &progress->lock, &at) == 0) continue;
        fprintf(stderr, "\rasking drivers and runtimes: %.1f s",
                (double)(waited_ms + PROGRESS_AFTER_MS) / 1e3);
        is_shown = true;
    }
    pthread_mutex_unlock(&progress->lock);
    if (is_shown) fputs("\r\033[K", stderr);
    return NULL;
}

static void progress_start(struct progress *progress) {
    *progress =
        (struct progress){.lock = PTHREAD_MUTEX_INITIALIZER, .finished = PTHREAD_COND_INITIALIZER};
    if (!isatty(STDERR_FILENO)) return;
    progress->is_running = pthread_create(&progress->thread, NULL, show_progress, progress) == 0;
}

static void progress_stop(struct progress *progress) {
    if (!progress->is_running) return;
    pthread_mutex_lock(&progress->lock);
    progress->is_done = true;
    pthread_cond_signal(&progress->finished);
    pthread_mutex_unlock(&progress->lock);
    pthread_join(progress->thread, NULL);
}

/* --- devices --------------------------------------------------------------------------------- */

/* One line that grows; what does not fit is cut. */
struct line {
    char text[LINE_BYTES];
    size_t length;
};

/* Add to a line, behind `separator` unless it is empty. */
__attribute__((format(printf, 3, 4))) static void add(struct line *line, const char *separator,
                                                      const char *format, ...) {
    va_list args;
    size_t room = sizeof line->text - line->length;
    int length = snprintf(line->text + line->length, room, "%s", line->length ? separator : "");
    if (length < 0 || (size_t)length >= room) return;
    line->length += (size_t)length;
    room -= (size_t)length;
    va_start(args, format);
    length = vsnprintf(line->text + line->length, room, format, args);
    va_end(args);
    if (length > 0) line->length += (size_t)length < room ? (size_t)length : room - 1;
}

/* How wide the first two columns are. */
struct layout {
    int id_columns;
    int name_columns;
};

static void print_below(const struct layout *layout, const char *text) {
    printf("%-*s %s\n", layout->id_columns, "", text);
}

/* How many columns a terminal gives a text: one for each character. */
static int columns_of(const char *text) {
    int columns = 0;
    for (; *text; text++) {
        columns += (*text & 0xc0) != 0x80;
    }
    return columns;
}

/* The name as the table shows it. */
static void name_of(const rp_device *device, struct line *name) {
    *name = (struct line){.length = 0};
    add(name, "", "%.*s", NAME_COLUMNS_MAX, device->name ? device->name : "(name unknown)");
    if (device->simulated) add(name, " ", "(simulated)");
}

static void add_count(struct line *line, uint32_t count, const char *one, const char *many) {
    if (count != RP_UNKNOWN_U32) add(line, ", ", "%u %s", count, count == 1 ? one : many);
}

static void print_cpu(const struct layout *layout, const rp_cpu *cpu) {
    struct line line = {.length = 0};
    if (cpu->architecture) add(&line, ", ", "%s", cpu->architecture);
    add_count(&line, cpu->logical_count, "processor", "processors");
    add_count(&line, cpu->physical_count, "core", "cores");
    add_count(&line, cpu->socket_count, "socket", "sockets");
    add_count(&line, cpu->numa_count, "NUMA node", "NUMA nodes");
    if (cpu->affinity && cpu->affinity_count < cpu->logical_count) {
        add(&line, "; ", "may use %.60s", cpu->affinity);
    }
    const char *separator = "; ";
    for (size_t i = 0; i < sizeof telling_features / sizeof telling_features[0]; i++) {
        for (size_t j = 0; j < cpu->feature_count; j++) {
            if (strcmp(cpu->features[j], telling_features[i]) != 0) continue;
            add(&line, separator, "%s", telling_features[i]);
            separator = " ";
        }
    }
    if (line.length > 0) print_below(layout, line.text);
    if (!cpu->memory_limit_source || strcmp(cpu->memory_limit_source, "machine") == 0) return;
    line = (struct line){.length = 0};
    add(&line, "", "memory limited to %s by %s", bytes_text(cpu->memory_limit_bytes),
        cpu->memory_limit_source);
    if (cpu->machine_memory_bytes_total != RP_UNKNOWN_U64) {
        add(&line, ", ", "of the machine's %s", bytes_text(cpu->machine_memory_bytes_total));
    }
    print_below(layout, line.text);
}

static void add_versions(struct line *line, const rp_device *device) {
    const rp_accelerator *its = device->accelerator;
    const char *runtime = words[device->kind].runtime;
    const char *separator = "; ";
    if (its->driver_version) {
        add(line, separator, "driver %s", its->driver_version);
        separator = ", ";
    }
    if (its->runtime_version) {
        add(line, separator, "%s%s%s", runtime ? runtime : "", runtime ? " " : "",
            its->runtime_version);
    }
}

/* What a device is, apart from what moves and from what tells it from its neighbours. */
static void facts_of(const rp_device *device, struct line *line) {
    const rp_accelerator *its = device->accelerator;
    *line = (struct line){.length = 0};
    for (size_t i = 0; i < its->precision_count; i++) {
        add(line, " ", "%s", its->precisions[i]);
    }
    const char *separator = "; ";
    if (its->type && strcmp(its->type, "gpu") != 0) {
        add(line, separator, "%s", its->type);
        separator = ", ";
    }
    if (its->compute_capability) {
        add(line, separator, "compute capability %s", its->compute_capability);
        separator = ", ";
    }
    if (its->gfx_target) {
        add(line, separator, "%s", its->gfx_target);
        separator = ", ";
    }
    if (its->compute_unit_count != RP_UNKNOWN_U32) {
        add(line, separator, "%u %s", its->compute_unit_count, words[device->kind].unit);
        separator = ", ";
    }
    if (its->has_tensor_cores != RP_ANSWER_UNKNOWN) {
        add(line, separator, "%s",
            its->has_tensor_cores == RP_ANSWER_YES ? "tensor cores" : "no tensor cores");
        separator = ", ";
    }
    if (its->is_integrated == RP_ANSWER_YES) add(line, separator, "shares the processor's memory");
    add_versions(line, device);
}

static void print_slices(const struct layout *layout, const rp_accelerator *its) {
    if (its->is_mig_enabled != RP_ANSWER_YES) return;
    if (its->slice_count == 0) print_below(layout, "MIG is on, without a slice");
    for (size_t i = 0; i < its->slice_count; i++) {
        const rp_slice *slice = its->slices[i];
        printf("%-*s slice %-10s %9s free of %9s  %s\n", layout->id_columns, "",
               slice->profile ? slice->profile : "unknown", bytes_text(slice->memory_bytes_free),
               bytes_text(slice->memory_bytes_total), slice->uuid ? slice->uuid : "");
    }
}

static void print_processes(const struct layout *layout, const rp_accelerator *its) {
    uint64_t rest = 0;
    for (size_t i = 0; i < its->process_count; i++) {
        const rp_device_process *process = its->processes[i];
        if (i >= PROCESSES_SHOWN) {
            if (process->memory_bytes != RP_UNKNOWN_U64) rest += process->memory_bytes;
            continue;
        }
        char pid[16] = "unknown";
        if (process->pid != RP_UNKNOWN_U32) snprintf(pid, sizeof pid, "%u", process->pid);
        printf("%-*s pid %-8s holds %9s  %s\n", layout->id_columns, "", pid,
               bytes_text(process->memory_bytes), process->name ? process->name : "(out of sight)");
    }
    if (its->process_count > PROCESSES_SHOWN) {
        printf("%-*s %zu more processes hold %s\n", layout->id_columns, "",
               its->process_count - PROCESSES_SHOWN, bytes_text(rest));
    }
}

static void print_troubles(const struct layout *layout, const rp_device *device) {
    const rp_accelerator *its = device->accelerator;
    struct line line = {.length = 0};
    if (!device->available) {
        add(&line, "", "not available: %s", device->reason ? device->reason : "nobody says why");
        print_below(layout, line.text);
    }
    if (!its) return;
    if (its->ecc_error_count != RP_UNKNOWN_U64 && its->ecc_error_count > 0) {
        printf("%-*s memory errors that could not be corrected: %llu\n", layout->id_columns, "",
               (unsigned long long)its->ecc_error_count);
    }
    if (its->throttle_reason_count == 0) return;
    line = (struct line){.length = 0};
    for (size_t i = 0; i < its->throttle_reason_count; i++) {
        add(&line, ", ", "%s%s", i == 0 ? "its clock is held back: " : "",
            its->throttle_reasons[i]);
    }
    print_below(layout, line.text);
}

static void print_row(const struct layout *layout, const rp_device *device) {
    const rp_accelerator *its = device->accelerator;
    struct line name;
    struct line where = {.length = 0};
    char busy[16] = "-";
    char degrees[16] = "-";
    name_of(device, &name);
    if (its && its->utilization_percent != RP_UNKNOWN_U32) {
        snprintf(busy, sizeof busy, "%u %%", its->utilization_percent);
    }
    if (its && its->temperature_celsius != RP_UNKNOWN_U32) {
        snprintf(degrees, sizeof degrees, "%u C", its->temperature_celsius);
    }
    if (its && its->pci_address) add(&where, "", "%s", its->pci_address);
    if (its && its->numa_node != RP_UNKNOWN_U32) add(&where, ", ", "node %u", its->numa_node);
    printf("%-*s %s%*s %9s %9s %6s %6s%s%s\n", layout->id_columns, device->id, name.text,
           layout->name_columns - columns_of(name.text), "", bytes_text(device->memory_bytes_free),
           bytes_text(device->memory_bytes_total), busy, degrees, where.length ? "  " : "",
           where.text);
}

static struct layout measure(const rp_snapshot *snapshot) {
    struct layout layout = {ID_COLUMNS_MIN, 4};
    for (size_t i = 0; i < rp_snapshot_device_count(snapshot); i++) {
        const rp_device *device = rp_snapshot_device(snapshot, i);
        struct line name;
        name_of(device, &name);
        int columns = columns_of(name.text);
        if (columns > layout.name_columns) layout.name_columns = columns;
        columns = columns_of(device->id);
        if (columns > layout.id_columns) layout.id_columns = columns;
    }
    return layout;
}

static void print_devices(const struct layout *layout, const rp_snapshot *snapshot) {
    size_t count = rp_snapshot_device_count(snapshot);
    printf("%-*s %-*s %9s %9s %6s %6s  %s\n", layout->id_columns, "device", layout->name_columns,
           "name", "free", "total", "busy", "heat", "where");
    struct line earlier = {.length = 0};
    for (size_t i = 0; i < count; i++) {
        const rp_device *device = rp_snapshot_device(snapshot, i);
        print_row(layout, device);
        if (device->cpu) print_cpu(layout, device->cpu);
        if (device->accelerator) {
            struct line facts;
            facts_of(device, &facts);
            /* Eight of the same are described once. */
            bool is_told = strcmp(facts.text, earlier.text) == 0;
            if (facts.length > 0 && !is_told) print_below(layout, facts.text);
            earlier = facts;
            print_slices(layout, device->accelerator);
            print_processes(layout, device->accelerator);
        }
        print_troubles(layout, device);
    }
}

/* --- the rest -------------------------------------------------------------------------------- */

static bool are_same(const char *a, const char *b) {
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void print_absences(const struct layout *layout, const rp_snapshot *snapshot) {
    size_t count = rp_snapshot_absent_count(snapshot);
    for (size_t i = 0; i < count; i++) {
        const rp_absence *absence = rp_snapshot_absent(snapshot, i);
        const rp_absence *next = rp_snapshot_absent(snapshot, i + 1);
        printf("%-*s", layout->id_columns, rp_device_kind_name(absence->kind));
        /* webnn and webgpu lack the same browser. */
        if (next && are_same(absence->reason, next->reason) &&
            are_same(absence->hint, next->hint) && absence->unprobed == next->unprobed) {
            printf(" and\n");
            continue;
        }
        printf(" %s: %s\n", absence->unprobed ? "not asked" : "absent", absence->reason);
        if (absence->hint) printf("%-*s hint: %s\n", layout->id_columns, "", absence->hint);
    }
}

static void print_times(const rp_snapshot *snapshot) {
    double detect_ms = rp_snapshot_detect_ms(snapshot);
    struct line line = {.length = 0};
    if (detect_ms >= 0) add(&line, "", "detected in %.1f ms", detect_ms);
    const char *separator = "; asked: ";
    for (int kind = 0; rp_device_kind_name((rp_device_kind)kind); kind++) {
        double ms = rp_snapshot_probe_ms(snapshot, (rp_device_kind)kind);
        if (ms < 0) continue;
        add(&line, separator, "%s %.1f ms", rp_device_kind_name((rp_device_kind)kind), ms);
        separator = ", ";
    }
    if (line.length > 0) printf("%s\n", line.text);
}

/* The snapshot's own JSON: what it needs is exactly what a bug report needs. */
static int print_snapshot_json(const rp_snapshot *snapshot) {
    rp_error err = RP_ERROR_INIT;
    char *json = NULL;
    if (rp_snapshot_to_json(snapshot, 2, &json, &err) != RP_OK) return report(&err);
    puts(json);
    rp_string_free(json);
    return 0;
}

int hardware_run(const struct arguments *arguments) {
    rp_error err = RP_ERROR_INIT;
    const rp_snapshot *snapshot = NULL;
    rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
    options.refresh = arguments->options[REFRESH] != NULL;
    options.all = arguments->options[ALL] != NULL;
    options.simulate = arguments->options[SIMULATE];
    struct progress progress;
    progress_start(&progress);
    rp_status status = rp_hardware_detect(&options, &snapshot, &err);
    progress_stop(&progress);
    if (status != RP_OK) return report(&err);
    int code = 0;
    if (arguments->json) {
        code = print_snapshot_json(snapshot);
    } else {
        const struct layout layout = measure(snapshot);
        print_devices(&layout, snapshot);
        print_absences(&layout, snapshot);
        for (size_t i = 0; i < rp_snapshot_note_count(snapshot); i++) {
            printf("%-*s %s\n", layout.id_columns, "note", rp_snapshot_note(snapshot, i));
        }
        print_times(snapshot);
    }
    rp_snapshot_release(snapshot);
    return code;
}
