/* SPDX-License-Identifier: Apache-2.0 */
#include "placement/placement.h"
int main(void) {
    return 0;
}
