#include "watchdog.h"

#include "stm32f405.h"

void opq_watchdog_start(void) {
    IWDG->KR = IWDG_KR_START; // starts LSI too; only then are PR and RLR taken over (RM0090 21.3.1)
    IWDG->KR = IWDG_KR_UNLOCK;
    IWDG->PR = 4;     // /64
    IWDG->RLR = 4095; // (4095 + 1) * 64 / 32 kHz = 8.192 s
    // PVU and RVU fall within five LSI cycles; until then the reset values hold, with a shorter time-out (0.5 s).
    for (uint32_t loop = 0; loop < 200000u && IWDG->SR != 0; loop++) {
    }
    opq_watchdog_feed();
}

void opq_watchdog_feed(void) { IWDG->KR = IWDG_KR_RELOAD; }
