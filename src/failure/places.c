/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/places.h"

#include "base/text.h"
#include "failure/versions.h"
#include "placement/rules.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const cards[] = {
    [RP_DEVICE_CPU] = "the processor",
    [RP_DEVICE_CUDA] = "the NVIDIA GPU",
    [RP_DEVICE_ROCM] = "the AMD GPU",
    [RP_DEVICE_MPS] = "the Apple GPU",
    [RP_DEVICE_OPENVINO] = "the Intel device",
    [RP_DEVICE_QUALCOMM] = "the Qualcomm NPU",
    [RP_DEVICE_TPU] = "the TPU",
    [RP_DEVICE_WEBNN] = "the browser's WebNN device",
    [RP_DEVICE_WEBGPU] = "the browser's GPU",
};

/* Of a text that is not understood: a guess that is worth no word is below this. */
static const double RIVAL_LEAST = 0.45;

/* What a driver and a desktop hold anyway. */
#define OTHERS_LEAST_BYTES (UINT64_C(256) << 20)

/* --- what may be shown ----------------------------------------------------------------------- */

static bool begins_with(const char *text, const char *word) {
    while (*word && tolower((unsigned char)*text) == *word) {
        text++;
        word++;
    }
    return *word == '\0';
}

/* Words that begin commands, or what people are told to paste. */
static bool reads_like_command(const char *text) {
    static const char *const words[] = {
        "pip ",   "pip3 ",  "sudo ", "curl ",    "wget ",   "bash ",     "sh ",     "rm ",
        "chmod ", "conda ", "apt ",  "apt-get ", "docker ", "npm ",      "python ", "python3 ",
        "http:",  "https:", "ftp:",  "www.",     "eval ",   "powershell"};
    bool is_start = true;
    for (; *text; text++) {
        for (size_t i = 0; is_start && i < sizeof words / sizeof words[0]; i++) {
            if (begins_with(text, words[i])) return true;
        }
        is_start = !isalnum((unsigned char)*text) && *text != '_' && *text != '.';
    }
    return false;
}

bool rp_is_fit_to_show(const char *text) {
    if (!*text || strstr(text, "://") || strpbrk(text, "`;|&\"")) return false;
    if (strstr(text, "$(") || strstr(text, "${") || strstr(text, "> /")) return false;
    return !reads_like_command(text);
}

/* --- putting --------------------------------------------------------------------------------- */

void rp_places_put(struct rp_places *places, int place, const char *format, ...) {
    size_t left = sizeof places->bytes - places->used;
    char *at = places->bytes + places->used;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(at, left, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= left) return;
    rp_text_make_printable(at); /* a precision may have cut a letter */
    places->used += (size_t)length + 1;
    places->which.places[place] = at;
}

void rp_places_put_text(struct rp_places *places, int place, const char *text) {
    size_t length = strlen(text);
    if (length >= sizeof places->bytes - places->used) return;
    char *at = places->bytes + places->used;
    memcpy(at, text, length + 1);
    places->used += length + 1;
    places->which.places[place] = at;
}

void rp_places_put_bytes(struct rp_places *places, int place, uint64_t bytes) {
    char text[RP_BYTES_TEXT_BYTES];
    if (bytes == RP_UNKNOWN_U64) return;
    rp_places_put_text(places, place, rp_text_bytes(bytes, text, sizeof text));
}

uint64_t rp_places_bytes_of(const struct rp_places *places, enum rp_fact_name name) {
    const struct rp_fact *fact = places->facts[name];
    return fact ? fact->number : RP_UNKNOWN_U64;
}

/* How much of a text may stay: `most` bytes, or less, so that no letter is cut. */
static size_t whole_letters(const char *text, size_t most) {
    while (most > 0 && ((unsigned char)text[most] & 0xc0) == 0x80) {
        most--;
    }
    return most;
}

static void put_if_unknown(struct rp_places *places, int place, const char *text) {
    if (text && !places->which.places[place]) rp_places_put_text(places, place, text);
}

