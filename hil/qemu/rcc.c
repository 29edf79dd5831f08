/*
 * RCC: oscillators that take their time, the PLL's rules, clock gates, causes of reset (RM0090 7).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"

/* DS8626 5.3.8, tables 31 .. 36: start-up typical, PLL lock at most */
#define HSE_START_NS 2000000
#define LSE_START_NS 2000000000
#define LSI_START_NS 15000
#define PLL_LOCK_NS 200000
#define HSI_HZ 16000000

static bool since(int64_t on_ns, int64_t needs_ns)
{
    return on_ns != OPQ_NEVER && opq_now_ns() - on_ns >= needs_ns;
}

static uint32_t pll_hz(OpqBox *box)
{
    OpqRcc *rcc = &box->rcc;
    uint32_t m = rcc->pllcfgr & 63, n = rcc->pllcfgr >> 6 & 511, p = ((rcc->pllcfgr >> 16 & 3) + 1) * 2;
    uint32_t source = rcc->pllcfgr >> 22 & 1 ? box->hse_hz : HSI_HZ;
    uint64_t input = m ? source / m : 0, vco = input * n;

    /* RM0090 7.3.2: M 2..63, N 50..432, input 1..2 MHz, VCO 100..432 MHz; Q 2..15 */
    if (m < 2 || n < 50 || n > 432 || input < 950000 || input > 2100000 || vco < 100000000 || vco > 432000000 ||
        (rcc->pllcfgr >> 24 & 15) < 2) {
        return 0;
    }
    return vco / p;
}

static bool hse_ready(OpqRcc *rcc) { return since(rcc->hse_on_ns, rcc->cr >> 18 & 1 ? 10000 : HSE_START_NS); }

static bool pll_ready(OpqBox *box)
{
    OpqRcc *rcc = &box->rcc;

    return since(rcc->pll_on_ns, PLL_LOCK_NS) && pll_hz(box) && (!(rcc->pllcfgr >> 22 & 1) || hse_ready(rcc));
}

static void clocks(OpqBox *box)
{
    static const uint8_t ahb_shift[] = { 1, 2, 3, 4, 6, 7, 8, 9 };
    OpqRcc *rcc = &box->rcc;
    uint32_t wanted = rcc->cfgr & 3, now = rcc->cfgr >> 2 & 3, before = rcc->hclk_hz, sysclk;

    if (wanted != now && (wanted == 0 || (wanted == 1 && hse_ready(rcc)) || (wanted == 2 && pll_ready(box)))) {
        rcc->cfgr = (rcc->cfgr & ~0xCu) | wanted << 2;
        now = wanted;
    }
    sysclk = now == 2 ? pll_hz(box) : now == 1 ? box->hse_hz : HSI_HZ;
    rcc->hclk_hz = rcc->cfgr & 0x80 ? sysclk >> ahb_shift[rcc->cfgr >> 4 & 7] : sysclk;
    rcc->pclk1_hz = rcc->cfgr & 0x1000 ? rcc->hclk_hz >> ((rcc->cfgr >> 10 & 3) + 1) : rcc->hclk_hz;
    rcc->pclk2_hz = rcc->cfgr & 0x8000 ? rcc->hclk_hz >> ((rcc->cfgr >> 13 & 3) + 1) : rcc->hclk_hz;
    rcc->timer1_hz = rcc->cfgr & 0x1000 ? rcc->pclk1_hz * 2 : rcc->pclk1_hz; /* 7.2, TIMPRE does not exist here */
    if (rcc->hclk_hz != before) {
        opq_dwt_clock_changes(box, before);
        clock_update_hz(box->sysclk, rcc->hclk_hz);
        /* RM0090 3.5.1 table 10, 2.7 .. 3.6 V: one wait state per 30 MHz; DS8626 5.3.1: bus limits */
        if (rcc->hclk_hz > 30000000 * ((box->flash_if.acr & 7) + 1)) {
            opq_violation(box, "FLASH_ACR has too few wait states for HCLK");
        }
        if (rcc->hclk_hz > 168000000 || rcc->pclk1_hz > 42000000 || rcc->pclk2_hz > 84000000) {
            opq_violation(box, "HCLK, PCLK1 or PCLK2 above 168, 42 or 84 MHz");
        }
    }
}

bool opq_rcc_enabled(OpqBox *box, uint16_t enable)
{
    return box->rcc.enr[((enable >> 8) - 0x30) / 4] >> (enable & 31) & 1;
}

uint32_t opq_rcc_read(OpqBox *box, int index, uint32_t offset)
{
    OpqRcc *rcc = &box->rcc;

    switch (offset) {
    case 0x00:
        return rcc->cr | (rcc->cr & 1) << 1 | (uint32_t)hse_ready(rcc) << 17 | (uint32_t)pll_ready(box) << 25;
    case 0x04: return rcc->pllcfgr;
    case 0x08: clocks(box); return rcc->cfgr;
    case 0x0C: return rcc->cir;
    case 0x10: case 0x14: case 0x18: case 0x20: case 0x24: return rcc->rstr[(offset - 0x10) / 4];
    case 0x30: case 0x34: case 0x38: case 0x40: case 0x44: return rcc->enr[(offset - 0x30) / 4];
    case 0x50: case 0x54: case 0x58: case 0x60: case 0x64: return rcc->lpenr[(offset - 0x50) / 4];
    case 0x70: return rcc->bdcr | (uint32_t)since(rcc->lse_on_ns, LSE_START_NS) << 1;
    case 0x74: return rcc->csr | (uint32_t)since(rcc->lsi_on_ns, LSI_START_NS) << 1;
    case 0x80: return rcc->sscgr;
    case 0x84: return rcc->plli2scfgr;
    }
    opq_unknown(box, "RCC", 0x40023800, offset, false, 0);
    return 0;
}

