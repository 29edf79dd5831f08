#include "handover.h"

#include <string.h>

#include "link.h"

static uint32_t sum(const opq_handover_t *message) {
    return opq_crc32(0, (const uint8_t *)message, offsetof(opq_handover_t, crc32));
}

bool opq_handover_read(const opq_handover_t *at, opq_handover_t *out) {
    memcpy(out, at, sizeof *out);
    if (out->magic == OPQ_HANDOVER_MAGIC && out->crc32 == sum(out)) {
        return true;
    }
    memset(out, 0, sizeof *out);
    return false;
}

void opq_handover_write(opq_handover_t *at, opq_handover_t *message) {
    message->magic = OPQ_HANDOVER_MAGIC;
    message->crc32 = sum(message);
    memcpy(at, message, sizeof *at);
}
