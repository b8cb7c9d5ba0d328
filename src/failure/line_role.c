/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines are looked at one by one, with what the lines before have led to expect: source below a
 * Python frame, a message after its frames, a cause below "Caused by:". What a line is stands
 * mostly in its first bytes; each look is bounded by the line's length.
 *
 * Blocks are the knots of a forest: each new one is tied to at most one that was there, so that
 * following `effect` ends.
 */
#include "failure/line_role.h"

#include "failure/line_noise.h"
#include "failure/line_text.h"

#include <string.h>

enum { LOOK_BYTES = 400 };

struct view {
    const char *at; /* the first byte that is not blank */
    const char *end;
    size_t indent;
};

/* clang-format off */
static const char *const error_endings[] = {
    "Error", "Exception", "Fault", "Interrupt", "Failure", "Errors", "Exit", "Abort", "Timeout",
};

/* How messages begin that have no name of an exception before a colon. */
static const char *const message_beginnings[] = {
    "Error: ", "error: ", "ERROR: ", "Error [", "Error:", "fatal error: ", "fatal: ", "FATAL ERROR: ",
    "FATAL", "Fatal error", "Fatal Python error", "terminate called ", "libc++abi: ", "Uncaught ",
    "Unhandled ", "Exception in thread ", "panic: ", "[Error: ", "error[", "Exception: ", "Assertion failed",
    "Caught signal ", "Fatal ", "Windows fatal exception",
};

static const char *const kernel_beginnings[] = {
    "Out of memory: Killed process", "Out of memory: Kill process", "Memory cgroup out of memory",
    "oom-kill:", "oom_reaper:", "NVRM: ", "amdgpu 0000:", "amdgpu: [", "i915 0000:", "xe 0000:",
    "nvidia 0000:", "nvidia-modeset: ", "pcieport ", "[drm", "[drm:", "traps: ", "EDAC ", "mce: ",
    "Killed process ", "Tasks state (memory values",
};

static const char *const frame_beginnings[] = {
    "frame #", "goroutine ", "created by ", "stack backtrace:", "Stack backtrace:", "Stack trace:", "Stack dump:",
    "C++ CapturedTraceback:", "Exception raised from ", "[bt] ", "*** Aborted at ", "PC: @ ",
    "Current thread 0x", "Thread 0x", "[Previous line repeated ", "<ipython-input-", "Cell In[", "Input In [",
    "Backtrace:", "Call Stack", "--- End of ", "---Thread ", "Python Frame:", "Traceback (most recent call",
};

/* Chains: what a line says of the block before it and the one that it begins. */
enum tie { EARLIER_IS_CAUSE, LATER_IS_CAUSE, NEXT_IS_CAUSE, LIST_OF_CAUSES };
static const struct { const char *text; enum tie tie; bool is_whole; } ties[] = {
    {"The above exception was the direct cause of the following", EARLIER_IS_CAUSE, false},
    {"During handling of the above exception, another", EARLIER_IS_CAUSE, false},
    {"Caused by:", LIST_OF_CAUSES, true},
    {"caused by:", LIST_OF_CAUSES, true},
    {"Caused by ", LATER_IS_CAUSE, false},
    {"Caused by: ", LATER_IS_CAUSE, false},
    {"caused by: ", LATER_IS_CAUSE, false},
    {"Root cause:", NEXT_IS_CAUSE, true},
    {"Root cause: ", LATER_IS_CAUSE, false},
    {"[cause]: ", LATER_IS_CAUSE, false},
    {"[cause] ", LATER_IS_CAUSE, false},
    {"cause: ", LATER_IS_CAUSE, false},
    {"---> ", LATER_IS_CAUSE, false},
    {"Original error was: ", LATER_IS_CAUSE, false},
    {"Original exception", NEXT_IS_CAUSE, true},
    {"Original exception: ", LATER_IS_CAUSE, false},
    {"Original exception was", NEXT_IS_CAUSE, true},
    {"Original Traceback (most recent", LATER_IS_CAUSE, false},
    {"Original error", NEXT_IS_CAUSE, true},
};
/* clang-format on */

