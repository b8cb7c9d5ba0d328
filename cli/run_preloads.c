/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the Pythons of a suite are to have loaded: a text that is learnt, and that people edit.
 *
 * A line is a package and those of its modules that are to be loaded with it, "NAME: sub sub.sub";
 * "-NAME" keeps it out for good. Learning adds names, and takes none away: whoever wants less puts
 * a minus before it. Lines of people stay where they are, with their comments.
 */
#include "run_python.h"

#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { BYTES_MAX = 1 << 20, NAMES_MAX = 8192, MODULE_BYTES_MAX = 190 };

static const char head[] =
    "# Modules that forked Pythons of this suite have loaded: learnt from its runs, and yours to "
    "edit.\n"
    "# NAME, or NAME: with some of its modules; -NAME is never loaded; '#' begins a comment;\n"
    "# @TYPE NAME /path/file.py:FUNCTION loads a model that FUNCTION makes.\n";

/* --- where ----------------------------------------------------------------------------------- */

/* "pytest" of "/venv/bin/pytest -n 4", "python -m pytest" of "python3.11 -m pytest -n 4". */
static void name_program(char *const *command, char *out, size_t room) {
    const char *slash = strrchr(command[0], '/');
    const char *name = slash ? slash + 1 : command[0];
    bool is_python = strncmp(name, "python", 6) == 0;
    bool has_module = is_python && command[1] && strcmp(command[1], "-m") == 0 && command[2];
    snprintf(out, room, "%s%s%s", is_python ? "python" : name, is_python ? " -m " : "",
             has_module                ? command[2]
             : is_python && command[1] ? command[1]
                                       : "");
}

void run_preloads_find(struct run_preloads *preloads, char *const *command) {
    char program[256];
    char above[PATH_MAX];
    char *folder = getcwd(NULL, 0);
    const char *given = getenv("RESOURCE_POOL_PYTHON_PRELOADS");
    *preloads = (struct run_preloads){0};
    if (given && given[0]) {
        snprintf(preloads->path, sizeof preloads->path, "%s", given);
        preloads->is_given = true;
        free(folder);
        return;
    }
    run_history_find(above, sizeof above);
    char *slash = strrchr(above, '/');
    XXH3_state_t *state = folder && slash ? XXH3_createState() : NULL;
    if (state) {
        *slash = '\0';
        name_program(command, program, sizeof program);
        XXH3_64bits_reset(state);
        XXH3_64bits_update(state, folder, strlen(folder) + 1);
        XXH3_64bits_update(state, program, strlen(program) + 1);
        int length = snprintf(preloads->path, sizeof preloads->path, "%s/preloads-%016llx.txt",
                              above, (unsigned long long)XXH3_64bits_digest(state));
        if (length < 0 || length >= (int)sizeof preloads->path) preloads->path[0] = '\0';
    }
    XXH3_freeState(state);
    free(folder);
}

/* --- reading --------------------------------------------------------------------------------- */

static char *read_text(const char *path) {
    struct stat info;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    char *text = NULL;
    if (file >= 0 && fstat(file, &info) == 0 && S_ISREG(info.st_mode) &&
        info.st_size <= BYTES_MAX) {
        text = calloc(1, (size_t)info.st_size + 1);
        if (text && read(file, text, (size_t)info.st_size) != info.st_size) {
            free(text);
            text = NULL;
        }
    }
    if (file >= 0) close(file);
    return text;
}

static void add_name(json_t *names, const char *package, const char *name) {
    char whole[512];
    int length = snprintf(whole, sizeof whole, "%s%s%s", package, package[0] ? "." : "", name);
    if (length > 0 && length < (int)sizeof whole) json_object_set_new(names, whole, json_true());
}

/* The names of a line into `known`, or into `kept_out`. */
static void take_line(char *line, json_t *known, json_t *kept_out) {
    char *place;
    line[strcspn(line, "#\r")] = '\0';
    if (line[strspn(line, " \t")] == '@') return; /* a model, which is people's */
    char *subs = strchr(line, ':');
    if (subs) *subs++ = '\0';
    const char *package = strtok_r(line, " \t", &place);
    if (!package) return;
    if (package[0] == '-') {
        add_name(kept_out, "", package + 1);
        return;
    }
    add_name(known, "", package);
    for (char *sub = subs ? strtok_r(subs, " \t", &place) : NULL; sub;
         sub = strtok_r(NULL, " \t", &place)) {
        add_name(known, package, sub);
    }
}

