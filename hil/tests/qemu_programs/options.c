// Option bytes as RM0090 3.6 and 3.9.10 have them: OPTCR is a copy, and only OPTSTRT makes it count. Ends in a reset.
#include "program.h"

#define OPTIONS ((volatile uint16_t *)0x1FFFC000)

static RAMFUNC void finish(void) {
    while (FLASH->SR & FLASH_SR_BSY) {
    }
}

static RAMFUNC uint32_t start_option_bytes(void) {
    uint32_t from = TIM5->CNT;
    FLASH->OPTCR |= FLASH_OPTCR_OPTSTRT;
    finish();
    return TIM5->CNT - from;
}

static RAMFUNC uint32_t erase(uint32_t sector) {
    FLASH->SR = FLASH_SR_WRPERR;
    FLASH->CR = FLASH_CR_SER | FLASH_CR_SNB(sector) | FLASH_CR_PSIZE_32;
    FLASH->CR |= FLASH_CR_STRT;
    finish();
    FLASH->CR = 0;
    return (FLASH->SR & FLASH_SR_WRPERR) != 0;
}

int main(void) {
    clock_168mhz();
    say_open();
    ticks_start();
    bool again = (RCC->CSR & RCC_CSR_SFTRSTF) != 0;
    say("optcr", FLASH->OPTCR);
    say("user", OPTIONS[0]);
    say("nwrp", OPTIONS[4]);
    FLASH->KEYR = FLASH_KEY1;
    FLASH->KEYR = FLASH_KEY2;
    say("refused", erase(2));
    if (again) {
        say("done", 1);
        return 0;
    }
    FLASH->OPTCR = 0;
    say("locked", FLASH->OPTCR == 0x0FFFAAED);
    FLASH->OPTKEYR = FLASH_OPTKEY1;
    FLASH->OPTKEYR = FLASH_OPTKEY2;
    FLASH->OPTCR = (0x0FFFAAEC & ~FLASH_OPTCR_BOR_LEV) & ~FLASH_OPTCR_NWRP(1u << 2); // level 3; sector 2
    say("stored_only", erase(2));
    say("programmed_ms", start_option_bytes() / 84000);
    say("now", erase(2));
    say("others", erase(3));
    say("user", OPTIONS[0]);
    say("nwrp", OPTIONS[4]);
    FLASH->OPTCR |= FLASH_OPTCR_NWRP(1u << 2); // never started: a reset forgets it
    wait_ticks(84000);
    SCB->AIRCR = SCB_AIRCR_VECTKEY | SCB_AIRCR_SYSRESETREQ;
    for (;;) {
    }
}
