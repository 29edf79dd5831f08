// TIM3 triggers conversions on an even grid; TIM5 CH2 (TRC) captures the tick of each one, without software.
//
// TIM5 itself runs all the time for the clock (port/tick.c sets it up, CH2 included). Both timers count the
// same 84 MHz, so the captured ticks of a run lie exactly `7000 / oversampling` apart, or a trigger was missed.
// The path TRGO -> TRC -> capture has a constant delay of a few ticks, below 100 ns (RM0090 18.3.13 gives no figure;
// PPS has another synchroniser and filter). It is one of the bench checks.
#ifndef OPQ_TRIGGER_H
#define OPQ_TRIGGER_H

#include <stdbool.h>
#include <stdint.h>

// Stops TIM3 and sets its period and counter so that the first trigger comes OPQ_TRIGGER_LEAD ticks after the start.
enum { OPQ_TRIGGER_LEAD = 100 };
void opq_trigger_prepare(uint32_t oversampling);
// Interrupt or task context. False: no trigger was captured within 4 leads.
bool opq_trigger_start(uint32_t *first_tick);
void opq_trigger_stop(void);
uint32_t opq_trigger_newest(void);

#endif
