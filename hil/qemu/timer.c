/*
 * Registers of TIM2..TIM5 (RM0090 18.4): counting up, update, compare, PWM, input capture, capture of TRC. The counter
 * is computed from virtual time; only moments at which something happens are visited, in order.
 *
 * Not here: counting down or centred, slave modes, the encoder, DMA bursts (kept, and named in the report).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "timer.h"

uint32_t opq_timer_read(OpqBox *box, int index, uint32_t offset)
{
    OpqTimer *timer = &box->timer[index];
    int channel;

    switch (offset) {
    case 0x00: return timer->cr1;
    case 0x04: return timer->cr2;
    case 0x08: return timer->smcr;
    case 0x0C: return timer->dier;
    case 0x10:
        opq_timer_late_flags(timer, opq_now_tick());
        return timer->sr;
    case 0x14: return 0;
    case 0x18: case 0x1C: return timer->ccmr[(offset - 0x18) / 4];
    case 0x20: return timer->ccer;
    case 0x24: return opq_timer_count_at(timer, opq_now_tick());
    case 0x28: return timer->psc;
    case 0x2C: return timer->arr;
    case 0x34: case 0x38: case 0x3C: case 0x40:
        channel = (offset - 0x34) / 4;
        if (!opq_timer_is_output(timer, channel)) { /* 18.4.5: read in input mode clears the flag */
            timer->sr &= ~(2u << channel);
            opq_timer_irq(box, index);
        }
        return timer->ccr[channel];
    case 0x48: return timer->dcr;
    case 0x50: return timer->or;
    }
    opq_unknown(box, "TIM", 0x40000000 + 0x400 * index, offset, false, 0);
    return 0;
}

static void written_cr1(OpqBox *box, OpqTimer *timer, uint32_t value, uint32_t mask)
{
    int64_t tick = opq_now_tick();
    uint32_t count = opq_timer_count_at(timer, tick);
    bool was = timer->cr1 & 1;

    opq_store(&timer->cr1, value, mask, 0x3FF);
    if (timer->cr1 & 0x70) {
        opq_violation(box, "TIMx_CR1: counting down or centred is not modelled");
    }
    if (was != (timer->cr1 & 1)) {
        timer->count = count;
        timer->base = timer->done = tick;
        if (!was && box->rcc.timer1_hz != 84000000) {
            opq_violation(box, "TIM2..TIM5 started while their clock is not 84 MHz (the model counts 84 MHz)");
        }
    }
}

void opq_timer_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask)
{
    OpqTimer *timer = &box->timer[index];
    int64_t tick = opq_now_tick();
    int channel;

    opq_timer_late_flags(timer, tick);
    timer->cleared = tick; /* what was due so far is in SR */
    switch (offset) {
    case 0x00: written_cr1(box, timer, value, mask); break;
    case 0x04: opq_store(&timer->cr2, value, mask, 0xF8); break;
    case 0x08:
        opq_store(&timer->smcr, value, mask, 0xFFF7);
        if (timer->smcr & 7) {
            opq_violation(box, "TIMx_SMCR: slave modes are not modelled");
        }
        break;
    case 0x0C: opq_store(&timer->dier, value, mask, 0x5F5F); break;
    case 0x10: timer->sr &= value | ~mask; break; /* rc_w0 */
    case 0x14:
        for (channel = 0; channel < 4; channel++) {
            if (value >> (1 + channel) & 1) {
                opq_timer_is_output(timer, channel) ? (void)(timer->sr |= 2u << channel)
                                          : opq_timer_capture(box, index, channel, tick);
            }
        }
        if (value & 1) {
            opq_timer_update(box, index, tick, true);
        }
        break;
    case 0x18: case 0x1C: opq_store(&timer->ccmr[(offset - 0x18) / 4], value, mask, 0xFFFF); break;
    case 0x20: opq_store(&timer->ccer, value, mask, 0xBBBB); break;
    case 0x24:
        timer->count = value & timer->max;
        timer->base = timer->done = tick;
        break;
    case 0x28: opq_store(&timer->psc, value, mask, 0xFFFF); break; /* always waits for an update */
    case 0x2C:
        opq_store(&timer->arr, value, mask, timer->max);
        if (!(timer->cr1 & 0x80)) {
            timer->count = opq_timer_count_at(timer, tick);
            timer->base += (tick - timer->base) / opq_timer_step(timer) * opq_timer_step(timer);
            timer->arr_now = timer->arr;
        }
        break;
    case 0x34: case 0x38: case 0x3C: case 0x40:
        channel = (offset - 0x34) / 4;
        if (opq_timer_is_output(timer, channel)) { /* 18.4.13: read-only as an input */
            opq_store(&timer->ccr[channel], value, mask, timer->max);
            if (!(opq_timer_mode(timer, channel) & 8)) {
                timer->ccr_now[channel] = timer->ccr[channel];
            }
        }
        break;
    case 0x48: opq_store(&timer->dcr, value, mask, 0x1F1F); break;
    case 0x50: opq_store(&timer->or, value, mask, 0x0CC0); break;
    default: opq_unknown(box, "TIM", 0x40000000 + 0x400 * index, offset, true, value); return;
    }
    opq_timer_watch(timer);
    for (channel = 0; channel < 4; channel++) { /* a mode, a polarity or a CCR may have moved an output at once */
        if (opq_timer_is_output(timer, channel)) {
            opq_timer_output(box, index, channel, opq_timer_count_at(timer, tick), OPQ_AT_ANY, tick);
        }
    }
    opq_timer_plan(timer);
    opq_timer_irq(box, index);
}

void opq_timer_reset(OpqBox *box, int index)
{
    OpqTimer *timer = &box->timer[index], before = *timer;
    uint32_t max = index == 0 || index == 3 ? UINT32_MAX : 0xFFFF; /* TIM2 and TIM5 have 32 bits */

    *timer = (OpqTimer){
        .arr = max, .arr_now = max, .max = max, .next = OPQ_NEVER, .cleared = -1, .updates = before.updates,
    };
    memcpy(timer->captures, before.captures, sizeof(before.captures));
    memcpy(timer->overcaptures, before.overcaptures, sizeof(before.overcaptures));
    for (int channel = 0; channel < 4; channel++) {
        if (before.pin[channel]) {
            opq_chain_output(box, index, channel, false, opq_now_tick());
        }
    }
    opq_timer_watch(timer);
    opq_timer_irq(box, index);
}
