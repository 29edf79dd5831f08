// Publishing: which clock the stamps follow, and how the timeline gets there without ever going back.
#include "discipline.h"

#define SLEW_NS INT64_C(1000000)            // up to this a difference is slewed,
#define SLEW_FACTOR 50000                   // at 20 ppm at most: 0.001 Hz of 50 Hz while it lasts
#define CRAWL_NS (10 * OPQ_CLOCK_SECOND_NS) // back by more than this is a step, as the wait would take hours
#define SETTLED_NS 200                      // with a larger difference it is not GPS time yet
#define AGAIN_TICKS (OPQ_TICK_HZ * 9 / 20)  // at most two pieces a second, so that the timeline reaches 7 s back
#define CRAWL_Q36 (INT64_C(68719476736) / 1000 * 999) // 2^36: the timeline does 1/1000 of its pace
#define LEAP_AHEAD_NS (OPQ_CLOCK_SECOND_NS * 9 / 2) // inserted so early: the main thread may be busy
#define LEAP_DOUBT_S 8      // from 23:59:54 on, if it was not announced whether there is a leap second
#define LEAP_DEFAULT_OFF_S 2 // leap seconds of a firmware of some years ago
#define MOST_DOUBT_S 4       // a larger error is not bounded: the time is not known

typedef struct {
    bool known;
    int64_t t_ns; // at the start of the piece
    double y_ppb;
    opq_bound_t bound;
    uint8_t source;
    bool seconds_doubtful;
} target_t;

static double q36(double ppb) { return ppb * 1e-9 * 68719476736.0; }

// Seconds that the count may be wrong by: another clock or the labels contradict it, or its leap seconds may be a
// default.
static double seconds_doubt_s(const opq_seconds_t *seconds) {
    int64_t off_s = seconds->disputed_s < 0 ? -seconds->disputed_s : seconds->disputed_s;
    if (off_s == 0 && !seconds->confirmed) {
        off_s = LEAP_DEFAULT_OFF_S;
    }
    if (seconds->against >= OPQ_CONTRADICTED) {
        off_s += seconds->against_s < 0 ? -seconds->against_s : seconds->against_s > 0 ? seconds->against_s : 1;
    }
    return off_s <= MOST_DOUBT_S ? (double)off_s : 1e9;
}

static target_t choose(const opq_clock_t *clock, int64_t tick) {
    target_t none = {.y_ppb = clock->gps_running ? clock->gps.y_ppb : clock->net_syncs > 0 ? clock->net.y_ppb : 0.0};
    target_t gps = {
        .known = clock->gps_trusted,
        .t_ns = opq_loop_at(&clock->gps, tick) + clock->seconds.offset_s * OPQ_CLOCK_SECOND_NS,
        .y_ppb = clock->gps.y_ppb,
        .source = clock->holding ? OPQ_SOURCE_HOLDOVER : OPQ_SOURCE_GPS,
    };
    target_t net = {
        .known = clock->net_syncs > 0,
        .t_ns = opq_loop_at(&clock->net, tick),
        .y_ppb = clock->net.y_ppb,
        .source = clock->net_source,
    };
    if (gps.known) {
        double off_s = seconds_doubt_s(&clock->seconds);
        gps.bound = opq_clock_gps_bound(clock, tick);
        gps.bound.bound_ns += off_s * 1e9;
        gps.seconds_doubtful = off_s > 0.0;
    }
    if (net.known) {
        net.bound = opq_clock_net_bound(clock, tick);
    }
    // After long holdover, or before the leap seconds are known, the gateway may be better; twice, so that it does not
    // alternate.
    if (gps.known && net.known) {
        bool may_be = clock->holding || (gps.seconds_doubtful && clock->seconds.disputed_s == 0);
        return may_be && 2.0 * net.bound.bound_ns < gps.bound.bound_ns ? net : gps;
    }
    return gps.known ? gps : net.known ? net : none;
}

// Additional uncertainty within a leap second, and where there may be one.
static double doubt_ns(const opq_clock_t *clock, const target_t *target, int64_t tick) {
    double extra = tick < clock->leap_end_tick ? 1e9 : 0.0;
    int64_t utc_s = target->t_ns / OPQ_CLOCK_SECOND_NS;
    int64_t doubtful_s = clock->seconds.against > 0 ? OPQ_NEAR_LEAP_S : LEAP_DOUBT_S;
    if (!clock->seconds.leap_reported && opq_seconds_near_leap(utc_s, doubtful_s)) {
        extra = 1e9;
    }
    return extra;
}

static int64_t timeline_at(const opq_clock_t *clock, int64_t tick) {
    opq_stamp_t stamp;
    opq_timeline_stamp(&clock->timeline, tick, &stamp);
    return stamp.t_ns;
}

