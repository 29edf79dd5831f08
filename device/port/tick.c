#include "tick.h"

#include "board.h"
#include "ramfunc.h"
#include "ticks.h"

static opq_ticks_t ticks;
static opq_pulses_t pulses;
static volatile uint32_t edges, overcaptured, edges_of_this_ms;

enum { EDGES_PER_MS = 8 }; // a receiver sends one a second; many (broken cable) must not stop the processor

void opq_tick_start(void) {
    RCC->APB1ENR |= RCC_APB1ENR_TIM5EN;
    (void)RCC->APB1ENR; // two cycles until the clock is there (RM0090 7.2.14)
    opq_gpio_configure(OPQ_BOARD_PPS, OPQ_GPIO_ALTERNATE, OPQ_GPIO_PULL_DOWN, 2);
    TIM5->CR1 = 0;
    TIM5->PSC = 0;
    TIM5->ARR = UINT32_MAX;
    TIM5->SMCR = TIM_SMCR_TS_ITR1; // only sets the source of TRC: SMS stays 0, no slave mode
    // CH1: rising edges of TI1, filter of 4 samples at 84 MHz (48 ns); CH2: TRC, no filter.
    TIM5->CCMR1 = TIM_CCMR1_CC1S_TI1 | TIM_CCMR1_IC1F(2) | TIM_CCMR1_CC2S_TRC;
    TIM5->CCER = TIM_CCER_CC1E | TIM_CCER_CC2E;
    TIM5->EGR = TIM_EGR_UG;
    TIM5->SR = 0;
    TIM5->DIER = TIM_DIER_CC1IE;
    TIM5->CR1 = TIM_CR1_CEN;
    opq_irq_enable(TIM5_IRQn, 0);
}

OPQ_RAMFUNC int64_t opq_tick_now(void) { return opq_ticks_extend(&ticks, &TIM5->CNT); }

// Interrupt context: at most one edge is taken, integers only.
OPQ_RAMFUNC void opq_tick_on_capture(void) {
    uint32_t status = TIM5->SR;
    if ((status & TIM_SR_CC1IF) == 0) {
        return;
    }
    uint32_t captured = TIM5->CCR1; // also clears CC1IF
    if ((status & TIM_SR_CC1OF) != 0) {
        TIM5->SR = ~TIM_SR_CC1OF;
        overcaptured++;
    }
    edges++;
    if (++edges_of_this_ms == EDGES_PER_MS) {
        TIM5->DIER = 0; // until opq_tick_each_ms: captures go on, the last one counts
    }
    (void)opq_pulses_offer(&pulses, opq_ticks_near(opq_tick_now(), captured));
}

void opq_tick_each_ms(void) {
    (void)opq_tick_now();
    edges_of_this_ms = 0;
    TIM5->DIER = TIM_DIER_CC1IE;
}

bool opq_tick_take_pps(int64_t *tick) { return opq_pulses_take(&pulses, tick); }

opq_pps_counters_t opq_tick_pps_counters(void) {
    return (opq_pps_counters_t){edges, overcaptured, atomic_load(&pulses.dropped)};
}