/* A name from outside: printable, cut between letters where it is longer than people read. */
static void put_name(struct rp_places *places, int place, const char *name) {
    char text[RP_FACT_SHOWN_BYTES + 4];
    size_t length = strnlen(name, RP_FACT_TEXT_MAX + 56);
    if (rp_text_control_at(name, length) < length) return;
    bool is_long = length > RP_FACT_SHOWN_BYTES;
    if (is_long) length = whole_letters(name, RP_FACT_SHOWN_BYTES);
    memcpy(text, name, length);
    memcpy(text + length, is_long ? "..." : "", is_long ? 4 : 1);
    if (!rp_is_fit_to_show(name)) return;
    rp_text_make_printable(text);
    rp_places_put_text(places, place, text);
}

/* "c10::Half" and "Half" are float16, "float" is float32: one name for each. */
static const char *plain_type(const char *type) {
    static const char *const names[][2] = {
        {"c10::half", "float16"},  {"half", "float16"},           {"c10::float", "float32"},
        {"float", "float32"},      {"c10::bfloat16", "bfloat16"}, {"bfloat16", "bfloat16"},
        {"double", "float64"},     {"c10::double", "float64"},    {"long", "int64"},
        {"long int", "int64"},     {"c10::bool", "bool"},         {"fp16", "float16"},
        {"torch.half", "float16"}, {"fp32", "float32"},           {"bf16", "bfloat16"},
        {"int", "int32"},          {"unsigned char", "uint8"},    {"char", "int8"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcasecmp(names[i][0], type) == 0) return names[i][1];
    }
    return type;
}

/* "2, 768" is a shape, and reads as one between brackets. */
static void put_size(struct rp_places *places, int place, const char *text) {
    bool is_shape = strchr(text, ',') && strspn(text, "0123456789, -?") == strlen(text);
    if (is_shape) {
        rp_places_put(places, place, "[%.100s]", text);
    } else {
        put_name(places, place, text);
    }
}

static void put_fact(struct rp_places *places, const struct rp_fact *fact) {
    if (fact->name == RP_FACT_NAME_DTYPE || fact->name == RP_FACT_NAME_DTYPE_EXPECTED) {
        put_name(places, (int)fact->name, plain_type(fact->text));
        return;
    }
    if (fact->name == RP_FACT_NAME_GOT || fact->name == RP_FACT_NAME_EXPECTED) {
        put_size(places, (int)fact->name, fact->text);
        return;
    }
    switch (rp_fact_type_of(fact->name)) {
    case RP_FACT_BYTES:
        rp_places_put_bytes(places, (int)fact->name, fact->number);
        break;
    case RP_FACT_NUMBER:
        rp_places_put(places, (int)fact->name, "%" PRId64, (int64_t)fact->number);
        break;
    case RP_FACT_VERSION:
    case RP_FACT_WORD:
    case RP_FACT_PATH:
    case RP_FACT_TEXT:
        put_name(places, (int)fact->name, fact->text);
        break;
    }
}

static void put_facts(struct rp_places *places) {
    const struct rp_facts *facts = &places->diagnosis->facts;
    for (size_t i = 0; i < facts->count; i++) {
        enum rp_fact_name name = facts->rows[i].name;
        if (name < 0 || name >= RP_FACT_NAME_COUNT || places->facts[name]) continue;
        places->facts[name] = rp_facts_find(facts, name);
        put_fact(places, places->facts[name]);
    }
}