static size_t left(const struct view *view) {
    return (size_t)(view->end - view->at);
}

static bool ends(const char *at, const char *end, const char *text) {
    size_t length = strlen(text);
    return (size_t)(end - at) >= length && memcmp(end - length, text, length) == 0;
}

static const char *find(const char *at, const char *end, const char *text) {
    return end > at ? memmem(at, (size_t)(end - at), text, strlen(text)) : NULL;
}

/* Only in the beginning of the line: no word that decides stands far behind. */
static const char *find_near(const struct view *view, const char *text) {
    size_t look = left(view) < LOOK_BYTES ? left(view) : LOOK_BYTES;
    return memmem(view->at, look, text, strlen(text));
}

static bool begins_with_one(const struct view *view, const char *const *texts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (*view->at == *texts[i] && rp_begins(view->at, view->end, texts[i])) return true;
    }
    return false;
}

#define BEGINS_WITH_ONE(view, texts) begins_with_one(view, texts, sizeof(texts) / sizeof(texts)[0])

static const char *skip_digits(const char *at, const char *end) {
    while (at < end && rp_is_digit(*at)) {
        at++;
    }
    return at;
}

/* ---- frames ------------------------------------------------------------------------------ */

/* 'File "x.py", line 3', also of a notebook: 'File ~/x.py:3, in f(a)'. */
static bool is_python_frame(const struct view *view) {
    if (!rp_begins(view->at, view->end, "File ")) return false;
    if (view->at[5] == '"' || (left(view) > 5 && view->at[5] == '<')) {
        const char *line = find(view->at, view->end, "\", line ");
        return line && line + 8 < view->end && rp_is_digit(line[8]);
    }
    const char *colon = find(view->at, view->end, ".py:");
    return colon && colon + 4 < view->end && rp_is_digit(colon[4]);
}

/* "path/x.py:12: in f", "path/x.py:12 in f", "x.py in f(self)", "path/x.py:12: ValueError". */
static bool is_place_frame(const struct view *view) {
    const char *py = find_near(view, ".py");
    if (!py || memchr(view->at, ' ', (size_t)(py - view->at))) return false;
    const char *at = py + 3;
    if (rp_begins(at, view->end, " in "))
        return find(at, view->end, "(") || ends(at, view->end, ">");
    if (at == view->end || *at != ':') return false;
    const char *number = at + 1;
    at = skip_digits(number, view->end);
    if (at == number) return false;
    if (at < view->end && *at == ':') at++;
    if (at == view->end || rp_begins(at, view->end, " in ")) return true;
    /* The bare name of an exception, nothing said. */
    at = rp_skip_blanks(at, view->end);
    return ends(at, view->end, "Error") && !memchr(at, ' ', (size_t)(view->end - at));
}

/* "at f (x.js:1:2)", "at a.b.C(D.java:1)", "at src/main.rs:12:5", "at t.run ...". */
static bool is_at_frame(const struct view *view) {
    if (!rp_begins(view->at, view->end, "at ")) return false;
    if (view->indent > 0 || rp_begins(view->at, view->end, "at async ")) return true;
    if (ends(view->at, view->end, ")") || ends(view->at, view->end, " ...")) return true;
    const char *colon = find(view->at, view->end, ":");
    while (colon && colon + 1 < view->end) {
        if (rp_is_digit(colon[1])) return true;
        colon = find(colon + 1, view->end, ":");
    }
    return false;
}

static bool is_address(const char *at, const char *end) {
    if (!rp_begins(at, end, "0x")) return false;
    const char *digit = at + 2;
    while (digit < end && (rp_is_digit(*digit) || (*digit >= 'a' && *digit <= 'f') ||
                           (*digit >= 'A' && *digit <= 'F'))) {
        digit++;
    }
    return digit - at >= 8 && (digit == end || *digit == ' ' || *digit == ':');
}