static void switched(int64_t *on_ns, bool on)
{
    *on_ns = on ? (*on_ns == OPQ_NEVER ? opq_now_ns() : *on_ns) : OPQ_NEVER;
}

void opq_rcc_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask)
{
    OpqRcc *rcc = &box->rcc;
    uint32_t before;

    switch (offset) {
    case 0x00:
        before = rcc->cr;
        opq_store(&rcc->cr, value, mask, 0x050D00F9);
        if ((rcc->cfgr >> 2 & 3) == 0) {
            rcc->cr |= 1; /* 7.3.1: what drives SYSCLK cannot be switched off */
        } else {
            rcc->cr |= before & ((rcc->cfgr >> 2 & 3) == 2 ? 0x01000000 | (rcc->pllcfgr & 0x400000 ? 0x10000 : 0)
                                                           : 0x10000);
        }
        switched(&rcc->hse_on_ns, rcc->cr >> 16 & 1);
        switched(&rcc->pll_on_ns, rcc->cr >> 24 & 1);
        if ((rcc->cr & ~before & 0x01000000) && !pll_hz(box)) {
            opq_violation(box, "RCC_PLLCFGR outside the PLL's limits");
        }
        break;
    case 0x04:
        if (rcc->cr & 0x01000000) {
            opq_violation(box, "RCC_PLLCFGR written while the PLL is on");
        } else {
            opq_store(&rcc->pllcfgr, value, mask, 0x0F437FFF);
        }
        break;
    case 0x08: opq_store(&rcc->cfgr, value, mask, 0xFFFFFCF3); break;
    case 0x0C: opq_store(&rcc->cir, value, mask, 0x00003F00); break; /* no oscillator interrupts; flags stay 0 */
    case 0x10: case 0x14: case 0x18: case 0x20: case 0x24:
        opq_store(&rcc->rstr[(offset - 0x10) / 4], value, mask, ~0u);
        opq_bus_reset_by_rcc(box, offset + 0x20, value & mask);
        break;
    case 0x30: case 0x34: case 0x38: case 0x40: case 0x44:
        opq_store(&rcc->enr[(offset - 0x30) / 4], value, mask, ~0u);
        break;
    case 0x50: case 0x54: case 0x58: case 0x60: case 0x64:
        opq_store(&rcc->lpenr[(offset - 0x50) / 4], value, mask, ~0u);
        break;
    case 0x70:
        if (box->pwr.cr & 0x100) { /* 7.3.20: only with PWR_CR.DBP */
            opq_store(&rcc->bdcr, value, mask, 0x00018305);
            switched(&rcc->lse_on_ns, rcc->bdcr & 1);
        } else {
            opq_violation(box, "RCC_BDCR written while PWR_CR.DBP is 0");
        }
        break;
    case 0x74:
        if (value & mask & 0x01000000) {
            rcc->csr &= 1; /* RMVF */
        }
        opq_store(&rcc->csr, value, mask, 1);
        switched(&rcc->lsi_on_ns, (rcc->csr & 1) || box->iwdg.running);
        break;
    case 0x80: opq_store(&rcc->sscgr, value, mask, ~0u); break;
    case 0x84: opq_store(&rcc->plli2scfgr, value, mask, ~0u); break;
    default: opq_unknown(box, "RCC", 0x40023800, offset, true, value); return;
    }
    clocks(box);
}

/* A system reset: everything but the causes of reset and the backup domain (7.1.1). */
void opq_rcc_reset(OpqBox *box, int index)
{
    OpqRcc *rcc = &box->rcc;
    uint32_t causes = rcc->csr & 0xFE000000, bdcr = rcc->bdcr, hclk_hz = rcc->hclk_hz;
    int64_t lse_on_ns = rcc->lse_on_ns;

    *rcc = (OpqRcc){
        .cr = 0x81, .pllcfgr = 0x24003010, .plli2scfgr = 0x20003000, .csr = causes, .bdcr = bdcr,
        .enr = { 0x00100000 }, .lpenr = { 0x7E6791FF, 0xF1, 1, 0, 0x36FEC9FF, 0x00075F33 },
        .hse_on_ns = OPQ_NEVER, .pll_on_ns = OPQ_NEVER, .lsi_on_ns = OPQ_NEVER, .lse_on_ns = lse_on_ns,
        .hclk_hz = hclk_hz,
    };
    clocks(box);
}

/* AN2606: 24 MHz from HSI by the PLL. The dividers are ours, for nobody says which they are. */
void opq_rcc_leaves_rom(OpqBox *box)
{
    OpqRcc *rcc = &box->rcc;

    rcc->pllcfgr = 4u << 24 | 3u << 16 | 192u << 6 | 16;
    rcc->cr |= 0x01000000;
    rcc->pll_on_ns = opq_now_ns() - PLL_LOCK_NS;
    rcc->cfgr = 7u << 13 | 7u << 10 | 2u << 2 | 2;
    rcc->enr[0] |= 1;                     /* AHB1: GPIOA */
    rcc->enr[(0x44 - 0x30) / 4] |= 1 << 4; /* APB2: USART1 */
    clocks(box);
}

void opq_rcc_power_on(OpqBox *box)
{
    /* 7.3.21: software and pin; or power, pin, brown-out */
    box->rcc.csr = box->restarted ? 1u << OPQ_RESET_SOFTWARE | 1u << 26 : 0x0E000000;
    box->rcc.lse_on_ns = OPQ_NEVER;
    box->rcc.hclk_hz = HSI_HZ;
}
