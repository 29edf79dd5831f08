#include "windows.h"

#include <math.h>

#include "extremes.h"
#include "turns.h"

#define SEEN_SHARE 0.5f // of the window's phasors; with fewer, frequency and THD are unknown

float opq_energy_rms_v(const opq_features_t *features, opq_energy_t from, opq_energy_t to, float samples) {
    float doubled = (float)(int64_t)(to.whole - from.whole) + (to.rest - from.rest);
    return sqrtf(opq_larger(0.0f, doubled) / (2.0f * samples)) * features->config.v_per_lsb;
}

void opq_windows_open(opq_features_t *features, opq_position_t at, opq_energy_t energy) {
    features->window = (opq_window_t){.open = true, .begin = at, .energy = energy};
    features->window.found.half_cycle_min_v = INFINITY;
    features->window.found.clipped = opq_position_floor(at) < features->clipped_until;
    (void)opq_tracker_retune(&features->tracker);
    const opq_tracker_t *tracker = &features->tracker;
    opq_harmonics_begin(&features->harmonics, at, tracker->step_q32, opq_tracker_phase(tracker, at), tracker->amplitude);
}

void opq_windows_close(opq_features_t *features, opq_position_t at, opq_energy_t energy) {
    opq_window_t *window = &features->window;
    opq_feature_window_t *found = &window->found;
    window->end = at;
    found->first_sample = opq_position_round(window->begin);
    found->samples = (uint32_t)(opq_position_round(at) - found->first_sample);
    found->rms_v = opq_energy_rms_v(features, window->energy, energy, opq_position_span(window->begin, at));
    found->thd = opq_harmonics_end(&features->harmonics, &features->history, at);
    features->closing = *window; // its last phases come two cycles later
    window->open = false;
}

static void add_phase(opq_features_t *features, opq_window_t *window, const opq_phasor_t *phasor) {
    window->phasors++;
    window->known += phasor->known;
    if (!phasor->steady) {
        return;
    }
    if (window->steady++ == 0) {
        window->turns_q32 = features->accepted_turns_q32;
    }
    int64_t from_begin = (int64_t)(phasor->centre << OPQ_POSITION_BITS) - window->begin;
    float x = (float)from_begin * (1.0f / (1 << OPQ_POSITION_BITS)) * 1e-3f; // thousands of samples: of the order of 1
    float y = (float)(features->accepted_turns_q32 - window->turns_q32) * OPQ_TURNS_PER_Q32;
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

// The phasor's phase against the nominal frequency, unwrapped, is added to the window that it lies in.
void opq_windows_phase(opq_features_t *features, const opq_phasor_t *phasor) {
    const opq_tracker_t *tracker = &features->tracker;
    if (phasor->steady && features->accepted) {
        uint32_t samples = (uint32_t)(phasor->centre - features->accepted_centre);
        int32_t ahead = (int32_t)(phasor->phase_q32 - features->accepted_phase_q32 - tracker->step_q32 * samples);
        int64_t faster = (int64_t)tracker->step_q32 - (int64_t)tracker->nominal_q32;
        features->accepted_turns_q32 += ahead + faster * samples;
    }
    if (phasor->steady) {
        features->accepted_turns_q32 = features->accepted ? features->accepted_turns_q32 : 0;
        features->accepted = true;
        features->accepted_centre = phasor->centre;
        features->accepted_phase_q32 = phasor->phase_q32;
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

// Transients of the samples for which the filter has all its input, for the windows that they lie in.
void opq_windows_transients(opq_features_t *features) {
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
