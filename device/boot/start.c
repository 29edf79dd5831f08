// The boot loader's own start, and the jump into the app. boot.c has all decisions that need no register.
#include "board.h"
#include "boot.h"
#include "ed25519.h"
#include "flash.h"
#include "line.h"
#include "power.h"
#include "recovery.h"
#include "watchdog.h"

enum {
    POWER_WAIT_US = 2000000,  // wait for a supply that rises slowly; then start without writing
    HELLO_US = 1000000,
};

extern uint32_t opq_data_load[], opq_data_start[], opq_data_end[], opq_bss_start[], opq_bss_end[], opq_stack_top[];

typedef void (*handler_t)(void);
void Reset_Handler(void) __attribute__((noreturn));
void Fault_Handler(void) __attribute__((noreturn));
void USART1_IRQHandler(void);
void SysTick_Handler(void);

// There is nobody to report to: the next start may succeed (power.c notices a dead HSE, for example).
void Fault_Handler(void) { opq_power_reset(); }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
__attribute__((section(".vectors"), used)) static const handler_t vectors[16 + USART1_IRQn + 1] = {
    [0] = (handler_t)(uintptr_t)opq_stack_top,
    [1] = Reset_Handler,
    [2 ... 16 + USART1_IRQn - 1] = Fault_Handler,
    [15] = SysTick_Handler,  // only in recovery
    [16 + USART1_IRQn] = USART1_IRQHandler,
};
#pragma GCC diagnostic pop

__attribute__((section(".info"), used)) static const opq_boot_info_t info = {
    .magic = OPQ_BOOT_INFO_MAGIC,
    .boot_version = OPQ_BOOT_VERSION,
    .hardware = OPQ_BOARD_NAME,
    .public_key = OPQ_PUBLIC_KEY,
    .check = opq_ed25519_check,
};

_Static_assert(sizeof OPQ_BOARD_NAME <= OPQ_IMAGE_HARDWARE_BYTES, "the name is read up to its NUL");

static opq_handover_t *const handover = (opq_handover_t *)(uintptr_t)OPQ_HANDOVER_ADDRESS;

// A check takes some 0.1 s at 168 MHz and 1 s at 16 MHz, a hash of a full slot as much; the watchdog is fed
// between them.
static bool check_and_feed(const uint8_t signature[64], const uint8_t public_key[32], const uint8_t *message,
                           size_t length) {
    opq_watchdog_feed();
    bool good = opq_ed25519_check(signature, public_key, message, length);
    opq_watchdog_feed();
    return good;
}

static bool recovery_pin(void) {
    opq_gpio_configure(OPQ_BOARD_RECOVERY, OPQ_GPIO_INPUT, OPQ_GPIO_PULL_UP, 0);
    uint32_t from = opq_micros();
    while (opq_micros() - from < 100u) {  // 40 kohm (DS8626 table 48) into a metre of cable: some us
    }
    return !opq_gpio_read(OPQ_BOARD_RECOVERY);
}

static void await_power(void) {
    uint32_t from = opq_micros();
    while (opq_power_is_low() && opq_micros() - from < POWER_WAIT_US) {
        opq_watchdog_feed();
    }
}

// Returns if no update came in time, there is an image to start and nothing was written: `plan` is still valid.
static void recover(const opq_nor_t *nor, const opq_boot_facts_t *facts, const opq_boot_plan_t *plan) {
    static opq_recovery_t recovery;
    opq_line_start();
    opq_recovery_init(&recovery, nor, facts, plan, opq_line_send, NULL);
    recovery.boot_id = opq_micros();
    uint32_t hello_us = opq_micros() - HELLO_US, second_us = opq_micros(), silent_s = 0, update_steps = 0;
    while (!recovery.reset) {
        opq_watchdog_feed();
        opq_line_wait();
        if (opq_micros() - hello_us >= HELLO_US) {
            hello_us = opq_micros();
            opq_recovery_hello(&recovery);
        }
        for (int32_t byte = opq_line_take(); byte >= 0 && !recovery.reset; byte = opq_line_take()) {
            opq_recovery_byte(&recovery, (uint8_t)byte);
        }
        if (recovery.update_steps != update_steps) {
            update_steps = recovery.update_steps;
            silent_s = 0;
        }
        if (opq_micros() - second_us >= 1000000u) {
            second_us = opq_micros();
            silent_s++;
            if (plan->wait_ms != OPQ_BOOT_FOR_EVER && silent_s >= plan->wait_ms / 1000u) {
                opq_line_end();
                if (recovery.update.state != OPQ_UPDATE_IDLE) {
                    opq_power_reset();
                }
                return;
            }
        }
    }
    opq_line_end();
    opq_power_reset();
}

// Sets the chip as after a reset (HSI, no PLL, nothing pending), then the image's stack and reset vector.
static void __attribute__((noreturn)) jump(opq_slot_t slot) {
    uint32_t vector_table = opq_slot_address(slot) + OPQ_IMAGE_HEADER_BYTES;
    const uint32_t *table = (const uint32_t *)(uintptr_t)vector_table;
    uint32_t stack = table[0], reset = table[1];
    opq_micros_end();
    (void)opq_irq_disable();
    opq_irq_off(PVD_IRQn);
    EXTI->IMR &= ~EXTI_LINE_PVD;
    EXTI->PR = EXTI_LINE_PVD;
    RCC->CFGR &= ~RCC_CFGR_SW;
    for (uint32_t loop = 0; loop < 1000u && (RCC->CFGR & RCC_CFGR_SWS) != 0; loop++) {
    }
    RCC->CR &= ~(RCC_CR_CSSON | RCC_CR_PLLON | RCC_CR_HSEON);
    RCC->CFGR = 0;
    SCB->VTOR = vector_table;
    opq_watchdog_feed();
    opq_dsb();
    opq_isb();
    __asm volatile("msr msp, %0\n\tcpsie i\n\tbx %1" ::"r"(stack), "r"(reset) : "memory");
    __builtin_unreachable();
}

