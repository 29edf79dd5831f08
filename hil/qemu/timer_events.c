/*
 * What happens in TIM2..TIM5, in order of ticks: update, match, output, capture (RM0090 18.3).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "timer.h"

static const uint8_t irq_of[] = { 28, 29, 30, 50 };

int64_t opq_timer_period(const OpqTimer *timer) { return opq_timer_step(timer) * ((int64_t)timer->arr_now + 1); }

int64_t opq_timer_next_update(const OpqTimer *timer)
{
    /* a counter that stands beyond ARR runs to its full width first */
    uint64_t top = timer->count <= timer->arr_now ? timer->arr_now : timer->max;
    int64_t left = (int64_t)(top + 1 - timer->count) * opq_timer_step(timer);

    return opq_timer_counting(timer) ? timer->base + left : OPQ_NEVER;
}

/* First tick after `done` at which the counter arrives at CCRx, if that is in this round. */
int64_t opq_timer_next_match(const OpqTimer *timer, int channel)
{
    int64_t tick;

    if (!opq_timer_counting(timer) || !opq_timer_is_output(timer, channel) || timer->ccr_now[channel] < timer->count) {
        return OPQ_NEVER;
    }
    tick = timer->base + (int64_t)(timer->ccr_now[channel] - timer->count) * opq_timer_step(timer);
    return tick > timer->done && tick < opq_timer_next_update(timer) ? tick : OPQ_NEVER;
}

void opq_timer_plan(OpqTimer *timer)
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
void opq_timer_watch(OpqTimer *timer)
{
    unsigned master = timer->cr2 >> 4 & 7;

    timer->watched = timer->flagged = 0;
    for (int channel = 0; channel < 4; channel++) {
        unsigned how = opq_timer_mode(timer, channel) >> 4 & 7;
        if (opq_timer_is_output(timer, channel)) {
            bool wanted = (timer->ccer >> (4 * channel) & 1) || (timer->dier >> (1 + channel) & 1) ||
                          (timer->dier >> (9 + channel) & 1) || master == 4u + (unsigned)channel ||
                          (master == 3 && channel == 0) || (how >= 1 && how <= 3);
            *(wanted ? &timer->watched : &timer->flagged) |= 1u << channel;
        }
    }
}

/* CCxIF of the others, up to `tick` in this round. */
void opq_timer_late_flags(OpqTimer *timer, int64_t tick)
{
    for (int channel = 0; channel < 4 && opq_timer_counting(timer); channel++) {
        int64_t match = timer->base + ((int64_t)timer->ccr_now[channel] - timer->count) * opq_timer_step(timer);
        if ((timer->flagged >> channel & 1) && timer->ccr_now[channel] <= timer->arr_now && match >= timer->base &&
            match > timer->cleared && match <= tick) {
            timer->sr |= 2u << channel;
        }
    }
}

void opq_timer_irq(OpqBox *box, int index)
{
    opq_irq(box, irq_of[index], (box->timer[index].sr & box->timer[index].dier & 0x5F) != 0);
}

uint32_t opq_timer_count_at(const OpqTimer *timer, int64_t tick)
{
    if (!opq_timer_counting(timer)) {
        return timer->count;
    }
    if (tick < timer->base) { /* an event of the outside, reported a little late: still in the last round */
        int64_t back = (timer->base - tick + opq_timer_step(timer) - 1) / opq_timer_step(timer);
        return (uint32_t)((timer->count + (int64_t)timer->arr_now + 1 - back) % ((int64_t)timer->arr_now + 1));
    }
    return timer->count + (uint32_t)((tick - timer->base) / opq_timer_step(timer));
}

/*
 * OCxREF by its mode (18.4.7): PWM compares the counter, the others wait for the match; then the pin, if CCxE
 * drives it. An edge of the pin is what ADC and converter see; a rise of OCxREF may be TRGO.
 */
void opq_timer_output(OpqBox *box, int index, int channel, uint32_t count, int when, int64_t tick)
{
    OpqTimer *timer = &box->timer[index];
    bool before = timer->ref[channel], level = before, pin;

    switch (opq_timer_mode(timer, channel) >> 4 & 7) {
    case 1: level = before || when == OPQ_AT_MATCH; break;
    case 2: level = before && when != OPQ_AT_MATCH; break;
    case 3: level = before ^ (when == OPQ_AT_MATCH); break;
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
    opq_timer_output(box, index, channel, timer->ccr_now[channel], OPQ_AT_MATCH, tick);
    if (timer->dier >> (9 + channel) & 1) {
        opq_chain_compare_dma(box, index, channel, tick);
    }
    if (channel == 0 && (timer->cr2 >> 4 & 7) == 3) {
        opq_chain_trgo(box, index, tick);
    }
}

void opq_timer_update(OpqBox *box, int index, int64_t tick, bool by_software)
{
    OpqTimer *timer = &box->timer[index];

    if ((timer->sr >> 1 & timer->flagged) != timer->flagged) {
        opq_timer_late_flags(timer, tick - 1);
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
            opq_timer_output(box, index, channel, 0, OPQ_AT_UPDATE, tick);
            if (timer->ccr_now[channel] == 0 && opq_timer_counting(timer)) {
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
                if (opq_timer_is_output(timer, channel) && timer->ccr_now[channel] <= timer->arr_now) {
                    timer->sr |= 2u << channel;
                }
            }
        }
        opq_timer_update(box, index, tick, false);
    } else {
        for (int channel = 0; channel < 4; channel++) {
            if ((timer->watched >> channel & 1) && opq_timer_next_match(timer, channel) == tick) {
                matched(box, index, channel, tick);
            }
        }
        timer->done = tick;
    }
    opq_timer_plan(timer);
    opq_timer_irq(box, index);
}

void opq_timer_capture(OpqBox *box, int index, int channel, int64_t tick)
{
    OpqTimer *timer = &box->timer[index];
    unsigned every = 1u << (opq_timer_mode(timer, channel) >> 2 & 3);

    if (!(timer->ccer >> (4 * channel) & 1) || ++timer->capture_count[channel] % every != 0) {
        return;
    }
    timer->ccr[channel] = timer->ccr_now[channel] = opq_timer_count_at(timer, tick);
    timer->captures[channel]++;
    if (timer->sr & (2u << channel)) {
        timer->sr |= 0x200u << channel;
        timer->overcaptures[channel]++;
    }
    timer->sr |= 2u << channel;
    opq_timer_irq(box, index);
}

/* A pin of channel `input` moves: ICx takes TIx (CCxS = 1) or that of its neighbour (2). */
void opq_timer_pin(OpqBox *box, int index, int input, bool level, int64_t tick)
{
    OpqTimer *timer = &box->timer[index];

    for (int channel = input & ~1; channel < (input & ~1) + 2; channel++) {
        unsigned edges = timer->ccer >> (4 * channel + 1) & 5; /* CCxNP, CCxP */
        if ((opq_timer_mode(timer, channel) & 3) == (channel == input ? 1u : 2u) &&
            (edges == 5 || (edges == 0 && level) || (edges == 1 && !level))) {
            opq_timer_capture(box, index, channel, tick);
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
                if ((opq_timer_mode(timer, channel) & 3) == 3) {
                    opq_timer_capture(box, index, channel, tick);
                }
            }
        }
    }
}

void opq_timer_trgo(OpqBox *box, int index, int64_t tick) { trc(box, index, tick); }
