/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Why something failed, and what to do: a diagnosis of an error text, for this machine and model.
 *
 * An error text is whatever somebody pastes: a message, stack traces with chained causes, a log.
 * Nothing of it is executed, opened or fetched, and no link or command of it comes back as advice.
 */
#ifndef RESOURCEPOOL_FAILURE_H
#define RESOURCEPOOL_FAILURE_H

#include <resourcepool/api.h>
#include <resourcepool/classify.h>
#include <resourcepool/hardware.h>
#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One row per category: constant, number, name, what it means in a few words. Numbers never change
 * their meaning. */
/* clang-format off */
#define RP_CATEGORY_MAP(X)                                                                          \
    X(UNKNOWN,                       0, "unknown",                       "not recognised")         \
    X(OUT_OF_MEMORY_DEVICE,          1, "out_of_memory_device",          "the memory of the accelerator ran out") \
    X(OUT_OF_MEMORY_HOST,            2, "out_of_memory_host",            "main memory (RAM) ran out") \
    X(LIMIT_EXCEEDED,                3, "limit_exceeded",                "a fixed limit was passed") \
    X(DISK_FULL,                     4, "disk_full",                     "the disk is full")       \
    X(DRIVER_TOO_OLD,                5, "driver_too_old",                "the driver is too old")  \
    X(DRIVER_MISSING_OR_BROKEN,      6, "driver_missing_or_broken",      "the driver is missing or does not work") \
    X(RUNTIME_LIBRARY_MISSING,       7, "runtime_library_missing",       "a library of the accelerator's runtime is missing") \
    X(BACKEND_NOT_BUILT,             8, "backend_not_built",             "the installed build has no such backend") \
    X(NO_KERNEL_FOR_ARCHITECTURE,    9, "no_kernel_for_architecture",    "the build has no code for this chip") \
    X(BROWSER_FEATURE_MISSING,      10, "browser_feature_missing",       "the browser lacks an interface or feature") \
    X(DEVICE_NOT_FOUND,             11, "device_not_found",              "no such device answers") \
    X(DEVICE_BUSY,                  12, "device_busy",                   "another process holds the device") \
    X(DEVICE_LOST,                  13, "device_lost",                   "the device vanished while it was used") \
    X(DEVICE_MISMATCH,              14, "device_mismatch",               "operands lie on different devices") \
    X(ACCELERATOR_RUNTIME_ERROR,    15, "accelerator_runtime_error",     "the accelerator's library failed while running") \
    X(MULTI_DEVICE_COMMUNICATION,   16, "multi_device_communication",    "devices could not talk to each other") \
    X(UNSUPPORTED_OPERATION,        17, "unsupported_operation",         "the backend lacks an operator") \
    X(UNSUPPORTED_DTYPE,            18, "unsupported_dtype",             "the device lacks a number type") \
    X(DTYPE_MISMATCH,               19, "dtype_mismatch",                "number types differ")    \
    X(SHAPE_MISMATCH,               20, "shape_mismatch",                "sizes do not fit")       \
    X(ASSERT_OR_NUMERICAL,          21, "assert_or_numerical",           "a value is out of range") \
    X(MODEL_FILE_MISSING,           22, "model_file_missing",            "a file of the model is missing") \
    X(INVALID_MODEL_FILE,           23, "invalid_model_file",            "a file of the model is damaged or not what it claims") \
    X(UNKNOWN_MODEL_ARCHITECTURE,   24, "unknown_model_architecture",    "the loader does not know this type of model") \
    X(CHECKPOINT_MISMATCH,          25, "checkpoint_mismatch",           "weights do not fit the model") \
    X(FORMAT_VERSION_UNSUPPORTED,   26, "format_version_unsupported",    "the file's format is of another version") \
    X(ACCESS_DENIED,                27, "access_denied",                 "something must first be granted") \
    X(NETWORK_UNAVAILABLE,          28, "network_unavailable",           "a server cannot be reached") \
    X(DEPENDENCY_MISSING,           29, "dependency_missing",            "a package is missing")   \
    X(DEPENDENCY_CONFLICT,          30, "dependency_conflict",           "packages do not fit each other")