static void __attribute__((noreturn)) boot(void) {
    uint32_t csr = RCC->CSR;
    RCC->CSR |= RCC_CSR_RMVF;
    opq_power_start();
    opq_irq_off(PVD_IRQn);
    opq_watchdog_start();
    opq_micros_start();

    // After power-on the content of CCM, from before a short cut, is not meant for this start.
    opq_handover_t before, now = {0};
    bool has_message = opq_handover_read(handover, &before) && (csr & (RCC_CSR_PORRSTF | RCC_CSR_BORRSTF)) == 0;
    bool by_watchdog = (csr & RCC_CSR_IWDGRSTF) != 0;
    now.watchdog_resets = by_watchdog && has_message && before.watchdog_resets < UINT8_MAX ? before.watchdog_resets : 0;
    now.watchdog_resets = (uint8_t)(now.watchdog_resets + (by_watchdog ? 1u : 0u));
    now.request = has_message ? before.request : (uint8_t)OPQ_REQUEST_NOTHING;
    now.starts = has_message ? before.starts + 1u : 1u;
    now.reset_csr = csr;
    now.boot_version = OPQ_BOOT_VERSION;

    const opq_nor_t *nor = opq_flash();
    opq_boot_facts_t facts = {
        .hardware = info.hardware,
        .public_key = info.public_key,
        .check = check_and_feed,
        .recovery_pin = recovery_pin(),
        .recovery_requested = now.request == OPQ_REQUEST_RECOVERY,
        .watchdog_resets = now.watchdog_resets,
    };
    await_power();
    uint32_t from_us = opq_micros();
    opq_boot_plan_t plan = opq_boot_plan(nor, &facts);
    now.check_us = opq_micros() - from_us;
    if (plan.action == OPQ_BOOT_RECOVERY) {
        opq_handover_t fresh = now;  // a reset from recovery clears the request and the watchdog count
        fresh.request = OPQ_REQUEST_NOTHING;
        fresh.watchdog_resets = 0;
        opq_handover_write(handover, &fresh);
        recover(nor, &facts, &plan);
        now.request = now.request == OPQ_REQUEST_RECOVERY ? (uint8_t)OPQ_REQUEST_NOTHING : now.request;
        now.watchdog_resets = 0;
    }
    opq_boot_begin(nor, &plan);
    now.slot = (uint8_t)plan.slot;
    now.trials = (uint8_t)plan.trials;
    now.rolled_back = plan.rolled_back ? 1 : 0;
    now.verdict_a = (uint8_t)plan.verdict[OPQ_SLOT_A];
    now.verdict_b = (uint8_t)plan.verdict[OPQ_SLOT_B];
    now.floor_version = plan.floor_version;
    opq_handover_write(handover, &now);
    jump(plan.slot);
}

// After the ROM's Go, or when DFU is left, the chip is not as after a reset (AN2606): with BOOT0 high the memory at 0,
// and so the vectors, are the ROM's; PLL, dividers, SysTick and interrupts are as it used them. Before .data is there.
static void set_as_after_reset(void) {
    SCB->VTOR = OPQ_FLASH_BASE;
    SysTick->CTRL = 0;
    SCB->ICSR = SCB_ICSR_PENDSVCLR | SCB_ICSR_PENDSTCLR;
    for (uint32_t n = 0; n < (OPQ_IRQ_COUNT + 31u) / 32u; n++) {
        NVIC->ICER[n] = UINT32_MAX;
        NVIC->ICPR[n] = UINT32_MAX;
    }
    RCC->APB2ENR |= RCC_APB2ENR_SYSCFGEN;
    (void)RCC->APB2ENR;  // two cycles until the clock is there (RM0090 7.2.14)
    SYSCFG->MEMRMP = 0;  // main flash at 0
    RCC->CR |= RCC_CR_HSION;
    for (uint32_t loop = 0; loop < 1000u && (RCC->CR & RCC_CR_HSIRDY) == 0; loop++) {
    }
    RCC->CFGR = 0;
    for (uint32_t loop = 0; loop < 1000u && (RCC->CFGR & RCC_CFGR_SWS) != 0; loop++) {
    }
    RCC->CR &= ~(RCC_CR_CSSON | RCC_CR_PLLON | RCC_CR_HSEON);
    RCC->CR &= ~RCC_CR_HSEBYP;  // only while HSE is off (7.3.1)
    opq_dsb();
    opq_isb();
}

void Reset_Handler(void) {
    (void)opq_irq_disable();
    set_as_after_reset();
    RCC->AHB1ENR |= RCC_AHB1ENR_CCMDATARAMEN;
    for (uint32_t *from = opq_data_load, *to = opq_data_start; to != opq_data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = opq_bss_start; to != opq_bss_end;) {
        *to++ = 0;
    }
    boot();
}
