/*
 * What happens without the CPU: timer -> converter -> DMA, in order of ticks. It runs when firmware looks at a
 * register, and at the next moment at which it would interrupt; between those nobody could tell (block mode).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"

enum { TIM3 = 1 };

static bool planned; /* `event` stands where it should */

static void run(OpqBox *box, int64_t upto)
{
    box->running_chain = true;
    for (;;) {
        int64_t timer_tick = OPQ_NEVER;
        int timer = 0;

        for (int n = 0; n < 4; n++) {
            if (box->timer[n].next < timer_tick) {
                timer_tick = box->timer[n].next;
                timer = n;
            }
        }
        if (MIN(timer_tick, MIN(box->adc.end, box->spi2.end)) > upto) {
            break;
        }
        planned = false;
        if (box->adc.end <= timer_tick && box->adc.end <= box->spi2.end) {
            opq_adc_finish(box);
        } else if (box->spi2.end <= timer_tick) {
            opq_spi_finish(box);
        } else {
            opq_timer_fire(box, timer);
        }
    }
    box->running_chain = false;
}

void opq_chain_run(OpqBox *box, int64_t tick)
{
    if (!box->running_chain && !box->ended) {
        run(box, tick);
    }
}

/* Everything up to now has happened. */
void opq_sync(OpqBox *box)
{
    int64_t now_ns;

    if (!box->running_chain && !box->ended) {
        now_ns = opq_now_ns();
        opq_world_run(box, now_ns);
        run(box, opq_tick_of_ns(now_ns));
    }
}

void opq_chain_trgo(OpqBox *box, int index, int64_t tick)
{
    /* RM0090 13.6, table 68 and 69: EXTSEL and JEXTSEL of TIM2..TIM5_TRGO; 0xFF: none */
    static const uint8_t regular[] = { 6, 8, 0xFF, 0xFF }, injected[] = { 3, 0xFF, 9, 11 };
    uint32_t cr2 = box->adc.cr2;

    opq_timer_trgo(box, index, tick);
    if ((cr2 >> 28 & 1) && (cr2 >> 24 & 15) == regular[index]) { /* EXTEN with a rising edge */
        opq_adc_trigger(box, false, tick);
    }
    if ((cr2 >> 20 & 1) && (cr2 >> 16 & 15) == injected[index]) {
        opq_adc_trigger(box, true, tick);
    }
}

void opq_chain_output(OpqBox *box, int index, int channel, bool rising, int64_t tick)
{
    /* the same tables: TIMx_CCy, index * 4 + channel */
    static const uint8_t regular[] = { 0xFF, 3, 4, 5, 7, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 9, 10, 11, 12, 0xFF };
    static const uint8_t injected[] = { 2, 0xFF, 0xFF, 0xFF, 0xFF, 4, 0xFF, 5, 6, 7, 8, 0xFF, 0xFF, 0xFF, 0xFF, 10 };
    uint32_t cr2 = box->adc.cr2;
    unsigned edge = rising ? 1 : 2;

    if (((cr2 >> 28 & 3) & edge) && (cr2 >> 24 & 15) == regular[index * 4 + channel]) {
        opq_adc_trigger(box, false, tick);
    }
    if (((cr2 >> 20 & 3) & edge) && (cr2 >> 16 & 15) == injected[index * 4 + channel]) {
        opq_adc_trigger(box, true, tick);
    }
    if (index == TIM3 && channel == 0 && (opq_gpio_alternate(box, 2, 6, 2) || opq_gpio_alternate(box, 0, 6, 2) ||
                                          opq_gpio_alternate(box, 1, 4, 2))) { /* PC6, PA6 or PB4 */
        opq_spi_cnv(box, rising, tick);
    }
}

/* RM0090 10.3.3, table 42 (DMA1): CC requests of TIM2..TIM5; stream and channel, 0xFF: none. */
void opq_chain_compare_dma(OpqBox *box, int index, int channel, int64_t tick)
{
    static const uint8_t stream[4][4] = { { 5, 6, 1, 7 }, { 4, 5, 7, 2 }, { 0, 3, 7, 0xFF }, { 2, 4, 0, 1 } };
    static const uint8_t request[] = { 3, 5, 2, 6 };

    if (stream[index][channel] != 0xFF) {
        opq_dma_give(box, 0, 1u << stream[index][channel], request[index], tick);
    }
}

