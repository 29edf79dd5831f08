// The newest samples of the mains, stored twice so that any part of them is contiguous.
#ifndef OPQ_HISTORY_H
#define OPQ_HISTORY_H

#include <stdint.h>

enum { OPQ_HISTORY = 1024 }; // 85 ms: two cycles at 40 Hz, one block of 200 and the delay of an edge

// A position in samples with a fraction of 2^-20; sample k is at k << 20.
typedef int64_t opq_position_t;
enum { OPQ_POSITION_BITS = 20 };

typedef struct {
    uint64_t end;                   // index of the next sample
    uint64_t begin;                 // first of this run without a gap
    int16_t at[2 * OPQ_HISTORY];
} opq_history_t;

// Samples `first` .. first + OPQ_HISTORY - 1, as far as stored: end - OPQ_HISTORY <= first < end.
static inline const int16_t *opq_history_from(const opq_history_t *history, uint64_t first) {
    return &history->at[first & (OPQ_HISTORY - 1)];
}

static inline void opq_history_put(opq_history_t *history, int16_t count) {
    uint32_t slot = (uint32_t)history->end & (OPQ_HISTORY - 1);
    history->at[slot] = count;
    history->at[slot + OPQ_HISTORY] = count;
    history->end++;
}

static inline uint64_t opq_position_floor(opq_position_t position) {
    return (uint64_t)(position >> OPQ_POSITION_BITS);
}
static inline uint64_t opq_position_round(opq_position_t position) {
    return opq_position_floor(position + (INT64_C(1) << (OPQ_POSITION_BITS - 1)));
}
static inline float opq_position_fraction(opq_position_t position) {
    return (float)(position & ((1 << OPQ_POSITION_BITS) - 1)) * (1.0f / (1 << OPQ_POSITION_BITS));
}
static inline float opq_position_span(opq_position_t from, opq_position_t to) {
    return (float)(to - from) * (1.0f / (1 << OPQ_POSITION_BITS));
}

#endif
