/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our eviction policy beside others, on traces with seeds that it was not tuned on.
 *
 * All policies play by the same rules: an item is loaded when it is asked for and not there, at the
 * cost of its load time; what is leased does not go; how much fits is bytes. Ours is the code that
 * the pool runs, and learns only what the pool tells it: use counts and the time of the latest use,
 * whenever room is needed. The others see each access.
 *
 * The one that knows the future is a lower bound, not a policy: every gap between two uses of an
 * item can be bridged by keeping it, which takes bytes x time of the room and saves a load. The
 * bytes x time of the whole room, given to the gaps that save most for it, parts of gaps allowed,
 * save at least as much as any policy can. (Where leases alone take more than the room, a policy
 * has more; the most that any of them had is then the room of the bound.)
 */
#include <resourcepool/bench.h>

#include "base/memory.h"
#include "base/status.h"
#include "bench/summary.h"
#include "bench/traces.h"
#include "pool/eviction.h"

#include <stdlib.h>
#include <string.h>

enum policy { OURS, LRU, GDSF, S3FIFO, RANDOM, POLICIES };
enum { SEEDS_MAX = 9, NO_ITEM = UINT32_MAX };

/* What the policies keep of an item. */
struct state {
    bool is_resident;
    int64_t until_ns; /* leased until */
    int64_t last_ns;
    uint64_t uses;     /* since it was loaded */
    double priority;   /* GDSF */
    uint8_t frequency; /* S3-FIFO: 0 to 3 */
    bool is_main;      /* S3-FIFO: in the main queue, else in the small one */
    bool is_ghost;     /* S3-FIFO */
    uint32_t next;     /* S3-FIFO: towards the head of its queue */
    struct rp_worth worth;
};

/* A queue of items, oldest at the tail. */
struct queue {
    uint32_t head;
    uint32_t tail;
    uint64_t bytes;
};

struct replay {
    const struct rp_trace *trace;
    enum policy policy;
    struct state *states;
    uint64_t used_bytes;
    double reload_s;
    double excess_area; /* bytes x requests beyond the room */
    int64_t now_ns;
    uint64_t random;
    double inflation; /* GDSF: the priority of the last one that went */
    struct queue small;
    struct queue large;
    uint32_t *ghosts; /* S3-FIFO: a ring of as many as there are items */
    size_t ghost_at;
    uint64_t ghost_bytes;
    size_t ghost_oldest;
    struct rp_eviction eviction;
    struct rp_victim *victims;
};

static bool can_go(const struct replay *replay, uint32_t item) {
    const struct state *state = &replay->states[item];
    return state->is_resident && state->until_ns <= replay->now_ns;
}

static void drop(struct replay *replay, uint32_t item) {
    struct state *state = &replay->states[item];
    replay->used_bytes -= replay->trace->items[item].bytes;
    state->is_resident = false;
}

/* ---- S3-FIFO, with queues measured in bytes ---- */

static void push(struct replay *replay, struct queue *queue, uint32_t item) {
    replay->states[item].next = NO_ITEM;
    if (queue->head != NO_ITEM) replay->states[queue->head].next = item;
    queue->head = item;
    if (queue->tail == NO_ITEM) queue->tail = item;
    queue->bytes += replay->trace->items[item].bytes;
}

static uint32_t pop(struct replay *replay, struct queue *queue) {
    uint32_t item = queue->tail;
    if (item == NO_ITEM) return item;
    queue->tail = replay->states[item].next;
    if (queue->tail == NO_ITEM) queue->head = NO_ITEM;
    queue->bytes -= replay->trace->items[item].bytes;
    return item;
}

static void add_ghost(struct replay *replay, uint32_t item) {
    const struct rp_trace *trace = replay->trace;
    if (replay->states[item].is_ghost) return;
    replay->states[item].is_ghost = true;
    replay->ghosts[replay->ghost_at++ % trace->item_count] = item;
    replay->ghost_bytes += trace->items[item].bytes;
    while (replay->ghost_bytes > trace->capacity_bytes / 10 * 9 &&
           replay->ghost_oldest < replay->ghost_at) {
        uint32_t oldest = replay->ghosts[replay->ghost_oldest++ % trace->item_count];
        if (!replay->states[oldest].is_ghost) continue;
        replay->states[oldest].is_ghost = false;
        replay->ghost_bytes -= trace->items[oldest].bytes;
    }
}

