/*
 * SPI2 as master (RM0090 28) and the converter on it: an AD7687, 16-bit SAR, two's complement, in "CS mode,
 * 3-wire, without busy indicator" (data sheet rev. E): CNV rises: the input is held, then converted within
 * t_CONV; CNV low afterwards: the word is clocked out, MSB first.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"

enum { RXNE = 1, TXE = 2, OVR = 64, BSY = 128 };
#define CONVERSION_TICKS 185 /* t_CONV at most 2.2 us */

static void irq(OpqBox *box)
{
    OpqSpi *spi = &box->spi2;
    uint32_t active = (spi->cr2 & 0x40 ? RXNE : 0) | (spi->cr2 & 0x80 ? TXE : 0) | (spi->cr2 & 0x20 ? OVR : 0);

    opq_irq(box, 36, (spi->sr & active) != 0);
}

/* One frame: PCLK1 (two ticks) / 2^(BR + 1), 8 or 16 bits. */
int64_t opq_spi_ticks(OpqBox *box)
{
    return (box->spi2.cr1 & 0x800 ? 16 : 8) * (int64_t)2 * (2 << (box->spi2.cr1 >> 3 & 7));
}

void opq_spi_cnv(OpqBox *box, bool level, int64_t tick)
{
    OpqSpi *spi = &box->spi2;

    if (level) {
        spi->unread += spi->held_valid;
        spi->held = (uint16_t)(opq_mains_count(opq_world_mains(box), OPQ_MAINS_SPI2, tick) + (int)box->spi2_zero);
        spi->held_valid = true;
        spi->cnv_tick = tick;
        spi->conversions++;
    }
    spi->short_cnv = !level && tick - spi->cnv_tick < CONVERSION_TICKS;
    spi->cnv = level;
}

static void begin(OpqBox *box, int64_t tick)
{
    OpqSpi *spi = &box->spi2;

    spi->end = tick + opq_spi_ticks(box);
    if (spi->cnv || tick - spi->cnv_tick < CONVERSION_TICKS || !spi->held_valid) {
        spi->too_early += spi->conversions != 0;
        spi->out = 0xFFFF; /* SDO is not driven */
    } else {
        spi->out = spi->held;
        spi->held_valid = false;
        if (spi->short_cnv) { /* low when the conversion ended: the busy indicator is the first bit */
            opq_violation(box, "CNV fell before the converter was done: its busy indicator was read as a bit");
            spi->out >>= 1;
        }
    }
}

/* A word is written to SPI2_DR, by firmware or by DMA. */
void opq_spi_transmit(OpqBox *box, uint32_t value, int64_t tick)
{
    OpqSpi *spi = &box->spi2;

    if ((spi->cr1 & 0x44) != 0x44) { /* SPE, MSTR */
        opq_violation(box, "SPI2_DR written while SPI2 is no enabled master");
    } else if (spi->end == OPQ_NEVER) {
        begin(box, tick);
    } else {
        spi->waiting = true;
        spi->sr &= ~(uint32_t)TXE;
    }
}

void opq_spi_finish(OpqBox *box)
{
    OpqSpi *spi = &box->spi2;
    int64_t tick = spi->end;
    uint16_t value = spi->cr1 & 0x800 ? spi->out : spi->out >> 8;

    spi->frames++;
    spi->end = OPQ_NEVER;
    if (spi->sr & RXNE) {
        spi->overruns++;
        spi->sr |= OVR; /* 28.3.10: the new one is lost */
    } else {
        spi->dr_rx = value;
        spi->sr |= RXNE;
        if ((spi->cr2 & 1) && opq_dma_take(box, 0, 0x08, 0, 0x4000380C, value)) {
            spi->sr &= ~(uint32_t)RXNE;
        }
    }
    if (spi->waiting) {
        spi->waiting = false;
        spi->sr |= TXE;
        begin(box, tick);
    }
    irq(box);
}

uint32_t opq_spi_read(OpqBox *box, int index, uint32_t offset)
{
    OpqSpi *spi = &box->spi2;

    switch (offset) {
    case 0x00: return spi->cr1;
    case 0x04: return spi->cr2;
    case 0x08:
        if (spi->dr_was_read) {
            spi->sr &= ~(uint32_t)OVR; /* a read of DR, then this one */
            spi->dr_was_read = false;
            irq(box);
            return spi->sr | OVR | (spi->end != OPQ_NEVER ? BSY : 0);
        }
        return spi->sr | (spi->end != OPQ_NEVER ? BSY : 0);
    case 0x0C:
        spi->dr_was_read = spi->sr & OVR;
        spi->sr &= ~(uint32_t)RXNE;
        irq(box);
        return spi->dr_rx;
    case 0x10: return spi->crcpr;
    case 0x1C: return spi->i2scfgr;
    case 0x20: return spi->i2spr;
    }
    opq_unknown(box, "SPI2", 0x40003800, offset, false, 0);
    return 0;
}

void opq_spi_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask)
{
    OpqSpi *spi = &box->spi2;

    switch (offset) {
    case 0x00:
        opq_store(&spi->cr1, value, mask, 0xFFFF);
        if (spi->cr1 & 0x400 || ((spi->cr1 & 0x8000) && (spi->cr1 & 0x40))) {
            opq_violation(box, "SPI2: receive-only and bidirectional modes are not modelled");
        }
        if ((spi->cr1 & 0x344) == 0x244) { /* 28.5.1: NSS low in a master is a mode fault */
            opq_violation(box, "SPI2: SSM without SSI makes a mode fault");
        }
        break;
    case 0x04: opq_store(&spi->cr2, value, mask, 0xF7); break;
    case 0x08: break; /* no CRC error to clear */
    case 0x0C: opq_spi_transmit(box, value, opq_now_tick()); break;
    case 0x10: opq_store(&spi->crcpr, value, mask, 0xFFFF); break;
    case 0x1C: opq_store(&spi->i2scfgr, value, mask, 0xFBF); break;
    case 0x20: opq_store(&spi->i2spr, value, mask, 0x3FF); break;
    default: opq_unknown(box, "SPI2", 0x40003800, offset, true, value); return;
    }
    irq(box);
}

void opq_spi_reset(OpqBox *box, int index)
{
    OpqSpi *spi = &box->spi2, before = *spi;

    *spi = (OpqSpi){
        .sr = TXE, .crcpr = 7, .i2spr = 2, .end = OPQ_NEVER, .cnv_tick = before.cnv_tick, .held = before.held,
        .frames = before.frames, .conversions = before.conversions, .overruns = before.overruns,
        .too_early = before.too_early, .unread = before.unread,
    };
    irq(box);
}
