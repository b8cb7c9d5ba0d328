/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A random walk of a million operations on one pool, on a machine from a file with three devices:
 * asking, holding, cloning, releasing, evicting, cleaning up, moving, changing budgets, low-memory
 * mode, constructors that need others, lie about their size or find no memory, a meter that sees
 * bytes come back late, a wall clock that jumps. After every step the invariants of the pool are
 * checked. RP_WALK_SEED repeats a walk, RP_WALK_STEPS changes its length.
 */
#include "base/memory.h"
#include "pool/pool.h"

#include "test.h"

#include <resourcepool/resourcepool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

enum { STEPS = 1000000, NAMES = 40, HELD = 24, ALIVE = 0x600D, DEAD = 0xDEAD, LEVELS = 3 };

struct object {
    int magic;
    int users; /* leases that the walk holds */
    uint64_t bytes;
    bool is_on_cpu;
    rp_lease *needed;
};

static uint64_t random_state;
static rp_pool *pool;
static struct object *objects[1 << 12]; /* all that were made and not yet unmade */
static size_t object_count;
static uint64_t late_bytes; /* that the meter has not seen come back yet */
static uint64_t made;
static uint64_t gone;
static const char *doing = "";

static uint32_t draw(uint32_t below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % below;
}

/* Instead of the C library's: whoever asks for the time of day gets that of another day. */
int clock_gettime(clockid_t id, struct timespec *now) {
    int rc = (int)syscall(SYS_clock_gettime, id, now);
    static uint64_t jumps; /* not of the walk's own numbers: the walk stays the same */
    if (id != CLOCK_REALTIME) return rc;
    jumps = jumps * UINT64_C(6364136223846793005) + 1442695040888963407;
    now->tv_sec += (time_t)(jumps >> 33) % 200000000 - 100000000;
    return rc;
}

static void read_meter(void *user, const char *device, struct rp_meter_reading *reading) {
    (void)user;
    *reading = (struct rp_meter_reading){late_bytes, RP_UNKNOWN_U64};
    if (strcmp(device, "cpu") != 0) reading->own_bytes = RP_UNKNOWN_U64;
    for (size_t i = 0; i < object_count; i++) {
        bool is_counted = reading->own_bytes != RP_UNKNOWN_U64 && objects[i]->is_on_cpu;
        if (is_counted) reading->own_bytes += objects[i]->bytes;
    }
    if (draw(4) == 0) late_bytes = 0;
}

struct order {
    int name;
    int level; /* what a constructor needs lies one level deeper */
};

static rp_request request_for(struct order *order, char *text, size_t size);

static rp_status make(rp_build *build, void *user, void **object, rp_error *err) {
    const struct order *order = user;
    uint32_t chance = draw(100);
    if (chance < 5) return rp_fail(err, RP_ERR_MEMORY, "planned: no memory");
    if (chance < 8) return rp_fail(err, RP_ERR_LOAD, "planned: broken");
    struct object *it = calloc(1, sizeof *it);
    it->magic = ALIVE;
    it->bytes = draw(60) * MIB;
    it->is_on_cpu = strcmp(rp_build_placement(build)->device, "cpu") == 0;
    if (order->level < LEVELS && draw(3) == 0) {
        struct order deeper = {(int)draw(NAMES), order->level + 1};
        char name[32];
        rp_request request = request_for(&deeper, name, sizeof name);
        rp_lease *lease = NULL;
        rp_status status = rp_pool_get_model(pool, &request, &lease, err);
        if (status != RP_OK) {
            free(it);
            return status;
        }
        if (draw(2)) {
            it->needed = lease; /* the object holds it */
        } else {
            rp_lease_release(lease, NULL);
        }
    }
    if (draw(8) > 0) rp_build_set_bytes(build, it->bytes);
    assert_true(object_count < sizeof objects / sizeof objects[0]);
    objects[object_count++] = it;
    made++;
    *object = it;
    return RP_OK;
}

static void unmake(void *pointer) {
    struct object *it = pointer;
    if (it->magic != ALIVE) fail_msg("%s: destroyed twice", doing);
    if (it->users != 0) fail_msg("%s: destroyed while %d leases are out", doing, it->users);
    it->magic = DEAD;
    gone++;
    for (size_t i = 0; i < object_count; i++) {
        if (objects[i] == it) objects[i] = objects[--object_count];
    }
    if (draw(20000) == 0 && it->is_on_cpu) late_bytes += it->bytes;
    rp_lease_release(it->needed, NULL);
    free(it);
}

