/*
 * USART1 and USART2 (RM0090 30): 8N1 at the baud rate in BRR, both ways in time. Bytes into the Box come from
 * the world file at their times or from the character device (live), never faster than the line.
 *
 * Not here: parity, 9 bits, break, mute, hardware flow, DMA; named in the report when asked for.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"
#include "qapi/error.h"
#include "system/system.h"

enum { PE = 1, FE = 2, NF = 4, ORE = 8, IDLE = 16, RXNE = 32, TC = 64, TXE = 128 };
enum { RE = 4, TE = 8, UE = 0x2000 };
#define INCOMING_LIMIT 4096 /* of a live line: beyond it the sender waits */

typedef struct { int64_t t_ns; guint at, size; } ScriptedPiece; /* a line of the world: a piece of `scripted` */

static const uint8_t irq_of[] = { 37, 38 };

static void irq(OpqBox *box, int index)
{
    OpqUsart *usart = &box->usart[index];
    uint32_t wanted = (usart->cr1 & 0x10 ? IDLE : 0) | (usart->cr1 & 0x20 ? RXNE | ORE : 0) |
                      (usart->cr1 & 0x40 ? TC : 0) | (usart->cr1 & 0x80 ? TXE : 0);

    opq_irq(box, irq_of[index], (usart->cr1 & UE) && (usart->sr & wanted) != 0);
}

/* Ten bits; with OVER8 = 0 BRR is the divider of the clock itself, with 1 its fraction has three bits. */
static int64_t byte_ns(OpqBox *box, int index)
{
    OpqUsart *usart = &box->usart[index];
    uint32_t pclk_hz = index == 0 ? box->rcc.pclk2_hz : box->rcc.pclk1_hz;
    uint32_t divider = usart->cr1 & 0x8000 ? (usart->brr >> 4) * 8 + (usart->brr & 7) : usart->brr;

    return divider ? (int64_t)divider * 10 * 1000000000 / pclk_hz : 0;
}

static void tx_begin(OpqBox *box, int index, int64_t t_ns)
{
    OpqUsart *usart = &box->usart[index];

    usart->shift = usart->tdr;
    usart->tdr_full = false;
    usart->shifting = true;
    usart->sr = (usart->sr | TXE) & ~(uint32_t)TC;
    usart->tx_end_ns = t_ns + byte_ns(box, index);
    timer_mod(usart->tx_timer, usart->tx_end_ns);
}

static void tx_done(OpqBox *box, int index)
{
    OpqUsart *usart = &box->usart[index];

    if (box->ended || !usart->shifting) {
        return;
    }
    opq_line_leaves(box, index, usart->shift, usart->tx_end_ns);
    usart->shifting = false;
    if (usart->tdr_full && (usart->cr1 & TE)) {
        tx_begin(box, index, usart->tx_end_ns);
    } else {
        usart->sr |= TC;
    }
    irq(box, index);
}
static void tx_done_1(void *box) { tx_done(box, 0); }
static void tx_done_2(void *box) { tx_done(box, 1); }

/* What is next on the wire into the Box; the rate counts that BRR has when its start bit begins. */
static void rx_plan(OpqBox *box, int index)
{
    OpqUsart *usart = &box->usart[index];
    int64_t now = opq_now_ns(), begin;

    if (usart->rx_busy) {
        return;
    }
    if (usart->incoming_at < usart->incoming->len) {
        usart->rx_byte = usart->incoming->data[usart->incoming_at++];
        begin = MAX(now, usart->rx_free_ns);
        if (usart->incoming_at == usart->incoming->len) {
            g_byte_array_set_size(usart->incoming, 0);
            usart->incoming_at = 0;
        }
        qemu_chr_fe_accept_input(&usart->chr);
    } else if (usart->script_at < usart->script->len) {
        ScriptedPiece *next = &g_array_index(usart->script, ScriptedPiece, usart->script_at);
        if (next->t_ns > now) {
            timer_mod(usart->rx_timer, next->t_ns);
            return;
        }
        usart->rx_byte = usart->scripted->data[next->at++];
        usart->script_at += --next->size == 0;
        begin = MAX(next->t_ns, usart->rx_free_ns);
    } else {
        return;
    }
    usart->rx_busy = true;
    usart->rx_end_ns = begin + (byte_ns(box, index) ? byte_ns(box, index) : 1000000);
    timer_mod(usart->rx_timer, usart->rx_end_ns);
}

