/*
 * Between flash memory (flash_memory.c) and its registers (flash.c).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_OPQ_FLASH_H
#define HW_OPQ_FLASH_H

#include "opqbox.h"

enum { EOP = 1, WRPERR = 16, PGAERR = 32, PGPERR = 64, PGSERR = 128 };
enum { PG = 1, SER = 2, MER = 4, STRT = 0x10000, EOPIE = 0x1000000, ERRIE = 0x2000000 };
#define LOCK 0x80000000u
#define BASE 0x08000000

static inline bool opq_flash_busy(OpqBox *box) { return opq_now_ns() < box->flash_if.busy_until_ns; }
void opq_flash_begin(OpqBox *box, uint32_t offset, uint32_t size, int64_t takes_ns);
void opq_flash_begun(OpqBox *box);
void opq_flash_put(uint32_t offset, const uint8_t *bytes, uint32_t size);
void opq_flash_failed(OpqBox *box, uint32_t flag);
void opq_flash_operation_ends(void *opaque);

/* option_bytes.c */
bool opq_options_protect(OpqBox *box, int sector);
uint32_t opq_options_loaded(OpqBox *box);
void opq_options_write(OpqBox *box, uint32_t value, uint32_t mask);
void opq_options_key(OpqBox *box, uint32_t value);
bool opq_flash_key(int *step, bool *shut, uint32_t value, uint32_t first, uint32_t second);

#endif