static uint32_t pick_s3fifo(struct replay *replay) {
    uint64_t small_max = replay->trace->capacity_bytes / 10;
    bool is_small_stuck = false; /* on what is leased: the other queue may go on */
    for (size_t tries = 0; tries < 8 * replay->trace->item_count; tries++) {
        bool from_small =
            (replay->small.bytes > small_max && !is_small_stuck) || replay->large.tail == NO_ITEM;
        uint32_t item = pop(replay, from_small ? &replay->small : &replay->large);
        if (item == NO_ITEM) continue;
        struct state *state = &replay->states[item];
        if (from_small && state->frequency > 1) {
            state->is_main = true;
            state->frequency = 0;
            push(replay, &replay->large, item);
        } else if (!from_small && state->frequency > 0) {
            state->frequency--;
            push(replay, &replay->large, item);
        } else if (!can_go(replay, item)) {
            push(replay, from_small ? &replay->small : &replay->large, item);
            is_small_stuck = from_small;
        } else {
            if (from_small) add_ghost(replay, item);
            return item;
        }
    }
    return NO_ITEM;
}

static void insert_s3fifo(struct replay *replay, uint32_t item) {
    struct state *state = &replay->states[item];
    state->frequency = 0;
    state->is_main = state->is_ghost;
    if (state->is_ghost) {
        state->is_ghost = false;
        replay->ghost_bytes -= replay->trace->items[item].bytes;
    }
    push(replay, state->is_main ? &replay->large : &replay->small, item);
}

/* ---- the others ---- */

/* The resident item with the least of a figure. */
static uint32_t pick_least(const struct replay *replay) {
    uint32_t least = NO_ITEM;
    for (uint32_t i = 0; i < replay->trace->item_count; i++) {
        if (!can_go(replay, i)) continue;
        if (least == NO_ITEM) least = i;
        const struct state *a = &replay->states[i];
        const struct state *b = &replay->states[least];
        bool is_less = replay->policy == LRU ? a->last_ns < b->last_ns : a->priority < b->priority;
        if (is_less) least = i;
    }
    return least;
}

static uint32_t pick_random(struct replay *replay) {
    uint32_t picked = NO_ITEM;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < replay->trace->item_count; i++) {
        if (!can_go(replay, i)) continue;
        replay->random = replay->random * UINT64_C(6364136223846793005) + 1442695040888963407;
        if ((replay->random >> 33) % ++seen == 0) picked = i;
    }
    return picked;
}

static void touch_gdsf(struct replay *replay, uint32_t item) {
    const struct rp_trace_item *facts = &replay->trace->items[item];
    struct state *state = &replay->states[item];
    state->priority =
        replay->inflation + (double)state->uses * facts->load_s / ((double)facts->bytes / 1e9);
}

/* ---- ours ---- */

static void evict_ours(struct replay *replay, uint64_t bytes) {
    size_t count = 0;
    rp_eviction_scan(&replay->eviction);
    for (uint32_t i = 0; i < replay->trace->item_count; i++) {
        struct state *state = &replay->states[i];
        if (!can_go(replay, i)) continue;
        rp_eviction_observe(&replay->eviction, &state->worth, state->uses - 1, i + 1,
                            state->last_ns);
        replay->victims[count++] = (struct rp_victim){
            .cost = rp_eviction_cost(&replay->eviction, &state->worth, replay->now_ns),
            .bytes = replay->trace->items[i].bytes,
            .owner = state,
        };
    }
    if (!rp_eviction_choose(replay->victims, count, bytes)) return;
    for (size_t i = 0; i < count; i++) {
        if (!replay->victims[i].is_chosen) continue;
        struct state *state = replay->victims[i].owner;
        uint32_t item = (uint32_t)(state - replay->states);
        rp_eviction_forget(&replay->eviction, item + 1);
        drop(replay, item);
    }
}

/* ---- replaying ---- */

