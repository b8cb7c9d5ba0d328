/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STDIN, JSONL, MODEL_DB, TEXTS_MAX = 256, LINE_BYTES_MAX = 1 << 20 };

static json_t *answer(const char *name, const rp_classification *found) {
    return json_pack("{s:o, s:s, s:o, s:o, s:f, s:s, s:s}", "name", json_text(name), "family",
                     rp_family_name(found->family), "subfamily",
                     json_text(rp_subfamily_name(found->subfamily)), "task",
                     json_text(rp_subfamily_task(found->subfamily)), "confidence",
                     found->confidence, "source", found->source, "evidence", found->evidence);
}

static json_t *json_count(uint32_t count) {
    return count == RP_UNKNOWN_U32 ? json_null() : json_integer(count);
}

/* A text of the facts: "" is not known. */
static json_t *json_known(const char *text) {
    return text[0] ? json_string(text) : json_null();
}

static json_t *json_method(rp_facts_method method) {
    return method == RP_FACTS_UNKNOWN ? json_null() : json_string(rp_facts_method_name(method));
}

static json_t *json_stored(const rp_model_facts *facts) {
    json_t *rows = json_array();
    for (size_t i = 0; i < facts->stored_count; i++) {
        const rp_stored *stored = &facts->stored[i];
        json_array_append_new(rows, json_pack("{s:s, s:o, s:o, s:o}", "type", stored->name,
                                              "tensors", json_bytes(stored->tensor_count),
                                              "elements", json_bytes(stored->element_count),
                                              "bytes", json_bytes(stored->bytes)));
    }
    return rows;
}

static json_t *json_facts(const rp_model_facts *facts) {
    const struct {
        const char *key;
        json_t *value;
    } rows[] = {
        {"format", json_text(facts->format)},
        {"model_type", json_known(facts->model_type)},
        {"architecture", json_known(facts->architecture)},
        {"parameters", json_bytes(facts->parameter_count)},
        {"parameters_min", json_bytes(facts->parameter_count_min)},
        {"parameters_max", json_bytes(facts->parameter_count_max)},
        {"parameter_method", json_method(facts->parameter_method)},
        {"weights_bytes", json_bytes(facts->weights_bytes)},
        {"weights_method", json_method(facts->weights_method)},
        {"precision", json_known(facts->precision)},
        {"quantization", json_known(facts->quantization)},
        {"layers", json_count(facts->layer_count)},
        {"hidden_size", json_count(facts->hidden_size)},
        {"intermediate_size", json_count(facts->intermediate_size)},
        {"heads", json_count(facts->head_count)},
        {"kv_heads", json_count(facts->kv_head_count)},
        {"head_size", json_count(facts->head_size)},
        {"vocabulary_size", json_count(facts->vocabulary_size)},
        {"context_length", json_count(facts->context_length)},
        {"experts", json_count(facts->expert_count)},
        {"experts_used", json_count(facts->expert_used_count)},
        {"inputs", json_count(facts->input_count)},
        {"outputs", json_count(facts->output_count)},
        {"file_bytes", json_bytes(facts->file_bytes)},
        {"file_count", json_count(facts->file_count)},
        {"tensor_count", json_bytes(facts->tensor_count)},
        {"stored", json_stored(facts)},
    };
    json_t *object = json_object();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_object_set_new(object, rows[i].key, rows[i].value);
    }
    return object;
}

/* The answer of a name, a file or a folder: the family, and all else that is known. */
static json_t *whole_answer(const char *name, const rp_model_facts *facts) {
    json_t *document = answer(name, &facts->classification);
    json_object_set_new(document, "facts", json_facts(facts));
    return document;
}

/* "22.7 M", "6.7 B" */
static const char *count_text(uint64_t count, char *text, size_t text_bytes) {
    static const char *const units[] = {"", " k", " M", " B", " T"};
    double value = (double)count;
    size_t unit = 0;
    while (value >= 999.95 && unit < 4) {
        value /= 1000;
        unit++;
    }
    snprintf(text, text_bytes, unit ? "%.1f%s" : "%.0f%s", value, units[unit]);
    return text;
}

