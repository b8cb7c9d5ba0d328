/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders hold the same weights in several formats and several precisions. One set of files is
 * chosen: the first format of the table below of which there is a file, and of it the file with the
 * usual name, else what an index names, else the largest set of numbered parts.
 */
#include "model/folder.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "model/path.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <resourcepool/hardware.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* In order of preference. */
static const struct kind {
    const char *ending;
    const char *folder;   /* below the model's                                           */
    bool finds_parts;     /* its reader finds the other parts when it is given the first */
    const char *usual[3]; /* names of the whole, the first that is there                 */
    const char *also[3];  /* what belongs to the usual file: the first that is there     */
    /* clang-format off */
} kinds[] = {
    {".safetensors", "", false, {"model.safetensors", "diffusion_pytorch_model.safetensors",
                                 "adapter_model.safetensors"}, {NULL}},
    {".gguf", "", true, {NULL}, {NULL}},
    {".onnx", "", false, {"encoder_model.onnx"},
     {"decoder_model_merged.onnx", "decoder_model.onnx"}},
    {".onnx", "onnx", false, {"encoder_model.onnx"},
     {"decoder_model_merged.onnx", "decoder_model.onnx"}},
    {".onnx", "", false, {"model.onnx"}, {NULL}},
    {".onnx", "onnx", false, {"model.onnx"}, {NULL}},
    {".xml", "", false, {"openvino_model.xml"}, {NULL}},
    {".bin", "", false, {"pytorch_model.bin", "diffusion_pytorch_model.bin",
                         "adapter_model.bin"}, {NULL}},
    {".pt", "", false, {NULL}, {NULL}},
    {".pth", "", false, {NULL}, {NULL}},
    {".ckpt", "", false, {NULL}, {NULL}},
};
/* clang-format on */

enum { KIND_COUNT = sizeof kinds / sizeof kinds[0], USUAL_MAX = 3 };

/* What training leaves beside the weights, and what only sees for a model that is there. */
static const char *const not_weights[] = {"training_args", "optimizer", "scheduler", "rng_state",
                                          "mmproj"};

struct entry {
    char name[NAME_MAX + 1];
    uint64_t bytes;
    bool is_folder;
};

/* What is in a folder, by name. */
struct listing {
    struct entry *entries;
    size_t count;
    size_t capacity;
};

static int by_name(const void *left, const void *right) {
    return strcmp(((const struct entry *)left)->name, ((const struct entry *)right)->name);
}

static bool is_interesting(const char *name) {
    if (name[0] == '.') return false;
    for (size_t i = 0; i < sizeof not_weights / sizeof not_weights[0]; i++) {
        if (strncmp(name, not_weights[i], strlen(not_weights[i])) == 0) return false;
    }
    return true;
}

/* The bytes beside an IR of OpenVINO, without which a file of XML is just that. */
static bool has_bytes_beside(const char *path) {
    struct rp_path bytes;
    struct stat file;
    snprintf(bytes.text, sizeof bytes.text, "%.*s.bin", (int)(strlen(path) - strlen(".xml")), path);
    return stat(bytes.text, &file) == 0;
}

static rp_status add_entry(struct listing *listing, const char *folder, const char *name,
                           rp_error *err) {
    struct rp_path path;
    struct stat file;
    size_t length = strlen(name);
    if (length > NAME_MAX || !rp_path_join(&path, folder, name)) return RP_OK;
    /* A link that leads nowhere is listed: opening it tells what is wrong. */
    bool is_there = stat(path.text, &file) == 0;
    bool is_folder = is_there && S_ISDIR(file.st_mode);
    if (!is_folder && !rp_facts_can_read(name)) return RP_OK;
    if (rp_path_ends_with(name, ".xml") && !has_bytes_beside(path.text)) return RP_OK;
    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity ? 2 * listing->capacity : 16;
        void *grown = rp_realloc_array(listing->entries, capacity, sizeof *listing->entries);
        if (!grown) return rp_fail(err, RP_ERR_MEMORY, "no memory for the list of '%s'", folder);
        listing->entries = grown;
        listing->capacity = capacity;
    }
    struct entry *entry = &listing->entries[listing->count++];
    *entry = (struct entry){.bytes = is_there ? (uint64_t)file.st_size : 0, .is_folder = is_folder};
    memcpy(entry->name, name, length + 1);
    return RP_OK;
}

