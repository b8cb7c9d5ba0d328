/* SPDX-License-Identifier: Apache-2.0 */
/* Rings by themselves: layout, what is refused, tables that lie, waiting and waking. */
#include "machine/ring.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"

#include "../../tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SLOT_BYTES = 8192 };

static struct rp_ring make_ring(uint64_t slot_bytes, uint32_t slots) {
    rp_error err = RP_ERROR_INIT;
    struct rp_ring ring;
    int fd = -1;
    assert_ok(rp_ring_create(slot_bytes, slots, &fd, &err));
    assert_ok(rp_ring_map(fd, &ring, &err));
    close(fd);
    return ring;
}

static void what_is_no_sealed_ring_is_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_ring ring;
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    struct rp_ring_head head = {.magic = RP_RING_MAGIC,
                                .version = RP_RING_VERSION,
                                .bytes = RP_RING_HEAD_BYTES + SLOT_BYTES,
                                .slot_bytes = SLOT_BYTES,
                                .slot_count = 1};
    struct {
        struct rp_ring_head head;
        uint64_t bytes;
        int seals;
        rp_status expected;
    } cases[] = {
        {head, head.bytes, seals, RP_OK},
        {head, head.bytes, F_SEAL_SHRINK | F_SEAL_GROW, RP_ERR_DATA}, /* may still be sealed */
        {head, head.bytes, F_SEAL_SHRINK | F_SEAL_SEAL, RP_ERR_DATA},
        {head, head.bytes, F_SEAL_GROW | F_SEAL_SEAL, RP_ERR_DATA},
        {head, head.bytes, seals | F_SEAL_WRITE, RP_ERR_DATA},
        {head, head.bytes, 0, RP_ERR_DATA},
        {head, head.bytes - 1, seals, RP_ERR_DATA},
        {head, 10, seals, RP_ERR_DATA},
        {head, head.bytes, seals, RP_ERR_DATA},
        {head, head.bytes, seals, RP_ERR_DATA},
        {head, head.bytes, seals, RP_ERR_DATA},
        {head, head.bytes, seals, RP_ERR_DATA},
        {head, head.bytes, seals, RP_ERR_DATA},
    };
    cases[8].head.magic++;
    cases[9].head.version++;
    cases[10].head.slot_count = 2;
    cases[11].head.slot_bytes = UINT64_MAX / 4096 * 4096;
    cases[12].head.slot_count = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int fd = memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)cases[i].bytes), 0);
        assert_true(pwrite(fd, &cases[i].head, sizeof head, 0) > 0);
        if (cases[i].bytes < sizeof head) assert_int_equal(ftruncate(fd, 10), 0);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, cases[i].seals), 0);
        rp_status status = rp_ring_map(fd, &ring, &err);
        if (status != cases[i].expected) fail_msg("case %zu: %s", i, rp_status_name(status));
        if (status == RP_OK) rp_ring_unmap(&ring);
        close(fd);
    }
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_not_equal(rp_ring_map(fd, &ring, &err), RP_OK);
    close(fd);
    assert_int_not_equal(rp_ring_map(-1, &ring, &err), RP_OK);
}

static void nobody_can_change_the_size_of_a_ring(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    int fd = -1;
    assert_ok(rp_ring_create(SLOT_BYTES, 2, &fd, &err));
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, 1 << 20), -1);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    close(fd);
}

