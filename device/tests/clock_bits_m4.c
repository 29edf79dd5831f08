// Vectors of a bare Cortex-M4 (QEMU's mps2-an386) for clock_bits.c: FPU on, then newlib's start with semihosting.
#include <stdint.h>

extern void _start(void);
extern uint32_t opq_stack_top[];

static void reset(void) {
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; // SCB->CPACR: CP10, CP11 (PM0214 4.6.1)
    _start();
}

static void stop(void) {
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    opq_stack_top, (const void *)reset, (const void *)stop, (const void *)stop, (const void *)stop,
};
