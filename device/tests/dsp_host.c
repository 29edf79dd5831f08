// The features on the PC: a whole signal in, all results out. For ctypes.
#include <string.h>

#include "dsp.h"

typedef struct {
    uint32_t windows, crossings, half_cycles;
    opq_feature_window_t window[4096];
    opq_feature_crossing_t crossing[256];
    opq_half_cycle_t half_cycle[65536];
    uint64_t crossing_known_at[256]; // samples pushed when it was reported
    uint32_t lost;
} host_results_t;

static opq_features_t features;

uint32_t host_results_size(void) { return sizeof(host_results_t); }
uint32_t host_features_size(void) { return sizeof features; }

int host_begin(float nominal_hz, float nominal_v, float v_per_lsb, float dip, float swell, float interruption) {
    opq_features_config_t config = {
        .rate_hz = 12000.0f,
        .nominal_hz = nominal_hz,
        .nominal_v = nominal_v,
        .v_per_lsb = v_per_lsb,
        .limit_pu = {dip, swell, interruption},
        .hysteresis_pu = 0.02f,
    };
    return opq_features_init(&features, &config);
}

void host_rate(float rate_hz) { opq_features_rate(&features, rate_hz); }

void host_push(const int16_t *counts, size_t n, size_t block, uint64_t first_sample, int clipped, host_results_t *results) {
    for (size_t at = 0; at < n; at += block) {
        size_t part = n - at < block ? n - at : block;
        opq_features_push(&features, counts + at, part, first_sample + at, clipped != 0);
        while (results->windows < 4096 && opq_features_measurement(&features, &results->window[results->windows])) {
            results->windows++;
        }
        while (results->crossings < 256 && opq_features_crossing(&features, &results->crossing[results->crossings])) {
            results->crossing_known_at[results->crossings++] = first_sample + at + part;
        }
        while (results->half_cycles < 65536 &&
               opq_features_half_cycle(&features, &results->half_cycle[results->half_cycles])) {
            results->half_cycles++;
        }
    }
    results->lost = features.lost;
}
