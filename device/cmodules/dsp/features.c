#include <math.h>

#include "dsp.h"
#include "turns.h"

enum { CHUNK = 40 }; // samples taken before anything is looked at: an edge is acted on 3.3 ms late at most
#define WINDOW_S 0.2f // IEC 61000-4-30:2015, 4.4: 10 cycles at 50 Hz, 12 at 60 Hz
#define SEEN_SHARE 0.5f // of the window's phasors; less, and frequency and THD are not known

// Dip, swell, interruption: on which side of its limit the rms is beyond it.
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
    features->history.begin = features->history.end = first_sample;
    features->doubled = 0;
    features->edge_count = 0;
    features->window.open = features->closing.open = false;
    features->believed = false;
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

// The samples around `position` are there; at most the history's length of steps back, usually below CHUNK.
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

static float rms_v(const opq_features_t *features, opq_energy_t from, opq_energy_t to, float samples) {
    float doubled = (float)(int64_t)(to.whole - from.whole) + (to.rest - from.rest);
    return sqrtf(fmaxf(doubled, 0.0f) / (2.0f * samples)) * features->config.v_per_lsb;
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
    float rms = rms_v(features, features->energies[0], features->energies[2], samples);
    uint64_t sample = opq_position_floor(features->edges[0]);
    features->half_cycles[features->half_head++ % OPQ_HALF_CYCLES_KEPT] = (opq_half_cycle_t){
        .sample = sample,
        .begin = opq_position_fraction(features->edges[0]),
        .cycle_samples = samples,
        .rms_v = rms,
    };
    if (features->half_head - features->half_tail > OPQ_HALF_CYCLES_KEPT) {
        features->half_tail++; // nobody need ask for these
    }
    opq_feature_window_t *window = &features->window.found;
    window->half_cycle_min_v = fminf(window->half_cycle_min_v, rms);
    window->half_cycle_max_v = fmaxf(window->half_cycle_max_v, rms);
    look_for_crossings(features, sample, rms);
}

static void open_window(opq_features_t *features, opq_position_t at, opq_energy_t energy) {
    features->window = (opq_window_t){.open = true, .begin = at, .energy = energy};
    features->window.found.half_cycle_min_v = INFINITY;
    features->window.found.clipped = opq_position_floor(at) < features->clipped_until;
    (void)opq_tracker_retune(&features->tracker);
    const opq_tracker_t *tracker = &features->tracker;
    opq_harmonics_begin(&features->harmonics, at, tracker->step_q32, opq_tracker_phase(tracker, at), tracker->amplitude);
}

static void close_window(opq_features_t *features, opq_position_t at, opq_energy_t energy) {
    opq_window_t *window = &features->window;
    opq_feature_window_t *found = &window->found;
    window->end = at;
    found->first_sample = opq_position_round(window->begin);
    found->samples = (uint32_t)(opq_position_round(at) - found->first_sample);
    found->rms_v = rms_v(features, window->energy, energy, opq_position_span(window->begin, at));
    found->thd = opq_harmonics_end(&features->harmonics, &features->history, at);
    features->closing = *window; // its last phases come two cycles later
    window->open = false;
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
        close_window(features, at, energy);
    }
    if (features->window.open) {
        opq_harmonics_run(&features->harmonics, &features->history, opq_position_round(at));
    } else {
        open_window(features, at, energy);
    }
}

static void add_phase(opq_features_t *features, opq_window_t *window, const opq_phasor_t *phasor) {
    window->phasors++;
    window->known += phasor->known;
    if (!phasor->steady) {
        return;
    }
    if (window->steady++ == 0) {
        window->turns_q32 = features->believed_turns_q32;
    }
    int64_t from_begin = (int64_t)(phasor->centre << OPQ_POSITION_BITS) - window->begin;
    float x = (float)from_begin * (1.0f / (1 << OPQ_POSITION_BITS)) * 1e-3f; // thousands of samples: of the order of 1
    float y = (float)(features->believed_turns_q32 - window->turns_q32) * OPQ_TURNS_PER_Q32;
    window->sum_x += x;
    window->sum_y += y;
    window->sum_xx += x * x;
    window->sum_xy += x * y;
}

