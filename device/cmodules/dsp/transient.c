#include "transient.h"

#include "dual_mac.h"
#include "transient_taps.h"

uint32_t opq_transient_peak_q15(const opq_history_t *history, uint64_t first, uint64_t end) {
    uint64_t peak = 0;
    for (uint64_t sample = first; sample < end; sample++) {
        const int16_t *counts = opq_history_from(history, sample - OPQ_HIGH_PASS_REACH);
        int64_t sum = opq_dot(0, counts, opq_high_pass, OPQ_HIGH_PASS_PADDED);
        uint64_t size = (uint64_t)(sum < 0 ? -sum : sum);
        peak = size > peak ? size : peak;
    }
    return (uint32_t)peak;
}
