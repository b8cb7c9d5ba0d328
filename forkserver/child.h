/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RP_FORKSERVER_CHILD_H
#define RP_FORKSERVER_CHILD_H
#endif
