/*
 * DMA1 and DMA2 in direct mode, between the converters, the timers' compare requests, and memory (RM0090 10).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"
#include "exec/address-spaces.h"

enum { FEIF = 1, DMEIF = 4, TEIF = 8, HTIF = 16, TCIF = 32 };
enum { EN = 1, TEIE = 4, HTIE = 8, TCIE = 16, CIRC = 0x100, PINC = 0x200, MINC = 0x400, DBM = 0x40000, CT = 0x80000 };

static const uint8_t irq_of[2][8] = { { 11, 12, 13, 14, 15, 16, 17, 47 }, { 56, 57, 58, 59, 60, 68, 69, 70 } };
static const uint8_t shift_of[] = { 0, 6, 16, 22 }; /* 10.5.1 */

static void irq(OpqBox *box, int unit, int n)
{
    OpqDmaStream *stream = &box->dma[unit].stream[n];
    uint32_t active = stream->flags & ((stream->cr & TEIE ? TEIF : 0) | (stream->cr & HTIE ? HTIF : 0) |
                                       (stream->cr & TCIE ? TCIF : 0) | (stream->cr & 2 ? DMEIF : 0) |
                                       (stream->fcr & 0x80 ? FEIF : 0));

    opq_irq(box, irq_of[unit][n], active != 0);
}

OpqDmaStream *opq_dma_find(OpqBox *box, int unit, uint32_t streams, unsigned channel, unsigned direction)
{
    for (int n = 0; n < 8; n++) {
        OpqDmaStream *stream = &box->dma[unit].stream[n];
        if ((streams >> n & 1) && (stream->cr & EN) && (stream->cr >> 25 & 7) == channel &&
            (stream->cr >> 6 & 3) == direction) {
            return stream;
        }
    }
    return NULL;
}

/* How many items until HTIF or TCIF interrupts; 0: never. */
int64_t opq_dma_to_interrupt(const OpqDmaStream *stream)
{
    uint32_t half = stream->reload / 2;

    if ((stream->cr & HTIE) && stream->item < half) {
        return half - stream->item;
    }
    if (stream->cr & TCIE) {
        return stream->ndtr;
    }
    return stream->cr & HTIE ? stream->ndtr + half : 0;
}

/* Plain memory that DMA reaches: SRAM both ways, flash to read. CCM is on the core's own bus (2.3.1). */
static uint8_t *host(OpqBox *box, uint32_t address, unsigned size, bool write)
{
    if (address >= OPQ_SRAM_BASE && address - OPQ_SRAM_BASE + size <= box->sram_bytes) {
        return box->sram_ram + (address - OPQ_SRAM_BASE);
    }
    if (!write && address >= 0x08000000 && address - 0x08000000 + size <= OPQ_FLASH_SIZE) {
        return box->flash_ram + (address - 0x08000000);
    }
    return NULL;
}

static void set_flag(OpqDmaStream *stream, uint32_t flag, uint32_t enable)
{
    stream->unserviced += (stream->flags & flag) && (stream->cr & enable); /* somebody was to serve it, and did not */
    stream->flags |= flag;
}

static void failed(OpqBox *box, int unit, OpqDmaStream *stream)
{
    opq_violation(box, "DMA to or from an address that it does not reach");
    stream->cr &= ~(uint32_t)EN;
    stream->flags |= TEIF;
    irq(box, unit, stream - box->dma[unit].stream);
}

static void advance(OpqBox *box, int unit, OpqDmaStream *stream)
{
    stream->transfers++;
    stream->item++;
    stream->ndtr--;
    if (stream->item == stream->reload / 2) {
        set_flag(stream, HTIF, HTIE);
    }
    if (stream->ndtr == 0) {
        set_flag(stream, TCIF, TCIE);
        if (stream->cr & (CIRC | DBM)) {
            stream->ndtr = stream->reload;
            stream->item = 0;
            stream->cr ^= stream->cr & DBM ? CT : 0;
        } else {
            stream->cr &= ~(uint32_t)EN;
        }
    }
    if (stream->flags & (HTIF | TCIF)) {
        irq(box, unit, stream - box->dma[unit].stream);
    }
}

static uint32_t memory_address(const OpqDmaStream *stream, unsigned size)
{
    return (stream->cr & CT ? stream->m1ar : stream->m0ar) + (stream->cr & MINC ? stream->item * size : 0);
}

/* A peripheral offers `value` of its data register at `dr`; whether a stream took it. */
bool opq_dma_take(OpqBox *box, int unit, uint32_t streams, unsigned channel, uint32_t dr, uint32_t value)
{
    OpqDmaStream *stream = opq_dma_find(box, unit, streams, channel, 0);
    unsigned size;
    uint8_t *memory;

    if (!stream) {
        return false;
    }
    if (stream->par != dr) {
        opq_violation(box, "DMA_SxPAR is not the data register of the peripheral that asks");
        return false;
    }
    size = 1u << (stream->cr >> 11 & 3); /* 10.3.10: in direct mode PSIZE counts for both sides */
    memory = host(box, memory_address(stream, size), size, true);
    if (!memory) {
        failed(box, unit, stream);
        return false;
    }
    memcpy(memory, &value, size); /* both sides are little-endian, as every host that we build on */
    advance(box, unit, stream);
    return true;
}

