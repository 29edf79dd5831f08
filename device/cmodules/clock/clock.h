// Clock: TIM5 ticks -> UTC. Pure: no registers, no allocation. The main thread updates it, PendSV reads stamps from it.
//
//   opq_clock_pps          each captured pulse (glitches too: they are recognised here)
//   opq_clock_label        each second that the receiver names (nmea.h, ubx.h)
//   opq_clock_leap         what the receiver announces (UBX NAV-TIMELS)
//   opq_clock_temperature  each reading, about one a second
//   opq_clock_sync         the gateway's time, for a Box without GPS
//   opq_clock_tick         once a second and after the above: missing pulses, holdover, a new piece of the timeline
//   opq_clock_stamp        any context, lock-free
//
// Arithmetic: `double` in what runs once a second, since ns over hours need 45 bits and single has 24; on the F4 it is
// software, IEEE 754 as on the PC, and with -ffp-contract=off and no libm both give the same bits.
#ifndef OPQ_CLOCK_H
#define OPQ_CLOCK_H

#include "clock_state.h"

void opq_clock_config_default(opq_clock_config_t *config, bool tcxo);
void opq_clock_init(opq_clock_t *clock, const opq_clock_config_t *config, int64_t now_tick);
void opq_clock_configure(opq_clock_t *clock, const opq_clock_config_t *config); // while running: settings changed

void opq_clock_pps(opq_clock_t *clock, int64_t tick);
void opq_clock_label(opq_clock_t *clock, const opq_label_t *label);
// `change` (1, -1) happens where second `utc_s` begins; 0: none is ahead; OPQ_LEAP_UNKNOWN.
void opq_clock_leap(opq_clock_t *clock, int64_t utc_s, int8_t change, int8_t leap_seconds);
void opq_clock_temperature(opq_clock_t *clock, int64_t tick, float celsius); // NaN: the sensor failed
// `source`: OPQ_SOURCE_NTP or OPQ_SOURCE_FREE.
void opq_clock_sync(opq_clock_t *clock, int64_t tick, int64_t t_ns, uint32_t uncertainty_ns, uint8_t source);
void opq_clock_tick(opq_clock_t *clock, int64_t now_tick);
void opq_clock_status(const opq_clock_t *clock, opq_clock_status_t *out);

// Any context: integers only, bounded. Ticks up to 7 s back get the same stamp as before.
void opq_clock_stamp(const opq_clock_t *clock, int64_t tick, opq_stamp_t *out);

#endif
