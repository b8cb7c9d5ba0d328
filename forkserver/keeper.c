/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper's loop: one thread that waits for launchers, servers and signals.
 *
 * Requests go to the server one at a time, so that of a server that dies it is known which request
 * it was about. Children of a server that died become the keeper's own (it is their subreaper), and
 * it tells their launchers what the server would have told.
 */
#include "keeper.h"

#include "job.h"
#include "keeper_broker.h"
#include "keeper_server.h"
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TICK_MS = 200,
    ASK_MS = 5000,
    IDLE_S = 300,
    FORK_MS = 10000,
    FROZEN_MS = 2000,
    STARTS_MAX = 3,
    START_AGAIN_MS = 20000,
    OTHER_MS = 10000
};

static struct keeper {
    const char *interpreter;
    char socket_path[PATH_MAX];
    char lock_path[PATH_MAX];
    int lock; /* held as long as it listens, so that who comes later has a keeper of its own */
    ino_t socket_inode;
    int listener; /* -1: no more requests are taken */
    int signals;
    struct fs_preloads preloads;
    struct fs_server *servers; /* the first may be the current one; the rest are retired */
    struct fs_job *jobs;
    size_t job_count;
    unsigned start_failures; /* in a row */
    int64_t start_again_ms;  /* what is to blame may have been mended by then */
    char start_why[FS_TEXT_BYTES];
    uint64_t forked_count;
    int64_t used_ms; /* when somebody last wanted something */
    bool is_full;    /* of descriptors: nobody is accepted until the next tick */
    bool is_ending;
    pid_t session; /* whose terminal the children have; 0: it has none, or is over */
    struct fs_report report;
} keeper = {.lock = -1, .listener = -1, .signals = -1};

static struct fs_server *current(void) {
    struct fs_server *first = keeper.servers;
    return first && first->state < FS_SERVER_RETIRED ? first : NULL;
}

/* --- jobs ------------------------------------------------------------------------------------ */

static void drop_job(struct fs_job *job) {
    struct fs_job **at = &keeper.jobs;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    keeper.job_count--;
    fs_report_touch(&keeper.report);
    if (job->server && job->is_counted) job->server->child_count--;
    fs_job_free(job);
    keeper.used_ms = fs_now_ms();
}

/* Its launcher was told the end; what is left is to see it go. */
static void end_job(struct fs_job *job) {
    if (job->is_left) {
        drop_job(job);
        return;
    }
    if (job->server && job->is_counted) job->server->child_count--;
    job->server = NULL;
    job->state = FS_JOB_ENDED;
    job->pid = 0;
    job->since_ms = fs_now_ms();
}

static void refuse_job(struct fs_job *job, const char *why) {
    fs_job_tell(job, FS_REFUSED, 0, why);
    fs_report_refusal(&keeper.report, why);
    drop_job(job);
}

static struct fs_job *find_job(enum fs_job_state state, uint32_t number, pid_t pid) {
    for (struct fs_job *job = keeper.jobs; job; job = job->next) {
        if (job->state == state && (number == 0 || job->number == number) &&
            (pid == 0 || job->pid == pid)) {
            return job;
        }
    }
    return NULL;
}

/* --- servers --------------------------------------------------------------------------------- */

static void take_answer(struct fs_server *server, const struct fs_frame *frame, int fd);

/* What it said before it died: which child is whose, and which have ended. */
static void hear_last_words(struct fs_server *server) {
    struct pollfd polled = {.fd = server->control, .events = POLLIN};
    struct fs_frame frame = {0};
    int fd;
    while (poll(&polled, 1, 0) > 0 && (polled.revents & POLLIN) &&
           fs_server_take(server, &keeper.preloads, &frame, &fd)) {
        if (frame.type != 0) take_answer(server, &frame, fd);
    }
}

static void retire(struct fs_server *server) {
    struct fs_frame frame = fs_frame_of(FS_RETIRE, 0, 0, NULL);
    server->state = FS_SERVER_RETIRED;
    if (!fs_send(server->control, &frame, NULL, 0)) kill(server->pid, SIGKILL);
}

/* What it was about to fork came to nothing, or is a child that nobody has told us of. */
static void settle_forking(struct fs_server *server) {
    for (struct fs_job *job = keeper.jobs, *next; job; job = next) {
        next = job->next;
        if (job->server != server || job->state != FS_JOB_FORKING) continue;
        pid_t orphan = fs_job_find_orphan(job, keeper.jobs, keeper.servers);
        if (orphan > 0) {
            fs_job_set_child(job, orphan, -1);
        } else {
            refuse_job(job, "the server was killed");
        }
    }
    for (struct fs_job *job = keeper.jobs; job; job = job->next) {
        if (job->server != server) continue;
        job->server = NULL;
        /* The server was about to do that. */
        if (job->is_left) fs_job_kill(job);
    }
}

