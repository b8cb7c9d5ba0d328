/* SPDX-License-Identifier: Apache-2.0 */
/* Segments, and what others may send in their place. */
#include "machine/segment.h"

#include "base/limits.h"
#include "base/memory.h"
#include "hardware/pressure.h"

#include "../../tests/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <resourcepool/resourcepool.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ALL_SEALS = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

static int open_descriptors(void) {
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    assert_non_null(folder);
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count;
}

static int create(const rp_object_part *parts, size_t count) {
    rp_error err = RP_ERROR_INIT;
    int fd = -1;
    uint64_t size = 0;
    assert_ok(rp_segment_create(parts, count, &fd, &size, &err));
    assert_true(fd >= 0);
    return fd;
}

static const rp_object_part words[] = {{"one", 3}, {"", 0}, {"three", 5}};

static struct rp_segment *attach(int fd) {
    rp_error err = RP_ERROR_INIT;
    struct rp_segment *segment = NULL;
    assert_ok(rp_segment_attach(fd, &segment, &err));
    return segment;
}

static void *part_of(const struct rp_segment *segment, size_t index) {
    size_t bytes = 0;
    return rp_segment_part(segment, index, &bytes);
}

static void what_was_written_is_read_in_parts_that_begin_on_pages(void **state) {
    (void)state;
    int fd = create(words, 3);
    struct rp_segment *segment = attach(fd);
    close(fd); /* the mapping holds it */
    assert_int_equal(rp_segment_part_count(segment), 3);
    for (size_t i = 0; i < 3; i++) {
        size_t bytes = 77;
        void *data = rp_segment_part(segment, i, &bytes);
        assert_int_equal(bytes, words[i].bytes);
        assert_memory_equal(data, words[i].data, bytes);
        assert_int_equal((uintptr_t)data % RP_SEGMENT_ALIGN, 0);
    }
    rp_segment_detach(segment);
}

static void a_segment_may_have_no_parts(void **state) {
    (void)state;
    int fd = create(NULL, 0);
    struct rp_segment *segment = attach(fd);
    assert_int_equal(rp_segment_part_count(segment), 0);
    rp_segment_detach(segment);
    close(fd);
}

static void a_table_of_many_parts_takes_several_pages(void **state) {
    (void)state;
    enum { MANY = 1000 };
    static rp_object_part parts[MANY];
    static uint32_t numbers[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        numbers[i] = i;
        parts[i] = (rp_object_part){&numbers[i], sizeof numbers[i]};
    }
    int fd = create(parts, MANY);
    struct rp_segment *segment = attach(fd);
    assert_int_equal(rp_segment_part_count(segment), MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t *number = part_of(segment, i);
        assert_int_equal(*number, i);
        *number = 0; /* each can be written to, whatever stands before it */
    }
    rp_segment_detach(segment);
    close(fd);
}

static void a_write_is_seen_by_nobody_else(void **state) {
    (void)state;
    int fd = create(words, 3);
    struct rp_segment *mine = attach(fd);
    struct rp_segment *theirs = attach(fd);
    memcpy(part_of(mine, 0), "two", 3);
    assert_memory_equal(part_of(mine, 0), "two", 3);
    assert_memory_equal(part_of(theirs, 0), "one", 3);
    rp_segment_detach(mine);
    rp_segment_detach(theirs);
    struct rp_segment *later = attach(fd);
    assert_memory_equal(part_of(later, 0), "one", 3);
    rp_segment_detach(later);
    close(fd);
}

/* Write to a byte in a child: the signal that ends it, or 0. */
static int signal_of_write(char *at) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* the sanitizer's handler would report it */
        *(volatile char *)at = 1;
        _exit(0);
    }
    int how = 0;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    return WIFSIGNALED(how) ? WTERMSIG(how) : 0;
}

static void the_table_and_what_is_protected_cannot_be_written_to(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    int fd = create(words, 3);
    struct rp_segment *segment = attach(fd);
    char *part = part_of(segment, 0);
    assert_int_equal(signal_of_write(part), 0);
    assert_int_equal(signal_of_write(part - RP_SEGMENT_ALIGN), SIGSEGV);
    assert_ok(rp_segment_protect(segment, &err));
    assert_int_equal(signal_of_write(part), SIGSEGV);
    rp_segment_detach(segment);
    close(fd);
}

