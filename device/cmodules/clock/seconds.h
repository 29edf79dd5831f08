// Seconds: which second of UTC a pulse is. The receiver's label comes late over a serial line, sometimes a second
// late, sometimes wrong; sixteen labels decide, and the gateway's time contradicts them. Also leap seconds.
#ifndef OPQ_SECONDS_H
#define OPQ_SECONDS_H

#include <stdbool.h>
#include <stdint.h>

#include "label.h"

#define OPQ_VOTES 16u
#define OPQ_CONTRADICTED 10u // labels in a row from which on a contradiction of the gateway, or of them, counts
#define OPQ_NEAR_LEAP_S 24 // so long labels may still show a leap second that was not announced

typedef struct {
    int64_t votes_ms[OPQ_VOTES]; // label minus the model's time at its arrival: offset minus latency
    uint32_t voted;
    uint32_t next;
    int64_t offset_s; // UTC minus the model's seconds
    bool settled;
    bool confirmed; // the receiver, time or the gateway's time confirmed its leap seconds
    uint32_t against; // labels in a row whose vote contradicts the settled second
    int64_t against_s; // by how much the last of them
    uint32_t contradicted; // labels in a row that agree while the gateway's time does not
    int64_t disputed_s;    // the gateway's second minus the settled one, since it contradicts the receiver
    int64_t fixed_tick;    // last label without a fix, or first one after a silence: it may have started again
    int64_t bias_s;   // the receiver's labels minus UTC, as found by the gateway's time
    int64_t last_vote_ms;
    uint8_t kind;        // rank of the votes
    bool any;            // there was a label, valid or not
    bool no_fix;         // as the receiver's labels say
    uint8_t fixes;       // a bit for each second with labels, the newest is bit 0: one of them had a fix
    int64_t fixes_tick;  // first label of the newest
    int64_t rank_tick;   // last label of the votes' rank
    int64_t latency_ms;  // typical latency of the votes that settled it
    int64_t leap_done_s; // the last leap second that happened
    int64_t leap_utc_s;  // the change happens where this second begins; 0: none announced
    int8_t leap_change;
    bool leap_reported; // the receiver reported whether one is ahead
} opq_seconds_t;

typedef enum {
    OPQ_SECONDS_NOTHING = 0, // no fix, lower rank, not the first label of its second, or it contradicts on and on
    OPQ_SECONDS_AGREES = 1,
    OPQ_SECONDS_AGAINST = 2, // contradicts the settled second, so far without effect
    OPQ_SECONDS_SETTLED = 3, // `offset_s` is new
    OPQ_SECONDS_VOTED = 4,   // nothing is settled yet
} opq_seconds_result_t;

// Whole seconds from another clock, right to a quarter of a second.
typedef struct {
    bool known;
    int64_t offset_s;
} opq_seconds_hint_t;

void opq_seconds_start(opq_seconds_t *seconds);
void opq_seconds_reset(opq_seconds_t *seconds); // the pulses started again: the seconds have to be settled again

// Whether it reports a fix, by each label before `opq_seconds_label`.
void opq_seconds_note_fix(opq_seconds_t *seconds, const opq_label_t *label);

// `model_ns`: the loop's time when the label arrived.
opq_seconds_result_t opq_seconds_label(opq_seconds_t *seconds, const opq_label_t *label, int64_t model_ns,
                                       opq_seconds_hint_t hint);
bool opq_seconds_fix(const opq_seconds_t *seconds); // false: the receiver reports that it has no fix
bool opq_seconds_near_leap(int64_t utc_s,
                           int64_t margin_s); // within `margin_s` after 23:59:54 of 30 June or 31 December
void opq_seconds_leap(opq_seconds_t *seconds, int8_t change); // applies the change

#endif
