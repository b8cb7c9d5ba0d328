/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { STDIN, JSONL, MODEL_DB, TASKS_MAX = 16 };

static json_t *answer(const char *name, const rp_classification *found) {
    return json_pack("{s:o, s:s, s:o, s:o, s:f, s:s, s:s}", "name", json_text(name), "family",
                     rp_family_name(found->family), "subfamily",
                     json_text(rp_subfamily_name(found->subfamily)), "task",
                     json_text(rp_subfamily_task(found->subfamily)), "confidence",
                     found->confidence, "source", found->source, "evidence", found->evidence);
}

static int print_line(json_t *document) {
    if (!document || json_dumpf(document, stdout, JSON_COMPACT | JSON_REAL_PRECISION(4)) != 0) {
        fprintf(stderr, "rpool: cannot make a line of JSON: out of memory\n");
        json_decref(document);
        return 1;
    }
    putchar('\n');
    json_decref(document);
    return 0;
}

/* A text in an object, borrowed; NULL when it is not there or no text. */
static const char *text_in(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

/* What config.json in a folder says, on top of its name. */
static json_t *read_config(const char *folder, rp_model_hints *hints) {
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/config.json", folder);
    if (length < 0 || (size_t)length >= sizeof path) return NULL;
    json_error_t problem;
    json_t *config = json_load_file(path, JSON_REJECT_DUPLICATES, &problem);
    if (!config) {
        if (json_error_code(&problem) != json_error_cannot_open_file) {
            fprintf(stderr, "rpool: '%s' is damaged (line %d: %s): the name has to do\n", path,
                    problem.line, problem.text);
        }
        return NULL;
    }
    hints->model_type = text_in(config, "model_type");
    hints->architecture =
        json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    return config;
}

static void tell(const char *name, const rp_classification *found) {
    const char *subfamily = rp_subfamily_name(found->subfamily);
    printf("%s: %s%s%s, %.0f %% sure\n  by %s: %s\n", name, rp_family_name(found->family),
           subfamily ? "/" : "", subfamily ? subfamily : "", found->confidence * 100, found->source,
           found->evidence);
}

/* A line of JSON with hints, as DESCRIBED in --help; returns an exit code. */
static int classify_json_line(const char *line, size_t number, const rp_model_database *database) {
    json_error_t problem;
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &problem);
    if (!json_is_object(object)) {
        fprintf(stderr, "rpool: line %zu is no JSON object: %s\n", number,
                object ? "something else" : problem.text);
        json_decref(object);
        return 1;
    }
    const char *tasks[TASKS_MAX];
    const json_t *listed = json_object_get(object, "tasks");
    rp_model_hints hints = RP_MODEL_HINTS_INIT;
    hints.database = database;
    hints.name = text_in(object, "name");
    hints.model_type = text_in(object, "model_type");
    hints.architecture = text_in(object, "architecture");
    hints.tasks = tasks;
    for (size_t i = 0; i < json_array_size(listed) && hints.task_count < TASKS_MAX; i++) {
        const char *task = json_string_value(json_array_get(listed, i));
        if (task) tasks[hints.task_count++] = task;
    }
    rp_classification found;
    rp_classify(&hints, &found);
    int code = print_line(answer(hints.name, &found));
    json_decref(object);
    return code;
}

/* A name or an object a line; an answer a line. */
static int classify_lines(bool is_json, const rp_model_database *database) {
    char *line = NULL;
    size_t size = 0;
    size_t number = 0;
    int code = 0;
    for (ssize_t length; code == 0 && (length = getline(&line, &size, stdin)) >= 0;) {
        number++;
        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r')) {
            line[--length] = '\0';
        }
        if (length == 0) continue;
        if (is_json) {
            code = classify_json_line(line, number, database);
            continue;
        }
        rp_model_hints hints = RP_MODEL_HINTS_INIT;
        rp_classification found;
        hints.name = line;
        hints.database = database;
        rp_classify(&hints, &found);
        json_t *document = answer(line, &found);
        if (!document) document = answer(NULL, &found); /* the name is not UTF-8 */
        code = print_line(document);
    }
    free(line);
    return code;
}

static int classify_words(const struct arguments *arguments, const rp_model_database *database) {
    json_t *all = arguments->json && arguments->word_count > 1 ? json_array() : NULL;
    for (size_t i = 0; i < arguments->word_count; i++) {
        const char *name = arguments->words[i];
        rp_model_hints hints = RP_MODEL_HINTS_INIT;
        rp_classification found;
        struct stat file;
        hints.name = name;
        hints.database = database;
        json_t *config = NULL;
        if (stat(name, &file) == 0 && S_ISDIR(file.st_mode)) config = read_config(name, &hints);
        rp_classify(&hints, &found);
        json_decref(config);
        if (all) {
            json_array_append_new(all, answer(name, &found));
        } else if (arguments->json) {
            return print_json(answer(name, &found));
        } else {
            tell(name, &found);
        }
    }
    return all ? print_json(all) : 0;
}

int classify_run(const struct arguments *arguments) {
    bool is_stream = arguments->options[STDIN] || arguments->options[JSONL];
    if (is_stream && arguments->word_count > 0) {
        return usage_error("classify", "names come from the command line or from --stdin");
    }
    if (!is_stream && arguments->word_count == 0) {
        return usage_error("classify", "'rpool classify' needs a name, a folder, or --stdin");
    }
    rp_model_database *database = NULL;
    rp_error err = RP_ERROR_INIT;
    const char *path = arguments->options[MODEL_DB];
    if (path && rp_model_database_open(path, &database, &err) != RP_OK) return report(&err);
    int code = is_stream ? classify_lines(arguments->options[JSONL] != NULL, database)
                         : classify_words(arguments, database);
    rp_model_database_close(database);
    return code;
}
