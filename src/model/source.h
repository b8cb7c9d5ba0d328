/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a model file, as its readers see them: on disk, or in memory for tests and fuzzing.
 * A reader asks for a range; what lies beyond the end is an error that names the file and the
 * place.
 */
#ifndef RP_MODEL_SOURCE_H
#define RP_MODEL_SOURCE_H

#include <resourcepool/status.h>
#include <stddef.h>
#include <stdint.h>

struct rp_source {
    const char *name; /* borrowed: the path, for messages */
    uint64_t size;
    int fd;                     /* -1: in memory */
    const unsigned char *bytes; /* NULL: on disk */
};

/* Open a file. RP_ERR_NOT_FOUND, RP_ERR_IO; a folder or a device is RP_ERR_DATA. */
rp_status rp_source_open(const char *path, struct rp_source *source, rp_error *err);

/* Bytes in memory, borrowed. */
void rp_source_init_memory(struct rp_source *source, const char *name, const void *bytes,
                           size_t size);

/* Close what rp_source_open() opened; nothing for memory. */
void rp_source_close(struct rp_source *source);

/*
 * Copy `length` bytes from `offset`. RP_ERR_DATA when they reach beyond the end ("'x.gguf' ends at
 * byte 24, 40 are needed for the header"), RP_ERR_IO when the disk fails. `what` is for messages.
 */
rp_status rp_source_read(const struct rp_source *source, uint64_t offset, void *out, size_t length,
                         const char *what, rp_error *err);

#endif
