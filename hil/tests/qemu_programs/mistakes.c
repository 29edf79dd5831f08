// What silicon would not forgive, and what no model has: both must stand in the report.
#include "program.h"

int main(void) {
    TIM3->ARR = 1234; // not clocked
    uint32_t unclocked = TIM3->ARR;
    clock_168mhz();
    say_open();
    say("unclocked", unclocked);
    *(volatile uint32_t *)0x40002850 = 7;             // RTC_BKP0R: no model
    (void)*(volatile uint32_t *)0x40002850;
    (void)*(volatile uint32_t *)(0x40011000 + 0x60);  // no such register in USART1
    *(volatile uint32_t *)0xE0000000 = 'x';           // ITM: no model
    RCC->PLLCFGR = 0;                                 // while the PLL runs
    say("pll_runs", RCC->PLLCFGR != 0);
    RCC->AHB1ENR |= RCC_AHB1ENR_DMA2EN;
    DMA2->S[0].CR = DMA_SxCR_EN; // NDTR is 0
    say("stream", DMA2->S[0].CR & DMA_SxCR_EN);
    while (!(USART1->SR & USART_SR_TC)) {
    }
    *(volatile uint32_t *)0x60000000 = 1; // nothing there: bus fault, escalated to HardFault
    return 0;
}
