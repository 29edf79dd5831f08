/*
 * ADC1: regular group by trigger with DMA, injected group between, in ADC clocks (RM0090 13).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"

enum { EOC = 2, JEOC = 4, JSTRT = 8, STRT = 16, OVR = 32 };
enum { ADON = 1, CONT = 2, DMA = 0x100, DDS = 0x200, EOCS = 0x400 };
#define STABILISE_TICKS 252 /* DS8626 table 67: tSTAB 3 us */

static void irq(OpqBox *box)
{
    OpqAdc *adc = &box->adc;
    uint32_t active = (adc->cr1 & 0x20 ? EOC : 0) | (adc->cr1 & 0x80 ? JEOC : 0) | (adc->cr1 & 0x4000000 ? OVR : 0);

    opq_irq(box, 18, (adc->sr & active) != 0);
}

static int64_t prescaler(OpqAdc *adc) { return ((adc->ccr >> 16 & 3) + 1) * 2; } /* PCLK2 is one tick */

static int64_t sample_ticks(OpqAdc *adc, int channel)
{
    static const uint16_t cycles[] = { 3, 15, 28, 56, 84, 112, 144, 480 };
    unsigned smp = channel > 9 ? adc->smpr[0] >> (3 * (channel - 10)) & 7 : adc->smpr[1] >> (3 * channel) & 7;

    return cycles[smp] * prescaler(adc);
}

static int regular_channel(OpqAdc *adc, int rank)
{
    return adc->sqr[2 - rank / 6] >> (rank % 6 * 5) & 31;
}

static int last_rank(OpqAdc *adc, bool injected)
{
    return !(adc->cr1 & 0x100) ? 0 : (int)(injected ? adc->jsqr >> 20 & 3 : adc->sqr[0] >> 20 & 15); /* SCAN */
}

/* One conversion of `channel`, or of the first of the regular group. */
int64_t opq_adc_ticks(OpqBox *box, int channel)
{
    OpqAdc *adc = &box->adc;

    channel = channel < 0 ? regular_channel(adc, 0) : channel;
    return sample_ticks(adc, channel) + (12 - 2 * (adc->cr1 >> 24 & 3)) * prescaler(adc);
}

static void begin(OpqBox *box, bool injected, int rank, int64_t tick)
{
    OpqAdc *adc = &box->adc;
    int first = 3 - (int)(adc->jsqr >> 20 & 3); /* 13.13.12: a short injected group is that of the last entries */

    adc->injecting = injected;
    adc->rank = rank;
    adc->channel = injected ? (int)(adc->jsqr >> ((first + rank) * 5) & 31) : regular_channel(adc, rank);
    adc->sampled = tick + sample_ticks(adc, adc->channel); /* the switch opens at the end of sampling */
    adc->end = tick + opq_adc_ticks(box, adc->channel);
    adc->sr |= injected ? JSTRT : STRT;
}

void opq_adc_trigger(OpqBox *box, bool injected, int64_t tick)
{
    OpqAdc *adc = &box->adc;

    if (!(adc->cr2 & ADON)) {
        adc->ignored++;
        return;
    }
    if (tick - adc->on_tick < STABILISE_TICKS) {
        opq_violation(box, "ADC triggered within 3 us of ADON");
    }
    if (box->rcc.pclk2_hz > 36000000 * prescaler(adc)) {
        opq_violation(box, "ADCCLK above 36 MHz");
    }
    if (injected) {
        if (adc->end != OPQ_NEVER && adc->injecting) {
            adc->ignored++;
            return;
        }
        if (adc->end != OPQ_NEVER) {
            adc->preempted++;
            adc->regular_resumes = adc->rank;
        }
        begin(box, true, 0, tick);
    } else if ((adc->sr & OVR) && (adc->cr2 & (DMA | EOCS))) {
        adc->missed++; /* 13.8.1: stands still until OVR is cleared */
    } else if (adc->end != OPQ_NEVER && adc->injecting) {
        adc->missed += adc->regular_waits; /* 13.3.10: runs when the injected group is done */
        adc->regular_waits = true;
    } else if (adc->end != OPQ_NEVER) {
        adc->missed++;
    } else {
        begin(box, false, 0, tick);
    }
}

