#include "tcxo.h"

#include "loop.h"
#include "ticks.h"

#define SHORTEST_BLOCK_S 16.0
#define LONGEST_BLOCK_S 256.0
#define PULSE_NS 42.0                // two pulses' noise, 30 ns each
#define FLICKER_PPB 1.0              // of the oscillator itself, over minutes to an hour
#define WANDER_PPB2_S (1.0 / 3600.0) // of the level: 1 ppb in an hour
#define LAG_ERROR 0.15               // of the sensor's lag, an assumption
#define CURVE_PPB_K2 0.5             // of the coefficient beyond the temperatures seen
#define LONG_BLOCKS 84.0             // memory of the coefficient: 6 h
#define SHORT_BLOCKS 14.0            // of the level: 1 h
#define WHOLE_K2 0.002               // a block with so much noise in its temperature, or less, has weight 1
#define CHANGE_K2 0.05               // less variance (a spread of 0.8 K) may be wander of the sensor
#define AGEING_PPB2_K2 0.01          // per block: 0.4 ppb/K in an hour, 2 in a day
#define FIT_TO_LEARN_S 63.0          // shorter blocks count for the level alone
#define LEARNT_K 2.6                 // of block means: 3 K from end to end, less what the means round off
#define LEARNT_PPB_K 10.0
#define UNSEEN_K_S (5.0 / 3600.0) // assumed change of a room, if there is no sensor
#define KINK_K_S UNSEEN_K_S       // the slope may have changed when the pulses stopped; the line shows it
#define KINK_S 120.0              // only after this time: its memory and the lag of the sensor
#define STALE_S 30.0

void opq_tcxo_start(opq_tcxo_t *tcxo, double ppb_per_k, double sigma_ppb_per_k) {
    *tcxo = (opq_tcxo_t){
        .prior_ppb_k = ppb_per_k,
        .sigma_ppb_k = sigma_ppb_per_k,
        .coefficient_ppb_k = ppb_per_k,
        .coefficient_variance = sigma_ppb_per_k * sigma_ppb_per_k,
        .spread_ppb2 = FLICKER_PPB * FLICKER_PPB,
    };
}

void opq_tcxo_reading(opq_tcxo_t *tcxo, double celsius) {
    if (tcxo->block_open) {
        tcxo->block_sum_c += celsius;
        tcxo->block_readings++;
    }
}

void opq_tcxo_break(opq_tcxo_t *tcxo) { tcxo->block_open = false; }

static bool fresh(const opq_thermometer_t *thermometer, int64_t tick) {
    return thermometer->readings > 1 && (double)(tick - thermometer->tick) < STALE_S * (double)OPQ_TICK_HZ;
}

// Slope squared plus its variance: the effect of one kelvin of error.
static double ppb2_per_k2(const opq_tcxo_t *tcxo) {
    return tcxo->coefficient_ppb_k * tcxo->coefficient_ppb_k + tcxo->coefficient_variance;
}

// The result of the regression, weighted against the estimate before.
static void solve(opq_tcxo_t *tcxo) {
    double blocks = tcxo->weight2 > 0.0 ? tcxo->long_weight * tcxo->long_weight / tcxo->weight2 : 1.0;
    // The part of the temperature's spread that is not noise: minus the noise's mean and two standard deviations.
    double noise_k2 = tcxo->noise_k2 * (1.0 + 2.0 * opq_root(2.0 / blocks));
    double signal_k2 = tcxo->square_k2 - tcxo->noise_k2;
    double sure_k2 = tcxo->square_k2 - noise_k2;
    double prior = 1.0 / (tcxo->sigma_ppb_k * tcxo->sigma_ppb_k + 1e-6);
    if (sure_k2 <= CHANGE_K2 * tcxo->long_weight ||
        blocks < 2.0) { // no new information: the estimate stays, and ages
        tcxo->coefficient_variance += AGEING_PPB2_K2;
        if (tcxo->coefficient_variance > 1.0 / prior) {
            tcxo->coefficient_variance = 1.0 / prior;
        }
        return;
    }
    double slope = tcxo->product_ppb_k / signal_k2;
    double noise_ppb2 = slope * slope * tcxo->noise_k2 / tcxo->long_weight; // per unit of weight
    double residual_ppb2 = tcxo->spread_ppb2 + noise_ppb2;
    double information = sure_k2 / residual_ppb2;
    // Noise of the regressor also moves the slope: its true variance differs from the one subtracted.
    double loose = slope * tcxo->noise_k2 / signal_k2 * opq_root(2.0 / blocks);
    double variance = 1.0 / information + loose * loose;
    double total = 1.0 / variance + prior;
    tcxo->coefficient_ppb_k = (slope / variance + tcxo->prior_ppb_k * prior) / total;
    tcxo->coefficient_variance = 1.0 / total;
}

