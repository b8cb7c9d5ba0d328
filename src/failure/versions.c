/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of versions, each with where its figures come from; the oldest row first. A row is the
 * first release of its kind: updates of a release need no newer driver than the row says they may.
 */
#include "failure/versions.h"

#include "placement/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* clang-format off */

/*
 * CUDA Toolkit release notes: "CUDA Toolkit and Corresponding Driver Versions", and "CUDA Toolkit
 * and Minimum Required Driver Version for CUDA Minor Version Compatibility". There was no toolkit
 * 12.7; drivers of the branch 565 call what they run 12.7.
 */
static const struct rp_cuda_release cuda_releases[] = {
    {"8.0",  "367.48",     "369.30", "367.48"},
    {"9.0",  "384.81",     "385.54", "384.81"},
    {"9.1",  "390.46",     "391.29", "390.46"},
    {"9.2",  "396.26",     "397.44", "396.26"},
    {"10.0", "410.48",     "411.31", "410.48"},
    {"10.1", "418.39",     "418.96", "418.39"},
    {"10.2", "440.33",     "441.22", "440.33"},
    {"11.0", "450.51.05",  "451.48", "450.51.05"},
    {"11.1", "455.23",     "456.38", "450.80.02"},
    {"11.2", "460.27.03",  "460.82", "450.80.02"},
    {"11.3", "465.19.01",  "465.89", "450.80.02"},
    {"11.4", "470.42.01",  "471.11", "450.80.02"},
    {"11.5", "495.29.05",  "496.04", "450.80.02"},
    {"11.6", "510.39.01",  "511.23", "450.80.02"},
    {"11.7", "515.43.04",  "516.01", "450.80.02"},
    {"11.8", "520.61.05",  "520.06", "450.80.02"},
    {"12.0", "525.60.13",  "527.41", "525.60.13"},
    {"12.1", "530.30.02",  "531.14", "525.60.13"},
    {"12.2", "535.54.03",  "536.25", "525.60.13"},
    {"12.3", "545.23.06",  "545.84", "525.60.13"},
    {"12.4", "550.54.14",  "551.61", "525.60.13"},
    {"12.5", "555.42.02",  "555.85", "525.60.13"},
    {"12.6", "560.28.03",  "560.76", "525.60.13"},
    {"12.7", "565.57.01",  "565.90", "525.60.13"},
    {"12.8", "570.26",     "570.65", "525.60.13"},
    {"12.9", "575.51.03",  "576.02", "525.60.13"},
    {"13.0", "580.65.06",  NULL,     "580.65.06"},
    {"13.1", "590.44.01",  NULL,     "580.65.06"},
    {"13.2", "595.45.04",  NULL,     "580.65.06"},
};

/*
 * NVIDIA: "CUDA GPU Compute Capability" and its page of legacy GPUs; CUDA from the release notes
 * (new and dropped architectures). AMD: "User Guide for AMDGPU Backend" of LLVM, table of
 * processors; the override is the nearest target that ROCm's libraries are built for.
 */
