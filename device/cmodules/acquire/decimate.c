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
    for (size_t i = 0; i <= OPQ_MAX_TAPS; i++) {
        decimator->taps[i] = i < filter->tap_count && filter->taps != NULL ? filter->taps[i] : 0;
    }
    opq_decimator_begin(decimator);
}

OPQ_RAMFUNC void opq_decimator_begin(opq_decimator_t *decimator) {
    volatile int16_t *line = decimator->line; // volatile: no call of memset, which is in flash
    for (uint32_t i = 0; i < decimator->tap_count; i++) {
        line[i] = 0;
    }
    line[decimator->tap_count - 1 + OPQ_HALF_SAMPLES * decimator->oversampling] = 0; // under the zero behind the taps
    decimator->clipping = 0;
}

OPQ_RAMFUNC uint32_t opq_decimator_skipped(const opq_decimator_t *decimator) {
    return (decimator->tap_count - 1) / decimator->oversampling;
}

OPQ_RAMFUNC uint32_t opq_decimator_first_middle(const opq_decimator_t *decimator) {
    return (opq_decimator_skipped(decimator) + 1) * decimator->oversampling - 1 - (decimator->tap_count - 1) / 2;
}

// Interrupt context, integers only, bounded: tap_count / 2 dual products.
OPQ_RAMINLINE int64_t filtered(const opq_decimator_t *decimator, const int16_t *line) {
    const int16_t *taps = decimator->taps;
    int64_t sum = (INT64_C(1) << decimator->shift) >> 1; // rounds half up
    for (uint32_t i = 0; i < decimator->tap_count; i += 2) {
        sum = opq_dual_mac(sum, taps + i, line + i);
    }
    return sum >> decimator->shift;
}

// Interrupt context, integers only: OPQ_HALF_SAMPLES * (oversampling + tap_count / 2) steps.
OPQ_RAMFUNC uint64_t opq_decimate(opq_decimator_t *decimator, const uint16_t *raw, int16_t *out) {
    const opq_raw_form_t form = decimator->form;
    const uint32_t oversampling = decimator->oversampling, past = decimator->tap_count - 1;
    const int32_t offset = decimator->offset_lsb;
    volatile int16_t *line = decimator->line; // volatile: no call of memmove, which is in flash
    uint64_t clipped = 0;
    uint32_t clipping = decimator->clipping;
    for (uint32_t k = 0; k < OPQ_HALF_SAMPLES; k++) {
        for (uint32_t i = 0; i < oversampling; i++) {
            uint32_t count = raw[k * oversampling + i];
            if (count == form.low || count == form.high) {
                clipping = (past + 1 + i) / oversampling; // samples, from this one on, whose taps reach it
            }
            line[past + k * oversampling + i] = (int16_t)(uint16_t)((count << form.shift) ^ form.flip);
        }
        int64_t value = past == 0 ? line[k] : filtered(decimator, decimator->line + (k + 1) * oversampling - 1);
        value -= offset;
        bool saturated = value > INT16_MAX || value < INT16_MIN;
        out[k] = (int16_t)(value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value);
        if (saturated || clipping > 0) {
            clipped |= UINT64_C(1) << k;
        }
        clipping -= clipping > 0;
    }
    const uint32_t taken = OPQ_HALF_SAMPLES * oversampling;
    for (uint32_t i = 0; i < past; i++) {
        line[i] = line[taken + i];
    }
    decimator->clipping = clipping;
    return clipped;
}
