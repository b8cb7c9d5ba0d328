/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Where a model should go, and why: a pure function of what the machine has, what the model is,
 * what is held already and what the caller prefers. Nothing is loaded to answer, and the same
 * question has the same answer, byte for byte.
 */
#ifndef RESOURCEPOOL_PLACEMENT_H
#define RESOURCEPOOL_PLACEMENT_H

#include <resourcepool/api.h>
#include <resourcepool/facts.h>
#include <resourcepool/hardware.h>
#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What happens when the device that was asked for cannot be had. */
typedef enum rp_policy {
    RP_POLICY_REQUIRE = 1, /* that device or an error: what naming a device means        */
    RP_POLICY_ANY = 2,     /* whatever is there: what asking for "auto" or nothing means */
    RP_POLICY_PREFER = 3,  /* that device if it can be had, else the next best           */
} rp_policy;

/** The chosen device, precision and engine. Borrowed from the object it describes. */
typedef struct rp_placement {
    const char
        *device; /* "cpu", "cuda:1"; NULL for what lives on no device: tokenizers, resources */
    const char *precision; /* "fp16", ...; NULL: as stored, or the constructor's own matter */
    const char *engine;    /* the engine that loaded it; NULL: the caller's constructor    */
    rp_policy policy;
    const char *reason; /* one sentence */
} rp_placement;

/** What a caller knows of a model on a kind of device. */
typedef struct rp_compatibility {
    rp_device_kind kind;
    rp_answer compatible;
    uint64_t peak_bytes; /* the most memory it was seen to take there; RP_UNKNOWN_U64 */
} rp_compatibility;

/** How several devices of a kind are filled. */
typedef enum rp_distribution {
    RP_DISTRIBUTION_SPREAD = 0, /* the emptiest first                         */
    RP_DISTRIBUTION_PACK = 1,   /* the fullest that still has room for it first */
} rp_distribution;

/** What a caller would like. Start from RP_PREFERENCES_INIT; zero and NULL mean no preference. */
typedef struct rp_preferences {
    size_t size;
    const char *device; /* "cuda:1", a kind such as "cuda", or "auto"; NULL: auto            */
    rp_policy policy;   /* 0: require where a device is named, any where none is             */
    bool force_device;  /* known problems and `compatibility` do not count; room still does  */
    const rp_device_kind *priority; /* kinds in order of preference; others come after them  */
    size_t priority_count;
    uint32_t preferred_index; /* which device of its kind first; RP_UNKNOWN_U32: no matter       */
    rp_distribution distribution;
    const rp_compatibility *compatibility;
    size_t compatibility_count;
    bool force_low_memory;  /* the smallest form that the caller allows, smallest batch          */
    const char *precision;  /* if the device does it well, else as stored; the reason says so     */
    bool require_precision; /* that precision or no device                                       */
    const char *precisions; /* lower ones that would do, best first: "fp16,int8"; "": none; NULL:
                               none for stored weights, int8 where only a name is known          */
    rp_family family;       /* what the caller knows better; RP_FAMILY_UNKNOWN: nothing          */
    rp_subfamily subfamily; /* RP_SUBFAMILY_NONE: nothing                                        */
    bool web_deployment;    /* it is meant for a browser: browsers come first                     */
    bool browser_optimized; /* browsers may be chosen                                             */
    bool fallback_to_simulation; /* simulated devices may be chosen where no real one is        */
    const char *engine;          /* that engine or none                                          */
    const char *description;     /* for people: goes into the reason                             */
    rp_workload workload;
} rp_preferences;

/* clang-format off */
#define RP_PREFERENCES_INIT                                                                        \
    {sizeof(rp_preferences), NULL, (rp_policy)0, false, NULL, 0, RP_UNKNOWN_U32,                   \
     RP_DISTRIBUTION_SPREAD, NULL, 0, false, NULL, false, NULL, RP_FAMILY_UNKNOWN,                 \
     RP_SUBFAMILY_NONE, false, false, false, NULL, NULL, RP_WORKLOAD_INIT}
/* clang-format on */

/** What a pool holds on a device. RP_UNKNOWN_U64 where there is no limit or nothing was measured.
 */
typedef struct rp_room {
    const char *device;
    uint64_t budget_bytes;  /* what may be held there                                          */
    uint64_t charged_bytes; /* what is                                                         */
    uint64_t idle_bytes;    /* of that, what could be taken out                                */
} rp_room;

/** What is asked. All of it is borrowed for the call. */
typedef struct rp_place_request {
    size_t size; /* sizeof(rp_place_request)                                                    */
    const rp_snapshot *snapshot;
    const rp_model_facts *facts;
    const char *name; /* the model's, for messages and known problems; NULL                     */
    const rp_preferences *preferences; /* NULL: none                                            */
    const rp_room *room;               /* NULL: nothing is held                                 */
    size_t room_count;
    bool has_constructor;  /* the caller's own code loads it, with whatever it likes            */
    uint64_t memory_bytes; /* what it takes, where that is known better than from its facts;
                              RP_UNKNOWN_U64                                                    */
    const char *memory_method; /* who said so: "measured", "request", "engine"                  */
} rp_place_request;