static void forget_server(struct fs_server *server) {
    struct fs_server **at = &keeper.servers;
    while (*at != server)
        at = &(*at)->next;
    *at = server->next;
    settle_forking(server);
    fs_server_free(server);
    fs_report_touch(&keeper.report);
}

/* A start that came to nothing, with no module to blame: it is not tried for ever. */
static void count_failure(const struct fs_server *server, const char *why) {
    if (server->state != FS_SERVER_STARTING && server->state != FS_SERVER_FREEZING) return;
    keeper.start_again_ms = fs_now_ms() + START_AGAIN_MS;
    if (keeper.start_failures >= STARTS_MAX)
        return; /* the reason that is known is the better one */
    keeper.start_failures++;
    snprintf(keeper.start_why, sizeof keeper.start_why, "the interpreter did not start: %.120s",
             why);
}

/* It cannot go on. Its process is ended, its children are not. */
static void kill_server(struct fs_server *server) {
    kill(server->pid, SIGKILL);
    while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    if (server->state >= FS_SERVER_READY) hear_last_words(server);
    count_failure(server, "it does not answer as it should");
    server->state = FS_SERVER_DEAD;
    forget_server(server);
}

static void server_ended(struct fs_server *server, int status) {
    char why[FS_TEXT_BYTES];
    if (server->state >= FS_SERVER_READY) hear_last_words(server);
    bool was_starting = server->state < FS_SERVER_READY;
    if (WIFSIGNALED(status)) {
        snprintf(why, sizeof why, "the process was killed by signal %d", WTERMSIG(status));
    } else {
        snprintf(why, sizeof why, "ends the process (code %d)", WEXITSTATUS(status));
    }
    fs_server_blame(server, &keeper.preloads, why);
    count_failure(server, why);
    if (was_starting || server->state == FS_SERVER_READY) {
        fprintf(stderr, "level=warning event=server_ended server=%d reason=\"%s\"\n",
                (int)server->pid, why);
    }
    server->state = FS_SERVER_DEAD;
    forget_server(server);
}

/* The one that forks, started if there is none. NULL: it cannot be had, keeper.start_why. */
static struct fs_server *need_server(void) {
    if (current()) return current();
    if (keeper.start_failures >= STARTS_MAX && fs_now_ms() < keeper.start_again_ms) return NULL;
    keeper.start_again_ms = fs_now_ms() + START_AGAIN_MS;
    struct fs_server *server =
        fs_server_start(keeper.interpreter, keeper.start_why, sizeof keeper.start_why);
    if (!server) {
        keeper.start_failures = STARTS_MAX;
        return NULL;
    }
    server->next = keeper.servers;
    keeper.servers = server;
    return server;
}

/* --- from the queue to the server ------------------------------------------------------------ */

/* False: the job is gone. */
static bool check_fit(struct fs_job *job, const struct fs_server *server) {
    char why[FS_TEXT_BYTES] = "";
    if (fs_job_fits(job, server->inventory, why, sizeof why)) return true;
    refuse_job(job, why);
    return false;
}

static void hand_over(struct fs_job *job, struct fs_server *server) {
    fs_job_await_tick(job, keeper.jobs, keeper.servers);
    if (!fs_job_send(job, server->control)) {
        if (errno == EPIPE || errno == ECONNRESET) {
            kill_server(server); /* it has died already: the next one takes the request */
            return;
        }
        refuse_job(job, "the server does not take requests");
        return;
    }
    job->state = FS_JOB_FORKING;
    job->server = server;
    job->since_ms = fs_now_ms();
}

static void refuse_all_queued(const char *why) {
    for (struct fs_job *job = keeper.jobs, *next; job; job = next) {
        next = job->next;
        if (job->state == FS_JOB_QUEUED) refuse_job(job, why);
    }
}

