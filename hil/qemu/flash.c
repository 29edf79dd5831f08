/*
 * Flash memory and its interface: keys, sectors, rules, the time that it takes, and what a power cut leaves
 * (RM0090 3.6, 3.9; durations typical, DS8626 table 39). Bits only go from 1 to 0 by programming.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "exec/address-spaces.h"
#include "target/arm/cpu.h"

enum { EOP = 1, WRPERR = 16, PGAERR = 32, PGPERR = 64, PGSERR = 128 };
enum { PG = 1, SER = 2, MER = 4, STRT = 0x10000, EOPIE = 0x1000000, ERRIE = 0x2000000 };
#define LOCK 0x80000000u
#define BASE 0x08000000
#define POLL_NS 20000

/* What is being done, for a cut in the middle of it. */
static struct { uint32_t offset, size; uint8_t *before; } under_way;

static uint32_t sector_start(int n) { return n < 4 ? n * 0x4000u : n == 4 ? 0x10000u : (n - 4) * 0x20000u; }
static uint32_t sector_size(int n) { return n < 4 ? 0x4000 : n == 4 ? 0x10000 : 0x20000; }
static int sector_of(uint32_t offset)
{
    return offset < 0x10000 ? (int)(offset / 0x4000) : offset < 0x20000 ? 4 : (int)(offset / 0x20000) + 4;
}

static bool busy(OpqBox *box) { return opq_now_ns() < box->flash_if.busy_until_ns; }

static void irq(OpqBox *box)
{
    OpqFlash *flash = &box->flash_if;

    opq_irq(box, 4, ((flash->cr & EOPIE) && (flash->sr & EOP)) || ((flash->cr & ERRIE) && (flash->sr & 0xF2)));
}

static void failed(OpqBox *box, uint32_t flag)
{
    box->flash_if.sr |= flag | (box->flash_if.cr & ERRIE ? 2 : 0);
    box->flash_if.errors++;
    irq(box);
}

/* Through QEMU, so that it forgets what it translated from there. */
static void put(uint32_t offset, const uint8_t *bytes, uint32_t size)
{
    address_space_write_rom(&address_space_memory, BASE + offset, MEMTXATTRS_UNSPECIFIED, bytes, size);
}

/*
 * Power goes in the middle: a program has cleared some of its bits, an erase has left a mixture of what was
 * there, of what is to be, of zeros (the erase begins by programming all) and of bits that cannot decide.
 */
static void tear(OpqBox *box)
{
    uint64_t state = opq_world_seed(box, 0xF1A5 + box->flash_if.operations);
    uint32_t size = under_way.size, how = opq_random(&state) % 4, reached = opq_random(&state) % (size / 4 + 1) * 4;
    g_autofree uint8_t *torn = g_memdup2(under_way.before, size);
    const uint8_t *wanted = box->flash_ram + under_way.offset;

    for (uint32_t at = 0; at < size; at++) {
        uint8_t undecided = opq_random(&state);
        if (size <= 8) { /* a program: some of the bits have gone */
            torn[at] = wanted[at] | (under_way.before[at] & undecided);
        } else if (how == 0) {
            torn[at] = under_way.before[at] | undecided;
        } else if (how == 1) {
            torn[at] = at < reached ? 0xFF : under_way.before[at];
        } else if (how == 2) {
            torn[at] = at < reached ? 0x00 : under_way.before[at];
        } else {
            torn[at] = at < reached ? 0xFF : undecided;
        }
    }
    memory_region_rom_device_set_romd(&box->flash, true); /* else it takes no bytes */
    put(under_way.offset, torn, size);
}

void opq_flash_cut(OpqBox *box)
{
    if (busy(box) && under_way.before) {
        tear(box);
    }
}

static void begin(OpqBox *box, uint32_t offset, uint32_t size, int64_t takes_ns)
{
    OpqFlash *flash = &box->flash_if;
    int64_t now = opq_now_ns();

    if (busy(box)) {
        opq_violation(box, "FLASH operation started while BSY");
    }
    g_free(under_way.before);
    under_way.offset = offset;
    under_way.size = size;
    under_way.before = g_memdup2(box->flash_ram + offset, size);
    flash->busy_until_ns = MAX(now, flash->busy_until_ns) + takes_ns;
    flash->operations++;
    timer_mod(flash->timer, flash->busy_until_ns);
}

