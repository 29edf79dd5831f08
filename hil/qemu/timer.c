/*
 * TIM2..TIM5 (RM0090 18): counting up, update, compare, PWM, input capture and capture of TRC. The counter
 * is computed from virtual time; only moments at which something happens are visited, in order.
 *
 * Not here: counting down or centred, slave modes, the encoder, DMA bursts (kept, and told in the report).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"

static const uint8_t irq_of[] = { 28, 29, 30, 50 };

static int64_t step(const OpqTimer *timer) { return (int64_t)timer->psc_now + 1; }

int64_t opq_timer_period(const OpqTimer *timer) { return step(timer) * ((int64_t)timer->arr_now + 1); }

static bool counting(const OpqTimer *timer) { return (timer->cr1 & 1) && timer->arr_now != 0; /* 18.4.12 */ }

static unsigned channel_mode(const OpqTimer *timer, int channel)
{
    return timer->ccmr[channel / 2] >> (channel % 2 * 8) & 0xFF;
}
static bool is_output(const OpqTimer *timer, int channel) { return (channel_mode(timer, channel) & 3) == 0; }

int64_t opq_timer_next_update(const OpqTimer *timer)
{
    /* a counter that stands beyond ARR runs to its full width first */
    uint64_t top = timer->count <= timer->arr_now ? timer->arr_now : timer->max;

    return counting(timer) ? timer->base + (int64_t)(top + 1 - timer->count) * step(timer) : OPQ_NEVER;
}

/* First tick after `done` at which the counter arrives at CCRx, if that is in this round. */
int64_t opq_timer_next_match(const OpqTimer *timer, int channel)
{
    int64_t tick;

    if (!counting(timer) || !is_output(timer, channel) || timer->ccr_now[channel] < timer->count) {
        return OPQ_NEVER;
    }
    tick = timer->base + (int64_t)(timer->ccr_now[channel] - timer->count) * step(timer);
    return tick > timer->done && tick < opq_timer_next_update(timer) ? tick : OPQ_NEVER;
}

static void plan(OpqTimer *timer)
{
    timer->next = opq_timer_next_update(timer);
    for (int channel = 0; channel < 4; channel++) {
        if (timer->watched >> channel & 1) {
            timer->next = MIN(timer->next, opq_timer_next_match(timer, channel));
        }
    }
}

/*
 * An output that no interrupt, no DMA, no pin and no TRGO hangs on only has its CCxIF, and that can be worked out
 * when somebody looks: those are not `watched`. Modes 1 to 3 depend on each match and are.
 */
static void watch(OpqTimer *timer)
{
    unsigned master = timer->cr2 >> 4 & 7;

    timer->watched = timer->flagged = 0;
    for (int channel = 0; channel < 4; channel++) {
        unsigned how = channel_mode(timer, channel) >> 4 & 7;
        if (is_output(timer, channel)) {
            bool wanted = (timer->ccer >> (4 * channel) & 1) || (timer->dier >> (1 + channel) & 1) ||
                          (timer->dier >> (9 + channel) & 1) || master == 4u + (unsigned)channel ||
                          (master == 3 && channel == 0) || (how >= 1 && how <= 3);
            *(wanted ? &timer->watched : &timer->flagged) |= 1u << channel;
        }
    }
}

/* CCxIF of the others, up to `tick` in this round. */
static void late_flags(OpqTimer *timer, int64_t tick)
{
    for (int channel = 0; channel < 4 && counting(timer); channel++) {
        int64_t match = timer->base + ((int64_t)timer->ccr_now[channel] - timer->count) * step(timer);
        if ((timer->flagged >> channel & 1) && timer->ccr_now[channel] <= timer->arr_now && match >= timer->base &&
            match > timer->cleared && match <= tick) {
            timer->sr |= 2u << channel;
        }
    }
}

static void irq(OpqBox *box, int index)
{
    opq_irq(box, irq_of[index], (box->timer[index].sr & box->timer[index].dier & 0x5F) != 0);
}

static uint32_t count_at(const OpqTimer *timer, int64_t tick)
{
    if (!counting(timer)) {
        return timer->count;
    }
    if (tick < timer->base) { /* an event of the outside, told a little late: still in the last round */
        int64_t back = (timer->base - tick + step(timer) - 1) / step(timer);
        return (uint32_t)((timer->count + (int64_t)timer->arr_now + 1 - back) % ((int64_t)timer->arr_now + 1));
    }
    return timer->count + (uint32_t)((tick - timer->base) / step(timer));
}

enum { ANY, AT_MATCH, AT_UPDATE };

/*
 * OCxREF by its mode (18.4.7): PWM compares the counter, the others wait for the match; then the pin, if CCxE
 * drives it. An edge of the pin is what ADC and converter see; a rise of OCxREF may be TRGO.
 */