/* Sizes that are given in one order and wanted in another: 224, 3 and 3, 224. */
static void put_swapped(struct rp_places *places) {
    const struct rp_facts *facts = &places->diagnosis->facts;
    size_t pairs = 0;
    size_t got = 0;
    size_t expected = 0;
    for (size_t i = 0; i < facts->count; i++) {
        const struct rp_fact *left = &facts->rows[i];
        got += left->name == RP_FACT_NAME_GOT;
        expected += left->name == RP_FACT_NAME_EXPECTED;
        for (size_t j = 0; left->name == RP_FACT_NAME_GOT && j < facts->count; j++) {
            const struct rp_fact *right = &facts->rows[j];
            pairs += right->name == RP_FACT_NAME_EXPECTED && strcmp(left->text, right->text) == 0;
        }
    }
    if (pairs >= 2 && pairs == got && pairs == expected) {
        rp_places_put_text(places, RP_PLACE_SWAPPED, "yes");
    }
}

/* --- the device ------------------------------------------------------------------------------ */

static bool is_id(const char *text) {
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");
    const char *tail = text + length + 1;
    return length > 0 && length < 24 && text[length] == ':' && *tail && strlen(text) < 40 &&
           strspn(tail, "abcdefghijklmnopqrstuvwxyzCPUGN.0123456789") == strlen(tail);
}

/* What OpenVINO calls its devices: "NPU", "GPU.1". */
static bool is_openvinos(const struct rp_fact *device) {
    static const char *const names[] = {"CPU", "GPU", "NPU"};
    for (size_t i = 0; device && i < sizeof names / sizeof names[0]; i++) {
        size_t length = strlen(names[i]);
        bool is_one = strncmp(device->text, names[i], length) == 0 &&
                      strspn(device->text + length, ".0123456789") == strlen(device->text + length);
        if (is_one) return true;
    }
    return false;
}

/* "cuda:1" as the question or the text says; the kind alone where no number is known. */
static void find_id(struct rp_places *places) {
    const struct rp_failure_subject *subject = &places->diagnosis->subject;
    const struct rp_fact *device = places->facts[RP_FACT_NAME_DEVICE];
    const struct rp_fact *index = places->facts[RP_FACT_NAME_DEVICE_INDEX];
    if (is_id(subject->hardware)) {
        snprintf(places->id, sizeof places->id, "%s", subject->hardware);
        return;
    }
    if (!subject->has_kind) return;
    const char *kind = rp_device_kind_name(subject->kind);
    size_t length = strlen(kind);
    bool is_numbered = subject->kind != RP_DEVICE_CPU && index && index->number < 1024;
    if (device && is_id(device->text) && strncmp(device->text, kind, length) == 0) {
        snprintf(places->id, sizeof places->id, "%.40s", device->text);
    } else if (subject->kind == RP_DEVICE_OPENVINO && is_openvinos(device)) {
        snprintf(places->id, sizeof places->id, "%s:%.40s", kind, device->text);
    } else if (is_numbered) {
        snprintf(places->id, sizeof places->id, "%s:%" PRIu64, kind, index->number);
    } else {
        snprintf(places->id, sizeof places->id, "%s", kind);
    }
}

/* "PCI:0000:41:00", as the kernel's log has it: the device of the machine at that place. */
static void find_by_address(struct rp_places *places, const rp_snapshot *snapshot) {
    const struct rp_fact *told = places->facts[RP_FACT_NAME_DEVICE];
    const struct rp_failure_subject *subject = &places->diagnosis->subject;
    if (!told || strncmp(told->text, "PCI:", 4) != 0 || is_id(subject->hardware)) return;
    const char *address = told->text + 4;
    for (size_t i = 0; i < rp_snapshot_device_count(snapshot); i++) {
        const rp_device *device = rp_snapshot_device(snapshot, i);
        const char *own = device->accelerator ? device->accelerator->pci_address : NULL;
        if (!own || strncasecmp(own, address, strlen(address)) != 0) continue;
        snprintf(places->id, sizeof places->id, "%s", device->id);
        rp_places_put_text(places, RP_PLACE_WHERE, places->id);
    }
}