static rp_status list_folder(const char *folder, struct listing *listing, rp_error *err) {
    *listing = (struct listing){0};
    DIR *open = opendir(folder);
    if (!open) return rp_fail_errno(err, "cannot list '%s'", folder);
    rp_status status = RP_OK;
    size_t seen = 0;
    for (struct dirent *entry; status == RP_OK && (entry = readdir(open));) {
        if (++seen > RP_LIMIT_FOLDER_ENTRIES) {
            status = rp_fail(err, RP_ERR_LIMIT, "'%s' has more than %d entries", folder,
                             RP_LIMIT_FOLDER_ENTRIES);
        } else if (is_interesting(entry->d_name)) {
            status = add_entry(listing, folder, entry->d_name, err);
        }
    }
    closedir(open);
    if (status == RP_OK && listing->count > 0) {
        qsort(listing->entries, listing->count, sizeof listing->entries[0], by_name);
    }
    return status;
}

static void listing_fini(struct listing *listing) {
    rp_free(listing->entries);
}

static const struct entry *find_entry(const struct listing *listing, const char *name) {
    for (size_t i = 0; name && i < listing->count; i++) {
        if (strcmp(listing->entries[i].name, name) == 0) return &listing->entries[i];
    }
    return NULL;
}

static rp_status read_file(const char *folder, const char *name, rp_model_facts *facts,
                           rp_error *err) {
    struct rp_path path;
    if (!rp_path_join(&path, folder, name)) {
        return rp_fail(err, RP_ERR_LIMIT, "the path of '%s' is too long: '%.80s...'", name, folder);
    }
    return rp_facts_read_file(path.text, facts, err);
}

/* ---- numbered parts: "model-00002-of-00005.safetensors" ---- */

struct part_name {
    size_t stem_length; /* of what the parts have in common */
    unsigned number;
    unsigned count; /* 0: not numbered */
};

static bool take_digits(const char **at, unsigned *number) {
    const char *begin = *at;
    *number = 0;
    for (; isdigit((unsigned char)**at) && *at - begin < 6; (*at)++) {
        *number = *number * 10 + (unsigned)(**at - '0');
    }
    return *at > begin;
}

static struct part_name read_part_name(const char *name, const char *ending) {
    size_t length = strlen(name) - strlen(ending);
    struct part_name part = {.stem_length = length};
    for (const char *dash = strchr(name, '-'); dash; dash = strchr(dash + 1, '-')) {
        const char *at = dash + 1;
        unsigned number;
        unsigned count;
        if (!take_digits(&at, &number) || strncmp(at, "-of-", 4) != 0) continue;
        at += 4;
        if (!take_digits(&at, &count) || strcmp(at, ending) != 0) continue;
        if (number == 0 || number > count || count > RP_LIMIT_MODEL_FILES) continue;
        return (struct part_name){(size_t)(dash - name), number, count};
    }
    return part;
}

static bool is_of_kind(const struct entry *entry, const struct kind *kind) {
    return !entry->is_folder && rp_path_ends_with(entry->name, kind->ending);
}

/* Whether two files are parts of one set. */
static bool is_same_set(const char *a, const char *b, const char *ending) {
    struct part_name first = read_part_name(a, ending);
    struct part_name second = read_part_name(b, ending);
    return first.count == second.count && first.stem_length == second.stem_length &&
           memcmp(a, b, first.stem_length) == 0;
}

/* The first file of the set with the most bytes; NULL without any. */
static const struct entry *find_largest_set(const struct listing *listing,
                                            const struct kind *kind) {
    const struct entry *best = NULL;
    uint64_t best_bytes = 0;
    for (size_t i = 0; i < listing->count;) {
        const struct entry *first = &listing->entries[i++];
        if (!is_of_kind(first, kind)) continue;
        uint64_t bytes = first->bytes;
        /* Parts of a set stand side by side, in order. */
        for (; i < listing->count && is_of_kind(&listing->entries[i], kind) &&
               is_same_set(first->name, listing->entries[i].name, kind->ending);
             i++) {
            bytes += listing->entries[i].bytes;
        }
        if (best && bytes <= best_bytes) continue;
        best = first;
        best_bytes = bytes;
    }
    return best;
}

static rp_status read_set(const char *folder, const struct listing *listing,
                          const struct kind *kind, const struct entry *first, rp_model_facts *facts,
                          rp_error *err) {
    unsigned wanted = read_part_name(first->name, kind->ending).count;
    if (wanted == 0 || kind->finds_parts) return read_file(folder, first->name, facts, err);
    unsigned next = 1;
    rp_status status = RP_OK;
    const struct entry *end = listing->entries + listing->count;
    for (const struct entry *at = first; at < end && status == RP_OK; at++) {
        if (!is_of_kind(at, kind) || !is_same_set(first->name, at->name, kind->ending)) break;
        if (read_part_name(at->name, kind->ending).number != next) break;
        status = read_file(folder, at->name, facts, err);
        next++;
    }
    if (status != RP_OK || next > wanted) return status;
    status = rp_fail(err, RP_ERR_DATA, "'%s': part %u of %u is missing, as '%.80s' counts them",
                     folder, next, wanted, first->name);
    rp_hint(err, "the download is not complete, or files were moved: fetch the rest");
    return status;
}

