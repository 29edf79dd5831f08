// The interrupts of the port itself; the converters' handlers are in their drivers (cmodules/acquire).
//
//     0 TIM5 (PPS)   1 USART1, USART2   2 DMA, ADC (acquisition)   3 SysTick, PVD   15 PendSV: the pipeline
//
// Priorities 0 to 2 run from RAM and go on while flash is erased; the others wait for its end (flash.c).
#include "interrupts.h"

#include "pipeline.h"
#include "power.h"
#include "program_budget.h"
#include "prompt.h"
#include "ramfunc.h"
#include "stm32f405.h"
#include "tick.h"
#include "uart.h"
#include "watchdog.h"

static volatile bool feeding;

void opq_interrupts_start(void) {
    CoreDebug->DEMCR |= CoreDebug_DEMCR_TRCENA; // the cycle counter
    DWT->CYCCNT = 0;
    DWT->CTRL |= DWT_CTRL_CYCCNTENA;
    SCB->SHP[10] = 15u << 4; // PendSV
    SCB->SHP[11] = 3u << 4;  // SysTick
    SysTick->LOAD = (opq_power_clock() == OPQ_CLOCK_SLOW ? 16000u : OPQ_HCLK_HZ / 1000u) - 1u;
    SysTick->VAL = 0;
    SysTick->CTRL = SysTick_CTRL_CLKSOURCE | SysTick_CTRL_TICKINT | SysTick_CTRL_ENABLE;
}

void opq_interrupts_feed(bool on) { feeding = on; }

// Any context, in RAM.
OPQ_RAMFUNC void opq_wake_pipeline(void) { SCB->ICSR = SCB_ICSR_PENDSVSET; }
OPQ_RAMFUNC uint32_t opq_cycles(void) { return DWT->CYCCNT; }

// Interrupt context, every 1 ms: counts the wraps of TIM5; the interrupt also wakes the main thread from WFI.
void SysTick_Handler(void) {
    opq_tick_each_ms();
    opq_program_each_ms();
    opq_prompt_each_ms();
    if (feeding) {
        opq_watchdog_feed();
    }
}

void PVD_IRQHandler(void) { opq_power_on_pvd(); }
void PendSV_Handler(void) { opq_pipeline_run(); }
OPQ_RAMFUNC void TIM5_IRQHandler(void) { opq_tick_on_capture(); }
OPQ_RAMFUNC void USART1_IRQHandler(void) { opq_uart_on_interrupt(OPQ_UART_LINK); }
OPQ_RAMFUNC void USART2_IRQHandler(void) { opq_uart_on_interrupt(OPQ_UART_GPS); }