static void take_text(const char *text, json_t *known, json_t *kept_out) {
    char *copy = strdup(text);
    char *rest = copy;
    for (char *line; rest && (line = strsep(&rest, "\n"));)
        take_line(line, known, kept_out);
    free(copy);
}

static bool is_kept_out(const json_t *kept_out, const char *name) {
    char above[512];
    snprintf(above, sizeof above, "%s", name);
    for (;;) {
        if (json_object_get(kept_out, above)) return true;
        char *dot = strrchr(above, '.');
        if (!dot) return false;
        *dot = '\0';
    }
}

static int compare_sizes(const void *one, const void *other, void *user) {
    const json_t *sizes = user;
    json_int_t a = json_integer_value(json_object_get(sizes, *(const char *const *)one));
    json_int_t b = json_integer_value(json_object_get(sizes, *(const char *const *)other));
    return a < b ? 1 : a > b ? -1 : 0;
}

/* {PACKAGE: how many of its modules are to be loaded}, in the order of the file. */
static json_t *count_modules(const json_t *known, const json_t *kept_out) {
    json_t *sizes = json_object();
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)known, name, value) {
        char package[512];
        if (is_kept_out(kept_out, name)) continue;
        snprintf(package, sizeof package, "%.*s", (int)strcspn(name, "."), name);
        json_int_t before = json_integer_value(json_object_get(sizes, package));
        json_object_set_new(sizes, package, json_integer(before + 1));
    }
    return sizes;
}

void run_preloads_look(struct run_preloads *preloads) {
    json_t *known = json_object();
    json_t *kept_out = json_object();
    char *text = preloads->path[0] ? read_text(preloads->path) : NULL;
    if (text) take_text(text, known, kept_out);
    json_t *sizes = count_modules(known, kept_out);
    size_t count = json_object_size(sizes);
    const char **names = calloc(count + 1, sizeof *names);
    const char *name;
    json_t *value;
    size_t i = 0;
    preloads->known_count = json_object_size(known);
    json_decref(preloads->packages);
    preloads->packages = json_array();
    json_object_foreach(sizes, name, value) {
        if (names) names[i++] = name;
    }
    /* Stable for so few that are of one size: glibc merges where there is memory. */
    if (names) qsort_r(names, count, sizeof *names, compare_sizes, sizes);
    for (i = 0; names && i < count; i++) {
        json_array_append_new(preloads->packages, json_string(names[i]));
    }
    free(names);
    json_decref(sizes);
    json_decref(kept_out);
    json_decref(known);
    free(text);
}

/* --- learning -------------------------------------------------------------------------------- */

/* What an import statement could name, so that the file is read as it was written. */
static bool is_module_name(const char *name) {
    bool is_begin = true;
    for (const unsigned char *at = (const unsigned char *)name; *at; at++) {
        bool is_letter = *at >= 0x80 || *at == '_' || ((*at | 0x20) >= 'a' && (*at | 0x20) <= 'z');
        bool is_digit = *at >= '0' && *at <= '9';
        bool is_dot = *at == '.';
        if (is_begin ? !is_letter : !is_letter && !is_digit && !is_dot) return false;
        is_begin = is_dot;
    }
    return !is_begin && strlen(name) <= MODULE_BYTES_MAX;
}

/* Of each group what all of its processes have imported, that is not known yet; in order. */
static json_t *choose_new(const json_t *groups, const json_t *known, const json_t *kept_out) {
    json_t *chosen = json_object();
    const char *group_name;
    json_t *group;
    json_object_foreach((json_t *)(uintptr_t)groups, group_name, group) {
        json_int_t count = json_integer_value(json_object_get(group, "count"));
        const char *name;
        json_t *met;
        json_object_foreach(json_object_get(group, "names"), name, met) {
            if (json_integer_value(met) < count || json_object_get(known, name)) continue;
            if (!is_module_name(name) || is_kept_out(kept_out, name)) continue;
            if (json_object_size(chosen) + json_object_size(known) >= NAMES_MAX) break;
            json_object_set_new(chosen, name, json_true());
        }
    }
    return chosen;
}

