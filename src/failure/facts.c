/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/facts.h"

#include <ctype.h>
#include <string.h>

static const struct {
    const char *name;
    enum rp_fact_type type;
} rows[] = {
#define ROW(constant, name, type) [RP_FACT_NAME_##constant] = {name, RP_FACT_##type},
    RP_FACT_MAP(ROW)
#undef ROW
};

const char *rp_fact_name_text(enum rp_fact_name name) {
    return rows[name].name;
}

enum rp_fact_type rp_fact_type_of(enum rp_fact_name name) {
    return rows[name].type;
}

enum rp_fact_name rp_fact_name_of_text(const char *text, size_t length) {
    for (int i = 0; i < RP_FACT_NAME_COUNT; i++) {
        if (strlen(rows[i].name) == length && memcmp(rows[i].name, text, length) == 0) {
            return (enum rp_fact_name)i;
        }
    }
    return RP_FACT_NAME_NONE;
}

const char *rp_fact_read(enum rp_fact_type type, const char *at, const char *end,
                         uint64_t *number) {
    (void)type;
    const char *from = at;
    uint64_t value = 0;
    while (at < end && isdigit((unsigned char)*at)) {
        value = value * 10 + (uint64_t)(*at++ - '0');
    }
    *number = value;
    return at > from ? at : NULL;
}

void rp_facts_add(struct rp_facts *facts, const struct rp_fact *fact) {
    if (facts->count < RP_FACTS_KEPT) facts->rows[facts->count++] = *fact;
}

const struct rp_fact *rp_facts_find(const struct rp_facts *facts, enum rp_fact_name name) {
    for (size_t i = 0; i < facts->count; i++) {
        if (facts->rows[i].name == name) return &facts->rows[i];
    }
    return NULL;
}

void rp_facts_decode(struct rp_facts *facts) {
    (void)facts;
}
