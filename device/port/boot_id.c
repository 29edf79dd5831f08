#include "boot_id.h"

#include "handover.h"
#include "power.h"
#include "stm32f405.h"

static uint32_t noise;

// FNV-1a over words: the order counts, and a change of one word changes all bits.
static uint32_t mix(uint32_t hash, uint32_t word) { return (hash ^ word) * UINT32_C(16777619); }

uint32_t opq_boot_noise(const uint32_t *from, const uint32_t *end) {
    uint32_t hash = UINT32_C(2166136261);
    while (from < end) {
        hash = mix(hash, *from++);
    }
    return hash;
}

void opq_boot_id_set(uint32_t value) { noise = value; }

uint32_t opq_boot_id(void) {
    static uint32_t id;
    if (id == 0) {
        opq_handover_t message;
        bool has_message = opq_handover_read((const opq_handover_t *)OPQ_HANDOVER_ADDRESS, &message);
        id = mix(mix(noise, has_message ? message.starts : 0), (uint32_t)opq_power_reset_cause());
        for (uint32_t word = 0; word < 3u; word++) {
            id = mix(id, UID[word]);
        }
        id = (id & UINT32_C(0x7FFFFFFF)) | 1u;
    }
    return id;
}
