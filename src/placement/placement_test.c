/* SPDX-License-Identifier: Apache-2.0 */
/* One machine of two cards, asked closely. All machines and models: tests/placement. */
#include "placement/placement.h"

#include "../../tests/test.h"
#include "base/memory.h"

#include <stdio.h>

#define GIB ((uint64_t)1 << 30)
#define CARD(index, free_bytes, node)                                                              \
    ",{\"id\":\"cuda:" #index "\",\"kind\":\"cuda\",\"available\":true,"                           \
    "\"memory_bytes_total\":10737418240,\"memory_bytes_free\":" #free_bytes ","                    \
    "\"accelerator\":{\"precisions\":[\"fp32\",\"fp16\",\"int8\"],\"numa_node\":" #node "}}"
/* A processor of 4 GiB, and cards of 10. */
#define MACHINE(cards)                                                                             \
    "{\"version\":1,\"devices\":[{\"id\":\"cpu\",\"kind\":\"cpu\",\"available\":true,"             \
    "\"memory_bytes_total\":4294967296,\"memory_bytes_free\":4294967296}" cards                    \
    "],\"absent\":[{\"kind\":\"rocm\",\"reason\":\"no card of AMD's\"}]}"

static const char machine[] = MACHINE(CARD(0, 10737418240, 0) CARD(1, 10737418240, 0));

struct asking {
    const rp_snapshot *snapshot;
    rp_model_facts facts;
    rp_preferences wishes;
    rp_place_request request;
    rp_plan *plan;
    rp_placement placement;
    rp_error err;
};

/* Ready to ask: a model that takes `bytes`, with whatever a constructor likes. */
static void start_on(struct asking *asking, const char *json, uint64_t bytes) {
    rp_error err = RP_ERROR_INIT;
    *asking = (struct asking){.wishes = RP_PREFERENCES_INIT, .request = RP_PLACE_REQUEST_INIT};
    assert_ok(rp_snapshot_from_json(json, strlen(json), NULL, &asking->snapshot, &err));
    rp_model_facts_of_name("bert-base-uncased", NULL, &asking->facts);
    asking->request.snapshot = asking->snapshot;
    asking->request.facts = &asking->facts;
    asking->request.name = "bert-base-uncased";
    asking->request.preferences = &asking->wishes;
    asking->request.has_constructor = true;
    asking->request.memory_bytes = bytes;
    asking->request.memory_method = "measured";
}

static void start(struct asking *asking, uint64_t bytes) {
    start_on(asking, machine, bytes);
}

/* The same for a model of 13 B parameters by name: 27 GiB in fp16, 14.6 in int8. */
static void start_large(struct asking *asking, const char *json) {
    start_on(asking, json, RP_UNKNOWN_U64);
    rp_model_facts_of_name("meta-llama/Llama-2-13b-hf", NULL, &asking->facts);
    asking->request.name = "meta-llama/Llama-2-13b-hf";
    asking->request.memory_method = NULL;
    asking->wishes.precisions = "int8";
}

static rp_status place(struct asking *asking) {
    rp_plan_destroy(asking->plan);
    asking->plan = NULL;
    rp_status status = rp_place(&asking->request, &asking->plan, &asking->err);
    if (status != RP_OK) return status;
    return rp_plan_placement(asking->plan, &asking->placement, &asking->err);
}

static void finish(struct asking *asking) {
    rp_plan_destroy(asking->plan);
    rp_snapshot_release(asking->snapshot);
}

/* The best candidate of a device, in that precision unless it is NULL. */
static const rp_candidate *candidate_in(const struct asking *asking, const char *device,
                                        const char *precision) {
    for (size_t i = 0; i < rp_plan_candidate_count(asking->plan); i++) {
        const rp_candidate *each = rp_plan_candidate(asking->plan, i);
        bool is_one = !precision || (each->precision && strcmp(each->precision, precision) == 0);
        if (is_one && strcmp(each->device, device) == 0) return each;
    }
    fail_msg("there is no candidate '%s'", device);
    return NULL;
}

