// TCXO: the oscillator's frequency as level + coefficient * temperature, learnt from blocks of locked time, and what
// is known of its error after so many seconds without pulses.
#ifndef OPQ_TCXO_H
#define OPQ_TCXO_H

#include <stdbool.h>
#include <stdint.h>

// The crystal's temperature from a noisy sensor that follows it late: a line through the recent past, plus lag * slope.
typedef struct {
    int64_t tick;      // of the last reading
    double sensor_c;
    double slope_k_s;
    double noise2_k2;  // mean square of reading minus line
    double lag_s;
    uint32_t readings; // since start, up to a limit
    uint32_t odd;      // in a row, too far off to be one
} opq_thermometer_t;

void opq_thermometer_start(opq_thermometer_t *thermometer, double lag_s);
bool opq_thermometer_push(opq_thermometer_t *thermometer, int64_t tick, double celsius); // false: not believed
double opq_thermometer_crystal_c(const opq_thermometer_t *thermometer, int64_t tick);

typedef struct {
    // learnt: y = level + coefficient * (T - reference)
    double reference_c;
    double level_ppb;
    double coefficient_ppb_k;
    double p_aa, p_ak, p_kk;
    double misfit;
    double lowest_c, highest_c; // seen while locked
    uint32_t blocks;
    bool warm;                  // blocks had a temperature
    // the block under way
    int64_t block_tick;
    int64_t block_t_ns;
    double block_part_ns;
    double block_sensor_c;
    double block_sum_c;
    uint32_t block_readings;
    bool block_open;
    // a holdover under way
    int64_t hold_tick;
    double hold_s;
    double hold_kelvin_s; // integral of T - reference
    double hold_start_c;
    double hold_beyond;   // integral of (kelvin beyond what was seen)^2
    double hold_blind_s;  // without temperature
    double hold_p_xx;     // of the phase where it began
} opq_tcxo_t;

#endif
