/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpool top: a live view of the broker. Never starts one: without a broker it says so, and waits
 * for one.
 *
 * On a terminal it is a screen of ncurses, elsewhere a table at each refresh, with --json an
 * object. What is shown is made in top_view.c.
 */
#include "command.h"
#include "isolated.h"
#include "look.h"
#include "top_view.h"

#include <curses.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ONCE, INTERVAL, SORT, FOLDER };

/* A broker that does not answer for so long is said not to. */
enum { ANSWER_MS = 3000, INTERVAL_S_MAX = 3600, MILLION = 1000000 };

/* What the broker said last. */
struct watch {
    const char *folder; /* NULL: the user's */
    rp_machine *machine;
    json_t *document; /* NULL: none, and `err` says why */
    rp_error err;
};

static volatile sig_atomic_t is_over;

static void on_end(int number) {
    (void)number;
    is_over = 1;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / MILLION;
}

/* --- asking ---------------------------------------------------------------------------------- */

static void watch_look(struct watch *watch) {
    rp_machine_options options = RP_MACHINE_OPTIONS_INIT;
    char *text = NULL;
    rp_status status = RP_OK;
    options.folder = watch->folder;
    options.no_start = true;
    options.timeout_ms = ANSWER_MS;
    watch->err = (rp_error)RP_ERROR_INIT;
    json_decref(watch->document);
    watch->document = NULL;
    if (!watch->machine) status = rp_machine_open(&options, &watch->machine, &watch->err);
    if (status == RP_OK) status = rp_machine_status(watch->machine, false, &text, &watch->err);
    if (status == RP_OK) watch->document = json_loads(text, 0, NULL);
    rp_string_free(text);
    if (status == RP_OK && !watch->document) {
        rp_fail(&watch->err, RP_ERR_DATA, "the broker's answer is no JSON");
    }
    if (!watch->document) {
        rp_machine_close(watch->machine); /* the next look finds another broker, if there is one */
        watch->machine = NULL;
    }
}

static void watch_close(struct watch *watch) {
    json_decref(watch->document);
    rp_machine_close(watch->machine);
}

static void make_view(struct view *view, const struct watch *watch, const struct view_wish *wish) {
    if (watch->document) {
        view_make(view, watch->document, wish);
    } else {
        view_make_empty(view, watch->err.message,
                        watch->err.status == RP_ERR_ABSENT ? "waiting for one" : watch->err.hint);
    }
}

/* --- without a terminal ---------------------------------------------------------------------- */

static int print_once(const struct watch *watch, bool is_json, const struct view_wish *wish,
                      struct view *view) {
    if (is_json) {
        return print_json_line(watch->document ? json_incref(watch->document)
                                               : json_pack("{s:n}", "broker"));
    }
    make_view(view, watch, wish);
    for (size_t i = 0; i < view->count; i++) {
        printf("%s\n", view->lines[i].text);
    }
    return 0;
}

static void wait_until_ms(int64_t end_ms) {
    for (int64_t left = end_ms - now_ms(); left > 0 && !is_over; left = end_ms - now_ms()) {
        poll(NULL, 0, (int)left);
    }
}

/* A table, or a line of JSON, at each refresh. That there is still no broker is said once. */
static int run_plain(struct watch *watch, bool is_json, long interval_s, struct view_wish *wish) {
    struct view view = {0};
    bool was_absent = false;
    int code = 0;
    while (!is_over && code == 0) {
        int64_t next_ms = now_ms() + interval_s * 1000;
        watch_look(watch);
        bool is_absent = !watch->document && watch->err.status == RP_ERR_ABSENT;
        if (is_json || !is_absent || !was_absent) {
            code = print_once(watch, is_json, wish, &view);
            if (!is_json) putchar('\n');
        }
        if (fflush(stdout) != 0) code = 1;
        was_absent = is_absent;
        wait_until_ms(next_ms);
    }
    view_fini(&view);
    return code;
}

static int run_once(struct watch *watch, bool is_json, struct view_wish *wish) {
    struct view view = {0};
    watch_look(watch);
    if (!watch->document) {
        int code = report(&watch->err);
        return watch->err.status == RP_ERR_ABSENT ? EXIT_NO_BROKER : code;
    }
    int code =
        is_json ? print_json(json_incref(watch->document)) : print_once(watch, false, wish, &view);
    view_fini(&view);
    return code;
}

/* --- on a terminal --------------------------------------------------------------------------- */

struct screen {
    struct view view;
    struct view_wish wish;
    bool has_colors;
    bool is_paused;
};

static void start_colors(struct screen *screen) {
    const char *no_color = getenv("NO_COLOR");
    screen->has_colors = has_colors() && !(no_color && no_color[0]) && start_color() == OK;
    if (!screen->has_colors) return;
    use_default_colors();
    init_pair(VIEW_GOOD, COLOR_GREEN, -1);
    init_pair(VIEW_WARN, COLOR_YELLOW, -1);
    init_pair(VIEW_BAD, COLOR_RED, -1);
    init_pair(VIEW_TITLE, COLOR_CYAN, -1);
}

/* Without colours the same is told by weight. */
static attr_t attributes_of(const struct screen *screen, enum view_style style) {
    static const attr_t weights[] = {
        [VIEW_PLAIN] = A_NORMAL, [VIEW_TITLE] = A_BOLD, [VIEW_HEAD] = A_REVERSE,
        [VIEW_GOOD] = A_NORMAL,  [VIEW_WARN] = A_BOLD,  [VIEW_BAD] = A_BOLD,
        [VIEW_DIM] = A_DIM};
    attr_t attributes = weights[style];
    bool is_coloured =
        style == VIEW_GOOD || style == VIEW_WARN || style == VIEW_BAD || style == VIEW_TITLE;
    if (screen->has_colors && is_coloured) attributes |= (attr_t)COLOR_PAIR(style);
    return attributes;
}

