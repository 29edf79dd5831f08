#include "tcxo.h"
#include "ticks.h"

#define SMOOTHING_S 60.0 // the line's memory: noise of 0.5 K becomes 0.07 K, a change of slope is seen after 1 min
#define NOISE_K 0.5      // assumed before it is measured (DS8626 table 69 states no figure; see README)
#define ODD_K 5.0        // a reading so far off is an error of the converter
#define ODD_IN_A_ROW 10u // unless so many readings follow in a row
#define WARM_UP 120u     // readings until the memory is full
#define STALE_S 60.0     // the line is not extended for longer

void opq_thermometer_start(opq_thermometer_t *thermometer, double lag_s) {
    *thermometer = (opq_thermometer_t){.lag_s = lag_s, .noise2_k2 = NOISE_K * NOISE_K};
}

bool opq_thermometer_push(opq_thermometer_t *thermometer, int64_t tick, double celsius) {
    if (!(celsius > -60.0 && celsius < 150.0)) { // NaN too
        return false;
    }
    double s = (double)(tick - thermometer->tick) / (double)OPQ_TICK_HZ;
    if (thermometer->readings == 0 || s > 10.0 * STALE_S) {
        double lag_s = thermometer->lag_s;
        opq_thermometer_start(thermometer, lag_s);
        thermometer->tick = tick;
        thermometer->sensor_c = celsius;
        thermometer->readings = 1;
        return true;
    }
    if (s < 0.01) {
        return false;
    }
    double forecast_c = thermometer->sensor_c + thermometer->slope_k_s * s;
    double off_k = celsius - forecast_c;
    if ((off_k > ODD_K || off_k < -ODD_K) && ++thermometer->odd < ODD_IN_A_ROW) {
        return false;
    }
    if (thermometer->odd >= ODD_IN_A_ROW) { // too many in a row: accept
        thermometer->readings = 0;
        return opq_thermometer_push(thermometer, tick, celsius);
    }
    thermometer->odd = 0;
    // A least-squares line with growing memory, then with fading memory (critically damped alpha-beta filter).
    double n = (double)thermometer->readings + 1.0;
    double theta = 1.0 / (1.0 + s / SMOOTHING_S);
    double alpha = 1.0 - theta * theta;
    double beta = (1.0 - theta) * (1.0 - theta);
    double grow_alpha = 2.0 * (2.0 * n - 1.0) / (n * (n + 1.0));
    double grow_beta = 6.0 / (n * (n + 1.0));
    alpha = grow_alpha > alpha ? grow_alpha : alpha;
    beta = grow_beta > beta ? grow_beta : beta;
    thermometer->tick = tick;
    thermometer->sensor_c = forecast_c + (alpha < 1.0 ? alpha : 1.0) * off_k;
    thermometer->slope_k_s += (beta < 1.0 ? beta : 1.0) * off_k / s;
    if (thermometer->readings < WARM_UP) {
        thermometer->readings++;
    } else {
        thermometer->noise2_k2 += (off_k * off_k - thermometer->noise2_k2) / (double)WARM_UP;
    }
    return true;
}

double opq_thermometer_crystal_c(const opq_thermometer_t *thermometer, int64_t tick) {
    double s = (double)(tick - thermometer->tick) / (double)OPQ_TICK_HZ;
    s = s < 0.0 ? 0.0 : s > STALE_S ? STALE_S : s;
    // Too few readings give no slope: a line through ten of them with 0.5 K of noise is off by 0.05 K/s.
    double trust = thermometer->readings >= WARM_UP ? 1.0 : (double)thermometer->readings / (double)WARM_UP;
    return thermometer->sensor_c + trust * thermometer->slope_k_s * (thermometer->lag_s + s);
}

double opq_thermometer_variance_k2(const opq_thermometer_t *thermometer) {
    // End of a least-squares line: 4 / n; of a critically damped filter: 1.25 / memory.
    double grown = thermometer->readings > 0 ? 4.0 / (double)thermometer->readings : 4.0;
    double faded = 1.25 / SMOOTHING_S;
    return thermometer->noise2_k2 * (grown > faded ? grown : faded);
}
