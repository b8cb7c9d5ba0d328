/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A browser of the Chromium kind is driven by its debugging pipe: JSON messages that end in NUL, in
 * by descriptor 3, out by 4. No port is opened, and when the pipe closes the browser ends, whatever
 * became of us.
 *
 * The page it is shown is a file, because WebGPU and WebNN exist only in what a browser calls a
 * secure context, and a file is one; a data: address is not. Until the page is loaded, the question
 * is answered by an empty page, on which neither exists: it is asked again.
 *
 * The question really opens an adapter and contexts: that an interface is there says nothing.
 */
#include "hardware/browser.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* An answer has 3 kB; one of a megabyte is none. */
enum { MESSAGE_BYTES_MAX = 1 << 20, ASK_AGAIN_MS = 20, EXIT_MS_MAX = 1000 };

/* Programs in the order in which they are looked for; of each name the first counts. */
/* clang-format off */
static const struct {
    const char *program;
    const char *name;
    const char *binary; /* behind a wrapper that adds options and keys of its own: taken instead */
    bool can_be_asked;
} programs[] = {
    {"chromium",               "chromium", "/usr/lib/chromium/chromium",                true},
    {"chromium-browser",       "chromium", NULL,                                        true},
    {"chromium-headless-shell","chromium", "/usr/lib/chromium/chromium-headless-shell", true},
    {"google-chrome",          "chrome",   NULL,                                        true},
    {"google-chrome-stable",   "chrome",   NULL,                                        true},
    {"microsoft-edge",         "edge",     NULL,                                        true},
    {"microsoft-edge-stable",  "edge",     NULL,                                        true},
    {"firefox",                "firefox",  NULL,                                        false},
    {"firefox-esr",            "firefox",  NULL,                                        false},
};

static const char *const options[] = {
    "--headless", "--remote-debugging-pipe",
    /* Ask for what the hardware has, not for what the maker's list of well-tried drivers allows. */
    "--enable-unsafe-webgpu", "--enable-features=WebMachineLearningNeuralNetwork",
    /* A fresh profile looks for updates, lists and accounts: not here. */
    "--no-first-run", "--no-default-browser-check", "--disable-default-apps", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--metrics-recording-only", "--disable-breakpad", "--disable-quic", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND",
};
enum { OPTION_COUNT = sizeof options / sizeof options[0] };

static const char page[] = "<!doctype html><title>resourcepool</title>\n";

static const char question[] =
    "(async () => {"
    " const out = {url: location.href, gpu: !!navigator.gpu, ml: !!navigator.ml};"
    " if (navigator.gpu) { try {"
    "  const adapter = await navigator.gpu.requestAdapter();"
    "  if (adapter) { const info = adapter.info || {};"
    "   out.adapter = {vendor: info.vendor, architecture: info.architecture,"
    "    description: info.description || info.device, f16: adapter.features.has('shader-f16'),"
    "    fallback: !!(info.isFallbackAdapter || adapter.isFallbackAdapter)}; }"
    " } catch (e) { out.gpu_error = String(e); } }"
    " if (navigator.ml) { out.contexts = {};"
    "  for (const deviceType of ['cpu', 'gpu', 'npu']) { try {"
    "   const context = await navigator.ml.createContext({deviceType});"
    "   out.contexts[deviceType] = true;"
    "   if (!out.types) out.types = context.opSupportLimits().input.dataTypes;"
    "  } catch (e) { out.contexts[deviceType] = String(e); } } }"
    " return out; })()";

static const char *const webnn_types[RP_WEBNN_TYPES] = {"cpu", "gpu", "npu"};

/* Number formats as WebNN calls them, and as we do. */
static const struct {
    const char *type;
    const char *precision;
} webnn_precisions[] = {
    {"float32", "fp32"}, {"float16", "fp16"}, {"int8", "int8"}, {"int4", "int4"},
};
/* clang-format on */

/* --- which there are ------------------------------------------------------------------------- */

static bool is_program(const char *path) {
    return path[0] == '/' && access(path, X_OK) == 0;
}

static bool has_name(const struct rp_browsers *browsers, const char *name) {
    for (size_t i = 0; i < browsers->count; i++) {
        if (strcmp(browsers->browsers[i].name, name) == 0) return true;
    }
    return false;
}