/* A request that moves memory into the register in PAR. */
void opq_dma_give(OpqBox *box, int unit, uint32_t streams, unsigned channel, int64_t tick)
{
    OpqDmaStream *stream = opq_dma_find(box, unit, streams, channel, 1);
    unsigned size;
    uint8_t *memory;
    uint32_t value = 0;

    if (!stream) {
        return;
    }
    size = 1u << (stream->cr >> 11 & 3);
    memory = host(box, memory_address(stream, size), size, false);
    if (!memory) {
        failed(box, unit, stream);
        return;
    }
    memcpy(&value, memory, size);
    if (stream->par == 0x4000380C) {
        opq_spi_transmit(box, value, tick);
    } else {
        opq_violation(box, "DMA from memory into a register other than SPI2_DR is not modelled");
    }
    advance(box, unit, stream);
}

uint32_t opq_dma_read(OpqBox *box, int unit, uint32_t offset)
{
    OpqDma *dma = &box->dma[unit];
    uint32_t status = 0;

    if (offset < 0x10) {
        for (int n = 0; offset < 8 && n < 4; n++) {
            status |= dma->stream[n + (offset ? 4 : 0)].flags << shift_of[n];
        }
        return status;
    }
    if (offset < 0xD0) {
        OpqDmaStream *stream = &dma->stream[(offset - 0x10) / 0x18];
        switch ((offset - 0x10) % 0x18) {
        case 0x00: return stream->cr;
        case 0x04: return stream->ndtr;
        case 0x08: return stream->par;
        case 0x0C: return stream->m0ar;
        case 0x10: return stream->m1ar;
        default: return stream->fcr;
        }
    }
    opq_unknown(box, "DMA", 0x40026000 + 0x400 * unit, offset, false, 0);
    return 0;
}

static void write_cr(OpqBox *box, int unit, OpqDmaStream *stream, uint32_t value, uint32_t mask)
{
    bool was = stream->cr & EN;

    opq_store(&stream->cr, value, mask, was ? 0x1F : 0x0FEFFFFF); /* 10.5.5: the rest is protected while EN */
    if (!was && (stream->cr & EN)) {
        if (stream->flags) {
            opq_violation(box, "DMA stream enabled with event flags still set (RM0090 10.3.17)");
        }
        if (stream->ndtr == 0 || (stream->cr >> 6 & 3) == 2) {
            opq_violation(box, "DMA stream enabled with NDTR 0, or from memory to memory (not modelled)");
            stream->cr &= ~(uint32_t)EN;
        }
        if (stream->fcr & 4) {
            opq_violation(box, "DMA FIFO mode is not modelled (direct mode is)");
        }
        stream->reload = stream->ndtr;
        stream->item = 0;
    } else if (was && !(stream->cr & EN)) {
        stream->flags |= TCIF; /* 10.3.14: a stream that is stopped says so */
    }
}

void opq_dma_write(OpqBox *box, int unit, uint32_t offset, uint32_t value, uint32_t mask)
{
    OpqDma *dma = &box->dma[unit];
    OpqDmaStream *stream;
    bool enabled;

    if (offset == 8 || offset == 12) {
        for (int n = 0; n < 4; n++) {
            dma->stream[n + (offset == 12 ? 4 : 0)].flags &= ~(value >> shift_of[n] & 0x3D);
            irq(box, unit, n + (offset == 12 ? 4 : 0));
        }
        return;
    }
    if (offset < 8) {
        return; /* read-only */
    }
    if (offset >= 0xD0) {
        opq_unknown(box, "DMA", 0x40026000 + 0x400 * unit, offset, true, value);
        return;
    }
    stream = &dma->stream[(offset - 0x10) / 0x18];
    enabled = stream->cr & EN;
    switch ((offset - 0x10) % 0x18) {
    case 0x00: write_cr(box, unit, stream, value, mask); break;
    case 0x04:
        if (!enabled) {
            opq_store(&stream->ndtr, value, mask, 0xFFFF);
        }
        break;
    case 0x08:
        if (!enabled) {
            opq_store(&stream->par, value, mask, ~0u);
        }
        break;
    case 0x0C:
        if (!enabled || ((stream->cr & DBM) && (stream->cr & CT))) {
            opq_store(&stream->m0ar, value, mask, ~0u);
        }
        break;
    case 0x10:
        if (!enabled || ((stream->cr & DBM) && !(stream->cr & CT))) {
            opq_store(&stream->m1ar, value, mask, ~0u);
        }
        break;
    default: opq_store(&stream->fcr, value, mask, enabled ? 0x80 : 0x87); break;
    }
    if (enabled && (offset - 0x10) % 0x18 != 0 && (offset - 0x10) % 0x18 != 0x14 && !(stream->cr & DBM)) {
        opq_violation(box, "DMA stream's registers written while it is enabled");
    }
    irq(box, unit, stream - dma->stream);
}

void opq_dma_reset(OpqBox *box, int unit)
{
    for (int n = 0; n < 8; n++) {
        OpqDmaStream *stream = &box->dma[unit].stream[n];
        *stream = (OpqDmaStream){ .fcr = 0x21, .transfers = stream->transfers, .unserviced = stream->unserviced };
        irq(box, unit, n);
    }
}
