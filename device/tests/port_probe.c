// The port's clocks, flash and lines on a PC, with registers that behave or do not: port_probe CASE.
//
// opq_host_registers is called at every use of a register block, so it can let hardware answer in between.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "board.h"
#include "flash.h"
#include "handover.h"
#include "power.h"
#include "uart.h"
#include "watchdog.h"

static struct {
    bool hse, pll, flash_ends;
    uint32_t flash_flags;
} hardware = {true, true, true, 0};

static union {
    uint32_t words[0x100];
    opq_rcc_t rcc;
    opq_flash_t flash;
    opq_pwr_t pwr;
    opq_usart_t usart;
} blocks[16];
static uint32_t bases[16];

static void *block(uint32_t base) {
    uint32_t at = 0;
    while (bases[at] != 0 && bases[at] != base) {
        at++;
    }
    bases[at] = base;
    return &blocks[at];
}

static void behave(void) {
    opq_rcc_t *rcc = block(0x40023800);
    uint32_t on = rcc->CR;
    uint32_t ready = RCC_CR_HSIRDY | (hardware.hse && on & RCC_CR_HSEON ? RCC_CR_HSERDY : 0) |
                     (hardware.pll && on & RCC_CR_PLLON ? RCC_CR_PLLRDY : 0);
    rcc->CR = (on & ~(RCC_CR_HSERDY | RCC_CR_PLLRDY)) | ready;
    rcc->CFGR = (rcc->CFGR & ~RCC_CFGR_SWS) | (rcc->CFGR & RCC_CFGR_SW) << 2;
    opq_flash_t *flash = block(0x40023C00);
    flash->SR = hardware.flash_flags | (hardware.flash_ends ? 0 : FLASH_SR_BSY);
}

volatile void *opq_host_registers(uint32_t address) {
    behave();
    uint32_t base = address & ~UINT32_C(0x3FF);
    return (uint8_t *)block(base) + (address - base);
}

// Not of the PC: tick.c's.
int64_t opq_tick_now(void);
int64_t opq_tick_now(void) {
    static int64_t now;
    return now += 84;
}
bool opq_handover_read(const opq_handover_t *at, opq_handover_t *out) {
    (void)at, (void)out;
    return false;
}

static void clocks(bool hse, bool pll) {
    hardware.hse = hse;
    hardware.pll = pll;
    opq_power_start();
    printf("%d %u %u", (int)opq_power_clock(), (unsigned)opq_power_pclk1_hz(), (unsigned)opq_power_pclk2_hz());
    printf(" latency %u", (unsigned)(FLASH->ACR & 7u));
    opq_queue_t queue;
    static const opq_uart_events_t none = {NULL, NULL};
    opq_uart_start(OPQ_UART_LINK, 921600, &queue, &queue, &none);
    opq_uart_start(OPQ_UART_GPS, 9600, &queue, &queue, &none);
    printf(" brr %x %x\n", (unsigned)USART1->BRR, (unsigned)USART2->BRR);
}

// REVISION: DBGMCU_IDCODE.
static void prefetch(void) {
    DBGMCU_IDCODE = (uint32_t)strtoul(getenv("REVISION"), NULL, 16);
    opq_power_start();
    printf("%d\n", (FLASH->ACR & FLASH_ACR_PRFTEN) != 0);
}

// Registers as after a reset with option bytes from the factory; what OPTCR holds after each request.
static void protection(void) {
    FLASH->OPTCR = 0x0FFFAAEDu;
    printf("%u %u", (unsigned)opq_power_brown_out_level(), (unsigned)opq_flash_protected_sectors());
    printf(" slots %d level %d", opq_flash_protect(3, 1u << 5), opq_flash_protect(4, 0));
    printf(" set %d", opq_flash_protect(3, 3));
    printf(" %u %u", (unsigned)opq_power_brown_out_level(), (unsigned)opq_flash_protected_sectors());
    printf(" optcr %x", (unsigned)FLASH->OPTCR);
    hardware.flash_ends = false;
    printf(" busy %d\n", opq_flash_protect(0, 0));
}

