/*
 * Flash memory: bits that only go from 1 to 0, reads that wait for an erase, and what a power cut leaves
 * (RM0090 3.6; durations typical, DS8626 table 39).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "flash.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "exec/address-spaces.h"
#include "target/arm/cpu.h"

/* What is being done, for a cut in the middle of it. */
static struct { uint32_t offset, size; uint8_t *before; } under_way;

/* Through QEMU, so that it forgets what it translated from there. */
void opq_flash_put(uint32_t offset, const uint8_t *bytes, uint32_t size)
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
    opq_flash_put(under_way.offset, torn, size);
}

void opq_flash_cut(OpqBox *box)
{
    if (opq_flash_busy(box) && !box->flash_if.in_options && under_way.before) {
        tear(box);
    }
}

void opq_flash_begin(OpqBox *box, uint32_t offset, uint32_t size, int64_t takes_ns)
{
    OpqFlash *flash = &box->flash_if;
    int64_t now = opq_now_ns();

    if (opq_flash_busy(box)) {
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

void opq_flash_begun(OpqBox *box)
{
    if (box->flash_if.operations == opq_world_cut_after(box)) {
        opq_flash_cut(box);
        opq_end(box, "cut");
    }
}

static int sector_of(uint32_t offset)
{
    return offset < 0x10000 ? (int)(offset / 0x4000) : offset < 0x20000 ? 4 : (int)(offset / 0x20000) + 4;
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
        opq_flash_failed(box, PGSERR);
    } else if (size != wanted) {
        opq_flash_failed(box, PGPERR);
    } else if (offset % size) {
        opq_flash_failed(box, PGAERR);
    } else if (opq_options_protect(box, sector_of(offset))) {
        opq_flash_failed(box, WRPERR);
    } else {
        opq_flash_begin(box, offset, size, 16000);
        stn_le_p(bytes, size, value);
        for (unsigned n = 0; n < size; n++) {
            bytes[n] &= box->flash_ram[offset + n];
            if (bytes[n] != (uint8_t)(value >> (8 * n))) {
                flash->refused_bits++; /* a 0 that was to become 1: stays 0, and silicon does not tell */
            }
        }
        opq_flash_put(offset, bytes, size);
        flash->programs++;
        opq_flash_begun(box);
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

    if (opq_flash_busy(box) && !box->ended) {
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
    box->flash_if.timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, opq_flash_operation_ends, box);
}
