/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/relief.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "engine/engine.h"
#include "hardware/pressure.h"
#include "pool/admission.h"
#include "pool/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <resourcepool/hardware.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Loads look at the memory at most this often, and the monitor thread this often. */
#define LOOK_NS    (INT64_C(100) * 1000000)
#define MONITOR_MS 250

/* Under `refuse`, what is smaller than this is let in all the same. */
#define LITTLE_BYTES (UINT64_C(1) << 20)

/* Freed heap below this is not worth a walk over the whole of it. */
enum { TRIM_PAD_BYTES = 1 << 20 };

/* ---- reading ---- */

/* Read, opening what is read with the first look. False: nothing can be read. */
static bool read_pressure(rp_pool *pool, struct rp_pressure_reading *reading) {
    struct rp_relief *relief = &pool->relief;
    rp_lock_acquire(&relief->reader_lock);
    if (!relief->reader && !relief->has_failed) {
        relief->has_failed = rp_pressure_open("", &relief->reader, NULL) != RP_OK;
    }
    bool is_there = relief->reader != NULL;
    if (is_there) rp_pressure_read(relief->reader, reading);
    rp_lock_release(&relief->reader_lock);
    return is_there;
}

static void fill(rp_pressure_info *info, const struct rp_pressure_reading *reading) {
    *info = (rp_pressure_info){
        .total_bytes = reading->bytes_total,
        .usable_bytes = reading->bytes_usable,
        .machine_total_bytes = reading->machine_bytes_total,
        .machine_available_bytes = reading->machine_bytes_available,
        .group_limit_bytes = reading->group_bytes_limit,
        .group_used_bytes = reading->group_bytes_used,
        .group_oom_kills = reading->group_oom_kills,
        .stall_percent = reading->stall_some_percent,
        .cpu_percent = reading->cpu_percent,
        .process_bytes = reading->process_bytes_anonymous,
    };
    snprintf(info->group, sizeof info->group, "%s", reading->group ? reading->group : "");
}

/* Let a ladder take a reading, and say what came of it. */
static bool climb(struct rp_ladder *ladder, const struct rp_pressure_reading *reading,
                  rp_pressure_info *info) {
    struct rp_ladder_reading what;
    rp_ladder_reading_of_memory(reading, &what);
    bool is_changed =
        rp_ladder_step(ladder, &what, reading->at_ns, info->reason, sizeof info->reason);
    info->step = ladder->level;
    info->to_free_bytes = ladder->bytes_to_free;
    if (!is_changed) {
        char usable[RP_BYTES_TEXT_BYTES] = "an unknown part";
        char total[RP_BYTES_TEXT_BYTES] = "an unknown total";
        if (info->usable_bytes != RP_UNKNOWN_U64) {
            rp_text_bytes(info->usable_bytes, usable, sizeof usable);
        }
        if (info->total_bytes != RP_UNKNOWN_U64) {
            rp_text_bytes(info->total_bytes, total, sizeof total);
        }
        snprintf(info->reason, sizeof info->reason, "%s of %s usable%s%s%s", usable, total,
                 info->group[0] ? " (" : "", info->group, info->group[0] ? ")" : "");
    }
    return is_changed;
}

void rp_relief_read_meter(void *user, const char *device, struct rp_meter_reading *reading) {
    rp_pool *pool = user;
    struct rp_pressure_reading now;
    *reading = (struct rp_meter_reading){RP_UNKNOWN_U64, RP_UNKNOWN_U64};
    const rp_snapshot *snapshot = NULL;
    if (rp_hardware_snapshot(&snapshot, NULL) != RP_OK) return;
    if (rp_snapshot_is_simulated(snapshot)) {
        /* Nothing moves on a machine from a file but what we put there. */
        const rp_device *found = rp_snapshot_find_device(snapshot, device);
        uint16_t index = rp_ledger_device_index(&pool->ledger, device);
        if (found && index != RP_LEDGER_NO_DEVICE && found->memory_bytes_free != RP_UNKNOWN_U64) {
            uint64_t ours = rp_ledger_charged(pool->ledger.devices[index].sums);
            ours -= pool->ledger.devices[index].sums[RP_CHARGE_RESERVED] +
                    pool->ledger.devices[index].sums[RP_CHARGE_LOADING];
            uint64_t free_bytes = found->memory_bytes_free;
            reading->usable_bytes = free_bytes > ours ? free_bytes - ours : 0;
        }
    } else if (strcmp(device, "cpu") == 0 && read_pressure(pool, &now)) {
        reading->own_bytes = now.process_bytes_anonymous;
        reading->usable_bytes = now.bytes_usable;
    } else if (strcmp(device, "cpu") != 0) {
        /* As its driver said when the load was placed, a moment ago. */
        const rp_device *found = rp_snapshot_find_device(snapshot, device);
        if (found) reading->usable_bytes = found->memory_bytes_free;
    }
    rp_snapshot_release(snapshot);
}

