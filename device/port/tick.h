// TIM5 on the registers: the Box's one time base, and the queue of captured PPS edges (clock/ticks.h).
//
// Ticks of 84 MHz begin near 0 with the start of the chip and are never set. UTC is made of them in cmodules/clock.
#ifndef OPQ_TICK_H
#define OPQ_TICK_H

#include <stdbool.h>
#include <stdint.h>

// TIM5: free-running, CH1 captures PPS, CH2 captures TIM3's update (the conversion trigger). Started once, by main.
void opq_tick_start(void);

// Any context. It must be called at least every 25 s (opq_tick_each_ms does).
int64_t opq_tick_now(void);

// Interrupt context (TIM5).
void opq_tick_on_capture(void);

// Interrupt context (SysTick): counts the wraps, and enables edges again after too many of them.
void opq_tick_each_ms(void);

// The main thread: the oldest waiting PPS edge. False: none.
bool opq_tick_take_pps(int64_t *tick);

typedef struct {
    uint32_t edges;        // captured
    uint32_t overcaptured; // CC1OF: an edge came before the one before it was read; one of them is lost
    uint32_t dropped;      // the queue was full
} opq_pps_counters_t;
opq_pps_counters_t opq_tick_pps_counters(void);

#endif