/* The screen's own programs stay, and little of the card is worth no word. */
static bool is_worth_ending(const struct rp_places *places, const rp_device_process *process) {
    static const char *const screens[] = {"Xorg",     "Xwayland",     "X",      "gnome-shell",
                                          "kwin_x11", "kwin_wayland", "mutter", "sway",
                                          "Hyprland", "plasmashell",  "weston"};
    for (size_t i = 0; process->name && i < sizeof screens / sizeof screens[0]; i++) {
        if (strcmp(process->name, screens[i]) == 0) return false;
    }
    uint64_t total = places->device->memory_bytes_total;
    return process->memory_bytes >= OTHERS_LEAST_BYTES &&
           (total == RP_UNKNOWN_U64 || process->memory_bytes >= total / 20);
}

static void put_holder(struct rp_places *places) {
    const rp_accelerator *told = places->device->accelerator;
    const rp_device_process *most = NULL;
    for (size_t i = 0; told && i < told->process_count; i++) {
        const rp_device_process *each = told->processes[i];
        if (each->memory_bytes == RP_UNKNOWN_U64) continue;
        if (!most || each->memory_bytes > most->memory_bytes) most = each;
    }
    if (!most || !is_worth_ending(places, most)) return;
    bool is_named = most->name && rp_is_fit_to_show(most->name);
    if (is_named) {
        rp_places_put(places, RP_PLACE_HOLDER, "'%.60s' (pid %u)", most->name, most->pid);
    } else {
        rp_places_put(places, RP_PLACE_HOLDER, "process %u", most->pid);
    }
    rp_places_put(places, RP_PLACE_HOLDER_PID, "%u", most->pid);
    rp_places_put_bytes(places, RP_PLACE_HOLDER_BYTES, most->memory_bytes);
}

/* Whether the device has a part in such a failure: what it lacks here is then worth a word. */
static bool is_of_device(rp_category category) {
    switch (category) {
    case RP_CATEGORY_OUT_OF_MEMORY_DEVICE:
    case RP_CATEGORY_DRIVER_TOO_OLD:
    case RP_CATEGORY_DRIVER_MISSING_OR_BROKEN:
    case RP_CATEGORY_RUNTIME_LIBRARY_MISSING:
    case RP_CATEGORY_BACKEND_NOT_BUILT:
    case RP_CATEGORY_NO_KERNEL_FOR_ARCHITECTURE:
    case RP_CATEGORY_DEVICE_BUSY:
    case RP_CATEGORY_DEVICE_LOST:
    case RP_CATEGORY_ACCELERATOR_RUNTIME_ERROR:
        return true;
    default:
        return false;
    }
}

static void put_machine(struct rp_places *places, const rp_snapshot *snapshot) {
    const struct rp_failure_subject *subject = &places->diagnosis->subject;
    char list[200] = "";
    size_t length = 0;
    bool has_one = false;
    for (size_t i = 0; i < rp_snapshot_device_count(snapshot); i++) {
        const rp_device *device = rp_snapshot_device(snapshot, i);
        has_one |= subject->has_kind && device->kind == subject->kind;
        if (device->kind == RP_DEVICE_MPS) put_if_unknown(places, RP_PLACE_SYSTEM, "macos");
        if (!device->available || length >= sizeof list) continue;
        length += (size_t)snprintf(list + length, sizeof list - length, "%s%s", length ? ", " : "",
                                   device->id);
    }
    rp_places_put_text(places, RP_PLACE_HERE, list);
    find_by_address(places, snapshot);
    places->device = places->id[0] ? rp_snapshot_find_device(snapshot, places->id) : NULL;
    bool is_absent = subject->has_kind && !has_one;
    for (size_t i = 0; subject->has_kind && i < rp_snapshot_absent_count(snapshot); i++) {
        const rp_absence *absence = rp_snapshot_absent(snapshot, i);
        if (absence->kind != subject->kind || !absence->reason) continue;
        is_absent &= !absence->unprobed;
        rp_places_put(places, RP_PLACE_ABSENCE, "%.160s%s%.192s", absence->reason,
                      absence->hint ? "; " : "", absence->hint ? absence->hint : "");
    }
    if (is_absent) {
        rp_places_put_text(places, RP_PLACE_KIND_ABSENT, "yes");
        if (is_of_device(places->diagnosis->category)) {
            rp_places_put_text(places, RP_PLACE_NOT_HERE, "yes");
        }
    }
    const rp_device *device = places->device;
    if (!device) return;
    const rp_accelerator *told = device->accelerator;
    if (!device->available && device->reason) {
        rp_places_put(places, RP_PLACE_ABSENCE, "%.200s", device->reason);
    }
    uint64_t total = device->memory_bytes_total;
    uint64_t free_bytes = device->memory_bytes_free;
    bool is_part_used =
        total != RP_UNKNOWN_U64 && free_bytes != RP_UNKNOWN_U64 && free_bytes < total - total / 10;
    if (is_part_used) {
        rp_places_put_bytes(places, RP_PLACE_FREE_HERE, free_bytes);
        rp_places_put_bytes(places, RP_PLACE_TOTAL_HERE, total);
    }
    put_holder(places);
    if (!told) return;
    if (told->driver_version)
        rp_places_put_text(places, RP_PLACE_DRIVER_HERE, told->driver_version);
    const char *chip = told->compute_capability ? told->compute_capability : told->gfx_target;
    if (chip) rp_places_put_text(places, RP_PLACE_CHIP_HERE, chip);
}