static void a_ring_is_as_large_as_its_model_needs(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_engine_ports in;
    struct rp_engine_ports out;
    uint64_t bytes = 0;
    int64_t fixed[] = {2, 1000};
    int64_t open_size[] = {-1, 1000};
    int64_t huge[] = {1 << 20, 1000};
    assert_true(rp_engine_ports_make(&in, 1) && rp_engine_ports_make(&out, 1));
    assert_true(rp_engine_ports_set(&in, 0, "i", NULL, RP_DTYPE_FLOAT32, fixed, 2, NULL));
    assert_true(rp_engine_ports_set(&out, 0, "o", NULL, RP_DTYPE_FLOAT32, fixed, 1, NULL));
    assert_ok(rp_ring_measure(&in, &out, &bytes, &err));
    assert_true(bytes >= 8000 + sizeof(struct rp_ring_tensor) && bytes <= 12288);
    rp_free((void *)(uintptr_t)out.ports[0].name);
    assert_true(rp_engine_ports_set(&out, 0, "o", NULL, RP_DTYPE_FLOAT32, open_size, 2, NULL));
    assert_ok(rp_ring_measure(&in, &out, &bytes, &err));
    assert_true(bytes >= RP_RING_OPEN_BYTES && bytes < RP_RING_OPEN_BYTES + 2 * 4096);
    rp_free((void *)(uintptr_t)out.ports[0].name);
    assert_true(rp_engine_ports_set(&out, 0, "o", NULL, RP_DTYPE_FLOAT32, huge, 2, NULL));
    assert_status(rp_ring_measure(&in, &out, &bytes, &err), RP_ERR_LIMIT);
    assert_says(err.message, "256.0 MiB");
    rp_engine_ports_fini(&in);
    rp_engine_ports_fini(&out);
}

/* Two tensors of 8 and 3 bytes. */
static void write_two(const struct rp_ring *ring) {
    rp_error err = RP_ERROR_INIT;
    float floats[2] = {1.5f, -2};
    uint8_t bytes[3] = {7, 8, 9};
    int64_t shape[2] = {1, 2};
    int64_t three = 3;
    rp_tensor tensors[2] = {
        {.data = floats, .device = {1, 0}, .ndim = 2, .dtype = RP_DTYPE_FLOAT32, .shape = shape},
        {.data = bytes, .device = {1, 0}, .ndim = 1, .dtype = RP_DTYPE_UINT8, .shape = &three}};
    assert_ok(rp_ring_write(rp_ring_area(ring, 0), rp_ring_area_bytes(ring), tensors, 2, &err));
}

static void tensors_come_out_as_they_went_in(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_ring ring = make_ring(SLOT_BYTES, 1);
    struct rp_ring_tensor table[2];
    rp_tensor tensors[2];
    uint64_t bytes = 0;
    _Alignas(64) unsigned char data[128];
    write_two(&ring);
    assert_ok(rp_ring_read_table(rp_ring_area(&ring, 0), rp_ring_area_bytes(&ring), 2, table,
                                 &bytes, &err));
    assert_int_equal(bytes, 128);
    rp_ring_read_data(rp_ring_area(&ring, 0), table, 2, data, tensors);
    assert_true(((float *)tensors[0].data)[1] == -2.0f && tensors[0].shape[1] == 2);
    assert_int_equal(((uint8_t *)tensors[1].data)[2], 9);
    assert_true(rp_dtype_equals(tensors[1].dtype, RP_DTYPE_UINT8));
    assert_status(rp_ring_read_table(rp_ring_area(&ring, 0), rp_ring_area_bytes(&ring), 1, table,
                                     &bytes, &err),
                  RP_ERR_DATA);
    rp_ring_unmap(&ring);
}

static void what_does_not_fit_is_told_with_both_numbers(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_ring ring = make_ring(SLOT_BYTES, 1);
    static float floats[4096];
    int64_t size = 4096;
    rp_tensor tensor = {
        .data = floats, .device = {1, 0}, .ndim = 1, .dtype = RP_DTYPE_FLOAT32, .shape = &size};
    assert_status(
        rp_ring_write(rp_ring_area(&ring, 0), rp_ring_area_bytes(&ring), &tensor, 1, &err),
        RP_ERR_LIMIT);
    assert_says(err.message, "16704");
    assert_says(err.message, "7936");
    size = INT64_MAX / 4;
    assert_status(
        rp_ring_write(rp_ring_area(&ring, 0), rp_ring_area_bytes(&ring), &tensor, 1, &err),
        RP_ERR_LIMIT);
    tensor.device.type = 2;
    size = 1;
    assert_status(
        rp_ring_write(rp_ring_area(&ring, 0), rp_ring_area_bytes(&ring), &tensor, 1, &err),
        RP_ERR_UNSUPPORTED);
    rp_ring_unmap(&ring);
}

