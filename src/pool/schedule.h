/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decision points: where the outcome hangs on which thread goes first. tests/schedule_test.c builds
 * the library with RP_SCHEDULE_POINTS, stops threads at these places and lets others pass. In every
 * other build they are nothing.
 */
#ifndef RP_POOL_SCHEDULE_H
#define RP_POOL_SCHEDULE_H

#ifdef RP_SCHEDULE_POINTS
/* The test's own. */
void rp_schedule_point(const char *point);
#define RP_POINT(point) rp_schedule_point(point)
#else
#define RP_POINT(point) ((void)0)
#endif

#endif
