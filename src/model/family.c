/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The family of a model, by its name.
 *
 * A name is cut at its last '/' into an organisation and a base. Parts of the base that are known
 * (data/families.txt) are found at the beginnings of its words; they, how they stand to each other,
 * its words, its character 3- and 4-grams and the organisation are features of one linear model,
 * hashed into a table of small weights. The softmax of its scores is the confidence.
 */
#include "model/family.h"

#include "model/family_tables.h"

#include <math.h>
#include <resourcepool/classify.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    NAME_BYTES_MAX = 512,
    GRAM_BYTES_MAX = 96,
    PARTS_MAX = 24,
    STRENGTH_MAX = 10,
    PART_FAMILIES = RP_FAMILY_CLASSES + 1, /* the last: vision or multimodal */
};

/* Less than this is no answer. */
static const double answer_min = 0.45;

/* A part that is of images or of images and texts leaves it open from this share of the latter. */
static const double either_min = 0.2;

/* Values of features, in 1/RP_FAMILY_VALUE_UNIT. */
enum { WHOLE = 20, ORGANISATION = 14, WORD = 12, PART = 10, ORGANISATION_WORD = 8, GRAM = 5 };

/* What a feature is of: the first byte that is hashed. */
enum kind {
    K_PART_FAMILY,
    K_PART,
    K_TOP,
    K_ANY_TOP,
    K_FIRST,
    K_LAST,
    K_NONE,
    K_ORG_PART,
    K_ORG,
    K_ORG_WORD,
    K_WORD,
    K_GRAM,
    K_SHAPE
};

/* A text in lower case, in which all but letters, digits and dots is one '-'. */
struct plain {
    char bytes[NAME_BYTES_MAX];
    bool is_capital[NAME_BYTES_MAX]; /* a word begins there by its capital: "FashionCLIP" has two */
    size_t length;
};

struct part {
    const struct rp_family_node *node;
    size_t begin;
    size_t end;
    size_t length; /* of the part, without separators */
    uint32_t hash;
};

static bool is_letter(char c) {
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c) {
    return is_letter(c) || is_digit(c);
}

static uint32_t hash_begin(enum kind kind) {
    return (2166136261U ^ (uint32_t)kind) * 16777619U;
}

static uint32_t hash_more(uint32_t hash, unsigned char byte) {
    return (hash ^ byte) * 16777619U;
}

static uint32_t bucket_of(uint32_t hash) {
    hash ^= hash >> 15;
    hash *= 0x2c1b3c6dU;
    hash ^= hash >> 12;
    return hash % RP_FAMILY_BUCKETS;
}

static bool is_upper(char c) {
    return c >= 'A' && c <= 'Z';
}

/* A capital after a small letter, or the last of several before a small one: "AST|Model". */
static bool is_capital_of_word(const char *text, size_t length, size_t at) {
    if (at == 0 || !is_upper(text[at])) return false;
    if (is_letter(text[at - 1])) return true;
    return is_upper(text[at - 1]) && at + 1 < length && is_letter(text[at + 1]);
}

/* Make it plain; a separator at an end goes. */
static void make_plain(struct plain *out, const char *text, size_t length) {
    out->length = 0;
    for (size_t i = 0; i < length && out->length + 1 < sizeof out->bytes; i++) {
        char c = text[i];
        out->is_capital[out->length] = is_capital_of_word(text, length, i);
        if (is_upper(c)) c = (char)(c - 'A' + 'a');
        if (is_alnum(c) || c == '.') {
            out->bytes[out->length++] = c;
        } else if (out->length > 0 && out->bytes[out->length - 1] != '-') {
            out->bytes[out->length++] = '-';
        }
    }
    if (out->length > 0 && out->bytes[out->length - 1] == '-') out->length--;
    out->bytes[out->length] = '\0';
    out->is_capital[out->length] = false;
}