static void add(struct rp_browsers *browsers, const char *name, const char *path, bool can_ask) {
    if (browsers->count == RP_BROWSERS_MAX || has_name(browsers, name)) return;
    struct rp_browser *browser = &browsers->browsers[browsers->count];
    int length = snprintf(browser->path, sizeof browser->path, "%s", path);
    if (length < 0 || (size_t)length >= sizeof browser->path) return;
    snprintf(browser->name, sizeof browser->name, "%s", name);
    browser->can_be_asked = can_ask;
    browsers->count++;
}

static void add_from_folder(struct rp_browsers *browsers, const char *folder, size_t length,
                            size_t row) {
    char path[RP_LIMIT_NAME_BYTES];
    int printed =
        snprintf(path, sizeof path, "%.*s/%s", (int)length, folder, programs[row].program);
    if (printed < 0 || (size_t)printed >= sizeof path || !is_program(path)) return;
    const char *binary = programs[row].binary;
    bool is_wrapped = binary && strncmp(path, "/usr/bin/", 9) == 0 && is_program(binary);
    add(browsers, programs[row].name, is_wrapped ? binary : path, programs[row].can_be_asked);
}

/* What a chosen browser is called: as the row whose program its file is named after. */
static const char *name_of_path(const char *path) {
    const char *slash = strrchr(path, '/');
    const char *file = slash ? slash + 1 : path;
    if (strstr(file, "edge")) return "edge";
    return strstr(file, "chromium") || strstr(file, "headless") ? "chromium" : "chrome";
}

void rp_browsers_find(struct rp_browsers *browsers) {
    browsers->count = 0;
    const char *chosen = getenv("CHROME_PATH");
    if (chosen && strcmp(chosen, "off") == 0) return;
    if (chosen && is_program(chosen)) add(browsers, name_of_path(chosen), chosen, true);
    const char *list = getenv("PATH");
    for (size_t row = 0; list && row < sizeof programs / sizeof programs[0]; row++) {
        for (const char *at = list; *at;) {
            size_t length = strcspn(at, ":");
            if (length > 0 && length < INT_MAX) add_from_folder(browsers, at, length, row);
            at += length + (at[length] == ':');
        }
    }
}

bool rp_browsers_can_ask(const struct rp_browsers *browsers) {
    for (size_t i = 0; i < browsers->count; i++) {
        if (browsers->browsers[i].can_be_asked) return true;
    }
    return false;
}

rp_status rp_browser_fail_absent(const struct rp_snapshot *snapshot,
                                 const struct rp_browsers *browsers, const char *what,
                                 rp_error *err) {
    const char *chosen = getenv("CHROME_PATH");
    if (snapshot->root[0] != '\0') {
        return rp_fail(err, RP_ERR_ABSENT, "the browsers of a recorded machine cannot be asked");
    }
    if (chosen && strcmp(chosen, "off") == 0) {
        rp_fail(err, RP_ERR_ABSENT, "browsers are switched off by CHROME_PATH");
        rp_hint(err, "unset CHROME_PATH to look for them on the PATH");
    } else if (chosen && chosen[0] != '\0') {
        rp_fail(err, RP_ERR_ABSENT, "CHROME_PATH is '%.100s', which is no program", chosen);
        rp_hint(err, "unset CHROME_PATH to look for browsers on the PATH");
    } else if (browsers->count > 0) {
        rp_fail(err, RP_ERR_ABSENT, "%s is the only browser, and cannot be asked for %s by a pipe",
                browsers->browsers[0].name, what);
        rp_hint(err, "install chromium or chromium-headless-shell beside it");
    } else {
        rp_fail(err, RP_ERR_ABSENT, "no browser with %s is on the PATH", what);
        rp_hint(err,
                "install chromium, chromium-headless-shell, google-chrome or microsoft-edge, or "
                "name one in CHROME_PATH");
    }
    return RP_ERR_ABSENT;
}

/* --- a simulated one ------------------------------------------------------------------------- */

/* "1", "true", "yes", "on": as the guide's programs set them. */
static bool is_yes(const char *value) {
    static const char *const words[] = {"1", "true", "yes", "on"};
    for (size_t i = 0; value && i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(value, words[i]) == 0) return true;
    }
    return false;
}

