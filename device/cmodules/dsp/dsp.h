// Features of the mains, from samples as they come: half-cycle rms and its crossings, and per
// 10/12-cycle window rms, frequency, THD and transient peak. Defined as in opq_measure; dsp/README.md has
// the size of the differences.
//
// Time is bounded per call: work is spread over the samples, not done at the end of a window. Single float;
// sums of squares int64. The caller keeps the struct (12 KB, static); no allocation, no global state.
//
// After a gap (a `first_sample` that does not follow) everything starts again: nothing is computed across it.
// Clipped samples are used unchanged, and the window is marked. Without the fundamental (interruption) cycle
// boundaries go on evenly at the last frequency, rms goes on, frequency and THD are unknown (NaN).
#ifndef OPQ_DSP_H
#define OPQ_DSP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "harmonics.h"
#include "history.h"
#include "tracker.h"
#include "transient.h"

enum { OPQ_CROSSING_DIP = 1, OPQ_CROSSING_SWELL = 2, OPQ_CROSSING_INTERRUPTION = 3, OPQ_CROSSING_KINDS = 3 };

typedef struct {
    float rate_hz;              // nominal 12000; opq_features_rate sets the measured one
    float nominal_hz;           // 50 or 60
    float nominal_v;
    float v_per_lsb;
    float limit_pu[OPQ_CROSSING_KINDS]; // dip, swell, interruption as shares of nominal; 0: not watched
    float hysteresis_pu;        // 0.02 by IEC 61000-4-30:2015, 5.4.2.1
} opq_features_config_t;

// One 10/12-cycle window.
typedef struct {
    uint64_t first_sample;
    uint32_t samples;
    float rms_v, f_hz, thd, trans_v; // NaN: unknown
    float half_cycle_min_v, half_cycle_max_v; // of Urms(1/2)
    bool clipped;
} opq_feature_window_t;

typedef struct {
    uint64_t sample;  // first sample of the cycle whose rms crossed
    uint8_t kind;
    bool entering;
    float rms_v, limit_v;
} opq_feature_crossing_t;

// Urms(1/2) of one cycle, computed every half cycle.
typedef struct {
    uint64_t sample;  // first of the cycle
    float begin;      // its exact start after `sample`, 0 .. 1
    float cycle_samples;
    float rms_v;
} opq_half_cycle_t;

typedef enum { OPQ_FEATURES_OK, OPQ_FEATURES_BAD_CONFIG } opq_features_status_t;

enum { OPQ_CROSSINGS_KEPT = 8, OPQ_HALF_CYCLES_KEPT = 8 };

// The integral of the squared counts up to a position (trapezoids, doubled); only differences of two are used.
typedef struct {
    uint64_t whole;
    float rest;
} opq_energy_t;

typedef struct {
    bool open;
    opq_position_t begin, end;
    opq_energy_t energy;              // at the start
    uint32_t half_cycles;
    opq_feature_window_t found;
    uint32_t peak_q15;
    uint32_t phasors, known, steady;  // least squares of the steady phasors' phase over the window, against nominal
    int64_t turns_q32;                // phase of the first phasor
    float sum_x, sum_y, sum_xx, sum_xy;
} opq_window_t;

typedef struct {
    opq_features_config_t config;
    opq_history_t history;
    uint64_t doubled;                 // sum of x[k]^2 + x[k+1]^2 up to the newest pair
    opq_tracker_t tracker;
    opq_harmonics_t harmonics;
    opq_position_t edges[3];          // the newest half-cycle boundaries, oldest first
    opq_energy_t energies[3];
    uint32_t edge_count;              // since the start, 3 at most
    opq_position_t next_edge;
    opq_window_t window, closing;
    uint64_t accepted_centre;         // phase of the newest accepted phasor, unwrapped against nominal
    uint32_t accepted_phase_q32;
    int64_t accepted_turns_q32;
    bool accepted;
    uint64_t peak_next;               // first sample not yet searched for transients
    uint64_t clipped_until;           // samples before this index may have been clipped
    uint8_t beyond;                   // bit k: beyond the limit of kind k + 1
    opq_feature_window_t measurement;
    bool measurement_ready;
    opq_feature_crossing_t crossings[OPQ_CROSSINGS_KEPT];
    opq_half_cycle_t half_cycles[OPQ_HALF_CYCLES_KEPT];
    uint32_t crossing_head, crossing_tail, half_head, half_tail;
    uint32_t lost;                    // results that were not fetched in time
} opq_features_t;

opq_features_status_t opq_features_init(opq_features_t *features, const opq_features_config_t *config);
// `n` samples from index `first_sample` on; any `n`, a block of 200 is usual.
void opq_features_push(opq_features_t *features, const int16_t *counts, size_t n, uint64_t first_sample, bool clipped);
// Polled: true once per new result. Results not fetched in time are overwritten (counted in `lost`).
bool opq_features_measurement(opq_features_t *features, opq_feature_window_t *out);
bool opq_features_crossing(opq_features_t *features, opq_feature_crossing_t *out);
bool opq_features_half_cycle(opq_features_t *features, opq_half_cycle_t *out);
// Sets the measured rate (clock), 12000 +- 1 %, and new limits, without a restart.
void opq_features_rate(opq_features_t *features, float rate_hz);
void opq_features_limits(opq_features_t *features, const float limit_pu[OPQ_CROSSING_KINDS], float hysteresis_pu);

#endif