/* Whether a word begins there: after a separator, a letter after a digit, or a capital. */
static bool is_beginning(const struct plain *text, size_t at) {
    if (!is_alnum(text->bytes[at])) return false;
    if (text->is_capital[at]) return true;
    if (at == 0 || !is_alnum(text->bytes[at - 1])) return true;
    return is_letter(text->bytes[at]) && is_digit(text->bytes[at - 1]);
}

static const struct rp_family_node *child_of(const struct rp_family_node *node, char character) {
    const struct rp_family_node *child = &rp_family_nodes[node->first_child];
    for (uint32_t i = 0; i < node->child_count; i++) {
        if (child[i].first == character) return &child[i];
    }
    return NULL;
}

/* The longest known part that begins there; separators inside it do not count. */
static bool find_part(const struct plain *text, size_t begin, struct part *part) {
    const struct rp_family_node *node = &rp_family_nodes[0];
    uint32_t hash = hash_begin(K_PART);
    size_t length = 0;
    size_t to_come = 0; /* letters of the node that were not met yet */
    part->node = NULL;
    for (size_t at = begin; at < text->length; at++) {
        char c = text->bytes[at];
        if (!is_alnum(c)) continue;
        if (to_come > 0) {
            if (rp_family_letters[node->rest + node->rest_length - to_come] != c) break;
            to_come--;
        } else {
            node = child_of(node, c);
            if (!node) break;
            to_come = node->rest_length;
        }
        hash = hash_more(hash, (unsigned char)c);
        length++;
        if (to_come > 0 || node->family == RP_NO_PART) continue;
        char next = text->bytes[at + 1];
        if (is_letter(next) && !node->is_open && !text->is_capital[at + 1]) continue;
        if (is_digit(next) && is_digit(c)) continue;
        *part = (struct part){node, begin, at + 1, length, hash};
    }
    return part->node != NULL;
}

/* The known parts of a text, from left to right, none inside another. */
static size_t find_parts(const struct plain *text, struct part parts[PARTS_MAX]) {
    size_t count = 0;
    size_t end = 0;
    for (size_t at = 0; at < text->length && count < PARTS_MAX; at++) {
        if (at < end || !is_beginning(text, at)) continue;
        if (!find_part(text, at, &parts[count])) continue;
        end = parts[count++].end;
    }
    return count;
}

typedef void tell_feature(void *user, uint32_t bucket, int value);

static inline void tell_numbers(tell_feature *tell, void *user, enum kind kind, uint32_t a,
                                uint32_t b, int value) {
    uint32_t hash = hash_more(hash_more(hash_begin(kind), (unsigned char)a), (unsigned char)b);
    tell(user, bucket_of(hash), value);
}

static inline void tell_text(tell_feature *tell, void *user, enum kind kind, const char *text,
                             size_t length, int value) {
    uint32_t hash = hash_begin(kind);
    for (size_t i = 0; i < length; i++) {
        hash = hash_more(hash, (unsigned char)text[i]);
    }
    tell(user, bucket_of(hash), value);
}

static inline void tell_words(tell_feature *tell, void *user, enum kind kind,
                              const struct plain *text, int value) {
    for (size_t at = 0; at < text->length; at++) {
        size_t begin = at;
        while (is_letter(text->bytes[at])) {
            at++;
        }
        if (at > begin) tell_text(tell, user, kind, text->bytes + begin, at - begin, value);
    }
}

/* Words with digits, every number as one '0': "8b", "1.1b" and "16khz" as "0b", "0.0b", "0khz".
 * What carries a size in billions is seldom a backbone of images, whatever its number. */
static inline void tell_shapes(tell_feature *tell, void *user, const struct plain *text) {
    for (size_t at = 0; at < text->length; at++) {
        uint32_t hash = hash_begin(K_SHAPE);
        bool has_digit = false;
        for (; at < text->length && text->bytes[at] != '-'; at++) {
            bool is_number = is_digit(text->bytes[at]);
            if (is_number && at > 0 && is_digit(text->bytes[at - 1])) continue;
            has_digit |= is_number;
            hash = hash_more(hash, is_number ? '0' : (unsigned char)text->bytes[at]);
        }
        if (has_digit) tell(user, bucket_of(hash), WORD);
    }
}

