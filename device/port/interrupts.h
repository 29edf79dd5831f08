// Setup of interrupts (SysTick, cycle counter, priorities), and functions that wake the pipeline.
#ifndef OPQ_INTERRUPTS_H
#define OPQ_INTERRUPTS_H

#include <stdbool.h>
#include <stdint.h>

void opq_interrupts_start(void);

// SysTick feeds the watchdog while the prompt is in use, as the supervisor does not run then.
void opq_interrupts_feed(bool on);

void opq_wake_pipeline(void); // pends PendSV
uint32_t opq_cycles(void);    // DWT CYCCNT, 168 MHz

// Vectors (startup.c); the rest is in cmodules/acquire.
void SysTick_Handler(void);
void PVD_IRQHandler(void);
void PendSV_Handler(void);
void TIM5_IRQHandler(void);
void USART1_IRQHandler(void);
void USART2_IRQHandler(void);

#endif
