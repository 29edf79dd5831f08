#include "crash.h"

#include "power.h"
#include "stm32f405.h"

#define CRASH_MAGIC UINT32_C(0x4F515058) // "OQPX"

static opq_crash_t *record(void) { return (opq_crash_t *)OPQ_CRASH_ADDRESS; }

static uint32_t check_of(const opq_crash_t *crash) {
    const uint32_t *words = (const uint32_t *)crash;
    uint32_t sum = 0;
    for (uint32_t n = 0; n < sizeof *crash / 4u - 1u; n++) {
        sum += words[n];
    }
    return ~sum;
}

static bool is_record(const opq_crash_t *crash) {
    return crash->magic == CRASH_MAGIC && crash->check == check_of(crash);
}

bool opq_crash_take(opq_crash_t *out) {
    opq_crash_t *crash = record();
    if (!is_record(crash)) {
        *crash = (opq_crash_t){.magic = CRASH_MAGIC};
    }
    *out = *crash;
    crash->kind = OPQ_CRASH_NONE;
    crash->check = check_of(crash);
    return out->kind != OPQ_CRASH_NONE;
}

void opq_crash(opq_crash_kind_t kind, uint32_t pc, uint32_t lr, uint32_t psr) {
    opq_crash_t *crash = record();
    uint32_t count = is_record(crash) ? crash->count : 0;
    *crash = (opq_crash_t){
        .magic = CRASH_MAGIC, .kind = kind, .pc = pc, .lr = lr, .psr = psr,
        .cfsr = SCB->CFSR, .hfsr = SCB->HFSR, .bfar = SCB->BFAR, .count = count + 1u,
    };
    crash->check = check_of(crash);
    opq_power_reset();
}
