/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The version of the library: the one that was compiled against, and the one that runs.
 */
#ifndef RESOURCEPOOL_VERSION_H
#define RESOURCEPOOL_VERSION_H

#include <resourcepool/api.h>

#define RP_VERSION_MAJOR  0
#define RP_VERSION_MINOR  1
#define RP_VERSION_PATCH  0
#define RP_VERSION_STRING "0.1.0"

/** One number that grows with every release: 10000 * major + 100 * minor + patch. */
#define RP_VERSION_NUMBER (RP_VERSION_MAJOR * 10000 + RP_VERSION_MINOR * 100 + RP_VERSION_PATCH)

RP_BEGIN_DECLS

/** The version of the library that is running, as RP_VERSION_NUMBER. Any thread, never fails. */
RP_API int rp_version(void);

/** The same as text, such as "0.1.0". Static storage. */
RP_API const char *rp_version_string(void);

RP_END_DECLS

#endif