static const rp_candidate *candidate(const struct asking *asking, const char *device) {
    return candidate_in(asking, device, NULL);
}

static void policies_have_names(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    for (int i = RP_POLICY_REQUIRE; i <= RP_POLICY_PREFER; i++) {
        rp_policy policy = 0;
        assert_ok(rp_policy_parse(rp_policy_name((rp_policy)i), &policy, &err));
        assert_int_equal(policy, i);
    }
    rp_policy policy = RP_POLICY_ANY;
    assert_null(rp_policy_name((rp_policy)0));
    assert_null(rp_policy_name((rp_policy)4));
    assert_status(rp_policy_parse("maybe", &policy, &err), RP_ERR_NOT_FOUND);
    assert_status(rp_policy_parse(NULL, &policy, &err), RP_ERR_NOT_FOUND);
    assert_int_equal(policy, RP_POLICY_ANY);
}

static void what_is_missing_or_unknown_is_refused(void **state) {
    (void)state;
    struct asking asking;
    start(&asking, GIB);
    rp_plan *plan = NULL;
    assert_int_equal(rp_place(NULL, &plan, &asking.err), RP_ERR_ARGUMENT);
    assert_int_equal(rp_place(&asking.request, NULL, &asking.err), RP_ERR_ARGUMENT);
    asking.request.size--;
    assert_int_equal(place(&asking), RP_ERR_ARGUMENT);
    asking.request.size++;
    asking.request.facts = NULL;
    assert_int_equal(place(&asking), RP_ERR_ARGUMENT);
    asking.request.facts = &asking.facts;
    asking.wishes.precision = "fp17";
    assert_int_equal(place(&asking), RP_ERR_ARGUMENT);
    assert_says(asking.err.message, "fp17");
    asking.wishes.precision = NULL;
    asking.wishes.precisions = "int8,fp17";
    assert_int_equal(place(&asking), RP_ERR_ARGUMENT);
    assert_says(asking.err.message, "'fp17' is no precision, in 'int8,fp17'");
    asking.wishes.precisions = NULL;
    asking.wishes.engine = "steam";
    assert_int_equal(place(&asking), RP_ERR_NOT_FOUND);
    assert_says(asking.err.message, "steam");
    asking.wishes.engine = NULL;
    assert_int_equal(place(&asking), RP_OK);
    assert_int_equal(rp_plan_placement(asking.plan, NULL, &asking.err), RP_ERR_ARGUMENT);
    assert_null(rp_plan_candidate(asking.plan, rp_plan_candidate_count(asking.plan)));
    rp_plan_destroy(NULL);
    finish(&asking);
}

/* What others say it takes is believed, and told with who said so. */
static void a_need_that_is_known_counts(void **state) {
    (void)state;
    struct asking asking;
    start(&asking, 9 * GIB);
    assert_int_equal(place(&asking), RP_OK);
    assert_string_equal(asking.placement.device, "cuda:0");
    assert_says(asking.placement.reason, "needs 9.0 GiB (measured) of 10.0 GiB usable");
    assert_false(candidate(&asking, "cpu")->accepted);
    assert_true(candidate(&asking, "cpu")->is_short);
    finish(&asking);
}

static void what_a_pool_holds_is_in_the_way(void **state) {
    (void)state;
    struct asking asking;
    start(&asking, 4 * GIB);
    rp_room rooms[] = {{"cuda:0", 6 * GIB, 5 * GIB, 0}, {"cuda:1", 6 * GIB, 5 * GIB, 4 * GIB}};
    asking.request.room = rooms;
    asking.request.room_count = 2;
    /* One GiB is left of each budget; on the second, four more could go. */
    assert_int_equal(place(&asking), RP_OK);
    assert_string_equal(asking.placement.device, "cuda:1");
    assert_says(asking.placement.reason, "idle objects must go first");
    assert_int_equal(candidate(&asking, "cuda:1")->memory_bytes_usable, 5 * GIB);
    const rp_candidate *full = candidate(&asking, "cuda:0");
    assert_int_equal(full->memory_bytes_usable, GIB);
    assert_true(full->is_short && full->is_later);
    assert_says(full->reason, "1.0 GiB usable now");
    /* A budget that it never fits is no matter of time. */
    rooms[0].budget_bytes = 3 * GIB;
    assert_int_equal(place(&asking), RP_OK);
    assert_false(candidate(&asking, "cuda:0")->is_later);
    finish(&asking);
}

