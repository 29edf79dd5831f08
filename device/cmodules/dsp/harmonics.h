// THD of a 10/12-cycle window: subgroups of orders 2 to 50 against the first (IEC 61000-4-7:2002, 3.3.3).
//
// The DFT of the bins h * cycles + {-1, 0, 1} at the tracked frequency. Samples are taken 25 at a time: turned by each
// order at the piece's middle and added to its three bins, so the work is spread over the samples and none is left
// for the end of a window. Within a piece the neighbours' turn against the order (3.75 degrees at its ends) is
// neglected: their rms is 2e-4 of its value too high.
//
// A window is not a whole number of samples, which would spread the fundamental over all bins. As it is known before,
// it is subtracted from each sample, and added to its bin at the end.
#ifndef OPQ_HARMONICS_H
#define OPQ_HARMONICS_H

#include <stdbool.h>
#include <stdint.h>

#include "history.h"

enum { OPQ_ORDERS = 50, OPQ_PIECE = 25, OPQ_PIECE_REACH = 12 };

typedef struct {
    float re, im;
} opq_bin_t;

typedef struct {
    uint32_t cycles;             // of a window
    uint32_t orders;             // of the window: 50, or as many as lie below half the rate
    uint32_t tuned_q32;          // frequency of the tables, turns per sample
    uint32_t step_q32;           // of the window
    bool open;
    opq_position_t begin;
    uint32_t phase_q32;          // of the fundamental at the start
    float amplitude;             // as it is subtracted
    uint64_t next;               // next sample to process
    opq_bin_t bins[OPQ_ORDERS][3];
    float cosine[OPQ_ORDERS][OPQ_PIECE_REACH];
    float sine[OPQ_ORDERS][OPQ_PIECE_REACH];
} opq_harmonics_t;

void opq_harmonics_init(opq_harmonics_t *harmonics, uint32_t cycles);
// Begins a window whose fundamental turns `step_q32` per sample and has `phase_q32` at the start.
void opq_harmonics_begin(opq_harmonics_t *harmonics, opq_position_t begin, uint32_t step_q32, uint32_t phase_q32,
                         float amplitude);
// Processes whole pieces up to sample `until` (not included).
void opq_harmonics_run(opq_harmonics_t *harmonics, const opq_history_t *history, uint64_t until);
// Processes the rest and closes the window at `end`; returns NaN without a fundamental.
float opq_harmonics_end(opq_harmonics_t *harmonics, const opq_history_t *history, opq_position_t end);
void opq_harmonics_stop(opq_harmonics_t *harmonics);

#endif
