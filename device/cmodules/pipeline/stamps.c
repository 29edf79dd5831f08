#include "stamps.h"

void opq_stamps_clear(opq_stamps_t *stamps) { stamps->count = 0; }

void opq_stamps_add(opq_stamps_t *stamps, const opq_block_stamp_t *stamp) {
    stamps->held[stamps->next] = *stamp;
    stamps->next = (stamps->next + 1U) % OPQ_STAMPS;
    stamps->count += stamps->count < OPQ_STAMPS ? 1U : 0U;
}

// Interrupt context (PendSV): integers only, at most nine steps.
const opq_block_stamp_t *opq_stamps_from(const opq_stamps_t *stamps, uint64_t sample) {
    uint32_t oldest = stamps->next + OPQ_STAMPS - stamps->count;
    uint32_t low = 0;
    uint32_t high = stamps->count;
    while (low < high) {  // invariant: before `low` every block ends at or before `sample`
        uint32_t middle = low + (high - low) / 2U;
        const opq_block_stamp_t *block = &stamps->held[(oldest + middle) % OPQ_STAMPS];
        if (block->first_sample + block->count <= sample) {
            low = middle + 1U;
        } else {
            high = middle;
        }
    }
    return low == stamps->count ? NULL : &stamps->held[(oldest + low) % OPQ_STAMPS];
}

bool opq_stamps_time(const opq_stamps_t *stamps, uint64_t sample, int64_t *t_ns, const opq_block_stamp_t **by) {
    const opq_block_stamp_t *block = opq_stamps_from(stamps, sample);
    if (block == NULL || block->first_sample > sample || block->rate_millihz == 0) {
        return false;
    }
    // k * 10^12 / rate_millihz: no period is ever summed (12 kS/s has no whole nanoseconds).
    uint64_t k = sample - block->first_sample;
    *t_ns = block->t_ns + (int64_t)(k * UINT64_C(1000000000000) / block->rate_millihz);
    *by = block;
    return true;
}
