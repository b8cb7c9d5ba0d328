/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Five models of 1 GiB in a budget of 2 GiB, one after the other; then two are held, and a third is
 * told who is in the way. The models are pretended: what counts is what they say they take.
 */
#include <resourcepool/resourcepool.h>
#include <stdio.h>
#include <stdlib.h>

static rp_status make_model(rp_build *build, void *user, void **object, rp_error *err) {
    (void)user;
    *object = malloc(1);
    if (!*object) return rp_fail(err, RP_ERR_MEMORY, "no memory for '%s'", rp_build_key(build));
    return RP_OK;
}

int main(void) {
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    rp_lease *leases[5] = {NULL};
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.budget = "2GiB";
    rp_request request = RP_REQUEST_INIT;
    request.type = "model";
    request.construct = make_model;
    request.destroy = free;
    request.memory_bytes = UINT64_C(1) << 30;

    rp_status status = rp_pool_open(&options, &pool, &err);
    for (int i = 0; i < 5 && status == RP_OK; i++) {
        request.name = names[i];
        status = rp_pool_get_model(pool, &request, &leases[i], &err);
        if (status == RP_OK) printf("%s is loaded\n", rp_lease_key(leases[i]));
        if (i < 3) rp_lease_release(leases[i], NULL); /* "d" and "e" stay leased */
    }
    if (status == RP_OK) {
        rp_lease *lease = NULL;
        request.name = "f";
        request.timeout_ms = 200;
        status = rp_pool_get_model(pool, &request, &lease, &err);
        if (status == RP_ERR_CAPACITY) {
            printf("%s\nhint: %s\n", err.message, err.hint);
            status = RP_OK;
        }
        rp_lease_release(lease, NULL);
    }
    rp_lease_release(leases[3], NULL);
    rp_lease_release(leases[4], NULL);
    if (status == RP_OK) status = rp_pool_close(pool, &err);
    if (status != RP_OK) fprintf(stderr, "room: %s\n", err.message);
    return status != RP_OK;
}