/* "#3 0x00007f...", "#0  f (a=1) at x.c:3", "#0 f() x.dart:3". */
static bool is_hash_frame(const struct view *view) {
    if (*view->at != '#' || view->end - view->at < 4 || !rp_is_digit(view->at[1])) return false;
    const char *at = skip_digits(view->at + 1, view->end);
    if (at == view->end || *at != ' ') return false;
    at = rp_skip_blanks(at, view->end);
    return rp_begins(at, view->end, "0x") || find(at, view->end, "(") != NULL;
}

/* "  12: core::panicking::panic", "   4: 0x55..", "0   libX.dylib   0x0000000104 f + 12". */
static bool is_numbered_frame(const struct view *view, enum rp_line_role last) {
    if (!rp_is_digit(*view->at)) return false;
    if (is_address(view->at, view->end)) return true;
    const char *at = skip_digits(view->at, view->end);
    if (at == view->end || at - view->at > 4) return false;
    if (*at == ':') {
        const char *name = rp_skip_blanks(at + 1, view->end);
        if (name == at + 1 || view->indent == 0) return false;
        if (rp_begins(name, view->end, "0x")) return true;
        /* Names without "::" among other frames: "0: rust_begin_unwind". */
        if (last == RP_LINE_FRAME && !memchr(name, ' ', (size_t)(view->end - name))) return true;
        const char *space = memchr(name, ' ', (size_t)(view->end - name));
        const char *colons = find(name, view->end, "::");
        return colons && (!space || colons < space || *name == '<');
    }
    if (!rp_begins(at, view->end, "  ")) return false;
    const char *address = find(at, view->end, " 0x");
    return address && is_address(address + 1, view->end);
}

/* "/lib/libc.so.6(+0x3c)[0x7f..]", "@     0x7f.. f", "/src/main.go:12 +0x1d". */
static bool is_native_frame(const struct view *view) {
    if (*view->at == '@') {
        const char *at = rp_skip_blanks(view->at + 1, view->end);
        return at > view->at + 1 && rp_begins(at, view->end, "0x");
    }
    if (*view->at != '/' && *view->at != '.' && *view->at != '[') return false;
    if (ends(view->at, view->end, "]") && left(view) > 8) {
        const char *tail = view->end - (left(view) < 24 ? left(view) : 24);
        if (find(tail, view->end, "[0x")) return true;
    }
    return *view->at == '/' && find(view->at, view->end, ".go:") &&
           find(view->at, view->end, " +0x");
}

/* "... 12 more", "...<3 lines>...". */
static bool is_gap(const struct view *view) {
    if (!rp_begins(view->at, view->end, "...")) return false;
    return ends(view->at, view->end, " more") || find_near(view, "common frames") ||
           find_near(view, " lines>");
}

static bool is_trace_head(const struct view *view) {
    const char *head = find_near(view, "Traceback (most recent call");
    return head && (head == view->at || head[-1] != '('); /* not one that is quoted in passing */
}

static bool is_frame(const struct view *view, enum rp_line_role last) {
    return is_python_frame(view) || is_at_frame(view) || is_hash_frame(view) ||
           is_numbered_frame(view, last) || is_native_frame(view) || is_gap(view) ||
           BEGINS_WITH_ONE(view, frame_beginnings) || is_place_frame(view);
}

/* ---- messages ---------------------------------------------------------------------------- */

/* The end of a dotted name at the beginning, also "std::bad_alloc"; NULL: there is none. */
static const char *name_end(const struct view *view) {
    const char *at = view->at;
    if (!rp_is_letter(*at) && *at != '_') return NULL;
    while (at < view->end &&
           (rp_is_letter(*at) || rp_is_digit(*at) || *at == '_' || *at == '.' || *at == '$' ||
            (*at == ':' && at + 1 < view->end && (at[1] == ':' || at[-1] == ':')))) {
        at++;
    }
    return at;
}