static rp_request request_for(struct order *order, char *text, size_t size) {
    static const char *const devices[] = {NULL, NULL, "cpu", "cuda:0", "cuda:1"};
    rp_request request = RP_REQUEST_INIT;
    /* Names of a level only need those of the next: no circles, which have tests of their own. */
    snprintf(text, size, "%d-%d", order->level, order->name);
    request.type = "walk";
    request.name = text;
    request.construct = make;
    request.destroy = unmake;
    request.user = order;
    request.device = devices[draw(5)];
    if (draw(4) == 0) request.devices = "cuda:1,cpu";
    if (draw(6) == 0) request.precisions = "fp16,int8";
    if (draw(2)) request.memory_bytes = (1 + draw(80)) * MIB;
    return request;
}

/* What must hold whenever nobody is inside the pool. */
static void check(void) {
    uint64_t sum = 0;
    uint64_t leases = 0;
    size_t loaded = 0;
    size_t count = 0;
    rp_lock_acquire(&pool->lock);
    for (struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        count++;
        sum += entry->charge.bytes;
        leases += rp_entry_lease_count(entry);
        loaded += entry->state == RP_ENTRY_LOADED;
        if (entry->state == RP_ENTRY_LOADING) fail_msg("%s: a load is left behind", doing);
        if (entry->pin_count != 0) fail_msg("%s: a pin is left behind", doing);
        const struct object *it = entry->object;
        if (it && it->magic != ALIVE) fail_msg("%s: a destroyed object is in the pool", doing);
        if (entry->charge.bytes > RP_UNKNOWN_U64 / 2) fail_msg("%s: negative bytes", doing);
        for (struct rp_dependency *edge = entry->needs; edge; edge = edge->next_of) {
            if (!edge->on->object) fail_msg("%s: what it was made of is gone", doing);
        }
        if (entry->is_detached && !entry->needed_by && rp_entry_lease_count(entry) == 0) {
            fail_msg("%s: nobody holds '%s', and it stays", doing, entry->text);
        }
        if (pool->relief.low_memory && !entry->is_detached && !entry->needed_by &&
            rp_entry_lease_count(entry) == 0) {
            fail_msg("%s: idle in low-memory mode: '%s'", doing, entry->text);
        }
    }
    const uint64_t *sums = pool->ledger.sums;
    if (!rp_ledger_is_sound(&pool->ledger)) fail_msg("%s: the ledger does not add up", doing);
    if (sum != sums[RP_CHARGE_RESIDENT]) {
        fail_msg("%s: entries hold %llu bytes, the ledger says %llu", doing,
                 (unsigned long long)sum, (unsigned long long)sums[RP_CHARGE_RESIDENT]);
    }
    if (sums[RP_CHARGE_RESERVED] + sums[RP_CHARGE_LOADING] + sums[RP_CHARGE_UNLOADING] != 0) {
        fail_msg("%s: bytes are left in between", doing);
    }
    if (count != pool->entry_count || loaded != count)
        fail_msg("%s: entries are miscounted", doing);
    if (pool->queue) fail_msg("%s: somebody waits unanswered", doing);
    if (pool->watch_count != (pool->relief.low_memory ? 1U : 0U)) {
        fail_msg("%s: watched for no reason", doing);
    }
    if (made - gone != loaded) fail_msg("%s: objects and entries differ", doing);
    rp_lock_release(&pool->lock);
    uint64_t held = 0;
    for (size_t i = 0; i < object_count; i++) {
        held += (uint64_t)objects[i]->users + (objects[i]->needed != NULL);
    }
    if (leases != held) fail_msg("%s: leases are miscounted", doing);
}

struct held {
    rp_lease *lease;
    struct object *object;
};

static void let_go(struct held *held) {
    if (!held->lease) return;
    held->object->users--;
    rp_lease *lease = held->lease;
    *held = (struct held){0};
    rp_error err = RP_ERROR_INIT;
    assert_ok(rp_lease_release(lease, &err));
}

static void hold(struct held *held, rp_lease *lease) {
    let_go(held);
    held->lease = lease;
    held->object = rp_lease_object(lease);
    held->object->users++;
}

