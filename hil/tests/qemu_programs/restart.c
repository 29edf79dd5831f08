// The timer of the external converter is reset while CNV is high: the next rise starts a conversion all the same;
// then CNV falls too early, and the word that is read says so.
#include "program.h"

static void begin(uint32_t high_ticks) {
    TIM3->ARR = 6999;
    TIM3->CCR1 = high_ticks;
    TIM3->CCMR1 = TIM_CCMR1_OC1M_PWM1;
    TIM3->CCER = TIM_CCER_CC1E;
    TIM3->CNT = 6900;
    TIM3->CR1 = TIM_CR1_CEN;
}

static uint32_t word(void) {
    SPI2->DR = 0;
    while (!(SPI2->SR & SPI_SR_RXNE)) {
    }
    return SPI2->DR;
}

int main(void) {
    clock_168mhz();
    say_open();
    RCC->AHB1ENR |= RCC_AHB1ENR_GPIOBEN | RCC_AHB1ENR_GPIOCEN;
    RCC->APB1ENR |= RCC_APB1ENR_TIM3EN | RCC_APB1ENR_SPI2EN;
    GPIOC->AFR[0] = UINT32_C(2) << 24;
    GPIOC->MODER = UINT32_C(2) << 12;
    SPI2->CR1 = SPI_CR1_MSTR | SPI_CR1_DFF | SPI_CR1_SSM | SPI_CR1_SSI | SPI_CR1_BR(1) | SPI_CR1_SPE;
    ticks_start();
    begin(3000);
    wait_ticks(1100); // CNV is high since 1000 ticks
    RCC->APB1RSTR |= RCC_APB1ENR_TIM3EN;
    RCC->APB1RSTR &= ~RCC_APB1ENR_TIM3EN;
    begin(190);
    wait_ticks(1100);
    say("whole", word());
    wait_ticks(7000 - 1100);
    TIM3->CCR1 = 50;
    wait_ticks(7000);
    say("short", word());
    say("done", 1);
    return 0;
}