rp_status rp_browser_add_simulated(struct rp_snapshot *snapshot, rp_device_kind kind,
                                   const char *prefix, bool *added, rp_error *err) {
    static const char *const names[] = {"SIMULATION", "SIMULATION_ENABLED", "AVAILABLE"};
    char variable[64] = "";
    *added = false;
    for (size_t i = 0; !*added && i < sizeof names / sizeof names[0]; i++) {
        snprintf(variable, sizeof variable, "%s_%s", prefix, names[i]);
        *added = is_yes(getenv(variable));
    }
    if (!*added || snapshot->root[0] != '\0') {
        *added = false;
        return RP_OK;
    }
    char id[64];
    rp_status status = RP_OK;
    snprintf(id, sizeof id, "%s:simulated", rp_device_kind_name(kind));
    rp_device *device = rp_snapshot_new_device(snapshot, kind, id);
    if (!device) return rp_fail_no_memory(err);
    device->simulated = true;
    device->name = "simulated";
    if (strlen(variable) != strlen(prefix) + strlen("_SIMULATION")) {
        status = rp_snapshot_add_note(snapshot, err, "%s means the same as %s_SIMULATION", variable,
                                      prefix);
    }
    return status == RP_OK ? rp_snapshot_add_device(snapshot, device, err) : status;
}

/* --- its answer ------------------------------------------------------------------------------ */

static void take_text(char out[RP_BROWSER_TEXT_BYTES], const json_t *text) {
    const char *value = json_string_value(text);
    snprintf(out, RP_BROWSER_TEXT_BYTES, "%s", value ? value : "");
    rp_text_make_printable(out);
}

static void take_contexts(struct rp_browser_answer *answer, const json_t *page_says) {
    const json_t *contexts = json_object_get(page_says, "contexts");
    const json_t *types = json_object_get(page_says, "types");
    answer->has_webnn = json_is_true(json_object_get(page_says, "ml"));
    for (size_t i = 0; i < RP_WEBNN_TYPES; i++) {
        const json_t *one = json_object_get(contexts, webnn_types[i]);
        answer->has_context[i] = json_is_true(one);
        if (answer->webnn_error[0] == '\0') take_text(answer->webnn_error, one);
    }
    for (size_t i = 0; i < sizeof webnn_precisions / sizeof webnn_precisions[0]; i++) {
        for (size_t j = 0; j < json_array_size(types) && j < 64; j++) {
            const char *type = json_string_value(json_array_get(types, j));
            if (!type || strcmp(type, webnn_precisions[i].type) != 0) continue;
            size_t length = strlen(answer->webnn_precisions);
            snprintf(answer->webnn_precisions + length, RP_BROWSER_TEXT_BYTES - length, "%s%s",
                     length > 0 ? " " : "", webnn_precisions[i].precision);
            break;
        }
    }
}

/* What the page returned, out of its wrapping; NULL when there is none. */
static const json_t *find_value(const json_t *message) {
    const json_t *result = json_object_get(message, "result");
    return json_object_get(json_object_get(result, "result"), "value");
}

static rp_status read_answer(const json_t *message, struct rp_browser_answer *answer,
                             rp_error *err) {
    const json_t *value = find_value(message);
    const json_t *failure = json_object_get(message, "error");
    if (json_is_object(failure)) {
        /* Between two pages there is nothing that could be asked. */
        const char *what = json_string_value(json_object_get(failure, "message"));
        return rp_fail(err, RP_ERR_BUSY, "the page is not there: %.100s",
                       what ? what : "no reason");
    }
    const char *url = json_string_value(json_object_get(value, "url"));
    if (!url) return rp_fail(err, RP_ERR_DATA, "the browser's answer has no value");
    if (strcmp(url, "about:blank") == 0) return rp_fail(err, RP_ERR_BUSY, "the page is not loaded");
    if (strncmp(url, "file:", 5) != 0) {
        /* Nothing that this page says is about the hardware: it is no secure context. */
        rp_fail(err, RP_ERR_DATA, "the browser shows '%.60s' and not the page it was given", url);
        rp_hint(err, "a browser that is a snap cannot read /tmp: set TMPDIR to a folder in HOME");
        return RP_ERR_DATA;
    }
    struct rp_browser_answer told = {0};
    memcpy(told.version, answer->version, sizeof told.version);
    const json_t *adapter = json_object_get(value, "adapter");
    told.has_webgpu = json_is_true(json_object_get(value, "gpu"));
    told.has_adapter = json_is_object(adapter);
    told.is_fallback = json_is_true(json_object_get(adapter, "fallback"));
    told.has_f16 = json_is_true(json_object_get(adapter, "f16"));
    take_text(told.vendor, json_object_get(adapter, "vendor"));
    take_text(told.architecture, json_object_get(adapter, "architecture"));
    take_text(told.description, json_object_get(adapter, "description"));
    take_text(told.webgpu_error, json_object_get(value, "gpu_error"));
    take_contexts(&told, value);
    *answer = told;
    return RP_OK;
}

