/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a reader may leave unread and still be told the end; the kernel holds some 200 KiB. */
enum { FS_FDS_MAX = FS_PASSED_MAX + 4, UNREAD_BYTES_MAX = 64 << 10 };

#define FS_SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* --- requests -------------------------------------------------------------------------------- */

/* The text at *at, and behind it; NULL when it has no end. */
static const char *take_text(const char **at, const char *end) {
    const char *text = *at;
    const char *nul = text < end ? memchr(text, '\0', (size_t)(end - text)) : NULL;
    if (!nul) return NULL;
    *at = nul + 1;
    return text;
}

static bool take_texts(const char **at, const char *end, const char **out, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        out[i] = take_text(at, end);
        if (!out[i]) return false;
    }
    out[count] = NULL;
    return true;
}

static const char *check_head(const struct fs_request_head *head, size_t size) {
    if (size < sizeof *head) return "it is shorter than its head";
    if (head->magic != FS_MAGIC || head->version != FS_VERSION) return "it is of another version";
    if (head->bytes != size) return "its size is not what it says";
    if (head->mode > FS_MODE_STDIN) return "its mode is unknown";
    if (head->passed_count > FS_PASSED_MAX) return "it passes too many descriptors";
    uint64_t texts = (uint64_t)head->argv_count + head->original_count + head->environment_count;
    /* Each text has a byte at least, its end. */
    if (texts + 1 > size - sizeof *head) return "it has fewer texts than it says";
    if (head->argv_count == 0) return "it has no argv";
    return NULL;
}

const char *fs_request_read(const void *bytes, size_t size, struct fs_request *request) {
    const struct fs_request_head *head = bytes;
    const char *wrong = check_head(head, size);
    if (wrong) return wrong;
    size_t passed_bytes = head->passed_count * sizeof(int32_t);
    if (passed_bytes > size - sizeof *head) return "it has fewer descriptors than it says";
    const char *end = (const char *)bytes + size;
    const char *at = (const char *)bytes + sizeof *head + passed_bytes;
    size_t count = (size_t)head->argv_count + head->original_count + head->environment_count + 3;
    const char **texts = calloc(count, sizeof *texts);
    if (!texts) return "there is no memory for it";
    *request = (struct fs_request){
        .head = head,
        .passed = (const int32_t *)(const void *)((const char *)bytes + sizeof *head),
        .argv = texts,
        .original = texts + head->argv_count + 1,
        .environment = texts + head->argv_count + head->original_count + 2,
    };
    request->target = take_text(&at, end);
    if (!request->target || !take_texts(&at, end, request->argv, head->argv_count) ||
        !take_texts(&at, end, request->original, head->original_count) ||
        !take_texts(&at, end, request->environment, head->environment_count) || at != end) {
        free(texts);
        return "its texts do not end where it does";
    }
    for (uint32_t i = 0; i < head->passed_count; i++) {
        int32_t at_number = request->passed[i];
        bool is_number = at_number >= 0 && at_number < INT32_MAX; /* whose next is one too */
        if (!is_number || (i > 0 && at_number <= request->passed[i - 1])) {
            free(texts);
            return "its descriptors are not in order";
        }
    }
    return NULL;
}

static size_t texts_bytes(char *const *texts, uint32_t *count) {
    size_t bytes = 0;
    for (*count = 0; texts[*count]; (*count)++)
        bytes += strlen(texts[*count]) + 1;
    return bytes;
}

static char *put(char *at, const void *bytes, size_t size) {
    if (size > 0) memcpy(at, bytes, size);
    return at + size;
}

static char *put_texts(char *at, char *const *texts) {
    for (; *texts; texts++)
        at = put(at, *texts, strlen(*texts) + 1);
    return at;
}

