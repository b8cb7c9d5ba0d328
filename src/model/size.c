/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes from names.
 *
 * A name is cut into words and numbers: "Llama-3.1-8B" is "llama", "3.1", "8" and "b". A number is
 * a size when it stands by itself and "b" or "m" follows it closely, and nothing else does: "8b",
 * "1.1B", "125m", not "v2", "128k", "4bit", nor the active parameters of "30B-A3B". The first one
 * counts, since what follows may be the number of tokens it was trained with.
 */
#include "model/size.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES_MAX = 256, PIECES_MAX = 64 };

/* A word or a number. */
struct piece {
    const char *text;
    size_t length;
    bool is_number;
    bool is_close; /* no separator stands before it */
};

struct pieces {
    char text[NAME_BYTES_MAX];      /* the base of the name in lower case                 */
    char words[NAME_BYTES_MAX * 2]; /* the pieces with a blank after each             */
    struct piece list[PIECES_MAX];
    size_t starts[PIECES_MAX]; /* of each piece in `words`                           */
    size_t count;
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return c >= 'a' && c <= 'z';
}

/* How long the word or number is that begins there; a dot between digits is of the number. */
static size_t piece_length(const char *at) {
    size_t length = 0;
    if (is_letter(*at)) {
        while (is_letter(at[length])) {
            length++;
        }
        return length;
    }
    while (is_digit(at[length]) || (length > 0 && at[length] == '.' && is_digit(at[length + 1]) &&
                                    is_digit(at[length - 1]))) {
        length++;
    }
    return length;
}

static void cut_name(struct pieces *pieces, const char *name) {
    const char *base = name;
    for (const char *at = name; *at; at++) {
        if ((*at == '/' || *at == '\\') && at[1]) base = at + 1;
    }
    size_t length = 0;
    for (; base[length] && length + 1 < sizeof pieces->text; length++) {
        char c = base[length];
        if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        pieces->text[length] = c;
    }
    pieces->text[length] = '\0';
    size_t used = 0;
    pieces->count = 0;
    for (size_t at = 0; at < length && pieces->count < PIECES_MAX;) {
        size_t piece = piece_length(pieces->text + at);
        if (piece == 0) {
            at++;
            continue;
        }
        size_t end_before = 0;
        if (pieces->count > 0) {
            const struct piece *before = &pieces->list[pieces->count - 1];
            end_before = (size_t)(before->text - pieces->text) + before->length;
        }
        pieces->list[pieces->count] =
            (struct piece){pieces->text + at, piece, is_digit(pieces->text[at]),
                           pieces->count > 0 && end_before == at};
        pieces->starts[pieces->count++] = used;
        memcpy(pieces->words + used, pieces->text + at, piece);
        used += piece;
        pieces->words[used++] = ' ';
        at += piece;
    }
    pieces->words[used] = '\0';
}

static bool is_word(const struct pieces *pieces, size_t at, const char *word) {
    if (at >= pieces->count) return false;
    const struct piece *piece = &pieces->list[at];
    return strlen(word) == piece->length && memcmp(word, piece->text, piece->length) == 0;
}

static bool is_close(const struct pieces *pieces, size_t at) {
    return at < pieces->count && pieces->list[at].is_close;
}

static double number_at(const struct pieces *pieces, size_t at) {
    return strtod(pieces->list[at].text, NULL);
}

/* ---- a size that is written out ---- */

struct size {
    double parameters;
    double least;
    double most;
    uint32_t experts; /* 0: it is no mixture */
};

/* Digits that say something: 1 in "7" and "0.5", 2 in "13" and "1.1". */
static int significant_digits(const struct piece *piece) {
    int digits = 0;
    for (size_t i = 0; i < piece->length; i++) {
        char c = piece->text[i];
        if (is_digit(c) && (c != '0' || digits > 0)) digits++;
    }
    return digits;
}

/* Rounded names: Gemma 7B has 8.5 billion, a 30B 32.5, DeepSeek's 1.5B 1.8. */
static struct size widen(double parameters, int digits) {
    double less = digits < 2 ? 0.85 : digits == 2 ? 0.9 : 0.95;
    double more = digits < 2 ? 1.27 : digits == 2 ? 1.2 : 1.05;
    return (struct size){parameters, parameters * less, parameters * more, 0};
}