rp_status rp_browser_parse_answer(const char *json, size_t length, struct rp_browser_answer *answer,
                                  rp_error *err) {
    json_error_t why;
    json_t *message = json_loadb(json, length, JSON_REJECT_DUPLICATES, &why);
    if (!message) {
        if (json_error_code(&why) == json_error_out_of_memory) return rp_fail_no_memory(err);
        return rp_fail(err, RP_ERR_DATA, "the browser's answer is no JSON: %s", why.text);
    }
    rp_status status = read_answer(message, answer, err);
    json_decref(message);
    return status;
}

/* --- the conversation ------------------------------------------------------------------------ */

struct session {
    pid_t pid;
    int to_browser;
    int from_browser;
    int64_t deadline_ns;
    int64_t last_id;
    struct rp_text received; /* not yet read messages */
    char folder[256];        /* the profile, and the page in it */
    char name[RP_BROWSER_NAME_BYTES];
};

static int remaining_ms(const struct session *session) {
    int64_t left = (session->deadline_ns - rp_clock_ns()) / 1000000;
    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static rp_status fail_late(const struct session *session, rp_error *err) {
    return rp_fail(err, RP_ERR_TIMEOUT, "%s did not answer in time", session->name);
}

static rp_status send_all(struct session *session, const char *bytes, size_t length,
                          rp_error *err) {
    while (length > 0) {
        struct pollfd poller = {session->to_browser, POLLOUT, 0};
        if (poll(&poller, 1, remaining_ms(session)) == 0) return fail_late(session, err);
        ssize_t sent = write(session->to_browser, bytes, length);
        if (sent < 0 && errno != EINTR && errno != EAGAIN) {
            return rp_fail(err, RP_ERR_ABSENT, "%s ended before it was asked", session->name);
        }
        if (sent <= 0) continue;
        bytes += sent;
        length -= (size_t)sent;
    }
    return RP_OK;
}

/* The next message as JSON, the caller's; messages that cannot be read are damage. */
static rp_status receive(struct session *session, json_t **message, rp_error *err) {
    while (true) {
        char *end = session->received.length > 0
                        ? memchr(session->received.bytes, '\0', session->received.length)
                        : NULL;
        if (end) {
            size_t length = (size_t)(end - session->received.bytes);
            json_error_t why;
            *message = json_loadb(session->received.bytes, length, 0, &why);
            size_t rest = session->received.length - length - 1;
            memmove(session->received.bytes, end + 1, rest);
            session->received.length = rest;
            if (*message) return RP_OK;
            if (json_error_code(&why) == json_error_out_of_memory) return rp_fail_no_memory(err);
            return rp_fail(err, RP_ERR_DATA, "%s sent what is no JSON: %s", session->name,
                           why.text);
        }
        if (session->received.length > MESSAGE_BYTES_MAX) {
            return rp_fail(err, RP_ERR_DATA, "%s sent a message of more than %d bytes",
                           session->name, MESSAGE_BYTES_MAX);
        }
        struct pollfd poller = {session->from_browser, POLLIN, 0};
        if (poll(&poller, 1, remaining_ms(session)) == 0) return fail_late(session, err);
        char piece[16384];
        ssize_t got = read(session->from_browser, piece, sizeof piece);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got <= 0) {
            rp_fail(err, RP_ERR_ABSENT, "%s ended without an answer", session->name);
            rp_hint(err, "start it by hand with --headless to see what it says");
            return RP_ERR_ABSENT;
        }
        rp_text_append(&session->received, piece, (size_t)got);
        if (session->received.failed) return rp_fail_no_memory(err);
    }
}

/* Call a method and wait for its reply, events in between passed over. Takes `params`. */
static rp_status call(struct session *session, const char *method, json_t *params,
                      const char *session_id, json_t **reply, rp_error *err) {
    int64_t id = ++session->last_id;
    json_t *message =
        json_pack("{s:I, s:s, s:o}", "id", (json_int_t)id, "method", method, "params", params);
    if (message && session_id &&
        json_object_set_new(message, "sessionId", json_string(session_id)) != 0) {
        json_decref(message);
        message = NULL;
    }
    char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
    json_decref(message);
    if (!text) return rp_fail_no_memory(err);
    rp_status status = send_all(session, text, strlen(text) + 1, err);
    free(text);
    while (status == RP_OK) {
        json_t *answer = NULL;
        status = receive(session, &answer, err);
        if (status != RP_OK) break;
        const json_t *its_id = json_object_get(answer, "id");
        if (json_is_integer(its_id) && json_integer_value(its_id) == id) {
            *reply = answer;
            return RP_OK;
        }
        json_decref(answer);
    }
    return status;
}

