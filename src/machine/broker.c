/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's life: it claims its address, serves, and ends when it is told to or when nothing was
 * used for long enough. The pool behind it is an ordinary one; what is here never runs a model.
 *
 * The loop waits for nobody (broker_threads.c has those that do). It ends in one of three ways:
 *
 *     idle, or STOP           nothing is used: at once
 *     SIGTERM, SIGINT         draining: no new leases, and the end when the last one is given back
 *     a second, STOP --force  leases end with their connections
 */
#include "machine/broker.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "machine/broker_inside.h"
#include "pool/hooks.h"

#include <resourcepool/version.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { IDLE_EXIT_MS = 60000, THREADS_END_MS_MAX = 10000, LINE_BYTES = 2048 };

/* ---- telling ---- */

static void write_line(rp_log_level level, const char *line, void *user) {
    (void)user;
    fprintf(stderr, "%s %s\n", rp_log_level_name(level), line);
}

static rp_log_level level_of(const char *name) {
    for (int level = RP_LOG_OFF; level <= RP_LOG_DEBUG; level++) {
        if (strcmp(name, rp_log_level_name((rp_log_level)level)) == 0) return (rp_log_level)level;
    }
    return RP_LOG_INFO;
}

void rp_broker_log(struct rp_broker *broker, const char *level, const char *format, ...) {
    rp_log_level wanted = level_of(level);
    if (wanted > broker->logger.level) return;
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    rp_log(&broker->logger, wanted, "%s", line);
}

static void tell_ready(struct rp_broker *broker) {
    int fd = broker->options.ready_fd;
    if (fd < 0) return;
    char line[32];
    int length = snprintf(line, sizeof line, "ready %d\n", (int)getpid());
    if (write(fd, line, (size_t)length) < 0) {
        rp_broker_log(broker, "warning", "event=ready_fd message=\"cannot be written to\" ignored");
    }
    if (fd > STDERR_FILENO) close(fd);
}

/* ---- idle, draining, over ---- */

bool rp_broker_is_used(const struct rp_broker *broker) {
    return broker->lease_count > 0 || broker->job_count > 0 ||
           (broker->store && broker->store_ops.lease_count(broker->store) > 0);
}

static void set_idle_alarm(struct rp_broker *broker, int64_t after_ms) {
    if (broker->idle_exit_ms < 0) return;
    const struct timeval after = {(time_t)(after_ms / 1000), (suseconds_t)(after_ms % 1000 * 1000)};
    event_add(broker->idle_alarm, &after);
}

void rp_broker_note_end(struct rp_broker *broker) {
    if (rp_broker_is_used(broker)) return;
    broker->idle_since_ns = rp_clock_ns();
    if (broker->is_draining) {
        broker->is_over = true;
        event_base_loopbreak(broker->base);
    } else if (!event_pending(broker->idle_alarm, EV_TIMEOUT, NULL)) {
        set_idle_alarm(broker, broker->idle_exit_ms);
    }
}

static void on_idle(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    (void)what;
    struct rp_broker *broker = user;
    if (rp_broker_is_used(broker)) return; /* its end sets the alarm again */
    int64_t left_ms =
        broker->idle_exit_ms - (int64_t)rp_elapsed_ms(broker->idle_since_ns, rp_clock_ns());
    if (left_ms > 0) {
        set_idle_alarm(broker, left_ms);
        return;
    }
    rp_broker_drain(broker, "idle");
}

void rp_broker_drain(struct rp_broker *broker, const char *why) {
    if (!broker->is_draining) {
        broker->is_draining = true;
        rp_broker_log(broker, "info", "event=drain reason=\"%s\" leases=%zu loads=%zu", why,
                      broker->lease_count, broker->job_count);
    }
    if (broker->is_over || !rp_broker_is_used(broker)) {
        broker->is_over = true;
        event_base_loopbreak(broker->base);
    }
}