/*
 * A mixture shares all but its feed-forward blocks: "8x7B" is far from 56. Those are 78 % of a
 * Mistral 7B and 66 to 100 % of what else is mixed.
 */
static struct size mix(double experts, double each) {
    return (struct size){each * (0.22 + 0.78 * experts), each * (0.34 + 0.66 * experts),
                         each * experts, (uint32_t)experts};
}

/* The size that begins with that number. */
static bool read_size(const struct pieces *pieces, size_t at, struct size *size) {
    const struct piece *list = pieces->list;
    if (!list[at].is_number || is_close(pieces, at)) return false;
    double experts = 0;
    if (is_close(pieces, at + 1) && is_word(pieces, at + 1, "x") && is_close(pieces, at + 2)) {
        experts = number_at(pieces, at);
        at += 2;
    }
    if (!is_close(pieces, at + 1)) return false;
    bool is_billions = is_word(pieces, at + 1, "b");
    if (!is_billions && !is_word(pieces, at + 1, "m")) return false;
    if (is_word(pieces, at + 2, "tokens") || is_word(pieces, at + 2, "token")) return false;
    double value = number_at(pieces, at);
    int digits = significant_digits(&list[at]);
    bool is_split = is_close(pieces, at + 2) && list[at + 2].is_number;
    if (is_split && list[at + 2].length == 1) { /* "7b1" */
        value += number_at(pieces, at + 2) / 10;
        digits++;
    } else if (at > 0 && experts == 0 && list[at - 1].is_number && list[at - 1].length == 1 &&
               list[at].length == 1 && list[at].text[-1] == '_' && strchr(pieces->text, '-')) {
        value = number_at(pieces, at - 1) + value / 10; /* "stablelm-2-1_6b" */
        digits++;
    }
    /* "1m" is a context of a million tokens; nothing has more than 20,000 billion. */
    if (!is_billions && (value < 2 || value > 2000)) return false;
    if (is_billions && (value <= 0 || value > 20000)) return false;
    value *= is_billions ? 1e9 : 1e6;
    bool is_mixture = experts >= 2 && experts <= 512;
    *size = is_mixture ? mix(experts, value) : widen(value, digits);
    return true;
}

static bool find_size(const struct pieces *pieces, struct size *size) {
    for (size_t i = 0; i < pieces->count; i++) {
        if (read_size(pieces, i, size)) return true;
    }
    return false;
}

/* ---- known lines ---- */

static size_t count_words(const char *words) {
    size_t count = 1;
    for (; *words; words++) {
        count += *words == ' ';
    }
    return count;
}