/* ---- choosing ---- */

static const struct entry *find_usual(const struct listing *listing, const struct kind *kind) {
    for (size_t i = 0; i < USUAL_MAX; i++) {
        const struct entry *entry = find_entry(listing, kind->usual[i]);
        if (entry && !entry->is_folder) return entry;
    }
    return NULL;
}

static const struct entry *find_index(const struct listing *listing, const struct kind *kind) {
    char ending[32];
    snprintf(ending, sizeof ending, "%s.index.json", kind->ending);
    for (size_t i = 0; i < listing->count; i++) {
        const struct entry *entry = &listing->entries[i];
        if (!entry->is_folder && rp_path_ends_with(entry->name, ending)) return entry;
    }
    return NULL;
}

/* Read the files of one kind, if there are any; *is_found says so. */
static rp_status read_kind(const char *folder, const struct listing *listing,
                           const struct kind *kind, rp_model_facts *facts, bool *is_found,
                           rp_error *err) {
    const struct entry *usual = find_usual(listing, kind);
    const struct entry *index = usual ? NULL : find_index(listing, kind);
    *is_found = true;
    if (usual) {
        rp_status status = read_file(folder, usual->name, facts, err);
        for (size_t i = 0; status == RP_OK && i < USUAL_MAX; i++) {
            const struct entry *also = find_entry(listing, kind->also[i]);
            if (also) return read_file(folder, also->name, facts, err);
        }
        return status;
    }
    if (index) return read_file(folder, index->name, facts, err);
    const struct entry *first = kind->also[0] ? NULL : find_largest_set(listing, kind);
    *is_found = first != NULL;
    return first ? read_set(folder, listing, kind, first, facts, err) : RP_OK;
}

static rp_status read_subfolder_kind(const char *folder, const struct listing *above,
                                     const struct kind *kind, rp_model_facts *facts, bool *is_found,
                                     rp_error *err) {
    const struct entry *entry = find_entry(above, kind->folder);
    struct rp_path path;
    struct listing listing;
    if (!entry || !entry->is_folder || !rp_path_join(&path, folder, kind->folder)) return RP_OK;
    rp_status status = list_folder(path.text, &listing, err);
    if (status == RP_OK) {
        status = read_kind(path.text, &listing, kind, facts, is_found, err);
    }
    listing_fini(&listing);
    return status;
}

static rp_status read_weights(const char *folder, const struct listing *listing,
                              rp_model_facts *facts, rp_error *err) {
    for (size_t i = 0; i < KIND_COUNT; i++) {
        const struct kind *kind = &kinds[i];
        rp_error problem = RP_ERROR_INIT;
        bool is_found = false;
        rp_status status =
            kind->folder[0] ? read_subfolder_kind(folder, listing, kind, facts, &is_found, &problem)
                            : read_kind(folder, listing, kind, facts, &is_found, &problem);
        /* A file of another kind with such an ending: the next may be weights. */
        if (status == RP_ERR_UNSUPPORTED) continue;
        if (status != RP_OK && err) *err = problem;
        if (status != RP_OK || is_found) return status;
    }
    return RP_OK;
}

/* Weights of a folder below, with nothing read but those. */
static rp_status read_below(const char *folder, const char *name, rp_model_facts *facts,
                            rp_error *err) {
    struct rp_path path;
    struct listing listing;
    if (!rp_path_join(&path, folder, name)) return RP_OK;
    rp_status status = list_folder(path.text, &listing, err);
    if (status == RP_OK) status = read_weights(path.text, &listing, facts, err);
    listing_fini(&listing);
    return status;
}

/* The parts of a pipeline, each in a folder of its own. */
static rp_status read_pipeline(const char *folder, const struct listing *listing,
                               rp_model_facts *facts, rp_error *err) {
    rp_status status = RP_OK;
    for (size_t i = 0; i < listing->count && status == RP_OK; i++) {
        if (!listing->entries[i].is_folder) continue;
        status = read_below(folder, listing->entries[i].name, facts, err);
    }
    return status;
}

/*
 * A repository in a hub's cache keeps each revision in a folder below "snapshots"; "refs/main"
 * names one. Whoever gives the repository means that one.
 */
static bool find_snapshot(const char *folder, struct rp_path *snapshot) {
    struct rp_path path;
    char below[80] = "snapshots/";
    size_t prefix = strlen(below);
    struct stat found;
    struct rp_source source;
    if (!rp_path_join(&path, folder, "refs/main")) return false;
    if (rp_source_open(path.text, &source, NULL) != RP_OK) return false;
    size_t length = source.size < sizeof below - prefix ? (size_t)source.size : 0;
    bool is_read = length > 0 && rp_source_read(&source, 0, below + prefix, length, "the revision",
                                                NULL) == RP_OK;
    rp_source_close(&source);
    below[prefix + length] = '\0';
    below[strcspn(below, "\r\n")] = '\0';
    return is_read && rp_path_stays_inside(below) && rp_path_join(snapshot, folder, below) &&
           stat(snapshot->text, &found) == 0 && S_ISDIR(found.st_mode);
}