static void flash(void) {
    void *at = (void *)(uintptr_t)OPQ_NOR_ORIGIN;
    if (mmap(at, OPQ_NOR_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != at) {
        printf("no memory there\n");
        return;
    }
    memset(at, 0xFF, OPQ_NOR_BYTES);
    const opq_nor_t *nor = opq_flash();
    FLASH->CR = FLASH_CR_LOCK;
    printf("program %d", (int)nor->program(nor->context, OPQ_NOR_ORIGIN + 0x8000, 0x12345678));
    printf(" reads %x locked %d", (unsigned)*(uint32_t *)((uintptr_t)at + 0x8000), (FLASH->CR & FLASH_CR_LOCK) != 0);
    printf(" outside %d odd %d", (int)nor->program(nor->context, OPQ_NOR_ORIGIN + OPQ_NOR_BYTES, 0),
           (int)nor->program(nor->context, OPQ_NOR_ORIGIN + 2, 0));
    printf(" erase %d sector %u", (int)nor->erase(nor->context, 11), (unsigned)nor->erase(nor->context, 12));
    hardware.flash_flags = FLASH_SR_PGPERR;
    printf(" flag %d", (int)nor->program(nor->context, OPQ_NOR_ORIGIN, 0));
    hardware.flash_flags = 0;
    PWR->CSR = PWR_CSR_PVDO;
    printf(" low %d", (int)nor->erase(nor->context, 11));
    PWR->CSR = 0;
    hardware.flash_ends = false;
    printf(" busy %d\n", (int)nor->erase(nor->context, 11));
}

// Six bytes into four places: one of them with a doubtful stop bit, two that came too fast.
static void overrun(void) {
    static uint8_t out_bytes[16], in_bytes[4];
    static const opq_uart_events_t none = {NULL, NULL};
    opq_queue_t out, in;
    opq_queue_init(&out, out_bytes, sizeof out_bytes);
    opq_queue_init(&in, in_bytes, sizeof in_bytes);
    opq_uart_start(OPQ_UART_LINK, 921600, &out, &in, &none);
    static const uint32_t more[] = {0, USART_SR_ORE, USART_SR_FE, 0, USART_SR_ORE, 0};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        USART1->SR = USART_SR_RXNE | more[i];
        opq_uart_on_interrupt(OPQ_UART_LINK);
    }
    opq_uart_counters_t count = opq_uart_counters(OPQ_UART_LINK), gps = opq_uart_counters(OPQ_UART_GPS);
    printf("%u %u %u %u gps %u\n", (unsigned)count.received, (unsigned)count.overruns, (unsigned)count.noise,
           (unsigned)count.refused, (unsigned)(gps.received + gps.overruns + gps.noise + gps.refused));
}

static void causes(void) {
    static const uint32_t flags[] = {
        RCC_CSR_PORRSTF | RCC_CSR_BORRSTF | RCC_CSR_PINRSTF, RCC_CSR_BORRSTF | RCC_CSR_PINRSTF, RCC_CSR_PINRSTF,
        RCC_CSR_SFTRSTF | RCC_CSR_PINRSTF, RCC_CSR_IWDGRSTF | RCC_CSR_PINRSTF, RCC_CSR_LPWRRSTF | RCC_CSR_PINRSTF,
    };
    const char *number = getenv("CAUSE"); // one a process: the first answer is kept
    RCC->CSR = flags[atoi(number)];
    printf("%d", (int)opq_power_reset_cause());
    printf(" %d\n", (RCC->CSR & RCC_CSR_RMVF) != 0);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "good") == 0) {
        clocks(true, true);
    } else if (strcmp(what, "no_hse") == 0) {
        clocks(false, true);
    } else if (strcmp(what, "no_pll") == 0) {
        clocks(true, false);
    } else if (strcmp(what, "flash") == 0) {
        flash();
    } else if (strcmp(what, "overrun") == 0) {
        overrun();
    } else if (strcmp(what, "prefetch") == 0) {
        prefetch();
    } else if (strcmp(what, "protection") == 0) {
        protection();
    } else if (strcmp(what, "cause") == 0) {
        causes();
    }
    return 0;
}