static uint32_t input(OpqBox *box, int channel, int64_t tick)
{
    OpqAdc *adc = &box->adc;
    int port = channel < 8 ? 0 : channel < 10 ? 1 : 2, pin = channel < 8 ? channel : channel < 10 ? channel - 8
                                                                                                 : channel - 10;
    int32_t count;

    if (channel > 18) {
        return 0;
    }
    if (channel < 16 && (box->gpio[port].moder >> (2 * pin) & 3) != 3) {
        opq_violation(box, "ADC1 converts a pin that is not in analog mode");
    }
    if ((channel == 16 || channel == 17) && !(adc->ccr & 0x800000)) {
        opq_violation(box, "ADC1 converts temperature or VREFINT without ADC_CCR.TSVREFE");
        return 0;
    }
    if (channel == 18 && !(adc->ccr & 0x400000)) {
        return 0;
    }
    count = channel == (int)box->mains_channel ? opq_mains_count(opq_world_mains(box), OPQ_MAINS_ADC1, tick) : -1;
    return count >= 0 ? (uint32_t)count : adc->inputs[channel];
}

static uint32_t aligned(OpqAdc *adc, uint32_t count)
{
    unsigned bits = 12 - 2 * (adc->cr1 >> 24 & 3);

    count >>= 12 - bits;
    return adc->cr2 & 0x800 ? count << (16 - bits) : count;
}

static void regular_done(OpqBox *box, uint32_t value, int64_t tick)
{
    OpqAdc *adc = &box->adc;
    bool last = adc->rank == last_rank(adc, false);

    adc->conversions++;
    if ((adc->sr & EOC) && (adc->cr2 & (DMA | EOCS))) {
        adc->overruns++;
        adc->sr |= OVR;
    } else {
        adc->dr = value;
        if (last || (adc->cr2 & (EOCS | DMA))) {
            adc->sr |= EOC;
        }
        if ((adc->cr2 & DMA) && !adc->dma_ended && opq_dma_take(box, 1, 0x11, 0, 0x4001204C, value)) {
            adc->sr &= ~(uint32_t)EOC; /* DMA read DR */
            adc->dma_ended = !(adc->cr2 & DDS) && !opq_dma_find(box, 1, 0x11, 0, 0);
        }
    }
    adc->end = OPQ_NEVER;
    if ((adc->sr & OVR) && (adc->cr2 & (DMA | EOCS))) {
        return;
    }
    if (!last) {
        begin(box, false, adc->rank + 1, tick);
    } else if (adc->cr1 & 0x400) { /* JAUTO */
        begin(box, true, 0, tick);
    } else if (adc->cr2 & CONT) {
        begin(box, false, 0, tick);
    }
}

static void injected_done(OpqBox *box, uint32_t value, int64_t tick)
{
    OpqAdc *adc = &box->adc;
    uint32_t offset = adc->jofr[adc->rank];

    adc->injected++;
    adc->jdr[adc->rank] = (value - offset) & 0xFFFF;
    adc->end = OPQ_NEVER;
    if (adc->rank < last_rank(adc, true)) {
        begin(box, true, adc->rank + 1, tick);
        return;
    }
    adc->sr |= JEOC;
    if (adc->regular_resumes >= 0) {
        begin(box, false, adc->regular_resumes, tick);
        adc->regular_resumes = -1;
    } else if (adc->regular_waits) {
        adc->regular_waits = false;
        adc->delayed++;
        begin(box, false, 0, tick);
    } else if ((adc->cr1 & 0x400) && (adc->cr2 & CONT)) {
        begin(box, false, 0, tick);
    }
}

/* The conversion under way ends, at adc.end. */
void opq_adc_finish(OpqBox *box)
{
    OpqAdc *adc = &box->adc;
    int64_t tick = adc->end;
    uint32_t value = aligned(adc, input(box, adc->channel, adc->sampled));

    if (adc->injecting) {
        injected_done(box, value, tick);
    } else {
        regular_done(box, value, tick);
    }
    irq(box);
}