/* clang-format on */

/** Kinds of failure. */
typedef enum rp_category {
#define RP_CATEGORY_ENUM(constant, number, name, text) RP_CATEGORY_##constant = number,
    RP_CATEGORY_MAP(RP_CATEGORY_ENUM)
#undef RP_CATEGORY_ENUM
} rp_category;

enum { RP_CATEGORY_COUNT = 31 };

/** What is asked. Borrowed for the call; NULL and 0 where nothing is known. */
typedef struct rp_failure_question {
    size_t size;       /* sizeof(rp_failure_question)                                            */
    const char *error; /* any bytes, any size                                                    */
    size_t error_bytes;
    const char *stack_trace; /* where it stands apart from the error                             */
    size_t stack_trace_bytes;
    const char *hardware; /* a device ("cuda:1") or kind ("cuda", also "onnxruntime-cpu"); NULL or
                             "any": as the text tells                                            */
    const char *model;    /* a name, a folder or a file                                          */
    rp_family family;     /* RP_FAMILY_UNKNOWN: as the model's name or files tell                */
    const rp_snapshot *snapshot; /* the machine; NULL: alternatives are not ranked, and nothing is
                                    said of what this machine has                                */
} rp_failure_question;

#define RP_FAILURE_QUESTION_INIT                                                                   \
    { sizeof(rp_failure_question), NULL, 0, NULL, 0, NULL, NULL, RP_FAMILY_UNKNOWN, NULL }

/** An answer: immutable, the caller's. */
typedef struct rp_diagnosis rp_diagnosis;

RP_BEGIN_DECLS

/** "out_of_memory_device", ...; NULL for a number that is none. Static storage. */
RP_API const char *rp_category_name(rp_category category);

/** "the memory of the accelerator ran out", ...; likewise. */
RP_API const char *rp_category_text(rp_category category);

/** The category of that name, RP_CATEGORY_UNKNOWN for "unknown" and strangers. */
RP_API rp_category rp_category_of_name(const char *name);

/**
 * Read an error text.
 *
 * diagnosis  on RP_OK the caller's: rp_diagnosis_destroy(). A text that says nothing is an answer
 *            too: RP_CATEGORY_UNKNOWN, with what to attach
 *
 * Looks at the model's files if `model` names some; opens nothing else. Any thread.
 * RP_ERR_ARGUMENT: `hardware` is no kind of device; RP_ERR_MEMORY.
 */
RP_API RP_MUST_CHECK rp_status rp_diagnose(const rp_failure_question *question,
                                           rp_diagnosis **diagnosis, rp_error *err);

/** The same of a stream that is read to its end, in bounded memory, after question->error. The
 * descriptor stays the caller's. Blocks; besides RP_ERR_IO. */
RP_API RP_MUST_CHECK rp_status rp_diagnose_fd(const rp_failure_question *question, int fd,
                                              rp_diagnosis **diagnosis, rp_error *err);

RP_API rp_category rp_diagnosis_category(const rp_diagnosis *diagnosis);

/** 0 to 1: of so many answers with this figure, that part is right. */
RP_API double rp_diagnosis_confidence(const rp_diagnosis *diagnosis);

/** One line for people: what happened, with its numbers, and the first thing to do. Borrowed. */
RP_API const char *rp_diagnosis_line(const rp_diagnosis *diagnosis);

/** What to do, the best first; NULL when the index is not below their number. Borrowed. */
RP_API const char *rp_diagnosis_recommendation(const rp_diagnosis *diagnosis, size_t index);

/**
 * The whole answer as JSON or as text for people.
 *
 * indent  0: one line
 * text    on RP_OK the caller's: rp_string_free(). RP_ERR_MEMORY
 */
RP_API RP_MUST_CHECK rp_status rp_diagnosis_to_json(const rp_diagnosis *diagnosis, int indent,
                                                    char **text, rp_error *err);
