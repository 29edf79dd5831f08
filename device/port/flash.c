#include "flash.h"

#include "power.h"
#include "ramfunc.h"
#include "stm32f405.h"

#define FLASH_ERRORS (FLASH_SR_OPERR | FLASH_SR_WRPERR | FLASH_SR_PGAERR | FLASH_SR_PGPERR | FLASH_SR_PGSERR)

// Erasing takes up to 2 s for a sector of 128 KB (DS8626 table 46, x32), option bytes less: SR is read every
// PAUSE_TURNS turns of two instructions in SRAM. A turn is 3 cycles or more (Cortex-M4 TRM 3.3.1: SUBS 1, a taken B 1 +
// 1 to 3, and the waits of the fetches), so a pause is 20 us or somewhat more at 168 MHz, 210 us at 16 MHz; interrupts
// of priority 0 to 2 come in between. Counted and not timed, because reading a counter in a loop costs an emulator as
// much as reading SR. A program of a word takes 100 us at most and is polled without a pause (10 cycles or more).
// Both limits are 4 s or more, twice the longest erase.
enum { PAUSE_TURNS = 1120, ERASE_LOOKS = 200000, PROGRAM_LOOKS = 67200000 };

// Interrupts at priority 3 and below (SysTick, PVD, PendSV) are in flash: masked, as their first fetch would stall
// the processor and so the acquisition (priorities 0 to 2, in RAM).
static inline uint32_t hold_flash_interrupts(void) {
#ifdef __arm__
    uint32_t before;
    uint32_t level = 3u << 4;
    __asm volatile("mrs %0, basepri\n\tmsr basepri, %1" : "=&r"(before) : "r"(level) : "memory");
    return before;
#else
    return 0;
#endif
}

static inline void release_interrupts(uint32_t before) {
#ifdef __arm__
    __asm volatile("msr basepri, %0" ::"r"(before) : "memory");
#else
    (void)before;
#endif
}

OPQ_RAMINLINE void pause(void) {
#ifdef __arm__
    uint32_t turns = PAUSE_TURNS;
    __asm volatile("1:\tsubs %0, %0, #1\n\tbne 1b" : "+l"(turns)::"cc");
#endif
}

// Waits for the controller. False: it never ended; the caller reports it, and the next try waits again.
OPQ_RAMINLINE bool wait_until_idle(bool erasing) {
    uint32_t looks = erasing ? ERASE_LOOKS : PROGRAM_LOOKS;
    while ((FLASH->SR & FLASH_SR_BSY) != 0) {
        if (looks-- == 0) {
            return false;
        }
        IWDG->KR = IWDG_KR_RELOAD; // a wait with a limit of its own is not a hang
        if (erasing) {
            pause();
        }
    }
    return true;
}

// Starts the operation of CR (and, for a program, the store) and waits for its end. In RAM; calls nothing in flash.
OPQ_RAMFUNC static opq_nor_status_t work(volatile uint32_t *where, uint32_t word, uint32_t control, bool erasing) {
    FLASH->CR = control;
    if (erasing) {
        FLASH->CR = control | FLASH_CR_STRT;
    } else {
        *where = word;
    }
    opq_dsb();
    if (!wait_until_idle(erasing)) {
        return OPQ_NOR_TIMEOUT;
    }
    return (FLASH->SR & FLASH_ERRORS) != 0 ? OPQ_NOR_FAILED : OPQ_NOR_OK;
}

// Sets OPTSTRT and waits, from RAM. The caller has unlocked and filled OPTCR. False: it stayed busy.
OPQ_RAMFUNC static bool start_option_bytes(void) {
    uint32_t before = hold_flash_interrupts();
    FLASH->OPTCR |= FLASH_OPTCR_OPTSTRT;
    opq_dsb();
    bool done = wait_until_idle(true);
    release_interrupts(before);
    return done;
}

uint32_t opq_flash_protected_sectors(void) { return ~FLASH->OPTCR >> 16 & 0xFFFu; }