/* --- what follows ---------------------------------------------------------------------------- */

/* What this process has on the device, used or kept by its allocator. */
static uint64_t own_bytes(const struct rp_places *places) {
    uint64_t used = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_USED);
    uint64_t unused = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_RESERVED);
    uint64_t kept = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_RESERVED_TOTAL);
    uint64_t process = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_PROCESS);
    if (process != RP_UNKNOWN_U64) return process;
    if (kept != RP_UNKNOWN_U64) return kept;
    if (used == RP_UNKNOWN_U64 || unused == RP_UNKNOWN_U64) return used;
    return used + unused;
}

static void put_over(struct rp_places *places) {
    const struct rp_fact *asked = places->facts[RP_FACT_NAME_ASKED];
    const struct rp_fact *limit = places->facts[RP_FACT_NAME_LIMIT];
    if (!asked || !limit || asked->number <= limit->number || asked->number > INT64_MAX) return;
    rp_places_put(places, RP_PLACE_OVER, "%" PRIu64, asked->number - limit->number);
    const struct rp_failure_subject *subject = &places->diagnosis->subject;
    if (subject->has_facts && subject->facts.context_length == limit->number) {
        rp_places_put_text(places, RP_PLACE_AT_MOST, "yes");
    }
}

static void put_memory(struct rp_places *places) {
    uint64_t asked = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_ASKED);
    uint64_t free_bytes = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_FREE);
    uint64_t total = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_TOTAL);
    uint64_t limit = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_LIMIT);
    uint64_t room = free_bytes != RP_UNKNOWN_U64 ? free_bytes : limit;
    if (asked != RP_UNKNOWN_U64 && room != RP_UNKNOWN_U64 && asked > room) {
        rp_places_put_bytes(places, RP_PLACE_BYTES_SHORT, asked - room);
    }
    /* Little of it is worth no word. */
    uint64_t unused = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_RESERVED);
    uint64_t told = rp_places_bytes_of(places, RP_FACT_NAME_BYTES_OTHERS);
    if (asked != RP_UNKNOWN_U64 && unused != RP_UNKNOWN_U64 && unused > asked) {
        rp_places_put_text(places, RP_PLACE_FRAGMENTED, "yes");
    }
    if (asked != RP_UNKNOWN_U64 && unused < asked / 2) {
        places->which.places[RP_FACT_NAME_BYTES_RESERVED] = NULL;
    }
    if (told < OTHERS_LEAST_BYTES) places->which.places[RP_FACT_NAME_BYTES_OTHERS] = NULL;
    uint64_t own = own_bytes(places);
    bool is_known = total != RP_UNKNOWN_U64 && own != RP_UNKNOWN_U64 &&
                    free_bytes != RP_UNKNOWN_U64 && own <= total && free_bytes <= total - own;
    if (!is_known || places->facts[RP_FACT_NAME_BYTES_OTHERS]) return;
    /* What is neither ours nor free is other programs', once it is more than a context takes. */
    uint64_t others = total - own - free_bytes;
    if (others > total / 5) rp_places_put_bytes(places, RP_FACT_NAME_BYTES_OTHERS, others);
}

