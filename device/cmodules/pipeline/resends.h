// What the gateway asked to have sent again: a short list of spans, served first come, first served.
#ifndef OPQ_RESENDS_H
#define OPQ_RESENDS_H

#include <stdbool.h>
#include <stdint.h>

#include "stamps.h"

enum { OPQ_RESENDS = 32 };  // spans at once; the gateway asks for 16

typedef struct {
    uint64_t next[OPQ_RESENDS];  // first sample still to send
    uint64_t end[OPQ_RESENDS];
    uint32_t spans;
    uint32_t gone;     // blocks' worth of samples asked for that are held no longer
    uint32_t refused;  // spans beyond OPQ_RESENDS
} opq_resends_t;

void opq_resends_clear(opq_resends_t *resends);
// A span that meets one that waits already becomes one with it: the gateway asks again when it waits long.
// What was never sent (`sent_to` and on) cannot be sent again: it is left out.
void opq_resends_ask(opq_resends_t *resends, uint64_t first_sample, uint32_t count, uint64_t sent_to);
// The next block to send again; NULL: nothing is asked for (any more). Bounded by OPQ_RESENDS.
const opq_block_stamp_t *opq_resends_next(opq_resends_t *resends, const opq_stamps_t *stamps);

#endif