static void rx_done(OpqBox *box, int index)
{
    OpqUsart *usart = &box->usart[index];
    uint8_t byte = usart->rx_byte;

    if (box->ended) {
        return;
    }
    if (!usart->rx_busy) { /* the next scripted byte is due */
        rx_plan(box, index);
        return;
    }
    usart->rx_busy = false;
    usart->rx_free_ns = usart->rx_end_ns;
    usart->rx_bytes++;
    usart->noised_rx += opq_line_noised(usart->noise_rx_ppb, &usart->noise_rx_state, &byte);
    if ((usart->cr1 & (UE | RE)) == (UE | RE) && byte_ns(box, index)) {
        if (usart->sr & RXNE) {
            usart->overruns++;
            usart->sr |= ORE; /* 30.3.3: DR keeps the old byte, the new one is lost */
        } else {
            usart->dr_rx = byte;
            usart->sr |= RXNE;
        }
        timer_mod(usart->idle_timer, usart->rx_end_ns + byte_ns(box, index));
        irq(box, index);
    } else {
        usart->lost_off++;
    }
    rx_plan(box, index);
}
static void rx_done_1(void *box) { rx_done(box, 0); }
static void rx_done_2(void *box) { rx_done(box, 1); }

static void line_idle(OpqBox *box, int index)
{
    if (!box->usart[index].rx_busy) { /* no start bit since */
        box->usart[index].sr |= IDLE;
        irq(box, index);
    }
}
static void idle_1(void *box) { line_idle(box, 0); }
static void idle_2(void *box) { line_idle(box, 1); }

static int can_receive(OpqUsart *usart) { return INCOMING_LIMIT - (int)(usart->incoming->len - usart->incoming_at); }
static int can_receive_1(void *box) { return can_receive(&((OpqBox *)box)->usart[0]); }
static int can_receive_2(void *box) { return can_receive(&((OpqBox *)box)->usart[1]); }

static void receive(OpqBox *box, int index, const uint8_t *bytes, int size)
{
    g_byte_array_append(box->usart[index].incoming, bytes, size);
    rx_plan(box, index);
}
static void receive_1(void *box, const uint8_t *bytes, int size) { receive(box, 0, bytes, size); }
static void receive_2(void *box, const uint8_t *bytes, int size) { receive(box, 1, bytes, size); }

uint32_t opq_usart_read(OpqBox *box, int index, uint32_t offset)
{
    OpqUsart *usart = &box->usart[index];
    uint32_t value;

    switch (offset) {
    case 0x00:
        usart->sr_read = true;
        return usart->sr;
    case 0x04:
        value = usart->dr_rx;
        usart->sr &= ~(uint32_t)RXNE;
        if (usart->sr_read) { /* 30.6.1: SR, then DR */
            usart->sr &= ~(uint32_t)(PE | FE | NF | ORE | IDLE);
            usart->sr_read = false;
        }
        irq(box, index);
        return value;
    case 0x08: return usart->brr;
    case 0x0C: return usart->cr1;
    case 0x10: return usart->cr2;
    case 0x14: return usart->cr3;
    case 0x18: return usart->gtpr;
    }
    opq_unknown(box, index ? "USART2" : "USART1", index ? 0x40004400 : 0x40011000, offset, false, 0);
    return 0;
}