/* The same for a method whose result is one text, copied to `out`. */
static rp_status call_for_text(struct session *session, const char *method, json_t *params,
                               const char *key, char out[RP_BROWSER_TEXT_BYTES], rp_error *err) {
    json_t *reply = NULL;
    rp_status status = call(session, method, params, NULL, &reply, err);
    if (status != RP_OK) return status;
    take_text(out, json_object_get(json_object_get(reply, "result"), key));
    json_decref(reply);
    if (out[0] != '\0') return RP_OK;
    return rp_fail(err, RP_ERR_DATA, "%s does not answer %s", session->name, method);
}

static rp_status converse(struct session *session, struct rp_browser_answer *answer,
                          rp_error *err) {
    char text[RP_BROWSER_TEXT_BYTES];
    char target[RP_BROWSER_TEXT_BYTES];
    char id[RP_BROWSER_TEXT_BYTES];
    char url[300];
    rp_status status =
        call_for_text(session, "Browser.getVersion", json_object(), "product", text, err);
    if (status != RP_OK) return status;
    /* "HeadlessChrome/156.0.8078.79" */
    const char *slash = strchr(text, '/');
    memcpy(answer->version, slash ? slash + 1 : text, strlen(slash ? slash + 1 : text) + 1);
    snprintf(url, sizeof url, "file://%s/page.html", session->folder);
    status = call_for_text(session, "Target.createTarget", json_pack("{s:s}", "url", url),
                           "targetId", target, err);
    if (status != RP_OK) return status;
    status = call_for_text(session, "Target.attachToTarget",
                           json_pack("{s:s, s:b}", "targetId", target, "flatten", 1), "sessionId",
                           id, err);
    if (status != RP_OK) return status;
    while (true) {
        json_t *reply = NULL;
        rp_error why = RP_ERROR_INIT;
        status = call(session, "Runtime.evaluate",
                      json_pack("{s:s, s:b, s:b}", "expression", question, "awaitPromise", 1,
                                "returnByValue", 1),
                      id, &reply, err);
        if (status != RP_OK) return status;
        status = read_answer(reply, answer, &why);
        json_decref(reply);
        if (status != RP_ERR_BUSY) {
            if (status != RP_OK && err) *err = why;
            return status;
        }
        if (remaining_ms(session) == 0) return fail_late(session, err);
        poll(NULL, 0, ASK_AGAIN_MS);
    }
}

/* --- starting and ending --------------------------------------------------------------------- */

static rp_status make_folder(struct session *session, rp_error *err) {
    const char *parent = getenv("TMPDIR");
    char path[300];
    if (!parent || parent[0] != '/' || strlen(parent) > 200) parent = "/tmp";
    snprintf(session->folder, sizeof session->folder, "%s/rpool-browser-XXXXXX", parent);
    if (!mkdtemp(session->folder)) {
        rp_status status = rp_fail_errno(err, "cannot make a folder in '%s'", parent);
        session->folder[0] = '\0';
        return status;
    }
    snprintf(path, sizeof path, "%s/page.html", session->folder);
    FILE *file = fopen(path, "we");
    bool is_written = file && fputs(page, file) >= 0;
    if (file && fclose(file) != 0) is_written = false;
    return is_written ? RP_OK : rp_fail_errno(err, "cannot write '%s'", path);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)info;
    (void)type;
    (void)where;
    (void)remove(path);
    return 0;
}

/* Away from 3 and 4, which are the browser's ends. */
static bool move_up(int *fd) {
    int moved = fcntl(*fd, F_DUPFD_CLOEXEC, 10);
    if (moved < 0) return false;
    close(*fd);
    *fd = moved;
    return true;
}