static void no_process_can_change_a_segment(void **state) {
    (void)state;
    int fd = create(words, 3);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, O_RDWR | O_CLOEXEC);
    assert_true(again >= 0);
    assert_int_equal(pwrite(again, "x", 1, RP_SEGMENT_ALIGN), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(again, 0), -1);
    assert_int_equal(ftruncate(again, 1 << 20), -1);
    assert_ptr_equal(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, again, 0), MAP_FAILED);
    assert_int_equal(fallocate(again, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
    assert_int_equal(fcntl(again, F_ADD_SEALS, 0), -1);
    close(again);
    close(fd);
}

/* --- descriptors of strangers -------------------------------------------------------------- */

static void refuse(int fd, rp_status expected, const char *says) {
    rp_error err = RP_ERROR_INIT;
    struct rp_segment_info info = {.size = 77};
    struct rp_segment *segment = NULL;
    assert_true(fd >= 0);
    assert_status(rp_segment_check(fd, &info, &err), expected);
    assert_says(err.message, says);
    assert_int_equal(info.size, 77);
    assert_status(rp_segment_attach(fd, &segment, &err), expected);
    assert_null(segment);
    close(fd);
}

/* A memory file with these bytes, of that size, with these seals. */
static int forge(const void *bytes, size_t length, off_t size, int seals) {
    int fd = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    assert_int_equal(pwrite(fd, bytes, length, 0), (ssize_t)length);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

struct forged {
    struct rp_segment_head head;
    struct rp_segment_entry table[2];
};

enum { FORGED_SIZE = 3 * RP_SEGMENT_ALIGN };

static const struct forged sound = {
    {RP_SEGMENT_MAGIC, RP_SEGMENT_VERSION, sizeof(struct rp_segment_entry), FORGED_SIZE, 2},
    {{RP_SEGMENT_ALIGN, 100}, {2 * RP_SEGMENT_ALIGN, RP_SEGMENT_ALIGN}},
};

static void each_seal_is_needed(void **state) {
    (void)state;
    static const int seals[] = {F_SEAL_WRITE, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL};
    rp_error err = RP_ERROR_INIT;
    struct rp_segment_info info;
    int fd = forge(&sound, sizeof sound, FORGED_SIZE, ALL_SEALS);
    assert_ok(rp_segment_check(fd, &info, &err));
    assert_int_equal(info.size, FORGED_SIZE);
    assert_int_equal(info.part_count, 2);
    assert_false(info.is_file);
    close(fd);
    for (size_t i = 0; i < 4; i++) {
        refuse(forge(&sound, sizeof sound, FORGED_SIZE, ALL_SEALS & ~seals[i]), RP_ERR_DATA,
               "is not sealed");
    }
    refuse(forge(&sound, sizeof sound, FORGED_SIZE, 0), RP_ERR_DATA, "is not sealed");
    /* Whoever still has it mapped for writing could change it all the same. */
    refuse(forge(&sound, sizeof sound, FORGED_SIZE,
                 F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
           RP_ERR_DATA, "is not sealed");
}

static void a_head_that_lies_is_refused(void **state) {
    (void)state;
    static const struct {
        size_t at; /* 64 bits there */
        uint64_t value;
        rp_status status;
        const char *says;
    } lies[] = {
        {0, 0x1122334455667788, RP_ERR_DATA, "not a segment"},
        {0, RP_SEGMENT_MAGIC | UINT64_C(2) << 32 | UINT64_C(16) << 48, RP_ERR_UNSUPPORTED,
         "version 2"},
        {0, RP_SEGMENT_MAGIC | UINT64_C(1) << 32 | UINT64_C(24) << 48, RP_ERR_UNSUPPORTED,
         "entries of 24"},
        {8, FORGED_SIZE - 1, RP_ERR_DATA, "says that it has 12287 bytes, and has 12288"},
        {16, RP_LIMIT_SEGMENT_PARTS, RP_ERR_DATA, "table of 65536 parts does not fit"},
        {16, RP_LIMIT_SEGMENT_PARTS + 1, RP_ERR_LIMIT, "65537 parts"},
        {16, UINT64_MAX / 16 + 1, RP_ERR_LIMIT, "parts"},
        {24, 0, RP_ERR_DATA, "part 0 "},                    /* over the head       */
        {24, RP_SEGMENT_ALIGN + 1, RP_ERR_DATA, "part 0 "}, /* not aligned         */
        {24, 4 * RP_SEGMENT_ALIGN, RP_ERR_DATA, "part 0 "}, /* begins behind       */
        {24, UINT64_MAX - 4095, RP_ERR_DATA, "part 0 "},    /* far behind          */
        {32, RP_SEGMENT_ALIGN + 1, RP_ERR_DATA, "part 1 "}, /* into the next       */
        {32, UINT64_MAX - 100, RP_ERR_DATA, "part 0 "},     /* round the corner    */
        {40, RP_SEGMENT_ALIGN, RP_ERR_DATA, "part 1 "},     /* the same bytes      */
        {48, RP_SEGMENT_ALIGN + 1, RP_ERR_DATA, "part 1 "}, /* one byte behind     */
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct forged lie = sound;
        memcpy((char *)&lie + lies[i].at, &lies[i].value, 8);
        refuse(forge(&lie, sizeof lie, FORGED_SIZE, ALL_SEALS), lies[i].status, lies[i].says);
    }
    refuse(forge(&sound, sizeof sound, FORGED_SIZE - 1, ALL_SEALS), RP_ERR_DATA, "and has 12287");
    refuse(forge(&sound, 8, 8, ALL_SEALS), RP_ERR_DATA, "no room for its head");
    refuse(forge(&sound, 0, 0, ALL_SEALS), RP_ERR_DATA, "empty");
    /* What a sealed file was cut to before. */
    refuse(forge(&sound, sizeof sound.head, sizeof sound.head, ALL_SEALS), RP_ERR_DATA,
           "and has 24");
}

static void what_is_no_file_is_refused(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    refuse(ends[0], RP_ERR_DATA, "neither a file nor");
    close(ends[1]);
    refuse(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), RP_ERR_DATA, "neither a file nor");
    refuse(open("/dev/null", O_RDONLY | O_CLOEXEC), RP_ERR_DATA, "neither a file nor");
    rp_error err = RP_ERROR_INIT;
    struct rp_segment_info info;
    assert_status(rp_segment_check(-1, &info, &err), RP_ERR_IO);
}

/* --- plain files --------------------------------------------------------------------------- */

static int make_file(char *path, size_t path_bytes, const char *text, mode_t mode) {
    snprintf(path, path_bytes, "/tmp/rp-segment-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    return fd;
}

static void a_plain_file_is_one_part_and_is_not_copied(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    char path[64];
    int fd = -1;
    uint64_t size = 0;
    close(make_file(path, sizeof path, "weights", 0400));
    assert_ok(rp_segment_from_file(path, &fd, &size, &err));
    assert_int_equal(size, 7);
    struct rp_segment *segment = attach(fd);
    assert_true(rp_segment_info(segment)->is_file);
    assert_int_equal(rp_segment_part_count(segment), 1);
    size_t bytes = 0;
    char *data = rp_segment_part(segment, 0, &bytes);
    assert_int_equal(bytes, 7);
    assert_memory_equal(data, "weights", 7);
    data[0] = 'W';
    rp_segment_detach(segment);
    char start[8] = "";
    assert_int_equal(pread(fd, start, 7, 0), 7);
    assert_string_equal(start, "weights");
    close(fd);
    unlink(path);
}

static void a_file_that_others_may_change_is_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    char path[64];
    int fd = -1;
    uint64_t size = 0;
    int writable = make_file(path, sizeof path, "weights", 0620);
    assert_status(rp_segment_from_file(path, &fd, &size, &err), RP_ERR_DATA);
    assert_says(err.message, "others (mode 620)");
    assert_says(err.message, path);
    assert_int_equal(fchmod(writable, 0600), 0);
    refuse(writable, RP_ERR_DATA, "not open for reading only");
    unlink(path);
    assert_status(rp_segment_from_file(path, &fd, &size, &err), RP_ERR_NOT_FOUND);
    assert_status(rp_segment_from_file("/tmp", &fd, &size, &err), RP_ERR_DATA);
    close(make_file(path, sizeof path, "", 0400));
    assert_status(rp_segment_from_file(path, &fd, &size, &err), RP_ERR_DATA);
    unlink(path);
    assert_int_equal(fd, -1);
}

static void a_file_of_another_user_is_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    char path[64];
    struct rp_segment_info info;
    if (geteuid() != 0) skip(); /* only root can give a file away */
    int fd = make_file(path, sizeof path, "weights", 0400);
    assert_int_equal(fchown(fd, 4711, 4711), 0);
    close(fd);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_status(rp_segment_check(fd, &info, &err), RP_ERR_DATA);
    assert_says(err.message, "belongs to user 4711");
    close(fd);
    unlink(path);
}

static void a_pipe_by_name_is_not_waited_for(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    int fd = -1;
    uint64_t size = 0;
    char path[64];
    close(make_file(path, sizeof path, "x", 0400));
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_status(rp_segment_from_file(path, &fd, &size, &err), RP_ERR_DATA);
    unlink(path);
}

/* --- room, limits, leaks ------------------------------------------------------------------- */

static void without_room_nothing_is_written_and_both_figures_are_told(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_pressure_reading reading = {
        .machine_bytes_total = UINT64_C(8) << 30,
        .machine_bytes_available = UINT64_C(300) << 20,
        .group_bytes_limit = RP_UNKNOWN_U64,
        .group_bytes_high = RP_UNKNOWN_U64,
        .group_bytes_used = RP_UNKNOWN_U64,
        .group_bytes_reclaimable = RP_UNKNOWN_U64,
        .bytes_usable = UINT64_C(300) << 20,
    };
    assert_ok(rp_segment_check_room_in(UINT64_C(300) << 20, &reading, &err));
    assert_status(rp_segment_check_room_in(UINT64_C(417) << 20, &reading, &err), RP_ERR_MEMORY);
    assert_says(err.message, "417.0 MiB");
    assert_says(err.message, "the machine has 300.0 MiB left");
    reading.bytes_usable = RP_UNKNOWN_U64;
    assert_ok(rp_segment_check_room_in(UINT64_C(417) << 20, &reading, &err));
    /* No machine has that; the address need not be there, since nothing is read. */
    rp_object_part much = {"", (size_t)1 << 60};
    int fd = -1;
    uint64_t size = 0;
    assert_status(rp_segment_create(&much, 1, &fd, &size, &err), RP_ERR_MEMORY);
    assert_int_equal(fd, -1);
    much.bytes = (size_t)INT64_MAX;
    assert_status(rp_segment_create(&much, 1, &fd, &size, &err), RP_ERR_LIMIT);
    assert_status(rp_segment_create(&much, RP_LIMIT_SEGMENT_PARTS + 1, &fd, &size, &err),
                  RP_ERR_LIMIT);
}

static void a_write_that_fails_leaves_nothing_behind(void **state) {
    (void)state;
    static char bytes[64 << 10];
    rp_error err = RP_ERROR_INIT;
    struct rlimit before;
    rp_object_part part = {bytes, sizeof bytes};
    int fd = -1;
    uint64_t size = 0;
    int count = open_descriptors();
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = {16 << 10, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    rp_status status = rp_segment_create(&part, 1, &fd, &size, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(status, RP_ERR_IO);
    assert_says(err.message, "69632 bytes");
    assert_int_equal(open_descriptors(), count);
}

static void without_a_free_descriptor_the_limit_is_told(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rlimit before;
    int fd = -1;
    uint64_t size = 0;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {0, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    rp_status status = rp_segment_create(words, 3, &fd, &size, &err);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(status, RP_ERR_IO);
    assert_int_equal(err.os_errno, EMFILE);
    assert_says(err.hint, "ulimit -n");
}

/* Resident private bytes of this process. */
static long private_kilobytes(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    long size = 0;
    long resident = 0;
    long shared = 0;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld %ld", &size, &resident, &shared), 3);
    fclose(file);
    return (resident - shared) * 4;
}

static void attaching_500_times_leaks_nothing(void **state) {
    (void)state;
    enum { TIMES = 500, BYTES = 1 << 20 };
    char *bytes = calloc(1, BYTES);
    rp_object_part part = {bytes, BYTES};
    int fd = create(&part, 1);
    int descriptors = open_descriptors();
    int64_t blocks = rp_memory_live_count();
    long before = private_kilobytes();
    for (int i = 0; i < TIMES; i++) {
        struct rp_segment *segment = attach(fd);
        char *data = part_of(segment, 0);
        memset(data, i, BYTES / 4); /* copies of its own, which must go too */
        rp_segment_detach(segment);
    }
    assert_int_equal(open_descriptors(), descriptors);
    assert_int_equal(rp_memory_live_count(), blocks);
    assert_true(private_kilobytes() - before < 16 << 10); /* one copy kept each time: 125 MiB */
    close(fd);
    free(bytes);
}

static void each_allocation_may_fail(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    int descriptors = open_descriptors();
    int64_t blocks = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        int fd = -1;
        uint64_t size = 0;
        struct rp_segment *segment = NULL;
        rp_memory_fail_at(n);
        rp_status status = rp_segment_create(words, 3, &fd, &size, &err);
        if (status == RP_OK) status = rp_segment_attach(fd, &segment, &err);
        int is_pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        rp_segment_detach(segment);
        if (fd >= 0) close(fd);
        if (is_pending) {
            assert_int_equal(status, RP_OK);
            break;
        }
        assert_int_equal(status, RP_ERR_MEMORY);
    }
    assert_int_equal(open_descriptors(), descriptors);
    assert_int_equal(rp_memory_live_count(), blocks);
}

/* --- what it costs ------------------------------------------------------------------------- */

/* The proportional share of the mappings of memory files, in kB. */
static long segment_pss_kilobytes(pid_t pid) {
    char path[64];
    char line[512];
    long sum = 0;
    bool is_ours = false;
    snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        long pss = 0;
        if (strchr(line, '-') && strchr(line, ':') && strstr(line, " r")) {
            is_ours = strstr(line, "memfd:resourcepool-object") != NULL;
        } else if (is_ours && sscanf(line, "Pss: %ld kB", &pss) == 1) {
            sum += pss;
        }
    }
    fclose(file);
    return sum;
}

static void four_processes_that_attach_pay_once(void **state) {
    (void)state;
    enum { PROCESSES = 4, BYTES = 32 << 20 };
    char *bytes = malloc(BYTES);
    assert_non_null(bytes);
    memset(bytes, 7, BYTES);
    rp_object_part part = {bytes, BYTES};
    int fd = create(&part, 1);
    int ready[2];
    int done[2];
    pid_t pids[PROCESSES];
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(pipe2(done, O_CLOEXEC), 0);
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] > 0) continue;
        close(done[1]);
        struct rp_segment *segment = NULL;
        if (rp_segment_attach(fd, &segment, NULL) != RP_OK) _exit(1);
        const char *data = part_of(segment, 0);
        long sum = 0;
        for (size_t at = 0; at < BYTES; at += 4096) {
            sum += data[at];
        }
        char end = sum == 7L * (BYTES / 4096) ? 'r' : 'x';
        if (write(ready[1], &end, 1) != 1 || read(done[0], &end, 1) != 0) _exit(1);
        _exit(0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        char how = 0;
        assert_int_equal(read(ready[0], &how, 1), 1);
        assert_int_equal(how, 'r');
    }
    long all = 0;
    for (int i = 0; i < PROCESSES; i++) {
        all += segment_pss_kilobytes(pids[i]);
    }
    close(done[1]);
    for (int i = 0; i < PROCESSES; i++) {
        int how = 1;
        waitpid(pids[i], &how, 0);
        assert_int_equal(how, 0);
    }
    assert_in_range(all, BYTES / 1024, BYTES / 1024 * 105 / 100);
    close(ready[0]);
    close(ready[1]);
    close(done[0]);
    close(fd);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read_in_parts_that_begin_on_pages),
        cmocka_unit_test(a_segment_may_have_no_parts),
        cmocka_unit_test(a_table_of_many_parts_takes_several_pages),
        cmocka_unit_test(a_write_is_seen_by_nobody_else),
        cmocka_unit_test(the_table_and_what_is_protected_cannot_be_written_to),
        cmocka_unit_test(no_process_can_change_a_segment),
        cmocka_unit_test(each_seal_is_needed),
        cmocka_unit_test(a_head_that_lies_is_refused),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(a_plain_file_is_one_part_and_is_not_copied),
        cmocka_unit_test(a_file_that_others_may_change_is_refused),
        cmocka_unit_test(a_file_of_another_user_is_refused),
        cmocka_unit_test(a_pipe_by_name_is_not_waited_for),
        cmocka_unit_test(without_room_nothing_is_written_and_both_figures_are_told),
        cmocka_unit_test(a_write_that_fails_leaves_nothing_behind),
        cmocka_unit_test(without_a_free_descriptor_the_limit_is_told),
        cmocka_unit_test(attaching_500_times_leaks_nothing),
        cmocka_unit_test(each_allocation_may_fail),
        cmocka_unit_test(four_processes_that_attach_pay_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
