/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cards, their environment and the folders of their libraries are called: an uevent file, an
 * address, CUDA_VISIBLE_DEVICES, /etc/ld.so.conf.
 * The first byte chooses.
 */
#include "hardware/cuda_visible.h"
#include "hardware/library.h"
#include "hardware/pci.h"
#include "target.h"

#include <string.h>

static void try_uevent(const char *bytes, size_t size) {
    struct rp_pci_device device = {.vendor = RP_UNKNOWN_U32, .class_code = RP_UNKNOWN_U32};
    char text[RP_PCI_TEXT_BYTES];
    bool has_id = rp_pci_parse_uevent((struct rp_span){bytes, size}, &device);
    FUZZ_ASSERT(!has_id || (device.vendor <= 0xffff && device.device <= 0xffff));
    FUZZ_ASSERT(device.class_code == RP_UNKNOWN_U32 || device.class_code <= 0xffffff);
    FUZZ_ASSERT(memchr(device.driver, '\0', sizeof device.driver));
    rp_pci_describe(&device, text);
}

/* What was read is read again as the same. */
static void try_address(const char *text) {
    char first[16];
    char second[16];
    if (!rp_pci_parse_address(text, first)) return;
    FUZZ_ASSERT(rp_pci_parse_address(first, second));
    FUZZ_ASSERT(strcmp(first, second) == 0);
}

static void try_visible(const char *text) {
    static const char *const slices[] = {"MIG-aaaa", "MIG-bbbb", NULL};
    static const struct rp_cuda_candidate gpus[] = {
        {"GPU-1111", NULL, 0, false},
        {"GPU-1122", slices, 3, true},
        {NULL, NULL, 0, false},
        {"GPU-3333", NULL, 0, true},
    };
    struct rp_cuda_choice choices[3];
    bool is_cut;
    size_t count = rp_cuda_visible(text, gpus, 4, choices, 3, &is_cut);
    FUZZ_ASSERT(count <= 3);
    for (size_t i = 0; i < count; i++) {
        FUZZ_ASSERT(choices[i].candidate < 3);
        FUZZ_ASSERT(choices[i].slice == 0 || choices[i].candidate == 1);
        for (size_t j = 0; j < i; j++) {
            FUZZ_ASSERT(memcmp(&choices[i], &choices[j], sizeof choices[i]) != 0);
        }
    }
}

static void try_folders(const char *bytes, size_t size) {
    struct rp_span text = {bytes, size};
    struct rp_span words = {NULL, 0};
    struct rp_span folder;
    bool is_pattern;
    for (size_t i = 0; rp_library_next_folder(&text, &words, &folder, &is_pattern); i++) {
        FUZZ_ASSERT(i < size);
        FUZZ_ASSERT(folder.length > 0);
        FUZZ_ASSERT(folder.at >= bytes && folder.at + folder.length <= bytes + size);
        FUZZ_ASSERT(is_pattern || folder.at[0] == '/');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    char *text = malloc(size);
    if (!text) return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    if (data[0] == 'u') try_uevent((const char *)data + 1, size - 1);
    if (data[0] == 'a') try_address(text);
    if (data[0] == 'v') try_visible(text);
    if (data[0] == 'l') try_folders((const char *)data + 1, size - 1);
    free(text);
    return 0;
}
