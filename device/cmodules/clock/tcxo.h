// TCXO: the oscillator's frequency as level + coefficient * temperature, learnt from blocks of locked time, and its
// error after a time without pulses.
#ifndef OPQ_TCXO_H
#define OPQ_TCXO_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"

// The crystal's temperature from a noisy sensor that follows it late: a line through the recent past, plus lag * slope.
typedef struct {
    int64_t tick; // of the last reading
    double sensor_c;
    double slope_k_s;
    double noise2_k2; // mean square of reading minus line
    double lag_s;
    uint32_t readings; // since start, up to a limit
    uint32_t odd;      // readings in a row that are too far off
} opq_thermometer_t;

void opq_thermometer_start(opq_thermometer_t *thermometer, double lag_s);
bool opq_thermometer_push(opq_thermometer_t *thermometer, int64_t tick, double celsius); // false: rejected
double opq_thermometer_variance_k2(const opq_thermometer_t *thermometer); // of the end of the line
double opq_thermometer_crystal_c(const opq_thermometer_t *thermometer, int64_t tick);

// Frequency = level + coefficient * (T - middle). The coefficient by a regression of block means over hours, in which
// the sensor's noise is subtracted from the temperature's variance (else the coefficient would come out too
// small); the level by means over the last hour, since it wanders.
typedef struct {
    // hours: weighted means, and sums of squares about them
    double long_weight, long_c, long_ppb;
    double square_k2, product_ppb_k, noise_k2;
    double long_c_variance_k2;
    double weight2; // sum of squared weights, for the effective number of blocks
    // the last hour
    double weight, middle_c, level_ppb;
    double spread_ppb2; // of one whole block about the forecast, as measured
    double prior_ppb_k, sigma_ppb_k;
    double coefficient_ppb_k, coefficient_variance;
    double lowest_c, highest_c; // seen while locked
    uint32_t blocks;
    bool warm; // blocks had a temperature
    // the block under way
    int64_t block_tick;
    int64_t block_t_ns;
    double block_part_ns;
    double block_sensor_c;
    double block_variance_k2; // of that
    double block_sum_c;
    uint32_t block_readings;
    bool block_open;
    // a holdover under way
    int64_t hold_tick;
    double hold_s;
    double hold_kelvin_s; // integral of T - middle
    double hold_start_c;
    double hold_beyond;  // integral of (kelvin beyond what was seen)^2
    double hold_blind_s; // without temperature
    double hold_p_xx;    // of the phase where it began
} opq_tcxo_t;

void opq_tcxo_start(opq_tcxo_t *tcxo, double ppb_per_k, double sigma_ppb_per_k);
void opq_tcxo_reading(opq_tcxo_t *tcxo, double celsius);

// Locked, at the loop's anchor: closes a block when it is long enough, opens one when there is none.
void opq_tcxo_locked(opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer, const opq_loop_t *loop);
void opq_tcxo_break(opq_tcxo_t *tcxo); // discards the open block: it is not all locked time

void opq_tcxo_hold(opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer,
                   const opq_loop_t *loop); // begins at the loop's anchor
double opq_tcxo_held_ppb(opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer,
                         int64_t tick); // the frequency from now on
double opq_tcxo_variance(const opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer,
                         double ahead_s);                                                   // of the phase, ns^2
double opq_tcxo_variance_ppb(const opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer); // of the frequency
bool opq_tcxo_learnt(const opq_tcxo_t *tcxo);

#endif