/* A name, then a colon or nothing. */
static const char *name_of_message(const struct view *view) {
    const char *name = name_end(view);
    if (!name || name == view->at) return NULL;
    if (name == view->end) return name;
    if (rp_begins(name, view->end, " [")) { /* Node: "TypeError [ERR_X]: text" */
        const char *close = memchr(name, ']', (size_t)(view->end - name));
        if (close && rp_begins(close, view->end, "]:")) return name;
    }
    if (*name != ':') return NULL;
    return name + 1 == view->end || name[1] == ' ' ? name : NULL;
}

static bool is_name_of_error(const char *at, const char *end) {
    for (size_t i = 0; i < sizeof error_endings / sizeof error_endings[0]; i++) {
        if (ends(at, end, error_endings[i])) return true;
    }
    return false;
}

static bool is_named_message(const struct view *view) {
    const char *name = name_of_message(view);
    if (!name) return false;
    /* Of a single word, "Timeout" or "Abort" is what programs print. */
    if (name == view->end) {
        return ends(view->at, name, "Error") || ends(view->at, name, "Exception") ||
               ends(view->at, name, "Interrupt");
    }
    if (is_name_of_error(view->at, name)) return true;
    /* The Python binding names exceptions after its statuses: "InvalidArgument: [ONNX..." */
    return rp_begins(name, view->end, ": [ONNXRuntimeError]");
}

static bool is_panic(const struct view *view) {
    return rp_begins(view->at, view->end, "thread '") && find(view->at, view->end, "' panicked at");
}

/* Whether it begins a message of its own. */
static bool is_message(const struct view *view) {
    return is_named_message(view) || is_panic(view) || BEGINS_WITH_ONE(view, message_beginnings) ||
           rp_begins(view->at, view->end, "Exception from ");
}

static bool is_warning(const struct view *view) {
    const char *at = find_near(view, "arning: ");
    if (at == NULL) {
        return rp_begins(view->at, view->end, "WARNING");
    }
    if (at == view->at || (at[-1] | 0x20) != 'w') return false;
    /* At the beginning, behind a name ("UserWarning:"), or behind a place in a file. */
    const char *word = at - 1;
    while (word > view->at && (rp_is_letter(word[-1]) || word[-1] == '.' || word[-1] == '_')) {
        word--;
    }
    if (word == view->at) return true;
    return word - view->at >= 2 && word[-1] == ' ' && word[-2] == ':' &&
           !memchr(view->at, '"', (size_t)(word - view->at));
}

static bool is_kernel(const struct view *view, const struct rp_line_prefix *prefix) {
    return prefix->is_kernel || BEGINS_WITH_ONE(view, kernel_beginnings) ||
           find_near(view, " invoked oom-killer") || find_near(view, "]: segfault at ");
}

/* ---- blocks ------------------------------------------------------------------------------ */

static void begin_block(struct rp_story *story) {
    story->is_touched = false;
    story->awaits_message = false;
    story->has_message = false;
    story->trace = RP_TRACE_NONE;
    if (story->block_count < RP_ERROR_BLOCKS_MAX) {
        story->block = story->block_count++;
        story->effect[story->block] = RP_STORY_NO_BLOCK;
    } else {
        story->block = RP_ERROR_BLOCKS_MAX - 1;
    }
}

/* A new block unless nothing stands in this one. */
static void begin_block_if_touched(struct rp_story *story) {
    if (story->is_touched) begin_block(story);
}

/* One that caused `effect`. */
static void begin_cause_of(struct rp_story *story, unsigned effect) {
    unsigned before = story->block_count;
    begin_block(story);
    if (story->block_count > before) story->effect[story->block] = (uint16_t)effect;
}

static void begin_effect(struct rp_story *story) {
    unsigned cause = story->block;
    unsigned before = story->block_count;
    begin_block(story);
    if (story->block_count > before) story->effect[cause] = (uint16_t)story->block;
}

