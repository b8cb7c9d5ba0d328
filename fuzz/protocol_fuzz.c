/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames between processes, both ways: what a broker reads of clients and workers, and what they
 * read of it, is one parser. What it takes for a frame is written again and must be the same.
 */
#include "machine/channel.h"
#include "machine/protocol.h"
#include "target.h"

#include <string.h>

static void check_text(const uint8_t *data, size_t size, const char *text) {
    if (!text) return;
    const uint8_t *at = (const uint8_t *)text;
    FUZZ_ASSERT(at >= data && at < data + size);
    FUZZ_ASSERT(memchr(at, '\0', size - (size_t)(at - data)) != NULL);
}

static void check_ports(const struct rp_bytes *bytes) {
    struct rp_engine_ports ports = {0};
    rp_error err = RP_ERROR_INIT;
    if (rp_ports_decode(bytes, &ports, &err) != RP_OK) {
        FUZZ_ASSERT(err.message[0] != '\0');
        return;
    }
    struct rp_text again = RP_TEXT_INIT;
    rp_ports_encode(&ports, &again);
    FUZZ_ASSERT(!again.failed);
    struct rp_engine_ports second = {0};
    struct rp_bytes written = {again.bytes, (uint32_t)again.length};
    FUZZ_ASSERT(rp_ports_decode(&written, &second, NULL) == RP_OK);
    FUZZ_ASSERT(second.count == ports.count);
    rp_engine_ports_fini(&second);
    rp_engine_ports_fini(&ports);
    rp_text_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t again[RP_CHANNEL_FRAME_BYTES_MAX];
    struct rp_message message = {.type = 0};
    rp_error err = RP_ERROR_INIT;
    struct rp_bytes whole = {data, size < UINT32_MAX ? (uint32_t)size : UINT32_MAX};
    check_ports(&whole);
    rp_status status = rp_frame_parse(data, size, &message, &err);
    if (status != RP_OK) {
        FUZZ_ASSERT(err.message[0] != '\0');
        return 0;
    }
    switch (message.type) {
    case RP_MESSAGE_HELLO:
        check_text(data, size, message.hello.command);
        break;
    case RP_MESSAGE_ACQUIRE:
        check_text(data, size, message.acquire.name);
        check_text(data, size, message.acquire.preferences);
        FUZZ_ASSERT(message.acquire.name && message.acquire.resource_type);
        break;
    case RP_MESSAGE_LEASED:
        check_ports(&message.leased.inputs);
        check_ports(&message.leased.outputs);
        break;
    case RP_MESSAGE_LOADED:
        check_ports(&message.loaded.inputs);
        break;
    case RP_MESSAGE_FAILED:
    case RP_MESSAGE_REFUSED:
        check_text(data, size, message.failed.hint);
        FUZZ_ASSERT(rp_error_from_text(&message.failed, &err) != RP_OK);
        break;
    default:
        break;
    }
    size_t bytes = 0;
    if (size > sizeof again || message.version == 0) return 0;
    FUZZ_ASSERT(rp_frame_write(&message, again, &bytes, NULL) == RP_OK);
    FUZZ_ASSERT(bytes == size && memcmp(again, data, size) == 0);
    return 0;
}
