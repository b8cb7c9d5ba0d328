/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

#include <stdio.h>

static void print_engine(const rp_engine_info *info) {
    if (info->available) {
        printf("engine %s: %s%s%s\n", info->name, info->version, info->library_path[0] ? " " : "",
               info->library_path);
    } else {
        printf("engine %s: absent: %s\n", info->name, info->reason);
    }
}

int version_run(const struct arguments *arguments) {
    json_t *engines = json_array();
    if (!arguments->json) printf("rpool %s\n", rp_version_string());
    for (size_t i = 0; i < rp_engine_count(); i++) {
        static rp_engine_info info; /* large: paths and reasons */
        rp_error err = RP_ERROR_INIT;
        if (rp_engine_probe(i, &info, &err) != RP_OK) {
            json_decref(engines);
            return report(&err);
        }
        if (!arguments->json) {
            print_engine(&info);
            continue;
        }
        json_array_append_new(
            engines, json_pack("{s:s, s:b, s:b, s:o, s:o, s:o}", "name", info.name, "available",
                               info.available, "simulated", info.simulated, "version",
                               json_text(info.version[0] ? info.version : NULL), "library_path",
                               json_text(info.library_path[0] ? info.library_path : NULL), "reason",
                               json_text(info.reason[0] ? info.reason : NULL)));
    }
    if (!arguments->json) {
        json_decref(engines);
        return 0;
    }
    return print_json(json_pack("{s:s, s:o}", "version", rp_version_string(), "engines", engines));
}
