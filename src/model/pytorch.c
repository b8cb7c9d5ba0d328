/* SPDX-License-Identifier: Apache-2.0 */
#include "model/pytorch.h"

#include "base/status.h"
#include "model/index.h"

#include <resourcepool/hardware.h>
#include <string.h>

rp_status rp_pytorch_read(const struct rp_source *source, rp_model_facts *facts, rp_error *err) {
    /* A zip archive since PyTorch 1.6, a pickle of protocol 2 or later before. */
    unsigned char begin[4];
    rp_status status = rp_source_read(source, 0, begin, sizeof begin, "the beginning", err);
    if (status != RP_OK) return status;
    bool is_zip = memcmp(begin, "PK\3\4", 4) == 0;
    bool is_pickle = begin[0] == 0x80 && begin[1] >= 2 && begin[1] <= 5;
    if (!is_zip && !is_pickle) {
        return rp_fail(err, RP_ERR_UNSUPPORTED, "'%s' does not begin like a file of PyTorch",
                       source->name);
    }
    facts->format = "pytorch";
    return RP_OK;
}

rp_status rp_pytorch_read_index(const struct rp_source *source, rp_model_facts *facts,
                                rp_error *err) {
    struct rp_index index;
    rp_status status = rp_index_read(source, &index, err);
    if (status != RP_OK) return status;
    uint64_t file_bytes = 0;
    uint32_t file_count = 0;
    for (size_t at = 0; status == RP_OK && at < index.row_count;
         at = rp_index_file_end(&index, at)) {
        struct rp_path path;
        struct rp_source file;
        status = rp_index_open_file(&index, at, &path, &file, err);
        if (status != RP_OK) break;
        status = rp_pytorch_read(&file, facts, err);
        rp_source_close(&file);
        file_bytes += file.size;
        file_count++;
    }
    if (status == RP_OK) {
        facts->file_bytes = file_bytes;
        facts->file_count = file_count;
        facts->tensor_count = index.row_count;
        /* A claim, not a sum of ours: it must at least fit the files. */
        if (index.total_bytes <= file_bytes) {
            facts->weights_bytes = index.total_bytes;
            facts->weights_method = RP_FACTS_CONFIG;
        }
    }
    rp_index_fini(&index);
    return status;
}