/* Serve the queue as far as it goes now. */
static void serve_queue(void) {
    struct fs_job *job;
    while ((job = find_job(FS_JOB_QUEUED, 0, 0)) && !find_job(FS_JOB_FORKING, 0, 0)) {
        char what[FS_TEXT_BYTES] = "";
        struct fs_server *server = need_server();
        if (!server) {
            refuse_all_queued(keeper.start_why);
            return;
        }
        if (server->state != FS_SERVER_READY) return;
        if (fs_inventory_is_stale(server->inventory, what, sizeof what)) {
            fprintf(stderr, "level=info event=server_stale changed=\"%s\"\n", what);
            retire(server);
            continue;
        }
        if (check_fit(job, server)) hand_over(job, server);
    }
}

static void tell_progress(void) {
    char text[FS_TEXT_BYTES];
    const struct fs_server *server = current();
    if (!server || server->state == FS_SERVER_READY) return;
    fs_server_describe(server, &keeper.preloads, text, sizeof text);
    for (struct fs_job *job = keeper.jobs; job; job = job->next) {
        if (job->state == FS_JOB_QUEUED) fs_job_tell(job, FS_WAIT, 0, text);
    }
}

/* --- what servers say ------------------------------------------------------------------------ */

static void take_answer(struct fs_server *server, const struct fs_frame *frame, int fd) {
    struct fs_job *job = NULL;
    switch (frame->type) {
    case FS_FORKED:
        job = find_job(FS_JOB_FORKING, frame->number, 0);
        if (!job) break;
        fs_job_set_child(job, frame->value, fd);
        job->is_counted = true;
        server->child_count++;
        keeper.forked_count++;
        fs_report_touch(&keeper.report);
        return;
    case FS_FAILED:
        job = find_job(FS_JOB_FORKING, frame->number, 0);
        fs_report_refusal(&keeper.report, frame->text);
        break;
    case FS_CONTINUED:
        job = find_job(FS_JOB_RUNNING, frame->number, 0);
        if (job) fs_job_wake_launcher(job);
        return;
    case FS_CHILD_ENDED:
        job = find_job(FS_JOB_RUNNING, frame->number, 0);
        break;
    default:
        break;
    }
    if (fd >= 0) close(fd);
    if (job && frame->type == FS_CHILD_ENDED) {
        end_job(job);
    } else if (job) {
        drop_job(job);
    }
}

/* A start that does more than to start: each plain one would do that, and no fork. */
static void take_unfit(const struct fs_frame *ready) {
    keeper.start_failures = STARTS_MAX;
    snprintf(keeper.start_why, sizeof keeper.start_why, "a start of the interpreter %.140s",
             ready->text);
}

static void hear_server(struct fs_server *server) {
    struct fs_frame frame = {0};
    int fd;
    enum fs_server_state before = server->state;
    if (!fs_server_take(server, &keeper.preloads, &frame, &fd)) {
        int status;
        if (frame.type == FS_READY && frame.value != FS_IMPORT_GOOD) take_unfit(&frame);
        /* One that died is told as what it died of. */
        if (waitpid(server->pid, &status, WNOHANG) == server->pid) {
            server_ended(server, status);
        } else {
            kill_server(server);
        }
        return;
    }
    if (frame.type != 0) take_answer(server, &frame, fd);
    if (server->state == FS_SERVER_READY) keeper.start_failures = 0;
    if (server->state != before) fs_report_touch(&keeper.report);
}

/* --- signals --------------------------------------------------------------------------------- */

static void child_changed(pid_t pid, int status, const struct rusage *usage) {
    struct fs_job *job = find_job(FS_JOB_RUNNING, 0, pid);
    if (!job) return;
    if (WIFSTOPPED(status)) {
        fs_job_tell(job, FS_STOPPED, WSTOPSIG(status), NULL);
    } else if (WIFCONTINUED(status)) {
        fs_job_tell(job, FS_CONTINUED, 0, NULL);
        fs_job_wake_launcher(job);
    } else {
        fs_job_tell_ended(job, status, usage);
        end_job(job);
    }
}

static void reap(void) {
    struct rusage usage;
    int status;
    pid_t pid;
    while ((pid = wait4(-1, &status, WNOHANG | WUNTRACED | WCONTINUED, &usage)) > 0) {
        struct fs_server *server = keeper.servers;
        while (server && server->pid != pid)
            server = server->next;
        if (!server) {
            child_changed(pid, status, &usage);
        } else if (WIFEXITED(status) || WIFSIGNALED(status)) {
            server_ended(server, status);
        }
    }
}

static void stop_listening(void) {
    if (keeper.listener < 0) return;
    struct stat found;
    if (stat(keeper.socket_path, &found) == 0 && found.st_ino == keeper.socket_inode) {
        unlink(keeper.socket_path);
    }
    close(keeper.listener);
    keeper.listener = -1;
    unlink(keeper.lock_path);
    close(keeper.lock);
}

