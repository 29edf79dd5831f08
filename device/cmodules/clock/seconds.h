// Seconds: which second of UTC a pulse is. The receiver's label comes over a serial line, late, at times a second late,
// at times wrong; ten of them settle it. Also leap seconds.
#ifndef OPQ_SECONDS_H
#define OPQ_SECONDS_H

#include <stdbool.h>
#include <stdint.h>

#include "label.h"

#define OPQ_VOTES 10u

typedef struct {
    int64_t votes_ms[OPQ_VOTES]; // label minus the model's time at its arrival: offset minus latency
    uint32_t voted;
    uint32_t next;
    int64_t offset_s;       // UTC minus the model's seconds
    bool settled;
    uint32_t against;       // labels in a row whose vote contradicts what is settled
    uint8_t kind;           // rank of the votes
    int64_t heard_tick;     // last label of that rank
    int64_t any_tick;       // last label of any kind, valid or not
    bool any;
    uint32_t invalid;       // labels in a row without a fix
    int64_t leap_utc_s;     // the change happens where this second begins; 0: none announced
    int8_t leap_change;
    bool leap_told;         // the receiver said whether one is ahead
} opq_seconds_t;

#endif
