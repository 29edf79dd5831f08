/*
 * What lies beside QEMU's core: cycle counter, debug unit, system memory with the chip's identity.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"
#include "qapi/error.h"
#include "exec/address-spaces.h"

static bool cycles_run(OpqBox *box) { return (box->core.dwt_ctrl & 1) && (box->core.demcr >> 24 & 1); }

static uint32_t cycles(OpqBox *box)
{
    int64_t since = cycles_run(box) ? opq_now_ns() - box->core.cyc_ns : 0;

    return (uint32_t)(box->core.cyc_base + muldiv64(since, box->rcc.hclk_hz, 1000000000));
}

static void cycles_from(OpqBox *box, uint32_t count)
{
    box->core.cyc_base = count;
    box->core.cyc_ns = opq_now_ns();
}

/* HCLK is about to be another: what was counted stays. */
void opq_dwt_clock_changes(OpqBox *box, uint32_t before_hz)
{
    int64_t since = cycles_run(box) ? opq_now_ns() - box->core.cyc_ns : 0;

    cycles_from(box, (uint32_t)(box->core.cyc_base + muldiv64(since, before_hz, 1000000000)));
}

uint32_t opq_dwt_read(OpqBox *box, int index, uint32_t offset)
{
    switch (offset) {
    case 0x00: return box->core.dwt_ctrl;
    case 0x04: return cycles(box);
    }
    opq_unknown(box, "DWT", 0xE0001000, offset, false, 0);
    return 0;
}

void opq_dwt_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask)
{
    switch (offset) {
    case 0x00:
        cycles_from(box, cycles(box));
        opq_store(&box->core.dwt_ctrl, value, mask, 1);
        break;
    case 0x04: cycles_from(box, value); break;
    default: opq_unknown(box, "DWT", 0xE0001000, offset, true, value);
    }
}

/* ARMv7-M C1.6: no debugger is there; DEMCR is kept for TRCENA. */
uint32_t opq_debug_read(OpqBox *box, int index, uint32_t offset) { return offset == 0x0C ? box->core.demcr : 0; }

void opq_debug_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask)
{
    if (offset == 0x0C) {
        cycles_from(box, cycles(box));
        opq_store(&box->core.demcr, value, mask, 0x010F07F1);
    }
}

uint32_t opq_dbgmcu_read(OpqBox *box, int index, uint32_t offset)
{
    switch (offset) {
    case 0x00: return box->rev_id << 16 | 0x6413; /* RM0090 38.6.1: REV_ID, DEV_ID 413 */
    case 0x04: case 0x08: case 0x0C: return box->core.dbgmcu[offset / 4];
    }
    opq_unknown(box, "DBGMCU", 0xE0042000, offset, false, 0);
    return 0;
}

void opq_dbgmcu_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask)
{
    switch (offset) {
    case 0x00: break;
    case 0x04: case 0x08: case 0x0C: opq_store(&box->core.dbgmcu[offset / 4], value, mask, ~0u); break;
    default: opq_unknown(box, "DBGMCU", 0xE0042000, offset, true, value);
    }
}

void opq_core_reset(OpqBox *box, int index)
{
    box->core.dwt_ctrl = 0x40000000; /* NUMCOMP 4 */
    box->core.demcr = 0;
    cycles_from(box, 0);
}

void opq_core_init(OpqBox *box, Error **errp)
{
    uint8_t *memory;

    if (strlen(box->uid) != 24 || strspn(box->uid, "0123456789abcdefABCDEF") != 24) {
        error_setg(errp, "uid: 24 hexadecimal digits, the bytes from 0x1FFF7A10 on; not \"%s\"", box->uid);
        return;
    }
    memory_region_init_rom(&box->sysmem, NULL, "opqbox.system", 0x8000, errp);
    memory_region_add_subregion(get_system_memory(), 0x1FFF0000, &box->sysmem);
    memory = memory_region_get_ram_ptr(&box->sysmem);
    memset(memory, 0xFF, 0x8000); /* the ROM boot loader is not here; OTP is empty */
    for (int n = 0; n < 12; n++) {
        char digits[3] = { box->uid[2 * n], box->uid[2 * n + 1], 0 };
        memory[0x7A10 + n] = strtoul(digits, NULL, 16);
    }
    stw_le_p(memory + 0x7A22, 1024); /* KB of flash (RM0090 39.2) */
    stw_le_p(memory + 0x7A2A, 1502); /* VREFINT_CAL: 1.21 V of 3.3 V (DS8626 table 82) */
    stw_le_p(memory + 0x7A2C, 959);  /* TS_CAL1, 30 C: 0.76 V + 5 K * 2.5 mV/K (table 80, 81) */
    stw_le_p(memory + 0x7A2E, 1207); /* TS_CAL2, 110 C */
    box->adc.inputs[16] = 943;       /* 25 C */
    box->adc.inputs[17] = 1502;      /* the supply is 3.3 V */
}
