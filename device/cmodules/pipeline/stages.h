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
    _Atomic uint32_t calls;  // wraps after half a year of PendSV: a mean is the bench's, not a gauge
    uint32_t min;
    uint32_t max;
    uint64_t sum;  // 3,400 years of a busy core at 168 MHz
} opq_stage_cycles_t;

void opq_stages_reset(void);
// Interrupt context (PendSV).
void opq_stages_add(opq_stage_t stage, uint32_t cycles);
uint32_t opq_stages_calls(opq_stage_t stage);

#endif
