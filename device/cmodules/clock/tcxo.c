#include "tcxo.h"

#include "loop.h"
#include "ticks.h"

#define SHORTEST_BLOCK_S 16.0
#define LONGEST_BLOCK_S 256.0   // noise of the sensor, 0.5 K / 16, is 0.1 % of the variance of 3 K: no bias to speak of
#define PULSE_NS 42.0           // two pulses' noise, 30 ns each
#define FLICKER_PPB 1.0         // of the oscillator itself, over minutes to an hour
#define WANDER_PPB2_S (0.16 / 256.0) // of the level: 1.5 ppb in an hour
#define WANDER_COEFFICIENT2_S (0.04 / 3600.0) // 0.2 ppb/K in an hour
#define LAG_ERROR 0.15          // of the sensor's lag: not known better
#define CURVE_PPB_K2 0.5        // of the coefficient beyond the temperatures seen
#define LEARNT_K 3.0
#define LEARNT_PPB_K 10.0
#define UNSEEN_K_S (5.0 / 3600.0) // what a room does, where there is no sensor
#define STALE_S 30.0

void opq_tcxo_start(opq_tcxo_t *tcxo, double ppb_per_k, double sigma_ppb_per_k) {
    *tcxo = (opq_tcxo_t){
        .coefficient_ppb_k = ppb_per_k,
        .sigma_ppb_k = sigma_ppb_per_k,
        .p_aa = 1e10, // 100 ppm
        .p_kk = sigma_ppb_per_k * sigma_ppb_per_k,
        .misfit = 1.0,
    };
}

void opq_tcxo_reading(opq_tcxo_t *tcxo, double celsius) {
    if (tcxo->block_open) {
        tcxo->block_sum_c += celsius;
        tcxo->block_readings++;
    }
}

void opq_tcxo_break(opq_tcxo_t *tcxo) {
    tcxo->block_open = false;
}

static bool fresh(const opq_thermometer_t *thermometer, int64_t tick) {
    return thermometer->readings > 1 && (double)(tick - thermometer->tick) < STALE_S * (double)OPQ_TICK_HZ;
}

// Steepness squared, with its doubt: what one kelvin of error costs.
static double ppb2_per_k2(const opq_tcxo_t *tcxo) {
    return tcxo->coefficient_ppb_k * tcxo->coefficient_ppb_k + tcxo->p_kk;
}

static void learn(opq_tcxo_t *tcxo, double y_ppb, double celsius, double r_ppb2, double seconds) {
    tcxo->p_aa += WANDER_PPB2_S * seconds;
    tcxo->p_kk += WANDER_COEFFICIENT2_S * seconds;
    double kelvin = celsius - tcxo->reference_c;
    double to_a = tcxo->p_aa + kelvin * tcxo->p_ak;
    double to_k = tcxo->p_ak + kelvin * tcxo->p_kk;
    double forecast = to_a + kelvin * to_k + r_ppb2;
    double off = y_ppb - (tcxo->level_ppb + kelvin * tcxo->coefficient_ppb_k);
    double odd = off * off / forecast;
    if (tcxo->blocks > 0) {
        tcxo->misfit += ((odd < 25.0 ? odd : 25.0) - tcxo->misfit) / 8.0;
    }
    if (odd > 25.0) { // the oscillator jumped: the level is lost, the coefficient is not
        tcxo->p_aa += off * off;
        to_a += off * off;
        forecast += off * off;
    }
    tcxo->level_ppb += to_a / forecast * off;
    tcxo->coefficient_ppb_k += to_k / forecast * off;
    tcxo->p_aa -= to_a / forecast * to_a;
    tcxo->p_ak -= to_a / forecast * to_k;
    tcxo->p_kk -= to_k / forecast * to_k;
    tcxo->blocks++;
}

static void open_block(opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer, const opq_loop_t *loop) {
    tcxo->block_open = true;
    tcxo->block_tick = loop->tick;
    tcxo->block_t_ns = loop->t_ns;
    tcxo->block_part_ns = loop->part_ns;
    tcxo->block_sensor_c = thermometer->sensor_c;
    tcxo->block_sum_c = 0.0;
    tcxo->block_readings = 0;
}