/* True: the line is one of a chain; *role is its role. */
static bool read_tie(struct rp_story *story, const struct view *view, enum rp_line_role *role) {
    for (size_t i = 0; i < sizeof ties / sizeof ties[0]; i++) {
        const char *text = ties[i].text;
        if (*text != *view->at || !rp_begins(view->at, view->end, text)) continue;
        if (ties[i].is_whole) {
            const char *after = view->at + strlen(text);
            if (after < view->end && *after == ':') after++;
            if (after < view->end) continue;
        }
        *role = RP_LINE_MESSAGE;
        switch (ties[i].tie) {
        case EARLIER_IS_CAUSE:
            begin_effect(story);
            *role = RP_LINE_PLAIN;
            return true;
        case LATER_IS_CAUSE:
            begin_cause_of(story, story->block);
            story->is_touched = true;
            story->has_message = true;
            if (is_trace_head(view)) {
                story->has_message = false;
                story->trace = RP_TRACE_PYTHON;
                story->awaits_message = true;
                story->trace_indent = view->indent;
                *role = RP_LINE_FRAME;
            }
            return true;
        case NEXT_IS_CAUSE:
            story->is_cause_next = true;
            return true;
        case LIST_OF_CAUSES:
            story->is_cause_list = true;
            story->is_cause_next = true;
            story->cause_indent = view->indent;
            return true;
        }
    }
    return false;
}

/* Below "Caused by:" each number is the cause of the one before; without numbers it is one. */
static bool read_listed_cause(struct rp_story *story, const struct view *view) {
    if (!story->is_cause_list) return false;
    if (!story->is_cause_next && view->indent <= story->cause_indent) {
        story->is_cause_list = false;
        return false;
    }
    const char *after = skip_digits(view->at, view->end);
    bool is_numbered = after > view->at && rp_begins(after, view->end, ": ");
    /* A stack has addresses and paths with "::" behind its numbers. */
    if (is_numbered && !story->is_cause_next && is_numbered_frame(view, RP_LINE_PLAIN)) {
        return false;
    }
    if (story->is_cause_next || is_numbered) begin_cause_of(story, story->block);
    story->is_cause_next = false;
    story->is_touched = true;
    story->has_message = true;
    return true;
}

/* "+-+------ 1 ------", "+------ 2 ------", "+-------": between the members of a group. */
static bool read_group_rule(struct rp_story *story, const struct view *view) {
    if (!rp_begins(view->at, view->end, "+-")) return false;
    const char *at = view->at;
    while (at < view->end && (*at == '+' || *at == '-' || *at == ' ')) {
        at++;
    }
    const char *number = at;
    at = skip_digits(at, view->end);
    if (at == number) {
        if (at == view->end) story->group = RP_STORY_NO_BLOCK;
        return false;
    }
    if (!rp_begins(at, view->end, " -")) return false;
    if (rp_begins(view->at, view->end, "+-+")) story->group = (uint16_t)story->block;
    if (story->group == RP_STORY_NO_BLOCK) return false;
    begin_cause_of(story, story->group);
    return true;
}

static enum rp_line_role take_message(struct rp_story *story) {
    if (!story->awaits_message) begin_block_if_touched(story);
    story->is_touched = true;
    story->awaits_message = false;
    story->has_message = true;
    story->trace = RP_TRACE_NONE;
    return RP_LINE_MESSAGE;
}

static bool has_letter(const char *at, const char *end) {
    while (at < end && !rp_is_letter(*at)) {
        at++;
    }
    return at < end;
}

/* "Traceback ...", "ValueError       Traceback ..." of a notebook, or in the rule of a box. What a
 * program says before it on the line is no frame. */
static enum rp_line_role take_head(struct rp_story *story, const struct view *view) {
    const char *head = find_near(view, "Traceback (");
    bool is_box = rp_begins(view->at, view->end, "\xe2\x95\xad");
    bool is_notebook =
        rp_is_letter(*view->at) && head - view->at > 2 && head[-1] == ' ' && head[-2] == ' ';
    begin_block_if_touched(story);
    story->is_touched = true;
    story->awaits_message = true;
    story->trace = is_box ? RP_TRACE_BOX : is_notebook ? RP_TRACE_NOTEBOOK : RP_TRACE_PYTHON;
    story->trace_indent = head == view->at ? view->indent : 0;
    bool is_frame = is_box || is_notebook || rp_begins(view->at, view->end, "Exception Group") ||
                    !has_letter(view->at, head);
    return is_frame ? RP_LINE_FRAME : RP_LINE_PLAIN;
}

