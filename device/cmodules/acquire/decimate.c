#include "decimate.h"

#include "decimate_taps.h"
#include "dual_mac.h"

const opq_filter_t *opq_filter(uint32_t oversampling) {
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        if (filters[i].oversampling == oversampling) {
            return &filters[i];
        }
    }
    return NULL;
}

void opq_decimator_init(opq_decimator_t *decimator, const opq_filter_t *filter, opq_raw_form_t form, int16_t offset_lsb) {
    decimator->form = form;
    decimator->offset_lsb = offset_lsb;
    decimator->oversampling = filter->oversampling;
    decimator->tap_count = filter->tap_count;
    decimator->shift = filter->shift;
    decimator->padded = (decimator->tap_count + OPQ_DOT_STEP - 1) / OPQ_DOT_STEP * OPQ_DOT_STEP;
    for (size_t i = 0; i < OPQ_PADDED_TAPS; i++) {
        decimator->taps[i] = i < filter->tap_count && filter->taps != NULL ? filter->taps[i] : 0;
    }
    opq_decimator_begin(decimator);
}

OPQ_RAMFUNC void opq_decimator_begin(opq_decimator_t *decimator) {
    volatile int16_t *line = decimator->line; // volatile: no call of memset, which is in flash
    for (uint32_t i = 0; i < decimator->tap_count; i++) {
        line[i] = 0;
    }
    decimator->clipping = 0;
}

OPQ_RAMFUNC uint32_t opq_decimator_skipped(const opq_decimator_t *decimator) {
    return (decimator->tap_count - 1) / decimator->oversampling;
}

OPQ_RAMFUNC uint32_t opq_decimator_first_middle(const opq_decimator_t *decimator) {
    return (opq_decimator_skipped(decimator) + 1) * decimator->oversampling - 1 - (decimator->tap_count - 1) / 2;
}

// Interrupt context, integers only: OPQ_HALF_SAMPLES * oversampling steps. Appends the counts to the line;
// bit k of the result: the filter of sample k contains a clipped conversion.
OPQ_RAMINLINE uint64_t take(opq_decimator_t *decimator, const uint16_t *raw) {
    const uint32_t oversampling = decimator->oversampling, past = decimator->tap_count - 1;
    const uint32_t shift = decimator->form.shift, flip = decimator->form.flip;
    const int32_t low = decimator->form.low, high = decimator->form.high;
    volatile int16_t *line = decimator->line + past; // volatile: no call of memcpy, which is in flash
    uint32_t clipping = decimator->clipping;
    uint64_t clipped = 0;
    for (uint32_t k = 0; k < OPQ_HALF_SAMPLES; k++) {
        for (uint32_t i = 0; i < oversampling; i++) {
            int16_t value = (int16_t)(uint16_t)((uint32_t)*raw++ << shift ^ flip);
            *line++ = value;
            if (value <= low || value >= high) {
                clipping = (past + 1 + i) / oversampling; // samples, from this one on, whose taps reach it
            }
        }
        if (clipping > 0) {
            clipping--;
            clipped |= UINT64_C(1) << k;
        }
    }
    decimator->clipping = clipping;
    return clipped;
}

// Interrupt context, integers only: OPQ_HALF_SAMPLES * (oversampling + tap_count / 2) steps.
OPQ_RAMFUNC uint64_t opq_decimate(opq_decimator_t *decimator, const uint16_t *raw, int16_t *out) {
    const uint32_t oversampling = decimator->oversampling, past = decimator->tap_count - 1;
    const uint32_t shift = decimator->shift, padded = decimator->padded;
    const int64_t rounding = (INT64_C(1) << shift) >> 1; // half up
    const int32_t offset = decimator->offset_lsb;
    uint64_t clipped = take(decimator, raw);
    const int16_t *line = decimator->line + oversampling - 1;
    for (uint32_t k = 0; k < OPQ_HALF_SAMPLES; k++, line += oversampling) {
        int32_t value = past == 0 ? *line : (int32_t)(opq_dot(rounding, line, decimator->taps, padded) >> shift);
        value -= offset;
        if (value > INT16_MAX || value < INT16_MIN) {
            value = value > INT16_MAX ? INT16_MAX : INT16_MIN;
            clipped |= UINT64_C(1) << k;
        }
        out[k] = (int16_t)value;
    }
    volatile int16_t *kept = decimator->line;
    const int16_t *newest = decimator->line + OPQ_HALF_SAMPLES * oversampling;
    for (uint32_t i = 0; i < past; i++) {
        kept[i] = newest[i];
    }
    return clipped;
}
