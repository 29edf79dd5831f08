#include "slow.h"

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>

// DS8626, "Temperature sensor characteristics" and "Embedded internal reference voltage", with their calibration
// values.
#define CALIBRATED_AT_V 3.3f
#define CALIBRATED_LOW_C 30.0f
#define CALIBRATED_HIGH_C 110.0f
#define TYPICAL_VREFINT_V 1.21f
#define TYPICAL_SENSOR_25C_V 0.76f
#define TYPICAL_SENSOR_V_PER_C 0.0025f
#define FULL_COUNTS 4095.0f
#define FULL_RATIO 4096.0f

enum { MEAN_SHIFT = 4 }; // a sixteenth per reading, 75 readings a second: time constant 0.2 s

static opq_slow_counts_t counts;
static _Atomic uint32_t changes;

void opq_slow_reset(void) { counts = (opq_slow_counts_t){0}; }

// Interrupt context: integers only, no loop.
OPQ_RAMFUNC void opq_slow_take(uint32_t channel, uint16_t count) {
    uint32_t now_q8 = (uint32_t)count << 8, mean_q8 = counts.mean_q8[channel];
    counts.newest[channel] = count;
    counts.mean_q8[channel] = counts.readings < OPQ_SLOW_CHANNELS
                                  ? now_q8
                                  : mean_q8 + (now_q8 >> MEAN_SHIFT) - (mean_q8 >> MEAN_SHIFT);
    counts.readings++;
    atomic_fetch_add_explicit(&changes, 1, memory_order_release);
}

void opq_slow_counts(opq_slow_counts_t *out) {
    uint32_t before, after;
    do { // a reading comes every 3.3 ms: two rounds at most
        before = atomic_load_explicit(&changes, memory_order_acquire);
        *out = counts;
        atomic_thread_fence(memory_order_acquire);
        after = atomic_load_explicit(&changes, memory_order_relaxed);
    } while (before != after);
}

static bool calibrated(uint16_t value) { return value != 0 && value != 0xFFFF; }

void opq_slow_values(const opq_slow_counts_t *from, const opq_slow_scale_t *scale, opq_slow_values_t *out) {
    *out = (opq_slow_values_t){NAN, NAN, NAN, NAN};
    float reference = (float)from->mean_q8[OPQ_SLOW_VREFINT] / 256.0f;
    if (from->readings < OPQ_SLOW_CHANNELS || reference < 1.0f) {
        return;
    }
    out->vdda_v = calibrated(scale->vrefint_cal) ? CALIBRATED_AT_V * (float)scale->vrefint_cal / reference
                                                 : TYPICAL_VREFINT_V * FULL_COUNTS / reference;
    float v_per_count = out->vdda_v / FULL_RATIO;
    out->supply_v = (float)from->newest[OPQ_SLOW_SUPPLY] * v_per_count * scale->supply_divider;
    out->battery_v = (float)from->mean_q8[OPQ_SLOW_BATTERY] / 256.0f * v_per_count * scale->battery_divider;
    float sensor = (float)from->mean_q8[OPQ_SLOW_TEMPERATURE] / 256.0f;
    if (calibrated(scale->ts_cal1) && calibrated(scale->ts_cal2) && scale->ts_cal2 > scale->ts_cal1) {
        float at_cal = sensor * out->vdda_v / CALIBRATED_AT_V; // as it would read at the VDDA of the calibration
        out->temperature_c = CALIBRATED_LOW_C + (CALIBRATED_HIGH_C - CALIBRATED_LOW_C) *
                                                    (at_cal - (float)scale->ts_cal1) /
                                                    (float)(scale->ts_cal2 - scale->ts_cal1);
    } else {
        out->temperature_c = 25.0f + (sensor * v_per_count - TYPICAL_SENSOR_25C_V) / TYPICAL_SENSOR_V_PER_C;
    }
}
