/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware/vulkan.h"

#include "base/status.h"
#include "hardware/vulkan_abi.h"

#include "../../tests/drivers/kinds.h"

static struct rp_vulkan_devices devices;

static void devices_are_read_and_found_by_their_maker(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    char text[256];
    fake_answers(
        "vk.count = 3\nvk.1.name = llvmpipe (LLVM 15)\nvk.1.vendor = 0x10005\nvk.1.type = 4\n"
        "vk.2.name = Intel(R) UHD\nvk.2.vendor = 0x8086\nvk.2.type = 1\n");
    assert_ok(rp_vulkan_list(&devices, &err));
    assert_int_equal(devices.count, 3);
    assert_text(devices.devices[0].name, "NVIDIA Graphics");
    /* The largest of its own, not the larger one of the host. */
    assert_int_equal(devices.devices[0].memory_bytes, 25757220864);
    assert_ptr_equal(rp_vulkan_find_vendor(&devices, "nvidia"), &devices.devices[0]);
    assert_ptr_equal(rp_vulkan_find_vendor(&devices, "intel"), &devices.devices[2]);
    assert_null(rp_vulkan_find_vendor(&devices, "amd"));
    assert_null(rp_vulkan_find_vendor(&devices, "google"));
    assert_null(rp_vulkan_find_vendor(&devices, ""));
    assert_text(rp_vulkan_describe(&devices, text, sizeof text),
                "'NVIDIA Graphics' (GPU), 'llvmpipe (LLVM 15)' (software), 'Intel(R) UHD' (GPU)");
    /* Two of one maker: which of them it is cannot be told. */
    fake_answers("vk.count = 2\n");
    assert_ok(rp_vulkan_list(&devices, &err));
    assert_null(rp_vulkan_find_vendor(&devices, "nvidia"));
}

static void lies_and_failures_are_survived(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    char text[16];
    fake_answers("result.vkCreateInstance = -9\n");
    assert_status(rp_vulkan_list(&devices, &err), RP_ERR_ABSENT);
    assert_says(err.message, "no driver is installed");
    fake_answers("vk.count = 0\n");
    assert_status(rp_vulkan_list(&devices, &err), RP_ERR_ABSENT);
    assert_says(err.message, "lists no device");
    fake_answers("result.vkEnumeratePhysicalDevices = -3\n");
    assert_status(rp_vulkan_list(&devices, &err), RP_ERR_ABSENT);
    fake_answers("vk.count = 40\n");
    assert_ok(rp_vulkan_list(&devices, &err));
    assert_int_equal(devices.count, RP_VULKAN_DEVICES_MAX);
    assert_int_equal(strlen(rp_vulkan_describe(&devices, text, sizeof text)), sizeof text - 1);
    fake_answers(
        "vk.claims = 4000000000\nvk.0.heaps = 4000000000\nvk.0.type = 77\nvk.0.bytes = -1\n");
    assert_ok(rp_vulkan_list(&devices, &err));
    assert_int_equal(devices.count, 1);
    assert_int_equal(devices.devices[0].type, RP_VULKAN_OTHER);
    assert_int_equal(devices.devices[0].memory_bytes, RP_UNKNOWN_U64);
    setenv("RESOURCE_POOL_VULKAN", "off", 1);
    assert_status(rp_vulkan_list(&devices, &err), RP_ERR_ABSENT);
    setenv("RESOURCE_POOL_VULKAN", FAKE_VULKAN, 1);
}

int main(void) {
    setenv("RESOURCE_POOL_VULKAN", FAKE_VULKAN, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_are_read_and_found_by_their_maker),
        cmocka_unit_test(lies_and_failures_are_survived),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fake_forget_answers();
    return failed;
}