/* 'File "x.py", line 3 in f' of a dump: no message comes behind those. */
static bool is_frame_of_dump(const struct view *view) {
    const char *line = find(view->at, view->end, "\", line ");
    return line && rp_begins(skip_digits(line + 8, view->end), view->end, " in ");
}

static enum rp_line_role take_python_frame(struct rp_story *story, const struct view *view) {
    if (is_frame_of_dump(view)) {
        story->is_touched = true;
        return RP_LINE_FRAME;
    }
    if (story->has_message) begin_block(story);
    story->is_touched = true;
    if (story->trace == RP_TRACE_NONE) {
        story->trace = RP_TRACE_PYTHON;
        story->trace_indent = view->indent > 0 ? view->indent - 1 : 0;
    }
    story->awaits_message = true;
    story->awaits_source = true;
    story->frame_indent = view->indent;
    return RP_LINE_FRAME;
}

/* Of what stands around the frames of a notebook or in a box: numbers, then code. */
static bool is_numbered_source(const struct rp_story *story, const struct view *view) {
    if (story->trace != RP_TRACE_NOTEBOOK && story->trace != RP_TRACE_BOX) return false;
    const char *after = skip_digits(view->at, view->end);
    return after > view->at && (after == view->end || *after == ' ');
}

/* Below a frame of which the indentation is lost: one line of code, unless it says otherwise. */
static bool is_flush_source(const struct rp_story *story, const struct view *view) {
    return story->frame_indent == 0 && story->last == RP_LINE_FRAME && view->indent == 0 &&
           !name_of_message(view) && !is_message(view);
}

static bool is_source(const struct rp_story *story, const struct view *view) {
    if (is_numbered_source(story, view)) return true;
    if (story->was_warning && view->indent > 0) return true;
    if (!story->awaits_source) return false;
    return view->indent > story->frame_indent || is_flush_source(story, view);
}

/* The line that ends a trace has any name: "torch.cuda.X: text". */
static bool ends_trace(const struct rp_story *story, const struct view *view) {
    if (!story->awaits_message || story->trace == RP_TRACE_BOX) return false;
    return view->indent <= story->trace_indent && name_of_message(view) != NULL;
}

static bool goes_on(const struct rp_story *story, const struct view *view) {
    return story->last == RP_LINE_MESSAGE && (story->ended_in_colon || view->indent > 0);
}

/* "... because of the following error (look up to see its traceback):" */
static bool announces_cause(const struct view *view) {
    if (!ends(view->at, view->end, ":")) return false;
    return find(view->at, view->end, "because of the following error") ||
           ends(view->at, view->end, "following error:") ||
           ends(view->at, view->end, "following exception:");
}

static enum rp_line_role read_frame(struct rp_story *story, const struct view *view) {
    if (is_python_frame(view)) return take_python_frame(story, view);
    story->is_touched = true;
    if (rp_begins(view->at, view->end, "--- End of inner")) {
        unsigned effect = story->effect[story->block];
        if (effect != RP_STORY_NO_BLOCK) story->block = effect;
    }
    return RP_LINE_FRAME;
}

static enum rp_line_role read_message(struct rp_story *story, const struct view *view) {
    bool is_nested = find_near(view, "Exception from ") && ends(view->at, view->end, ":");
    if (rp_begins(view->at, view->end, "Exception from ") && story->is_nested) {
        begin_cause_of(story, story->block);
        story->is_touched = true;
        story->has_message = true;
    } else {
        take_message(story);
    }
    story->is_nested = is_nested;
    return RP_LINE_MESSAGE;
}

