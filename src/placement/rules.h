/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs well where, and what is known not to: rows of data/compatibility.txt, and of a file of
 * the user's in the same form, whose rows win.
 */
#ifndef RP_PLACEMENT_RULES_H
#define RP_PLACEMENT_RULES_H

#include <resourcepool/facts.h>
#include <resourcepool/hardware.h>
#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>

enum rp_level { RP_LEVEL_NONE, RP_LEVEL_LOW, RP_LEVEL_MEDIUM, RP_LEVEL_HIGH, RP_LEVEL_COUNT };

enum rp_effect {
    RP_EFFECT_REFUSE,
    RP_EFFECT_LOWER,
    RP_EFFECT_ACCEPT, /* what earlier rows say of it does not count */
};

enum rp_rule_key {
    RP_RULE_TYPE,
    RP_RULE_VENDOR,
    RP_RULE_DRIVER,
    RP_RULE_RUNTIME,
    RP_RULE_COMPUTE,
    RP_RULE_GFX,
    RP_RULE_FAMILY,
    RP_RULE_SUBFAMILY,
    RP_RULE_MODEL,
    RP_RULE_PRECISION,
    RP_RULE_PARAMETERS,
    RP_RULE_ENGINE,
    RP_RULE_ENGINE_VERSION,
    RP_RULE_OPERATOR, /* that failed: nothing is known of it before loading */
    RP_RULE_CATEGORY, /* of the failure: likewise                           */
    RP_RULE_KEY_COUNT,
};

struct rp_rule_condition {
    enum rp_rule_key key;
    char operation; /* '=', '<', '>' for ">=" */
    const char *value;
};

enum { RP_CONDITIONS_MAX = 6 };

struct rp_problem {
    rp_device_kind kind;
    enum rp_effect effect;
    struct rp_rule_condition conditions[RP_CONDITIONS_MAX];
    size_t condition_count;
    const char *reason;
    const char *way_out; /* NULL: none is known */
};

struct rp_rules;

/* What a problem is looked for in. */
struct rp_rule_subject {
    const rp_device *device;
    const rp_model_facts *facts;
    const char *name; /* of the model; may be NULL */
    rp_family family;
    rp_subfamily subfamily;
    const char *precision;
    const char *engine; /* from here on, NULL where it is not known */
    const char *engine_version;
    const char *operation; /* the operator that failed */
    const char *category;  /* of the failure           */
};

/* No rows; NULL without memory. */
struct rp_rules *rp_rules_create(void);

/*
 * Add the rows of a text. RP_ERR_DATA names `source` and the line, RP_ERR_LIMIT, RP_ERR_MEMORY; the
 * rules then are as they were before.
 */
rp_status rp_rules_add(struct rp_rules *rules, const char *text, size_t length, const char *source,
                       rp_error *err);

/* Accepts NULL. */
void rp_rules_destroy(struct rp_rules *rules);

/*
 * Those of the process: the built-in rows, then those of RESOURCE_POOL_COMPATIBILITY. Read once,
 * borrowed. A file that cannot be read is an error each time.
 */
rp_status rp_rules_of_process(const struct rp_rules **rules, rp_error *err);

/* How well a kind runs a family; *note is NULL without one. Medium where no row says. */
enum rp_level rp_rules_level(const struct rp_rules *rules, rp_family family, rp_device_kind kind,
                             const char **note);

/* "high", ... */
const char *rp_level_name(enum rp_level level);

/*
 * The problem that decides: the latest row that is met and refuses, or else the latest that lowers;
 * rows before one that accepts do not count. NULL: none.
 */
const struct rp_problem *rp_rules_find_problem(const struct rp_rules *rules,
                                               const struct rp_rule_subject *subject);

/*
 * After a failure: the problem with the most conditions that is met, of those that have a condition
 * on one of the keys (a bit for each enum rp_rule_key); of equals the latest. NULL: none.
 */
const struct rp_problem *rp_rules_find_failure(const struct rp_rules *rules,
                                               const struct rp_rule_subject *subject,
                                               uint32_t keys);

/* Whether any row tells of a problem of that kind of device. */
bool rp_rules_has_problems(const struct rp_rules *rules, rp_device_kind kind);

/* Whether a text is as the pattern says: '*' is any letters, small and capital ones are the same.
 */
bool rp_name_is_like(const char *text, const char *pattern);

/* Below 0, 0, above 0: "525.60.13" and "525.105" part by part, as numbers. */
int rp_version_compare(const char *left, const char *right);

#endif
