/* SPDX-License-Identifier: Apache-2.0 */
/* What `status` tells beyond the pool's own statistics. */
#include "machine/broker_inside.h"
#include "pool/pool.h"

/* Jansson's calls pass a missing object on as a failure: what there is memory for is told. */
struct descriptions {
    const struct rp_broker_host *host;
    json_t *models;
};

static json_t *json_text(const char *text) {
    return text ? json_string(text) : json_null();
}

static void describe(void *user, const char *key, rp_model *model) {
    const struct descriptions *all = user;
    json_t *row = json_object();
    json_object_set_new(row, "device", json_text(rp_model_device(model)));
    json_object_set_new(row, "precision", json_text(rp_model_precision(model)));
    json_object_set_new(row, "engine", json_text(rp_model_engine(model)));
    json_object_set_new(row, "threads", json_integer(rp_model_threads(model)));
    if (all->host->describe && row) all->host->describe(all->host->user, model, row);
    json_object_set_new(all->models, key, row);
}

json_t *rp_broker_describe_models(struct rp_broker *broker) {
    struct descriptions all = {&broker->host, json_object()};
    rp_pool_each_model(broker->pool, describe, &all);
    return all.models;
}

void rp_broker_add_descriptions(json_t *entries, const json_t *models) {
    json_t *row;
    size_t index;
    json_array_foreach(entries, index, row) {
        const char *key = json_string_value(json_object_get(row, "key"));
        if (key) json_object_update(row, json_object_get(models, key));
    }
}
