/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what the kernel says under /proc and /sys. The parsers take bytes, not files: whoever
 * wrote them, a kernel, a container runtime or a person, they are checked and never trusted.
 */
#ifndef RP_HARDWARE_PROC_H
#define RP_HARDWARE_PROC_H

#include <resourcepool/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file, or the errno that stands in its place. */
struct rp_proc_file {
    char *bytes; /* NULL: could not be read; else NUL-terminated */
    size_t length;
    int os_errno;
};

/*
 * Read root + path. A file that cannot be read is an answer, not a failure: only missing memory is
 * (RP_ERR_MEMORY). Give back with rp_proc_file_fini(), after a failure too.
 */
rp_status rp_proc_file_read(struct rp_proc_file *file, const char *root, const char *path,
                            rp_error *err);

/* The same, but only its first 16 KiB, and no complaint when there is more. */
rp_status rp_proc_file_read_start(struct rp_proc_file *file, const char *root, const char *path,
                                  rp_error *err);
void rp_proc_file_fini(struct rp_proc_file *file);

/* A piece of a text; not NUL-terminated. */
struct rp_span {
    const char *at;
    size_t length;
};

/* The next line of `rest`, without its newline; false when there is none left. */
bool rp_span_next_line(struct rp_span *rest, struct rp_span *line);

/* The next word of `rest`, words being parted by any of `separators`; false at the end. */
bool rp_span_next_word(struct rp_span *rest, const char *separators, struct rp_span *word);

/* Without blanks at either end. */
struct rp_span rp_span_trim(struct rp_span span);
bool rp_span_is(struct rp_span span, const char *text);

/* All of it is one decimal number of 64 bits. */
bool rp_span_parse_u64(struct rp_span span, uint64_t *value);

/*
 * The bytes of a line such as "MemTotal:  1024 kB", also behind "Node 0 " as in a NUMA node's
 * file; RP_UNKNOWN_U64 when there is no such line or it is damaged.
 */
uint64_t rp_proc_meminfo_bytes(struct rp_span text, const char *key);

/* The value of a line such as "inactive_file 4096"; RP_UNKNOWN_U64 likewise. */
uint64_t rp_proc_stat_value(struct rp_span text, const char *key);

/* What /proc/cpuinfo says about its first processor, and how many it lists. Spans point into it. */
struct rp_cpuinfo {
    struct rp_span name;     /* at NULL: not told */
    struct rp_span features; /* words             */
    struct rp_span implementer;
    struct rp_span part;
    const char *architecture; /* a guess from what it lists: "x86_64", "aarch64"; NULL */
    uint32_t processor_count;
};
void rp_cpuinfo_parse(struct rp_span text, struct rp_cpuinfo *info);

/*
 * Walk a list of processors such as "0-3,8": ascending, without overlap, at most
 * RP_LIMIT_PROCESSORS numbers below it. False when it is not one. An empty list counts 0.
 */
bool rp_cpulist_count(struct rp_span text, uint32_t *count);

/* The same, and the numbers; `numbers` holds RP_LIMIT_PROCESSORS of them. */
bool rp_cpulist_parse(struct rp_span text, uint32_t *numbers, uint32_t *count);

#endif
