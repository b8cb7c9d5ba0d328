/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the tests of what people see: lease a simulated model through the broker, say its key, hold
 * it until stdin ends.
 *
 *     hold NAME [DEVICE]
 */
#include <resourcepool/resourcepool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    rp_error err = RP_ERROR_INIT;
    rp_pool *pool = NULL;
    rp_lease *lease = NULL;
    rp_pool_options options = RP_POOL_OPTIONS_INIT;
    rp_request request = RP_REQUEST_INIT;
    char byte;
    if (argc < 2) return 2;
    options.share = RP_SHARE_MACHINE;
    request.type = "model";
    request.name = argv[1];
    request.engine = "simulated";
    request.device = argc > 2 ? argv[2] : NULL;
    if (rp_pool_open(&options, &pool, &err) != RP_OK ||
        rp_pool_get_model(pool, &request, &lease, &err) != RP_OK) {
        printf("error %s\n", err.message);
        rp_pool_close(pool, NULL);
        return 1;
    }
    printf("%s\n", rp_lease_key(lease));
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    rp_lease_release(lease, NULL);
    return rp_pool_close(pool, NULL) == RP_OK ? 0 : 1;
}