static void begun(OpqBox *box)
{
    if (box->flash_if.operations == opq_world_cut_after(box)) {
        opq_flash_cut(box);
        opq_end(box, "cut");
    }
}

static void operation_ends(void *opaque)
{
    OpqBox *box = opaque;

    if (!busy(box)) {
        memory_region_rom_device_set_romd(&box->flash, true);
        if (box->flash_if.cr & EOPIE) {
            box->flash_if.sr |= EOP; /* 3.9.6: only with the interrupt on */
        }
        irq(box);
    }
}

/* A store to flash memory: programming, if everything is right. */
static void program(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    OpqBox *box = opaque;
    OpqFlash *flash = &box->flash_if;
    uint8_t bytes[8];
    unsigned wanted = 1u << (flash->cr >> 8 & 3);

    if (box->ended || opq_now_ns() == 0) { /* at 0: -kernel clears what an ELF file leaves out */
        return;
    }
    opq_sync(box);
    if ((flash->cr & LOCK) || !(flash->cr & PG) || (flash->cr & (SER | MER))) {
        failed(box, PGSERR);
    } else if (size != wanted) {
        failed(box, PGPERR);
    } else if (offset % size) {
        failed(box, PGAERR);
    } else if (!(flash->optcr >> (16 + sector_of(offset)) & 1)) {
        failed(box, WRPERR);
    } else {
        begin(box, offset, size, 16000);
        stn_le_p(bytes, size, value);
        for (unsigned n = 0; n < size; n++) {
            bytes[n] &= box->flash_ram[offset + n];
            if (bytes[n] != (uint8_t)(value >> (8 * n))) {
                flash->refused_bits++; /* a 0 that was to become 1: stays 0, and silicon does not tell */
            }
        }
        put(offset, bytes, size);
        flash->programs++;
        begun(box);
    }
}

/*
 * A read or fetch from flash in the middle of an erase: the bus waits for its end (3.6.2), and the core with it.
 * Time goes on in one step for everything else. A vector is let through: QEMU is in the middle of an exception.
 */
static uint64_t stalled_read(void *opaque, hwaddr offset, unsigned size)
{
    OpqBox *box = opaque;
    uint32_t vectors = box->armv7m.cpu->env.v7m.vecbase[M_REG_NS] & (OPQ_FLASH_SIZE - 1);
    int64_t began = opq_now_ns();

    if (busy(box) && !box->ended) {
        if (offset - vectors < (16 + ARRAY_SIZE(box->irq)) * 4) {
            opq_violation(box, "a vector is fetched from flash during an erase: the interrupt would wait");
        } else {
            opq_pass_time(box, box->flash_if.busy_until_ns, false);
            box->flash_if.stalls++;
            box->flash_if.stall_ns += opq_now_ns() - began;
        }
    }
    return ldn_le_p(box->flash_ram + offset, size);
}

static const MemoryRegionOps flash_ops = {
    .read = stalled_read,
    .write = program,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid.min_access_size = 1,
    .valid.max_access_size = 4, /* PSIZE 64 needs VPP */
};

static void erase(OpqBox *box)
{
    static const int takes_ms[3][3] = { { 400, 1200, 2000 }, { 300, 700, 1300 }, { 250, 550, 1000 } };
    static const int all_ms[3] = { 16000, 11000, 8000 };
    OpqFlash *flash = &box->flash_if;
    int n = flash->cr >> 3 & 15, by = MIN(flash->cr >> 8 & 3, 2u);
    uint32_t offset, size;
    g_autofree uint8_t *empty = NULL;

    if (flash->cr & MER) {
        offset = 0;
        size = OPQ_FLASH_SIZE;
    } else if (!(flash->cr & SER) || (flash->cr & PG) || n > 11) {
        failed(box, PGSERR);
        return;
    } else if (!(flash->optcr >> (16 + n) & 1)) {
        failed(box, WRPERR);
        return;
    } else {
        offset = sector_start(n);
        size = sector_size(n);
        flash->erased[n]++;
    }
    begin(box, offset, size, 1000000LL * (flash->cr & MER ? all_ms[by] : takes_ms[by][n < 4 ? 0 : n == 4 ? 1 : 2]));
    empty = g_malloc(size);
    memset(empty, 0xFF, size);
    put(offset, empty, size);
    memory_region_rom_device_set_romd(&box->flash, false); /* reads now come to `stalled_read` */
    flash->erases++;
    begun(box);
}