static void what_fits_no_device_says_what_would(void **state) {
    (void)state;
    struct asking asking;
    start(&asking, 15 * GIB);
    assert_int_equal(place(&asking), RP_ERR_CAPACITY);
    assert_says(asking.err.message, "needs 15.0 GiB (measured)");
    assert_says(asking.err.hint, "cuda:0+cuda:1 together would hold it");
    const rp_candidate *both = candidate(&asking, "cuda:0+cuda:1");
    assert_false(both->accepted);
    assert_int_equal(both->memory_bytes_usable, 20 * GIB);
    asking.request.memory_bytes = 25 * GIB; /* more than both */
    asking.facts.parameter_count = RP_UNKNOWN_U64;
    assert_int_equal(place(&asking), RP_ERR_CAPACITY);
    assert_says(asking.err.hint, "take a smaller model");
    finish(&asking);
}

static void devices_together_may_hold_it_in_a_narrower_precision(void **state) {
    (void)state;
    struct asking asking;
    start_large(&asking, machine);
    assert_int_equal(place(&asking), RP_ERR_CAPACITY);
    assert_string_equal(asking.err.hint, "cuda:0+cuda:1 together would hold it in int8, if split");
    const rp_candidate *both = candidate(&asking, "cuda:0+cuda:1");
    assert_string_equal(both->precision, "int8");
    /* A context on each of them. */
    uint64_t alone = candidate_in(&asking, "cuda:0", "int8")->memory_bytes_needed;
    assert_int_equal(both->memory_bytes_needed, alone + (UINT64_C(400) << 20));
    assert_int_equal(both->memory_bytes_usable, 20 * GIB);
    finish(&asking);
}

static void the_emptiest_come_together(void **state) {
    (void)state;
    static const char uneven[] = MACHINE(CARD(0, 2147483648, 0) CARD(1, 10737418240, 0)
                                             CARD(2, 10200547328, 1) CARD(3, 9663676416, 0));
    struct asking asking;
    start_on(&asking, uneven, 15 * GIB);
    assert_int_equal(place(&asking), RP_ERR_CAPACITY);
    /* Half a GiB more on another NUMA node is worth less than a short way. */
    assert_string_equal(asking.err.hint, "cuda:1+cuda:3 together would hold it in fp32, if split");
    finish(&asking);
    static const char far[] = MACHINE(CARD(0, 2147483648, 0) CARD(1, 10737418240, 0)
                                          CARD(2, 10200547328, 1) CARD(3, 6442450944, 0));
    start_on(&asking, far, 15 * GIB);
    assert_int_equal(place(&asking), RP_ERR_CAPACITY);
    assert_string_equal(asking.err.hint, "cuda:1+cuda:2 together would hold it in fp32, if split");
    finish(&asking);
}

/* Of all that is wanting: where the least is. */
static void a_refusal_tells_of_the_nearest_miss(void **state) {
    (void)state;
    static const char one_card[] = MACHINE(CARD(0, 10737418240, 0));
    struct asking asking;
    start_large(&asking, one_card);
    assert_int_equal(place(&asking), RP_ERR_CAPACITY);
    assert_says(asking.err.message, "cuda:0: int8, because fp16 has no room there; needs 14.");
    assert_says(asking.err.hint, "in int4 it would fit on cuda:0 (");
    finish(&asking);
    start_on(&asking, one_card, 15 * GIB);
    asking.facts.parameter_count = RP_UNKNOWN_U64;
    assert_int_equal(place(&asking), RP_ERR_CAPACITY);
    assert_says(asking.err.hint, "a device with more memory");
    finish(&asking);
    static const char full_card[] = MACHINE(CARD(0, 1073741824, 0));
    start_on(&asking, full_card, 9 * GIB);
    asking.facts.parameter_count = RP_UNKNOWN_U64;
    assert_int_equal(place(&asking), RP_ERR_CAPACITY);
    assert_says(asking.err.message, "cuda:0: needs 9.0 GiB (measured), 1.0 GiB usable now");
    assert_says(asking.err.hint, "free memory there");
    finish(&asking);
}

