/* SPDX-License-Identifier: Apache-2.0 */
/* A pool on a GPU whose driver is a script: what other programs take there counts. */
#include "test.h"
#include "tree.h"

#include <resourcepool/resourcepool.h>
#include <stdio.h>
#include <stdlib.h>

#define GIB (UINT64_C(1) << 30)

static char folder[64];

/* One card of 24 GB; NVML says how much of it is free. */
static void set_free(uint64_t bytes) {
    char script[256];
    snprintf(script, sizeof script,
             "gpus = 1\ndriver = 550.54.15\ngpu0.name = NVIDIA L4\ngpu0.pci = 00000000:65:00.0\n"
             "gpu0.memory_total = 24000000000\ngpu0.memory_free = %llu\ngpu0.compute = 0\n",
             (unsigned long long)bytes);
    tree_write(folder, "/nvml", script);
}

static rp_status make(rp_build *build, void *user, void **object, rp_error *err) {
    (void)user;
    (void)err;
    *object = (void *)(uintptr_t)rp_build_placement(build)->device;
    return RP_OK;
}

static rp_request request_for(const char *name, uint64_t bytes) {
    rp_request request = RP_REQUEST_INIT;
    request.type = "t";
    request.name = name;
    request.construct = make;
    request.memory_bytes = bytes;
    return request;
}

static void what_others_hold_on_a_card_counts_at_the_next_load(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    rp_lease *first = NULL;
    rp_lease *second = NULL;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.history = "off";
    set_free(23 * GIB);
    assert_ok(rp_hardware_refresh(NULL, NULL, &err));
    assert_ok(rp_pool_open(&options, &pool, &err));
    rp_request request = request_for("a", 4 * GIB);
    assert_ok(rp_pool_get_model(pool, &request, &first, &err));
    assert_string_equal(rp_lease_placement(first)->device, "cuda:0");

    set_free(1 * GIB); /* somebody else has come */
    assert_ok(rp_hardware_refresh(NULL, NULL, &err));
    request = request_for("b", 4 * GIB);
    assert_ok(rp_pool_get_model(pool, &request, &second, &err));
    assert_string_equal(rp_lease_placement(second)->device, "cpu");
    rp_lease_release(second, NULL);
    request = request_for("c", 4 * GIB);
    request.device = "cuda:0";
    request.timeout_ms = 50;
    assert_status(rp_pool_get_model(pool, &request, &second, &err), RP_ERR_CAPACITY);
    assert_says(err.message, "no room for 't:c@cuda:0' within");

    set_free(20 * GIB); /* and gone */
    assert_ok(rp_hardware_refresh(NULL, NULL, &err));
    assert_ok(rp_pool_get_model(pool, &request, &second, &err));
    assert_string_equal(rp_lease_placement(second)->device, "cuda:0");
    rp_lease_release(first, NULL);
    rp_lease_release(second, NULL);
    assert_ok(rp_pool_close(pool, &err));
}

static int prepare(void **state) {
    (void)state;
    static char nvml[96];
    static char cuda[96];
    if (!tree_create(folder)) return -1;
    tree_write(folder, "/cuda",
               "cuda = 12040\nshown = 1\ngpu0.name = NVIDIA L4\ngpu0.pci = 0000:65:00.0\n"
               "gpu0.memory_total = 24000000000\ngpu0.major = 8\ngpu0.minor = 9\n");
    snprintf(nvml, sizeof nvml, "%s/nvml", folder);
    snprintf(cuda, sizeof cuda, "%s/cuda", folder);
    setenv("RESOURCE_POOL_NVML", FAKE_NVML, 1);
    setenv("RESOURCE_POOL_CUDA", FAKE_CUDA, 1);
    setenv("FAKE_NVML", nvml, 1);
    setenv("FAKE_CUDA", cuda, 1);
    setenv("HARDWARE_DETECTION_CACHE", "off", 1);
    set_free(23 * GIB);
    return 0;
}

static int clear(void **state) {
    (void)state;
    tree_remove(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_others_hold_on_a_card_counts_at_the_next_load),
    };
    return cmocka_run_group_tests(tests, prepare, clear);
}