/* No more requests; the second time children are not waited for. */
static void begin_to_end(void) {
    if (keeper.is_ending) {
        while (keeper.jobs)
            drop_job(keeper.jobs);
    }
    keeper.is_ending = true;
    stop_listening();
    refuse_all_queued("the fork server is ending");
}

static void take_signals(void) {
    struct signalfd_siginfo info;
    while (read(keeper.signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGCHLD) begin_to_end();
    }
    reap();
}

/* --- launchers ------------------------------------------------------------------------------- */

static void accept_launcher(void) {
    struct ucred peer;
    socklen_t peer_bytes = sizeof peer;
    int fd = accept4(keeper.listener, NULL, NULL, SOCK_CLOEXEC);
    /* Without room for it there is none until something ends; to look at once would find the same.
     */
    keeper.is_full = fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM);
    if (fd < 0) return;
    bool is_ours =
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) == 0 && peer.uid == geteuid();
    struct fs_job *job =
        is_ours && keeper.job_count < FS_JOBS_MAX ? fs_job_new(fd, peer.pid) : NULL;
    if (!job) {
        struct fs_frame frame =
            fs_frame_of(FS_REFUSED, 0, 0, "the fork server has too many requests");
        if (is_ours) fs_send_now(fd, &frame);
        close(fd);
        return;
    }
    /* At the end: the queue is served in order. */
    struct fs_job **at = &keeper.jobs;
    while (*at)
        at = &(*at)->next;
    *at = job;
    keeper.job_count++;
    keeper.used_ms = fs_now_ms();
}

/* Its request, or its end. */
static void hear_launcher(struct fs_job *job, short events) {
    char why[FS_TEXT_BYTES] = "";
    if (job->state == FS_JOB_NEW) {
        int rc = fs_job_receive(job, why, sizeof why);
        if (rc == 0) drop_job(job);
        if (rc < 0) refuse_job(job, why);
        if (rc > 0) tell_progress();
        return;
    }
    if (!(events & (POLLHUP | POLLERR))) return;
    /* A child whose server lives is the server's to kill, and to report. */
    if (job->state == FS_JOB_RUNNING && !job->server) {
        fs_job_kill(job);
    } else if (job->state == FS_JOB_QUEUED || job->state == FS_JOB_ENDED) {
        drop_job(job);
        return;
    }
    job->is_left = true;
}

/* --- time ------------------------------------------------------------------------------------ */

static int64_t idle_ms(void) {
    const char *given = getenv("RESOURCE_POOL_PYTHON_IDLE");
    char *end = NULL;
    long seconds = given && given[0] ? strtol(given, &end, 10) : IDLE_S;
    if (end && *end) seconds = IDLE_S;
    return seconds < 0 || seconds > 86400L * 365 ? INT64_MAX / 2 : (int64_t)seconds * 1000;
}

static bool is_out_of_place(void) {
    struct stat found;
    if (stat(keeper.socket_path, &found) != 0 || found.st_ino != keeper.socket_inode) return true;
    /* rpool was replaced by another: launchers are to meet that one. */
    return stat("/proc/self/exe", &found) != 0 || found.st_nlink == 0;
}

/*
 * The terminal has gone with its session's leader. Processes that are stopped there would be told
 * by the kernel, were their parent not this one's child: nobody else could continue them.
 */
static void hang_up(void) {
    if (keeper.session <= 0) return;
    char state = fs_process_state(keeper.session);
    if (state != '\0' && state != 'Z' && state != 'X') return;
    keeper.session = 0;
    for (struct fs_job *job = keeper.jobs; job; job = job->next) {
        if (job->state == FS_JOB_RUNNING) fs_job_hang_up(job);
    }
    begin_to_end();
}

static pid_t session_of_terminal(void) {
    int terminal = open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (terminal < 0) return 0;
    close(terminal);
    return getsid(0);
}

/* This process or the machine stood still: nobody else had that time either. */
static void forgive(int64_t frozen_ms) {
    for (struct fs_server *server = keeper.servers; server; server = server->next)
        server->deadline_ms += frozen_ms;
    for (struct fs_job *job = keeper.jobs; job; job = job->next)
        job->since_ms += frozen_ms;
    keeper.used_ms += frozen_ms;
}

