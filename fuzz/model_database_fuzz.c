/* SPDX-License-Identifier: Apache-2.0 */
/* A model database is anybody's file; the rest of the bytes is a name to look for, and to size. */
#include "model/database.h"
#include "target.h"

#include <resourcepool/facts.h>
#include <resourcepool/model_database.h>
#include <string.h>

static void check_name(const char *name) {
    rp_model_facts facts;
    rp_memory_need need;
    rp_model_facts_of_name(name, NULL, &facts);
    FUZZ_ASSERT(memchr(facts.precision, '\0', sizeof facts.precision));
    if (facts.parameter_count != RP_UNKNOWN_U64) {
        FUZZ_ASSERT(facts.parameter_count_min <= facts.parameter_count);
        FUZZ_ASSERT(facts.parameter_count_max >= facts.parameter_count);
    }
    rp_model_memory_need(&facts, NULL, NULL, &need);
    FUZZ_ASSERT(need.total_bytes_min <= need.total_bytes);
    FUZZ_ASSERT(need.total_bytes_max >= need.total_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    rp_model_database *database = NULL;
    rp_error err = RP_ERROR_INIT;
    char name[128];
    size_t length = size < sizeof name - 1 ? size : sizeof name - 1;
    if (length > 0) memcpy(name, data, length);
    name[length] = '\0';
    check_name(name);
    if (rp_model_database_parse((const char *)data, size, "input", &database, &err) != RP_OK) {
        FUZZ_ASSERT(err.message[0] != '\0');
        return 0;
    }
    rp_classification found;
    if (rp_model_database_find(database, "a", &found)) {
        FUZZ_ASSERT(rp_family_name(found.family));
        FUZZ_ASSERT(found.confidence >= 0 && found.confidence <= 1);
    }
    rp_model_database_close(database);
    return 0;
}