/* The rest of a line: ", " and a figure with its name, where the figure is known. */
static void tell_count(const char **comma, uint32_t count, const char *what) {
    if (count == RP_UNKNOWN_U32) return;
    printf("%s%u %s", *comma, count, what);
    *comma = ", ";
}

static void tell_parameters(const rp_model_facts *facts) {
    char count[24];
    char min[24];
    char max[24];
    if (facts->parameter_count == RP_UNKNOWN_U64) return;
    printf("  parameters: %s", count_text(facts->parameter_count, count, sizeof count));
    if (facts->parameter_count_min != facts->parameter_count_max) {
        printf(" (%s to %s)", count_text(facts->parameter_count_min, min, sizeof min),
               count_text(facts->parameter_count_max, max, sizeof max));
    }
    printf(", by %s\n", rp_facts_method_name(facts->parameter_method));
}

static void tell_weights(const rp_model_facts *facts) {
    const char *kind = facts->format ? facts->format : facts->precision;
    if (!kind[0]) return;
    printf("  weights: %s", kind);
    if (facts->format && facts->precision[0]) printf(", %s", facts->precision);
    if (facts->quantization[0]) printf(" (%s)", facts->quantization);
    if (facts->weights_bytes != RP_UNKNOWN_U64) printf(", %s", bytes_text(facts->weights_bytes));
    if (facts->tensor_count != RP_UNKNOWN_U64) {
        printf(" in %llu tensor%s", (unsigned long long)facts->tensor_count,
               facts->tensor_count == 1 ? "" : "s");
    }
    if (facts->format) {
        printf(", %s in %u file%s", bytes_text(facts->file_bytes), facts->file_count,
               facts->file_count == 1 ? "" : "s");
    }
    putchar('\n');
}

static void tell(const char *name, const rp_model_facts *facts) {
    const rp_classification *found = &facts->classification;
    const char *subfamily = rp_subfamily_name(found->subfamily);
    print_name(name);
    printf(": %s%s%s", rp_family_name(found->family), subfamily ? "/" : "",
           subfamily ? subfamily : "");
    if (found->family != RP_FAMILY_UNKNOWN) printf(", %.0f %% sure", found->confidence * 100);
    printf("\n  by %s: %s\n", found->source, found->evidence);
    tell_parameters(facts);
    tell_weights(facts);
    const char *comma = "  shape: ";
    const char *before = comma;
    tell_count(&comma, facts->layer_count, "layers");
    tell_count(&comma, facts->hidden_size, "wide");
    tell_count(&comma, facts->head_count, "heads");
    tell_count(&comma, facts->expert_count, "experts");
    tell_count(&comma, facts->context_length, "tokens at most");
    if (comma != before) putchar('\n');
}

/* --- lines of stdin ------------------------------------------------------------------------- */

/* The text of a key; NULL where there is none. False after a message: it is something else. */
static bool take_text(const json_t *object, const char *key, size_t number, const char **text) {
    const json_t *value = json_object_get(object, key);
    *text = json_string_value(value);
    if (!value || *text || json_is_null(value)) return true;
    fprintf(stderr, "rpool: line %zu: '%s': a text is needed\n", number, key);
    return false;
}

/* The same for an array of texts. */
static bool take_texts(const json_t *object, const char *key, size_t number, const char **texts,
                       size_t *count) {
    const json_t *listed = json_object_get(object, key);
    bool is_good = !listed || json_is_null(listed) || json_is_array(listed);
    for (size_t i = 0; i < json_array_size(listed) && is_good && *count < TEXTS_MAX; i++) {
        texts[*count] = json_string_value(json_array_get(listed, i));
        is_good = texts[(*count)++] != NULL;
    }
    if (is_good) return true;
    fprintf(stderr, "rpool: line %zu: '%s': an array of texts is needed\n", number, key);
    return false;
}

