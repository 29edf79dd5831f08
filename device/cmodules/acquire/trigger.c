#include "trigger.h"

#include "acquire.h"
#include "stm32f405.h"

void opq_trigger_prepare(uint32_t oversampling) {
    RCC->APB1ENR |= RCC_APB1ENR_TIM3EN;
    RCC->APB1RSTR |= RCC_APB1ENR_TIM3EN; // 7.3.8: the same bit; PSC, compare units and outputs as after reset
    RCC->APB1RSTR &= ~RCC_APB1ENR_TIM3EN;
    uint32_t period = OPQ_SAMPLE_TICKS / oversampling;
    TIM3->ARR = period - 1; // ARPE is 0: at once, without an update event, which would be a trigger
    TIM3->CNT = period - OPQ_TRIGGER_LEAD;
    TIM3->CR2 = TIM_CR2_MMS_UPDATE;
}

// Interrupt or task context: waits at most 4 leads (5 us).
OPQ_RAMFUNC bool opq_trigger_start(uint32_t *first_tick) {
    (void)TIM5->CCR2; // clears CC2IF (18.4.5)
    TIM5->SR = ~(TIM_SR_CC2IF | TIM_SR_CC2OF);
    uint32_t begun = TIM5->CNT;
    TIM3->CR1 = TIM_CR1_CEN;
    for (uint32_t turns = 0; (TIM5->SR & TIM_SR_CC2IF) == 0; turns++) {
        if (TIM5->CNT - begun > 4 * OPQ_TRIGGER_LEAD || turns > 10 * OPQ_TRIGGER_LEAD) { // TIM5 may stand still
            return false;
        }
    }
    *first_tick = TIM5->CCR2;
    return true;
}

OPQ_RAMFUNC void opq_trigger_stop(void) { TIM3->CR1 = 0; }

OPQ_RAMFUNC uint32_t opq_trigger_newest(void) { return TIM5->CCR2; }