uint32_t opq_flash_read(OpqBox *box, int index, uint32_t offset)
{
    OpqFlash *flash = &box->flash_if;
    uint32_t status;

    switch (offset) {
    case 0x00: return flash->acr;
    case 0x04: case 0x08: return 0;
    case 0x0C:
        status = flash->sr | (busy(box) ? 0x10000 : 0);
        if (status & 0x10000) { /* whoever polls an erase does so 20 million times a second */
            opq_pass_time(box, MIN(flash->busy_until_ns, opq_now_ns() + POLL_NS), true);
        }
        return status;
    case 0x10: return flash->cr | (busy(box) && (flash->cr & (SER | MER)) ? STRT : 0);
    case 0x14: return flash->optcr;
    }
    opq_unknown(box, "FLASH", 0x40023C00, offset, false, 0);
    return 0;
}

/* Two keys in order open a lock; anything else closes it until reset (3.6.1, 3.7.2). */
static bool key(int *step, bool *shut, uint32_t value, uint32_t first, uint32_t second)
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
        if (key(&flash->key_step, &flash->shut, value, 0x45670123, 0xCDEF89AB)) {
            flash->cr &= ~LOCK;
        } else if (flash->shut && !was_shut) {
            opq_violation(box, "FLASH_KEYR: wrong key, locked until reset");
        }
        break;
    case 0x08:
        if ((flash->optcr & 1) && key(&flash->optkey_step, &flash->opt_shut, value, 0x08192A3B, 0x4C5D6E7F)) {
            flash->optcr &= ~1u;
        }
        break;
    case 0x0C: flash->sr &= ~(value & mask & 0xF3); break;
    case 0x10:
        if (flash->cr & LOCK) {
            opq_violation(box, "FLASH_CR written while locked");
        } else if (busy(box)) {
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
        if (!(flash->optcr & 1)) {
            opq_store(&flash->optcr, value, mask, 0x0FFFFFED);
            if (value & mask & 2) { /* OPTSTRT: one option-byte sector is written */
                flash->busy_until_ns = opq_now_ns() + 16000 * 4;
            }
        }
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
    flash->optcr |= 1;
    flash->key_step = flash->optkey_step = 0;
    flash->shut = flash->opt_shut = false;
    irq(box);
}

void opq_flash_save(OpqBox *box)
{
    g_autoptr(GError) error = NULL;

    if (box->flash_file && !g_file_set_contents(box->flash_file, (char *)box->flash_ram, OPQ_FLASH_SIZE, &error)) {
        error_report("flash: %s", error->message);
    }
}

void opq_flash_init(OpqBox *box)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *bytes = NULL;
    gsize size;

    memory_region_init_rom_device(&box->flash, NULL, &flash_ops, box, "opqbox.flash", OPQ_FLASH_SIZE, &error_fatal);
    memory_region_init_alias(&box->flash_alias, NULL, "opqbox.flash.alias", &box->flash, 0, OPQ_FLASH_SIZE);
    memory_region_add_subregion(get_system_memory(), BASE, &box->flash);
    memory_region_add_subregion(get_system_memory(), 0, &box->flash_alias); /* BOOT0 low */
    box->flash_ram = memory_region_get_ram_ptr(&box->flash);
    memset(box->flash_ram, 0xFF, OPQ_FLASH_SIZE);
    if (box->flash_file) {
        if (!g_file_get_contents(box->flash_file, &bytes, &size, &error) || size > OPQ_FLASH_SIZE) {
            error_report("flash: %s", error ? error->message : "the file is larger than 1 MB");
            exit(1);
        }
        memcpy(box->flash_ram, bytes, size);
    }
    box->flash_if.optcr = 0x0FFFAAED; /* 3.9.10 */
    box->flash_if.timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, operation_ends, box);
}
