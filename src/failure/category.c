/* SPDX-License-Identifier: Apache-2.0 */
#include <resourcepool/failure.h>
#include <string.h>

static const struct {
    const char *name;
    const char *text;
} rows[] = {
#define ROW(constant, number, name, text) [number] = {name, text},
    RP_CATEGORY_MAP(ROW)
#undef ROW
};
_Static_assert(sizeof rows / sizeof rows[0] == RP_CATEGORY_COUNT, "each category has its row");

const char *rp_category_name(rp_category category) {
    return (size_t)category < RP_CATEGORY_COUNT ? rows[category].name : NULL;
}

const char *rp_category_text(rp_category category) {
    return (size_t)category < RP_CATEGORY_COUNT ? rows[category].text : NULL;
}

rp_category rp_category_of_name(const char *name) {
    for (size_t i = 0; i < RP_CATEGORY_COUNT; i++) {
        if (strcmp(rows[i].name, name) == 0) return (rp_category)i;
    }
    return RP_CATEGORY_UNKNOWN;
}
