/* SPDX-License-Identifier: Apache-2.0 */
#include <resourcepool/version.h>

int rp_version(void) {
    return RP_VERSION_NUMBER;
}

const char *rp_version_string(void) {
    return RP_VERSION_STRING;
}