/* Anonymous memory of this process: a few microseconds, any thread. */
static uint64_t process_bytes(void) {
    char bytes[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return RP_UNKNOWN_U64;
    ssize_t length = read(fd, bytes, sizeof bytes);
    close(fd);
    if (length <= 0) return RP_UNKNOWN_U64;
    return rp_pressure_parse_statm((struct rp_span){bytes, (size_t)length},
                                   (uint64_t)sysconf(_SC_PAGESIZE));
}

uint64_t rp_meter_own_bytes(const struct rp_meter *meter, const char *device) {
    if (meter->read != rp_relief_read_meter) {
        struct rp_meter_reading reading = {RP_UNKNOWN_U64, RP_UNKNOWN_U64};
        meter->read(meter->user, device, &reading);
        return reading.own_bytes;
    }
    return strcmp(device, "cpu") == 0 ? process_bytes() : RP_UNKNOWN_U64;
}

rp_status rp_pool_check_pressure(rp_pool *pool, rp_pressure_info *info, rp_error *err) {
    if (!pool || !info)
        return rp_fail(err, RP_ERR_ARGUMENT, "no pool, or no place for its pressure");
    rp_status status = rp_pool_check_process(pool, err);
    if (status != RP_OK) return status;
    struct rp_pressure_reading reading;
    if (!read_pressure(pool, &reading)) {
        return rp_fail(err, RP_ERR_UNSUPPORTED, "memory pressure cannot be read here");
    }
    fill(info, &reading);
    rp_lock_acquire(&pool->lock);
    struct rp_ladder ladder = pool->relief.ladder; /* a look, not a step */
    rp_lock_release(&pool->lock);
    rp_pressure_step step = ladder.level;
    climb(&ladder, &reading, info);
    info->step = step;
    return RP_OK;
}

/* ---- low-memory mode ---- */

static const char *tell_reasons(unsigned reasons) {
    /* The strongest reason is the one that cannot be taken back by a call. */
    if (reasons & RP_LOW_MEMORY_PRESSURE) return "memory pressure";
    if (reasons & RP_LOW_MEMORY_SIZE) return "less than 1 GiB of memory in all";
    if (reasons & RP_LOW_MEMORY_ENVIRONMENT) return "RESOURCE_POOL_LOW_MEMORY=1";
    if (reasons & RP_LOW_MEMORY_CALL) return "asked for by the program";
    return "";
}

/* Set or clear one reason; what is idle goes when the mode begins. No lock held. */
static void set_reason(rp_pool *pool, unsigned reason, bool is_on) {
    rp_lock_acquire(&pool->lock);
    unsigned before = pool->relief.low_memory;
    unsigned after = is_on ? before | reason : before & ~reason;
    struct rp_entry *dead = NULL;
    pool->relief.low_memory = after;
    if (!before && after) {
        pool->ledger.budget_percent = RP_LOW_MEMORY_PERCENT;
        rp_pool_watch(pool);
        dead = rp_admission_evict(pool, RP_LEDGER_NO_DEVICE, UINT64_MAX, false);
    } else if (before && !after) {
        pool->ledger.budget_percent = 100;
        rp_pool_unwatch(pool);
        rp_admission_wake(pool);
    }
    rp_lock_release(&pool->lock);
    if (!before == !after) return;
    mallopt(M_ARENA_MAX, after ? 1 : 0); /* 0: as many as the C library likes */
    const char *why = tell_reasons(after ? after : before);
    rp_pool_bury(pool, dead, NULL);
    if (after) rp_relief_trim(pool);
    rp_event_tell(&pool->events, RP_EVENT_LOW_MEMORY, why, NULL, after != 0, RP_UNKNOWN_U64, -1);
    rp_log(&pool->logger, RP_LOG_WARNING, "event=low_memory on=%d reason=\"%s\"", after != 0, why);
}

const char *rp_relief_reason(const rp_pool *pool) {
    return tell_reasons(pool->relief.low_memory);
}

rp_status rp_pool_set_low_memory(rp_pool *pool, bool on, rp_error *err) {
    if (!pool) return rp_fail(err, RP_ERR_ARGUMENT, "no pool");
    rp_status status = rp_pool_check_process(pool, err);
    if (status == RP_OK)
        set_reason(pool, RP_LOW_MEMORY_CALL | (on ? 0 : RP_LOW_MEMORY_ENVIRONMENT), on);
    return status;
}

bool rp_pool_is_low_memory(rp_pool *pool, const char **why) {
    rp_lock_acquire(&pool->lock);
    unsigned reasons = pool->relief.low_memory;
    rp_lock_release(&pool->lock);
    if (why) *why = tell_reasons(reasons);
    return reasons != 0;
}

void rp_relief_trim(rp_pool *pool) {
    rp_lock_acquire(&pool->lock);
    size_t count = 0;
    rp_model **models = rp_alloc_array(pool->entry_count + 1, sizeof *models);
    struct rp_entry **pinned = rp_alloc_array(pool->entry_count + 1, sizeof *pinned);
    for (struct rp_entry *entry = pool->oldest; entry && models && pinned; entry = entry->next) {
        if (entry->state != RP_ENTRY_LOADED || !entry->model) continue;
        entry->pin_count++;
        pinned[count] = entry;
        models[count++] = entry->model;
    }
    rp_lock_release(&pool->lock);
    for (size_t i = 0; i < count; i++) {
        rp_model_trim(models[i]);
    }
    struct rp_entry *dead = NULL;
    rp_lock_acquire(&pool->lock);
    for (size_t i = 0; i < count; i++) {
        if (!rp_entry_unpin(pinned[i])) continue;
        pinned[i]->next = dead;
        dead = pinned[i];
    }
    rp_lock_release(&pool->lock);
    rp_free(models);
    rp_free(pinned);
    rp_pool_bury(pool, dead, NULL);
    malloc_trim(TRIM_PAD_BYTES);
}

/* ---- the ladder ---- */

rp_status rp_relief_admits(rp_pool *pool, const char *key, uint64_t bytes, rp_error *err) {
    assert(rp_lock_is_held(&pool->lock));
    if (pool->relief.ladder.level < RP_PRESSURE_REFUSE || bytes < LITTLE_BYTES) return RP_OK;
    char size[RP_BYTES_TEXT_BYTES];
    rp_fail(
        err, RP_ERR_CAPACITY,
        "no room for '%s': it needs %s, and memory pressure is so high that nothing new is loaded",
        key, rp_text_bytes(bytes, size, sizeof size));
    rp_hint(err, "release leases, end other programs, or raise the limit of the control group");
    pool->counts.refusals++;
    rp_event_tell(&pool->events, RP_EVENT_REFUSE, key, NULL, bytes, RP_UNKNOWN_U64, -1);
    return RP_ERR_CAPACITY;
}

/* What the new step asks for. No lock held. */
static void take_step(rp_pool *pool, const rp_pressure_info *info) {
    rp_event_tell(&pool->events, RP_EVENT_PRESSURE, rp_pressure_step_name(info->step), "cpu",
                  info->usable_bytes, info->to_free_bytes, -1);
    rp_log(&pool->logger, info->step == RP_PRESSURE_NONE ? RP_LOG_INFO : RP_LOG_WARNING,
           "event=pressure step=%s reason=\"%s\"", rp_pressure_step_name(info->step), info->reason);
    set_reason(pool, RP_LOW_MEMORY_PRESSURE, info->step >= RP_PRESSURE_LOW_MEMORY);
    if (pool->relief.on_pressure) pool->relief.on_pressure(info, pool->relief.on_pressure_user);
}

/* A ladder for each device in the ledger; false without memory. Needs pool.lock. */
static bool reserve_ladders(rp_pool *pool) {
    struct rp_relief *relief = &pool->relief;
    if (relief->device_ladder_count == pool->ledger.count) return true;
    struct rp_ladder *grown =
        rp_realloc_array(relief->device_ladders, pool->ledger.count, sizeof *grown);
    if (!grown) return false;
    relief->device_ladders = grown;
    while (relief->device_ladder_count < pool->ledger.count) {
        rp_ladder_init(&grown[relief->device_ladder_count++], NULL);
    }
    return true;
}

/* Devices with memory of their own: what is idle there goes when it is short. No lock held. */
static void relieve_devices(rp_pool *pool, int64_t now_ns) {
    struct rp_entry *dead = NULL;
    rp_lock_acquire(&pool->lock);
    size_t count = reserve_ladders(pool) ? pool->ledger.count : 0;
    for (size_t i = 0; i < count && !dead; i++) {
        struct rp_ledger_device *device = &pool->ledger.devices[i];
        struct rp_ladder *ladder = &pool->relief.device_ladders[i];
        struct rp_meter_reading reading = {RP_UNKNOWN_U64, RP_UNKNOWN_U64};
        struct rp_ladder_reading what;
        char reason[160];
        if (strcmp(device->id, "cpu") == 0) continue;
        pool->meter.read(pool->meter.user, device->id, &reading);
        rp_ladder_reading_of_device(device->id, device->limit_bytes, reading.usable_bytes, &what);
        if (rp_ladder_step(ladder, &what, now_ns, reason, sizeof reason)) {
            rp_event_tell(&pool->events, RP_EVENT_PRESSURE, rp_pressure_step_name(ladder->level),
                          device->id, reading.usable_bytes, ladder->bytes_to_free, -1);
        }
        if (ladder->level >= RP_PRESSURE_DROP && ladder->bytes_to_free > 0) {
            dead = rp_admission_evict(pool, (uint16_t)i, ladder->bytes_to_free, false);
        }
    }
    rp_lock_release(&pool->lock);
    rp_pool_bury(pool, dead, NULL);
}

rp_status rp_pool_relieve_pressure(rp_pool *pool, rp_pressure_info *info, rp_error *err) {
    rp_pressure_info own;
    if (!info) info = &own;
    if (!pool) return rp_fail(err, RP_ERR_ARGUMENT, "no pool");
    rp_status status = rp_pool_check_process(pool, err);
    if (status != RP_OK) return status;
    struct rp_pressure_reading reading;
    if (!read_pressure(pool, &reading)) {
        return rp_fail(err, RP_ERR_UNSUPPORTED, "memory pressure cannot be read here");
    }
    fill(info, &reading);
    relieve_devices(pool, reading.at_ns);
    struct rp_entry *dead = NULL;
    rp_lock_acquire(&pool->lock);
    bool is_changed = climb(&pool->relief.ladder, &reading, info);
    if (info->step >= RP_PRESSURE_DROP && info->to_free_bytes > 0) {
        uint16_t cpu = rp_ledger_device_index(&pool->ledger, "cpu");
        dead = rp_admission_evict(pool, cpu, info->to_free_bytes, false);
    }
    if (is_changed) rp_admission_wake(pool);
    rp_lock_release(&pool->lock);
    if (rp_pool_bury(pool, dead, NULL) > 0 || is_changed) {
        bool is_short = info->step >= RP_PRESSURE_DROP;
        if (is_short && pool->relief.on_freed) {
            pool->relief.on_freed(true, pool->relief.freed_user);
        }
        if (info->step >= RP_PRESSURE_DROP) rp_relief_trim(pool);
    }
    if (is_changed) take_step(pool, info);
    return RP_OK;
}

void rp_relief_before_load(rp_pool *pool, uint64_t machine_bytes_total) {
    struct rp_relief *relief = &pool->relief;
    int64_t now_ns = rp_clock_coarse_ns();
    rp_lock_acquire(&pool->lock);
    bool is_size_known = relief->is_size_known;
    bool is_watched = relief->has_thread && pool->entry_count > 0; /* by the thread */
    bool is_due = !is_watched && now_ns - relief->looked_ns >= LOOK_NS;
    relief->is_size_known = true;
    if (is_due) relief->looked_ns = now_ns;
    rp_lock_release(&pool->lock);
    if (!is_size_known && machine_bytes_total < RP_LOW_MEMORY_TOTAL_BYTES) {
        set_reason(pool, RP_LOW_MEMORY_SIZE, true);
    }
    if (is_due) {
        rp_status status = rp_pool_relieve_pressure(pool, NULL, NULL);
        (void)status; /* without figures there is nothing to relieve */
    }
}

/* ---- the thread ---- */

/* Whether there is nothing that the thread could do for the pool, and nobody to tell. */
static bool has_nothing_to_do(rp_pool *pool) {
    const struct rp_relief *relief = &pool->relief;
    rp_lock_acquire(&pool->lock);
    bool is_pressed = relief->ladder.level != RP_PRESSURE_NONE ||
                      (relief->low_memory & RP_LOW_MEMORY_PRESSURE) != 0;
    bool is_idle = pool->entry_count == 0 && !is_pressed && !relief->on_pressure;
    rp_lock_release(&pool->lock);
    return is_idle;
}

/* Sleep for a while (below 0: as long as it takes), until tasks stall on memory, or until somebody
 * pokes. */
static void rest(struct rp_relief *relief, int trigger, int64_t pause_ms) {
    struct pollfd waits[2] = {{relief->poke, POLLIN, 0}, {trigger, POLLPRI, 0}};
    eventfd_t ignored;
    int ready = poll(waits, 2, (int)pause_ms); /* a descriptor below 0 is passed over */
    if (ready > 0 && (waits[0].revents & POLLIN)) eventfd_read(relief->poke, &ignored);
}

static void *keep(void *argument) {
    rp_pool *pool = argument;
    struct rp_relief *relief = &pool->relief;
    int64_t expiry_ms = relief->idle_expiry_ns / 1000000;
    int64_t pause_ms = relief->is_monitored ? MONITOR_MS : INT_MAX;
    int trigger = -1;
    if (expiry_ms > 0 && expiry_ms / 4 < pause_ms) pause_ms = expiry_ms / 4 + 1;
    rp_lock_acquire(&relief->reader_lock);
    if (!relief->reader) relief->has_failed = rp_pressure_open("", &relief->reader, NULL) != RP_OK;
    if (relief->is_monitored && relief->reader &&
        rp_pressure_open_trigger(relief->reader, &trigger, NULL) != RP_OK) {
        trigger = -1; /* looking every so often does without it */
    }
    rp_lock_release(&relief->reader_lock);
    for (;;) {
        bool is_idle = has_nothing_to_do(pool);
        rest(relief, is_idle ? -1 : trigger, is_idle ? -1 : pause_ms);
        if (atomic_load(&relief->is_ending)) break;
        rp_status status = RP_OK;
        if (relief->is_monitored) status = rp_pool_relieve_pressure(pool, NULL, NULL);
        if (expiry_ms > 0) status = rp_pool_cleanup_unused(pool, expiry_ms, NULL, NULL);
        (void)status; /* tried again soon */
    }
    if (trigger >= 0) close(trigger);
    return NULL;
}

void rp_relief_wake(rp_pool *pool) {
    assert(rp_lock_is_held(&pool->lock));
    if (pool->relief.has_thread) eventfd_write(pool->relief.poke, 1);
}

static bool is_set(const char *variable) {
    const char *value = getenv(variable);
    return value && *value && strcmp(value, "0") != 0;
}

rp_status rp_relief_init(rp_pool *pool, const rp_pool_options *options, rp_error *err) {
    struct rp_relief *relief = &pool->relief;
    rp_lock_init(&relief->reader_lock);
    relief->poke = -1;
    rp_ladder_init(&relief->ladder, NULL);
    relief->on_pressure = options->on_pressure;
    relief->on_pressure_user = options->pressure_user;
    relief->on_freed = options->on_freed;
    relief->freed_user = options->freed_user;
    relief->is_monitored = options->monitor;
    if (options->idle_expiry_ms > 0) {
        if (options->idle_expiry_ms > INT64_MAX / 1000000) {
            return rp_fail(err, RP_ERR_ARGUMENT, "an idle expiry of %lld ms is too long",
                           (long long)options->idle_expiry_ms);
        }
        relief->idle_expiry_ns = options->idle_expiry_ms * 1000000;
    }
    if (options->low_memory) set_reason(pool, RP_LOW_MEMORY_CALL, true);
    if (is_set("RESOURCE_POOL_LOW_MEMORY")) set_reason(pool, RP_LOW_MEMORY_ENVIRONMENT, true);
    if (!relief->is_monitored && relief->idle_expiry_ns == 0) return RP_OK;
    relief->poke = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (relief->poke < 0) return rp_fail_errno(err, "cannot watch over the pool: no descriptor");
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = pthread_create(&relief->thread, NULL, keep, pool);
    relief->has_thread = errno == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (relief->has_thread) return RP_OK;
    return rp_fail_errno(err, "cannot start the thread that watches over the pool");
}

void rp_relief_end(rp_pool *pool) {
    struct rp_relief *relief = &pool->relief;
    if (!relief->has_thread) return;
    atomic_store(&relief->is_ending, true);
    eventfd_write(relief->poke, 1);
    pthread_join(relief->thread, NULL);
    relief->has_thread = false;
}

void rp_relief_fini(rp_pool *pool) {
    rp_pressure_close(pool->relief.reader);
    rp_free(pool->relief.device_ladders);
    if (pool->relief.poke >= 0) close(pool->relief.poke);
    rp_lock_fini(&pool->relief.reader_lock);
}