// Weighted means and sums of squares about them; older blocks count less.
static void gather(opq_tcxo_t *tcxo, double y_ppb, double celsius, double noise_k2, double weight) {
    double keep = 1.0 - weight / LONG_BLOCKS;
    tcxo->long_weight = tcxo->long_weight * keep + weight;
    tcxo->weight2 = tcxo->weight2 * keep * keep + weight * weight;
    double share = weight / tcxo->long_weight;
    double kelvin = celsius - tcxo->long_c;
    double ppb = y_ppb - tcxo->long_ppb;
    double about = weight * (1.0 - share);
    tcxo->long_c += share * kelvin;
    tcxo->long_ppb += share * ppb;
    tcxo->square_k2 = tcxo->square_k2 * keep + about * kelvin * kelvin;
    tcxo->product_ppb_k = tcxo->product_ppb_k * keep + about * kelvin * ppb;
    tcxo->noise_k2 = tcxo->noise_k2 * keep + about * (noise_k2 + tcxo->long_c_variance_k2);
    tcxo->long_c_variance_k2 = (1.0 - share) * (1.0 - share) * tcxo->long_c_variance_k2 + share * share * noise_k2;
    if (tcxo->weight2 <= weight * weight) { // the first
        tcxo->lowest_c = tcxo->highest_c = celsius;
    }
    tcxo->lowest_c = celsius < tcxo->lowest_c ? celsius : tcxo->lowest_c;
    tcxo->highest_c = celsius > tcxo->highest_c ? celsius : tcxo->highest_c;
}

static void learn(opq_tcxo_t *tcxo, double y_ppb, double celsius, double noise_k2, double noise_ppb2, bool fit) {
    double weight = noise_k2 > WHOLE_K2 ? WHOLE_K2 / noise_k2 : 1.0;
    double quiet = FLICKER_PPB * FLICKER_PPB / noise_ppb2; // short blocks are noisy in frequency as well
    weight = quiet < weight ? quiet : weight;
    double off_ppb = y_ppb - (tcxo->level_ppb + tcxo->coefficient_ppb_k * (celsius - tcxo->middle_c));
    if (tcxo->blocks > 1) { // error of the forecast beyond what the thermometer explains
        double explained = ppb2_per_k2(tcxo) * noise_k2 +
                           tcxo->coefficient_variance * (celsius - tcxo->middle_c) * (celsius - tcxo->middle_c);
        double unexplained = off_ppb * off_ppb - explained;
        unexplained = unexplained < 0.0 ? 0.0 : unexplained > 1e4 ? 1e4 : unexplained;
        tcxo->spread_ppb2 += weight * (unexplained - tcxo->spread_ppb2) / 8.0;
        if (tcxo->spread_ppb2 < FLICKER_PPB * FLICKER_PPB) {
            tcxo->spread_ppb2 = FLICKER_PPB * FLICKER_PPB;
        }
    }
    if (fit) {
        gather(tcxo, y_ppb, celsius, noise_k2, weight);
        solve(tcxo);
    }
    double keep = 1.0 - weight / SHORT_BLOCKS;
    tcxo->weight = tcxo->weight * keep + weight;
    double share = weight / tcxo->weight;
    tcxo->middle_c += share * (celsius - tcxo->middle_c);
    tcxo->level_ppb += share * (y_ppb - tcxo->level_ppb);
    tcxo->blocks++;
}