/* A way out is told of what would do better, and only if that device would take it. */
static void advice_is_for_what_would_do_better(void **state) {
    (void)state;
    static const char crowded[] = MACHINE(CARD(0, 1073741824, 0));
    struct asking asking;
    start_on(&asking, crowded, 2 * GIB);
    assert_int_equal(place(&asking), RP_OK);
    assert_string_equal(asking.placement.device, "cpu");
    assert_says(asking.placement.reason, "; in fp16 it would fit on cuda:0 (6");
    finish(&asking);
    /* The other card has it as it is: nothing is to be told. */
    static const char one_free[] = MACHINE(CARD(0, 1073741824, 0) CARD(1, 10737418240, 0));
    start_on(&asking, one_free, 2 * GIB);
    assert_int_equal(place(&asking), RP_OK);
    assert_string_equal(asking.placement.device, "cuda:1");
    assert_null(strstr(asking.placement.reason, "would"));
    finish(&asking);
    struct rp_rules *rules = rp_rules_create();
    static const char text[] = "problem cuda precision=fp16 refuse \"it is broken\"\n"
                               "problem cuda precision=int8 refuse \"it is broken\"\n"
                               "problem cuda precision=int4 refuse \"it is broken\"\n";
    assert_non_null(rules);
    assert_int_equal(rp_rules_add(rules, text, sizeof text - 1, "test", NULL), RP_OK);
    start_on(&asking, crowded, 2 * GIB);
    assert_int_equal(rp_place_by_rules(rules, &asking.request, &asking.plan, &asking.err), RP_OK);
    assert_int_equal(rp_plan_placement(asking.plan, &asking.placement, &asking.err), RP_OK);
    assert_null(strstr(asking.placement.reason, "would"));
    finish(&asking);
    rp_rules_destroy(rules);
}

static void a_narrower_precision_says_why(void **state) {
    (void)state;
    static const char one_card[] = MACHINE(CARD(0, 10737418240, 0));
    struct asking asking;
    start_large(&asking, one_card);
    asking.wishes.precisions = "int4";
    asking.wishes.precision = "fp16";
    assert_int_equal(place(&asking), RP_OK);
    assert_string_equal(asking.placement.precision, "int4");
    assert_says(asking.placement.reason, "int4, because fp16 has no room there; needs ");
    finish(&asking);
    /* What is allowed beside one that fits is no consequence of anything. */
    start_on(&asking, one_card, GIB);
    asking.wishes.precision = "fp16";
    asking.wishes.precisions = "int8";
    assert_int_equal(place(&asking), RP_OK);
    for (size_t i = 0; i < rp_plan_candidate_count(asking.plan); i++) {
        const rp_candidate *each = rp_plan_candidate(asking.plan, i);
        if (each->kind == RP_DEVICE_CUDA) assert_null(strstr(each->reason, "fp16"));
    }
    finish(&asking);
}

