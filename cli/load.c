/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

#include <stdio.h>
#include <unistd.h>

enum { DEVICE, ENGINE, THREADS, REPEAT };

/* Ask the pool `repeat` times; the first lease is kept, and the caller's. */
static rp_status ask(rp_pool *pool, const rp_request *request, long repeat, rp_lease **lease,
                     rp_error *err) {
    rp_status status = rp_pool_get_model(pool, request, lease, err);
    for (long i = 1; i < repeat && status == RP_OK; i++) {
        rp_lease *again = NULL;
        status = rp_pool_get_model(pool, request, &again, err);
        rp_lease_release(again, NULL);
    }
    return status;
}

static int tell(const struct arguments *arguments, const rp_lease *lease,
                const rp_statistics *statistics, double run_ms) {
    const rp_entry_info *entry = rp_statistics_entry(statistics, 0);
    const rp_totals *totals = rp_statistics_totals(statistics); /* a shared model may come anew */
    const rp_placement *placement = rp_lease_placement(lease);
    const rp_model *model = rp_lease_model(lease);
    bool is_simulated = rp_model_is_simulated(model);
    rp_placement shown = *placement;
    if (!shown.precision) shown.precision = rp_model_precision(model);
    if (arguments->json) {
        return print_json(json_pack(
            "{s:s, s:o, s:f, s:f, s:o, s:o, s:I, s:I, s:I, s:b}", "key", entry->key, "placement",
            json_placement(&shown), "load_ms", entry->load_ms, "run_ms", run_ms, "memory_bytes",
            json_bytes(entry->memory_bytes), "method", json_text(entry->memory_method), "hits",
            (json_int_t)totals->hits, "misses", (json_int_t)totals->misses, "requests",
            (json_int_t)totals->requests, "simulated", is_simulated));
    }
    printf("%s%s\n", entry->key, is_simulated ? " (simulated)" : "");
    printf("placed   %s%s%s by %s: %s\n", shown.device, shown.precision ? " in " : "",
           shown.precision ? shown.precision : "", shown.engine, shown.reason);
    printf("load     %.1f ms\nrun      %.2f ms\n", entry->load_ms, run_ms);
    printf("memory   %s (%s)\n", bytes_text(entry->memory_bytes),
           entry->memory_method ? entry->memory_method : "nobody said");
    printf("requests %llu: %llu miss, %llu hits\n", (unsigned long long)totals->requests,
           (unsigned long long)totals->misses, (unsigned long long)totals->hits);
    return 0;
}

int load_run(const struct arguments *arguments) {
    long threads = 0;
    long repeat = 1;
    if (!parse_number("load", "threads", arguments->options[THREADS], 1, 4096, &threads) ||
        !parse_number("load", "repeat", arguments->options[REPEAT], 1, 1000000000, &repeat)) {
        return EXIT_USAGE;
    }
    rp_error err = RP_ERROR_INIT;
    rp_request request = RP_REQUEST_INIT;
    request.type = "model";
    request.name = arguments->words[0];
    request.device = arguments->options[DEVICE];
    request.engine = arguments->options[ENGINE];
    request.threads = (uint32_t)threads;

    rp_pool *pool = NULL;
    rp_lease *lease = NULL;
    rp_statistics *statistics = NULL;
    double run_ms = 0;
    int code = 0;
    bool is_terminal = isatty(STDERR_FILENO);
    if (is_terminal) fprintf(stderr, "loading '%s' ...\r", request.name);
    rp_status status = rp_pool_open(NULL, &pool, &err);
    if (status == RP_OK) status = ask(pool, &request, repeat, &lease, &err);
    if (status == RP_OK) status = rp_model_run_sample(rp_lease_model(lease), NULL, &run_ms, &err);
    if (status == RP_OK) status = rp_pool_statistics(pool, &statistics, &err);
    if (is_terminal) fputs("\033[K", stderr);
    if (status == RP_OK) {
        code = tell(arguments, lease, statistics, run_ms);
    } else {
        code = report_failure(&err, request.device, request.name, arguments->json);
    }
    rp_statistics_destroy(statistics);
    rp_lease_release(lease, NULL);
    rp_pool_close(pool, NULL);
    return code;
}
