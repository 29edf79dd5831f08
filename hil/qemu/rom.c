/*
 * BOOT0, and the ROM boot loader as far as the firmware that it starts can tell: which memory lies at 0 (RM0090
 * 2.4, 9.2.1), and the chip as the command Go leaves it (AN3155 3.5, AN2606). The loader itself is not here.
 *
 * With BOOT0 high a reset ends in the ROM, which waits for ever; the world's `go` starts the flash from it.
 * AN2606 says which clock and blocks it uses, not in which state each bit is: so this leaves what is hardest
 * for firmware, dividers that it does not expect and interrupts that are enabled and pending.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"
#include "exec/address-spaces.h"
#include "qapi/error.h"
#include "hw/core/cpu.h"
#include "target/arm/cpu.h"

#define ROM 0x1FFF0000
#define ROM_SIZE 0x7800
#define FLASH 0x08000000
#define WAITS 0x400     /* offsets of our two lines of code */
#define TRAP 0x404
#define HERE 0xE7FE     /* Thumb: b . */
#define OTG_FS_IRQ 67
#define VECTORS (16 + 82)

void opq_rom_init(OpqBox *box)
{
    uint8_t *memory = memory_region_get_ram_ptr(&box->sysmem);

    stl_le_p(memory, OPQ_SRAM_BASE + 0x2000); /* AN2606: the loader has 8 KB of SRAM */
    stl_le_p(memory + 4, (ROM + WAITS) | 1);
    for (int vector = 2; vector < VECTORS; vector++) {
        stl_le_p(memory + 4 * vector, (ROM + TRAP) | 1);
    }
    stw_le_p(memory + WAITS, HERE);
    stw_le_p(memory + TRAP, HERE);
    memory_region_init_alias(&box->rom_alias, NULL, "opqbox.system.alias", &box->sysmem, 0, ROM_SIZE);
    memory_region_add_subregion_overlap(get_system_memory(), 0, &box->rom_alias, 1);
}

/* After a change of SYSCFG_MEMRMP, and after a reset, which sets it by BOOT0. */
void opq_rom_map(OpqBox *box)
{
    memory_region_set_enabled(&box->rom_alias, box->exti.memrmp == 1);
}

static void go_now(CPUState *cpu, run_on_cpu_data data)
{
    OpqBox *box = data.host_ptr;
    CPUARMState *env = &ARM_CPU(cpu)->env;
    MemTxAttrs as_core = MEMTXATTRS_UNSPECIFIED;
    uint32_t entry = address_space_ldl(cpu->as, FLASH + 4, as_core, NULL);

    if (box->ended) {
        return;
    }
    if (env->regs[15] < ROM || env->regs[15] >= ROM + ROM_SIZE) {
        opq_violation(box, "go: the chip is not in its ROM boot loader");
        return;
    }
    opq_rcc_leaves_rom(box);
    box->usart[0].cr1 = 0x340C; /* the line of the loader: 8E1, on */
    address_space_stl(cpu->as, 0xE000E014, 24000 - 1, as_core, NULL); /* SysTick, 1 ms */
    address_space_stl(cpu->as, 0xE000E018, 0, as_core, NULL);
    address_space_stl(cpu->as, 0xE000E010, 7, as_core, NULL);
    address_space_stl(cpu->as, 0xE000E100 + OTG_FS_IRQ / 32 * 4, 1u << OTG_FS_IRQ % 32, as_core, NULL);
    address_space_stl(cpu->as, 0xE000E200 + OTG_FS_IRQ / 32 * 4, 1u << OTG_FS_IRQ % 32, as_core, NULL);
    env->v7m.primask[M_REG_NS] = 1;
    env->regs[13] = address_space_ldl(cpu->as, FLASH, as_core, NULL);
    env->regs[14] = UINT32_MAX;
    env->thumb = entry & 1;
    env->regs[15] = entry & ~1u;
}

void opq_rom_go(OpqBox *box) { async_run_on_cpu(CPU(box->armv7m.cpu), go_now, RUN_ON_CPU_HOST_PTR(box)); }