static rp_status spawn(struct session *session, const char *path, int commands, int answers,
                       rp_error *err) {
    char profile[300];
    char *arguments[OPTION_COUNT + 5];
    size_t count = 0;
    arguments[count++] = (char *)(uintptr_t)path;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        arguments[count++] = (char *)(uintptr_t)options[i];
    }
    snprintf(profile, sizeof profile, "--user-data-dir=%s", session->folder);
    arguments[count++] = profile;
    /* Its sandbox refuses root; the one page it ever sees is our own. */
    char no_sandbox[] = "--no-sandbox";
    if (geteuid() == 0) arguments[count++] = no_sandbox;
    arguments[count] = NULL;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0) return rp_fail_no_memory(err);
    rc = posix_spawnattr_init(&attributes);
    if (rc == 0) rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0) rc = posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    if (rc == 0) rc = posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    if (rc == 0) rc = posix_spawn_file_actions_adddup2(&actions, commands, 3);
    if (rc == 0) rc = posix_spawn_file_actions_adddup2(&actions, answers, 4);
    if (rc == 0) rc = posix_spawnattr_setsigmask(&attributes, &none);
    if (rc == 0) rc = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    if (rc == 0) rc = posix_spawn(&session->pid, path, &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (rc == 0) return RP_OK;
    session->pid = 0;
    return rp_fail(err, RP_ERR_ABSENT, "cannot start '%s': %s", path, strerrordesc_np(rc));
}

static rp_status start(struct session *session, const char *path, rp_error *err) {
    int commands[2] = {-1, -1};
    int answers[2] = {-1, -1};
    rp_status status = make_folder(session, err);
    if (status != RP_OK) return status;
    if (pipe2(commands, O_CLOEXEC) != 0 || pipe2(answers, O_CLOEXEC) != 0 ||
        !move_up(&commands[0]) || !move_up(&answers[1])) {
        status = rp_fail_errno(err, "cannot make the pipes to '%s'", path);
    }
    if (status == RP_OK) status = spawn(session, path, commands[0], answers[1], err);
    if (commands[0] >= 0) close(commands[0]);
    if (answers[1] >= 0) close(answers[1]);
    session->to_browser = commands[1];
    session->from_browser = answers[0];
    if (status == RP_OK) (void)fcntl(session->to_browser, F_SETFL, O_NONBLOCK);
    return status;
}

/* It ends by itself when its pipe closes; one that does not is killed. */
static void end(struct session *session, bool is_well) {
    if (session->to_browser >= 0) close(session->to_browser);
    if (session->from_browser >= 0) close(session->from_browser);
    if (session->pid > 0) {
        int how;
        int waited_ms = 0;
        while (waitpid(session->pid, &how, WNOHANG) == 0) {
            if (waited_ms >= (is_well ? EXIT_MS_MAX : EXIT_MS_MAX / 10)) {
                kill(session->pid, SIGKILL);
            }
            poll(NULL, 0, 5);
            waited_ms += 5;
        }
    }
    rp_text_fini(&session->received);
    if (session->folder[0] != '\0') {
        (void)nftw(session->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
}

rp_status rp_browser_ask(const struct rp_browser *browser, int timeout_ms,
                         struct rp_browser_answer *answer, rp_error *err) {
    struct session session = {.to_browser = -1, .from_browser = -1, .received = RP_TEXT_INIT};
    struct rp_browser_answer told = {0};
    /* A browser that ends while it is written to must not end us: we are a child with one task. */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction before;
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGPIPE, &ignore, &before);
    session.deadline_ns = rp_clock_ns() + (int64_t)timeout_ms * 1000000;
    snprintf(session.name, sizeof session.name, "%s", browser->name);
    rp_status status = start(&session, browser->path, err);
    if (status == RP_OK) status = converse(&session, &told, err);
    end(&session, status == RP_OK);
    sigaction(SIGPIPE, &before, NULL);
    if (status == RP_OK) *answer = told;
    return status;
}

rp_status rp_browser_probe(struct rp_snapshot *snapshot, rp_device_kind kind, const char *prefix,
                           const char *what, rp_error *err) {
    struct rp_browsers *browsers = rp_alloc(sizeof *browsers);
    if (!browsers) return rp_fail_no_memory(err);
    bool is_simulated = false;
    rp_status status = rp_browser_add_simulated(snapshot, kind, prefix, &is_simulated, err);
    if (status == RP_OK) {
        if (snapshot->root[0] == '\0') rp_browsers_find(browsers);
        if (!rp_browsers_can_ask(browsers)) {
            status = rp_browser_fail_absent(snapshot, browsers, what, err);
        }
    }
    rp_free(browsers);
    return status;
}