static void output(OpqBox *box, int index, int channel, uint32_t count, int when, int64_t tick)
{
    OpqTimer *timer = &box->timer[index];
    bool before = timer->ref[channel], level = before, pin;

    switch (channel_mode(timer, channel) >> 4 & 7) {
    case 1: level = before || when == AT_MATCH; break;
    case 2: level = before && when != AT_MATCH; break;
    case 3: level = before ^ (when == AT_MATCH); break;
    case 4: level = false; break;
    case 5: level = true; break;
    case 6: level = count < timer->ccr_now[channel]; break;
    case 7: level = count >= timer->ccr_now[channel]; break;
    }
    timer->ref[channel] = level;
    if (level && !before && (timer->cr2 >> 4 & 7) == 4u + (unsigned)channel) {
        opq_chain_trgo(box, index, tick);
    }
    pin = (timer->ccer >> (4 * channel) & 1) && level != (timer->ccer >> (4 * channel + 1) & 1);
    if (pin != timer->pin[channel]) {
        timer->pin[channel] = pin;
        opq_chain_output(box, index, channel, pin, tick);
    }
}

static void matched(OpqBox *box, int index, int channel, int64_t tick)
{
    OpqTimer *timer = &box->timer[index];

    timer->sr |= 2u << channel;
    output(box, index, channel, timer->ccr_now[channel], AT_MATCH, tick);
    if (timer->dier >> (9 + channel) & 1) {
        opq_chain_compare_dma(box, index, channel, tick);
    }
    if (channel == 0 && (timer->cr2 >> 4 & 7) == 3) {
        opq_chain_trgo(box, index, tick);
    }
}

static void update(OpqBox *box, int index, int64_t tick, bool by_software)
{
    OpqTimer *timer = &box->timer[index];

    if ((timer->sr >> 1 & timer->flagged) != timer->flagged) {
        late_flags(timer, tick - 1);
    }
    timer->base = timer->done = tick;
    timer->count = 0;
    timer->updates++;
    if (!(timer->cr1 & 2)) { /* UDIS */
        timer->psc_now = timer->psc;
        timer->arr_now = timer->arr;
        memcpy(timer->ccr_now, timer->ccr, sizeof(timer->ccr));
        if (!(by_software && (timer->cr1 & 4))) {
            timer->sr |= 1;
        }
        if ((timer->cr2 >> 4 & 7) == 2 || (by_software && (timer->cr2 >> 4 & 7) == 0)) {
            opq_chain_trgo(box, index, tick);
        }
    }
    if (timer->cr1 & 8) { /* one pulse */
        timer->cr1 &= ~1u;
    }
    for (int channel = 0; channel < 4; channel++) {
        if (timer->watched >> channel & 1) {
            output(box, index, channel, 0, AT_UPDATE, tick);
            if (timer->ccr_now[channel] == 0 && counting(timer)) {
                matched(box, index, channel, tick);
            }
        }
    }
}

/* Nobody looks: whole rounds may be passed over. */
static bool quiet(OpqBox *box, int index)
{
    const OpqTimer *timer = &box->timer[index];

    return timer->dier == 0 && timer->ccer == 0 && (timer->cr2 >> 4 & 7) == 0 && timer->psc == timer->psc_now &&
           timer->arr == timer->arr_now;
}

/* The next event of this timer happens; its tick is timer->next. */
void opq_timer_fire(OpqBox *box, int index)
{
    OpqTimer *timer = &box->timer[index];
    int64_t tick = timer->next;

    if (tick == opq_timer_next_update(timer)) {
        int64_t rounds = (opq_now_tick() - tick) / opq_timer_period(timer);
        if (rounds > 1 && quiet(box, index)) {
            tick += rounds * opq_timer_period(timer);
            timer->updates += rounds;
            for (int channel = 0; channel < 4; channel++) {
                if (is_output(timer, channel) && timer->ccr_now[channel] <= timer->arr_now) {
                    timer->sr |= 2u << channel;
                }
            }
        }
        update(box, index, tick, false);
    } else {
        for (int channel = 0; channel < 4; channel++) {
            if ((timer->watched >> channel & 1) && opq_timer_next_match(timer, channel) == tick) {
                matched(box, index, channel, tick);
            }
        }
        timer->done = tick;
    }
    plan(timer);
    irq(box, index);
}