static void on_signal(evutil_socket_t number, short what, void *user) {
    (void)what;
    struct rp_broker *broker = user;
    if (broker->is_draining) broker->is_over = true;
    rp_broker_drain(broker, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

/* ---- the loop ---- */

static void on_accept(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    (void)what;
    rp_broker_accept(user);
}

static void on_accept_again(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    (void)what;
    struct rp_broker *broker = user;
    event_add(broker->accepting, NULL);
}

static void on_posted(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    (void)what;
    rp_broker_run_posted(user);
}

bool rp_broker_listen(struct rp_broker *broker) {
    if (broker->accepting) event_free(broker->accepting);
    broker->accepting = event_new(broker->base, broker->claim.listening_fd, EV_READ | EV_PERSIST,
                                  on_accept, broker);
    return broker->accepting && event_add(broker->accepting, NULL) == 0;
}

static bool open_events(struct rp_broker *broker) {
    broker->base = event_base_new();
    if (!broker->base || !rp_broker_listen(broker) || !rp_broker_watch_folder(broker)) return false;
    broker->accept_again = evtimer_new(broker->base, on_accept_again, broker);
    broker->posted_event =
        event_new(broker->base, broker->posted_fd, EV_READ | EV_PERSIST, on_posted, broker);
    broker->idle_alarm = evtimer_new(broker->base, on_idle, broker);
    broker->terminate = evsignal_new(broker->base, SIGTERM, on_signal, broker);
    broker->interrupt = evsignal_new(broker->base, SIGINT, on_signal, broker);
    return broker->accept_again && broker->posted_event && broker->idle_alarm &&
           broker->terminate && broker->interrupt && event_add(broker->posted_event, NULL) == 0 &&
           event_add(broker->terminate, NULL) == 0 && event_add(broker->interrupt, NULL) == 0;
}

static void close_events(struct rp_broker *broker) {
    struct event *const events[] = {broker->accepting,  broker->accept_again, broker->posted_event,
                                    broker->idle_alarm, broker->terminate,    broker->interrupt};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        if (events[i]) event_free(events[i]);
    }
    if (broker->base) event_base_free(broker->base);
}

struct rp_broker_alarm {
    struct event *event;
    void (*ring)(void *user);
    void *user;
};

static void on_store_alarm(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    (void)what;
    struct rp_broker_alarm *alarm = user;
    alarm->ring(alarm->user);
}

struct rp_broker_alarm *rp_broker_alarm_open(struct rp_broker *broker, int64_t milliseconds,
                                             void (*ring)(void *user), void *user) {
    struct rp_broker_alarm *alarm = rp_alloc(sizeof *alarm);
    if (!alarm) return NULL;
    *alarm = (struct rp_broker_alarm){NULL, ring, user};
    const struct timeval after = {(time_t)(milliseconds / 1000),
                                  (suseconds_t)(milliseconds % 1000 * 1000)};
    alarm->event = evtimer_new(broker->base, on_store_alarm, alarm);
    if (alarm->event && event_add(alarm->event, &after) == 0) return alarm;
    rp_broker_alarm_close(alarm);
    return NULL;
}

void rp_broker_alarm_close(struct rp_broker_alarm *alarm) {
    if (!alarm) return;
    if (alarm->event) event_free(alarm->event);
    rp_free(alarm);
}

rp_pool *rp_broker_pool(struct rp_broker *broker) {
    return broker->pool;
}

/* ---- opening and closing ---- */

/* One descriptor a client, and some for each model: as many as this user may have. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static rp_status open_by_host(void *user, const char *path, const rp_model_options *options,
                              const _Atomic int *cancelled, rp_model **model, rp_error *err) {
    const struct rp_broker *broker = user;
    return broker->host.open_model(broker->host.user, path, options, cancelled, model, err);
}

static rp_status open_pool(struct rp_broker *broker, rp_error *err) {
    const struct rp_pool_hooks hooks = {
        .open_model = broker->host.open_model ? open_by_host : NULL,
        .waits_for_room = rp_broker_note_room_wait,
        .user = broker,
    };
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    options.log_sink = broker->logger.sink;
    options.log_level = broker->logger.level;
    options.budget = broker->options.budget;
    options.history = broker->options.history;
    options.monitor = true;
    return rp_pool_open_hooked(&options, &hooks, &broker->pool, err);
}

static rp_status open_broker(struct rp_broker *broker, rp_error *err) {
    struct rp_address address;
    rp_status status = rp_address_find(broker->options.folder, &address, err);
    if (status == RP_OK) status = rp_claim_take(&address, &broker->claim, err);
    if (status != RP_OK) return status;
    broker->frame = rp_alloc(RP_CHANNEL_FRAME_BYTES_MAX);
    if (!broker->frame) return rp_fail(err, RP_ERR_MEMORY, "no memory for the broker");
    if (!rp_broker_threads_open(broker, err)) return RP_ERR_IO;
    if (!open_events(broker)) return rp_fail(err, RP_ERR_MEMORY, "no memory for the broker's loop");
    status = open_pool(broker, err);
    if (status == RP_OK && broker->host.watch) {
        broker->host.watch(broker->host.user, rp_broker_note_death, broker);
    }
    if (status == RP_OK && broker->host.watch_memory) {
        broker->host.watch_memory(broker->host.user, rp_broker_look_at_memory, broker);
    }
    if (status != RP_OK || !broker->store_ops.open) return status;
    return broker->store_ops.open(broker, &broker->store, err);
}

/* What is still leased ends here, with its client's connection. */
static rp_status close_broker(struct rp_broker *broker, rp_error *err) {
    /* Events go before their descriptors, whose numbers a helper thread may get at once. */
    if (broker->accepting) event_del(broker->accepting);
    if (broker->accept_again) event_del(broker->accept_again);
    rp_broker_unwatch_folder(broker);
    if (broker->pool && broker->host.watch) broker->host.watch(broker->host.user, NULL, NULL);
    if (broker->pool && broker->host.watch_memory) {
        broker->host.watch_memory(broker->host.user, NULL, NULL);
    }
    rp_claim_leave(&broker->claim);
    if (broker->frame) rp_broker_call_off_all(broker);
    while (broker->clients) {
        rp_broker_drop(broker->clients, "the broker ends");
    }
    bool is_quiet = !broker->has_threads ||
                    rp_broker_threads_close(broker, rp_deadline_after_ms(THREADS_END_MS_MAX));
    if (!is_quiet) {
        /* A load that cannot be stopped: its thread still uses all this, until the process ends. */
        return rp_fail(err, RP_ERR_BUSY, "a load did not end within %d s of being called off",
                       THREADS_END_MS_MAX / 1000);
    }
    if (broker->store) broker->store_ops.close(broker->store);
    close_events(broker);
    if (broker->has_threads) close(broker->posted_fd);
    rp_table_fini(&broker->leases);
    rp_free(broker->frame);
    return rp_pool_close(broker->pool, err);
}

static void tell_closed(const struct rp_broker_host *host) {
    if (host && host->closed) host->closed(host->user);
}

rp_status rp_broker_run(const struct rp_broker_setup *setup, rp_error *err) {
    rp_broker_options options = RP_BROKER_OPTIONS_INIT;
    if (setup->options) {
        size_t size = setup->options->size;
        memcpy(&options, setup->options, size < sizeof options ? size : sizeof options);
    }
    struct rp_broker *broker = rp_alloc(sizeof *broker);
    if (!broker) {
        tell_closed(setup->host);
        return rp_fail(err, RP_ERR_MEMORY, "no memory for the broker");
    }
    broker->options = options;
    broker->claim = (struct rp_claim){.lock_fd = -1, .listening_fd = -1};
    broker->watching_fd = -1;
    if (setup->host) broker->host = *setup->host;
    if (setup->store) broker->store_ops = *setup->store;
    broker->idle_exit_ms = options.idle_exit_ms == 0 ? IDLE_EXIT_MS : options.idle_exit_ms;
    broker->start_ns = broker->idle_since_ns = rp_clock_ns();
    broker->start_wall_ns = rp_wall_ns();
    const char *level = getenv("RESOURCE_POOL_LOG");
    broker->logger = rp_logger_make(level ? level_of(level) : RP_LOG_INFO, write_line, NULL);
    raise_descriptor_limit();
    signal(SIGPIPE, SIG_IGN); /* who read stderr may have gone */

    rp_status status = open_broker(broker, err);
    if (status == RP_OK) {
        rp_broker_log(broker, "info", "event=serve pid=%d version=%s socket=\"%s\"", (int)getpid(),
                      rp_version_string(), broker->claim.address.socket);
        tell_ready(broker);
        set_idle_alarm(broker, broker->idle_exit_ms);
        while (!broker->is_over && event_base_loop(broker->base, EVLOOP_ONCE) == 0) {
        }
        rp_broker_log(broker, "info", "event=end pid=%d uptime_ms=%.0f", (int)getpid(),
                      rp_elapsed_ms(broker->start_ns, rp_clock_ns()));
    }
    rp_status closed = close_broker(broker, status == RP_OK ? err : NULL);
    if (closed == RP_OK) { /* else a thread of it goes on */
        rp_free(broker);
        tell_closed(setup->host);
    }
    return status == RP_OK ? closed : status;
}