/* The first row that is not before that word. */
static size_t first_row(const char *word, size_t length) {
    size_t low = 0;
    size_t high = rp_known_size_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strncmp(rp_known_sizes[middle].words, word, length) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The row whose words stand in the name, the one with the most of them. */
static const struct rp_known_size *find_line(const struct pieces *pieces) {
    const struct rp_known_size *best = NULL;
    size_t best_count = 0;
    for (size_t i = 0; i < pieces->count; i++) {
        const char *at = pieces->words + pieces->starts[i];
        size_t word = pieces->list[i].length;
        for (size_t j = first_row(at, word); j < rp_known_size_count; j++) {
            const char *words = rp_known_sizes[j].words;
            if (strncmp(words, at, word) != 0) break;
            size_t length = strlen(words);
            if (strncmp(words, at, length) != 0 || at[length] != ' ') continue;
            size_t count = count_words(words);
            if (count <= best_count) continue;
            best = &rp_known_sizes[j];
            best_count = count;
        }
    }
    return best;
}

const struct rp_known_size *rp_known_size_of_name(const char *name) {
    struct pieces pieces;
    cut_name(&pieces, name);
    return find_line(&pieces);
}

static void take(uint32_t *field, uint32_t value) {
    if (*field == RP_UNKNOWN_U32) *field = value;
}

static void take_line(const struct rp_known_size *line, rp_model_facts *facts) {
    const uint32_t *counts = line->counts;
    uint32_t head_size = counts[RP_KNOWN_HEAD_SIZE];
    bool is_split = head_size == RP_UNKNOWN_U32 && counts[RP_KNOWN_HEADS] != RP_UNKNOWN_U32;
    if (is_split) head_size = counts[RP_KNOWN_HIDDEN] / counts[RP_KNOWN_HEADS];
    take(&facts->layer_count, counts[RP_KNOWN_LAYERS]);
    take(&facts->hidden_size, counts[RP_KNOWN_HIDDEN]);
    take(&facts->intermediate_size, counts[RP_KNOWN_INNER]);
    take(&facts->head_count, counts[RP_KNOWN_HEADS]);
    take(&facts->kv_head_count, counts[RP_KNOWN_KV_HEADS]);
    take(&facts->head_size, head_size);
    take(&facts->vocabulary_size, counts[RP_KNOWN_VOCABULARY]);
    take(&facts->context_length, counts[RP_KNOWN_CONTEXT]);
    take(&facts->expert_count, counts[RP_KNOWN_EXPERTS]);
    take(&facts->expert_used_count, counts[RP_KNOWN_EXPERTS_USED]);
}

/* ---- precision ---- */

static void take_text(char *field, size_t size, const char *text) {
    if (!field[0]) snprintf(field, size, "%s", text);
}

static void take_precision(rp_model_facts *facts, const char *precision, const char *scheme) {
    take_text(facts->precision, sizeof facts->precision, precision);
    take_text(facts->quantization, sizeof facts->quantization, scheme);
}

/* "Q4_K_M", "q8_0", "IQ3_XXS" and "q4" alone, as ggml's types and mixtures of them are called. */
static bool read_ggml(const struct pieces *pieces, size_t at, rp_model_facts *facts) {
    bool is_i = is_word(pieces, at, "iq");
    if ((!is_i && !is_word(pieces, at, "q")) || is_close(pieces, at)) return false;
    if (!is_close(pieces, at + 1) || !pieces->list[at + 1].is_number ||
        pieces->list[at + 1].length != 1) {
        return false;
    }
    char bits = pieces->list[at + 1].text[0];
    static const char *const i_ends[] = {"xxs", "xs", "s", "m", "nl"};
    static const char *const ends[] = {"s", "m", "l", "xl"};
    char precision[sizeof facts->precision];
    char scheme[sizeof facts->quantization];
    if (is_i) {
        for (size_t i = 0; i < sizeof i_ends / sizeof i_ends[0]; i++) {
            if (!is_word(pieces, at + 2, i_ends[i])) continue;
            /* The mixture IQ3_M is mostly of iq3_s. */
            bool is_mixture = strcmp(i_ends[i], "m") == 0 && bits != '1';
            snprintf(precision, sizeof precision, "iq%c_%s", bits, is_mixture ? "s" : i_ends[i]);
            snprintf(scheme, sizeof scheme, "IQ%c_%s", bits, i_ends[i]);
            for (char *c = scheme; *c; c++) {
                if (is_letter(*c)) *c = (char)(*c - 'a' + 'A');
            }
            take_precision(facts, precision, scheme);
            return true;
        }
        return false;
    }
    if (is_word(pieces, at + 2, "k")) {
        snprintf(precision, sizeof precision, "q%c_k", bits);
        snprintf(scheme, sizeof scheme, "Q%c_K", bits);
        for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
            if (!is_word(pieces, at + 3, ends[i])) continue;
            static const char *const tails[] = {"S", "M", "L", "XL"};
            snprintf(scheme, sizeof scheme, "Q%c_K_%s", bits, tails[i]);
        }
        take_precision(facts, precision, scheme);
        return true;
    }
    char kind = is_word(pieces, at + 2, "1") ? '1' : '0';
    snprintf(precision, sizeof precision, "q%c_%c", bits, kind);
    snprintf(scheme, sizeof scheme, "Q%c_%c", bits, kind);
    take_precision(facts, precision, scheme);
    return true;
}

/* Words that say a precision with the number that follows them closely. */
static const struct {
    const char *word;
    const char *number; /* NULL: none */
    const char *precision;
    const char *scheme;
} precisions[] = {
    {"int", "8", "int8", ""},        {"int", "4", "int4", ""},
    {"fp", "8", "fp8", "fp8"},       {"fp", "16", "fp16", ""},
    {"fp", "32", "fp32", ""},        {"bf", "16", "bf16", ""},
    {"f", "16", "fp16", ""},         {"f", "32", "fp32", ""},
    {"float", "16", "fp16", ""},     {"mxfp", "4", "mxfp4", "mxfp4"},
    {"nvfp", "4", "nvfp4", "nvfp4"}, {"nf", "4", "nf4", "bitsandbytes"},
    {"uint", "8", "int8", ""},       {"half", NULL, "fp16", ""},
};

