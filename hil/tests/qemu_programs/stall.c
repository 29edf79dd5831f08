// An erase stalls what runs from flash: a counter in RAM goes on, one in flash stands still; time goes on for both.
#include "program.h"

static volatile uint32_t in_ram, in_flash, pulses;

void exti0_handler(void) { // in flash, its vector too
    EXTI->PR = OPQ_BIT(0);
    pulses++;
}

static RAMFUNC void erase_in_ram(void) {
    FLASH->CR |= FLASH_CR_STRT;
    while (FLASH->SR & FLASH_SR_BSY) {
        in_ram++;
    }
}

static void erase_in_flash(void) {
    FLASH->CR |= FLASH_CR_STRT;
    while (FLASH->SR & FLASH_SR_BSY) {
        in_flash++;
    }
}

int main(void) {
    clock_168mhz();
    say_open();
    ticks_start();
    FLASH->KEYR = FLASH_KEY1;
    FLASH->KEYR = FLASH_KEY2;
    FLASH->CR = FLASH_CR_SER | FLASH_CR_SNB(2) | FLASH_CR_PSIZE_32;
    uint32_t from = TIM5->CNT;
    erase_in_ram();
    say("ram_ms", (TIM5->CNT - from) / 84000);
    say("ram_turns", in_ram > 100);
    from = TIM5->CNT;
    erase_in_flash();
    say("flash_ms", (TIM5->CNT - from) / 84000);
    say("flash_turns", in_flash);
    say("done", 1);
    return 0;
}
