// Transients: the largest magnitude after a 125-tap high pass of 400 Hz, as opq_measure.waveform.
#ifndef OPQ_TRANSIENT_H
#define OPQ_TRANSIENT_H

#include <stdint.h>

#include "history.h"

enum { OPQ_HIGH_PASS_TAPS = 125, OPQ_HIGH_PASS_REACH = 62, OPQ_HIGH_PASS_PADDED = 128 };

extern const int16_t opq_high_pass[OPQ_HIGH_PASS_PADDED]; // Q15, sum 0, zeros appended

// Largest |filtered| in 2^-15 counts of samples `first` .. `end` - 1; reads from first - 62 to end + 61.
uint32_t opq_transient_peak_q15(const opq_history_t *history, uint64_t first, uint64_t end);

#endif