/* A version of a driver has three digits before its first dot, one of CUDA at most two. */
static bool is_driver(const char *version) {
    unsigned long first = strtoul(version, NULL, 10);
    return first >= 100 && first < 1000 && strchr(version, '.');
}

/* The driver of this machine stands for the one of the text, unless it is new enough: then the
 * text is of another machine, or of a time before. */
static void put_driver_here(struct rp_places *places) {
    const char *const *texts = places->which.places;
    const char *needed = texts[RP_FACT_NAME_CUDA_NEEDED];
    const char *driver = texts[RP_PLACE_DRIVER_FOUND];
    if (!driver) driver = texts[RP_PLACE_DRIVER_HERE];
    if (!driver || !is_driver(driver)) return;
    const struct rp_cuda_release *release = rp_cuda_release_of_driver(driver);
    bool is_enough = release && needed && rp_version_compare(release->cuda, needed) >= 0;
    if (is_enough && !texts[RP_PLACE_DRIVER_FOUND]) return;
    put_if_unknown(places, RP_PLACE_DRIVER_FOUND, driver);
    if (release) put_if_unknown(places, RP_PLACE_CUDA_FOUND, release->cuda);
}

/* A driver that is as new already is no advice. */
static void drop_older_driver(struct rp_places *places) {
    const char *least = places->which.places[RP_FACT_NAME_DRIVER_MIN_COMPATIBLE];
    const char *cuda = places->which.places[RP_PLACE_CUDA_FOUND];
    const struct rp_cuda_release *release = cuda ? rp_cuda_release_of(cuda) : NULL;
    if (least && release && rp_version_compare(release->driver, least) >= 0) {
        places->which.places[RP_FACT_NAME_DRIVER_MIN_COMPATIBLE] = NULL;
    }
}

/* What belongs together, where the text did not say it: the machine's driver, CUDA's drivers. */
static void put_versions(struct rp_places *places) {
    const char *const *texts = places->which.places;
    static const int found[] = {RP_FACT_NAME_DRIVER_VERSION, RP_FACT_NAME_VERSION_FOUND};
    if (!places->which.has_kind || places->which.kind != RP_DEVICE_CUDA) return;
    for (size_t i = 0; i < sizeof found / sizeof found[0]; i++) {
        const char *text = texts[found[i]];
        if (text && is_driver(text)) put_if_unknown(places, RP_PLACE_DRIVER_FOUND, text);
    }
    const struct rp_fact *code = places->facts[RP_FACT_NAME_CUDA_CODE];
    put_if_unknown(places, RP_PLACE_CUDA_FOUND, texts[RP_FACT_NAME_CUDA_MAX]);
    if (code && code->number >= 5000 && code->number < 30000 && !texts[RP_PLACE_CUDA_FOUND]) {
        rp_places_put(places, RP_PLACE_CUDA_FOUND, "%" PRIu64 ".%" PRIu64, code->number / 1000,
                      code->number % 1000 / 10);
    }
    const char *needed = texts[RP_FACT_NAME_VERSION_NEEDED];
    if (needed && is_driver(needed)) {
        put_if_unknown(places, RP_PLACE_DRIVER_NEEDED, needed);
    } else if (needed && rp_cuda_release_of(needed)) {
        put_if_unknown(places, RP_FACT_NAME_CUDA_NEEDED, needed);
    }
    put_if_unknown(places, RP_PLACE_DRIVER_NEEDED, texts[RP_FACT_NAME_DRIVER_MIN]);
    put_driver_here(places);
    if (!texts[RP_FACT_NAME_CUDA_NEEDED]) return;
    const struct rp_cuda_release *release = rp_cuda_release_of(texts[RP_FACT_NAME_CUDA_NEEDED]);
    if (!release) return;
    put_if_unknown(places, RP_PLACE_DRIVER_NEEDED, release->driver);
    put_if_unknown(places, RP_FACT_NAME_DRIVER_MIN_COMPATIBLE, release->driver_compatible);
    drop_older_driver(places);
}

