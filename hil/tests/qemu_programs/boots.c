// The chip's identity, clocks and memories as RM0090 and DS8626 have them.
#include "program.h"

static volatile uint32_t initialised[2] = {0x12345678, 0x9ABCDEF0};

int main(void) {
    uint32_t causes = RCC->CSR >> 24;
    clock_168mhz();
    say_open();
    say("causes", causes);
    say("idcode", DBGMCU_IDCODE & DBGMCU_IDCODE_DEV_ID);
    say("revision", DBGMCU_IDCODE >> 16);
    say("uid0", UID[0]);
    say("uid2", UID[2]);
    say("flash_kb", FLASH_SIZE_KB);
    say("data", initialised[0] == 0x12345678 && initialised[1] == 0x9ABCDEF0);
    *(volatile uint32_t *)0x10000000 = 0xC0FFEE;
    *(volatile uint32_t *)0x1000FFFC = 0xC0FFEE;
    say("ccm", *(volatile uint32_t *)0x10000000 == 0xC0FFEE && *(volatile uint32_t *)0x1000FFFC == 0xC0FFEE);
    volatile uintptr_t low = 4;
    say("alias", *(volatile uint32_t *)low == *(volatile uint32_t *)0x08000004);
    *(volatile uint32_t *)(0x22000000 + 0x1F000 * 32 + 5 * 4) = 1; // bit 5 of 0x2001F000
    say("bitband", *(volatile uint32_t *)0x2001F000 >> 5 & 1);
    volatile float third = 1.0f / 3.0f;
    say("fpu", (uint32_t)(third * 3e6f));
    CoreDebug->DEMCR |= CoreDebug_DEMCR_TRCENA;
    DWT->CTRL |= DWT_CTRL_CYCCNTENA;
    ticks_start();
    uint32_t cycles = DWT->CYCCNT, ticks = TIM5->CNT;
    wait_ticks(84000);
    cycles = DWT->CYCCNT - cycles;
    ticks = TIM5->CNT - ticks;
    say("cycles_per_tick_x1000", (uint32_t)((uint64_t)cycles * 1000 / ticks));
    SysTick->LOAD = 167999;
    SysTick->VAL = 0;
    SysTick->CTRL = SysTick_CTRL_ENABLE | SysTick_CTRL_CLKSOURCE;
    ticks = TIM5->CNT;
    for (int n = 0; n < 10; n++) {
        while (!(SysTick->CTRL & (UINT32_C(1) << 16))) {
        }
    }
    say("ten_ms_in_us", (TIM5->CNT - ticks) / 84);
    say("done", 1);
    return 0;
}