/* Schemes, and the precision they nearly always mean. */
static const struct {
    const char *word;
    const char *scheme;
    const char *precision;
} schemes[] = {
    {"gptq", "gptq", "int4"},        {"awq", "awq", "int4"},
    {"bnb", "bitsandbytes", "int4"}, {"bitsandbytes", "bitsandbytes", "int4"},
    {"eetq", "eetq", "int8"},        {"hqq", "hqq", "int4"},
    {"aqlm", "aqlm", "int2"},        {"autoround", "autoround", "int4"},
};

static void find_precision(const struct pieces *pieces, rp_model_facts *facts) {
    const char *scheme = NULL;
    const char *usual = NULL;
    for (size_t i = 0; i < pieces->count; i++) {
        for (size_t j = 0; j < sizeof schemes / sizeof schemes[0]; j++) {
            if (!is_word(pieces, i, schemes[j].word)) continue;
            scheme = schemes[j].scheme;
            usual = schemes[j].precision;
        }
    }
    if (scheme) take_text(facts->quantization, sizeof facts->quantization, scheme);
    for (size_t i = 0; i < pieces->count; i++) {
        if (read_ggml(pieces, i, facts)) return;
        bool is_followed = is_close(pieces, i + 1);
        if (is_followed && is_word(pieces, i + 1, "bit") && !is_close(pieces, i)) {
            if (is_word(pieces, i, "4")) take_precision(facts, "int4", "");
            if (is_word(pieces, i, "8")) take_precision(facts, "int8", "");
        }
        if (is_followed && is_word(pieces, i, "w") && is_word(pieces, i + 2, "a")) { /* "w8a8" */
            if (is_word(pieces, i + 1, "4")) take_precision(facts, "int4", "");
            if (is_word(pieces, i + 1, "8")) take_precision(facts, "int8", "");
        }
        for (size_t j = 0; j < sizeof precisions / sizeof precisions[0]; j++) {
            if (!is_word(pieces, i, precisions[j].word)) continue;
            const char *number = precisions[j].number;
            if (number && (!is_followed || !is_word(pieces, i + 1, number))) continue;
            if (number && is_close(pieces, i)) continue; /* "tmp2nf4x" is a folder of somebody's */
            take_precision(facts, precisions[j].precision, precisions[j].scheme);
        }
    }
    if (usual) take_text(facts->precision, sizeof facts->precision, usual);
}

/* ---- all of it ---- */

static bool has_size_in(const struct rp_known_size *line) {
    const char *end = strrchr(line->words, ' ');
    return end && (strcmp(end, " b") == 0 || strcmp(end, " m") == 0);
}

void rp_size_of_name(const char *name, rp_model_facts *facts) {
    struct pieces pieces;
    struct size size = {0};
    cut_name(&pieces, name);
    const struct rp_known_size *line = find_line(&pieces);
    bool is_written = find_size(&pieces, &size);
    if (line && is_written && !has_size_in(line)) {
        /* "bloomz-3b" is no BLOOM of 176 billion. */
        double ratio = (double)line->parameter_count / size.parameters;
        if (ratio > 1.6 || ratio < 0.6) line = NULL;
    }
    find_precision(&pieces, facts);
    if (line) {
        /* Who tunes a model changes its vocabulary at most: little of a large one. */
        bool is_whole = count_words(line->words) == pieces.count;
        double parameters = (double)line->parameter_count;
        double less = is_whole ? 0.98 : has_size_in(line) ? 0.97 : 0.9;
        double more = is_whole ? 1.02 : has_size_in(line) ? 1.03 : 1.25;
        size = (struct size){parameters, parameters * less, parameters * more, 0};
        take_line(line, facts);
    } else if (!is_written) {
        return;
    }
    if (size.experts > 0) take(&facts->expert_count, size.experts);
    if (facts->parameter_count != RP_UNKNOWN_U64) return;
    facts->parameter_count = (uint64_t)size.parameters;
    facts->parameter_count_min = (uint64_t)size.least;
    facts->parameter_count_max = (uint64_t)size.most;
    facts->parameter_method = RP_FACTS_NAME;
}
