/* SPDX-License-Identifier: Apache-2.0 */
/* rpool-python: in the place of a Python interpreter. */
#include "wire.h"

int main(void) {
    return 125;
}
