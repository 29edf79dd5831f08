#include <math.h>

#include "dsp.h"
#include "extremes.h"
#include "windows.h"

enum { CHUNK = 40 }; // samples per step: an edge is processed 3.3 ms late at most
#define WINDOW_S 0.2f // IEC 61000-4-30:2015, 4.4: 10 cycles at 50 Hz, 12 at 60 Hz

// Dip, swell, interruption: on which side of the limit rms is beyond it.
static const float crossing_signs[OPQ_CROSSING_KINDS] = {-1.0f, 1.0f, -1.0f};

static bool is_good(const opq_features_config_t *config) {
    bool good = config->rate_hz >= 10000.0f && config->rate_hz <= 15000.0f && config->nominal_hz >= 45.0f &&
                config->nominal_hz <= 65.0f && config->nominal_v > 0.0f && config->v_per_lsb > 0.0f &&
                config->hysteresis_pu >= 0.0f;
    for (uint32_t kind = 0; kind < OPQ_CROSSING_KINDS; kind++) {
        good = good && config->limit_pu[kind] >= 0.0f && config->limit_pu[kind] < 10.0f;
    }
    return good; // NaN fails every comparison
}

static void begin(opq_features_t *features, uint64_t first_sample) {
    opq_history_begin(&features->history, first_sample);
    features->doubled = 0;
    features->edge_count = 0;
    features->window.open = features->closing.open = false;
    features->accepted = false;
    features->peak_next = first_sample + OPQ_HIGH_PASS_REACH;
    opq_harmonics_stop(&features->harmonics);
    opq_tracker_begin(&features->tracker, first_sample);
}

opq_features_status_t opq_features_init(opq_features_t *features, const opq_features_config_t *config) {
    if (!is_good(config)) {
        return OPQ_FEATURES_BAD_CONFIG;
    }
    features->config = *config;
    features->clipped_until = 0;
    features->beyond = 0;
    features->measurement_ready = false;
    features->crossing_head = features->crossing_tail = features->half_head = features->half_tail = 0;
    features->lost = 0;
    opq_tracker_init(&features->tracker, config->rate_hz, config->nominal_hz);
    opq_harmonics_init(&features->harmonics, (uint32_t)(WINDOW_S * config->nominal_hz + 0.5f));
    begin(features, 0);
    return OPQ_FEATURES_OK;
}

void opq_features_rate(opq_features_t *features, float rate_hz) {
    if (fabsf(rate_hz - 12000.0f) < 120.0f) {
        features->config.rate_hz = rate_hz;
        opq_tracker_rate(&features->tracker, rate_hz);
    }
}

void opq_features_limits(opq_features_t *features, const float limit_pu[OPQ_CROSSING_KINDS], float hysteresis_pu) {
    for (uint32_t kind = 0; kind < OPQ_CROSSING_KINDS; kind++) {
        features->config.limit_pu[kind] = limit_pu[kind];
    }
    features->config.hysteresis_pu = hysteresis_pu;
    features->beyond = 0;
}

static void put(opq_features_t *features, int16_t count) {
    opq_history_t *history = &features->history;
    if (history->end > history->begin) {
        int32_t before = *opq_history_from(history, history->end - 1);
        features->doubled += (uint64_t)((int64_t)before * before + (int64_t)count * count);
    }
    opq_history_put(history, count);
}

// Requires the samples around `position`; takes at most the history's length of steps back, usually below CHUNK.
static opq_energy_t energy_at(const opq_features_t *features, opq_position_t position) {
    uint64_t index = opq_position_floor(position);
    const int16_t *counts = opq_history_from(&features->history, index);
    uint32_t after = (uint32_t)(features->history.end - 1 - index);
    opq_energy_t energy = {features->doubled, 0.0f};
    for (uint32_t k = 0; k < after; k++) {
        energy.whole -= (uint64_t)((int64_t)counts[k] * counts[k] + (int64_t)counts[k + 1] * counts[k + 1]);
    }
    float square = (float)counts[0] * (float)counts[0], next = (float)counts[1] * (float)counts[1];
    float part = opq_position_fraction(position);
    energy.rest = 2.0f * part * (square + 0.5f * part * (next - square));
    return energy;
}