static const struct rp_chip chips[] = {
    {"sm_20",  "2.0",  "Fermi: GTX 400, GTX 500, Tesla M2050",            "3.0",  "8.0",  NULL},
    {"sm_21",  "2.1",  "Fermi: GTX 460, GTX 560",                         "3.2",  "8.0",  NULL},
    {"sm_30",  "3.0",  "Kepler: GTX 600, GTX 700, Tesla K10",             "4.2",  "10.2", NULL},
    {"sm_32",  "3.2",  "Kepler: Jetson TK1",                              "6.0",  "10.2", NULL},
    {"sm_35",  "3.5",  "Kepler: GTX 780, Tesla K20, Tesla K40",           "5.0",  "11.8", NULL},
    {"sm_37",  "3.7",  "Kepler: Tesla K80",                               "6.5",  "11.8", NULL},
    {"sm_50",  "5.0",  "Maxwell: GTX 750, Quadro K2200",                  "6.0",  "12.9", NULL},
    {"sm_52",  "5.2",  "Maxwell: GTX 900, Tesla M40, Tesla M60",          "7.0",  "12.9", NULL},
    {"sm_53",  "5.3",  "Maxwell: Jetson Nano, Jetson TX1",                "7.0",  "12.9", NULL},
    {"sm_60",  "6.0",  "Pascal: Tesla P100",                              "8.0",  "12.9", NULL},
    {"sm_61",  "6.1",  "Pascal: GTX 10, Tesla P4, Tesla P40",             "8.0",  "12.9", NULL},
    {"sm_62",  "6.2",  "Pascal: Jetson TX2",                              "8.0",  "12.9", NULL},
    {"sm_70",  "7.0",  "Volta: V100, TITAN V",                            "9.0",  "12.9", NULL},
    {"sm_72",  "7.2",  "Volta: Jetson Xavier",                            "9.2",  "12.9", NULL},
    {"sm_75",  "7.5",  "Turing: T4, RTX 20, GTX 16, Quadro RTX",          "10.0", NULL,   NULL},
    {"sm_80",  "8.0",  "Ampere: A100, A30",                               "11.0", NULL,   NULL},
    {"sm_86",  "8.6",  "Ampere: RTX 30, RTX A6000, A10, A40",             "11.1", NULL,   NULL},
    {"sm_87",  "8.7",  "Ampere: Jetson Orin",                             "11.4", NULL,   NULL},
    {"sm_89",  "8.9",  "Ada Lovelace: RTX 40, L4, L40",                   "11.8", NULL,   NULL},
    {"sm_90",  "9.0",  "Hopper: H100, H200, GH200",                       "11.8", NULL,   NULL},
    {"sm_100", "10.0", "Blackwell: B200, GB200",                          "12.8", NULL,   NULL},
    {"sm_101", "10.1", "Blackwell: Jetson Thor, as CUDA 12 calls it",     "12.8", "12.9", NULL},
    {"sm_103", "10.3", "Blackwell: B300, GB300",                          "12.9", NULL,   NULL},
    {"sm_110", "11.0", "Blackwell: Jetson Thor",                          "13.0", NULL,   NULL},
    {"sm_120", "12.0", "Blackwell: RTX 50, RTX PRO",                      "12.8", NULL,   NULL},
    {"sm_121", "12.1", "Blackwell: GB10 (DGX Spark)",                     "12.9", NULL,   NULL},

    {"gfx803",  NULL, "GCN 4 (Polaris, Fiji): RX 470 to 590, R9 Fury",    NULL, NULL, NULL},
    {"gfx900",  NULL, "Vega 10: RX Vega 56 and 64, MI25",                 NULL, NULL, NULL},
    {"gfx902",  NULL, "Vega of Ryzen 2000 and 3000 (Raven, Picasso)",     NULL, NULL, "9.0.0"},
    {"gfx906",  NULL, "Vega 20: Radeon VII, MI50, MI60",                  NULL, NULL, NULL},
    {"gfx908",  NULL, "CDNA 1: MI100",                                    NULL, NULL, NULL},
    {"gfx90a",  NULL, "CDNA 2: MI210, MI250",                             NULL, NULL, NULL},
    {"gfx90c",  NULL, "Vega of Ryzen 4000 and 5000 (Renoir, Cezanne)",    NULL, NULL, "9.0.0"},
    {"gfx940",  NULL, "CDNA 3: early MI300",                              NULL, NULL, NULL},
    {"gfx941",  NULL, "CDNA 3: early MI300X",                             NULL, NULL, NULL},
    {"gfx942",  NULL, "CDNA 3: MI300A, MI300X, MI325X",                   NULL, NULL, NULL},
    {"gfx950",  NULL, "CDNA 4: MI350X, MI355X",                           NULL, NULL, NULL},
    {"gfx1010", NULL, "RDNA 1: RX 5600, RX 5700",                         NULL, NULL, "10.3.0"},
    {"gfx1011", NULL, "RDNA 1: Radeon Pro V520",                          NULL, NULL, "10.3.0"},
    {"gfx1012", NULL, "RDNA 1: RX 5500",                                  NULL, NULL, "10.3.0"},
    {"gfx1030", NULL, "RDNA 2: RX 6800, RX 6900, Pro W6800",              NULL, NULL, NULL},
    {"gfx1031", NULL, "RDNA 2: RX 6700",                                  NULL, NULL, "10.3.0"},
    {"gfx1032", NULL, "RDNA 2: RX 6600",                                  NULL, NULL, "10.3.0"},
    {"gfx1033", NULL, "RDNA 2 of Van Gogh (Steam Deck)",                  NULL, NULL, "10.3.0"},
    {"gfx1034", NULL, "RDNA 2: RX 6400, RX 6500",                         NULL, NULL, "10.3.0"},
    {"gfx1035", NULL, "RDNA 2 of Ryzen 6000 (Radeon 680M)",               NULL, NULL, "10.3.0"},
    {"gfx1036", NULL, "RDNA 2 of Ryzen 7000 desktops (Raphael)",          NULL, NULL, "10.3.0"},
    {"gfx1100", NULL, "RDNA 3: RX 7900, Pro W7800, Pro W7900",            NULL, NULL, NULL},
    {"gfx1101", NULL, "RDNA 3: RX 7700 XT, RX 7800 XT",                   NULL, NULL, "11.0.0"},
    {"gfx1102", NULL, "RDNA 3: RX 7600",                                  NULL, NULL, "11.0.0"},
    {"gfx1103", NULL, "RDNA 3 of Ryzen 7040 and 8040 (Radeon 780M)",      NULL, NULL, "11.0.0"},
    {"gfx1150", NULL, "RDNA 3.5 of Strix Point (Radeon 890M)",            NULL, NULL, "11.0.0"},
    {"gfx1151", NULL, "RDNA 3.5 of Strix Halo (Radeon 8060S)",            NULL, NULL, "11.0.0"},
    {"gfx1152", NULL, "RDNA 3.5 of Krackan Point (Radeon 860M)",          NULL, NULL, "11.0.0"},
    {"gfx1200", NULL, "RDNA 4: RX 9060",                                  NULL, NULL, NULL},
    {"gfx1201", NULL, "RDNA 4: RX 9070, AI PRO R9700",                    NULL, NULL, NULL},
};