/* A server that was stopped, or hangs in a library's fork handler; its children go on. */
static bool check_fork(struct fs_job *job) {
    if (job->state != FS_JOB_FORKING || fs_now_ms() - job->since_ms <= FORK_MS) return true;
    fprintf(stderr, "level=warning event=server_hangs server=%d\n", (int)job->server->pid);
    kill_server(job->server);
    return false;
}

static void tick(void) {
    keeper.is_full = false;
    for (struct fs_server *server = keeper.servers, *next; server; server = next) {
        next = server->next;
        if (!fs_server_check_time(server, &keeper.preloads)) kill_server(server);
    }
    for (struct fs_job *job = keeper.jobs, *next; job; job = next) {
        next = job->next;
        if (!check_fork(job)) break; /* the job is gone, and others may be; a tick later again */
        if (job->state == FS_JOB_RUNNING && !job->server && fs_job_is_over(job)) {
            drop_job(job); /* the server died between the child's end and its word of it */
            continue;
        }
        bool is_old = fs_now_ms() - job->since_ms > ASK_MS;
        if (job->state == FS_JOB_RUNNING) fs_job_follow_stop(job);
        if (job->state == FS_JOB_ENDED) fs_job_wake_launcher(job);
        if (is_old && (job->state == FS_JOB_NEW || job->state == FS_JOB_ENDED)) drop_job(job);
    }
    tell_progress();
    hang_up();
    if (keeper.is_ending) return;
    bool is_unused = keeper.job_count == 0 && (fs_report_is_broker_gone(&keeper.report) ||
                                               fs_now_ms() - keeper.used_ms >= idle_ms());
    /* Where nobody finds it another one can take its place, however long its children live. */
    if (is_unused || is_out_of_place()) begin_to_end();
}

/* --- the loop -------------------------------------------------------------------------------- */

static void report(void) {
    const struct fs_server *server = current();
    fs_report_update(&keeper.report, server, &keeper.preloads, keeper.job_count,
                     keeper.forked_count, keeper.is_ending);
}

enum { POLLED_FIXED = 2 };

static struct pollfd *polled;
static size_t polled_room;

/* NULL: no memory; then only what is fixed is looked at. */
static size_t fill_polled(void) {
    size_t server_count = 0;
    for (struct fs_server *at = keeper.servers; at; at = at->next)
        server_count++;
    size_t needed = POLLED_FIXED + server_count + keeper.job_count;
    if (needed > polled_room) {
        struct pollfd *larger = realloc(polled, 2 * needed * sizeof *larger);
        if (!larger) return 0;
        polled = larger;
        polled_room = 2 * needed;
    }
    size_t count = 0;
    polled[count++] =
        (struct pollfd){.fd = keeper.is_full ? -1 : keeper.listener, .events = POLLIN};
    polled[count++] = (struct pollfd){.fd = keeper.signals, .events = POLLIN};
    for (struct fs_server *at = keeper.servers; at; at = at->next) {
        polled[count++] = (struct pollfd){.fd = at->control, .events = POLLIN};
    }
    for (struct fs_job *at = keeper.jobs; at; at = at->next) {
        bool wants = at->state == FS_JOB_NEW;
        polled[count++] =
            (struct pollfd){.fd = at->is_left ? -1 : at->connection, .events = wants ? POLLIN : 0};
    }
    return count;
}

static struct fs_server *server_of(int fd) {
    struct fs_server *at = keeper.servers;
    while (at && at->control != fd)
        at = at->next;
    return at;
}

static struct fs_job *job_of(int fd) {
    struct fs_job *at = keeper.jobs;
    while (at && at->connection != fd)
        at = at->next;
    return at;
}

static void look(void) {
    size_t count = fill_polled();
    /* Without anybody here nothing happens by itself but the end of patience. */
    int wait_ms = keeper.job_count > 0 || keeper.is_ending ? TICK_MS : 5 * TICK_MS;
    if (count == 0 || poll(polled, count, wait_ms) < 0) return;
    for (size_t i = POLLED_FIXED; i < count; i++) {
        if (polled[i].revents == 0) continue;
        struct fs_server *server = server_of(polled[i].fd);
        struct fs_job *job = server ? NULL : job_of(polled[i].fd);
        if (server) hear_server(server);
        if (job) hear_launcher(job, polled[i].revents);
    }
    if (polled[1].revents) take_signals();
    if (polled[0].revents && keeper.listener >= 0) accept_launcher();
}