static bool is_protected_so(uint32_t level, uint32_t sectors) {
    return opq_power_brown_out_level() == level &&
           (opq_flash_protected_sectors() & OPQ_FLASH_BOOT_SECTORS) == sectors;
}

bool opq_flash_protect(uint32_t level, uint32_t sectors) {
    if (level > 3u || (sectors & ~(uint32_t)OPQ_FLASH_BOOT_SECTORS) != 0 || opq_power_is_low()) {
        return false;
    }
    if (is_protected_so(level, sectors)) {
        return true;
    }
    FLASH->OPTKEYR = FLASH_OPTKEY1;
    FLASH->OPTKEYR = FLASH_OPTKEY2;
    const uint32_t boot = FLASH_OPTCR_NWRP(OPQ_FLASH_BOOT_SECTORS);
    uint32_t optcr = FLASH->OPTCR & ~(FLASH_OPTCR_BOR_LEV | boot | FLASH_OPTCR_OPTSTRT);
    FLASH->OPTCR = optcr | ((3u - level) << 2) | FLASH_OPTCR_NWRP(OPQ_FLASH_BOOT_SECTORS & ~sectors);
    bool done = start_option_bytes();
    FLASH->OPTCR |= FLASH_OPTCR_OPTLOCK;
    return done && is_protected_so(level, sectors);
}

// Data read before may be in the accelerator's caches; they are only cleared while switched off (RM0090 3.5.2).
static void drop_caches(void) {
    uint32_t acr = FLASH->ACR;
    FLASH->ACR = acr & ~(FLASH_ACR_DCEN | FLASH_ACR_ICEN);
    FLASH->ACR = (acr & ~(FLASH_ACR_DCEN | FLASH_ACR_ICEN)) | FLASH_ACR_DCRST | FLASH_ACR_ICRST;
    FLASH->ACR = acr & ~(FLASH_ACR_DCEN | FLASH_ACR_ICEN);
    FLASH->ACR = acr;
}

static opq_nor_status_t run(volatile uint32_t *where, uint32_t word, uint32_t control, bool erasing) {
    if (opq_power_is_low()) {
        return OPQ_NOR_LOW_POWER;
    }
    if ((FLASH->CR & FLASH_CR_LOCK) != 0) {
        FLASH->KEYR = FLASH_KEY1;
        FLASH->KEYR = FLASH_KEY2;
    }
    uint32_t before = hold_flash_interrupts();
    FLASH->SR = FLASH_ERRORS | FLASH_SR_EOP;
    opq_nor_status_t status = work(where, word, control, erasing);
    FLASH->CR = FLASH_CR_LOCK;
    drop_caches();
    release_interrupts(before);
    return status;
}

static opq_nor_status_t erase(void *context, uint32_t sector) {
    (void)context;
    if (sector >= OPQ_NOR_SECTORS) {
        return OPQ_NOR_BAD_ARGUMENT;
    }
    return run(NULL, 0, FLASH_CR_SER | FLASH_CR_SNB(sector) | FLASH_CR_PSIZE_32, true);
}

static opq_nor_status_t program(void *context, uint32_t address, uint32_t word) {
    (void)context;
    if (address < OPQ_NOR_ORIGIN || address - OPQ_NOR_ORIGIN >= OPQ_NOR_BYTES || (address & 3u) != 0) {
        return OPQ_NOR_BAD_ARGUMENT;
    }
    volatile uint32_t *where = (volatile uint32_t *)(uintptr_t)address;
    uint32_t wanted = *where & word; // bits only go from 1 to 0
    opq_nor_status_t status = run(where, word, FLASH_CR_PG | FLASH_CR_PSIZE_32, false);
    return status == OPQ_NOR_OK && *where != wanted ? OPQ_NOR_FAILED : status;
}

const opq_nor_t *opq_flash(void) {
    static const opq_nor_t flash = {NULL, (const uint8_t *)OPQ_NOR_ORIGIN, erase, program};
    return &flash;
}
