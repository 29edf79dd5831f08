/*
 * Who answers at which address. A block whose clock RCC does not give reads 0 and takes no writes, as on
 * silicon, and the report says so; what nobody answers is kept for the report as well.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"
#include "exec/address-spaces.h"
#include "qapi/error.h"

#define GPIO(letter, n)                                                                              \
    { .name = "GPIO" letter, .base = 0x40020000 + 0x400 * (n), .size = 0x400, .enable = OPQ_AHB1(n), \
      .index = (n), .read = opq_gpio_read, .write = opq_gpio_write, .reset = opq_gpio_reset }
#define TIM(n)                                                                                        \
    { .name = "TIM" #n, .base = 0x40000000 + 0x400 * ((n) - 2), .size = 0x400, .enable = OPQ_APB1((n) - 2), \
      .index = (n) - 2, .read = opq_timer_read, .write = opq_timer_write, .reset = opq_timer_reset }

/* RM0090 2.3, table 1 "register boundary addresses"; clock enables 7.3.10 .. 7.3.14 */
static OpqBlock blocks[] = {
    TIM(2), TIM(3), TIM(4), TIM(5),
    { .name = "IWDG", .base = 0x40003000, .size = 0x400,
      .read = opq_iwdg_read, .write = opq_iwdg_write, .reset = opq_iwdg_reset },
    { .name = "SPI2", .base = 0x40003800, .size = 0x400, .enable = OPQ_APB1(14),
      .read = opq_spi_read, .write = opq_spi_write, .reset = opq_spi_reset },
    { .name = "USART2", .base = 0x40004400, .size = 0x400, .enable = OPQ_APB1(17), .index = 1,
      .read = opq_usart_read, .write = opq_usart_write, .reset = opq_usart_reset },
    { .name = "PWR", .base = 0x40007000, .size = 0x400, .enable = OPQ_APB1(28),
      .read = opq_pwr_read, .write = opq_pwr_write, .reset = opq_pwr_reset },
    { .name = "USART1", .base = 0x40011000, .size = 0x400, .enable = OPQ_APB2(4),
      .read = opq_usart_read, .write = opq_usart_write, .reset = opq_usart_reset },
    { .name = "ADC1", .base = 0x40012000, .size = 0x400, .enable = OPQ_APB2(8),
      .read = opq_adc_read, .write = opq_adc_write, .reset = opq_adc_reset },
    { .name = "SYSCFG", .base = 0x40013800, .size = 0x400, .enable = OPQ_APB2(14),
      .read = opq_syscfg_read, .write = opq_syscfg_write },
    { .name = "EXTI", .base = 0x40013C00, .size = 0x400,
      .read = opq_exti_read, .write = opq_exti_write, .reset = opq_exti_reset },
    GPIO("A", 0), GPIO("B", 1), GPIO("C", 2), GPIO("D", 3), GPIO("E", 4), GPIO("H", 7),
    { .name = "RCC", .base = 0x40023800, .size = 0x400,
      .read = opq_rcc_read, .write = opq_rcc_write, .reset = opq_rcc_reset },
    { .name = "FLASH", .base = 0x40023C00, .size = 0x400,
      .read = opq_flash_read, .write = opq_flash_write, .reset = opq_flash_reset },
    { .name = "DMA1", .base = 0x40026000, .size = 0x400, .enable = OPQ_AHB1(21), .index = 0,
      .read = opq_dma_read, .write = opq_dma_write, .reset = opq_dma_reset },
    { .name = "DMA2", .base = 0x40026400, .size = 0x400, .enable = OPQ_AHB1(22), .index = 1,
      .read = opq_dma_read, .write = opq_dma_write, .reset = opq_dma_reset },
    { .name = "DWT", .base = 0xE0001000, .size = 0x100,
      .read = opq_dwt_read, .write = opq_dwt_write, .reset = opq_core_reset },
    { .name = "CoreDebug", .base = 0xE000EDF0, .size = 0x10, .read = opq_debug_read, .write = opq_debug_write },
    { .name = "DBGMCU", .base = 0xE0042000, .size = 0x100, .read = opq_dbgmcu_read, .write = opq_dbgmcu_write },
};

void opq_unknown(OpqBox *box, const char *block, uint32_t base, uint32_t offset, bool write, uint32_t value)
{
    opq_report_unmodelled(box, block, base + offset, write, value);
}

