#include "stages.h"

#include <stdbool.h>

// Interrupt context writes: each stage has one writer, which runs to its end before the reader goes on.
static opq_stage_cycles_t stages[OPQ_STAGES];

static uint32_t cpu_from;  // cycle counter at the last opq_stages_cpu_permille
static uint64_t cpu_busy;  // busy cycles then
static bool cpu_known;

void opq_stages_reset(void) {
    for (int stage = 0; stage < OPQ_STAGES; stage++) {
        atomic_init(&stages[stage].calls, 0);
        stages[stage].min = stages[stage].max = 0;
        stages[stage].sum = 0;
    }
    cpu_known = false;
}

// Interrupt context: integers only. Inlined, since one caller lies in RAM.
__attribute__((always_inline)) static inline void add(opq_stage_cycles_t *stage, uint32_t cycles) {
    uint32_t calls = atomic_load_explicit(&stage->calls, memory_order_relaxed);
    stage->min = calls == 0 || cycles < stage->min ? cycles : stage->min;
    stage->max = cycles > stage->max ? cycles : stage->max;
    stage->sum += cycles;
    atomic_store_explicit(&stage->calls, calls + 1U, memory_order_release);
}

void opq_stages_add(opq_stage_t stage, uint32_t cycles) { add(&stages[stage], cycles); }

void opq_stages_decimated(uint32_t cycles) { add(&stages[OPQ_STAGE_DECIMATE], cycles); }

uint32_t opq_stages_calls(opq_stage_t stage) {
    return atomic_load_explicit(&stages[stage].calls, memory_order_acquire);
}

void opq_stages_read(opq_stage_t stage, opq_stage_cycles_t *out) {
    uint32_t calls;
    do {  // again if an interrupt came between
        calls = opq_stages_calls(stage);
        atomic_store_explicit(&out->calls, calls, memory_order_relaxed);
        out->min = stages[stage].min;
        out->max = stages[stage].max;
        out->sum = stages[stage].sum;
        atomic_thread_fence(memory_order_acquire);
    } while (atomic_load_explicit(&stages[stage].calls, memory_order_relaxed) != calls);
}

uint16_t opq_stages_cpu_permille(uint32_t now) {
    opq_stage_cycles_t run, decimate;
    opq_stages_read(OPQ_STAGE_TOTAL, &run);
    opq_stages_read(OPQ_STAGE_DECIMATE, &decimate);
    uint64_t busy = run.sum + decimate.sum;
    uint32_t passed = now - cpu_from;
    uint64_t permille = cpu_known && passed > 0 ? (busy - cpu_busy) * 1000U / passed : 0;
    cpu_from = now;
    cpu_busy = busy;
    cpu_known = true;
    return permille > 1000U ? 1000U : (uint16_t)permille;
}