static void look_for_crossings(opq_features_t *features, uint64_t sample, float rms) {
    const opq_features_config_t *config = &features->config;
    for (uint8_t kind = 0; kind < OPQ_CROSSING_KINDS; kind++) {
        float limit = config->limit_pu[kind], sign = crossing_signs[kind];
        if (limit == 0.0f) {
            continue;
        }
        float past = sign * (rms / config->nominal_v - limit);
        uint8_t bit = (uint8_t)(1u << kind);
        bool was = (features->beyond & bit) != 0;
        if (was ? past > -config->hysteresis_pu : past <= 0.0f) {
            continue;
        }
        features->beyond ^= bit;
        if (features->crossing_head - features->crossing_tail == OPQ_CROSSINGS_KEPT) {
            features->crossing_tail++;
            features->lost++;
        }
        features->crossings[features->crossing_head++ % OPQ_CROSSINGS_KEPT] = (opq_feature_crossing_t){
            .sample = sample,
            .kind = (uint8_t)(kind + 1),
            .entering = !was,
            .rms_v = rms,
            .limit_v = limit * config->nominal_v,
        };
    }
}

static void half_cycle(opq_features_t *features) {
    float samples = opq_position_span(features->edges[0], features->edges[2]);
    float rms = opq_energy_rms_v(features, features->energies[0], features->energies[2], samples);
    uint64_t sample = opq_position_floor(features->edges[0]);
    features->half_cycles[features->half_head++ % OPQ_HALF_CYCLES_KEPT] = (opq_half_cycle_t){
        .sample = sample,
        .begin = opq_position_fraction(features->edges[0]),
        .cycle_samples = samples,
        .rms_v = rms,
    };
    if (features->half_head - features->half_tail > OPQ_HALF_CYCLES_KEPT) {
        features->half_tail++; // half cycles need not be fetched
    }
    opq_feature_window_t *window = &features->window.found;
    window->half_cycle_min_v = opq_smaller(window->half_cycle_min_v, rms);
    window->half_cycle_max_v = opq_larger(window->half_cycle_max_v, rms);
    look_for_crossings(features, sample, rms);
}

static void edge(opq_features_t *features, opq_position_t at) {
    opq_energy_t energy = energy_at(features, at);
    for (uint32_t k = 0; k < 2; k++) {
        features->edges[k] = features->edges[k + 1];
        features->energies[k] = features->energies[k + 1];
    }
    features->edges[2] = at;
    features->energies[2] = energy;
    features->edge_count += features->edge_count < 3;
    if (features->edge_count == 3) {
        half_cycle(features);
    }
    if (features->window.open && ++features->window.half_cycles == 2 * features->harmonics.cycles) {
        opq_windows_close(features, at, energy);
    }
    if (features->window.open) {
        opq_harmonics_run(&features->harmonics, &features->history, opq_position_round(at));
    } else {
        opq_windows_open(features, at, energy);
    }
}

static void look(opq_features_t *features) {
    const opq_phasor_t *judged;
    opq_windows_transients(features);
    while (opq_tracker_run(&features->tracker, &features->history, &judged)) {
        if (judged != NULL) {
            opq_windows_phase(features, judged);
        }
    }
    if (!features->tracker.locked) {
        return;
    }
    if (features->edge_count == 0) {
        edge(features, opq_tracker_edge_before(&features->tracker, features->history.end - 2));
    }
    for (;;) {
        opq_position_t next = opq_tracker_next_edge(&features->tracker, features->edges[2]);
        if (opq_position_floor(next) + 1 >= features->history.end) {
            return;
        }
        edge(features, next);
    }
}

void opq_features_push(opq_features_t *features, const int16_t *counts, size_t n, uint64_t first_sample, bool clipped) {
    if (first_sample != features->history.end || features->history.end == features->history.begin) {
        begin(features, first_sample);
    }
    if (clipped && n > 0) {
        features->clipped_until = first_sample + n;
        features->window.found.clipped = true;
    }
    for (size_t k = 0; k < n; k++) {
        put(features, counts[k]);
        if ((k + 1) % CHUNK == 0 || k + 1 == n) {
            look(features);
        }
    }
}

bool opq_features_measurement(opq_features_t *features, opq_feature_window_t *out) {
    bool ready = features->measurement_ready;
    if (ready) {
        *out = features->measurement;
        features->measurement_ready = false;
    }
    return ready;
}

bool opq_features_crossing(opq_features_t *features, opq_feature_crossing_t *out) {
    if (features->crossing_head == features->crossing_tail) {
        return false;
    }
    *out = features->crossings[features->crossing_tail++ % OPQ_CROSSINGS_KEPT];
    return true;
}

bool opq_features_half_cycle(opq_features_t *features, opq_half_cycle_t *out) {
    if (features->half_head == features->half_tail) {
        return false;
    }
    *out = features->half_cycles[features->half_tail++ % OPQ_HALF_CYCLES_KEPT];
    return true;
}
