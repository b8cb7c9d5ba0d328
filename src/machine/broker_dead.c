/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models that died by themselves. The host only says that there is one: which it is, is looked up
 * where no entry can go away meanwhile. Their entries leave the pool at once, so that their bytes
 * are nobody's; who still leases one learns it at his next run.
 */
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"
#include "machine/broker_inside.h"
#include "pool/build.h"
#include "pool/holdings.h"
#include "pool/pool.h"

#include <stdio.h>
#include <string.h>

struct dead {
    struct dead *next;
    rp_error story;
    struct rp_explanation explanation;
    char device[RP_LIMIT_DEVICE_BYTES];
    char *key;
};

/* One look at all models; the housekeeper's, then the loop's. */
struct look {
    struct rp_broker *broker;
    struct rp_task task;
    struct dead *dead;
};

static void check(void *user, const char *key, rp_model *model) {
    struct look *look = user;
    const struct rp_broker_host *host = &look->broker->host;
    rp_error story = RP_ERROR_INIT;
    if (host->is_alive(host->user, model, &story)) return;
    struct dead *dead = rp_alloc(sizeof *dead);
    char *copy = dead ? rp_strdup(key) : NULL;
    if (!copy) {
        rp_free(dead); /* the next lease finds out */
        return;
    }
    dead->next = look->dead;
    dead->story = story;
    dead->key = copy;
    snprintf(dead->device, sizeof dead->device, "%s", rp_model_device(model));
    look->dead = dead;
}

static void explain(struct dead *dead) {
    (void)rp_explain(&dead->story, dead->device, NULL, &dead->explanation);
}

/* On the housekeeper: unmaking what is dead may wait for its process. */
static void take_out(void *user) {
    struct look *look = user;
    rp_pool_each_model(look->broker->pool, check, look);
    for (struct dead *at = look->dead; at; at = at->next) {
        rp_pool_evict(look->broker->pool, at->key, NULL, NULL);
        explain(at);
    }
}

static void note(struct rp_broker *broker, const struct dead *dead) {
    rp_broker_note_failure(broker, &(struct rp_broker_failure){.name = dead->key,
                                                               .device = dead->device,
                                                               .why = &dead->story,
                                                               .explanation = &dead->explanation,
                                                               .met_count = 1});
}

static void tell(void *user) {
    struct look *look = user;
    while (look->dead) {
        struct dead *dead = look->dead;
        look->dead = dead->next;
        rp_broker_log(look->broker, "warning", "event=dead key=\"%s\" message=\"%s\"", dead->key,
                      dead->story.message);
        note(look->broker, dead);
        rp_free(dead->key);
        rp_free(dead);
    }
    rp_free(look);
}

/* ---- met by a request ---- */

struct met {
    struct rp_broker *broker;
    struct rp_task task;
    struct dead dead;
};

static void explain_met(void *user) {
    struct met *met = user;
    explain(&met->dead);
}

static void note_met(void *user) {
    struct met *met = user;
    note(met->broker, &met->dead);
    rp_free(met->dead.key);
    rp_free(met);
}

void rp_broker_note_dead_key(struct rp_broker *broker, const char *key, const char *device,
                             const rp_error *story) {
    struct met *met = rp_alloc(sizeof *met);
    char *copy = met ? rp_strdup(key) : NULL;
    if (!copy) {
        rp_free(met);
        rp_broker_note_failure(broker,
                               &(struct rp_broker_failure){
                                   .name = key, .device = device, .why = story, .met_count = 1});
        return;
    }
    met->broker = broker;
    met->task = (struct rp_task){explain_met, note_met, met, NULL};
    met->dead.story = *story;
    met->dead.key = copy;
    snprintf(met->dead.device, sizeof met->dead.device, "%s", device);
    rp_broker_add_chore(broker, &met->task);
}

/* ---- who held the memory ---- */

struct process {
    const struct rp_broker *broker;
    pid_t pid;
    const char *path;
};

/* What lived in the process, or was being loaded there. Needs pool.lock. */
static bool is_in_process(const struct rp_entry *entry, void *user) {
    const struct process *process = user;
    if (entry->state == RP_ENTRY_LOADING) {
        return entry->build && entry->build->path && strcmp(entry->build->path, process->path) == 0;
    }
    return entry->model && rp_broker_process_of(process->broker, entry, NULL) == process->pid;
}

/* What does not fit is left out whole. */
static void write_holders(const struct rp_holdings *holdings, char *out, size_t out_bytes) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < holdings->count; i++) {
        const struct rp_holding *at = &holdings->largest[i];
        char bytes[RP_BYTES_TEXT_BYTES];
        char use[32] = "idle";
        if (at->is_loading) snprintf(use, sizeof use, "loading");
        if (at->lease_count > 0) {
            snprintf(use, sizeof use, "%llu lease%s", (unsigned long long)at->lease_count,
                     at->lease_count == 1 ? "" : "s");
        }
        int more = snprintf(out + used, out_bytes - used, "%s'%s' %s (%s)", i > 0 ? ", " : "",
                            at->name, rp_text_bytes(at->bytes, bytes, sizeof bytes), use);
        if (more < 0 || (size_t)more >= out_bytes - used) {
            out[used] = '\0';
            return;
        }
        used += (size_t)more;
    }
}

void rp_broker_look_at_memory(void *user, pid_t pid, const char *path,
                              struct rp_memory_look *look) {
    struct rp_broker *broker = user;
    struct process process = {broker, pid, path};
    struct rp_holdings holdings;
    rp_holdings_take(broker->pool, "cpu", is_in_process, &process, &holdings);
    look->needed_bytes = holdings.own_bytes > 0 ? holdings.own_bytes : RP_UNKNOWN_U64;
    look->free_bytes = holdings.free_bytes;
    look->is_budget = holdings.is_budget;
    write_holders(&holdings, look->holders, sizeof look->holders);
}

/* ---- noticing ---- */

/* In the loop. */
static void begin_look(void *user) {
    struct rp_broker *broker = user;
    rp_lock_acquire(&broker->lock);
    broker->is_death_look_posted = false;
    bool is_ending = broker->is_housekeeper_to_end;
    rp_lock_release(&broker->lock);
    struct look *look = is_ending ? NULL : rp_alloc(sizeof *look);
    if (!look) return; /* the next lease finds out */
    *look = (struct look){.broker = broker, .task = {take_out, tell, look, NULL}};
    rp_broker_add_chore(broker, &look->task);
}

void rp_broker_note_death(void *user) {
    struct rp_broker *broker = user;
    rp_broker_post_once(broker, &broker->death_look, &broker->is_death_look_posted, begin_look);
}
