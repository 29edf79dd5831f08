#include "crash.h"

#include <stddef.h>

#include "power.h"
#include "stm32f405.h"

#define CRASH_MAGIC UINT32_C(0x4F515059) // a crash that no start has reported; ...58 was the shorter record of before
#define TAKEN_MAGIC UINT32_C(0x4F51505A) // the last one, reported

extern uint32_t opq_stack_top[];

static bool taken;

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
    return (crash->magic == CRASH_MAGIC || crash->magic == TAKEN_MAGIC) && crash->check == check_of(crash);
}

bool opq_crash_take(opq_crash_t *out) {
    opq_crash_t *crash = record();
    if (!is_record(crash)) {
        *crash = (opq_crash_t){.magic = TAKEN_MAGIC};
        crash->check = check_of(crash);
    }
    taken = crash->magic == CRASH_MAGIC;
    crash->magic = TAKEN_MAGIC;
    crash->check = check_of(crash);
    *out = *crash;
    return taken;
}

const uint32_t *opq_crash_words(void) { return taken ? &record()->kind : NULL; }

enum { FRAME_WORDS = 8, FRAME_WORDS_FP = 26, CCM_BASE = 0x10000000 };
#define EXC_RETURN_NO_FP OPQ_BIT(4)  // PM0214 2.3.7
#define PSR_ALIGNED OPQ_BIT(9)       // a word was left out to align the frame

// Whether words can be read from here up to the stack's top: the stack pointer may be what is wrong.
static bool is_stack(const uint32_t *from) {
    uint32_t address = (uint32_t)(uintptr_t)from;
    return address >= CCM_BASE && (address & 3u) == 0 && from < opq_stack_top;
}

static const uint32_t *keep_frame(opq_crash_t *crash, const uint32_t *frame, uint32_t exc_return) {
    crash->r0 = frame[0];
    crash->r1 = frame[1];
    crash->r2 = frame[2];
    crash->r3 = frame[3];
    crash->r12 = frame[4];
    crash->lr = frame[5];
    crash->pc = frame[6];
    crash->psr = frame[7];
    return frame + ((exc_return & EXC_RETURN_NO_FP) != 0 ? FRAME_WORDS : FRAME_WORDS_FP) +
           ((crash->psr & PSR_ALIGNED) != 0 ? 1 : 0);
}

void opq_crash(opq_crash_kind_t kind, uint32_t pc, const uint32_t *stack, uint32_t exc_return) {
    opq_crash_t *crash = record();
    uint32_t count = is_record(crash) ? crash->count : 0;
    *crash = (opq_crash_t){
        .magic = CRASH_MAGIC, .kind = kind, .count = count + 1u, .pc = pc,
        .cfsr = SCB->CFSR, .hfsr = SCB->HFSR, .mmfar = SCB->MMFAR, .bfar = SCB->BFAR,
    };
    const uint32_t *from = stack;
    if (exc_return != 0 && is_stack(stack) && is_stack(stack + FRAME_WORDS - 1)) {
        from = keep_frame(crash, stack, exc_return);
    }
    crash->sp = (uint32_t)(uintptr_t)from;
    for (uint32_t n = 0; n < sizeof crash->stack / sizeof *crash->stack && is_stack(from + n); n++) {
        crash->stack[n] = from[n];
    }
    crash->check = check_of(crash);
    opq_power_reset();
}