#define RP_PLACE_REQUEST_INIT                                                                      \
    { sizeof(rp_place_request), NULL, NULL, NULL, NULL, NULL, 0, false, RP_UNKNOWN_U64, NULL }

/** One way to place it. Texts are borrowed from the plan. */
typedef struct rp_candidate {
    size_t size;
    const char *device;
    rp_device_kind kind;
    const char *precision;
    const char *engine; /* NULL: a constructor of the caller's */
    bool accepted;
    bool is_short;  /* refused for want of room                                                  */
    bool is_later;  /* and others hold that room: waiting may help                               */
    bool is_stored; /* the precision is that of the file, or of the constructor's choice      */
    bool simulated; /* of a device that is not there                                          */
    double score;   /* more is better; only accepted ones are compared                        */
    const char *reason;
    uint64_t memory_bytes_needed; /* RP_UNKNOWN_U64: nothing to go by                            */
    uint64_t memory_bytes_usable; /* once idle objects have gone; RP_UNKNOWN_U64                 */
    const char *memory_method;    /* "measured", "file", "config", "name"; NULL: unknown         */
} rp_candidate;

/** All candidates, the best first, refused ones behind. Immutable; the caller's. */
typedef struct rp_plan rp_plan;

RP_BEGIN_DECLS

/** "require", "prefer" or "any". Static storage. */
RP_API const char *rp_policy_name(rp_policy policy);

/** The policy of that name. RP_ERR_NOT_FOUND names those there are. */
RP_API RP_MUST_CHECK rp_status rp_policy_parse(const char *name, rp_policy *policy, rp_error *err);

/**
 * How well a kind of device runs a family of models, as the rules say (data/compatibility.txt, and
 * the file that RESOURCE_POOL_COMPATIBILITY names): for any device of the kind, here or not.
 *
 * level  "high", "medium", "low" or "none". Static storage
 * note   what the rules say with it; NULL without one. Lives as long as the process. May be NULL
 * RP_ERR_ARGUMENT: no such family or kind; RP_ERR_NOT_FOUND, RP_ERR_DATA, RP_ERR_LIMIT, RP_ERR_IO,
 * RP_ERR_MEMORY: of that file. Any thread.
 */
RP_API RP_MUST_CHECK rp_status rp_family_level(rp_family family, rp_device_kind kind,
                                               const char **level, const char **note,
                                               rp_error *err);

/**
 * Rank every device, precision and engine for a model.
 *
 * plan  on RP_OK the caller's: rp_plan_destroy(). A plan in which nothing is accepted is an answer
 *       too: rp_plan_placement() tells why.
 * RP_ERR_ARGUMENT: a snapshot or facts are missing, a precision or an engine is not known;
 * RP_ERR_MEMORY. Any thread.
 */
RP_API RP_MUST_CHECK rp_status rp_place(const rp_place_request *request, rp_plan **plan,
                                        rp_error *err);

/**
 * The best of them, borrowed from the plan.
 *
 * RP_ERR_CAPACITY: no device has room (the message has what it needs, what is there, and what would
 * fit); RP_ERR_ABSENT: the device that was required is not here; RP_ERR_UNSUPPORTED: what is here
 * was refused for other reasons.
 */
RP_API RP_MUST_CHECK rp_status rp_plan_placement(const rp_plan *plan, rp_placement *placement,
                                                 rp_error *err);

/** How many candidates there are, and each; NULL beyond the last. Borrowed from the plan. */
RP_API size_t rp_plan_candidate_count(const rp_plan *plan);
RP_API const rp_candidate *rp_plan_candidate(const rp_plan *plan, size_t index);

/** Accepts NULL. */
RP_API void rp_plan_destroy(rp_plan *plan);

/**
 * Preferences from a dictionary as JSON, with the keys "device", "force_device", "priority_list",
 * "preferred_index", "hw_compatibility" ({kind: {"compatible": bool, "memory_usage": {"peak":
 * MiB}}}), "force_low_memory", "precision", "model_family", "subfamily", "fallback_to_simulation",
 * "browser_optimized", "description", and ours: "policy", "distribution", "precisions", "engine",
 * "batch_size", "context_length".
 *
 * preferences  on RP_OK the caller's, with all that it points to: rp_preferences_destroy()
 * warning      filled in for keys that are not known, with the nearest known one; "" without any;
 *              may be NULL
 * RP_ERR_DATA: not JSON, a wrong type, a name that is no kind, family or policy.
 */
RP_API RP_MUST_CHECK rp_status rp_preferences_parse(const char *json, size_t length,
                                                    rp_preferences **preferences, char *warning,
                                                    size_t warning_bytes, rp_error *err);

/** Accepts NULL. */
RP_API void rp_preferences_destroy(rp_preferences *preferences);

RP_END_DECLS

#endif