static void make_room(struct replay *replay, uint64_t bytes) {
    uint64_t capacity = replay->trace->capacity_bytes;
    if (replay->used_bytes + bytes <= capacity) return;
    if (replay->policy == OURS) {
        evict_ours(replay, replay->used_bytes + bytes - capacity);
        return;
    }
    while (replay->used_bytes + bytes > capacity) {
        uint32_t item = replay->policy == S3FIFO   ? pick_s3fifo(replay)
                        : replay->policy == RANDOM ? pick_random(replay)
                                                   : pick_least(replay);
        if (item == NO_ITEM) return; /* all are leased: the same for every policy */
        if (replay->policy == GDSF) replay->inflation = replay->states[item].priority;
        drop(replay, item);
    }
}

static void serve(struct replay *replay, const struct rp_trace_request *request) {
    uint32_t item = request->item;
    struct state *state = &replay->states[item];
    const struct rp_trace_item *facts = &replay->trace->items[item];
    replay->now_ns = request->at_ns;
    if (state->is_resident) {
        state->uses++;
        if (state->frequency < 3) state->frequency++;
    } else {
        replay->reload_s += facts->load_s;
        make_room(replay, facts->bytes);
        state->is_resident = true;
        state->uses = 1;
        replay->used_bytes += facts->bytes;
        if (replay->policy == S3FIFO) insert_s3fifo(replay, item);
        if (replay->policy == OURS) {
            rp_eviction_admit(&replay->eviction, &state->worth, item + 1, facts->bytes,
                              facts->load_s * 1e3, replay->now_ns);
        }
    }
    state->last_ns = request->at_ns;
    if (request->until_ns > state->until_ns) state->until_ns = request->until_ns;
    if (replay->policy == GDSF) touch_gdsf(replay, item);
    if (replay->used_bytes > replay->trace->capacity_bytes) {
        replay->excess_area += (double)(replay->used_bytes - replay->trace->capacity_bytes);
    }
}

/*
 * Seconds of loading that a policy costs; below 0 without memory. *excess_area becomes what it had
 * beyond the room, if that is more.
 */
static double replay_trace(const struct rp_trace *trace, enum policy policy, double *excess_area) {
    struct replay replay = {
        .trace = trace,
        .policy = policy,
        .random = 42,
        .small = {NO_ITEM, NO_ITEM, 0},
        .large = {NO_ITEM, NO_ITEM, 0},
    };
    rp_eviction_init(&replay.eviction);
    replay.states = rp_alloc_array(trace->item_count, sizeof *replay.states);
    replay.ghosts = rp_alloc_array(trace->item_count, sizeof *replay.ghosts);
    replay.victims = rp_alloc_array(trace->item_count, sizeof *replay.victims);
    bool is_ready = replay.states && replay.ghosts && replay.victims;
    for (size_t i = 0; i < trace->request_count && is_ready; i++) {
        serve(&replay, &trace->requests[i]);
    }
    if (replay.excess_area > *excess_area) *excess_area = replay.excess_area;
    rp_eviction_fini(&replay.eviction);
    rp_free(replay.states);
    rp_free(replay.ghosts);
    rp_free(replay.victims);
    return is_ready ? replay.reload_s : -1;
}

/* ---- the bound ---- */

/* A gap between two uses: what bridging it saves, and the room x time that takes. */
struct gap {
    double saves_s;
    double area; /* bytes x requests */
};

static int best_first(const void *a, const void *b) {
    const struct gap *x = a;
    const struct gap *y = b;
    double left = x->saves_s * y->area;
    double right = y->saves_s * x->area;
    return (left < right) - (left > right);
}

/* No policy can load for fewer seconds; below 0 without memory. */
static double lower_bound(const struct rp_trace *trace, double excess_area) {
    struct gap *gaps = rp_alloc_array(trace->request_count + 1, sizeof *gaps);
    size_t *previous = rp_alloc_array(trace->item_count, sizeof *previous);
    double total_s = -1;
    if (!gaps || !previous) goto done;
    total_s = 0;
    size_t count = 0;
    double area = (double)trace->capacity_bytes * (double)trace->request_count + excess_area;
    for (size_t i = 0; i < trace->request_count; i++) {
        uint32_t item = trace->requests[i].item;
        const struct rp_trace_item *facts = &trace->items[item];
        total_s += facts->load_s;
        if (previous[item] > 0) {
            gaps[count++] = (struct gap){facts->load_s,
                                         (double)facts->bytes * (double)(i + 1 - previous[item])};
        }
        previous[item] = i + 1;
    }
    qsort(gaps, count, sizeof *gaps, best_first);
    for (size_t i = 0; i < count && area > 0; i++) {
        double part = gaps[i].area <= area ? 1 : area / gaps[i].area;
        total_s -= part * gaps[i].saves_s;
        area -= gaps[i].area;
    }
done:
    rp_free(gaps);
    rp_free(previous);
    return total_s;
}