/* Which parts there are, and which of them stand out. */
static inline void tell_parts(tell_feature *tell, void *user, const struct part *parts,
                              size_t count) {
    bool seen[PART_FAMILIES][STRENGTH_MAX + 1] = {{false}};
    uint8_t strongest = 0;
    uint32_t first_strongest = 0;
    for (size_t i = 0; i < count; i++) {
        const struct rp_family_node *node = parts[i].node;
        tell(user, bucket_of(parts[i].hash), PART);
        if (!seen[node->family][node->strength]) {
            seen[node->family][node->strength] = true;
            tell_numbers(tell, user, K_PART_FAMILY, node->family, node->strength, WHOLE);
        }
        if (node->strength > strongest) {
            strongest = node->strength;
            first_strongest = node->family;
        }
    }
    if (count == 0) {
        tell_numbers(tell, user, K_NONE, 0, 0, WHOLE);
        return;
    }
    tell_numbers(tell, user, K_TOP, first_strongest, strongest, WHOLE);
    for (uint32_t family = 0; family < PART_FAMILIES; family++) {
        if (seen[family][strongest]) {
            tell_numbers(tell, user, K_ANY_TOP, family, strongest, WHOLE);
        }
    }
    tell_numbers(tell, user, K_FIRST, parts[0].node->family, 0, WHOLE);
    tell_numbers(tell, user, K_LAST, parts[count - 1].node->family, 0, WHOLE);
}

/* Character 3- and 4-grams of so much as people call a name, with the beginning and the end of the
 * text as characters. */
static inline void tell_grams(tell_feature *tell, void *user, const struct plain *text) {
    char framed[GRAM_BYTES_MAX + 2];
    size_t kept = text->length < GRAM_BYTES_MAX ? text->length : GRAM_BYTES_MAX;
    size_t length = kept + 2;
    framed[0] = '^';
    memcpy(framed + 1, text->bytes, kept);
    framed[length - 1] = '$';
    for (size_t i = 0; i + 3 <= length; i++) {
        uint32_t hash = hash_begin(K_GRAM);
        for (size_t j = 0; j < 3; j++) {
            hash = hash_more(hash, (unsigned char)framed[i + j]);
        }
        tell(user, bucket_of(hash), GRAM);
        if (i + 4 <= length) {
            tell(user, bucket_of(hash_more(hash, (unsigned char)framed[i + 3])), GRAM);
        }
    }
}

/* The two halves of a name. */
static void cut_name(const char *name, struct plain *organisation, struct plain *base) {
    size_t length = strnlen(name, NAME_BYTES_MAX);
    while (length > 0 && (name[length - 1] == '/' || name[length - 1] == '\\')) {
        length--;
    }
    size_t begin = length;
    while (begin > 0 && name[begin - 1] != '/' && name[begin - 1] != '\\') {
        begin--;
    }
    make_plain(organisation, name, begin > 0 ? begin - 1 : 0);
    make_plain(base, name + begin, length - begin);
}

/* All features; the parts of the base are the caller's to see. */
static inline size_t tell_all(tell_feature *tell, void *user, const char *name,
                              struct part parts[PARTS_MAX]) {
    struct plain organisation;
    struct plain base;
    struct part theirs[PARTS_MAX];
    cut_name(name, &organisation, &base);
    size_t count = find_parts(&base, parts);
    tell_parts(tell, user, parts, count);
    size_t their_count = find_parts(&organisation, theirs);
    for (size_t i = 0; i < their_count; i++) {
        tell_numbers(tell, user, K_ORG_PART, theirs[i].node->family, 0, WHOLE);
    }
    if (organisation.length > 0) {
        tell_text(tell, user, K_ORG, organisation.bytes, organisation.length, ORGANISATION);
        tell_words(tell, user, K_ORG_WORD, &organisation, ORGANISATION_WORD);
    }
    tell_words(tell, user, K_WORD, &base, WORD);
    tell_shapes(tell, user, &base);
    tell_grams(tell, user, &base);
    return count;
}

