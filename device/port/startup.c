// From reset to main: RAM filled, vectors moved to RAM, FPU on. Also the handlers of faults.
#include "boot_id.h"
#include "crash.h"
#include "stm32f405.h"

extern uint32_t opq_ram_load[], opq_ram_start[], opq_ram_end[], opq_bss_start[], opq_bss_end[];
extern uint32_t opq_ccm_bss_start[], opq_ccm_bss_end[], opq_stack_top[];

typedef void (*handler_t)(void);

void Reset_Handler(void) __attribute__((noreturn));
int main(void);

// Any fault: the frame that the processor pushed (PM0214 figure 12) has the place.
void opq_fault(const uint32_t *frame, uint32_t exc_return);
void opq_fault(const uint32_t *frame, uint32_t exc_return) { opq_crash(OPQ_CRASH_FAULT, 0, frame, exc_return); }

static const uint32_t *here(void) { return __builtin_frame_address(0); }

__attribute__((naked)) void Fault_Handler(void);
void Fault_Handler(void) {
    __asm volatile("tst lr, #4\n\tite eq\n\tmrseq r0, msp\n\tmrsne r0, psp\n\tmov r1, lr\n\tb opq_fault");
}

// HSE failed, and the processor runs from HSI now (RM0090 7.2.7): reset; power.c will notice and report it.
void NMI_Handler(void);
void NMI_Handler(void) {
    RCC->CIR |= RCC_CIR_CSSC;
    opq_crash(OPQ_CRASH_CLOCK, 0, here(), 0);
}

void Unexpected_Handler(void);
void Unexpected_Handler(void) {
    opq_crash(OPQ_CRASH_INTERRUPT, SCB->ICSR & 0x1FFu, here(), 0); // VECTACTIVE
}

#define OPQ_WEAK(name) void name(void) __attribute__((weak, alias("Unexpected_Handler")))
OPQ_WEAK(PendSV_Handler);
OPQ_WEAK(SysTick_Handler);
OPQ_WEAK(PVD_IRQHandler);
OPQ_WEAK(TIM3_IRQHandler);
OPQ_WEAK(TIM5_IRQHandler);
OPQ_WEAK(ADC_IRQHandler);
OPQ_WEAK(USART1_IRQHandler);
OPQ_WEAK(USART2_IRQHandler);
OPQ_WEAK(DMA1_Stream3_IRQHandler);
OPQ_WEAK(DMA1_Stream5_IRQHandler);
OPQ_WEAK(DMA2_Stream0_IRQHandler);

// The vector table for the boot loader. The processor uses its copy in RAM: a vector read from flash would wait
// for the end of an erase.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
__attribute__((section(".vectors"), used)) static const handler_t vectors[16 + OPQ_IRQ_COUNT] = {
    [0] = (handler_t)(uintptr_t)opq_stack_top,
    [1] = Reset_Handler,
    [2] = NMI_Handler,
    [3 ... 6] = Fault_Handler,
    [7 ... 13] = Unexpected_Handler,
    [14] = PendSV_Handler,
    [15] = SysTick_Handler,
    [16 ... 16 + OPQ_IRQ_COUNT - 1] = Unexpected_Handler,
    [16 + PVD_IRQn] = PVD_IRQHandler,
    [16 + TIM3_IRQn] = TIM3_IRQHandler,
    [16 + TIM5_IRQn] = TIM5_IRQHandler,
    [16 + ADC_IRQn] = ADC_IRQHandler,
    [16 + USART1_IRQn] = USART1_IRQHandler,
    [16 + USART2_IRQn] = USART2_IRQHandler,
    [16 + DMA1_Stream3_IRQn] = DMA1_Stream3_IRQHandler,
    [16 + DMA1_Stream5_IRQn] = DMA1_Stream5_IRQHandler,
    [16 + DMA2_Stream0_IRQn] = DMA2_Stream0_IRQHandler,
};
#pragma GCC diagnostic pop
__attribute__((section(".ram_vectors"), used)) static handler_t ram_vectors[16 + OPQ_IRQ_COUNT];

void Reset_Handler(void) {
    (void)opq_irq_disable();
    for (uint32_t *from = opq_ram_load, *to = opq_ram_start; to < opq_ram_end;) {
        *to++ = *from++;
    }
    uint32_t noise = opq_boot_noise(opq_bss_start, opq_bss_end);
    for (uint32_t *to = opq_bss_start; to < opq_bss_end;) {
        *to++ = 0;
    }
    for (uint32_t *to = opq_ccm_bss_start; to < opq_ccm_bss_end;) {
        *to++ = 0;
    }
    opq_boot_id_set(noise);
    for (uint32_t n = 0; n < 16u + OPQ_IRQ_COUNT; n++) {
        ram_vectors[n] = vectors[n];
        if (n >= 16u) {
            opq_irq_off(n - 16u); // interrupts that the boot loader left on
        }
    }
    SCB->VTOR = (uint32_t)(uintptr_t)ram_vectors;
    SCB->AIRCR = SCB_AIRCR_VECTKEY | SCB_AIRCR_PRIGROUP_4_0;
    SCB->SHCSR |= SCB_SHCSR_USGFAULTENA | SCB_SHCSR_BUSFAULTENA | SCB_SHCSR_MEMFAULTENA;
    SCB->CPACR |= SCB_CPACR_FPU;
    opq_dsb();
    opq_isb();
    opq_irq_restore(0);
    main();
    opq_crash(OPQ_CRASH_APP_ENDED, 0, here(), 0);
}
