/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/places.h"

#include "base/text.h"
#include "failure/versions.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void put_fact(struct rp_places *places, const struct rp_fact *fact) {
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

static void put_holder(struct rp_places *places) {
    const rp_accelerator *told = places->device->accelerator;
    const rp_device_process *most = NULL;
    for (size_t i = 0; told && i < told->process_count; i++) {
        const rp_device_process *each = told->processes[i];
        if (each->memory_bytes == RP_UNKNOWN_U64) continue;
        if (!most || each->memory_bytes > most->memory_bytes) most = each;
    }
    if (!most) return;
    bool is_named = most->name && rp_is_fit_to_show(most->name);
    rp_places_put(places, RP_PLACE_HOLDER, "%s%.60s%spid %u", is_named ? "'" : "",
                  is_named ? most->name : "", is_named ? "', " : "", most->pid);
    rp_places_put(places, RP_PLACE_HOLDER_PID, "%u", most->pid);
    rp_places_put_bytes(places, RP_PLACE_HOLDER_BYTES, most->memory_bytes);
}

static void put_machine(struct rp_places *places, const rp_snapshot *snapshot) {
    const struct rp_failure_subject *subject = &places->diagnosis->subject;
    char list[200] = "";
    size_t length = 0;
    bool has_one = false;
    for (size_t i = 0; i < rp_snapshot_device_count(snapshot); i++) {
        const rp_device *device = rp_snapshot_device(snapshot, i);
        has_one |= subject->has_kind && device->kind == subject->kind;
        if (!device->available || length >= sizeof list) continue;
        length += (size_t)snprintf(list + length, sizeof list - length, "%s%s", length ? ", " : "",
                                   device->id);
    }
    rp_places_put_text(places, RP_PLACE_HERE, list);
    places->device = places->id[0] ? rp_snapshot_find_device(snapshot, places->id) : NULL;
    bool is_absent = subject->has_kind && !has_one;
    for (size_t i = 0; subject->has_kind && i < rp_snapshot_absent_count(snapshot); i++) {
        const rp_absence *absence = rp_snapshot_absent(snapshot, i);
        if (absence->kind != subject->kind || !absence->reason) continue;
        is_absent &= !absence->unprobed;
        rp_places_put(places, RP_PLACE_ABSENCE, "%.160s%s%.192s", absence->reason,
                      absence->hint ? "; " : "", absence->hint ? absence->hint : "");
    }
    if (is_absent) rp_places_put_text(places, RP_PLACE_KIND_ABSENT, "yes");
    const rp_device *device = places->device;
    if (!device) return;
    const rp_accelerator *told = device->accelerator;
    if (!device->available && device->reason) {
        rp_places_put(places, RP_PLACE_ABSENCE, "%.200s", device->reason);
    }
    rp_places_put_bytes(places, RP_PLACE_FREE_HERE, device->memory_bytes_free);
    rp_places_put_bytes(places, RP_PLACE_TOTAL_HERE, device->memory_bytes_total);
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

static void put_if_unknown(struct rp_places *places, int place, const char *text) {
    if (text && !places->which.places[place]) rp_places_put_text(places, place, text);
}

/* A version of a driver has three digits before its first dot, one of CUDA at most two. */
static bool is_driver(const char *version) {
    unsigned long first = strtoul(version, NULL, 10);
    return first >= 100 && first < 1000 && strchr(version, '.');
}

/* What belongs together, where the text did not say it: the machine's driver, CUDA's drivers. */
static void put_versions(struct rp_places *places) {
    const char *const *texts = places->which.places;
    static const int found[] = {RP_FACT_NAME_DRIVER_VERSION, RP_FACT_NAME_VERSION_FOUND,
                                RP_PLACE_DRIVER_HERE};
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
    if (texts[RP_PLACE_DRIVER_FOUND]) {
        const struct rp_cuda_release *release =
            rp_cuda_release_of_driver(texts[RP_PLACE_DRIVER_FOUND]);
        if (release) put_if_unknown(places, RP_PLACE_CUDA_FOUND, release->cuda);
    }
    const char *needed = texts[RP_FACT_NAME_VERSION_NEEDED];
    if (needed && is_driver(needed)) {
        put_if_unknown(places, RP_PLACE_DRIVER_NEEDED, needed);
    } else if (needed && rp_cuda_release_of(needed)) {
        put_if_unknown(places, RP_FACT_NAME_CUDA_NEEDED, needed);
    }
    put_if_unknown(places, RP_PLACE_DRIVER_NEEDED, texts[RP_FACT_NAME_DRIVER_MIN]);
    if (!texts[RP_FACT_NAME_CUDA_NEEDED]) return;
    const struct rp_cuda_release *release = rp_cuda_release_of(texts[RP_FACT_NAME_CUDA_NEEDED]);
    if (!release) return;
    put_if_unknown(places, RP_PLACE_DRIVER_NEEDED, release->driver);
    put_if_unknown(places, RP_FACT_NAME_DRIVER_MIN_COMPATIBLE, release->driver_compatible);
}

/* The chip by the text, else by the machine. */
static void put_chip(struct rp_places *places) {
    const char *const *texts = places->which.places;
    const char *name = texts[RP_FACT_NAME_CHIP];
    const char *compute = texts[RP_FACT_NAME_COMPUTE];
    const struct rp_chip *chip = name ? rp_chip_of_name(name) : NULL;
    if (!name && compute) chip = rp_chip_of_compute(compute);
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
                       diagnosis->rivals[0] != RP_CATEGORY_UNKNOWN;
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
    if (diagnosis->is_silent_fallback) rp_places_put_text(places, RP_PLACE_FALLBACK, "yes");
    if (snapshot) put_machine(places, snapshot);
    put_memory(places);
    put_versions(places);
    put_chip(places);
    if (diagnosis->category == RP_CATEGORY_UNKNOWN) put_recognised(places);
    put_rival(places);
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
