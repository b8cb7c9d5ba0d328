/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/holdings.h"

#include "base/text.h"
#include "pool/ledger.h"

#include <stdio.h>
#include <string.h>

/* "bert/model.onnx" of a path: files of many models have the same name, their folders do not. */
static const char *short_name(const char *name) {
    const char *last = strrchr(name, '/');
    if (!last) return name;
    bool is_plain = strncmp(last + 1, "model", 5) == 0;
    const char *from = last;
    while (is_plain && from > name && from[-1] != '/') {
        from--;
    }
    return is_plain && from < last ? from : last + 1;
}

/* Keep it if it is one of the largest. */
static void offer(struct rp_holdings *holdings, const struct rp_entry *entry) {
    uint64_t bytes = entry->charge.bytes;
    size_t at = holdings->count;
    while (at > 0 && holdings->largest[at - 1].bytes < bytes) {
        at--;
    }
    if (at == RP_HOLDINGS_TOLD) return;
    if (holdings->count < RP_HOLDINGS_TOLD) holdings->count++;
    memmove(&holdings->largest[at + 1], &holdings->largest[at],
            (holdings->count - 1 - at) * sizeof holdings->largest[0]);
    struct rp_holding *holding = &holdings->largest[at];
    struct rp_key_parts parts = rp_key_parts_of(entry->instance);
    const char *name = parts.name ? parts.name : parts.path ? parts.path : parts.type;
    snprintf(holding->name, sizeof holding->name, "%s", short_name(name));
    rp_text_make_printable(holding->name);
    holding->bytes = bytes;
    holding->is_loading = entry->state == RP_ENTRY_LOADING;
    holding->lease_count = holding->is_loading ? 0 : rp_entry_lease_count(entry);
}

static void limit(struct rp_holdings *holdings, uint64_t budget_bytes, uint64_t charged_bytes) {
    if (budget_bytes == RP_UNKNOWN_U64) return;
    uint64_t others = charged_bytes > holdings->own_bytes ? charged_bytes - holdings->own_bytes : 0;
    uint64_t bytes = budget_bytes > others ? budget_bytes - others : 0;
    if (bytes >= holdings->free_bytes) return;
    holdings->free_bytes = bytes;
    holdings->is_budget = true;
}

void rp_holdings_take(rp_pool *pool, const char *device,
                      bool (*is_own)(const struct rp_entry *entry, void *user), void *user,
                      struct rp_holdings *holdings) {
    struct rp_meter_reading reading = {RP_UNKNOWN_U64, RP_UNKNOWN_U64};
    pool->meter.read(pool->meter.user, device, &reading);
    *holdings = (struct rp_holdings){.free_bytes = reading.usable_bytes};
    rp_lock_acquire(&pool->lock);
    uint16_t index = rp_ledger_device_index(&pool->ledger, device);
    for (const struct rp_entry *entry = pool->oldest; entry; entry = entry->next) {
        if (entry->charge.bytes == 0 || entry->charge_device != index) continue;
        if (is_own(entry, user)) {
            holdings->own_bytes += entry->charge.bytes;
        } else {
            offer(holdings, entry);
        }
    }
    if (index != RP_LEDGER_NO_DEVICE) {
        limit(holdings, pool->ledger.devices[index].budget_bytes,
              rp_ledger_charged(pool->ledger.devices[index].sums));
    }
    limit(holdings, rp_ledger_budget_all(&pool->ledger), rp_ledger_charged(pool->ledger.sums));
    rp_lock_release(&pool->lock);
}