static float window_hz(const opq_features_t *features, const opq_window_t *window) {
    if (window->steady < 2) {
        return NAN;
    }
    float count = (float)window->steady;
    float slope = (count * window->sum_xy - window->sum_x * window->sum_y) /
                  (count * window->sum_xx - window->sum_x * window->sum_x); // turns per thousand samples above nominal
    return opq_tracker_hz(&features->tracker, features->tracker.nominal_q32) + slope * 1e-3f * features->config.rate_hz;
}

static void finish(opq_features_t *features) {
    opq_window_t *window = &features->closing;
    opq_feature_window_t *found = &window->found;
    found->f_hz = window_hz(features, window);
    if ((float)window->known < SEEN_SHARE * (float)window->phasors) {
        found->f_hz = found->thd = NAN;
    }
    found->trans_v = (float)window->peak_q15 * (1.0f / 32768.0f) * features->config.v_per_lsb;
    features->lost += features->measurement_ready;
    features->measurement = *found;
    features->measurement_ready = true;
    window->open = false;
}

// Its phase against the nominal frequency, unwrapped; then into the window that it lies in.
static void believe(opq_features_t *features, const opq_phasor_t *phasor) {
    const opq_tracker_t *tracker = &features->tracker;
    if (phasor->steady && features->believed) {
        uint32_t samples = (uint32_t)(phasor->centre - features->believed_centre);
        int32_t ahead = (int32_t)(phasor->phase_q32 - features->believed_phase_q32 - tracker->step_q32 * samples);
        int64_t faster = (int64_t)tracker->step_q32 - (int64_t)tracker->nominal_q32;
        features->believed_turns_q32 += ahead + faster * samples;
    }
    if (phasor->steady) {
        features->believed_turns_q32 = features->believed ? features->believed_turns_q32 : 0;
        features->believed = true;
        features->believed_centre = phasor->centre;
        features->believed_phase_q32 = phasor->phase_q32;
    }
    int64_t at = (int64_t)(phasor->centre << OPQ_POSITION_BITS);
    if (features->closing.open && at < features->closing.end) {
        add_phase(features, &features->closing, phasor);
        return;
    }
    if (features->closing.open) {
        finish(features);
    }
    if (features->window.open && at >= features->window.begin) {
        add_phase(features, &features->window, phasor);
    }
}

// Transients of the samples that have the filter's reach behind them, for the windows that they lie in.
static void look_for_transients(opq_features_t *features) {
    uint64_t end = features->history.end;
    uint64_t upto = end > OPQ_HIGH_PASS_REACH + 1 ? end - OPQ_HIGH_PASS_REACH - 1 : 0;
    while (features->peak_next < upto) {
        uint64_t until = upto;
        opq_window_t *window = NULL;
        if (features->closing.open && features->peak_next < opq_position_round(features->closing.end)) {
            window = &features->closing;
            uint64_t close = opq_position_round(window->end);
            until = close < until ? close : until;
        } else if (features->window.open) {
            uint64_t open = opq_position_round(features->window.begin);
            window = features->peak_next >= open ? &features->window : NULL;
            until = window == NULL && open < until ? open : until;
        }
        if (window != NULL) {
            uint32_t peak = opq_transient_peak_q15(&features->history, features->peak_next, until);
            window->peak_q15 = peak > window->peak_q15 ? peak : window->peak_q15;
        }
        features->peak_next = until;
    }
}

static void look(opq_features_t *features) {
    const opq_phasor_t *judged;
    look_for_transients(features);
    while (opq_tracker_run(&features->tracker, &features->history, &judged)) {
        if (judged != NULL) {
            believe(features, judged);
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