/* The chip by the text, else by the machine. */
static void put_chip(struct rp_places *places) {
    const char *const *texts = places->which.places;
    const char *name = texts[RP_FACT_NAME_CHIP];
    const char *compute = texts[RP_FACT_NAME_COMPUTE];
    const struct rp_chip *chip = name ? rp_chip_of_name(name) : NULL;
    if (!name && compute) chip = rp_chip_of_compute(compute);
    const char *least = texts[RP_FACT_NAME_COMPUTE_NEEDED];
    const char *here_chip = texts[RP_PLACE_CHIP_HERE];
    bool is_enough = least && here_chip && strncmp(here_chip, "gfx", 3) != 0 &&
                     rp_version_compare(here_chip, least) >= 0;
    if (is_enough || name || compute) places->which.places[RP_PLACE_CHIP_HERE] = NULL;
    if (is_enough) places->device = NULL; /* it was another card */
    if (!name && !compute && texts[RP_PLACE_CHIP_HERE]) {
        const char *here = texts[RP_PLACE_CHIP_HERE];
        chip = strncmp(here, "gfx", 3) == 0 ? rp_chip_of_name(here) : rp_chip_of_compute(here);
    }
    if (!chip) return;
    put_if_unknown(places, RP_FACT_NAME_CHIP, chip->name);
    put_if_unknown(places, RP_FACT_NAME_COMPUTE, chip->compute);
    put_if_unknown(places, RP_FACT_NAME_CHIP_NAME, chip->products);
    put_if_unknown(places, RP_FACT_NAME_CHIP_CUDA_FIRST, chip->cuda_first);
    put_if_unknown(places, RP_FACT_NAME_CHIP_CUDA_LAST, chip->cuda_last);
    put_if_unknown(places, RP_FACT_NAME_HSA_OVERRIDE, chip->hsa_override);
}

/* "operator 'Gelu', library 'libx.so'": what can be said of a text that is not understood. */
static void put_recognised(struct rp_places *places) {
    enum { SHOWN_COUNT = 6, SHOWN_BYTES = 60 };
    char list[SHOWN_COUNT * (SHOWN_BYTES + 43)] = "";
    size_t length = 0;
    unsigned count = 0;
    for (int i = 0; i < RP_FACT_NAME_COUNT && count < SHOWN_COUNT; i++) {
        const char *text = places->which.places[i];
        if (!text) continue;
        size_t shown = strlen(text);
        if (shown > SHOWN_BYTES) shown = whole_letters(text, SHOWN_BYTES);
        char name[40];
        snprintf(name, sizeof name, "%s", rp_fact_name_text((enum rp_fact_name)i));
        for (char *c = name; *c; c++) {
            if (*c == '_') *c = ' ';
        }
        length += (size_t)snprintf(list + length, sizeof list - length, "%s%s %.*s",
                                   length ? ", " : "", name, (int)shown, text);
        count++;
    }
    if (length > 0) rp_places_put_text(places, RP_PLACE_RECOGNISED, list);
}