int fs_request_write(struct fs_request_head *head, const int32_t *passed, const char *target,
                     char *const *argv, char *const *original, char *const *environment) {
    size_t passed_bytes = head->passed_count * sizeof *passed;
    size_t bytes = sizeof *head + passed_bytes + strlen(target) + 1;
    bytes += texts_bytes(argv, &head->argv_count);
    bytes += texts_bytes(original, &head->original_count);
    bytes += texts_bytes(environment, &head->environment_count);
    head->magic = FS_MAGIC;
    head->version = FS_VERSION;
    head->bytes = bytes;
    if (bytes > FS_REQUEST_BYTES_MAX) {
        errno = E2BIG;
        return -1;
    }
    int fd = memfd_create("rpool-python", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return -1;
    void *map = ftruncate(fd, (off_t)bytes) == 0
                    ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                    : MAP_FAILED;
    if (map != MAP_FAILED) {
        char *at = put(map, head, sizeof *head);
        at = put(at, passed, passed_bytes);
        at = put(at, target, strlen(target) + 1);
        at = put_texts(at, argv);
        at = put_texts(at, original);
        put_texts(at, environment);
        munmap(map, bytes);
        if (fcntl(fd, F_ADD_SEALS, FS_SEALS) == 0) return fd;
    }
    int os_errno = errno;
    close(fd);
    errno = os_errno;
    return -1;
}

const void *fs_request_map(int fd, size_t *size) {
    struct stat found;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & FS_SEALS) != FS_SEALS || fstat(fd, &found) != 0 ||
        found.st_size < (off_t)sizeof(struct fs_request_head) ||
        found.st_size > FS_REQUEST_BYTES_MAX) {
        errno = EBADMSG;
        return NULL;
    }
    void *map = mmap(NULL, (size_t)found.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) return NULL;
    *size = (size_t)found.st_size;
    return map;
}

/* --- frames ---------------------------------------------------------------------------------- */

struct fs_frame fs_frame_of(enum fs_type type, uint32_t number, int32_t value, const char *text) {
    struct fs_frame frame = {
        .magic = FS_MAGIC,
        .version = FS_VERSION,
        .type = (uint16_t)type,
        .number = number,
        .value = value,
    };
    size_t length = text ? strnlen(text, sizeof frame.text - 1) : 0;
    /* It ends in lines of logs and of fields, and some on a terminal: exceptions say anything. */
    for (size_t i = 0; i < length; i++) {
        bool is_control = (unsigned char)text[i] < ' ' || text[i] == 0x7f;
        frame.text[i] = text[i];
        if (is_control) frame.text[i] = ' ';
    }
    return frame;
}

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(FS_FDS_MAX * sizeof(int))];
};

bool fs_send(int socket, const struct fs_frame *frame, const int *fds, size_t fd_count) {
    union control control = {0};
    struct fs_frame copy = *frame;
    struct iovec part = {&copy, sizeof copy};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count > FS_FDS_MAX) {
        errno = E2BIG;
        return false;
    }
    if (fd_count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof *fds);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(fd_count * sizeof *fds);
        memcpy(CMSG_DATA(&control.header), fds, fd_count * sizeof *fds);
    }
    ssize_t sent;
    do {
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)sizeof copy;
}

/* A reader that is stopped finds the same when it goes on, by looking. */
static bool is_dispensable(const struct fs_frame *frame) {
    return frame->type == FS_WAIT || frame->type == FS_STOPPED || frame->type == FS_CONTINUED;
}

bool fs_send_now(int socket, const struct fs_frame *frame) {
    int unread = 0;
    if (is_dispensable(frame) && ioctl(socket, SIOCOUTQ, &unread) == 0 &&
        unread > UNREAD_BYTES_MAX) {
        errno = EAGAIN;
        return false;
    }
    return send(socket, frame, sizeof *frame, MSG_NOSIGNAL | MSG_DONTWAIT) ==
           (ssize_t)sizeof *frame;
}

/* Descriptors that came; more than there is room for are closed. */
static size_t take_fds(struct msghdr *message, int *fds, size_t room) {
    size_t count = 0;
    for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at; at = CMSG_NXTHDR(message, at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) continue;
        size_t came = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < came; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(at) + i * sizeof fd, sizeof fd);
            if (count < room) {
                fds[count++] = fd;
            } else {
                close(fd);
            }
        }
    }
    return count;
}

static void close_fds(const int *fds, size_t *count) {
    for (size_t i = 0; count && i < *count; i++)
        close(fds[i]);
    if (count) *count = 0;
}

int fs_receive(int socket, struct fs_frame *frame, int *fds, size_t *fd_count) {
    union control control;
    struct iovec part = {frame, sizeof *frame};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes,
    };
    ssize_t got;
    do {
        got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return errno == ECONNRESET ? 0 : -1;
    size_t count = take_fds(&message, fds, fd_count ? *fd_count : 0);
    if (fd_count) *fd_count = count;
    if (got == 0) { /* the end, or an empty message */
        close_fds(fds, fd_count);
        return 0;
    }
    bool is_frame = got == (ssize_t)sizeof *frame && frame->magic == FS_MAGIC &&
                    frame->version == FS_VERSION &&
                    (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
    if (is_frame) {
        frame->text[sizeof frame->text - 1] = '\0';
        return 1;
    }
    close_fds(fds, fd_count);
    errno = EBADMSG;
    return -1;
}
