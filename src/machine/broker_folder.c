/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folder of a running broker may be removed: by who tidies /tmp up, or when a session ends.
 * Then nobody finds the broker any more, and a second one would begin beside it. inotify tells when
 * the socket's file goes, which costs nothing until then; the address is claimed anew, or, if
 * another broker was faster, this one drains.
 */
#include "base/status.h"
#include "machine/broker_inside.h"

#include <limits.h>
#include <sys/inotify.h>
#include <unistd.h>

enum { SETTLE_MS = 200, AGAIN_S = 5 };

/* Whatever it is that happened: the files are looked at. */
static void pass_over(int fd) {
    _Alignas(struct inotify_event) char events[sizeof(struct inotify_event) + NAME_MAX + 1];
    while (read(fd, events, sizeof events) > 0) {
    }
}

static void watch(struct rp_broker *broker) {
    const uint32_t what = IN_DELETE | IN_DELETE_SELF | IN_MOVED_FROM | IN_MOVE_SELF | IN_ONLYDIR;
    const char *folder = broker->claim.address.folder;
    if (inotify_add_watch(broker->watching_fd, folder, what) >= 0) return;
    rp_error why = RP_ERROR_INIT;
    (void)rp_fail_errno(&why, "cannot watch '%s'", folder);
    rp_broker_log(broker, "warning", "event=folder_unwatched message=\"%s\" ignored", why.message);
}

static void on_folder_changed(evutil_socket_t fd, short what, void *user) {
    static const struct timeval settled = {0, SETTLE_MS * 1000L};
    struct rp_broker *broker = user;
    (void)what;
    pass_over(fd);
    if (!rp_claim_is_whole(&broker->claim)) event_add(broker->look_at_folder, &settled);
}

static void on_look(evutil_socket_t fd, short what, void *user) {
    static const struct timeval again = {AGAIN_S, 0};
    struct rp_broker *broker = user;
    rp_error why = RP_ERROR_INIT;
    (void)fd;
    (void)what;
    if (broker->is_draining || rp_claim_is_whole(&broker->claim)) return;
    event_del(broker->accepting); /* before its descriptor goes */
    rp_status status = rp_claim_renew(&broker->claim, &why);
    if (!rp_broker_listen(broker)) status = rp_fail(&why, RP_ERR_MEMORY, "no memory to listen");
    if (status == RP_OK) {
        watch(broker);
        rp_broker_log(broker, "warning", "event=claimed_again socket=\"%s\"",
                      broker->claim.address.socket);
    } else if (status == RP_ERR_BUSY) {
        rp_broker_drain(broker, "another broker has its address");
    } else {
        rp_broker_log(broker, "warning", "event=folder_lost message=\"%s\"", why.message);
        event_add(broker->look_at_folder, &again);
    }
}

bool rp_broker_watch_folder(struct rp_broker *broker) {
    broker->watching_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (broker->watching_fd < 0) {
        rp_broker_log(broker, "warning", "event=folder_unwatched ignored");
        return true;
    }
    broker->folder_changed = event_new(broker->base, broker->watching_fd, EV_READ | EV_PERSIST,
                                       on_folder_changed, broker);
    broker->look_at_folder = evtimer_new(broker->base, on_look, broker);
    watch(broker);
    return broker->folder_changed && broker->look_at_folder &&
           event_add(broker->folder_changed, NULL) == 0;
}

void rp_broker_unwatch_folder(struct rp_broker *broker) {
    if (broker->folder_changed) event_free(broker->folder_changed);
    if (broker->look_at_folder) event_free(broker->look_at_folder);
    broker->folder_changed = broker->look_at_folder = NULL;
    if (broker->watching_fd >= 0) close(broker->watching_fd);
    broker->watching_fd = -1;
}
