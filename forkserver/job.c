/* SPDX-License-Identifier: Apache-2.0 */
#include "job.h"

#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { FD_REQUEST, FD_FOLDER };
enum { STAT_BYTES = 1024, CHILDREN_BYTES = 64 << 10 };

struct fs_job *fs_job_new(int connection, pid_t launcher) {
    static uint32_t last;
    struct fs_job *job = calloc(1, sizeof *job);
    if (!job) return NULL;
    job->number = ++last ? last : ++last; /* 0 is nobody's */
    job->connection = connection;
    job->launcher = launcher;
    job->process = -1;
    job->since_ms = fs_now_ms();
    return job;
}

static void close_fds(struct fs_job *job) {
    for (size_t i = 0; i < job->fd_count; i++)
        close(job->fds[i]);
    job->fd_count = 0;
}

void fs_job_free(struct fs_job *job) {
    close_fds(job);
    if (job->process >= 0) close(job->process);
    close(job->connection);
    free(job);
}

/* The request for as long as `use` takes. NULL, or what is wrong. */
static const char *read_request(const struct fs_job *job, struct fs_request *request,
                                const void **map, size_t *size) {
    *map = fs_request_map(job->fds[FD_REQUEST], size);
    if (!*map) return "it is no sealed memory";
    const char *wrong = fs_request_read(*map, *size, request);
    if (!wrong && request->head->passed_count + 2 != job->fd_count) {
        free(request->argv);
        wrong = "it has not the descriptors that it says";
    }
    if (wrong) munmap((void *)(uintptr_t)*map, *size);
    return wrong;
}

int fs_job_receive(struct fs_job *job, char *why, size_t room) {
    struct fs_frame frame = {0};
    struct fs_request request;
    const void *map;
    size_t size;
    job->fd_count = FS_JOB_FDS;
    int rc = fs_receive(job->connection, &frame, job->fds, &job->fd_count);
    if (rc == 0) return 0;
    const char *wrong = NULL;
    if (rc < 0 || frame.type != FS_ASK) {
        wrong = "it is none of this version";
        if (rc < 0) job->fd_count = 0;
    } else if (job->fd_count < 2) {
        wrong = "it came without its descriptors";
    } else {
        wrong = read_request(job, &request, &map, &size);
    }
    if (wrong) {
        snprintf(why, room, "the request is damaged: %s", wrong);
        return -1;
    }
    free(request.argv);
    munmap((void *)(uintptr_t)map, size);
    job->state = FS_JOB_QUEUED;
    return 1;
}

bool fs_job_fits(const struct fs_job *job, const struct fs_inventory *inventory, char *why,
                 size_t room) {
    struct fs_request request;
    const void *map;
    size_t size;
    const char *wrong = read_request(job, &request, &map, &size);
    if (wrong) {
        snprintf(why, room, "the request is damaged: %s", wrong);
        return false;
    }
    bool fits = fs_inventory_fits(inventory, &request, job->fds[FD_FOLDER], why, room);
    free(request.argv);
    munmap((void *)(uintptr_t)map, size);
    return fits;
}

static uint64_t now_ticks(void) {
    struct timespec now;
    uint64_t per_s = (uint64_t)sysconf(_SC_CLK_TCK);
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * per_s + (uint64_t)now.tv_nsec * per_s / 1000000000;
}

bool fs_job_send(struct fs_job *job, int control) {
    struct fs_frame frame = fs_frame_of(FS_FORK, job->number, 0, NULL);
    int fds[FS_JOB_FDS + 1];
    fds[0] = job->connection;
    memcpy(fds + 1, job->fds, job->fd_count * sizeof fds[0]);
    bool is_sent = fs_send(control, &frame, fds, job->fd_count + 1);
    if (is_sent) close_fds(job);
    return is_sent;
}

void fs_job_set_child(struct fs_job *job, pid_t pid, int process) {
    job->state = FS_JOB_RUNNING;
    job->pid = pid;
    job->process = process >= 0 ? process : (int)syscall(SYS_pidfd_open, pid, 0);
}

/* Never waits: a launcher that does not read what it is told is told no more. */
static void tell(const struct fs_job *job, const struct fs_frame *frame) {
    fs_send_now(job->connection, frame);
}

void fs_job_tell(const struct fs_job *job, enum fs_type type, int32_t value, const char *text) {
    struct fs_frame frame = fs_frame_of(type, 0, value, text);
    tell(job, &frame);
}

