// The Cortex-M4 core's own registers that the firmware uses, named as in PM0214 ("STM32F4 Series
// Cortex-M4 programming manual", rev. 10). No vendor header: 60 lines are easier to hold to the page.
#ifndef OPQ_CORTEX_M4_H
#define OPQ_CORTEX_M4_H

#include <stdint.h>

#define OPQ_BIT(n) (UINT32_C(1) << (n))

// On the PC a test hands out memory for a register block; on the target an address is an address.
#ifdef OPQ_HOST_REGISTERS
volatile void *opq_host_registers(uint32_t address);
#define OPQ_AT(type, address) ((volatile type *)opq_host_registers(UINT32_C(address)))
#else
#define OPQ_AT(type, address) ((volatile type *)UINT32_C(address))
#endif

typedef struct {             // PM0214 4.5 SysTick
    volatile uint32_t CTRL;  // 0x00
    volatile uint32_t LOAD;  // 0x04
    volatile uint32_t VAL;   // 0x08
    volatile uint32_t CALIB; // 0x0C
} opq_systick_t;
#define SysTick OPQ_AT(opq_systick_t, 0xE000E010)
#define SysTick_CTRL_ENABLE OPQ_BIT(0)
#define SysTick_CTRL_TICKINT OPQ_BIT(1)
#define SysTick_CTRL_CLKSOURCE OPQ_BIT(2) // 1: AHB, 0: AHB/8

typedef struct {                // PM0214 4.3 NVIC
    volatile uint32_t ISER[8];  // 0x000
    uint32_t reserved0[24];
    volatile uint32_t ICER[8];  // 0x080
    uint32_t reserved1[24];
    volatile uint32_t ISPR[8];  // 0x100
    uint32_t reserved2[24];
    volatile uint32_t ICPR[8];  // 0x180
    uint32_t reserved3[24];
    volatile uint32_t IABR[8];  // 0x200
    uint32_t reserved4[56];
    volatile uint8_t IP[240];   // 0x300, the upper four bits count on the F4
} opq_nvic_t;
#define NVIC OPQ_AT(opq_nvic_t, 0xE000E100)

typedef struct {                // PM0214 4.4 SCB
    volatile uint32_t CPUID;    // 0x00
    volatile uint32_t ICSR;     // 0x04
    volatile uint32_t VTOR;     // 0x08
    volatile uint32_t AIRCR;    // 0x0C
    volatile uint32_t SCR;      // 0x10
    volatile uint32_t CCR;      // 0x14
    volatile uint8_t SHP[12];   // 0x18, [7] SVCall, [10] PendSV, [11] SysTick
    volatile uint32_t SHCSR;    // 0x24
    volatile uint32_t CFSR;     // 0x28
    volatile uint32_t HFSR;     // 0x2C
    uint32_t reserved0;
    volatile uint32_t MMFAR;    // 0x34
    volatile uint32_t BFAR;     // 0x38
    uint32_t reserved1[19];
    volatile uint32_t CPACR;    // 0x88
} opq_scb_t;
#define SCB OPQ_AT(opq_scb_t, 0xE000ED00)
#define SCB_ICSR_PENDSVSET OPQ_BIT(28)
#define SCB_ICSR_PENDSVCLR OPQ_BIT(27)
#define SCB_ICSR_PENDSTCLR OPQ_BIT(25)
#define SCB_AIRCR_VECTKEY (UINT32_C(0x05FA) << 16)
#define SCB_AIRCR_PRIGROUP_4_0 (UINT32_C(3) << 8) // four bits of pre-emption, none of sub-priority
#define SCB_AIRCR_SYSRESETREQ OPQ_BIT(2)
#define SCB_SHCSR_USGFAULTENA OPQ_BIT(18)
#define SCB_SHCSR_BUSFAULTENA OPQ_BIT(17)
#define SCB_SHCSR_MEMFAULTENA OPQ_BIT(16)
#define SCB_CPACR_FPU (UINT32_C(0xF) << 20) // CP10 and CP11, full access

typedef struct {                // ARMv7-M C1.6 Debug
    volatile uint32_t DHCSR;    // 0x0
    volatile uint32_t DCRSR;    // 0x4
    volatile uint32_t DCRDR;    // 0x8
    volatile uint32_t DEMCR;    // 0xC
} opq_coredebug_t;
#define CoreDebug OPQ_AT(opq_coredebug_t, 0xE000EDF0)
#define CoreDebug_DEMCR_TRCENA OPQ_BIT(24)

typedef struct {                // ARMv7-M C1.8 DWT
    volatile uint32_t CTRL;     // 0x0
    volatile uint32_t CYCCNT;   // 0x4
} opq_dwt_t;
#define DWT OPQ_AT(opq_dwt_t, 0xE0001000)
#define DWT_CTRL_CYCCNTENA OPQ_BIT(0)

#ifndef OPQ_HOST_REGISTERS
// Barriers where ARMv7-M wants them: after VTOR, before a reset, around a change of priority.
static inline void opq_dsb(void) { __asm volatile("dsb 0xF" ::: "memory"); }
static inline void opq_isb(void) { __asm volatile("isb 0xF" ::: "memory"); }

// Everything but faults off; gives back what to hand to `opq_irq_restore`. Nests.
static inline uint32_t opq_irq_disable(void) {
    uint32_t primask;
    __asm volatile("mrs %0, primask\n\tcpsid i" : "=r"(primask)::"memory");
    return primask;
}
static inline void opq_irq_restore(uint32_t primask) { __asm volatile("msr primask, %0" ::"r"(primask) : "memory"); }
#else
static inline void opq_dsb(void) {}
static inline void opq_isb(void) {}
static inline uint32_t opq_irq_disable(void) { return 0; }
static inline void opq_irq_restore(uint32_t primask) { (void)primask; }
#endif

static inline void opq_irq_enable(uint32_t irq, uint8_t priority) {
    NVIC->IP[irq] = (uint8_t)(priority << 4);
    NVIC->ICPR[irq >> 5] = OPQ_BIT(irq & 31u);
    NVIC->ISER[irq >> 5] = OPQ_BIT(irq & 31u);
}
static inline void opq_irq_off(uint32_t irq) { NVIC->ICER[irq >> 5] = OPQ_BIT(irq & 31u); }

#endif
