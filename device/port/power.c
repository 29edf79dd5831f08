#include "power.h"

#include "board.h"
#include "handover.h"

// Loops of `wait_for` take at least 5 cycles, so at 16 MHz this is 100 ms or more; HSE needs 2 ms (DS8626 table 39),
// a TCXO 5 ms, the PLL 0.3 ms (table 43).
enum { WAIT_LOOPS = 320000 };

static opq_clock_source_t source = OPQ_CLOCK_SLOW;
static uint32_t reset_csr;
static volatile uint32_t dips;

static bool wait_for(const volatile uint32_t *where, uint32_t mask, uint32_t wanted) {
    for (uint32_t loop = 0; loop < WAIT_LOOPS; loop++) {
        if ((*where & mask) == wanted) {
            return true;
        }
    }
    return false;
}

// The PLL (RM0090 7.3.2): oscillator / M = 1 or 2 MHz (2 MHz has less jitter), * N = the VCO, / 2 = HCLK, / 7 = 48 MHz.
enum { PLLP = 2, PLLQ = 7, HSI_HZ = 16000000, VCO_HZ = 336000000 };
#define VCO_INPUT_HZ(hz) ((hz) % 2000000u == 0 ? 2000000u : 1000000u)
#define PLLM(hz) ((hz) / VCO_INPUT_HZ(hz))
#define PLLN(hz) (VCO_HZ / VCO_INPUT_HZ(hz))
#define PLL_IS_EXACT(hz) \
    ((hz) % VCO_INPUT_HZ(hz) == 0 && PLLM(hz) >= 2 && PLLM(hz) <= 63 && PLLN(hz) >= 50 && PLLN(hz) <= 432)
_Static_assert(PLL_IS_EXACT(OPQ_BOARD_HSE_HZ), "want a crystal of whole MHz, 2 to 63 (or even MHz, 4 to 126)");
_Static_assert(OPQ_BOARD_HSE_HZ >= 1000000u && OPQ_BOARD_HSE_HZ <= (OPQ_BOARD_HSE_BYPASS ? 50000000u : 26000000u) &&
                   (OPQ_BOARD_HSE_BYPASS || OPQ_BOARD_HSE_HZ >= 4000000u),
               "outside what OSC_IN takes (DS8626 tables 37 and 39)");
_Static_assert(PLL_IS_EXACT((uint32_t)HSI_HZ), "the PLL has to run from HSI too");
_Static_assert(VCO_HZ >= 100000000 && VCO_HZ <= 432000000, "the VCO's range");
_Static_assert(VCO_HZ / PLLP == OPQ_HCLK_HZ && VCO_HZ / PLLQ == 48000000, "HCLK and 48 MHz come out");
_Static_assert(OPQ_PCLK1_HZ == OPQ_HCLK_HZ / 4u && OPQ_PCLK2_HZ == OPQ_HCLK_HZ / 2u, "PPRE1 and PPRE2 below");

// 168 MHz from `input_hz`; false leaves HSI running and the PLL off.
static bool start_pll(uint32_t input_hz, uint32_t source_bit) {
    RCC->PLLCFGR = RCC_PLLCFGR_PLLM(PLLM(input_hz)) | RCC_PLLCFGR_PLLN(PLLN(input_hz)) | RCC_PLLCFGR_PLLP(PLLP) |
                   RCC_PLLCFGR_PLLQ(PLLQ) | source_bit;
    RCC->CR |= RCC_CR_PLLON;
    if (!wait_for(&RCC->CR, RCC_CR_PLLRDY, RCC_CR_PLLRDY)) {
        RCC->CR &= ~RCC_CR_PLLON;
        return false;
    }
    RCC->CFGR = (RCC->CFGR & ~(RCC_CFGR_SW | RCC_CFGR_HPRE)) | RCC_CFGR_PPRE1_DIV4 | RCC_CFGR_PPRE2_DIV2 | RCC_CFGR_SW_PLL;
    if (!wait_for(&RCC->CFGR, RCC_CFGR_SWS, RCC_CFGR_SWS_PLL)) {
        RCC->CFGR = 0;
        RCC->CR &= ~RCC_CR_PLLON;
        return false;
    }
    return true;
}

// Revision A of the F405/407/415/417 fetches wrong instructions with the prefetch on, and may call itself 0x411 (errata
// sheet ES0182; ST's STM32CubeF4 projects enable it from REV_ID 0x1001 on); that of the F42x and F43x does not.
static bool prefetch_works(void) {
    return opq_power_revision() != DBGMCU_REV_A || (DBGMCU_IDCODE & DBGMCU_IDCODE_DEV_ID) == DBGMCU_DEV_F42X;
}

