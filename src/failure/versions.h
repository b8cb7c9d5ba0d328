/* SPDX-License-Identifier: Apache-2.0 */
/* Which version goes with which: drivers and CUDA, chips, formats, systems. */
#ifndef RP_FAILURE_VERSIONS_H
#define RP_FAILURE_VERSIONS_H

#include <stddef.h>
#include <stdint.h>

/* A release of CUDA and the drivers that came with it. */
struct rp_cuda_release {
    const char *cuda;
    const char *driver;            /* Linux: the least that runs it whole                     */
    const char *driver_windows;    /* NULL: that release brings none                          */
    const char *driver_compatible; /* Linux: the least of the same major version; programs without
                                      code to compile at load (PTX) run with it               */
};

/* The release of "12.4", "12.4.1", "12"; NULL: none that is known. */
const struct rp_cuda_release *rp_cuda_release_of(const char *cuda);

/* The newest release that a driver runs, Linux's or Windows'; NULL: older than all. */
const struct rp_cuda_release *rp_cuda_release_of_driver(const char *driver);

/* A chip of NVIDIA's or AMD's. */
struct rp_chip {
    const char *name;         /* "sm_86", "gfx1030"                                           */
    const char *compute;      /* "8.6"; NULL: AMD's                                           */
    const char *products;     /* "Ampere: RTX 30, A10, A40"                                   */
    const char *cuda_first;   /* CUDA that knows it; NULL: AMD's                              */
    const char *cuda_last;    /* the last that does; NULL: the newest does                    */
    const char *hsa_override; /* what HSA_OVERRIDE_GFX_VERSION is usually set to; NULL: none  */
};

/* The chip of "sm_86", "sm_90a", "compute_86", "gfx90a:sramecc+:xnack-"; NULL: not known. */
const struct rp_chip *rp_chip_of_name(const char *name);

/* The chip of "8.6"; NULL: not known. */
const struct rp_chip *rp_chip_of_compute(const char *compute);

/* A version of ONNX's operators or of its files, and the first releases that have it. */
struct rp_onnx_release {
    int64_t number;
    const char *onnx;
    const char *onnxruntime; /* NULL: not known */
};

const struct rp_onnx_release *rp_onnx_of_opset(int64_t opset);
const struct rp_onnx_release *rp_onnx_of_ir(int64_t ir);

/* The first systems that have that version of the C library ("2.34"), NULL: not known. */
const char *rp_systems_of_glibc(const char *glibc);

/* A version of the C++ library's symbols. */
struct rp_gcc_release {
    const char *glibcxx; /* "3.4.30"  */
    const char *gcc;     /* "12.1"    */
    const char *systems; /* the first */
};

/* Of GLIBCXX_3.4.30, by "3.4.30"; NULL: not known. */
const struct rp_gcc_release *rp_gcc_of_glibcxx(const char *glibcxx);

/* Of CXXABI_1.3.13, by "1.3.13"; NULL: not known. */
const struct rp_gcc_release *rp_gcc_of_cxxabi(const char *cxxabi);

#endif