/* ---- the table ---- */

static const char *const row_names[RP_TRACE_KINDS + 1][POLICIES] = {
#define ROW(constant, name, text)                                                                  \
    [RP_TRACE_##constant] = {"evict " name ": ours", "evict " name ": LRU",                        \
                             "evict " name ": GDSF", "evict " name ": S3-FIFO",                    \
                             "evict " name ": random"},
    RP_TRACE_MAP(ROW)
#undef ROW
        [RP_TRACE_KINDS] = {"evict, mean of all: ours", "evict, mean of all: LRU",
                            "evict, mean of all: GDSF", "evict, mean of all: S3-FIFO",
                            "evict, mean of all: random"},
};

static const char *const best_names[RP_TRACE_KINDS] = {
#define BEST(constant, name, text)                                                                 \
    [RP_TRACE_##constant] = "evict " name ": ours to best of the others",
    RP_TRACE_MAP(BEST)
#undef BEST
};

/* One trace of one seed: what each policy spends, and the bound; false without memory. */
static bool replay_all(enum rp_trace_kind kind, uint64_t seed, double spent[POLICIES],
                       double *bound) {
    struct rp_trace trace;
    double excess_area = 0;
    bool is_done = rp_trace_make(kind, seed, &trace);
    for (int policy = 0; policy < POLICIES && is_done; policy++) {
        spent[policy] = replay_trace(&trace, (enum policy)policy, &excess_area);
        is_done = spent[policy] >= 0;
    }
    if (is_done) *bound = lower_bound(&trace, excess_area);
    rp_trace_fini(&trace);
    return is_done && *bound >= 0;
}

rp_status rp_bench_eviction(rp_measure *rows, uint64_t first_seed, size_t seeds, rp_error *err) {
    _Static_assert(RP_BENCH_EVICTION_ROWS == RP_TRACE_KINDS * (POLICIES + 1) + POLICIES,
                   "a row for each policy and trace, the comparison, and the means");
    if (seeds < 1 || seeds > SEEDS_MAX) {
        return rp_fail(err, RP_ERR_ARGUMENT, "%zu seeds: it takes 1 to %d", seeds, SEEDS_MAX);
    }
    double mean_ratio[POLICIES][SEEDS_MAX] = {{0}};
    double ones[SEEDS_MAX];
    for (size_t seed = 0; seed < seeds; seed++) {
        ones[seed] = 1;
    }
    size_t row = 0;
    for (int kind = 0; kind < RP_TRACE_KINDS; kind++) {
        double seconds[POLICIES][SEEDS_MAX];
        double bound[SEEDS_MAX];
        double to_best[SEEDS_MAX];
        for (size_t seed = 0; seed < seeds; seed++) {
            double spent[POLICIES];
            if (!replay_all((enum rp_trace_kind)kind, first_seed + seed, spent, &bound[seed])) {
                return rp_fail(err, RP_ERR_MEMORY, "no memory to replay a trace");
            }
            double best = spent[LRU];
            for (int policy = 0; policy < POLICIES; policy++) {
                seconds[policy][seed] = spent[policy];
                mean_ratio[policy][seed] += spent[policy] / bound[seed] / RP_TRACE_KINDS;
                if (policy != OURS && spent[policy] < best) best = spent[policy];
            }
            to_best[seed] = spent[OURS] / best;
        }
        for (int policy = 0; policy < POLICIES; policy++) {
            rows[row++] =
                rp_bench_summarise(row_names[kind][policy], "s", seconds[policy], bound, seeds);
        }
        rows[row++] = rp_bench_summarise(best_names[kind], "x", to_best, ones, seeds);
    }
    for (int policy = 0; policy < POLICIES; policy++) {
        rows[row++] = rp_bench_summarise(row_names[RP_TRACE_KINDS][policy], "x", mean_ratio[policy],
                                         ones, seeds);
    }
    return RP_OK;
}
