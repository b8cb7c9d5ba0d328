/* SPDX-License-Identifier: Apache-2.0 */
/* rpool serve --worker FD: what a broker runs for each model. Hidden: nobody types it. */
#include "command.h"

#include <resourcepool/machine.h>

int worker_run(const char *descriptor) {
    long fd = -1;
    if (!parse_number("serve", "worker", descriptor, 3, 1023, &fd)) return EXIT_USAGE;
    return rp_worker_serve((int)fd);
}
