#include "stamps.h"

void opq_stamps_clear(opq_stamps_t *stamps) { stamps->count = 0; }

void opq_stamps_add(opq_stamps_t *stamps, const opq_block_stamp_t *stamp) {
    if (stamps->count > 0 && stamp->first_sample - stamps->newest > UINT32_MAX / 2U) {
        opq_stamps_clear(stamps);  // two days without a block: the lower words no longer tell their order
    }
    stamps->newest = stamp->first_sample;
    stamps->held[stamps->next] = (opq_held_stamp_t){
        .t_ns = stamp->t_ns,
        .first_low = (uint32_t)stamp->first_sample,
        .uncertainty_ns = stamp->uncertainty_ns,
        .rate_millihz = stamp->rate_millihz,
        .count = stamp->count,
        .source = stamp->source,
        .flags = stamp->flags,
    };
    stamps->next = (stamps->next + 1U) % OPQ_STAMPS;
    stamps->count += stamps->count < OPQ_STAMPS ? 1U : 0U;
}

static const opq_held_stamp_t *held(const opq_stamps_t *stamps, uint32_t after_oldest) {
    return &stamps->held[(stamps->next + OPQ_STAMPS - stamps->count + after_oldest) % OPQ_STAMPS];
}

static uint64_t first_of(const opq_stamps_t *stamps, const opq_held_stamp_t *stamp) {
    return stamps->newest - (uint32_t)((uint32_t)stamps->newest - stamp->first_low);
}

// Interrupt context (PendSV): integers only, at most nine steps.
bool opq_stamps_from(const opq_stamps_t *stamps, uint64_t sample, opq_block_stamp_t *block) {
    uint32_t low = 0;
    uint32_t high = stamps->count;
    while (low < high) {  // invariant: before `low` every block ends at or before `sample`
        uint32_t middle = low + (high - low) / 2U;
        const opq_held_stamp_t *stamp = held(stamps, middle);
        if (first_of(stamps, stamp) + stamp->count <= sample) {
            low = middle + 1U;
        } else {
            high = middle;
        }
    }
    if (low == stamps->count) {
        return false;
    }
    const opq_held_stamp_t *found = held(stamps, low);
    *block = (opq_block_stamp_t){
        .first_sample = first_of(stamps, found),
        .t_ns = found->t_ns,
        .uncertainty_ns = found->uncertainty_ns,
        .rate_millihz = found->rate_millihz,
        .count = found->count,
        .source = found->source,
        .flags = found->flags,
    };
    return true;
}

bool opq_stamps_time(const opq_stamps_t *stamps, uint64_t sample, opq_block_stamp_t *at) {
    opq_block_stamp_t block;
    if (!opq_stamps_from(stamps, sample, &block) || block.first_sample > sample || block.rate_millihz == 0) {
        return false;
    }
    // k * 10^12 / rate_millihz: no period is ever summed (12 kS/s has no whole nanoseconds).
    uint64_t k = sample - block.first_sample;
    *at = block;
    at->t_ns += (int64_t)(k * UINT64_C(1000000000000) / block.rate_millihz);
    return true;
}
