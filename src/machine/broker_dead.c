/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models that died by themselves. The host only says that there is one: which it is, is looked up
 * where no entry can go away meanwhile. Their entries leave the pool at once, so that their bytes
 * are nobody's; who still leases one learns it at his next run.
 */
#include "base/memory.h"
#include "base/status.h"
#include "machine/broker_inside.h"
#include "pool/pool.h"

struct dead {
    struct dead *next;
    rp_error story;
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
    *dead = (struct dead){look->dead, story, copy};
    look->dead = dead;
}

/* On the housekeeper: unmaking what is dead may wait for its process. */
static void take_out(void *user) {
    struct look *look = user;
    rp_pool_each_model(look->broker->pool, check, look);
    for (const struct dead *at = look->dead; at; at = at->next) {
        rp_pool_evict(look->broker->pool, at->key, NULL, NULL);
    }
}

static void tell(void *user) {
    struct look *look = user;
    while (look->dead) {
        struct dead *dead = look->dead;
        look->dead = dead->next;
        rp_broker_log(look->broker, "warning", "event=dead key=\"%s\" message=\"%s\"", dead->key,
                      dead->story.message);
        rp_broker_note_failure(look->broker, dead->key, &dead->story);
        rp_free(dead->key);
        rp_free(dead);
    }
    rp_free(look);
}

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