static void open_block(opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer, const opq_loop_t *loop) {
    tcxo->block_open = true;
    tcxo->block_tick = loop->tick;
    tcxo->block_t_ns = loop->t_ns;
    tcxo->block_part_ns = loop->part_ns;
    tcxo->block_sensor_c = thermometer->sensor_c;
    tcxo->block_variance_k2 = opq_thermometer_variance_k2(thermometer);
    tcxo->block_sum_c = 0.0;
    tcxo->block_readings = 0;
}

static void begin_warm(opq_tcxo_t *tcxo, double celsius) {
    if (!tcxo->warm) {
        tcxo->warm = true;
        tcxo->middle_c = tcxo->long_c = tcxo->lowest_c = tcxo->highest_c = celsius;
        tcxo->square_k2 = tcxo->product_ppb_k = tcxo->noise_k2 = 0.0;
    }
}

static void close_block(opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer, const opq_loop_t *loop,
                        double seconds) {
    int64_t ticks = loop->tick - tcxo->block_tick;
    // The loop's seconds minus nominal ones; both whole parts are exact.
    double nominal_rest = (double)(ticks % 21) * (250.0 / 21.0);
    double gained_ns =
        (double)(loop->t_ns - tcxo->block_t_ns - ticks / 21 * 250) + loop->part_ns - tcxo->block_part_ns - nominal_rest;
    double noise_ppb = PULSE_NS / seconds;
    double noise_ppb2 = noise_ppb * noise_ppb + FLICKER_PPB * FLICKER_PPB;
    if (tcxo->block_readings < SHORTEST_BLOCK_S / 2 || !fresh(thermometer, loop->tick)) {
        learn(tcxo, gained_ns / seconds, tcxo->middle_c, 0.0, noise_ppb2, false);
        return;
    }
    // The sensor's mean lags the crystal's by the difference of its two ends.
    double slope_k_s = (thermometer->sensor_c - tcxo->block_sensor_c) / seconds;
    double celsius = tcxo->block_sum_c / (double)tcxo->block_readings + thermometer->lag_s * slope_k_s;
    double lag_part = thermometer->lag_s / seconds;
    double late_k = LAG_ERROR * thermometer->lag_s * slope_k_s;
    double noise_k2 = thermometer->noise2_k2 / (double)tcxo->block_readings +
                      lag_part * lag_part * (opq_thermometer_variance_k2(thermometer) + tcxo->block_variance_k2) +
                      late_k * late_k;
    begin_warm(tcxo, celsius);
    learn(tcxo, gained_ns / seconds, celsius, noise_k2, noise_ppb2, seconds > FIT_TO_LEARN_S);
}

void opq_tcxo_locked(opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer, const opq_loop_t *loop) {
    if (!tcxo->block_open) {
        open_block(tcxo, thermometer, loop);
        return;
    }
    double seconds = (double)(loop->tick - tcxo->block_tick) / (double)OPQ_TICK_HZ;
    double wanted_s = tcxo->blocks < 4 ? SHORTEST_BLOCK_S * (double)(1u << tcxo->blocks) : LONGEST_BLOCK_S;
    if (seconds >= wanted_s - 0.5) {
        close_block(tcxo, thermometer, loop, seconds);
        open_block(tcxo, thermometer, loop);
    }
}

void opq_tcxo_hold(opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer, const opq_loop_t *loop) {
    if (tcxo->blocks == 0) { // lost before anything was learnt: use the estimate of the loop
        double celsius = tcxo->middle_c;
        if (fresh(thermometer, loop->tick)) {
            celsius = opq_thermometer_crystal_c(thermometer, loop->tick);
            begin_warm(tcxo, celsius);
        }
        learn(tcxo, loop->y_ppb, celsius, opq_thermometer_variance_k2(thermometer),
              loop->p_yy + FLICKER_PPB * FLICKER_PPB, false);
    }
    tcxo->block_open = false;
    tcxo->hold_tick = loop->tick;
    tcxo->hold_s = tcxo->hold_kelvin_s = tcxo->hold_beyond = tcxo->hold_blind_s = 0.0;
    tcxo->hold_start_c = opq_thermometer_crystal_c(thermometer, loop->tick);
    tcxo->hold_p_xx = loop->p_xx;
}