static rp_status read_here(const char *folder, rp_model_facts *facts, struct rp_config *config,
                           rp_error *err) {
    struct listing listing = {0};
    rp_status status = rp_config_read_folder(folder, facts, config, err);
    if (status == RP_OK) status = list_folder(folder, &listing, err);
    if (status == RP_OK) status = read_weights(folder, &listing, facts, err);
    if (status == RP_OK && !facts->format && config->is_pipeline) {
        status = read_pipeline(folder, &listing, facts, err);
    }
    listing_fini(&listing);
    return status;
}

rp_status rp_folder_read(const char *folder, rp_model_facts *facts, struct rp_config *config,
                         rp_error *err) {
    struct rp_path path;
    if (find_snapshot(folder, &path)) return read_here(path.text, facts, config, err);
    rp_status status = read_here(folder, facts, config, err);
    /* Older sentence encoders keep the transformer in a folder of its own. */
    bool is_below = config->module_folder[0] && !facts->format;
    struct stat found;
    if (status != RP_OK || !is_below) return status;
    if (!rp_path_join(&path, folder, config->module_folder) || stat(path.text, &found) != 0) {
        return RP_OK;
    }
    return read_here(path.text, facts, config, err);
}

/* ---- the file for an engine ---- */

/* What engines load, and the folder below in which hubs keep it. */
static const struct {
    const char *format;
    const char *ending;
    const char *below;
    const char *usual;
} loadable[] = {
    {"onnx", ".onnx", "onnx", "model.onnx"},
};

/* Files of that ending in one folder; *usual is the one of the usual name, *any the last one. */
static rp_status count_files(const char *folder, size_t row, struct rp_path *usual,
                             struct rp_path *any, size_t *count, rp_error *err) {
    struct listing listing;
    rp_status status = list_folder(folder, &listing, err);
    for (size_t i = 0; status == RP_OK && i < listing.count; i++) {
        const struct entry *entry = &listing.entries[i];
        struct rp_path path;
        bool is_one = !entry->is_folder && rp_path_ends_with(entry->name, loadable[row].ending);
        if (!is_one || !rp_path_join(&path, folder, entry->name)) continue;
        (*count)++;
        *any = path;
        if (strcmp(entry->name, loadable[row].usual) == 0 && !usual->text[0]) *usual = path;
    }
    listing_fini(&listing);
    return status;
}

rp_status rp_folder_find_file(const char *folder, const char *format, struct rp_path *file,
                              rp_error *err) {
    struct rp_path top = {""};
    struct rp_path below;
    struct rp_path usual = {""};
    struct rp_path any = {""};
    struct stat found;
    size_t count = 0;
    size_t row = 0;
    while (row < sizeof loadable / sizeof loadable[0] &&
           strcmp(loadable[row].format, format) != 0) {
        row++;
    }
    if (row == sizeof loadable / sizeof loadable[0]) {
        return rp_fail(err, RP_ERR_UNSUPPORTED, "no file of the format '%s' is looked for in '%s'",
                       format, folder);
    }
    if (!find_snapshot(folder, &top) && !rp_path_join(&top, "", folder)) {
        return rp_fail(err, RP_ERR_LIMIT, "the path '%.80s...' is too long", folder);
    }
    rp_status status = count_files(top.text, row, &usual, &any, &count, err);
    bool is_below = status == RP_OK && rp_path_join(&below, top.text, loadable[row].below) &&
                    stat(below.text, &found) == 0 && S_ISDIR(found.st_mode);
    if (is_below) status = count_files(below.text, row, &usual, &any, &count, err);
    if (status != RP_OK) return status;
    if (usual.text[0] || count == 1) {
        *file = usual.text[0] ? usual : any;
        return RP_OK;
    }
    if (count == 0) {
        rp_fail(err, RP_ERR_UNSUPPORTED,
                "cannot load the model '%s': the folder has no '*%s', which is what engines load",
                folder, loadable[row].ending);
    } else {
        rp_fail(err, RP_ERR_UNSUPPORTED,
                "cannot load the model '%s': of its %zu files '*%s' none is '%s'", folder, count,
                loadable[row].ending, loadable[row].usual);
    }
    rp_hint(err, count ? "give one of the files inside it"
                       : "convert the model, or load it with a constructor of yours");
    return RP_ERR_UNSUPPORTED;
}