/*
 * ONNX: docs/Versioning.md, "Released Versions". ONNX Runtime: docs/Versioning.md and the page on
 * compatibility; from 1.21 on its commits that took a release of ONNX in.
 */
static const struct rp_onnx_release opsets[] = {
    {1, "1.0", "0.1"},    {5, "1.1", "0.1"},    {6, "1.1.2", "0.1"},  {7, "1.2", "0.1"},
    {8, "1.3", "0.1"},    {9, "1.4.1", "0.3"},  {10, "1.5", "0.4"},   {11, "1.6", "1.0"},
    {12, "1.7", "1.3"},   {13, "1.8", "1.6"},   {14, "1.9", "1.8"},   {15, "1.10", "1.9"},
    {16, "1.11", "1.11"}, {17, "1.12", "1.12"}, {18, "1.13", "1.14"}, {19, "1.14", "1.15"},
    {20, "1.15", "1.17"}, {21, "1.16", "1.18"}, {22, "1.17", "1.21"}, {23, "1.18", "1.23"},
    {24, "1.19", NULL},   {25, "1.20", NULL},   {26, "1.21", NULL},
};

static const struct rp_onnx_release irs[] = {
    {3, "1.0", "0.1"},    {4, "1.4.1", "0.4"},  {5, "1.5", "0.4"},    {6, "1.6", "1.0"},
    {7, "1.7", "1.3"},    {8, "1.10", "1.9"},   {9, "1.14", "1.15"},  {10, "1.16", "1.18"},
    {11, "1.18", "1.23"}, {12, "1.19", NULL},   {13, "1.20", NULL},
};

/* glibc of each release, from the package lists of the distributions. */
static const struct {
    const char *glibc;
    const char *systems;
} glibcs[] = {
    {"2.17", "RHEL 7, Ubuntu 14.04, Debian 8"},
    {"2.19", "RHEL 8, Ubuntu 14.04, Debian 8"},
    {"2.23", "RHEL 8, Ubuntu 16.04, Debian 9"},
    {"2.24", "RHEL 8, Ubuntu 18.04, Debian 9"},
    {"2.27", "RHEL 8, Ubuntu 18.04, Debian 10"},
    {"2.28", "RHEL 8, Ubuntu 20.04, Debian 10"},
    {"2.31", "RHEL 9, Ubuntu 20.04, Debian 11"},
    {"2.34", "RHEL 9, Ubuntu 22.04, Debian 12"},
    {"2.35", "RHEL 10, Ubuntu 22.04, Debian 12"},
    {"2.36", "RHEL 10, Ubuntu 24.04, Debian 12"},
    {"2.39", "RHEL 10, Ubuntu 24.04, Debian 13"},
    {"2.41", "Ubuntu 25.04, Debian 13"},
    {"2.42", "Ubuntu 25.10"},
};

/* "ABI Policy and Guidelines" of libstdc++; the systems by the libstdc++ that they bring. */
static const struct rp_gcc_release gccs[] = {
    {"3.4.19", "4.8.3", "RHEL 7, Ubuntu 14.04, Debian 8"},
    {"3.4.20", "4.9", "RHEL 8, Ubuntu 16.04, Debian 8"},
    {"3.4.21", "5.1", "RHEL 8, Ubuntu 16.04, Debian 9"},
    {"3.4.22", "6.1", "RHEL 8, Ubuntu 18.04, Debian 9"},
    {"3.4.23", "7.1", "RHEL 8, Ubuntu 18.04, Debian 10"},
    {"3.4.24", "7.2", "RHEL 8, Ubuntu 18.04, Debian 10"},
    {"3.4.25", "8.1", "RHEL 8, Ubuntu 18.04, Debian 10"},
    {"3.4.26", "9.1", "RHEL 9, Ubuntu 20.04, Debian 11"},
    {"3.4.27", "9.2", "RHEL 9, Ubuntu 20.04, Debian 11"},
    {"3.4.28", "9.3", "RHEL 9, Ubuntu 20.04, Debian 11"},
    {"3.4.29", "11.1", "RHEL 9, Ubuntu 22.04, Debian 12"},
    {"3.4.30", "12.1", "RHEL 10, Ubuntu 22.04, Debian 12"},
    {"3.4.31", "13.1", "RHEL 10, Ubuntu 24.04, Debian 13"},
    {"3.4.32", "13.2", "RHEL 10, Ubuntu 24.04, Debian 13"},
    {"3.4.33", "14.1", "RHEL 10, Ubuntu 24.04, Debian 13"},
    {"3.4.34", "15.1", "Ubuntu 25.10"},
};

