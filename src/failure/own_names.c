/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who and where this process is, and whose folder a path lies in. What a shared machine, a
 * container or a distribution calls everybody (root, ubuntu, runner) tells nothing and stays, as do
 * words that error texts use: a user named "max" must not cost a text its "max 2048".
 */
#include "failure/redact.h"

#include <ctype.h>
#include <pthread.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { WORD_BYTES_MIN = 3, NAME_BYTES_MAX = 255 };

static const char *const common_words[] = {
    "account",   "admin",       "administrator", "app",         "azureuser",    "bin",
    "builder",   "build",       "case",          "centos",      "circleci",     "code",
    "coder",     "computer",    "conda",         "container",   "core",         "cpu",
    "cuda",      "daemon",      "data",          "debian",      "default",      "demo",
    "desktop",   "dev",         "developer",     "device",      "docker",       "domain",
    "ec2-user",  "error",       "fail",          "failed",      "fedora",       "file",
    "git",       "github",      "gitlab",        "gpu",         "guest",        "home",
    "host",      "hub",         "java",          "jenkins",     "jovyan",       "jupyter",
    "kernel",    "laptop",      "line",          "linux",       "local",        "localhost",
    "long",      "machine",     "main",          "mark",        "max",          "may",
    "memory",    "min",         "model",         "models",      "module",       "name",
    "net",       "network",     "node",          "nobody",      "none",         "null",
    "nvidia",    "only",        "onnx",          "onnxruntime", "openvino",     "operator",
    "page",      "paperspace",  "path",          "person",      "pip",          "pool",
    "process",   "project",     "public",        "python",      "python3",      "pytorch",
    "ray",       "remote",      "rocm",          "root",        "runner",       "runtime",
    "self",      "server",      "service",       "share",       "shared",       "src",
    "student",   "sudo",        "support",       "system",      "tensor",       "tensorflow",
    "test",      "tester",      "tmp",           "torch",       "transformers", "triton",
    "true",      "false",       "type",          "ubuntu",      "unknown",      "user",
    "username",  "usr",         "vagrant",       "value",       "version",      "virtual",
    "vscode",    "web",         "will",          "windows",     "work",         "worker",
    "workspace", "workstation", "www-data",      "your",        "zero",         "token",
    "secret",    "email",       "private",       "key",
};

/* Folders of homes that belong to nobody. */
static const char *const shared_homes[] = {"All Users", "Default", "linuxbrew", "Public", "Shared"};

static bool is_common(const char *word) {
    for (size_t i = 0; i < sizeof common_words / sizeof common_words[0]; i++) {
        const char *common = common_words[i];
        size_t length = strlen(common);
        /* "gpu0" and "node17" are names of devices and places for everybody too. */
        if (strncasecmp(word, common, length) == 0 &&
            word[length + strspn(word + length, "0123456789")] == '\0') {
            return true;
        }
    }
    return word[strspn(word, "0123456789.")] == '\0';
}

void rp_own_names_add(struct rp_own_names *names, const char *word, const char *stand) {
    size_t length = word ? strlen(word) : 0;
    if (length < WORD_BYTES_MIN || length >= RP_OWN_NAME_BYTES || is_common(word)) return;
    for (size_t i = 0; i < RP_OWN_NAMES; i++) {
        if (names->words[i].length == length && memcmp(names->words[i].text, word, length) == 0) {
            return;
        }
        if (names->words[i].length != 0) continue;
        memcpy(names->words[i].text, word, length + 1);
        names->words[i].length = length;
        names->words[i].stand = stand;
        return;
    }
}

static struct rp_own_names own;

/* A home such as "/srv/people/ada"; "/" and "/root" are the machine's. */
static void take_home(const char *home) {
    size_t length = home ? strlen(home) : 0;
    while (length > 0 && home[length - 1] == '/') {
        length--;
    }
    const char *last = length ? memrchr(home, '/', length) : NULL;
    if (!last || home[0] != '/' || last == home || length >= sizeof own.home) return;
    memcpy(own.home, home, length);
}

