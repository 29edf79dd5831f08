// Flash as RM0090 3.6 has it: keys, sectors, rules, time. Sector 2 is the playground.
#include "program.h"

#define WORDS ((volatile uint32_t *)0x08008000)

static RAMFUNC void finish(void) {
    while (FLASH->SR & FLASH_SR_BSY) {
    }
}

static RAMFUNC uint32_t erase(uint32_t sector) {
    uint32_t from = TIM5->CNT;
    FLASH->CR = FLASH_CR_SER | FLASH_CR_SNB(sector) | FLASH_CR_PSIZE_32;
    FLASH->CR |= FLASH_CR_STRT;
    finish();
    FLASH->CR = 0;
    return TIM5->CNT - from;
}

static RAMFUNC uint32_t program(volatile uint32_t *at, uint32_t value) {
    uint32_t from = TIM5->CNT;
    FLASH->CR = FLASH_CR_PG | FLASH_CR_PSIZE_32;
    *at = value;
    finish();
    FLASH->CR = 0;
    return TIM5->CNT - from;
}

int main(void) {
    clock_168mhz();
    say_open();
    ticks_start();
    say("before", WORDS[0] & 0xFF);
    *WORDS = 0;
    say("locked", (FLASH->SR & FLASH_SR_PGSERR) != 0 && WORDS[0] != 0);
    FLASH->SR = FLASH_SR_PGSERR;
    FLASH->KEYR = FLASH_KEY1;
    FLASH->KEYR = FLASH_KEY2;
    say("open", !(FLASH->CR & FLASH_CR_LOCK));
    say("erase_ms", erase(2) / 84000);
    say("erased", WORDS[0] == UINT32_MAX && WORDS[4095] == UINT32_MAX);
    say("program_us", program(WORDS, 0xF0F0F0F0) / 84);
    say("programmed", WORDS[0] == 0xF0F0F0F0);
    program(WORDS, 0x0FF00FF0);
    say("only_down", WORDS[0] == (0xF0F0F0F0 & 0x0FF00FF0));
    FLASH->CR = FLASH_CR_PG | FLASH_CR_PSIZE_32;
    *(volatile uint8_t *)0x08008010 = 0;
    say("wrong_size", (FLASH->SR & FLASH_SR_PGPERR) != 0);
    FLASH->SR = FLASH_SR_PGPERR;
    FLASH->CR = 0;
    for (uint32_t n = 1; n < 64; n++) {
        program(WORDS + n, n);
    }
    FLASH->CR = FLASH_CR_LOCK;
    say("shut", (FLASH->CR & FLASH_CR_LOCK) != 0);
    FLASH->KEYR = 1;
    FLASH->KEYR = FLASH_KEY1;
    FLASH->KEYR = FLASH_KEY2;
    say("wrong_key_shuts", (FLASH->CR & FLASH_CR_LOCK) != 0);
    say("done", 1);
    return 0;
}
