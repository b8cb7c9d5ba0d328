/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Browsers as runtimes of models: which are installed, and what one says about WebGPU and WebNN.
 */
#ifndef RP_HARDWARE_BROWSER_H
#define RP_HARDWARE_BROWSER_H

#include "base/limits.h"
#include "hardware/snapshot.h"

enum { RP_BROWSERS_MAX = 8, RP_BROWSER_NAME_BYTES = 32, RP_BROWSER_TEXT_BYTES = 128 };

struct rp_browser {
    char name[RP_BROWSER_NAME_BYTES]; /* "chromium", "chrome", "edge", "firefox"              */
    char path[RP_LIMIT_NAME_BYTES];
    bool can_be_asked; /* by --remote-debugging-pipe; Firefox cannot           */
};

struct rp_browsers {
    struct rp_browser browsers[RP_BROWSERS_MAX];
    size_t count;
};

/*
 * The browser that CHROME_PATH names, and those on the PATH, one of each name. Starts nothing. A
 * CHROME_PATH that is "off" means that there is none.
 */
void rp_browsers_find(struct rp_browsers *browsers);

/* Whether one of them can be asked. */
bool rp_browsers_can_ask(const struct rp_browsers *browsers);

/* Kinds of device that WebNN knows. */
enum rp_webnn_type { RP_WEBNN_CPU, RP_WEBNN_GPU, RP_WEBNN_NPU, RP_WEBNN_TYPES };

/* What a browser said. A text that it did not say is "". */
struct rp_browser_answer {
    char version[RP_BROWSER_TEXT_BYTES]; /* "156.0.8078.79"                                    */
    bool has_webgpu;                     /* the interface is there                             */
    bool has_adapter;
    bool is_fallback; /* computed by the processor                          */
    bool has_f16;     /* shaders know 16-bit floats                         */
    char vendor[RP_BROWSER_TEXT_BYTES];
    char architecture[RP_BROWSER_TEXT_BYTES];
    char description[RP_BROWSER_TEXT_BYTES];
    char webgpu_error[RP_BROWSER_TEXT_BYTES];
    bool has_webnn; /* the interface is there, which says little          */
    bool has_context[RP_WEBNN_TYPES];
    char webnn_error[RP_BROWSER_TEXT_BYTES]; /* the first of its refusals              */
    char webnn_precisions[RP_BROWSER_TEXT_BYTES];
};

/*
 * Start the browser without a window, ask it, end it: about half a second, `timeout_ms` at most, in
 * a fresh profile below the folder for temporary files, which goes again. Nothing is fetched from
 * anywhere. The browser is a child of this process.
 *
 * RP_ERR_TIMEOUT: it did not answer in time. RP_ERR_ABSENT: it did not start, or ended.
 * RP_ERR_DATA: what it said is no answer.
 */
rp_status rp_browser_ask(const struct rp_browser *browser, int timeout_ms,
                         struct rp_browser_answer *answer, rp_error *err);

/*
 * Read the answer of the page from a message of the browser: {"id": 5, "result": {"result":
 * {"value": {...}}}}. RP_ERR_BUSY: the page is not loaded yet, ask again. Keeps the version.
 */
rp_status rp_browser_parse_answer(const char *json, size_t length, struct rp_browser_answer *answer,
                                  rp_error *err);

/*
 * A simulated device of a kind ("webgpu:simulated"), if the environment asks for one by
 * WEBGPU_SIMULATION (or WEBNN_...), or by an older name of the same wish. *added says whether.
 */
rp_status rp_browser_add_simulated(struct rp_snapshot *snapshot, rp_device_kind kind,
                                   const char *prefix, bool *added, rp_error *err);

/* Why there is none, and how to get one: always RP_ERR_ABSENT. */
rp_status rp_browser_fail_absent(const struct rp_snapshot *snapshot,
                                 const struct rp_browsers *browsers, const char *what,
                                 rp_error *err);

/*
 * The fast look of both kinds: a simulated device, if the environment asks for one, and whether
 * there is a browser to ask. `prefix` and `what` are those of the two calls above.
 */
rp_status rp_browser_probe(struct rp_snapshot *snapshot, rp_device_kind kind, const char *prefix,
                           const char *what, rp_error *err);

#endif
