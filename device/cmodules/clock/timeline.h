// Timeline: tick -> time of the samples. Written by the main thread, read by PendSV without a lock.
// A piecewise linear function of the tick that never falls; each new piece begins in the future, so that the stamp of
// a sample, once given, is never revised, and a resent sample gets the stamp it had.
#ifndef OPQ_TIMELINE_H
#define OPQ_TIMELINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define OPQ_UNCERTAINTY_UNKNOWN UINT32_MAX
#define OPQ_PIECES 16u // at two new ones a second: 7 s back

typedef enum { // the link's numbers (proto/golden/README.md)
    OPQ_SOURCE_FREE = 0,
    OPQ_SOURCE_NTP = 1,
    OPQ_SOURCE_HOLDOVER = 2,
    OPQ_SOURCE_GPS = 3,
} opq_time_source_t;

typedef struct {
    int64_t t_ns;            // UTC since 1970 as Unix counts it, without leap seconds; since the start while unknown
    uint32_t uncertainty_ns; // inside it in >= 99.7 % of cases; OPQ_UNCERTAINTY_UNKNOWN
    uint32_t rate_millihz;   // samples per second, as measured
    uint8_t source;          // opq_time_source_t
    bool old;                // before all stored pieces: computed by the oldest one, an estimate
} opq_stamp_t;

// One piece: from `tick` on, until the next one begins.
typedef struct {
    int64_t tick;
    int64_t t_ns;     // at `tick`
    int64_t rate_q36; // seconds per nominal second, minus 1, times 2^36
    int64_t slew_q36; // added to rate_q36 for the first `slew_ns` nominal ns: a correction
    int64_t slew_ns;
    int64_t uncertainty_ns; // at `tick`, without the remaining slew
    int64_t growth_q36;     // of the uncertainty
    uint32_t rate_millihz;
    uint8_t source;
} opq_piece_t;

typedef struct {
    opq_piece_t pieces[OPQ_PIECES];
    atomic_uint_least32_t count; // pieces ever published
} opq_timeline_t;

// Main thread. `piece->tick` is not before the newest sample stamped so far.
void opq_timeline_publish(opq_timeline_t *timeline, const opq_piece_t *piece);

// Any context: integers only, bounded (at most 3 * OPQ_PIECES steps).
void opq_timeline_stamp(const opq_timeline_t *timeline, int64_t tick, opq_stamp_t *out);

#endif
