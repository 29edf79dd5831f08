// Processor cycles per stage of the data path, counted by the core's cycle counter.
#ifndef OPQ_STAGES_H
#define OPQ_STAGES_H

#include <stdatomic.h>
#include <stdint.h>

#include "ramfunc.h"

typedef enum {
    OPQ_STAGE_DECIMATE,  // per half buffer, reported by the acquisition's interrupt
    OPQ_STAGE_STAMP,     // per block, as the next two
    OPQ_STAGE_FRAME,
    OPQ_STAGE_FEATURES,
    OPQ_STAGE_RECEIVE,   // per run of PendSV, as the rest
    OPQ_STAGE_RESEND,
    OPQ_STAGE_TOTAL,
    OPQ_STAGES,
} opq_stage_t;

typedef struct {
    _Atomic uint32_t calls;  // wraps after half a year of PendSV: a mean is for the bench, no gauge
    uint32_t min;
    uint32_t max;
    uint64_t sum;  // 3,400 years of a busy core at 168 MHz
} opq_stage_cycles_t;

void opq_stages_reset(void);
// Interrupt context (PendSV).
void opq_stages_add(opq_stage_t stage, uint32_t cycles);
// Interrupt context: the acquisition's interrupt reports what a half buffer cost.
OPQ_RAMFUNC void opq_stages_decimated(uint32_t cycles);
uint32_t opq_stages_calls(opq_stage_t stage);
// Main thread; a snapshot.
void opq_stages_read(opq_stage_t stage, opq_stage_cycles_t *out);
// Busy cycles of PendSV and of decimation per 1000 since the last call (at most 20 s ago); 0 at the first.
// `now`: the core's cycle counter.
uint16_t opq_stages_cpu_permille(uint32_t now);

#endif
