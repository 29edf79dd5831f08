// Edges by EXTI: PPS on PA0, the voltage detector on line 16; levels by IDR; LEDs for the report.
#include "program.h"

static volatile uint32_t pulses, falls, rises;

void exti0_handler(void) {
    EXTI->PR = OPQ_BIT(0);
    pulses++;
}

void pvd_handler(void) {
    EXTI->PR = EXTI_LINE_PVD;
    if (PWR->CSR & PWR_CSR_PVDO) {
        falls++;
    } else {
        rises++;
    }
}

int main(void) {
    clock_168mhz();
    say_open();
    RCC->AHB1ENR |= RCC_AHB1ENR_GPIOBEN | RCC_AHB1ENR_GPIOCEN;
    RCC->APB2ENR |= RCC_APB2ENR_SYSCFGEN;
    ticks_start();
    GPIOC->PUPDR = 1u << 16 | 1u << 18; // PC8, PC9 pulled up
    GPIOB->MODER = (GPIOB->MODER & ~UINT32_C(3)) | 1;
    EXTI->RTSR = OPQ_BIT(0) | EXTI_LINE_PVD;
    EXTI->FTSR = EXTI_LINE_PVD;
    EXTI->IMR = OPQ_BIT(0) | EXTI_LINE_PVD;
    irq_enable(EXTI0_IRQn, 0);
    irq_enable(PVD_IRQn, 1);
    PWR->CR |= PWR_CR_PLS(7) | PWR_CR_PVDE;
    say("up", (GPIOC->IDR >> 8 & 3) == 3);
    for (int n = 0; n < 5; n++) {
        GPIOB->BSRR = n % 2 ? OPQ_BIT(16) : OPQ_BIT(0);
        wait_ticks(84 * 100000);
    }
    say("pulled", GPIOC->IDR >> 8 & 3);
    say("pulses", pulses);
    say("falls", falls);
    say("rises", rises);
    say("done", 1);
    return 0;
}