/* Low confidence: what it lies between. */
static void put_rival(struct rp_places *places) {
    const struct rp_diagnosis *diagnosis = places->diagnosis;
    bool is_unknown = diagnosis->category == RP_CATEGORY_UNKNOWN;
    bool is_doubtful = (is_unknown || diagnosis->confidence < 0.5) && diagnosis->rival_count > 0 &&
                       diagnosis->rivals[0] != RP_CATEGORY_UNKNOWN &&
                       (!is_unknown || diagnosis->rival_shares[0] >= RIVAL_LEAST);
    if (!is_doubtful) return;
    rp_places_put(places, is_unknown ? RP_PLACE_LIKELIEST : RP_PLACE_RIVAL, "%s (%s)",
                  rp_category_text(diagnosis->rivals[0]), rp_category_name(diagnosis->rivals[0]));
}

void rp_places_init(struct rp_places *places, const struct rp_diagnosis *diagnosis,
                    const rp_snapshot *snapshot) {
    const struct rp_failure_subject *subject = &diagnosis->subject;
    memset(places, 0, offsetof(struct rp_places, bytes));
    places->diagnosis = diagnosis;
    places->which.has_kind = subject->has_kind;
    places->which.kind = subject->kind;
    places->which.family = subject->family;
    places->which.engine = subject->engine;
    put_facts(places);
    find_id(places);
    if (places->id[0]) rp_places_put_text(places, RP_PLACE_WHERE, places->id);
    if (subject->has_kind) {
        rp_places_put_text(places, RP_PLACE_KIND, rp_device_kind_name(subject->kind));
        rp_places_put_text(places, RP_PLACE_CARD, cards[subject->kind]);
    }
    if (subject->family != RP_FAMILY_UNKNOWN) {
        rp_places_put_text(places, RP_PLACE_FAMILY, rp_family_name(subject->family));
    }
    if (subject->model[0]) put_name(places, RP_PLACE_NAME, subject->model);
    if (diagnosis->cause[0]) rp_places_put_text(places, RP_PLACE_CAUSE, diagnosis->cause);
    if (subject->engine) rp_places_put_text(places, RP_PLACE_ENGINE, subject->engine);
    if (subject->system) rp_places_put_text(places, RP_PLACE_SYSTEM, subject->system);
    if (diagnosis->is_silent_fallback) rp_places_put_text(places, RP_PLACE_FALLBACK, "yes");
    if (diagnosis->category == RP_CATEGORY_UNKNOWN) put_recognised(places);
    if (subject->has_facts && subject->facts.context_length != RP_UNKNOWN_U32 &&
        subject->facts.context_length > 0) {
        rp_places_put(places, RP_PLACE_CONTEXT, "%u", subject->facts.context_length);
    }
    if (snapshot) put_machine(places, snapshot);
    put_memory(places);
    put_over(places);
    put_swapped(places);
    put_rival(places);
}

void rp_places_finish(struct rp_places *places) {
    put_versions(places);
    put_chip(places);
}

void rp_places_put_fit(struct rp_places *places, const struct rp_fit *fit) {
    rp_places_put_bytes(places, RP_PLACE_NEED, fit->need_bytes);
    rp_places_put_text(places, RP_PLACE_NEED_PRECISION, fit->precision);
    rp_places_put_bytes(places, RP_PLACE_ROOM, fit->room_bytes);
    if (fit->fit_precision) {
        rp_places_put_text(places, RP_PLACE_FIT_PRECISION, fit->fit_precision);
        rp_places_put_bytes(places, RP_PLACE_FIT_NEED, fit->fit_bytes);
    }
    if (fit->batch) rp_places_put(places, RP_PLACE_FIT_BATCH, "%u", fit->batch);
    if (fit->context) rp_places_put(places, RP_PLACE_FIT_CONTEXT, "%u", fit->context);
    if (fit->sibling[0]) {
        rp_places_put_text(places, RP_PLACE_SIBLING, fit->sibling);
        rp_places_put_bytes(places, RP_PLACE_SIBLING_NEED, fit->sibling_bytes);
    }
}
