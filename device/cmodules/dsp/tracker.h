// The fundamental, tracked by its phase: where half cycles begin and end, and how fast it turns.
//
// As opq_measure.timebase: a Hann window of two cycles every quarter cycle; DC and all harmonics fall into its
// zeros. A phase is accepted while the amplitude is steady; else boundaries go on evenly. Phases are known two
// cycles late, so the boundaries in between are predicted, at 1 Hz/s with an error of 0.2 samples.
#ifndef OPQ_TRACKER_H
#define OPQ_TRACKER_H

#include <stdbool.h>
#include <stdint.h>

#include "history.h"

enum {
    OPQ_TRACKER_REACH = 320,   // one cycle at 37.5 Hz
    OPQ_TRACKER_HOPS = 16,     // phasors stored; a power of two
    OPQ_HOPS_PER_CYCLE = 4,
};

typedef struct {
    uint64_t centre;
    uint32_t phase_q32;   // in 2^-32 turns; 0 where a rising zero crossing is
    float amplitude;      // peak, counts
    bool known, steady;
} opq_phasor_t;

typedef struct {
    float rate_hz, nominal_hz;
    uint32_t nominal_q32, tuned_q32, step_q32; // turns per sample: nominal, of the tables, of the signal
    uint32_t reach, hop;                       // of the tables' window, samples
    uint32_t hops;                             // phasors since the start
    float usual;                               // amplitude that the signal usually has
    bool locked;                               // a phase was accepted since the start
    uint32_t steady_run, unsteady_run;         // accepted phasors in a row, and rejected ones
    uint64_t next_centre;
    uint64_t reference_centre;                 // the newest accepted phase, extrapolated if there is none
    uint32_t reference_phase_q32;
    float amplitude;                           // of the newest accepted phasor, counts
    opq_phasor_t phasors[OPQ_TRACKER_HOPS];
    float cosine[OPQ_TRACKER_REACH + 1];
    float sine[OPQ_TRACKER_REACH + 1];
} opq_tracker_t;

void opq_tracker_init(opq_tracker_t *tracker, float rate_hz, float nominal_hz);
void opq_tracker_rate(opq_tracker_t *tracker, float rate_hz);
// After a gap: phases start again, the frequency is kept.
void opq_tracker_begin(opq_tracker_t *tracker, uint64_t first_sample);
// Makes one phasor, if its samples are there; returns whether it did. `*judged` is then the phasor of one cycle before,
// whose `steady` is decided by now, or NULL.
bool opq_tracker_run(opq_tracker_t *tracker, const opq_history_t *history, const opq_phasor_t **judged);
// The half-cycle boundary next to `from` + half a cycle, as it is known now. Only while locked.
opq_position_t opq_tracker_next_edge(const opq_tracker_t *tracker, opq_position_t from);
// The last boundary at or before sample `at`. Only while locked.
opq_position_t opq_tracker_edge_before(const opq_tracker_t *tracker, uint64_t at);
// The fundamental's phase there, as it is known now; 0 where a rising zero crossing is.
uint32_t opq_tracker_phase(const opq_tracker_t *tracker, opq_position_t position);
// Computes the tables again if the signal has moved by more than 0.1 %; returns whether it did.
bool opq_tracker_retune(opq_tracker_t *tracker);
float opq_tracker_hz(const opq_tracker_t *tracker, uint32_t step_q32);

#endif
