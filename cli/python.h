/* SPDX-License-Identifier: Apache-2.0 */
/* The launcher of forked Pythons, for those who start it. */
#ifndef RP_CLI_PYTHON_H
#define RP_CLI_PYTHON_H

#include <limits.h>
#include <stdbool.h>

/* The path of rpool-python, which is beside this program or where it is built. */
bool python_find_launcher(char path[PATH_MAX]);

#endif
