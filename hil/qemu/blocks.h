/*
 * What each block of the chip remembers: registers by their names in RM0090, and counters for the report.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_OPQ_BLOCKS_H
#define HW_OPQ_BLOCKS_H

#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "chardev/char-fe.h"

typedef struct {
    uint32_t cr, pllcfgr, cfgr, cir, bdcr, csr, sscgr, plli2scfgr;
    uint32_t rstr[8], enr[8], lpenr[8];
    int64_t hse_on_ns, pll_on_ns, lsi_on_ns, lse_on_ns; /* when it was switched on, OPQ_NEVER: off */
    uint32_t hclk_hz, pclk1_hz, pclk2_hz, timer1_hz;
} OpqRcc;

typedef struct {
    uint32_t moder, otyper, ospeedr, pupdr, odr, lckr, afr[2];
    uint32_t driven, level; /* from outside: which pins, and how */
    uint32_t seen;          /* output levels that the report has */
    uint32_t exti_seen;     /* input levels that EXTI has */
} OpqGpio;

typedef struct {
    uint32_t memrmp, pmc, exticr[4], cmpcr;
    uint32_t imr, emr, rtsr, ftsr, swier, pr;
} OpqExti;

typedef struct {
    uint32_t cr1, cr2, smcr, dier, sr, ccmr[2], ccer, psc, arr, ccr[4], dcr, or;
    uint32_t psc_now, arr_now, ccr_now[4]; /* without what waits for an update */
    uint32_t capture_count[4], max;
    int64_t base;   /* tick at which the counter was `count` with an empty prescaler */
    uint32_t count; /* the counter itself while it stands still */
    int64_t done;   /* every event up to this tick has happened */
    int64_t next;   /* tick of the next one */
    uint8_t watched, flagged; /* output channels whose matches are events; whose matches are only a flag */
    int64_t cleared; /* matches up to here are in SR, or were cleared from it */
    bool ref[4], pin[4]; /* OCxREF; the pin that it drives */
    uint64_t updates, captures[4], overcaptures[4];
} OpqTimer;

typedef struct {
    uint32_t sr, cr1, cr2, smpr[2], jofr[4], htr, ltr, sqr[3], jsqr, jdr[4], dr, ccr;
    int64_t on_tick;
    int64_t end, sampled; /* of the conversion under way, OPQ_NEVER: none */
    bool injecting, regular_waits, dma_ended;
    int rank, channel;
    int32_t regular_resumes; /* rank to start again after an injected group, -1: none */
    uint64_t conversions, injected, missed, overruns, preempted, delayed, ignored;
    uint32_t inputs[19];
} OpqAdc;

typedef struct {
    uint32_t cr, ndtr, reload, par, m0ar, m1ar, fcr;
    uint32_t item; /* how many of the current round are done */
    uint32_t flags;
    uint64_t transfers, unserviced;
} OpqDmaStream;

typedef struct {
    OpqDmaStream stream[8];
} OpqDma;

typedef struct {
    uint32_t cr1, cr2, sr, dr_rx, crcpr, i2scfgr, i2spr;
    int64_t end;            /* of the frame on the wire, OPQ_NEVER: none */
    bool waiting, dr_was_read; /* a word in the transmit buffer; DR, as the first step of clearing OVR */
    bool cnv, short_cnv;       /* level of CNV; whether it fell while the converter was at work */
    int64_t cnv_tick;       /* last rising edge of CNV */
    uint16_t held, out;     /* converter: value of the last conversion, value being clocked out */
    bool held_valid;
    uint64_t frames, conversions, overruns, too_early, unread;
} OpqSpi;

typedef struct {
    CharBackend chr;
    uint32_t sr, dr_rx, brr, cr1, cr2, cr3, gtpr;
    bool tdr_full, shifting, sr_read;
    uint8_t tdr, shift;
    QEMUTimer *tx_timer, *rx_timer, *idle_timer;
    GByteArray *incoming; /* from the character device, not yet on the wire */
    GByteArray *outgoing; /* live: what the character device has not taken */
    guint incoming_at, watch;
    GArray *script;       /* from the world, in order of time; its bytes */
    GByteArray *scripted;
    guint script_at;
    int64_t tx_end_ns, rx_end_ns;
    int64_t rx_free_ns; /* the line is busy until then */
    uint8_t rx_byte;
    bool rx_busy;
    uint32_t noise_tx_ppb, noise_rx_ppb;
    uint64_t noise_tx_state, noise_rx_state;
    uint64_t tx_bytes, rx_bytes, overruns, noised_tx, noised_rx, lost_off;
} OpqUsart;

typedef struct {
    uint32_t acr, sr, cr, optcr;
    int key_step, optkey_step;
    bool shut, opt_shut; /* a wrong key came */
    int64_t busy_until_ns;
    QEMUTimer *timer, *options_timer;
    bool in_options; /* option bytes are being written */
    uint64_t option_writes, programs, erases, operations, errors, refused_bits, stalls, stall_ns;
    uint32_t erased[12];
} OpqFlash;

typedef struct {
    uint32_t pr, rlr, pr_now, rlr_now;
    bool open, running;
    int64_t pr_busy_ns, rlr_busy_ns, started_ns;
    QEMUTimer *timer;
    uint64_t resets, reloads;
} OpqIwdg;

typedef struct {
    uint32_t cr, csr;
    bool low; /* the supply is below the detector's threshold */
} OpqPwr;

typedef struct {
    uint32_t dwt_ctrl, demcr, dbgmcu[4];
    uint64_t cyc_base; /* counter at cyc_ns */
    int64_t cyc_ns;
} OpqCore;

#endif