static void captured(OpqBox *box, int index, int channel, int64_t tick)
{
    OpqTimer *timer = &box->timer[index];
    unsigned every = 1u << (channel_mode(timer, channel) >> 2 & 3);

    if (!(timer->ccer >> (4 * channel) & 1) || ++timer->capture_count[channel] % every != 0) {
        return;
    }
    timer->ccr[channel] = timer->ccr_now[channel] = count_at(timer, tick);
    timer->captures[channel]++;
    if (timer->sr & (2u << channel)) {
        timer->sr |= 0x200u << channel;
        timer->overcaptures[channel]++;
    }
    timer->sr |= 2u << channel;
    irq(box, index);
}

/* A pin of channel `input` moves: ICx takes TIx (CCxS = 1) or that of its neighbour (2). */
void opq_timer_pin(OpqBox *box, int index, int input, bool level, int64_t tick)
{
    OpqTimer *timer = &box->timer[index];

    for (int channel = input & ~1; channel < (input & ~1) + 2; channel++) {
        unsigned edges = timer->ccer >> (4 * channel + 1) & 5; /* CCxNP, CCxP */
        if ((channel_mode(timer, channel) & 3) == (channel == input ? 1u : 2u) &&
            (edges == 5 || (edges == 0 && level) || (edges == 1 && !level))) {
            captured(box, index, channel, tick);
        }
    }
}

/* RM0090 18.4.3, table 97: which timer's TRGO is ITRn; -1: TIM1 or TIM8, not here. */
static const int8_t itr[4][4] = { { -1, -1, 1, 2 }, { -1, 0, 3, 2 }, { -1, 0, 1, -1 }, { 0, 1, 2, -1 } };

static void trc(OpqBox *box, int from, int64_t tick)
{
    for (int index = 0; index < 4; index++) {
        OpqTimer *timer = &box->timer[index];
        unsigned trigger = timer->smcr >> 4 & 7;
        if (trigger < 4 && itr[index][trigger] == from) {
            for (int channel = 0; channel < 4; channel++) {
                if ((channel_mode(timer, channel) & 3) == 3) {
                    captured(box, index, channel, tick);
                }
            }
        }
    }
}

void opq_timer_trgo(OpqBox *box, int index, int64_t tick) { trc(box, index, tick); }

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
        late_flags(timer, opq_now_tick());
        return timer->sr;
    case 0x14: return 0;
    case 0x18: case 0x1C: return timer->ccmr[(offset - 0x18) / 4];
    case 0x20: return timer->ccer;
    case 0x24: return count_at(timer, opq_now_tick());
    case 0x28: return timer->psc;
    case 0x2C: return timer->arr;
    case 0x34: case 0x38: case 0x3C: case 0x40:
        channel = (offset - 0x34) / 4;
        if (!is_output(timer, channel)) { /* 18.4.5: read in input mode clears the flag */
            timer->sr &= ~(2u << channel);
            irq(box, index);
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
    uint32_t count = count_at(timer, tick);
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

    late_flags(timer, tick);
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
                is_output(timer, channel) ? (void)(timer->sr |= 2u << channel)
                                          : captured(box, index, channel, tick);
            }
        }
        if (value & 1) {
            update(box, index, tick, true);
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
            timer->count = count_at(timer, tick);
            timer->base += (tick - timer->base) / step(timer) * step(timer);
            timer->arr_now = timer->arr;
        }
        break;
    case 0x34: case 0x38: case 0x3C: case 0x40:
        channel = (offset - 0x34) / 4;
        if (is_output(timer, channel)) { /* 18.4.13: read-only as an input */
            opq_store(&timer->ccr[channel], value, mask, timer->max);
            if (!(channel_mode(timer, channel) & 8)) {
                timer->ccr_now[channel] = timer->ccr[channel];
            }
        }
        break;
    case 0x48: opq_store(&timer->dcr, value, mask, 0x1F1F); break;
    case 0x50: opq_store(&timer->or, value, mask, 0x0CC0); break;
    default: opq_unknown(box, "TIM", 0x40000000 + 0x400 * index, offset, true, value); return;
    }
    watch(timer);
    for (channel = 0; channel < 4; channel++) { /* a mode, a polarity or a CCR may have moved an output at once */
        if (is_output(timer, channel)) {
            output(box, index, channel, count_at(timer, tick), ANY, tick);
        }
    }
    plan(timer);
    irq(box, index);
}

void opq_timer_reset(OpqBox *box, int index)
{
    OpqTimer *timer = &box->timer[index], before = *timer;
    uint32_t max = index == 0 || index == 3 ? UINT32_MAX : 0xFFFF; /* TIM2 and TIM5 have 32 bits */

    *timer = (OpqTimer){ .arr = max, .arr_now = max, .max = max, .next = OPQ_NEVER, .cleared = -1, .updates = before.updates };
    memcpy(timer->captures, before.captures, sizeof(before.captures));
    memcpy(timer->overcaptures, before.overcaptures, sizeof(before.overcaptures));
    watch(timer);
    irq(box, index);
}