static void a_table_that_lies_is_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_ring ring = make_ring(SLOT_BYTES, 1);
    unsigned char *area = rp_ring_area(&ring, 0);
    uint64_t area_bytes = rp_ring_area_bytes(&ring);
    struct rp_ring_tensor table[2];
    uint64_t bytes = 0;
    struct {
        size_t offset;
        uint64_t value;
        size_t size;
    } lies[] = {
        {offsetof(struct rp_ring_tensor, offset), 0, 8},          /* over the table   */
        {offsetof(struct rp_ring_tensor, offset), 577, 8},        /* not aligned      */
        {offsetof(struct rp_ring_tensor, offset), area_bytes, 8}, /* at the end       */
        {offsetof(struct rp_ring_tensor, offset), UINT64_MAX - 63, 8},
        {offsetof(struct rp_ring_tensor, bytes), 9, 8}, /* not of its shape */
        {offsetof(struct rp_ring_tensor, bytes), UINT64_MAX, 8},
        {offsetof(struct rp_ring_tensor, ndim), 33, 4},
        {offsetof(struct rp_ring_tensor, ndim), UINT32_MAX, 4},
        {offsetof(struct rp_ring_tensor, shape), UINT64_MAX, 8},
        {offsetof(struct rp_ring_tensor, shape), INT64_MAX, 8},
        {offsetof(struct rp_ring_tensor, bits), 0, 1},
        {offsetof(struct rp_ring_tensor, code), 99, 1},
        {offsetof(struct rp_ring_tensor, lanes), 0, 2},
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        write_two(&ring);
        memcpy(area + sizeof(struct rp_ring_table) + lies[i].offset, &lies[i].value, lies[i].size);
        rp_status status = rp_ring_read_table(area, area_bytes, 2, table, &bytes, &err);
        if (status == RP_OK) fail_msg("lie %zu is believed", i);
    }
    write_two(&ring);
    uint32_t count = UINT32_MAX;
    memcpy(area + offsetof(struct rp_ring_table, count), &count, sizeof count);
    assert_status(rp_ring_read_table(area, area_bytes, 2, table, &bytes, &err), RP_ERR_DATA);
    rp_ring_unmap(&ring);
}

/* Each is inside the area, together they are not. */
static void tensors_that_lie_over_each_other_take_no_more_than_the_area(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_ring ring = make_ring(SLOT_BYTES, 1);
    unsigned char *area = rp_ring_area(&ring, 0);
    struct rp_ring_tensor rows[2];
    struct rp_ring_table head = {RP_OK, 2};
    uint64_t bytes = 0;
    for (int i = 0; i < 2; i++) {
        rows[i] = (struct rp_ring_tensor){.offset = 576,
                                          .bytes = 4096,
                                          .code = 1,
                                          .bits = 8,
                                          .lanes = 1,
                                          .ndim = 1,
                                          .shape = {4096}};
    }
    memcpy(area, &head, sizeof head);
    memcpy(area + sizeof head, rows, sizeof rows);
    assert_status(rp_ring_read_table(area, rp_ring_area_bytes(&ring), 2, rows, &bytes, &err),
                  RP_ERR_DATA);
    assert_says(err.message, "more than its 7936 bytes");
    rp_ring_unmap(&ring);
}

static void failures_and_stories_arrive_clean(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_ring ring = make_ring(SLOT_BYTES, 1);
    unsigned char *area = rp_ring_area(&ring, 0);
    rp_error story = RP_ERROR_INIT;
    struct rp_ring_tensor table[1];
    uint64_t bytes = 0;
    rp_fail(&story, RP_ERR_RUN, "no luck");
    rp_ring_write_error(area, &story);
    assert_status(rp_ring_read_table(area, rp_ring_area_bytes(&ring), 1, table, &bytes, &err),
                  RP_ERR_RUN);
    assert_string_equal(err.message, "no luck");
    /* Of another process: no end, no such status, not for a terminal. */
    memset(&story, 0x1b, sizeof story);
    assert_false(rp_ring_is_gone(&ring, &err));
    rp_ring_tell_story(&ring, &story);
    assert_true(rp_ring_is_gone(&ring, &err));
    assert_int_equal(err.status, RP_ERR_RUN);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_null(strchr(err.message, 0x1b));
    /* Somebody may be reading it: the first stays. */
    rp_fail(&story, RP_ERR_STATE, "another");
    rp_ring_tell_story(&ring, &story);
    assert_true(rp_ring_is_gone(&ring, &err));
    assert_int_equal(err.status, RP_ERR_RUN);
    rp_ring_unmap(&ring);
}

