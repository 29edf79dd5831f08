// The ring of samples: one writer (interrupt), one reader. The writer never waits. What the reader gets was valid
// while it was read, or the read fails.
//
// Indices are 64 bit, published in two words: the writer is an interrupt, so a reader that finds the upper word
// unchanged before and after the lower one has a consistent pair. Samples lie at index % capacity.
// A run is an even grid of ticks without a gap; the newest OPQ_RUNS - 1 are known.
#ifndef OPQ_RING_H
#define OPQ_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acquire.h"

enum { OPQ_RUNS = 8 };

typedef struct {
    uint64_t before;     // end of the previous run
    uint64_t first;      // its first sample
    int64_t first_tick;
} opq_run_t;

typedef struct {
    int16_t *samples;             // capacity
    uint8_t *clipped;             // per block of OPQ_BLOCK_SAMPLES
    uint32_t capacity;            // a multiple of OPQ_BLOCK_SAMPLES
    // the writer's
    uint64_t end;
    uint32_t slot, block, in_block;
    opq_run_t runs[OPQ_RUNS];
    // published
    _Atomic uint32_t head[2];     // `end`, low word first
    _Atomic uint32_t run_count;
    // the reader's
    uint64_t next;
    uint32_t run;                 // number of the run that `next` is in
    bool overrun;                 // samples are missing before `next`
    uint32_t reader_overruns;
} opq_ring_t;

// To be called while neither reader nor writer runs.
void opq_ring_init(opq_ring_t *ring, int16_t *samples, uint8_t *clipped, uint32_t capacity, int64_t first_tick);

// Interrupt context: at most OPQ_HALF_SAMPLES samples; bit k of `clipped` for samples[k].
void opq_ring_put(opq_ring_t *ring, const int16_t *samples, uint32_t count, uint64_t clipped);
// Interrupt context: `missing` samples were lost, a new run begins.
void opq_ring_gap(opq_ring_t *ring, uint32_t missing, int64_t first_tick);

// The only reader.
bool opq_ring_next(opq_ring_t *ring, opq_block_t *block);
// Any context below the interrupt's.
bool opq_ring_holds(const opq_ring_t *ring, uint64_t first);
size_t opq_ring_read(const opq_ring_t *ring, uint64_t first, size_t count, int16_t *out);
uint64_t opq_ring_head(const opq_ring_t *ring);
uint64_t opq_ring_tail(const opq_ring_t *ring);

#endif