static bool sleeping(OpqBlock *block)
{
    if (block->enable && !opq_rcc_enabled(block->box, block->enable)) {
        g_autofree char *what = g_strdup_printf("%s touched while RCC does not clock it", block->name);
        opq_violation(block->box, what);
        return true;
    }
    return false;
}

static uint64_t block_read(void *opaque, hwaddr offset, unsigned size)
{
    OpqBlock *block = opaque;
    unsigned lane = (offset & 3) * 8;
    uint32_t value;

    if (sleeping(block)) {
        return 0;
    }
    opq_sync(block->box);
    value = block->read(block->box, block->index, offset & ~3u);
    opq_chain_rearm(block->box, false);
    return (value >> lane) & MAKE_64BIT_MASK(0, size * 8);
}

static void block_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    OpqBlock *block = opaque;
    unsigned lane = (offset & 3) * 8;
    uint32_t mask = (uint32_t)MAKE_64BIT_MASK(0, size * 8) << lane;

    if (block->box->ended || sleeping(block)) {
        return;
    }
    opq_sync(block->box);
    block->write(block->box, block->index, offset & ~3u, ((uint32_t)value << lane) & mask, mask);
    opq_chain_rearm(block->box, true);
}

static const MemoryRegionOps block_ops = {
    .read = block_read,
    .write = block_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid.min_access_size = 1,
    .valid.max_access_size = 4,
    .impl.min_access_size = 1,
    .impl.max_access_size = 4,
};

/* Peripheral space that no model answers: the report gets address, count and last value. */
static const struct { uint32_t base, size; } empty[] = {
    { 0x40000000, 0x00080000 }, /* APB1, APB2, AHB1 */
    { 0x50000000, 0x00061000 }, /* AHB2 */
    { 0xA0000000, 0x00001000 }, /* FSMC */
    { 0xE0000000, 0x00001000 }, /* ITM */
    { 0xE0002000, 0x00001000 }, /* FPB */
    { 0xE0040000, 0x00002000 }, /* TPIU, ETM */
};
typedef struct { OpqBox *box; uint32_t base; } Empty;

static uint64_t empty_read(void *opaque, hwaddr offset, unsigned size)
{
    Empty *space = opaque;

    opq_unknown(space->box, NULL, space->base, offset, false, 0);
    return 0;
}

static void empty_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Empty *space = opaque;

    opq_unknown(space->box, NULL, space->base, offset, true, value);
}

static const MemoryRegionOps empty_ops = {
    .read = empty_read,
    .write = empty_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid.min_access_size = 1,
    .valid.max_access_size = 4,
};

void opq_bus_init(OpqBox *box)
{
    for (unsigned n = 0; n < ARRAY_SIZE(empty); n++) {
        Empty *space = g_new(Empty, 1);
        *space = (Empty){ box, empty[n].base };
        memory_region_init_io(&box->unmodelled[n], OBJECT(box), &empty_ops, space, "opqbox.unmodelled",
                              empty[n].size);
        if (empty[n].base >= 0xE0000000) {
            memory_region_add_subregion_overlap(&box->armv7m.container, empty[n].base, &box->unmodelled[n], 0);
        } else {
            memory_region_add_subregion_overlap(get_system_memory(), empty[n].base, &box->unmodelled[n], -1);
        }
    }
    for (unsigned n = 0; n < ARRAY_SIZE(blocks); n++) {
        OpqBlock *block = &blocks[n];
        block->box = box;
        memory_region_init_io(&block->region, OBJECT(box), &block_ops, block, block->name, block->size);
        if (block->base >= 0xE0000000) { /* inside the core's private bus, over QEMU's RAZ/WI region */
            memory_region_add_subregion_overlap(&box->armv7m.container, block->base, &block->region, 1);
        } else {
            memory_region_add_subregion(get_system_memory(), block->base, &block->region);
        }
    }
}

void opq_bus_reset(OpqBox *box)
{
    for (unsigned n = 0; n < ARRAY_SIZE(blocks); n++) {
        if (blocks[n].reset) {
            blocks[n].reset(box, blocks[n].index);
        }
    }
}

/* RCC_xxxRSTR: the bits are those of the enable registers, 0x20 below them. */
void opq_bus_reset_by_rcc(OpqBox *box, uint32_t enr_offset, uint32_t bits)
{
    for (unsigned n = 0; n < ARRAY_SIZE(blocks); n++) {
        uint16_t enable = blocks[n].enable;
        if (enable && (uint32_t)(enable >> 8) == enr_offset && (bits >> (enable & 31) & 1) && blocks[n].reset) {
            blocks[n].reset(box, blocks[n].index);
        }
    }
}
