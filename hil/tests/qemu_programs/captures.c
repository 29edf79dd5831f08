// TIM5 at 84 MHz: CH1 takes PPS from PA0, CH2 takes every trigger of TIM3 (TRC); both in hardware.
#include "program.h"

int main(void) {
    clock_168mhz();
    say_open();
    RCC->APB1ENR |= RCC_APB1ENR_TIM3EN;
    GPIOA->AFR[0] = 2; // TIM5_CH1
    GPIOA->MODER = (GPIOA->MODER & ~UINT32_C(3)) | 2;
    ticks_start();
    TIM5->SMCR = TIM_SMCR_TS_ITR1;
    TIM5->CCMR1 = TIM_CCMR1_CC1S_TI1 | TIM_CCMR1_CC2S_TRC;
    TIM5->CCER = TIM_CCER_CC1E | TIM_CCER_CC2E;
    uint32_t last = 0;
    for (int n = 0; n < 4; n++) {
        while (!(TIM5->SR & TIM_SR_CC1IF)) {
            wait_ticks(84000);
        }
        uint32_t tick = TIM5->CCR1;
        say("pulse", tick - last);
        last = tick;
    }
    say("overcaptured", (TIM5->SR & TIM_SR_CC1OF) != 0);
    wait_ticks(2 * 8400000 + 840000); // two pulses go by unread
    say("overcaptured", (TIM5->SR & TIM_SR_CC1OF) != 0);
    TIM5->SR = ~TIM_SR_CC1OF;
    say("cleared", (TIM5->SR & TIM_SR_CC1OF) == 0);

    TIM3->PSC = 0;
    TIM3->ARR = 6999; // 12 kS/s
    TIM3->CR2 = TIM_CR2_MMS_UPDATE;
    TIM3->EGR = TIM_EGR_UG;
    TIM3->SR = 0;
    TIM3->CR1 = TIM_CR1_CEN;
    uint32_t first = TIM5->CNT - TIM3->CNT;
    wait_ticks(84000000 / 10);
    uint32_t before = TIM5->CNT, trigger = TIM5->CCR2;
    say("trigger_fresh", before - trigger < 7000);
    wait_ticks(8400000);
    say("triggers_off_grid", (TIM5->CCR2 - trigger) % 7000);
    say("start_within_100", (trigger - first + 3500) % 7000 - 3500 + 100 < 200);
    say("update", TIM3->SR & TIM_SR_UIF);
    TIM3->CCMR1 = TIM_CCMR1_OC2M_PWM1;
    TIM3->CCR2 = 100;
    TIM3->SR = 0;
    wait_ticks(7000);
    say("compare", (TIM3->SR & TIM_SR_CC2IF) != 0);
    say("done", 1);
    return 0;
}