static void put_line(const struct screen *screen, int row, enum view_style style,
                     const char *text) {
    attr_t attributes = attributes_of(screen, style);
    attron((int)attributes);
    mvaddnstr(row, 0, text, -1);
    if (style == VIEW_HEAD) {
        for (int column = getcurx(stdscr); column > 0 && column < COLS && getcury(stdscr) == row;
             column++) {
            addch(' ');
        }
    }
    attroff((int)attributes);
}

static void draw(struct screen *screen, const struct watch *watch) {
    char keys[160];
    screen->wish.columns = COLS > 0 ? (size_t)COLS : 80;
    screen->wish.rows = LINES > 2 ? (size_t)LINES - 1 : 1;
    make_view(&screen->view, watch, &screen->wish);
    erase();
    for (size_t i = 0; i < screen->view.count && (int)i < LINES - 1; i++) {
        put_line(screen, (int)i, screen->view.lines[i].style, screen->view.lines[i].text);
    }
    snprintf(keys, sizeof keys, "q quit  s sort by %s%s  r reverse  p %s  space now",
             view_sort_names[screen->wish.sort], screen->wish.is_reversed ? " reversed" : "",
             screen->is_paused ? "go on" : "pause");
    put_line(screen, LINES - 1, VIEW_DIM, keys);
    refresh();
}

/* What a key asks for; true: look anew at once. */
static bool take_key(struct screen *screen, int key) {
    switch (key) {
    case 'q':
    case 'Q':
        is_over = 1;
        return false;
    case 's':
        screen->wish.sort = (screen->wish.sort + 1) % SORT_COUNT;
        return false;
    case 'r':
        screen->wish.is_reversed = !screen->wish.is_reversed;
        return false;
    case 'p':
        screen->is_paused = !screen->is_paused;
        return !screen->is_paused;
    case ' ':
        return true;
    default:
        return false; /* KEY_RESIZE among them: it is drawn anew after any key */
    }
}

static void run_screen(struct watch *watch, long interval_s, const struct view_wish *wish) {
    struct screen screen = {.wish = *wish};
    start_colors(&screen);
    cbreak();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    curs_set(0);
    int64_t next_ms = 0;
    while (!is_over) {
        if (now_ms() >= next_ms) {
            if (!screen.is_paused) watch_look(watch);
            next_ms = now_ms() + interval_s * 1000;
        }
        draw(&screen, watch);
        int64_t left_ms = next_ms - now_ms();
        timeout(left_ms > 0 ? (int)left_ms : 0);
        int key = getch();
        if (key != ERR && take_key(&screen, key)) next_ms = 0;
    }
    view_fini(&screen.view);
}

static bool is_capable(void) {
    const char *kind = getenv("TERM");
    return kind && kind[0] && strcmp(kind, "dumb") != 0 && isatty(STDOUT_FILENO) == 1 &&
           isatty(STDIN_FILENO) == 1;
}

/* False: this terminal is not known, and nothing was done. */
static bool run_terminal(struct watch *watch, long interval_s, const struct view_wish *wish) {
    setlocale(LC_CTYPE, "");
    if (!is_capable()) return false;
    /* A newterm() that fails leaves handlers that end nothing. */
    struct sigaction interrupt;
    struct sigaction terminate;
    sigaction(SIGINT, NULL, &interrupt);
    sigaction(SIGTERM, NULL, &terminate);
    SCREEN *terminal = newterm(NULL, stdout, stdin);
    if (!terminal) {
        sigaction(SIGINT, &interrupt, NULL);
        sigaction(SIGTERM, &terminate, NULL);
        return false;
    }
    /* After newterm(), which has handlers of its own that exit at once. */
    signal(SIGINT, on_end);
    signal(SIGTERM, on_end);
    signal(SIGHUP, on_end);
    signal(SIGQUIT, on_end);
    run_screen(watch, interval_s, wish);
    endwin();
    delscreen(terminal);
    return true;
}

/* --- the command ----------------------------------------------------------------------------- */

static bool take_sort(const char *text, enum view_sort *sort) {
    for (size_t i = 0; text && i < SORT_COUNT; i++) {
        if (strcmp(text, view_sort_names[i]) == 0) *sort = (enum view_sort)i;
        if (strcmp(text, view_sort_names[i]) == 0) return true;
    }
    if (text) usage_error("top", "'--sort %s': bytes, leases, hits, idle, age or key", text);
    return !text;
}

int top_run(const struct arguments *arguments) {
    struct watch watch = {.folder = arguments->options[FOLDER]};
    struct view_wish wish = {.columns = VIEW_COLUMNS_PLAIN};
    long interval_s = 1;
    int code = 0;
    if (!parse_number("top", "interval", arguments->options[INTERVAL], 1, INTERVAL_S_MAX,
                      &interval_s) ||
        !take_sort(arguments->options[SORT], &wish.sort)) {
        return EXIT_USAGE;
    }
    if (arguments->options[ONCE]) {
        code = run_once(&watch, arguments->json, &wish);
    } else if (arguments->json || !run_terminal(&watch, interval_s, &wish)) {
        code = run_plain(&watch, arguments->json, interval_s, &wish);
    }
    watch_close(&watch);
    return code;
}