enum { ROUNDS = 20000 };

/* A peer that answers each request with its number; pauses now and then, so that both sleep. */
static void *echo(void *argument) {
    const struct rp_ring *ring = argument;
    struct rp_ring_slot *slot = rp_ring_slot(ring, 0);
    struct rp_ring_spin spin = {0};
    uint32_t seen = 0;
    while (seen < ROUNDS) {
        if (!rp_ring_wait(&slot->request, &slot->worker_sleeps, seen, &spin, 10000000000)) continue;
        seen = atomic_load_explicit(&slot->request, memory_order_acquire);
        uint32_t *number = (uint32_t *)(void *)rp_ring_area(ring, 0);
        *number += 1;
        if (seen % 1000 == 0) usleep(1000);
        rp_ring_post(&slot->response, &slot->client_sleeps, seen);
    }
    return NULL;
}

static void no_wake_is_lost(void **state) {
    (void)state;
    struct rp_ring ring = make_ring(SLOT_BYTES, 1);
    struct rp_ring_slot *slot = rp_ring_slot(&ring, 0);
    struct rp_ring_spin spin = {0};
    uint32_t *number = (uint32_t *)(void *)rp_ring_area(&ring, 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, echo, &ring), 0);
    int64_t longest_ns = 0;
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        *number = i;
        int64_t start_ns = rp_clock_ns();
        rp_ring_post(&slot->request, &slot->worker_sleeps, i);
        while (!rp_ring_wait(&slot->response, &slot->client_sleeps, i - 1, &spin, 10000000000)) {
        }
        int64_t took_ns = rp_clock_ns() - start_ns;
        if (took_ns > longest_ns) longest_ns = took_ns;
        assert_int_equal(*number, i + 1);
    }
    pthread_join(thread, NULL);
    assert_true(longest_ns < INT64_C(5000000000)); /* a lost wake costs ten seconds */
    rp_ring_unmap(&ring);
}

static void a_wait_ends_in_time(void **state) {
    (void)state;
    struct rp_ring ring = make_ring(SLOT_BYTES, 1);
    struct rp_ring_slot *slot = rp_ring_slot(&ring, 0);
    struct rp_ring_spin spin = {0};
    int64_t start_ns = rp_clock_ns();
    assert_false(rp_ring_wait(&slot->response, &slot->client_sleeps, 0, &spin, 20000000));
    double took_ms = rp_elapsed_ms(start_ns, rp_clock_ns());
    assert_true(took_ms >= 10 && took_ms < 2000);
    assert_false(rp_ring_wait(&slot->response, &slot->client_sleeps, 0, &spin, 0));
    assert_true(rp_ring_wait(&slot->response, &slot->client_sleeps, 5, &spin, 0));
    rp_ring_unmap(&ring);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_sealed_ring_is_refused),
        cmocka_unit_test(nobody_can_change_the_size_of_a_ring),
        cmocka_unit_test(a_ring_is_as_large_as_its_model_needs),
        cmocka_unit_test(tensors_come_out_as_they_went_in),
        cmocka_unit_test(what_does_not_fit_is_told_with_both_numbers),
        cmocka_unit_test(a_table_that_lies_is_refused),
        cmocka_unit_test(tensors_that_lie_over_each_other_take_no_more_than_the_area),
        cmocka_unit_test(failures_and_stories_arrive_clean),
        cmocka_unit_test(no_wake_is_lost),
        cmocka_unit_test(a_wait_ends_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