void rp_family_features(const char *name, tell_feature *tell, void *user) {
    struct part parts[PARTS_MAX];
    tell_all(tell, user, name, parts);
}

/* ---- weighing ---- */

struct scores {
    int32_t sums[RP_FAMILY_CLASSES];
};

static void add_weights(void *user, uint32_t bucket, int value) {
    struct scores *scores = user;
    for (size_t i = 0; i < RP_FAMILY_CLASSES; i++) {
        scores->sums[i] += rp_family_weights[bucket][i] * value;
    }
}

static void softmax(const struct scores *scores, double shares[RP_FAMILY_CLASSES]) {
    int32_t most = scores->sums[0];
    double sum = 0;
    for (size_t i = 1; i < RP_FAMILY_CLASSES; i++) {
        if (scores->sums[i] > most) most = scores->sums[i];
    }
    for (size_t i = 0; i < RP_FAMILY_CLASSES; i++) {
        shares[i] =
            exp((scores->sums[i] - most) / (double)(RP_FAMILY_WEIGHT_UNIT * RP_FAMILY_VALUE_UNIT));
        sum += shares[i];
    }
    for (size_t i = 0; i < RP_FAMILY_CLASSES; i++) {
        shares[i] /= sum;
    }
}

/*
 * The family with the largest share, and how sure that is. A CLIP is a model of images as well as
 * one of images and texts: where such a part is the strongest, neither answer is wrong, so that
 * both shares speak for the wider one.
 */
static rp_family choose_family(const double shares[RP_FAMILY_CLASSES], const struct part *parts,
                               size_t count, double *confidence) {
    size_t best = 0;
    for (size_t i = 1; i < RP_FAMILY_CLASSES; i++) {
        if (shares[i] > shares[best]) best = i;
    }
    *confidence = shares[best];
    bool is_either = false;
    uint8_t strongest = 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].node->strength < strongest) continue;
        bool is_new = parts[i].node->strength > strongest;
        bool is_both = parts[i].node->family == PART_FAMILIES - 1;
        is_either = is_new ? is_both : is_either || is_both;
        strongest = parts[i].node->strength;
    }
    bool is_seen = best == RP_FAMILY_VISION || best == RP_FAMILY_MULTIMODAL;
    if (!is_either || !is_seen || shares[RP_FAMILY_MULTIMODAL] < either_min) {
        return (rp_family)best;
    }
    *confidence = shares[RP_FAMILY_VISION] + shares[RP_FAMILY_MULTIMODAL];
    return RP_FAMILY_MULTIMODAL;
}

static const struct {
    const char *name;
    const char *task;
    rp_family family;
} subfamilies[] = {
#define ROW(constant, number, name, family, task) [number] = {name, task, RP_FAMILY_##family},
    RP_SUBFAMILY_MAP(ROW)
#undef ROW
};

static const rp_subfamily first_subfamily[RP_FAMILY_CLASSES] = {
    [RP_FAMILY_EMBEDDING] = RP_SUBFAMILY_MASKED_LM,
    [RP_FAMILY_TEXT_GENERATION] = RP_SUBFAMILY_CAUSAL_LM,
    [RP_FAMILY_VISION] = RP_SUBFAMILY_IMAGE_CLASSIFIER,
    [RP_FAMILY_AUDIO] = RP_SUBFAMILY_SPEECH_RECOGNITION,
    [RP_FAMILY_MULTIMODAL] = RP_SUBFAMILY_VISION_LANGUAGE,
};

rp_subfamily rp_family_first_subfamily(rp_family family) {
    return (size_t)family < RP_FAMILY_CLASSES ? first_subfamily[family] : RP_SUBFAMILY_NONE;
}