/* The machine's memory is everybody's: int8 that is allowed goes before fp32 that fills it. */
static void what_would_fill_the_memory_goes_after_a_narrower_precision(void **state) {
    (void)state;
#define PLAIN(free_bytes)                                                                          \
    "{\"version\":1,\"devices\":[{\"id\":\"cpu\",\"kind\":\"cpu\",\"available\":true,"             \
    "\"memory_bytes_total\":68719476736,\"memory_bytes_free\":" #free_bytes "}],\"absent\":[]}"
    static const char full[] = PLAIN(57982058496);  /* 54 of 64 GiB, 51.5 of which fp32 takes */
    static const char empty[] = PLAIN(66571993088); /* 62 */
    struct asking asking;
    start_large(&asking, full);
    assert_int_equal(place(&asking), RP_OK);
    assert_string_equal(asking.placement.precision, "int8");
    assert_says(asking.placement.reason, "int8, because fp32 would fill the machine's memory");
    assert_says(candidate_in(&asking, "cpu", "fp32")->reason, " to the rest of the machine");
    /* Not allowed, it is not taken; and a budget is no reason: what is beside it is free. */
    asking.wishes.precisions = "";
    assert_int_equal(place(&asking), RP_OK);
    assert_string_equal(asking.placement.precision, "fp32");
    finish(&asking);
    start_large(&asking, empty);
    rp_room room = {"cpu", 54 * GIB, 0, 0};
    asking.request.room = &room;
    asking.request.room_count = 1;
    asking.wishes.precisions = "int8";
    assert_int_equal(place(&asking), RP_OK);
    assert_string_equal(asking.placement.precision, "fp32");
    assert_null(strstr(asking.placement.reason, "rest of the machine"));
    finish(&asking);
#undef PLAIN
}

static void wishes_that_change_nothing_are_told(void **state) {
    (void)state;
    struct asking asking;
    start(&asking, GIB);
    asking.wishes.preferred_index = 1;
    asking.wishes.workload.context_length = 512;
    assert_int_equal(place(&asking), RP_OK);
    assert_null(strstr(asking.placement.reason, "has the preferred"));
    assert_null(strstr(asking.placement.reason, "planned for"));
    asking.wishes.preferred_index = 2;
    asking.wishes.workload.context_length = 513;
    assert_int_equal(place(&asking), RP_OK);
    assert_says(asking.placement.reason,
                "no device has the preferred index 2: there are cpu, cuda:0, cuda:1; "
                "planned for 512 tokens, the most that it takes, instead of 513");
    /* Of the kind that is named: the processor is the first of its own. */
    asking.wishes.preferred_index = 0;
    asking.wishes.device = "cuda";
    assert_int_equal(place(&asking), RP_OK);
    assert_null(strstr(asking.placement.reason, "preferred index 0"));
    asking.wishes.preferred_index = 1;
    asking.wishes.device = "cpu";
    assert_int_equal(place(&asking), RP_OK);
    assert_says(asking.placement.reason, "no cpu has the preferred index 1");
    /* In a refusal too: its need is that of fewer tokens. */
    asking.request.memory_bytes = 100 * GIB;
    assert_int_equal(place(&asking), RP_ERR_CAPACITY);
    assert_says(asking.err.message, "instead of 513");
    asking.facts.context_length = RP_UNKNOWN_U32;
    assert_int_equal(place(&asking), RP_ERR_CAPACITY);
    assert_null(strstr(asking.err.message, "planned for"));
    finish(&asking);
}

/* A card that fails or is held back is not the first of two; named, it says what is wrong. */
static void the_sound_one_of_two_cards_comes_first(void **state) {
    (void)state;
#define SICK(index, what)                                                                          \
    ",{\"id\":\"cuda:" #index "\",\"kind\":\"cuda\",\"available\":true,"                           \
    "\"memory_bytes_total\":10737418240,\"memory_bytes_free\":10737418240,"                        \
    "\"accelerator\":{" what "}}"
    static const char failing[] = MACHINE(SICK(0, "\"ecc_error_count\":3") CARD(1, 10200547328, 0));
    static const char hot[] =
        MACHINE(SICK(0, "\"throttle_reasons\":[\"thermal_slowdown\"]") CARD(1, 10200547328, 0));
    static const struct {
        const char *machine;
        const char *reason;
    } samples[] = {{failing, "its memory had 3 errors that could not be corrected"},
                   {hot, "its clock is held back"}};
    for (size_t i = 0; i < 2; i++) {
        struct asking asking;
        start_on(&asking, samples[i].machine, GIB);
        assert_int_equal(place(&asking), RP_OK);
        assert_string_equal(asking.placement.device, "cuda:1");
        assert_null(strstr(asking.placement.reason, samples[i].reason));
        asking.wishes.device = "cuda:0";
        assert_int_equal(place(&asking), RP_OK);
        assert_says(asking.placement.reason, samples[i].reason);
        finish(&asking);
    }
#undef SICK
}