static void run(void) {
    int64_t ticked_ms = fs_now_ms();
    keeper.used_ms = ticked_ms;
    while (!keeper.is_ending || keeper.job_count > 0) {
        look();
        serve_queue();
        int64_t passed_ms = fs_now_ms() - ticked_ms;
        if (passed_ms >= TICK_MS) {
            if (passed_ms > FROZEN_MS) forgive(passed_ms);
            ticked_ms = fs_now_ms();
            tick();
        }
        report();
    }
}

/* --- beginning ------------------------------------------------------------------------------- */

static bool listen_at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat found;
    if (strlen(path) >= sizeof address.sun_path) return false;
    memcpy(address.sun_path, path, strlen(path) + 1);
    unlink(path);
    keeper.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (keeper.listener < 0 ||
        bind(keeper.listener, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(keeper.listener, SOMAXCONN) != 0 || stat(path, &found) != 0) {
        return false;
    }
    keeper.socket_inode = found.st_ino;
    return true;
}

/* Another one of this key serves already. */
static bool is_other_there(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return false;
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = fd >= 0 ? connect(fd, (const struct sockaddr *)&address, sizeof address) : -1;
    bool is_there = rc == 0 || (fd >= 0 && errno == EAGAIN); /* with a queue at its door */
    if (fd >= 0) close(fd);
    return is_there;
}

/* 1: taken; 0: somebody else has it; -1: it cannot be had, as without its folder. The one that
 * ended may have removed the file between our open() and the lock. */
static int take_lock(void) {
    struct stat named;
    struct stat locked;
    int fd = open(keeper.lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &locked) == 0 &&
        stat(keeper.lock_path, &named) == 0 && locked.st_ino == named.st_ino &&
        locked.st_dev == named.st_dev) {
        keeper.lock = fd;
        return 1;
    }
    close(fd);
    return 0;
}

/* 0: this process is the keeper; 1: another one is; -1: one that neither serves nor ends, or there
 * is no place. */
static int find_place(void) {
    int64_t until_ms = fs_now_ms() + OTHER_MS;
    int taken;
    while ((taken = take_lock()) == 0) {
        if (is_other_there(keeper.socket_path)) return 1;
        if (fs_now_ms() >= until_ms) return -1;
        poll(NULL, 0, 5);
    }
    if (taken < 0) {
        fprintf(stderr, "level=error event=cannot_lock at=%s reason=\"%s\"\n", keeper.lock_path,
                strerror(errno));
    }
    return taken > 0 ? 0 : -1;
}

static void hold_signals(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    keeper.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    /* The terminal's wishes are for the programs in front of it. */
    static const int terminal[] = {SIGHUP, SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE, SIGQUIT};
    for (size_t i = 0; i < sizeof terminal / sizeof terminal[0]; i++)
        signal(terminal[i], SIG_IGN);
}

static bool is_key(const char *key) {
    return strlen(key) == 32 && strspn(key, "0123456789abcdef") == 32;
}

static void say_ready(int fd) {
    if (write(fd, "r", 1) != 1) fprintf(stderr, "level=warning event=ready_unheard ignored\n");
    close(fd);
}

int fs_keeper_run(const char *key, const char *ready_fd, const char *interpreter) {
    char folder[PATH_MAX];
    int ready = (int)strtol(ready_fd, NULL, 10);
    if (!is_key(key) || ready < 3 || !fs_report_folder(folder, sizeof folder)) return 2;
    snprintf(keeper.lock_path, sizeof keeper.lock_path, "%.4000s/python-%s.lock", folder, key);
    snprintf(keeper.socket_path, sizeof keeper.socket_path, "%.4000s/python-%s.sock", folder, key);
    keeper.interpreter = interpreter;
    if (!fs_preloads_read(&keeper.preloads, STDIN_FILENO)) return 1;
    int place = find_place();
    if (place > 0) say_ready(ready);
    if (place != 0) return place > 0 ? 0 : 1;
    fs_descriptors_raise();
    hold_signals();
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    if (!listen_at(keeper.socket_path)) {
        fprintf(stderr, "level=error event=cannot_listen at=%s reason=\"%s\"\n", keeper.socket_path,
                strerror(errno));
        return 1;
    }
    say_ready(ready);
    keeper.session = session_of_terminal();
    fs_report_open(&keeper.report, key, interpreter);
    run();
    stop_listening();
    while (keeper.servers) {
        struct fs_server *server = keeper.servers;
        keeper.servers = server->next;
        fs_server_free(server);
    }
    fs_report_close(&keeper.report);
    fs_preloads_fini(&keeper.preloads);
    free(polled);
    return 0;
}