static uint64_t us_of(const struct timeval *time) {
    return (uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_usec;
}

void fs_job_tell_ended(const struct fs_job *job, int status, const struct rusage *usage) {
    struct fs_frame frame = fs_frame_of(FS_ENDED, 0, status, NULL);
    frame.numbers[0] = us_of(&usage->ru_utime);
    frame.numbers[1] = us_of(&usage->ru_stime);
    frame.numbers[2] = (uint64_t)usage->ru_maxrss;
    tell(job, &frame);
}

static void send_signal(const struct fs_job *job, int number) {
    if (job->process >= 0) syscall(SYS_pidfd_send_signal, job->process, number, NULL, 0);
}

void fs_job_kill(const struct fs_job *job) {
    send_signal(job, SIGKILL);
}

/* --- stops ----------------------------------------------------------------------------------- */

/* When it started; 0: it cannot be told. */
static uint64_t start_ticks(pid_t pid) {
    char text[STAT_BYTES];
    fs_proc_read_of(pid, "stat", text, sizeof text);
    const char *at = strrchr(text, ')');
    at = at && at[1] == ' ' ? at + 2 : "";
    for (int field = 3; *at && field < 22; field++) {
        at += strcspn(at, " ");
        at += *at == ' ';
    }
    return strtoull(at, NULL, 10);
}

/* As long as it holds its connection its pid is its own. */
static bool is_launcher_there(const struct fs_job *job) {
    struct pollfd polled = {.fd = job->connection};
    return poll(&polled, 1, 0) == 0;
}

void fs_job_follow_stop(struct fs_job *job) {
    bool is_alone = fs_process_state(job->launcher) == 'T' && fs_process_state(job->pid) != 'T';
    if (is_alone && job->was_alone_stopped) send_signal(job, SIGSTOP);
    job->was_alone_stopped = is_alone && !job->was_alone_stopped;
}

void fs_job_wake_launcher(const struct fs_job *job) {
    if (fs_process_state(job->launcher) == 'T' && is_launcher_there(job)) {
        kill(job->launcher, SIGCONT);
    }
}

void fs_job_hang_up(const struct fs_job *job) {
    send_signal(job, SIGHUP);
    send_signal(job, SIGCONT);
    fs_job_wake_launcher(job);
}

/* --- orphans --------------------------------------------------------------------------------- */

bool fs_job_is_over(struct fs_job *job) {
    struct pollfd polled = {.fd = job->process, .events = POLLIN};
    bool was_over = job->was_over;
    if (job->process < 0) {
        job->was_over = kill(job->pid, 0) != 0 && errno == ESRCH;
    } else {
        job->was_over = poll(&polled, 1, 0) > 0;
    }
    return was_over && job->was_over;
}

static bool is_known(pid_t pid, const struct fs_job *jobs, const struct fs_server *servers) {
    for (; jobs; jobs = jobs->next) {
        if (jobs->pid == pid) return true;
    }
    for (; servers; servers = servers->next) {
        if (servers->pid == pid) return true;
    }
    return false;
}

/* Others that are not known are what programs left behind: daemons, for whom we are the init. */
pid_t fs_job_find_orphan(const struct fs_job *job, const struct fs_job *jobs,
                         const struct fs_server *servers) {
    static char text[CHILDREN_BYTES];
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    ssize_t got;
    while (fd >= 0 && (got = read(fd, text + size, sizeof text - 1 - size)) > 0)
        size += (size_t)got;
    if (fd >= 0) close(fd);
    text[size] = '\0';
    for (char *at = text; *at;) {
        char *end;
        long pid = strtol(at, &end, 10);
        if (end == at) break;
        if (pid > 0 && !is_known((pid_t)pid, jobs, servers) &&
            start_ticks((pid_t)pid) >= job->asked_ticks) {
            return (pid_t)pid;
        }
        at = end;
    }
    return 0;
}

void fs_job_await_tick(struct fs_job *job, const struct fs_job *jobs,
                       const struct fs_server *servers) {
    enum { TICK_MS = 10, TICKS_MAX = 3 };
    for (int i = 0; i < TICKS_MAX; i++) {
        job->asked_ticks = now_ticks();
        if (fs_job_find_orphan(job, jobs, servers) == 0) return;
        poll(NULL, 0, TICK_MS);
    }
}