static void a_preference_that_could_not_be_kept_is_told(void **state) {
    (void)state;
    struct asking asking;
    start(&asking, 3 * GIB);
    asking.wishes.policy = RP_POLICY_PREFER;
    asking.wishes.device = "cuda:1";
    assert_int_equal(place(&asking), RP_OK);
    assert_string_equal(asking.placement.device, "cuda:1");
    assert_null(strstr(asking.placement.reason, "but"));
    asking.wishes.device = "cuda:7";
    assert_int_equal(place(&asking), RP_OK);
    assert_says(asking.placement.reason, "'cuda:7' is preferred, but there is no such device; ");
    asking.wishes.device = "rocm";
    assert_int_equal(place(&asking), RP_OK);
    assert_says(asking.placement.reason,
                "'rocm' is preferred, but absent: no card of AMD's; needs 3.0 GiB");
    asking.wishes.device = "cpu";
    asking.request.memory_bytes = 5 * GIB;
    assert_int_equal(place(&asking), RP_OK);
    assert_string_equal(asking.placement.device, "cuda:0");
    assert_says(asking.placement.reason, "'cpu' is preferred, but needs 5.0 GiB (measured), the ");
    finish(&asking);
}

static void rules_of_the_callers_count(void **state) {
    (void)state;
    static const char text[] = "problem cuda refuse \"it is broken\" \"mend it\"\n";
    struct asking asking;
    start(&asking, GIB);
    struct rp_rules *rules = rp_rules_create();
    assert_non_null(rules);
    assert_int_equal(rp_rules_add(rules, text, sizeof text - 1, "test", NULL), RP_OK);
    assert_int_equal(rp_place_by_rules(rules, &asking.request, &asking.plan, &asking.err), RP_OK);
    assert_int_equal(rp_plan_placement(asking.plan, &asking.placement, &asking.err), RP_OK);
    assert_string_equal(asking.placement.device, "cpu");
    assert_says(candidate(&asking, "cuda:0")->reason, "it is broken: mend it");
    finish(&asking);
    rp_rules_destroy(rules);
}

static void the_plan_outlives_what_it_was_made_of(void **state) {
    (void)state;
    struct asking asking;
    char name[] = "a-name";
    start(&asking, GIB);
    asking.request.name = name;
    assert_int_equal(place(&asking), RP_OK);
    rp_snapshot_release(asking.snapshot);
    asking.snapshot = NULL;
    memset(name, '?', sizeof name - 1);
    assert_int_equal(rp_plan_placement(asking.plan, &asking.placement, &asking.err), RP_OK);
    assert_string_equal(asking.placement.device, "cuda:0");
    rp_plan_destroy(asking.plan);
}

static void a_process_that_is_bound_gets_the_card_near_it(void **state) {
    (void)state;
#define BOUND(affinity)                                                                            \
    "{\"version\":1,\"devices\":[{\"id\":\"cpu\",\"kind\":\"cpu\",\"memory_bytes_total\":"         \
    "4294967296,"                                                                                  \
    "\"memory_bytes_free\":4294967296,\"cpu\":{\"logical_count\":8,\"affinity\":\"" affinity       \
    "\",\"numa_nodes\":[{\"index\":0,\"processors\":\"0-3\"},{\"index\":1,\"processors\":\"4-7\"}" \
    "]}}" CARD(0, 10737418240, 0) CARD(1, 10737418240, 1) "]}"
    static const struct {
        const char *json;
        const char *device;
    } cases[] = {
        {BOUND("0-7"), "cuda:0"}, /* not bound */
        {BOUND("5,6"), "cuda:1"},
        {BOUND("1-2"), "cuda:0"},
        {BOUND("3-4"), "cuda:0"}, /* some of each */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct asking asking;
        start_on(&asking, cases[i].json, GIB);
        rp_error err = RP_ERROR_INIT;
        assert_ok(rp_place(&asking.request, &asking.plan, &err));
        assert_ok(rp_plan_placement(asking.plan, &asking.placement, &err));
        assert_string_equal(asking.placement.device, cases[i].device);
        rp_plan_destroy(asking.plan);
        rp_snapshot_release(asking.snapshot);
    }
}