/* A line of JSON with hints, as described in --help; returns an exit code. */
static int classify_json_line(const char *line, size_t number, const rp_model_database *database) {
    json_error_t problem;
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &problem);
    if (!json_is_object(object)) {
        fprintf(stderr, "rpool: line %zu is no JSON object: %s\n", number,
                object ? "something else" : problem.text);
        json_decref(object);
        return 1;
    }
    const char *tasks[TEXTS_MAX];
    const char *methods[TEXTS_MAX];
    rp_model_hints hints = RP_MODEL_HINTS_INIT;
    hints.database = database;
    hints.tasks = tasks;
    hints.methods = methods;
    int code = 1;
    if (take_text(object, "name", number, &hints.name) &&
        take_text(object, "model_type", number, &hints.model_type) &&
        take_text(object, "architecture", number, &hints.architecture) &&
        take_texts(object, "tasks", number, tasks, &hints.task_count) &&
        take_texts(object, "methods", number, methods, &hints.method_count)) {
        rp_classification found;
        rp_classify(&hints, &found);
        bool is_bare = hints.task_count == 0 && hints.method_count == 0;
        if (is_bare && !hints.name && !hints.model_type && !hints.architecture) {
            fprintf(stderr,
                    "rpool: line %zu has no name, model_type, architecture, tasks or methods\n",
                    number);
        }
        code = print_json_line(answer(hints.name, &found));
    }
    json_decref(object);
    return code;
}

static int classify_name_line(const char *line, const rp_model_database *database) {
    rp_model_hints hints = RP_MODEL_HINTS_INIT;
    rp_classification found;
    hints.name = line;
    hints.database = database;
    rp_classify(&hints, &found);
    return print_json_line(answer(line, &found));
}

/* The next line of stdin without its end; false: there is none, or none that is text (*code). */
static bool read_line(char *line, size_t number, int *code) {
    size_t length = 0;
    int c;
    while ((c = getc(stdin)) != EOF && c != '\n') {
        if (c == '\0' || length == LINE_BYTES_MAX) {
            fprintf(stderr, "rpool: line %zu of stdin %s\nhint: give a name a line, as text\n",
                    number, c ? "is longer than 1 MiB" : "has a zero byte: that is no text");
            *code = 1;
            return false;
        }
        line[length++] = (char)c;
    }
    if (c == EOF && ferror(stdin)) {
        fprintf(stderr, "rpool: cannot read stdin: %s\n", strerror(errno));
        *code = 1;
        return false;
    }
    while (length > 0 && line[length - 1] == '\r') {
        length--;
    }
    line[length] = '\0';
    return c != EOF || length > 0;
}

/* A name or an object a line; an answer a line. A line that cannot be read costs the others
 * nothing. */
static int classify_lines(bool is_json, const rp_model_database *database) {
    int code = 0;
    char *line = malloc(LINE_BYTES_MAX + 1);
    if (!line) {
        fprintf(stderr, "rpool: no memory to read stdin\n");
        return 1;
    }
    for (size_t number = 1; !ferror(stdout) && read_line(line, number, &code); number++) {
        if (!line[0]) continue;
        int failed = is_json ? classify_json_line(line, number, database)
                             : classify_name_line(line, database);
        if (failed) code = failed;
    }
    free(line);
    return code;
}

static int classify_words(const struct arguments *arguments, const rp_model_database *database) {
    json_t *all = arguments->json && arguments->word_count > 1 ? json_array() : NULL;
    int code = 0;
    for (size_t i = 0; i < arguments->word_count; i++) {
        const char *name = arguments->words[i];
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        rp_model_hints hints = RP_MODEL_HINTS_INIT;
        hints.database = database;
        if (rp_model_facts_read(name, &hints, &facts, &err) != RP_OK) {
            int failed = report(&err);
            if (code == 0) code = failed;
        } else if (all) {
            json_array_append_new(all, whole_answer(name, &facts));
        } else if (arguments->json) {
            return print_json(whole_answer(name, &facts));
        } else {
            tell(name, &facts);
        }
    }
    int printed = all ? print_json(all) : 0;
    return code ? code : printed;
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