/* The subfamily of the strongest part that has one of this family. */
static rp_subfamily choose_subfamily(rp_family family, const struct part *parts, size_t count) {
    rp_subfamily found = first_subfamily[family];
    int strongest = -1;
    for (size_t i = 0; i < count; i++) {
        const struct rp_family_node *node = parts[i].node;
        if (subfamilies[node->subfamily].family != family || node->strength <= strongest) continue;
        strongest = node->strength;
        found = (rp_subfamily)node->subfamily;
    }
    return found;
}

static const char *const part_families[PART_FAMILIES] = {
    "embedding", "text_generation", "vision", "audio", "multimodal", "vision or multimodal"};

/* "'whisper' (audio), 'asr' (audio)". */
static void tell_evidence(const char *name, const struct part *parts, size_t count,
                          char evidence[RP_EVIDENCE_BYTES]) {
    struct plain organisation;
    struct plain base;
    size_t used = 0;
    cut_name(name, &organisation, &base);
    evidence[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        int length = snprintf(evidence + used, RP_EVIDENCE_BYTES - used, "%s'%.*s' (%s)",
                              i ? ", " : "", (int)(parts[i].end - parts[i].begin),
                              base.bytes + parts[i].begin, part_families[parts[i].node->family]);
        if (length < 0 || (size_t)length >= RP_EVIDENCE_BYTES - used) {
            evidence[used] = '\0';
            return;
        }
        used += (size_t)length;
    }
    if (count == 0) snprintf(evidence, RP_EVIDENCE_BYTES, "no known part; its spelling");
}

void rp_classify_name(const char *name, rp_classification *result) {
    struct part parts[PARTS_MAX];
    struct scores scores = {{0}};
    add_weights(&scores, RP_FAMILY_BUCKETS, RP_FAMILY_VALUE_UNIT);
    size_t count = tell_all(add_weights, &scores, name, parts);
    double shares[RP_FAMILY_CLASSES];
    double confidence;
    softmax(&scores, shares);
    rp_family family = choose_family(shares, parts, count, &confidence);
    *result = (rp_classification){
        .family = count == 0 && confidence < answer_min ? RP_FAMILY_UNKNOWN : family,
        .confidence = confidence,
        .source = "name",
    };
    if (result->family != RP_FAMILY_UNKNOWN) {
        result->subfamily = choose_subfamily(result->family, parts, count);
    }
    tell_evidence(name, parts, count, result->evidence);
}

/* ---- names of families ---- */

const char *rp_family_name(rp_family family) {
    switch (family) {
#define CASE(constant, number, name)                                                               \
    case RP_FAMILY_##constant:                                                                     \
        return name;
        RP_FAMILY_MAP(CASE)
#undef CASE
    }
    return NULL;
}

const char *rp_subfamily_name(rp_subfamily subfamily) {
    size_t count = sizeof subfamilies / sizeof subfamilies[0];
    return (size_t)subfamily < count ? subfamilies[subfamily].name : NULL;
}

rp_family rp_family_of_name(const char *name) {
    for (int family = 0; rp_family_name((rp_family)family); family++) {
        if (strcmp(name, rp_family_name((rp_family)family)) == 0) return (rp_family)family;
    }
    return RP_FAMILY_UNKNOWN;
}

rp_subfamily rp_subfamily_of_name(const char *name) {
    for (size_t i = 0; i < sizeof subfamilies / sizeof subfamilies[0]; i++) {
        if (subfamilies[i].name && strcmp(name, subfamilies[i].name) == 0) return (rp_subfamily)i;
    }
    return RP_SUBFAMILY_NONE;
}

rp_family rp_subfamily_family(rp_subfamily subfamily) {
    size_t count = sizeof subfamilies / sizeof subfamilies[0];
    return (size_t)subfamily < count ? subfamilies[subfamily].family : RP_FAMILY_UNKNOWN;
}

const char *rp_subfamily_task(rp_subfamily subfamily) {
    size_t count = sizeof subfamilies / sizeof subfamilies[0];
    return (size_t)subfamily < count ? subfamilies[subfamily].task : NULL;
}