static double kelvin_now(const opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer, int64_t tick) {
    return tcxo->warm && thermometer->readings > 1 ? opq_thermometer_crystal_c(thermometer, tick) - tcxo->middle_c
                                                   : 0.0;
}

static double beyond_k(const opq_tcxo_t *tcxo, double kelvin) {
    double above = tcxo->middle_c + kelvin - tcxo->highest_c;
    double below = tcxo->lowest_c - tcxo->middle_c - kelvin;
    double beyond = above > below ? above : below;
    return beyond > 0.0 ? beyond : 0.0;
}

double opq_tcxo_held_ppb(opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer, int64_t tick) {
    double seconds = (double)(tick - tcxo->hold_tick) / (double)OPQ_TICK_HZ;
    double kelvin = kelvin_now(tcxo, thermometer, tick);
    if (seconds > 0.0) {
        double beyond = beyond_k(tcxo, kelvin);
        tcxo->hold_tick = tick;
        tcxo->hold_s += seconds;
        tcxo->hold_kelvin_s += kelvin * seconds;
        tcxo->hold_beyond += beyond * beyond * seconds;
        if (!tcxo->warm || !fresh(thermometer, tick)) {
            tcxo->hold_blind_s += seconds;
        }
    }
    return tcxo->level_ppb + tcxo->coefficient_ppb_k * kelvin;
}

// Variance of the level: noise of the mean, and wander within the hour that it covers.
static double level_variance(const opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer) {
    double weight = tcxo->weight > 0.0 ? tcxo->weight : 1.0;
    double one_ppb2 = tcxo->spread_ppb2 + ppb2_per_k2(tcxo) * WHOLE_K2 * thermometer->noise2_k2 * 4.0;
    return one_ppb2 / weight + WANDER_PPB2_S * LONGEST_BLOCK_S * weight / 2.0 + FLICKER_PPB * FLICKER_PPB;
}

double opq_tcxo_variance(const opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer, double ahead_s) {
    double kelvin = kelvin_now(tcxo, thermometer, tcxo->hold_tick);
    double beyond = beyond_k(tcxo, kelvin);
    double s = tcxo->hold_s + ahead_s;
    double kelvin_s = tcxo->hold_kelvin_s + kelvin * ahead_s;
    double moved_k = tcxo->warm ? kelvin + tcxo->middle_c - tcxo->hold_start_c : 0.0;
    double late_k_s = LAG_ERROR * thermometer->lag_s * moved_k;
    double kink_s = s < KINK_S ? s : KINK_S;
    double kink_k_s = tcxo->warm ? KINK_K_S * kink_s * kink_s : 0.0;
    // Variance of the integral of white sensor noise, read once a second, and of the smoothed line at its start.
    double sensor_k2_s2 = thermometer->noise2_k2 * s + late_k_s * late_k_s + kink_k_s * kink_k_s;
    double curve_ns = CURVE_PPB_K2 * (tcxo->hold_beyond + beyond * beyond * ahead_s);
    double blind_s = tcxo->hold_blind_s > 0.0 ? tcxo->hold_blind_s + ahead_s : 0.0;
    double blind_ns = tcxo->sigma_ppb_k * UNSEEN_K_S * blind_s * blind_s / 2.0;
    return tcxo->hold_p_xx + level_variance(tcxo, thermometer) * s * s +
           tcxo->coefficient_variance * kelvin_s * kelvin_s + ppb2_per_k2(tcxo) * sensor_k2_s2 +
           WANDER_PPB2_S * s * s * s / 3.0 + curve_ns * curve_ns + blind_ns * blind_ns;
}

double opq_tcxo_variance_ppb(const opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer) {
    double kelvin = kelvin_now(tcxo, thermometer, tcxo->hold_tick);
    return level_variance(tcxo, thermometer) + tcxo->coefficient_variance * kelvin * kelvin +
           ppb2_per_k2(tcxo) * 2.0 * opq_thermometer_variance_k2(thermometer);
}

bool opq_tcxo_learnt(const opq_tcxo_t *tcxo) {
    return tcxo->warm && tcxo->highest_c - tcxo->lowest_c >= LEARNT_K &&
           tcxo->coefficient_variance < LEARNT_PPB_K * LEARNT_PPB_K;
}