uint32_t opq_adc_read(OpqBox *box, int index, uint32_t offset)
{
    OpqAdc *adc = &box->adc;

    switch (offset) {
    case 0x00: return adc->sr;
    case 0x04: return adc->cr1;
    case 0x08: return adc->cr2;
    case 0x0C: case 0x10: return adc->smpr[(offset - 0x0C) / 4];
    case 0x14: case 0x18: case 0x1C: case 0x20: return adc->jofr[(offset - 0x14) / 4];
    case 0x24: return adc->htr;
    case 0x28: return adc->ltr;
    case 0x2C: case 0x30: case 0x34: return adc->sqr[(offset - 0x2C) / 4];
    case 0x38: return adc->jsqr;
    case 0x3C: case 0x40: case 0x44: case 0x48: return adc->jdr[(offset - 0x3C) / 4];
    case 0x4C:
        adc->sr &= ~(uint32_t)EOC;
        irq(box);
        return adc->dr;
    case 0x300: return adc->sr & 0x3F;
    case 0x304: return adc->ccr;
    }
    opq_unknown(box, "ADC1", 0x40012000, offset, false, 0);
    return 0;
}

static void write_cr2(OpqBox *box, uint32_t value, uint32_t mask)
{
    OpqAdc *adc = &box->adc;
    uint32_t before = adc->cr2;

    opq_store(&adc->cr2, value, mask, 0x3F7F0F03 & ~0x00400000u);
    if ((adc->cr2 & ~before) & ADON) {
        adc->on_tick = opq_now_tick();
    }
    if ((adc->cr2 & ~before) & DMA) {
        adc->dma_ended = false;
    }
    if (!(adc->cr2 & ADON)) {
        adc->end = OPQ_NEVER; /* what was converted is lost */
        adc->regular_resumes = -1;
        adc->regular_waits = false;
    } else {
        if (value & mask & 0x00400000) { /* JSWSTART */
            opq_adc_trigger(box, true, opq_now_tick());
        }
        if (value & mask & 0x40000000) { /* SWSTART */
            opq_adc_trigger(box, false, opq_now_tick());
        }
    }
}

void opq_adc_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask)
{
    OpqAdc *adc = &box->adc;

    switch (offset) {
    case 0x00: adc->sr &= value | ~mask; break; /* rc_w0 */
    case 0x04: opq_store(&adc->cr1, value, mask, 0x07C0FFFF); break;
    case 0x08: write_cr2(box, value, mask); break;
    case 0x0C: case 0x10: opq_store(&adc->smpr[(offset - 0x0C) / 4], value, mask, 0x3FFFFFFF); break;
    case 0x14: case 0x18: case 0x1C: case 0x20:
        opq_store(&adc->jofr[(offset - 0x14) / 4], value, mask, 0xFFF);
        break;
    case 0x24: opq_store(&adc->htr, value, mask, 0xFFF); break; /* the analog watchdog is not modelled */
    case 0x28: opq_store(&adc->ltr, value, mask, 0xFFF); break;
    case 0x2C: case 0x30: case 0x34:
        opq_store(&adc->sqr[(offset - 0x2C) / 4], value, mask, offset == 0x2C ? 0xFFFFFF : 0x3FFFFFFF);
        break;
    case 0x38: opq_store(&adc->jsqr, value, mask, 0x3FFFFF); break;
    case 0x304: opq_store(&adc->ccr, value, mask, 0x00C3EF1F); break;
    default: opq_unknown(box, "ADC1", 0x40012000, offset, true, value); return;
    }
    if (adc->cr1 & 0x00C00000) {
        opq_violation(box, "the ADC's analog watchdog is not modelled");
    }
    irq(box);
}

void opq_adc_reset(OpqBox *box, int index)
{
    OpqAdc *adc = &box->adc, before = *adc;

    *adc = (OpqAdc){
        .htr = 0xFFF, .end = OPQ_NEVER, .regular_resumes = -1, .conversions = before.conversions,
        .injected = before.injected, .missed = before.missed, .overruns = before.overruns,
        .preempted = before.preempted, .delayed = before.delayed, .ignored = before.ignored,
    };
    memcpy(adc->inputs, before.inputs, sizeof(adc->inputs));
    irq(box);
}
