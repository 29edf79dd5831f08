// The newest samples of the mains, in one piece: when the room is used up, the newest move to its start.
#ifndef OPQ_HISTORY_H
#define OPQ_HISTORY_H

#include <stdint.h>
#include <string.h>

enum {
    OPQ_HISTORY = 1024,      // 85 ms: two cycles at 40 Hz, one block of 200 and the delay of an edge
    OPQ_HISTORY_MOVE = 128,  // samples until the next move, which takes 0.1 % of the processor's time
    OPQ_HISTORY_PADDED = 2,  // after the newest, for the zeros at the end of a filter (transient.h)
};

// A position in samples with a fraction of 2^-20; sample k is at k << 20.
typedef int64_t opq_position_t;
enum { OPQ_POSITION_BITS = 20 };

typedef struct {
    uint64_t end;                   // index of the next sample
    uint64_t begin;                 // first of this run without a gap
    uint32_t stored;                // of `at`; the newest is the last one
    int16_t at[OPQ_HISTORY + OPQ_HISTORY_MOVE + OPQ_HISTORY_PADDED];
} opq_history_t;

// Samples from `first` on, as far as stored: end - OPQ_HISTORY <= first < end; an earlier `first` gives the oldest.
static inline const int16_t *opq_history_from(const opq_history_t *history, uint64_t first) {
    uint64_t age = history->end - first;
    return &history->at[age < history->stored ? history->stored - (uint32_t)age : 0];
}

static inline void opq_history_begin(opq_history_t *history, uint64_t first) {
    history->begin = history->end = first;
    history->stored = 0;
}

static inline void opq_history_put(opq_history_t *history, int16_t count) {
    if (history->stored == OPQ_HISTORY + OPQ_HISTORY_MOVE) {
        memmove(history->at, history->at + OPQ_HISTORY_MOVE, OPQ_HISTORY * sizeof history->at[0]);
        history->stored = OPQ_HISTORY;
    }
    history->at[history->stored++] = count;
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
