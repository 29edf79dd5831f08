// What every test program starts from: 168 MHz as the firmware sets it, words on USART1 at 921,600 baud.
#ifndef PROGRAM_H
#define PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

#include "stm32f405.h"

void clock_168mhz(void);       // HSE 12 MHz, PLL; APB1 42, APB2 84 MHz
void say_open(void);           // USART1 on PA9/PA10
void say(const char *name, uint32_t value); // "name=value\n"
void say_bytes(const char *text);
void wait_ticks(uint32_t ticks); // asleep, by TIM5_CH3, once `ticks_start` ran; interrupts are on
void ticks_start(void);          // TIM5 free running at 84 MHz
void irq_enable(unsigned irq, unsigned priority);
void irq_off(unsigned irq);

#define RAMFUNC __attribute__((section(".ramfunc"), noinline, long_call))

#endif