static void close_block(opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer, const opq_loop_t *loop, double seconds) {
    int64_t ticks = loop->tick - tcxo->block_tick;
    // Seconds told minus nominal ones; both whole parts are exact.
    double nominal_rest = (double)(ticks % 21) * (250.0 / 21.0);
    double gained_ns = (double)(loop->t_ns - tcxo->block_t_ns - ticks / 21 * 250) + loop->part_ns - tcxo->block_part_ns - nominal_rest;
    double y_ppb = gained_ns / seconds;
    double noise = PULSE_NS / seconds;
    double r_ppb2 = noise * noise + FLICKER_PPB * FLICKER_PPB;
    double celsius = tcxo->reference_c;
    if (tcxo->block_readings >= SHORTEST_BLOCK_S / 2 && fresh(thermometer, loop->tick)) {
        double slope_k_s = (thermometer->sensor_c - tcxo->block_sensor_c) / seconds;
        celsius = tcxo->block_sum_c / (double)tcxo->block_readings + thermometer->lag_s * slope_k_s;
        double end_k = thermometer->lag_s * 0.14 / seconds; // both ends of the smoothed line, 0.1 K each with few readings
        double late_k = LAG_ERROR * thermometer->lag_s * slope_k_s;
        r_ppb2 += ppb2_per_k2(tcxo) * (thermometer->noise2_k2 / (double)tcxo->block_readings + end_k * end_k + late_k * late_k);
        if (!tcxo->warm) {
            tcxo->warm = true;
            tcxo->reference_c = tcxo->lowest_c = tcxo->highest_c = celsius;
        }
        tcxo->lowest_c = celsius < tcxo->lowest_c ? celsius : tcxo->lowest_c;
        tcxo->highest_c = celsius > tcxo->highest_c ? celsius : tcxo->highest_c;
    } else {
        double blind_ppb = tcxo->sigma_ppb_k * UNSEEN_K_S * seconds;
        tcxo->p_aa += blind_ppb * blind_ppb;
    }
    learn(tcxo, y_ppb, celsius, r_ppb2, seconds);
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
    if (tcxo->blocks == 0) { // lost before anything was learnt: what the loop has
        bool seen = fresh(thermometer, loop->tick);
        double celsius = seen ? opq_thermometer_crystal_c(thermometer, loop->tick) : tcxo->reference_c;
        if (seen && !tcxo->warm) {
            tcxo->warm = true;
            tcxo->reference_c = tcxo->lowest_c = tcxo->highest_c = celsius;
        }
        learn(tcxo, loop->y_ppb, celsius, loop->p_yy + 9.0 + 0.04 * ppb2_per_k2(tcxo), 1.0);
    }
    tcxo->block_open = false;
    tcxo->hold_tick = loop->tick;
    tcxo->hold_s = tcxo->hold_kelvin_s = tcxo->hold_beyond = tcxo->hold_blind_s = 0.0;
    tcxo->hold_start_c = opq_thermometer_crystal_c(thermometer, loop->tick);
    tcxo->hold_p_xx = loop->p_xx;
}

static double kelvin_now(const opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer, int64_t tick) {
    return tcxo->warm && thermometer->readings > 1 ? opq_thermometer_crystal_c(thermometer, tick) - tcxo->reference_c : 0.0;
}

static double beyond_k(const opq_tcxo_t *tcxo, double kelvin) {
    double above = tcxo->reference_c + kelvin - tcxo->highest_c;
    double below = tcxo->lowest_c - tcxo->reference_c - kelvin;
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

double opq_tcxo_variance(const opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer, double ahead_s) {
    double kelvin = kelvin_now(tcxo, thermometer, tcxo->hold_tick);
    double beyond = beyond_k(tcxo, kelvin);
    double s = tcxo->hold_s + ahead_s;
    double kelvin_s = tcxo->hold_kelvin_s + kelvin * ahead_s;
    double k2 = ppb2_per_k2(tcxo);
    double scale = tcxo->misfit > 1.0 ? tcxo->misfit : 1.0;
    double moved_k = tcxo->warm ? kelvin + tcxo->reference_c - tcxo->hold_start_c : 0.0;
    double late_ns2 = LAG_ERROR * thermometer->lag_s * moved_k;
    double curve_ns = CURVE_PPB_K2 * (tcxo->hold_beyond + beyond * beyond * ahead_s);
    bool blind = tcxo->hold_blind_s > 0.0;
    double blind_s = blind ? tcxo->hold_blind_s + ahead_s : 0.0;
    double blind_ns = tcxo->sigma_ppb_k * UNSEEN_K_S * blind_s * blind_s / 2.0;
    double learnt = tcxo->p_aa * s * s + 2.0 * tcxo->p_ak * s * kelvin_s + tcxo->p_kk * kelvin_s * kelvin_s;
    return tcxo->hold_p_xx + learnt * scale + k2 * thermometer->noise2_k2 * s + k2 * late_ns2 * late_ns2 +
           WANDER_PPB2_S * s * s * s / 3.0 + FLICKER_PPB * FLICKER_PPB * s * s + curve_ns * curve_ns + blind_ns * blind_ns;
}

double opq_tcxo_variance_ppb(const opq_tcxo_t *tcxo, const opq_thermometer_t *thermometer) {
    double kelvin = kelvin_now(tcxo, thermometer, tcxo->hold_tick);
    double learnt = tcxo->p_aa + 2.0 * tcxo->p_ak * kelvin + tcxo->p_kk * kelvin * kelvin;
    return learnt + FLICKER_PPB * FLICKER_PPB + 0.01 * ppb2_per_k2(tcxo); // 0.1 K of the temperature now
}

bool opq_tcxo_learnt(const opq_tcxo_t *tcxo) {
    return tcxo->warm && tcxo->highest_c - tcxo->lowest_c >= LEARNT_K && tcxo->p_kk < LEARNT_PPB_K * LEARNT_PPB_K;
}
