/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests/failing_calls: keeps an answer in HARDWARE_DETECTION_CACHE, as one process does, and
 * reads it, as the next. Ends with 1 and the reason when a call failed on the way, and with 2 when
 * one failed without a word.
 */
#include "hardware/cache.h"

#include <resourcepool/hardware.h>
#include <stdio.h>
#include <string.h>

static const char json[] =
    "{\"version\":1,\"devices\":[{\"id\":\"webgpu:0\",\"kind\":\"webgpu\",\"name\":\"a GPU\"}]}";

static rp_status keep(struct rp_cache *cache, rp_error *err) {
    const rp_snapshot *answer = NULL;
    rp_status status = rp_snapshot_from_json(json, strlen(json), NULL, &answer, err);
    if (status == RP_OK) status = rp_cache_keep(cache, RP_DEVICE_WEBGPU, answer, false, err);
    rp_snapshot_release(answer);
    return status;
}

/* One process: keeps the answer, or expects to find it. Says what went wrong, if anything. */
static int run(bool is_first) {
    rp_error err = RP_ERROR_INIT;
    bool found = is_first;
    struct rp_cache *cache = NULL;
    struct rp_snapshot *snapshot = rp_snapshot_create();
    rp_status status = snapshot ? RP_OK : RP_ERR_MEMORY;
    if (status == RP_OK) status = rp_cache_open(NULL, snapshot, &cache, &err);
    if (status == RP_OK) {
        status =
            is_first ? keep(cache, &err) : rp_cache_load(cache, RP_DEVICE_WEBGPU, &found, &err);
    }
    rp_status closed = rp_cache_close(cache, &err);
    int code = status == RP_OK && closed == RP_OK && found ? 0 : 2;
    size_t usual_notes = !is_first && found ? 1 : 0; /* which says how old the answer is */
    if (snapshot && rp_snapshot_note_count(snapshot) > usual_notes) code = 1;
    for (size_t i = 0; code == 1 && i < rp_snapshot_note_count(snapshot); i++) {
        fprintf(stderr, "%s\n", rp_snapshot_note(snapshot, i));
    }
    if (err.status != RP_OK) {
        code = 1;
        fprintf(stderr, "%s\n", err.message);
    }
    if (snapshot) rp_snapshot_release(snapshot);
    return code;
}

int main(void) {
    int code = run(true);
    return code ? code : run(false);
}
