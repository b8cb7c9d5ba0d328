/* SPDX-License-Identifier: Apache-2.0 */
/* Detection, for the tests of it. */
#ifndef RP_HARDWARE_DETECT_H
#define RP_HARDWARE_DETECT_H

/* For tests only: give up the snapshot of the process, so that the next call detects again. */
void rp_hardware_forget(void);

#endif