static void find_own_names(void) {
    char room[16 << 10];
    char host[RP_OWN_NAME_BYTES] = "";
    struct passwd row;
    struct passwd *found = NULL;
    if (getpwuid_r(getuid(), &row, room, sizeof room, &found) == 0 && found) {
        rp_own_names_add(&own, found->pw_name, "<user>");
    } else {
        rp_own_names_add(&own, secure_getenv("USER"), "<user>");
    }
    const char *home = secure_getenv("HOME");
    take_home(home && home[0] ? home : found ? found->pw_dir : NULL);
    if (gethostname(host, sizeof host - 1) != 0) return;
    rp_own_names_add(&own, host, "<host>");
    host[strcspn(host, ".")] = '\0';
    rp_own_names_add(&own, host, "<host>");
}

const struct rp_own_names *rp_own_names_of_process(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_own_names);
    return &own;
}

static bool is_name_byte(char byte) {
    unsigned char c = (unsigned char)byte;
    return isalnum(c) || c >= 0x80 || c == '.' || c == '_' || c == '-' || c == '+';
}

static bool is_shared(const char *name, size_t length) {
    for (size_t i = 0; i < sizeof shared_homes / sizeof shared_homes[0]; i++) {
        if (strlen(shared_homes[i]) == length && memcmp(shared_homes[i], name, length) == 0) {
            return true;
        }
    }
    return false;
}

/* Where a name that is too long ends: between letters, of which those beyond ASCII have several
 * bytes. */
static size_t whole_letters(const char *text, size_t length, size_t at) {
    while (at > 0 && at < length && ((unsigned char)text[at] & 0xC0) == 0x80) {
        at--;
    }
    return at;
}

/* Length of the name at the beginning; a full stop at its end is the sentence's. */
static size_t name_length(const char *text, size_t length) {
    size_t at = 0;
    while (at < length && at < NAME_BYTES_MAX && is_name_byte(text[at])) {
        at++;
    }
    at = whole_letters(text, length, at);
    while (at > 0 && text[at - 1] == '.') {
        at--;
    }
    return is_shared(text, at) ? 0 : at;
}

/* A name of Windows may have spaces where a further folder shows where it ends. */
static size_t windows_name_length(const char *text, size_t length) {
    size_t at = 0;
    while (at < length && at < NAME_BYTES_MAX && (is_name_byte(text[at]) || text[at] == ' ')) {
        at++;
    }
    bool is_spaced = at < length && (text[at] == '\\' || text[at] == '/');
    if (is_spaced && is_shared(text, at)) return 0;
    return is_spaced && at > 0 && text[0] != ' ' ? at : name_length(text, length);
}

static bool begins(const char *text, size_t length, const char *with, size_t with_bytes) {
    return length >= with_bytes && memcmp(text, with, with_bytes) == 0;
}

/* "\", "\\" as programs quote it, or "/" */
static size_t separator_length(const char *text, size_t length) {
    if (length == 0 || (text[0] != '\\' && text[0] != '/')) return 0;
    return text[0] == '\\' && length > 1 && text[1] == '\\' ? 2 : 1;
}

/* "C:\Users\ada" */
static size_t windows_home_at(const char *text, size_t length) {
    if (length < 3 || !isalpha((unsigned char)text[0]) || text[1] != ':') return 0;
    size_t at = 2;
    size_t step = separator_length(text + at, length - at);
    if (step == 0) return 0;
    at += step;
    if (length - at < 5 || strncasecmp(text + at, "users", 5) != 0) return 0;
    at += 5;
    step = separator_length(text + at, length - at);
    if (step == 0) return 0;
    at += step;
    size_t name = windows_name_length(text + at, length - at);
    return name ? at + name : 0;
}

size_t rp_home_at(const char *text, size_t length, const struct rp_own_names *names) {
    static const char *const parents[] = {
        "/home/",      "/Users/",    "/var/home/", "/usr/home/", "/export/home/", "/c/Users/",
        "/data/home/", "/mnt/home/", "/nfs/home/", "/net/home/", "/mnt/c/Users/", "/mnt/d/Users/",
    };
    if (length == 0) return 0;
    if (text[0] != '/') return windows_home_at(text, length);
    size_t home = strlen(names->home);
    if (home > 0 && begins(text, length, names->home, home) &&
        (length == home || !is_name_byte(text[home]))) {
        return home;
    }
    for (size_t i = 0; i < sizeof parents / sizeof parents[0]; i++) {
        size_t parent = strlen(parents[i]);
        if (!begins(text, length, parents[i], parent)) continue;
        size_t name = name_length(text + parent, length - parent);
        return name ? parent + name : 0;
    }
    return 0;
}
