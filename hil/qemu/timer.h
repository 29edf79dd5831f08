/*
 * Between a timer's registers (timer.c) and its events (timer_events.c).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_OPQ_TIMER_H
#define HW_OPQ_TIMER_H

#include "opqbox.h"

/* Ticks of 84 MHz per count; whether it counts at all; CCMRx of one channel. */
static inline int64_t opq_timer_step(const OpqTimer *timer) { return (int64_t)timer->psc_now + 1; }
static inline bool opq_timer_counting(const OpqTimer *timer)
{
    return (timer->cr1 & 1) && timer->arr_now != 0; /* 18.4.12 */
}
static inline unsigned opq_timer_mode(const OpqTimer *timer, int channel)
{
    return timer->ccmr[channel / 2] >> (channel % 2 * 8) & 0xFF;
}
static inline bool opq_timer_is_output(const OpqTimer *timer, int channel)
{
    return (opq_timer_mode(timer, channel) & 3) == 0;
}

enum { OPQ_AT_ANY, OPQ_AT_MATCH, OPQ_AT_UPDATE };
void opq_timer_plan(OpqTimer *timer);
void opq_timer_watch(OpqTimer *timer);
void opq_timer_late_flags(OpqTimer *timer, int64_t tick);
void opq_timer_irq(OpqBox *box, int index);
uint32_t opq_timer_count_at(const OpqTimer *timer, int64_t tick);
void opq_timer_output(OpqBox *box, int index, int channel, uint32_t count, int when, int64_t tick);
void opq_timer_update(OpqBox *box, int index, int64_t tick, bool by_software);
void opq_timer_capture(OpqBox *box, int index, int channel, int64_t tick);

#endif
