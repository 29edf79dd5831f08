/*
 * Option bytes (RM0090 3.6, 3.9.10): OPTCR is a copy of them. What is stored there acts only after OPTSTRT has erased
 * and programmed their sector; until then, and after a reset without it, the old ones count. They outlive the run in
 * a file of 16 bytes, as they lie at 0x1FFFC000.
 *
 * Not here: the brown-out level's effect (the supply has no volts), read protection. RM0090 does not say what a power
 * cut in the middle leaves: the old ones stay here, and the report names it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "flash.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "exec/address-spaces.h"

#define OPTIONS 0x1FFFC000
#define SIZE 0x10
#define FACTORY 0x0FFFAAECu /* 3.9.10: BOR off, RDP level 0, no sector protected */
#define KEPT 0x0FFFFFECu
enum { OPTLOCK = 1, OPTSTRT = 2 };
#define TAKES_NS (250000000LL + 4 * 16000) /* a sector of 16 KB erased and four words, DS8626 table 46, x32 */

static uint32_t options(OpqBox *box)
{
    return (lduw_le_p(box->option_ram) | (uint32_t)lduw_le_p(box->option_ram + 8) << 16) & KEPT;
}

static void put(OpqBox *box, uint32_t value)
{
    stw_le_p(box->option_ram, (value & 0xFFEC) | 3); /* table 13: bits 1:0 are not used */
    stw_le_p(box->option_ram + 8, value >> 16);
}

/* Of sector -1: of any. */
bool opq_options_protect(OpqBox *box, int sector)
{
    uint32_t open = options(box) >> 16;

    return sector < 0 ? open != 0xFFF : !(open >> sector & 1);
}

/* OPTCR after a reset. */
uint32_t opq_options_loaded(OpqBox *box) { return options(box) | OPTLOCK; }

void opq_options_key(OpqBox *box, uint32_t value)
{
    OpqFlash *flash = &box->flash_if;
    bool was_shut = flash->opt_shut;

    if (!(flash->optcr & OPTLOCK)) {
        return;
    }
    if (opq_flash_key(&flash->optkey_step, &flash->opt_shut, value, 0x08192A3B, 0x4C5D6E7F)) {
        flash->optcr &= ~(uint32_t)OPTLOCK;
    } else if (flash->opt_shut && !was_shut) {
        opq_violation(box, "FLASH_OPTKEYR: wrong key, locked until reset");
    }
}

static void ends(void *opaque)
{
    OpqBox *box = opaque;

    if (!box->ended) {
        put(box, box->flash_if.optcr);
        box->flash_if.optcr &= ~(uint32_t)OPTSTRT;
        box->flash_if.in_options = false;
        opq_flash_operation_ends(box);
    }
}

void opq_options_write(OpqBox *box, uint32_t value, uint32_t mask)
{
    OpqFlash *flash = &box->flash_if;
    int64_t now = opq_now_ns();

    if (flash->optcr & OPTLOCK) {
        opq_violation(box, "FLASH_OPTCR written while locked");
    } else if (opq_flash_busy(box)) {
        opq_violation(box, "FLASH_OPTCR written while BSY");
    } else {
        opq_store(&flash->optcr, value, mask, KEPT | OPTLOCK | OPTSTRT);
        if ((flash->optcr >> 8 & 0xFF) != 0xAA) {
            opq_violation(box, "FLASH_OPTCR: read protection is not modelled");
            opq_store(&flash->optcr, 0xAA00, 0xFF00, 0xFF00);
        }
        flash->optkey_step = 0;
        if (flash->optcr & OPTSTRT) {
            flash->in_options = true;
            flash->option_writes++;
            flash->busy_until_ns = now + TAKES_NS;
            timer_mod(flash->options_timer, flash->busy_until_ns);
            memory_region_rom_device_set_romd(&box->flash, false); /* one bank: reads wait */
        }
    }
}

void opq_options_save(OpqBox *box)
{
    g_autoptr(GError) error = NULL;

    if (box->flash_if.in_options) {
        opq_violation(box, "the run ends while option bytes are written: the old ones are kept");
    }
    if (box->options_file && !g_file_set_contents(box->options_file, (char *)box->option_ram, SIZE, &error)) {
        error_report("options: %s", error->message);
    }
}

void opq_options_init(OpqBox *box)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *bytes = NULL;
    gsize size;

    memory_region_init_rom(&box->option_bytes, NULL, "opqbox.options", 0x400, &error_fatal);
    memory_region_add_subregion(get_system_memory(), OPTIONS, &box->option_bytes);
    box->option_ram = memory_region_get_ram_ptr(&box->option_bytes);
    memset(box->option_ram, 0xFF, 0x400);
    put(box, FACTORY);
    if (box->options_file && g_file_test(box->options_file, G_FILE_TEST_EXISTS)) {
        if (!g_file_get_contents(box->options_file, &bytes, &size, &error) || size != SIZE) {
            error_report("options: %s", error ? error->message : "the file has not 16 bytes");
            exit(1);
        }
        memcpy(box->option_ram, bytes, SIZE);
    }
    box->flash_if.options_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, ends, box);
}
