/*
 * The flash interface: keys, sectors, errors, the time that things take (RM0090 3.9; durations typical, DS8626
 * table 39).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "flash.h"

#define POLL_NS 1000000

static uint32_t sector_start(int n) { return n < 4 ? n * 0x4000u : n == 4 ? 0x10000u : (n - 4) * 0x20000u; }
static uint32_t sector_size(int n) { return n < 4 ? 0x4000 : n == 4 ? 0x10000 : 0x20000; }

static void irq(OpqBox *box)
{
    OpqFlash *flash = &box->flash_if;

    opq_irq(box, 4, ((flash->cr & EOPIE) && (flash->sr & EOP)) || ((flash->cr & ERRIE) && (flash->sr & 0xF2)));
}

void opq_flash_failed(OpqBox *box, uint32_t flag)
{
    box->flash_if.sr |= flag | (box->flash_if.cr & ERRIE ? 2 : 0);
    box->flash_if.errors++;
    irq(box);
}

void opq_flash_operation_ends(void *opaque)
{
    OpqBox *box = opaque;

    if (!opq_flash_busy(box)) {
        memory_region_rom_device_set_romd(&box->flash, true);
        if (box->flash_if.cr & EOPIE) {
            box->flash_if.sr |= EOP; /* 3.9.6: only with the interrupt on */
        }
        irq(box);
    }
}

static void erase(OpqBox *box)
{
    static const int takes_ms[3][3] = { { 400, 1200, 2000 }, { 300, 700, 1300 }, { 250, 550, 1000 } };
    static const int all_ms[3] = { 16000, 11000, 8000 };
    OpqFlash *flash = &box->flash_if;
    int n = flash->cr >> 3 & 15, by = MIN(flash->cr >> 8 & 3, 2u), ms;
    uint32_t offset, size;
    g_autofree uint8_t *empty = NULL;

    if ((flash->cr & MER) && opq_options_protect(box, -1)) {
        opq_flash_failed(box, WRPERR); /* 3.7.4: no mass erase while a sector is protected */
        return;
    } else if (flash->cr & MER) {
        offset = 0;
        size = OPQ_FLASH_SIZE;
    } else if (!(flash->cr & SER) || (flash->cr & PG) || n > 11) {
        opq_flash_failed(box, PGSERR);
        return;
    } else if (opq_options_protect(box, n)) {
        opq_flash_failed(box, WRPERR);
        return;
    } else {
        offset = sector_start(n);
        size = sector_size(n);
        flash->erased[n]++;
    }
    ms = flash->cr & MER ? all_ms[by] : takes_ms[by][n < 4 ? 0 : n == 4 ? 1 : 2];
    opq_flash_begin(box, offset, size, ms * 1000000LL);
    empty = g_malloc(size);
    memset(empty, 0xFF, size);
    opq_flash_put(offset, empty, size);
    memory_region_rom_device_set_romd(&box->flash, false); /* reads now come to `stalled_read` */
    flash->erases++;
    opq_flash_begun(box);
}

uint32_t opq_flash_read(OpqBox *box, int index, uint32_t offset)
{
    OpqFlash *flash = &box->flash_if;
    uint32_t status;

    switch (offset) {
    case 0x00: return flash->acr;
    case 0x04: case 0x08: return 0;
    case 0x0C:
        status = flash->sr | (opq_flash_busy(box) ? 0x10000 : 0);
        if (status & 0x10000) { /* a wait by polling: in steps that let live runs keep their pace */
            opq_pass_time(box, MIN(flash->busy_until_ns, opq_now_ns() + POLL_NS), true);
        }
        return status;
    case 0x10: return flash->cr | (opq_flash_busy(box) && (flash->cr & (SER | MER)) ? STRT : 0);
    case 0x14: return flash->optcr;
    }
    opq_unknown(box, "FLASH", 0x40023C00, offset, false, 0);
    return 0;
}

/* Two keys in order open a lock; anything else closes it until reset (3.6.1, 3.7.2). */
bool opq_flash_key(int *step, bool *shut, uint32_t value, uint32_t first, uint32_t second)
{
    if (*shut) {
        return false;
    }
    if (*step == 0 && value == first) {
        *step = 1;
        return false;
    }
    *shut = !(*step == 1 && value == second);
    *step = 0;
    return !*shut;
}

void opq_flash_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask)
{
    OpqFlash *flash = &box->flash_if;
    bool was_shut;

    switch (offset) {
    case 0x00: opq_store(&flash->acr, value, mask, 0x1F07); break;
    case 0x04:
        if (!(flash->cr & LOCK)) {
            break;
        }
        was_shut = flash->shut;
        if (opq_flash_key(&flash->key_step, &flash->shut, value, 0x45670123, 0xCDEF89AB)) {
            flash->cr &= ~LOCK;
        } else if (flash->shut && !was_shut) {
            opq_violation(box, "FLASH_KEYR: wrong key, locked until reset");
        }
        break;
    case 0x08:
        opq_options_key(box, value);
        break;
    case 0x0C: flash->sr &= ~(value & mask & 0xF3); break;
    case 0x10:
        if (flash->cr & LOCK) {
            opq_violation(box, "FLASH_CR written while locked");
        } else if (opq_flash_busy(box)) {
            opq_violation(box, "FLASH_CR written while BSY");
        } else {
            opq_store(&flash->cr, value, mask, 0x8300037F);
            flash->key_step = 0;
            if (value & mask & STRT) {
                erase(box);
            }
        }
        break;
    case 0x14:
        opq_options_write(box, value, mask);
        break;
    default: opq_unknown(box, "FLASH", 0x40023C00, offset, true, value); return;
    }
    irq(box);
}

void opq_flash_reset(OpqBox *box, int index)
{
    OpqFlash *flash = &box->flash_if;

    flash->acr = 0;
    flash->sr = 0;
    flash->cr = LOCK;
    flash->optcr = opq_options_loaded(box);
    flash->key_step = flash->optkey_step = 0;
    flash->shut = flash->opt_shut = false;
    irq(box);
}
