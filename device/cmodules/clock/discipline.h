// Discipline: internals that clock.c, discipline.c and publish.c share; for these files only.
#ifndef OPQ_DISCIPLINE_H
#define OPQ_DISCIPLINE_H

#include "clock_state.h"

#define OPQ_CLOCK_SECOND_NS INT64_C(1000000000)
#define OPQ_CLOCK_LOST_TICKS (OPQ_TICK_HZ * 7 / 2) // no accepted pulse for 3.5 s: holdover
#define OPQ_CLOCK_AHEAD_TICKS (OPQ_TICK_HZ / 10)   // a new piece begins 100 ms from now: no given stamp changes
#define OPQ_CLOCK_SIGMAS 3.5                       // stated bound over standard deviation: 99.95 % of a Gaussian
#define OPQ_CLOCK_FLOOR_NS 100.0 // a timing receiver's own offset and its antenna's (u-blox M8T: 20 ns rms, 60 ns 99 %)
#define OPQ_CLOCK_WANDER_PPB2_S 16.0 // (4 ppb)^2 per second: the frequency's wander that the loop allows
#define OPQ_CLOCK_PHASE_NS2_S 0.1    // white frequency noise of the oscillator: 0.3 ns in a second
#define OPQ_CLOCK_NET_WANDER_PPB2_S 0.05 // a TCXO in a room between syncs with the gateway
#define OPQ_CLOCK_PULSE_NS 30.0      // noise of one pulse: saw-tooth 17, receiver 20, our tick 3.4

// Estimated error of a loop at `tick`, and its growth from there.
typedef struct {
    double bound_ns;
    double growth_ppb;
} opq_bound_t;

opq_bound_t opq_clock_gps_bound(const opq_clock_t *clock, int64_t tick);
opq_bound_t opq_clock_net_bound(const opq_clock_t *clock, int64_t tick);
opq_seconds_hint_t opq_clock_hint(const opq_clock_t *clock, int64_t tick);
void opq_clock_hold(opq_clock_t *clock, int64_t now_tick); // enters holdover when due, advances the loop in it
void opq_clock_trust(opq_clock_t *clock);                  // trusts the pulses once converged and with settled seconds
void opq_clock_pass_leap(opq_clock_t *clock,
                         int64_t now_tick); // applies a leap second to the numbers of seconds
void opq_clock_publish(opq_clock_t *clock, int64_t now_tick);

#endif