RP_API RP_MUST_CHECK rp_status rp_diagnosis_to_text(const rp_diagnosis *diagnosis, char **text,
                                                    rp_error *err);

/** Accepts NULL. */
RP_API void rp_diagnosis_destroy(rp_diagnosis *diagnosis);

/**
 * Diagnose a failure of this library, which says more than its text: the status and the number of
 * the system's error are evidence too.
 *
 *     rp_error err = RP_ERROR_INIT;
 *     if (rp_pool_get_model(pool, &request, &lease, &err) != RP_OK) {
 *         rp_failure_question about = RP_FAILURE_QUESTION_INIT;
 *         rp_diagnosis *diagnosis = NULL;
 *         about.hardware = "cuda:0";
 *         about.model = request.name;
 *         if (rp_failure_explain(&err, &about, &diagnosis, NULL) == RP_OK && diagnosis) {
 *             fprintf(stderr, "%s: %s\n", rp_category_name(rp_diagnosis_category(diagnosis)),
 *                     rp_diagnosis_line(diagnosis));
 *         }
 *         rp_diagnosis_destroy(diagnosis);
 *     }
 *
 * about      what is known beside it, or NULL; its error and stack trace are read behind the
 *            failure's message. Hardware that is no kind of device is as good as none.
 * diagnosis  on RP_OK the caller's: rp_diagnosis_destroy(). NULL where there is nothing to
 *            diagnose, and the message says all: a call that was made wrongly, called off, too
 *            late or in a circle
 *
 * As rp_diagnose() otherwise. Failures of a pool have the first recommendation as their hint, where
 * the place that failed had none of its own.
 */
RP_API RP_MUST_CHECK rp_status rp_failure_explain(const rp_error *failure,
                                                  const rp_failure_question *about,
                                                  rp_diagnosis **diagnosis, rp_error *err);

/**
 * The category of a failure alone, for programs that branch on it: rp_category_name() has its name.
 * RP_CATEGORY_UNKNOWN where there is none. `hardware` ("cuda:1") may be NULL.
 */
RP_API rp_category rp_failure_category(const rp_error *failure, const char *hardware);

/**
 * A report of a failure as JSON: the keys of the guide (timestamp, model_name, hardware_type,
 * error_message, stack_trace, recommendations, model_family, subfamily, alternatives), and
 * category, cause, confidence, evidence, facts, checks; docs/failure_report.schema.json has them
 * all. Tokens, home folders and names of users are replaced.
 *
 * report  on RP_OK the caller's: rp_string_free(). As rp_diagnose() otherwise
 */
RP_API RP_MUST_CHECK rp_status rp_failure_report(const rp_failure_question *question, char **report,
                                                 rp_error *err);

/**
 * Save a report as "hardware_error_{model}_{hardware}_{time}.json" in a folder, which is made where
 * it is missing. Written whole or not at all; never replaces another report. The oldest reports of
 * the folder go when there are more than 200, or more than 32 MiB of them.
 *
 * path  on RP_OK the caller's: rp_string_free()
 * RP_ERR_DATA: not a report; RP_ERR_IO names the folder and what is wrong with it; RP_ERR_MEMORY.
 */
RP_API RP_MUST_CHECK rp_status rp_failure_report_save(const char *report, const char *folder,
                                                      char **path, rp_error *err);

/** A saved report as text for people. RP_ERR_NOT_FOUND, RP_ERR_DATA, RP_ERR_IO, RP_ERR_MEMORY. */
RP_API RP_MUST_CHECK rp_status rp_failure_report_show(const char *path, char **text, rp_error *err);

/**
 * Write one file for a bug report, as JSON: the report, question->snapshot as 'rpool hardware
 * --json' has it, versions of this library and its engines, the kernel and the distribution, and
 * those environment variables that matter; redacted as a report. Written whole or not at all.
 * RP_ERR_IO, also when something of that name is there; as rp_diagnose() otherwise.
 */
RP_API RP_MUST_CHECK rp_status rp_failure_bundle_save(const rp_failure_question *question,
                                                      const char *path, rp_error *err);

RP_END_DECLS

#endif
