// Resets and their causes: power, then software, then the watchdog; memory and the world go on.
#include "program.h"

#define STEP (*(volatile uint32_t *)0x10000100) // CCM keeps its contents over a reset

int main(void) {
    uint32_t causes = RCC->CSR >> 24;
    RCC->CSR |= RCC_CSR_RMVF;
    clock_168mhz();
    say_open();
    ticks_start();
    if (causes & (RCC_CSR_PORRSTF >> 24)) {
        STEP = 0;
    }
    say("step", STEP);
    say("causes", causes);
    say("forgotten", RCC->CSR >> 25);
    switch (STEP++) {
    case 0:
        while (!(USART1->SR & USART_SR_TC)) {
        }
        SCB->AIRCR = SCB_AIRCR_VECTKEY | SCB_AIRCR_SYSRESETREQ;
        for (;;) {
        }
    case 1:
        IWDG->KR = IWDG_KR_START;
        IWDG->KR = IWDG_KR_UNLOCK;
        IWDG->PR = 3; // /32: 1 ms
        IWDG->RLR = 99;
        uint32_t from = TIM5->CNT;
        while (IWDG->SR) {
        }
        say("update_us", (TIM5->CNT - from) / 84);
        IWDG->KR = IWDG_KR_RELOAD;
        for (int n = 0; n < 10; n++) { // a second of feeding
            wait_ticks(84 * 90000);
            IWDG->KR = IWDG_KR_RELOAD;
        }
        say("fed", 1);
        for (;;) {
            say_bytes("."); // then 100 ms without
            wait_ticks(84 * 10000);
        }
    default: say("done", 1);
    }
    return 0;
}
