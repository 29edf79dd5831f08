#include "resends.h"

#include <string.h>

void opq_resends_clear(opq_resends_t *resends) { resends->spans = 0; }

void opq_resends_ask(opq_resends_t *resends, uint64_t first_sample, uint32_t count, uint64_t sent_to) {
    uint64_t end = first_sample + count;
    if (end < first_sample || end > sent_to) {
        end = sent_to;
    }
    if (end <= first_sample) {
        return;
    }
    for (uint32_t i = 0; i < resends->spans; i++) {
        if (first_sample <= resends->end[i] && end >= resends->next[i]) {
            resends->next[i] = first_sample < resends->next[i] ? first_sample : resends->next[i];
            resends->end[i] = end > resends->end[i] ? end : resends->end[i];
            return;
        }
    }
    if (resends->spans == OPQ_RESENDS) {
        resends->refused++;
        return;
    }
    resends->next[resends->spans] = first_sample;
    resends->end[resends->spans] = end;
    resends->spans++;
}

static void drop_first(opq_resends_t *resends) {
    resends->spans--;
    memmove(resends->next, resends->next + 1, resends->spans * sizeof resends->next[0]);
    memmove(resends->end, resends->end + 1, resends->spans * sizeof resends->end[0]);
}

bool opq_resends_next(opq_resends_t *resends, const opq_stamps_t *stamps, opq_block_stamp_t *block) {
    while (resends->spans > 0) {
        uint64_t from = resends->next[0];
        uint64_t end = resends->end[0];
        bool held = opq_stamps_from(stamps, from, block) && block->first_sample < end;
        uint64_t there = held ? block->first_sample : end;
        if (there > from) {
            resends->gone += (uint32_t)((there - from + 199U) / 200U);
        }
        if (!held) {
            drop_first(resends);
            continue;
        }
        resends->next[0] = block->first_sample + block->count;
        if (resends->next[0] >= end) {
            drop_first(resends);
        }
        return true;
    }
    return false;
}