static void want_of_memory_is_told(void **state) {
    (void)state;
    struct asking asking;
    start(&asking, GIB);
    assert_int_equal(place(&asking), RP_OK); /* the rules of the process are read once */
    rp_plan_destroy(asking.plan);
    int64_t before = rp_memory_live_count();
    bool is_failing = true;
    for (uint64_t n = 1; is_failing; n++) {
        rp_plan *plan = NULL;
        rp_memory_fail_at(n);
        rp_status status = rp_place(&asking.request, &plan, &asking.err);
        is_failing = !rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(status, is_failing ? RP_ERR_MEMORY : RP_OK);
        rp_plan_destroy(plan);
        assert_int_equal(rp_memory_live_count(), before);
    }
    rp_snapshot_release(asking.snapshot);
}

static void a_kind_runs_a_family_so_well(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    const char *level = NULL;
    const char *note = "of before";
    assert_ok(rp_family_level(RP_FAMILY_EMBEDDING, RP_DEVICE_CUDA, &level, &note, &err));
    assert_string_equal(level, "high");
    assert_null(note);
    assert_ok(rp_family_level(RP_FAMILY_AUDIO, RP_DEVICE_WEBNN, &level, &note, &err));
    assert_string_equal(level, "none");
    assert_non_null(strstr(note, "browsers"));
    assert_ok(rp_family_level(RP_FAMILY_UNKNOWN, RP_DEVICE_CPU, &level, NULL, &err));
    assert_string_equal(level, "medium");
    rp_device_kind strange = (rp_device_kind)99;
    assert_status(rp_family_level(RP_FAMILY_AUDIO, strange, &level, &note, &err), RP_ERR_ARGUMENT);
    assert_status(rp_family_level((rp_family)99, RP_DEVICE_CPU, &level, &note, &err),
                  RP_ERR_ARGUMENT);
    assert_status(rp_family_level(RP_FAMILY_AUDIO, RP_DEVICE_CPU, NULL, &note, &err),
                  RP_ERR_ARGUMENT);
    assert_string_equal(level, "medium");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policies_have_names),
        cmocka_unit_test(a_kind_runs_a_family_so_well),
        cmocka_unit_test(what_is_missing_or_unknown_is_refused),
        cmocka_unit_test(a_need_that_is_known_counts),
        cmocka_unit_test(what_a_pool_holds_is_in_the_way),
        cmocka_unit_test(what_fits_no_device_says_what_would),
        cmocka_unit_test(devices_together_may_hold_it_in_a_narrower_precision),
        cmocka_unit_test(the_emptiest_come_together),
        cmocka_unit_test(a_refusal_tells_of_the_nearest_miss),
        cmocka_unit_test(advice_is_for_what_would_do_better),
        cmocka_unit_test(a_narrower_precision_says_why),
        cmocka_unit_test(what_would_fill_the_memory_goes_after_a_narrower_precision),
        cmocka_unit_test(wishes_that_change_nothing_are_told),
        cmocka_unit_test(the_sound_one_of_two_cards_comes_first),
        cmocka_unit_test(a_preference_that_could_not_be_kept_is_told),
        cmocka_unit_test(rules_of_the_callers_count),
        cmocka_unit_test(the_plan_outlives_what_it_was_made_of),
        cmocka_unit_test(a_process_that_is_bound_gets_the_card_near_it),
        cmocka_unit_test(want_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