/* A line that is no noise. */
static enum rp_line_role read_text(struct rp_story *story, const struct view *view,
                                   const struct rp_line_prefix *prefix) {
    enum rp_line_role role;
    if (prefix->is_source || is_source(story, view)) {
        if (!is_python_frame(view)) return RP_LINE_SOURCE;
    }
    story->awaits_source = false;
    story->was_warning = false;
    if (read_listed_cause(story, view)) return RP_LINE_MESSAGE;
    if (story->is_cause_next && !read_tie(story, view, &role)) {
        begin_cause_of(story, story->block);
        if (!is_trace_head(view) && !is_python_frame(view)) {
            story->is_touched = true;
            story->has_message = true;
            story->is_cause_next = false;
            return RP_LINE_MESSAGE;
        }
    }
    story->is_cause_next = false;
    if (read_tie(story, view, &role)) return role;
    if (is_trace_head(view)) return take_head(story, view);
    if (ends_trace(story, view)) return read_message(story, view);
    if (is_frame(view, story->last)) return read_frame(story, view);
    if (is_kernel(view, prefix)) {
        story->is_touched = true;
        return RP_LINE_KERNEL;
    }
    if (is_warning(view)) {
        story->is_touched = true;
        story->was_warning = !rp_begins(view->at, view->end, "W");
        return RP_LINE_WARNING;
    }
    if (is_message(view)) return read_message(story, view);
    story->is_touched = true;
    if (rp_begins(view->at, view->end, "what():  ") || goes_on(story, view)) return RP_LINE_MESSAGE;
    if (prefix->level == RP_LOG_WARNING) return RP_LINE_WARNING;
    return prefix->level == RP_LOG_ERROR ? RP_LINE_MESSAGE : RP_LINE_PLAIN;
}

void rp_story_init(struct rp_story *story) {
    *story = (struct rp_story){.group = RP_STORY_NO_BLOCK};
    begin_block(story);
}

bool rp_story_awaits_source(const struct rp_story *story, size_t indent) {
    return (story->awaits_source && indent > story->frame_indent) ||
           (story->was_warning && indent > 0);
}

enum rp_line_role rp_story_read(struct rp_story *story, const char *line, size_t length,
                                const struct rp_line_prefix *prefix, bool is_overwritten) {
    struct view view = {line, line + length, 0};
    view.at = rp_skip_blanks(line, view.end);
    view.indent = (size_t)(view.at - line);
    if (view.at < view.end && *view.at == '+' && read_group_rule(story, &view)) {
        return RP_LINE_NOISE;
    }
    bool is_empty = view.at == view.end;
    if (is_empty) story->awaits_source = story->was_warning = false;
    if (is_empty || prefix->is_all) return RP_LINE_NOISE;
    /* The marks below a line of source are no rules. */
    bool is_mark =
        rp_story_awaits_source(story, view.indent) && rp_line_is_rule(view.at, left(&view));
    if (is_mark) return RP_LINE_SOURCE;
    if (!is_trace_head(&view) && rp_line_is_noise(view.at, left(&view))) {
        if (rp_begins(view.at, view.end, "\xe2\x95\xb0") && story->trace == RP_TRACE_BOX) {
            story->trace = RP_TRACE_PYTHON; /* the box ends, its message follows */
            story->trace_indent = 0;
        }
        return RP_LINE_NOISE;
    }
    if (is_overwritten) {
        bool tells = is_message(&view) || is_frame(&view, story->last);
        if (!tells && !is_trace_head(&view)) return RP_LINE_NOISE;
    }
    bool announces = announces_cause(&view);
    enum rp_line_role role = read_text(story, &view, prefix);
    if (announces && role != RP_LINE_SOURCE && role != RP_LINE_FRAME && *view.at != 'T' &&
        *view.at != 'D') {
        story->is_cause_next = true;
    }
    if (role != RP_LINE_MESSAGE) story->is_nested = false;
    story->last = role;
    story->ended_in_colon = view.end[-1] == ':';
    return role;
}

unsigned rp_story_depth(const struct rp_story *story, unsigned block) {
    unsigned depth = 0;
    if (block >= story->block_count) return 0;
    while (story->effect[block] != RP_STORY_NO_BLOCK) {
        block = story->effect[block];
        depth++;
    }
    return depth;
}
