// Decimation: conversions at 12 kS/s times the oversampling become samples, by a linear-phase FIR in whole numbers.
//
// Pass band 0 to 3 kHz within 0.002 dB, stop band from 9 kHz on at least 80 dB down, DC exact; taps and
// figures: design_filter.py. Oversampling 1 is the unit filter: counts pass unchanged.
#ifndef OPQ_DECIMATE_H
#define OPQ_DECIMATE_H

#include <stddef.h>
#include <stdint.h>

#include "acquire.h"

enum { OPQ_MAX_TAPS = 97, OPQ_PADDED_TAPS = 104 };

typedef struct {
    uint8_t oversampling;
    uint8_t tap_count;  // odd
    uint8_t shift;      // taps add up to 1 << shift
    const int16_t *taps;
} opq_filter_t;

const opq_filter_t *opq_filter(uint32_t oversampling); // NULL: none

typedef struct {
    opq_raw_form_t form;
    int16_t offset_lsb;
    uint32_t oversampling, tap_count, shift;
    uint32_t clipping;                   // following samples whose filter contains a clipped conversion
    uint32_t padded;                     // tap_count with zeros appended: a multiple of OPQ_DOT_STEP
    int16_t taps[OPQ_PADDED_TAPS];       // a copy in RAM
    int16_t line[OPQ_PADDED_TAPS + OPQ_HALF_COUNTS]; // values at the padding's zeros do not matter
} opq_decimator_t;

void opq_decimator_init(opq_decimator_t *decimator, const opq_filter_t *filter, opq_raw_form_t form, int16_t offset_lsb);
// Clears the past; the next `opq_decimator_skipped` samples are invalid.
void opq_decimator_begin(opq_decimator_t *decimator);
// Samples of a run whose taps reach before its first conversion.
uint32_t opq_decimator_skipped(const opq_decimator_t *decimator);
// Conversions from the first of a run to the one at the middle tap of its first valid sample.
uint32_t opq_decimator_first_middle(const opq_decimator_t *decimator);
// Interrupt context. OPQ_HALF_SAMPLES * oversampling counts in, OPQ_HALF_SAMPLES samples out; bit k of the
// result: sample k is clipped.
uint64_t opq_decimate(opq_decimator_t *decimator, const uint16_t *raw, int16_t *out);

#endif