/* New names by package: {PACKAGE: "PACKAGE: sub sub"}, packages in the order in which they came. */
static json_t *by_package(const json_t *chosen) {
    json_t *lines = json_object();
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)chosen, name, value) {
        char package[512];
        size_t length = strcspn(name, ".");
        snprintf(package, sizeof package, "%.*s", (int)length, name);
        const char *line = json_string_value(json_object_get(lines, package));
        const char *sub = name[length] ? name + length + 1 : NULL;
        json_t *longer = NULL;
        if (!line) {
            longer = sub ? json_sprintf("%s: %s", package, sub) : json_string(package);
        } else if (sub) {
            longer = json_sprintf("%s%s %s", line, strchr(line, ':') ? "" : ":", sub);
        }
        if (longer) json_object_set_new(lines, package, longer);
    }
    return lines;
}

/* A module that is not there: another environment of this suite may have it. */
static bool is_absent(const char *name, const char *reason) {
    char text[256];
    snprintf(text, sizeof text, "raises ModuleNotFoundError: No module named '%.120s'", name);
    return strcmp(text, reason) == 0;
}

static bool is_to_keep_out(const char *name, const char *reason, const json_t *kept_out) {
    return is_module_name(name) && !is_absent(name, reason) && !is_kept_out(kept_out, name);
}

/* The old text with what is new behind it. */
static char *make_text(const char *old, const json_t *lines, const json_t *refused,
                       const json_t *kept_out) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    const char *name;
    json_t *value;
    if (!out) return NULL;
    fputs(old ? old : head, out);
    if (old && old[0] && old[strlen(old) - 1] != '\n') fputc('\n', out);
    json_object_foreach((json_t *)(uintptr_t)lines, name, value) {
        fprintf(out, "%s\n", json_string_value(value));
    }
    json_object_foreach((json_t *)(uintptr_t)refused, name, value) {
        if (!is_to_keep_out(name, json_string_value(value), kept_out)) continue;
        fprintf(out, "-%s  # refused: %s\n", name, json_string_value(value));
    }
    bool is_whole = !ferror(out);
    if (fclose(out) == 0 && is_whole && size <= BYTES_MAX) return text;
    free(text);
    return NULL;
}

static bool has_new(const json_t *refused, const json_t *kept_out) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)refused, name, value) {
        if (is_to_keep_out(name, json_string_value(value), kept_out)) return true;
    }
    return false;
}

static void learn(struct run_preloads *preloads, const json_t *groups, const json_t *refused) {
    json_t *known = json_object();
    json_t *kept_out = json_object();
    char *old = read_text(preloads->path);
    if (old) take_text(old, known, kept_out);
    json_t *chosen = choose_new(groups, known, kept_out);
    preloads->known_count = json_object_size(known);
    if (json_object_size(chosen) > 0 || has_new(refused, kept_out)) {
        json_t *lines = by_package(chosen);
        char *text = make_text(old, lines, refused, kept_out);
        rp_error err = RP_ERROR_INIT;
        if (text && run_file_write(preloads->path, text, strlen(text), &err) == RP_OK) {
            preloads->learnt_count = json_object_size(chosen);
            preloads->known_count += preloads->learnt_count;
        }
        free(text);
        json_decref(lines);
    }
    json_decref(chosen);
    json_decref(kept_out);
    json_decref(known);
    free(old);
}

void run_preloads_learn(struct run_preloads *preloads, const json_t *groups,
                        const json_t *refused) {
    char lock[PATH_MAX + 8];
    bool is_any = json_object_size(groups) > 0 || json_object_size(refused) > 0;
    if (!is_any || !preloads->path[0] || preloads->is_given) return;
    run_make_folders(preloads->path);
    snprintf(lock, sizeof lock, "%s.lock", preloads->path);
    int file = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) return;
    if (flock(file, LOCK_EX) == 0) learn(preloads, groups, refused);
    close(file);
}
