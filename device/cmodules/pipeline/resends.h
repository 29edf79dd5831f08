// Spans that the gateway requested to be sent again: a short list, served in the order of arrival.
#ifndef OPQ_RESENDS_H
#define OPQ_RESENDS_H

#include <stdbool.h>
#include <stdint.h>

#include "stamps.h"

enum { OPQ_RESENDS = 32 };  // spans at a time; the gateway requests 16

typedef struct {
    uint64_t next[OPQ_RESENDS];  // first sample still to send
    uint64_t end[OPQ_RESENDS];
    uint32_t spans;
    uint32_t gone;     // requested blocks that the ring no longer has
    uint32_t refused;  // spans beyond OPQ_RESENDS
} opq_resends_t;

void opq_resends_clear(opq_resends_t *resends);
// A span that overlaps a waiting one is merged with it, as the gateway repeats its request after a while.
// Samples that were never sent (from `sent_to` on) are left out.
void opq_resends_ask(opq_resends_t *resends, uint64_t first_sample, uint32_t count, uint64_t sent_to);
// The next block to send again; false: no request is left. Bounded by OPQ_RESENDS.
bool opq_resends_next(opq_resends_t *resends, const opq_stamps_t *stamps, opq_block_stamp_t *block);

#endif
