/*
 * The independent watchdog on its own 32 kHz (RM0090 21) and PWR with the voltage detector (RM0090 5).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"

#define LSI_HZ 32000
#define UPDATE_NS (5 * 1000000000LL / LSI_HZ) /* 21.4.5: up to five LSI periods */

static int64_t timeout_ns(OpqIwdg *iwdg)
{
    return ((int64_t)iwdg->rlr_now + 1) * (4LL << MIN(iwdg->pr_now, 6u)) * 1000000000 / LSI_HZ;
}

static bool updating(OpqBox *box, int64_t written_ns)
{
    return written_ns != OPQ_NEVER && (box->rcc.lsi_on_ns == OPQ_NEVER || opq_now_ns() - written_ns < UPDATE_NS);
}

static void settle(OpqBox *box)
{
    OpqIwdg *iwdg = &box->iwdg;

    if (iwdg->pr_busy_ns != OPQ_NEVER && !updating(box, iwdg->pr_busy_ns)) {
        iwdg->pr_now = iwdg->pr;
        iwdg->pr_busy_ns = OPQ_NEVER;
    }
    if (iwdg->rlr_busy_ns != OPQ_NEVER && !updating(box, iwdg->rlr_busy_ns)) {
        iwdg->rlr_now = iwdg->rlr;
        iwdg->rlr_busy_ns = OPQ_NEVER;
    }
}

static void reload(OpqBox *box)
{
    settle(box);
    box->iwdg.started_ns = opq_now_ns();
    timer_mod(box->iwdg.timer, box->iwdg.started_ns + timeout_ns(&box->iwdg));
}

static void expired(void *opaque)
{
    OpqBox *box = opaque;

    if (box->iwdg.running && !box->ended) {
        box->iwdg.resets++;
        opq_ask_reset(box, OPQ_RESET_IWDG);
    }
}

uint32_t opq_iwdg_read(OpqBox *box, int index, uint32_t offset)
{
    OpqIwdg *iwdg = &box->iwdg;

    settle(box);
    switch (offset) {
    case 0x00: return 0;
    case 0x04: return iwdg->pr_now;
    case 0x08: return iwdg->rlr_now;
    case 0x0C: return (iwdg->pr_busy_ns != OPQ_NEVER) | (uint32_t)(iwdg->rlr_busy_ns != OPQ_NEVER) << 1;
    }
    opq_unknown(box, "IWDG", 0x40003000, offset, false, 0);
    return 0;
}

void opq_iwdg_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask)
{
    OpqIwdg *iwdg = &box->iwdg;

    settle(box);
    switch (offset) {
    case 0x00:
        iwdg->open = (value & 0xFFFF) == 0x5555;
        if ((value & 0xFFFF) == 0xCCCC && !iwdg->running) {
            iwdg->running = true;
            if (box->rcc.lsi_on_ns == OPQ_NEVER) {
                box->rcc.lsi_on_ns = opq_now_ns(); /* 21.3.1: forced on */
            }
            reload(box);
        } else if ((value & 0xFFFF) == 0xAAAA && iwdg->running) {
            iwdg->reloads++;
            reload(box);
        }
        break;
    case 0x04: case 0x08:
        if (!iwdg->open || (offset == 4 ? iwdg->pr_busy_ns : iwdg->rlr_busy_ns) != OPQ_NEVER) {
            opq_violation(box, "IWDG_PR or IWDG_RLR written while closed or still updating");
        } else if (offset == 4) {
            iwdg->pr = value & 7;
            iwdg->pr_busy_ns = opq_now_ns();
        } else {
            iwdg->rlr = value & 0xFFF;
            iwdg->rlr_busy_ns = opq_now_ns();
        }
        break;
    case 0x0C: break;
    default: opq_unknown(box, "IWDG", 0x40003000, offset, true, value);
    }
}

void opq_iwdg_reset(OpqBox *box, int index)
{
    OpqIwdg *iwdg = &box->iwdg;

    timer_del(iwdg->timer);
    iwdg->pr = iwdg->pr_now = 0;
    iwdg->rlr = iwdg->rlr_now = 0xFFF;
    iwdg->open = iwdg->running = false;
    iwdg->pr_busy_ns = iwdg->rlr_busy_ns = OPQ_NEVER;
}

void opq_iwdg_init(OpqBox *box)
{
    box->iwdg.timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, expired, box);
}

static bool pvdo(OpqPwr *pwr) { return (pwr->cr & 0x10) && pwr->low; }

void opq_pwr_supply(OpqBox *box, bool low)
{
    OpqPwr *pwr = &box->pwr;
    bool before = pvdo(pwr);

    pwr->low = low;
    if (pvdo(pwr) != before) {
        opq_exti_edge(box, 16, pvdo(pwr)); /* 5.2.3: rising when VDD falls below the threshold */
    }
}

uint32_t opq_pwr_read(OpqBox *box, int index, uint32_t offset)
{
    switch (offset) {
    case 0x00: return box->pwr.cr;
    case 0x04: return box->pwr.csr | 0x4000 | (uint32_t)pvdo(&box->pwr) << 2; /* VOSRDY: the scale does not move */
    }
    opq_unknown(box, "PWR", 0x40007000, offset, false, 0);
    return 0;
}

void opq_pwr_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask)
{
    bool before = pvdo(&box->pwr);

    switch (offset) {
    case 0x00: opq_store(&box->pwr.cr, value, mask, 0x43F3); break;
    case 0x04: opq_store(&box->pwr.csr, value, mask, 0x0300); break;
    default: opq_unknown(box, "PWR", 0x40007000, offset, true, value); return;
    }
    if (pvdo(&box->pwr) != before) {
        opq_exti_edge(box, 16, !before);
    }
}

void opq_pwr_reset(OpqBox *box, int index)
{
    box->pwr.cr = 0x4000;
    box->pwr.csr = 0;
}
