// Processor cycles per stage of the data path, counted by the core's cycle counter.
#ifndef OPQ_STAGES_H
#define OPQ_STAGES_H

#include <stdatomic.h>
#include <stdint.h>

typedef enum {
    OPQ_STAGE_DECIMATE,  // per half buffer, told by the acquisition's interrupt
    OPQ_STAGE_STAMP,     // per block, as the next two
    OPQ_STAGE_FRAME,
    OPQ_STAGE_FEATURES,
    OPQ_STAGE_RECEIVE,   // per run of PendSV, as the rest
    OPQ_STAGE_RESEND,
    OPQ_STAGE_TOTAL,
    OPQ_STAGES,
} opq_stage_t;

typedef struct {
    _Atomic uint32_t calls;
    uint32_t min;
    uint32_t max;
    uint64_t sum;  // 3,400 years of a busy core at 168 MHz
} opq_stage_cycles_t;

// Interrupt context: integers only. Inlined, since one caller lies in RAM. The one writer of a stage; it runs to
// its end before the reader goes on.
__attribute__((always_inline)) static inline void opq_stage_add(opq_stage_cycles_t *stage, uint32_t cycles) {
    uint32_t calls = atomic_load_explicit(&stage->calls, memory_order_relaxed);
    stage->min = calls == 0 || cycles < stage->min ? cycles : stage->min;
    stage->max = cycles > stage->max ? cycles : stage->max;
    stage->sum += cycles;
    atomic_store_explicit(&stage->calls, calls + 1U, memory_order_release);
}

// Main thread: whole numbers, read again when an interrupt came between.
static inline void opq_stage_read(const opq_stage_cycles_t *stage, opq_stage_cycles_t *out) {
    uint32_t calls;
    do {
        calls = atomic_load_explicit(&stage->calls, memory_order_acquire);
        atomic_store_explicit(&out->calls, calls, memory_order_relaxed);
        out->min = stage->min;
        out->max = stage->max;
        out->sum = stage->sum;
        atomic_thread_fence(memory_order_acquire);
    } while (atomic_load_explicit(&stage->calls, memory_order_relaxed) != calls);
}

#endif
