// The slow channels: supply, battery, chip temperature and reference, sampled in the gaps of the mains.
#ifndef OPQ_SLOW_H
#define OPQ_SLOW_H

#include <stdint.h>

#include "ramfunc.h"

enum { OPQ_SLOW_SUPPLY, OPQ_SLOW_BATTERY, OPQ_SLOW_TEMPERATURE, OPQ_SLOW_VREFINT, OPQ_SLOW_CHANNELS };

// Counts of the 12-bit converter: the newest, and a mean over about 0.2 s in 1/256 count.
typedef struct {
    uint32_t readings; // 0: none yet, the other fields are invalid
    uint16_t newest[OPQ_SLOW_CHANNELS];
    uint32_t mean_q8[OPQ_SLOW_CHANNELS];
} opq_slow_counts_t;

// Factory calibration and the board's dividers (DS8626: taken at VDDA = 3.3 V).
typedef struct {
    uint16_t vrefint_cal, ts_cal1, ts_cal2; // 0 or 0xFFFF: unknown, typical values are used
    float supply_divider, battery_divider;
} opq_slow_scale_t;

typedef struct {
    float vdda_v, supply_v, battery_v, temperature_c; // NaN: unknown
} opq_slow_values_t;

void opq_slow_reset(void);
void opq_slow_take(uint32_t channel, uint16_t count); // interrupt context
void opq_slow_counts(opq_slow_counts_t *out);         // task context; of the running acquisition
// Supply is the newest reading; the others are means.
void opq_slow_values(const opq_slow_counts_t *counts, const opq_slow_scale_t *scale, opq_slow_values_t *out);

#endif