// A piece from `from_ns` at its tick to the target: a slew, a crawl or a step.
static void aim(opq_clock_t *clock, opq_piece_t *piece, int64_t from_ns, int64_t target_ns) {
    int64_t off_ns = target_ns - from_ns;
    int64_t magnitude = off_ns < 0 ? -off_ns : off_ns;
    piece->t_ns = from_ns;
    clock->status.slewing_ns = magnitude < INT32_MAX ? (int32_t)off_ns : off_ns < 0 ? INT32_MIN : INT32_MAX;
    clock->crawling = off_ns < 0 && magnitude <= CRAWL_NS && magnitude > (clock->crawling ? SETTLED_NS : SLEW_NS);
    if (clock->crawling) { // once begun it goes on to the end; otherwise the last millisecond would take a minute
        piece->slew_ns = magnitude * 1000 / 999;
        piece->slew_q36 = -CRAWL_Q36;
    } else if (magnitude <= SLEW_NS) {
        int64_t length_ns = magnitude * SLEW_FACTOR;
        piece->slew_ns = length_ns > OPQ_CLOCK_SECOND_NS ? length_ns : OPQ_CLOCK_SECOND_NS;
        piece->slew_q36 = off_ns * INT64_C(68719476736) / piece->slew_ns;
    } else {
        piece->t_ns = target_ns;
        piece->slew_ns = piece->slew_q36 = 0;
        clock->status.steps += off_ns > 0;
        clock->status.steps_back += off_ns < 0;
        clock->status.last_step_ns = off_ns;
        clock->status.slewing_ns = 0;
    }
    if (piece->source == OPQ_SOURCE_GPS && magnitude > SETTLED_NS && piece->slew_ns > 0) {
        piece->source = OPQ_SOURCE_HOLDOVER;
    }
}

// The announced leap second, if it lies in this piece: a piece of its own at its exact tick.
static void leap(opq_clock_t *clock, const opq_piece_t *before, const target_t *target) {
    opq_seconds_t *seconds = &clock->seconds;
    if (seconds->leap_utc_s == 0 || seconds->leap_change == 0 || target->source < OPQ_SOURCE_HOLDOVER) {
        return;
    }
    int64_t at_ns = (seconds->leap_utc_s - (seconds->leap_change < 0)) * OPQ_CLOCK_SECOND_NS;
    int64_t ahead_ns = at_ns - target->t_ns;
    if (ahead_ns > LEAP_AHEAD_NS) {
        return;
    }
    int8_t change = seconds->leap_change;
    seconds->leap_done_s = seconds->leap_utc_s;
    seconds->leap_utc_s = 0;
    if (ahead_ns < -OPQ_CLOCK_SECOND_NS) { // announced too late; the labels decide
        return;
    }
    ahead_ns = ahead_ns > 0 ? ahead_ns : 0;
    opq_piece_t piece = *before;
    piece.tick = before->tick + (int64_t)((double)ahead_ns * (1.0 - target->y_ppb * 1e-9) * 0.084);
    if (piece.tick <= before->tick) {
        piece.tick = before->tick + 1;
    }
    if (change > 0) { // Unix gives 23:59:60 the numbers of 00:00:00; here the time stands still before them
        piece.uncertainty_ns += OPQ_CLOCK_SECOND_NS;
    }
    int64_t from_ns = timeline_at(clock, piece.tick);
    aim(clock, &piece, from_ns, from_ns - (int64_t)change * OPQ_CLOCK_SECOND_NS);
    opq_timeline_publish(&clock->timeline, &piece);
    clock->published_tick = piece.tick;
    clock->leap_tick = piece.tick;
    clock->leap_end_tick = change > 0 ? piece.tick + OPQ_TICK_HZ : 0;
    clock->leap_change = change;
}

void opq_clock_pass_leap(opq_clock_t *clock, int64_t now_tick) {
    if (clock->leap_change != 0 && now_tick >= clock->leap_tick) {
        opq_seconds_leap(&clock->seconds, clock->leap_change);
        clock->status.leap_seconds = (int8_t)(clock->status.leap_seconds + clock->leap_change);
        clock->leap_change = 0;
    }
}

void opq_clock_publish(opq_clock_t *clock, int64_t now_tick) {
    int64_t tick = now_tick + OPQ_CLOCK_AHEAD_TICKS;
    if (tick < clock->published_tick + AGAIN_TICKS) {
        return; // called too often, or the piece of a leap second has not begun
    }
    target_t target = choose(clock, tick);
    double doubt = target.known ? target.bound.bound_ns + doubt_ns(clock, &target, tick) : 1e18;
    double rate_hz = (double)OPQ_TICK_HZ / (double)clock->config.sample_ticks;
    opq_piece_t piece = {
        .tick = tick,
        .rate_q36 = (int64_t)q36(target.y_ppb),
        .uncertainty_ns = doubt < 4294967295.0 ? (int64_t)doubt : INT64_C(4294967295),
        .growth_q36 = target.known && target.bound.growth_ppb > 0.0 ? (int64_t)q36(target.bound.growth_ppb) : 0,
        .rate_millihz = (uint32_t)(rate_hz * 1000.0 / (1.0 + target.y_ppb * 1e-9) + 0.5),
        .source = target.seconds_doubtful ? OPQ_SOURCE_FREE : target.source,
    };
    int64_t from_ns = timeline_at(clock, tick);
    aim(clock, &piece, from_ns, target.known ? target.t_ns : from_ns);
    opq_timeline_publish(&clock->timeline, &piece);
    clock->published_tick = tick;
    if (target.known) {
        leap(clock, &piece, &target);
    }
}