static void ask(struct held *held) {
    struct order order = {(int)draw(NAMES), 0};
    char name[32];
    rp_error err = RP_ERROR_INIT;
    rp_lease *lease = NULL;
    rp_request request = request_for(&order, name, sizeof name);
    let_go(held);
    rp_status status = rp_pool_get_model(pool, &request, &lease, &err);
    if (status == RP_OK) {
        hold(held, lease);
    } else if (status != RP_ERR_MEMORY && status != RP_ERR_LOAD && status != RP_ERR_CAPACITY) {
        fail_msg("%s", err.message);
    }
}

static void move(struct held *held) {
    struct order order = {(int)draw(NAMES), 0};
    char name[32];
    rp_lease *lease = NULL;
    rp_request request = request_for(&order, name, sizeof name);
    request.device = NULL;
    let_go(held);
    if (rp_pool_move_model(pool, &request, draw(2) ? "cuda:0" : "cuda:1", &lease, NULL) == RP_OK) {
        hold(held, lease);
    }
}

static void evict(void) {
    char key[64];
    static const char *const devices[] = {"cpu", "cuda:0", "cuda:1"};
    snprintf(key, sizeof key, "walk:%u-%u@%s", draw(LEVELS), draw(NAMES), devices[draw(3)]);
    rp_status status = rp_pool_evict(pool, key, NULL, NULL);
    assert_true(status == RP_OK || status == RP_ERR_NOT_FOUND);
}

static void step(struct held held[HELD]) {
    rp_error err = RP_ERROR_INIT;
    struct held *any = &held[draw(HELD)];
    uint32_t chance = draw(1000);
    if (chance < 500) {
        doing = "ask";
        ask(any);
    } else if (chance < 850) {
        doing = "release";
        let_go(any);
    } else if (chance < 900) {
        doing = "clone";
        struct held *other = &held[draw(HELD)];
        rp_lease *clone = NULL;
        if (!other->lease || other == any) return;
        assert_ok(rp_lease_clone(other->lease, &clone, &err));
        hold(any, clone);
    } else if (chance < 950) {
        doing = "evict";
        evict();
    } else if (chance < 965) {
        doing = "move";
        move(any);
    } else if (chance < 975) {
        doing = "clean up";
        assert_ok(rp_pool_cleanup_unused(pool, draw(3), NULL, &err));
    } else if (chance < 990) {
        doing = "budget";
        assert_ok(rp_pool_set_budget(pool, draw(2) ? "cpu" : NULL, (50 + draw(600)) * MIB, &err));
    } else if (chance < 998) {
        doing = "low-memory mode";
        assert_ok(rp_pool_set_low_memory(pool, draw(4) == 0, &err));
    } else {
        doing = "clear";
        rp_status status = rp_pool_clear(pool, NULL, &err);
        assert_true(status == RP_OK || status == RP_ERR_BUSY);
    }
}

static void every_invariant_holds_after_every_step(void **state) {
    (void)state;
    const char *seed = getenv("RP_WALK_SEED");
    const char *length = getenv("RP_WALK_STEPS");
    random_state = seed ? strtoull(seed, NULL, 10) : 20240229;
    long steps = length ? strtol(length, NULL, 10) : STEPS;
    rp_error err = RP_ERROR_INIT;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    struct held held[HELD] = {{0}};
    options.history = "off";
    options.budget = "cpu=300MiB,all=600MiB";
    assert_ok(rp_pool_open(&options, &pool, &err));
    pool->meter = (struct rp_meter){read_meter, NULL};
    printf("seed %llu, %ld steps\n", (unsigned long long)random_state, steps);
    for (long i = 0; i < steps; i++) {
        step(held);
        check();
    }
    for (size_t i = 0; i < HELD; i++) {
        let_go(&held[i]);
    }
    printf("%llu made, %llu evictions, %llu retries, %llu fallbacks, %llu refusals\n",
           (unsigned long long)made, (unsigned long long)pool->counts.evictions,
           (unsigned long long)pool->counts.retries, (unsigned long long)pool->counts.fallbacks,
           (unsigned long long)pool->counts.refusals);
    assert_ok(rp_pool_close(pool, &err));
    assert_int_equal(made, gone);
    assert_true(made > (uint64_t)steps / 50);
}

int main(void) {
    setenv("RESOURCE_POOL_SIMULATE", SOURCE_ROOT "/tests/machines/8xh100.json", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_invariant_holds_after_every_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