/* The same page: the row of `gccs` in which a version of CXXABI began. */
static const struct {
    const char *cxxabi;
    const char *glibcxx;
} cxxabis[] = {
    {"1.3.7", "3.4.19"},  {"1.3.8", "3.4.20"},  {"1.3.9", "3.4.21"},  {"1.3.10", "3.4.22"},
    {"1.3.11", "3.4.23"}, {"1.3.12", "3.4.26"}, {"1.3.13", "3.4.29"}, {"1.3.14", "3.4.31"},
    {"1.3.15", "3.4.33"},
};
/* clang-format on */

const struct rp_cuda_release *rp_cuda_release_of(const char *cuda) {
    char *end;
    unsigned long major = strtoul(cuda, &end, 10);
    unsigned long minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
    char text[48];
    snprintf(text, sizeof text, "%lu.%lu", major, minor);
    for (size_t i = 0; i < COUNT(cuda_releases); i++) {
        if (strcmp(cuda_releases[i].cuda, text) == 0) return &cuda_releases[i];
    }
    return NULL;
}

/*
 * Drivers of Windows are numbered like those of Linux that run the same CUDA, a little higher: one
 * comparison serves both.
 */
const struct rp_cuda_release *rp_cuda_release_of_driver(const char *driver) {
    const struct rp_cuda_release *newest = NULL;
    for (size_t i = 0; i < COUNT(cuda_releases); i++) {
        if (rp_version_compare(driver, cuda_releases[i].driver) >= 0) newest = &cuda_releases[i];
    }
    return newest;
}

/* How much of a chip's name tells which it is: "gfx90a" of "gfx90a:xnack-", "sm_90" of "sm_90a". */
static size_t name_length(const char *name) {
    if (strncmp(name, "gfx", 3) == 0) return strcspn(name, ":");
    return strcspn(name, "0123456789") + strspn(name + strcspn(name, "0123456789"), "0123456789");
}

const struct rp_chip *rp_chip_of_name(const char *name) {
    if (strncmp(name, "compute_", 8) == 0) {
        char own[32];
        snprintf(own, sizeof own, "sm_%.20s", name + 8);
        return rp_chip_of_name(own);
    }
    size_t length = name_length(name);
    for (size_t i = 0; i < COUNT(chips); i++) {
        if (strlen(chips[i].name) == length && memcmp(chips[i].name, name, length) == 0) {
            return &chips[i];
        }
    }
    return NULL;
}

const struct rp_chip *rp_chip_of_compute(const char *compute) {
    for (size_t i = 0; i < COUNT(chips); i++) {
        if (chips[i].compute && rp_version_compare(chips[i].compute, compute) == 0) {
            return &chips[i];
        }
    }
    return NULL;
}

static const struct rp_onnx_release *onnx_release(const struct rp_onnx_release *rows, size_t count,
                                                  int64_t number) {
    if (number <= 0) return NULL;
    for (size_t i = 0; i < count; i++) {
        if (rows[i].number >= number) return &rows[i];
    }
    return NULL;
}

const struct rp_onnx_release *rp_onnx_of_opset(int64_t opset) {
    return onnx_release(opsets, COUNT(opsets), opset);
}

const struct rp_onnx_release *rp_onnx_of_ir(int64_t ir) {
    return onnx_release(irs, COUNT(irs), ir);
}

const char *rp_systems_of_glibc(const char *glibc) {
    for (size_t i = 0; i < COUNT(glibcs); i++) {
        if (rp_version_compare(glibcs[i].glibc, glibc) >= 0) return glibcs[i].systems;
    }
    return NULL;
}

const struct rp_gcc_release *rp_gcc_of_glibcxx(const char *glibcxx) {
    for (size_t i = 0; i < COUNT(gccs); i++) {
        if (rp_version_compare(gccs[i].glibcxx, glibcxx) >= 0) return &gccs[i];
    }
    return NULL;
}

const struct rp_gcc_release *rp_gcc_of_cxxabi(const char *cxxabi) {
    for (size_t i = 0; i < COUNT(cxxabis); i++) {
        if (rp_version_compare(cxxabis[i].cxxabi, cxxabi) >= 0) {
            return rp_gcc_of_glibcxx(cxxabis[i].glibcxx);
        }
    }
    return NULL;
}