void opq_usart_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask)
{
    OpqUsart *usart = &box->usart[index];

    switch (offset) {
    case 0x00: usart->sr &= value | ~mask | ~(uint32_t)(TC | RXNE); break; /* rc_w0 */
    case 0x04:
        if ((usart->cr1 & (UE | TE)) != (UE | TE)) {
            opq_violation(box, "USART_DR written while the transmitter is off");
            break;
        }
        usart->tdr = value;
        if (usart->tdr_full) {
            opq_violation(box, "USART_DR written while TXE is 0: a byte is lost");
        }
        usart->tdr_full = true;
        usart->sr &= ~(uint32_t)(TXE | (usart->sr_read ? TC : 0));
        if (!usart->shifting && byte_ns(box, index)) {
            tx_begin(box, index, opq_now_ns());
        }
        break;
    case 0x08: opq_store(&usart->brr, value, mask, 0xFFFF); break;
    case 0x0C: opq_store(&usart->cr1, value, mask, 0xBFFF); break;
    case 0x10: opq_store(&usart->cr2, value, mask, 0x7F6F); break;
    case 0x14: opq_store(&usart->cr3, value, mask, 0x0FFF); break;
    case 0x18: opq_store(&usart->gtpr, value, mask, 0xFFFF); break;
    default:
        opq_unknown(box, index ? "USART2" : "USART1", index ? 0x40004400 : 0x40011000, offset, true, value);
        return;
    }
    if ((usart->cr1 & 0x1C01) || (usart->cr2 & 0x3000) || (usart->cr3 & 0x03FE)) {
        opq_violation(box, "USART: only 8N1 without DMA and flow control is modelled");
    }
    irq(box, index);
}

void opq_usart_reset(OpqBox *box, int index)
{
    OpqUsart *usart = &box->usart[index];

    timer_del(usart->tx_timer);
    timer_del(usart->idle_timer);
    usart->sr = TXE | TC;
    usart->dr_rx = usart->brr = usart->cr1 = usart->cr2 = usart->cr3 = usart->gtpr = 0;
    usart->tdr_full = usart->shifting = usart->sr_read = false;
    irq(box, index);
}

void opq_usart_script(OpqBox *box, int index, int64_t t_ns, const uint8_t *bytes, size_t size)
{
    OpqUsart *usart = &box->usart[index];
    ScriptedPiece piece = { t_ns, usart->scripted->len, size };

    if (size) {
        g_byte_array_append(usart->scripted, bytes, size);
        g_array_append_val(usart->script, piece);
    }
}

static gint by_time(gconstpointer a, gconstpointer b)
{
    const ScriptedPiece *first = a, *second = b;

    return first->t_ns < second->t_ns ? -1 : first->t_ns > second->t_ns;
}

void opq_usart_script_done(OpqBox *box)
{
    for (int index = 0; index < 2; index++) {
        g_array_sort(box->usart[index].script, by_time); /* g_array_sort is a merge sort: equal times keep order */
        rx_plan(box, index);
    }
}

void opq_usart_init(OpqBox *box)
{
    static QEMUTimerCB *const tx[] = { tx_done_1, tx_done_2 }, *const rx[] = { rx_done_1, rx_done_2 };
    static QEMUTimerCB *const idle[] = { idle_1, idle_2 };

    for (int index = 0; index < 2; index++) {
        OpqUsart *usart = &box->usart[index];
        usart->incoming = g_byte_array_new();
        usart->outgoing = g_byte_array_new();
        usart->script = g_array_new(false, false, sizeof(ScriptedPiece));
        usart->scripted = g_byte_array_new();
        usart->tx_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, tx[index], box);
        usart->rx_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, rx[index], box);
        usart->idle_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, idle[index], box);
        if (serial_hd(index)) {
            qemu_chr_fe_init(&usart->chr, serial_hd(index), &error_fatal);
            qemu_chr_fe_set_handlers(&usart->chr, index ? can_receive_2 : can_receive_1, index ? receive_2 : receive_1,
                                     NULL, NULL, box, NULL, true);
        }
    }
    opq_line_log(box->uart1_log);
}
