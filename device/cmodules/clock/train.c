#include "train.h"

#include <stddef.h>

#include "ticks.h"

#define WORST_PPM 100    // a crystal's tolerance plus temperature; limit of the first interval
#define JITTER_TICKS 252 // 3 us: how much a period may differ from the one before
#define LONGEST_GAP_S 3  // gap that does not end a train
#define BOUNCE_TICKS (OPQ_TICK_HZ / 100) // a second edge so soon is of the same pulse
#define SECONDS_A_RIVAL 8 // glitches at random continue another train once in minutes

static int64_t magnitude(int64_t value) { return value < 0 ? -value : value; }

void opq_trains_clear(opq_trains_t *trains) {
    for (unsigned i = 0; i < OPQ_TRAINS; i++) {
        trains->trains[i].run = 0;
    }
}

static bool continues(const opq_train_t *train, int64_t tick, int64_t *seconds) {
    int64_t passed = tick - train->last_tick;
    int64_t count = (passed + OPQ_TICK_HZ / 2) / OPQ_TICK_HZ;
    if (train->run == 0 || passed <= 0 || count < 1 || count > LONGEST_GAP_S) {
        return false;
    }
    *seconds = count;
    if (train->run == 1) {
        return magnitude(passed - count * OPQ_TICK_HZ) <= count * OPQ_TICK_HZ * WORST_PPM / 1000000;
    }
    return magnitude(passed - count * train->period_ticks) <= count * JITTER_TICKS;
}

// The slot to reuse: a free one, one that has ended, else the oldest single pulse, else the oldest.
static opq_train_t *slot(opq_trains_t *trains, int64_t tick) {
    opq_train_t *found = &trains->trains[0];
    int64_t worst = -1;
    for (unsigned i = 0; i < OPQ_TRAINS; i++) {
        opq_train_t *train = &trains->trains[i];
        int64_t age = magnitude(tick - train->last_tick);
        bool ended = train->run == 0 || age > (LONGEST_GAP_S + 1) * OPQ_TICK_HZ;
        int64_t score = ended ? INT64_MAX : train->run == 1 ? INT64_MAX / 4 + age / 2 : age / 2;
        if (score > worst) {
            worst = score;
            found = train;
        }
    }
    return found;
}

const opq_train_t *opq_trains_push(opq_trains_t *trains, int64_t tick) {
    opq_train_t *found = NULL;
    int64_t seconds = 0;
    for (unsigned i = 0; i < OPQ_TRAINS; i++) {
        opq_train_t *train = &trains->trains[i];
        if (train->run > 0 && magnitude(tick - train->last_tick) < BOUNCE_TICKS) {
            return NULL;
        }
        int64_t count = 0;
        if (continues(train, tick, &count) && (found == NULL || train->run > found->run)) {
            found = train;
            seconds = count;
        }
    }
    if (found == NULL) {
        found = slot(trains, tick);
        *found = (opq_train_t){.first_tick = tick, .last_tick = tick, .period_ticks = OPQ_TICK_HZ, .run = 1};
        return found;
    }
    found->period_ticks = (int32_t)((tick - found->last_tick) / seconds);
    found->last_tick = tick;
    found->seconds += (uint32_t)seconds;
    found->run++;
    for (unsigned i = 0; i < OPQ_TRAINS; i++) {
        trains->trains[i].rivals += &trains->trains[i] != found;
    }
    return found;
}

bool opq_train_alone(const opq_train_t *train) { return train->rivals * SECONDS_A_RIVAL <= train->seconds; }