void opq_power_start(void) {
    RCC->AHB1ENR |= RCC_AHB1ENR_GPIOAEN | RCC_AHB1ENR_GPIOBEN | RCC_AHB1ENR_GPIOCEN | RCC_AHB1ENR_GPIODEN |
                    RCC_AHB1ENR_CCMDATARAMEN;
    RCC->APB1ENR |= RCC_APB1ENR_PWREN;
    RCC->APB2ENR |= RCC_APB2ENR_SYSCFGEN;
    (void)RCC->APB2ENR;
    PWR->CR |= PWR_CR_VOS;
    // The boot loader may have left the PLL running: back to HSI, both bits take effect within a few cycles.
    RCC->CR |= RCC_CR_HSION;
    wait_for(&RCC->CR, RCC_CR_HSIRDY, RCC_CR_HSIRDY);
    RCC->CFGR &= ~RCC_CFGR_SW;
    wait_for(&RCC->CFGR, RCC_CFGR_SWS, 0);
    RCC->CR &= ~RCC_CR_PLLON;
    wait_for(&RCC->CR, RCC_CR_PLLRDY, 0);
    // Five wait states up to 168 MHz at 2.7..3.6 V (RM0090 3.5.1, table 10).
    FLASH->ACR = FLASH_ACR_LATENCY(5) | FLASH_ACR_ICEN | FLASH_ACR_DCEN | (prefetch_works() ? FLASH_ACR_PRFTEN : 0);

    RCC->CR |= OPQ_BOARD_HSE_BYPASS ? RCC_CR_HSEBYP : 0; // only while HSE is off (RM0090 7.3.1)
    RCC->CR |= RCC_CR_HSEON;
    if (wait_for(&RCC->CR, RCC_CR_HSERDY, RCC_CR_HSERDY) && start_pll(OPQ_BOARD_HSE_HZ, RCC_PLLCFGR_PLLSRC_HSE)) {
        source = OPQ_CLOCK_HSE;
        RCC->CR |= RCC_CR_CSSON; // if HSE fails later, an NMI resets; the next start uses HSI
    } else {
        RCC->CR &= ~RCC_CR_HSEON;
        source = start_pll(HSI_HZ, 0) ? OPQ_CLOCK_HSI : OPQ_CLOCK_SLOW;
    }

    // PVD (RM0090 5.4.1) above the 2.7 V that x32 flash writes want; both edges through EXTI 16.
    _Static_assert(OPQ_BOARD_PVD_LEVEL == 6u || OPQ_BOARD_PVD_LEVEL == 7u, "2.8 V or 2.9 V");
    PWR->CR |= PWR_CR_PLS(OPQ_BOARD_PVD_LEVEL) | PWR_CR_PVDE;
    EXTI->RTSR |= EXTI_LINE_PVD;
    EXTI->FTSR |= EXTI_LINE_PVD;
    EXTI->PR = EXTI_LINE_PVD;
    EXTI->IMR |= EXTI_LINE_PVD;
    opq_irq_enable(PVD_IRQn, 3);
    DBGMCU_APB1_FZ |= DBGMCU_APB1_FZ_IWDG_STOP; // a halted core is not a hang
}

opq_clock_source_t opq_power_clock(void) { return source; }
uint32_t opq_power_pclk1_hz(void) { return source == OPQ_CLOCK_SLOW ? 16000000u : OPQ_PCLK1_HZ; }
uint32_t opq_power_pclk2_hz(void) { return source == OPQ_CLOCK_SLOW ? 16000000u : OPQ_PCLK2_HZ; }

opq_reset_cause_t opq_power_reset_cause(void) {
    static const struct {
        uint32_t flag;
        opq_reset_cause_t cause;
    } order[] = {
        // Every reset sets the pin's flag, and power-on sets the brown-out's (RM0090 7.3.21): the most specific first.
        {RCC_CSR_IWDGRSTF, OPQ_RESET_WATCHDOG}, {RCC_CSR_WWDGRSTF, OPQ_RESET_WATCHDOG},
        {RCC_CSR_SFTRSTF, OPQ_RESET_SOFTWARE},  {RCC_CSR_LPWRRSTF, OPQ_RESET_LOW_POWER},
        {RCC_CSR_PORRSTF, OPQ_RESET_POWER},     {RCC_CSR_BORRSTF, OPQ_RESET_BROWN_OUT},
        {RCC_CSR_PINRSTF, OPQ_RESET_PIN},
    };
    if (reset_csr == 0) {
        opq_handover_t message;
        bool has_message = opq_handover_read((const opq_handover_t *)OPQ_HANDOVER_ADDRESS, &message);
        reset_csr = has_message && message.reset_csr != 0 ? message.reset_csr : RCC->CSR;
        RCC->CSR |= RCC_CSR_RMVF;
    }
    for (uint32_t n = 0; n < sizeof order / sizeof order[0]; n++) {
        if ((reset_csr & order[n].flag) != 0) {
            return order[n].cause;
        }
    }
    return OPQ_RESET_UNKNOWN;
}

bool opq_power_is_low(void) { return (PWR->CSR & PWR_CSR_PVDO) != 0; }
uint32_t opq_power_dips(void) { return dips; }

// Interrupt context: one count at the falling edge; the main thread calls `opq_power_is_low`.
void opq_power_on_pvd(void) {
    EXTI->PR = EXTI_LINE_PVD;
    if (opq_power_is_low()) {
        dips++;
    }
}

uint32_t opq_power_brown_out_level(void) { return 3u - ((FLASH->OPTCR & FLASH_OPTCR_BOR_LEV) >> 2); }
uint32_t opq_power_revision(void) { return DBGMCU_IDCODE >> 16; }

void opq_power_unique_id(uint8_t out[12]) {
    for (uint32_t n = 0; n < 12u; n++) {
        out[n] = (uint8_t)(UID[n / 4u] >> (8u * (n % 4u)));
    }
}

void opq_power_reset(void) {
    (void)opq_irq_disable();
    opq_dsb();
    SCB->AIRCR = SCB_AIRCR_VECTKEY | SCB_AIRCR_PRIGROUP_4_0 | SCB_AIRCR_SYSRESETREQ;
    opq_dsb();
    for (;;) { // the reset takes a few cycles; if it never comes, the watchdog does
    }
}
