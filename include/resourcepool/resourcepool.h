/* SPDX-License-Identifier: Apache-2.0 */
/**
 * ResourcePool: load each model once per machine, not once per test. All public headers at once.
 */
#ifndef RESOURCEPOOL_RESOURCEPOOL_H
#define RESOURCEPOOL_RESOURCEPOOL_H

#include <resourcepool/bench.h>
#include <resourcepool/classify.h>
#include <resourcepool/event.h>
#include <resourcepool/facts.h>
#include <resourcepool/failure.h>
#include <resourcepool/hardware.h>
#include <resourcepool/kept.h>
#include <resourcepool/lease.h>
#include <resourcepool/ledger.h>
#include <resourcepool/log.h>
#include <resourcepool/machine.h>
#include <resourcepool/model.h>
#include <resourcepool/model_database.h>
#include <resourcepool/placement.h>
#include <resourcepool/pool.h>
#include <resourcepool/pressure.h>
#include <resourcepool/request.h>
#include <resourcepool/statistics.h>
#include <resourcepool/status.h>
#include <resourcepool/tensor.h>
#include <resourcepool/text.h>
#include <resourcepool/version.h>

#endif
