// The stamps of the last seconds: one per block, made once, kept as long as the ring keeps the samples.
#ifndef OPQ_STAMPS_H
#define OPQ_STAMPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acquire.h"

enum { OPQ_STAMPS = OPQ_RING_SAMPLES / OPQ_BLOCK_SAMPLES + 16 };  // and some more for short blocks at gaps

typedef struct {
    uint64_t first_sample;
    int64_t t_ns;
    uint32_t uncertainty_ns;
    uint32_t rate_millihz;
    uint16_t count;
    uint8_t source;
    uint8_t flags;
} opq_block_stamp_t;

// As stored, 24 bytes: the upper word of `first_sample` follows from the newest one.
typedef struct {
    int64_t t_ns;
    uint32_t first_low;
    uint32_t uncertainty_ns;
    uint32_t rate_millihz;
    uint16_t count;
    uint8_t source;
    uint8_t flags;
} opq_held_stamp_t;

typedef struct {
    opq_held_stamp_t held[OPQ_STAMPS];
    uint64_t newest;  // its first sample
    uint32_t next;    // place of the next one; the oldest is `count` places before it
    uint32_t count;   // at most OPQ_STAMPS; a count of all blocks would wrap after 2.3 years
} opq_stamps_t;

void opq_stamps_clear(opq_stamps_t *stamps);
// Blocks come in rising order of first_sample.
void opq_stamps_add(opq_stamps_t *stamps, const opq_block_stamp_t *stamp);
// The first block that ends after `sample`; false: none yet.
bool opq_stamps_from(const opq_stamps_t *stamps, uint64_t sample, opq_block_stamp_t *block);
// The stamp of a sample by its own block, with the sample's own time; false: its block is not stored.
bool opq_stamps_time(const opq_stamps_t *stamps, uint64_t sample, opq_block_stamp_t *at);

#endif
