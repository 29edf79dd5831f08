// Train: separates pulses that are one second apart from glitches. Ten candidate trains are followed at a time,
// those of a receiver with 10 pulses a second.
#ifndef OPQ_TRAIN_H
#define OPQ_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

#define OPQ_TRAINS 10u

typedef struct {
    int64_t first_tick;
    int64_t last_tick;
    uint32_t seconds;     // from first to last, missing pulses counted
    int32_t period_ticks; // of the last interval
    uint32_t run;         // pulses; 0: slot is free
    uint32_t rivals;      // pulses since its first that continued another train
} opq_train_t;

typedef struct {
    opq_train_t trains[OPQ_TRAINS];
} opq_trains_t;

void opq_trains_clear(opq_trains_t *trains);

// The train that this pulse continues or begins; NULL: it is a bounce of the edge before.
const opq_train_t *opq_trains_push(opq_trains_t *trains, int64_t tick);

// False: others last beside it, as of a receiver with several pulses a second. Which is the second is unknown.
bool opq_train_alone(const opq_train_t *train);

#endif