/* When item number `items` from now will have gone through DMA, never later than the truth. */
static int64_t adc_item_tick(OpqBox *box, int64_t items)
{
    OpqAdc *adc = &box->adc;
    OpqTimer *timer = &box->timer[TIM3];
    int64_t per_trigger = adc->cr1 & 0x100 ? (adc->sqr[0] >> 20 & 15) + 1 : 1, next = opq_timer_next_update(timer);

    if (adc->end != OPQ_NEVER) {
        if (adc->injecting || --items == 0 || per_trigger > 1) {
            return adc->end;
        }
    }
    if (adc->cr2 & 2) {
        return adc->end; /* free running */
    }
    if ((adc->cr2 >> 24 & 15) != 8 || (timer->cr2 >> 4 & 7) != 2) { /* another trigger than TIM3's update */
        return timer->next;
    }
    if (next == OPQ_NEVER) {
        return OPQ_NEVER;
    }
    return next + (items - 1) / per_trigger * opq_timer_period(timer) + opq_adc_ticks(box, -1);
}

static int64_t spi_item_tick(OpqBox *box, int64_t items)
{
    OpqTimer *timer = &box->timer[TIM3];
    int64_t next = opq_timer_next_match(timer, 1);

    if (box->spi2.end != OPQ_NEVER && --items == 0) {
        return box->spi2.end;
    }
    if (next == OPQ_NEVER) {
        next = opq_timer_next_update(timer);
        if (next == OPQ_NEVER) {
            return box->spi2.end;
        }
        next += (int64_t)timer->ccr_now[1] * (timer->psc_now + 1);
    }
    return next + (items - 1) * opq_timer_period(timer) + opq_spi_ticks(box);
}

static int64_t next_interrupt(OpqBox *box)
{
    int64_t next = OPQ_NEVER, any = MIN(box->adc.end, box->spi2.end);
    OpqDmaStream *stream;

    for (int n = 0; n < 4; n++) {
        OpqTimer *timer = &box->timer[n];
        any = MIN(any, timer->next);
        if (timer->dier & 1) {
            next = MIN(next, opq_timer_next_update(timer));
        }
        for (int channel = 0; channel < 4; channel++) {
            if (timer->dier >> (1 + channel) & 1) { /* also TRC, which another timer makes: visit each event */
                bool input = timer->ccmr[channel / 2] >> (channel % 2 * 8) & 3;
                next = MIN(next, input && channel == 1 && (timer->smcr & 0x70) ? box->timer[TIM3].next : timer->next);
            }
        }
    }
    if (box->adc.cr1 & 0xA0) { /* EOCIE, JEOCIE */
        next = MIN(next, any);
    }
    if (box->spi2.cr2 & 0xC0) { /* TXEIE, RXNEIE */
        next = MIN(next, box->spi2.end);
    }
    stream = opq_dma_find(box, 1, 0x11, 0, 0);
    if (stream && opq_dma_to_interrupt(stream) && (box->adc.cr2 & 0x101) == 0x101) {
        next = MIN(next, adc_item_tick(box, opq_dma_to_interrupt(stream)));
    }
    stream = opq_dma_find(box, 0, 0x08, 0, 0);
    if (stream && opq_dma_to_interrupt(stream) && (box->spi2.cr2 & 1)) {
        next = MIN(next, spi_item_tick(box, opq_dma_to_interrupt(stream)));
    }
    return next;
}

/* `changed`: a register was written, so that other events may come. */
void opq_chain_rearm(OpqBox *box, bool changed)
{
    int64_t next;

    if ((planned && !changed) || box->ended) {
        return;
    }
    planned = true;
    next = next_interrupt(box);
    if (next == OPQ_NEVER) {
        timer_del(box->event);
    } else if (!timer_pending(box->event) || timer_expire_time_ns(box->event) != (uint64_t)opq_ns_of_tick(next)) {
        timer_mod(box->event, opq_ns_of_tick(next));
    }
}

static void due(void *opaque)
{
    OpqBox *box = opaque;

    if (box->ended) { /* a clock without any timer would make QEMU complain until it has stopped */
        timer_mod(box->event, opq_now_ns() + 1000000000);
        return;
    }
    opq_sync(box);
    opq_chain_rearm(box, true);
}

void opq_chain_init(OpqBox *box)
{
    box->event = timer_new_ns(QEMU_CLOCK_VIRTUAL, due, box);
}
