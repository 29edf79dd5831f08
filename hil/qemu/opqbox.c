/*
 * Machine `opqbox`: QEMU's ARMv7M (Cortex-M4 with FPU) and memory of an STM32F405, our peripherals,
 * and a world file. Reset inside a run stays in the vCPU's thread, so that it costs no determinism.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qemu/error-report.h"
#include "exec/address-spaces.h"
#include "hw/arm/boot.h"
#include "hw/core/cpu.h"
#include "hw/qdev-clock.h"
#include "hw/qdev-properties.h"
#include "system/runstate.h"
#include "system/system.h"
#include "target/arm/cpu.h"
#include <signal.h>

static OpqBox *the_box; /* for abort(): QEMU calls it when the CPU is locked up */

void opq_irq(OpqBox *box, int n, bool level)
{
    if (!box->ended && level != box->irq_level[n]) {
        box->irq_level[n] = level;
        qemu_set_irq(box->irq[n], level);
    }
}

static void reset_now(CPUState *cpu, run_on_cpu_data data)
{
    OpqBox *box = data.host_ptr;

    if (box->ended) {
        return;
    }
    opq_report_reset(box, box->reset_cause == OPQ_RESET_IWDG ? "iwdg" : "software");
    box->rcc.csr |= (1u << box->reset_cause) | (1u << 26); /* RM0090 7.3.21: PINRSTF comes with every one */
    opq_bus_reset(box);
    device_cold_reset(DEVICE(&box->armv7m.nvic));
    device_cold_reset(DEVICE(&box->armv7m.systick[M_REG_NS]));
    cpu_reset(cpu);
    box->reset_asked = false;
    opq_chain_rearm(box, true);
}

void opq_ask_reset(OpqBox *box, int cause)
{
    if (!box->reset_asked && !box->ended) {
        box->reset_asked = true;
        box->reset_cause = cause;
        async_run_on_cpu(CPU(box->armv7m.cpu), reset_now, RUN_ON_CPU_HOST_PTR(box));
    }
}

static void sysresetreq(void *opaque, int n, int level)
{
    if (level) {
        opq_ask_reset(opaque, OPQ_RESET_SOFTWARE);
    }
}

void opq_end(OpqBox *box, const char *reason)
{
    if (box->ended) {
        return;
    }
    opq_sync(box);
    box->ended = true;
    opq_usart_flush(box);
    opq_flash_save(box);
    opq_options_save(box);
    opq_report_write(box, reason);
    timer_mod(box->event, opq_now_ns() + 1000000000);
    qemu_system_shutdown_request(SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
}

static void process_ends(Notifier *notifier, void *data)
{
    opq_end(the_box, "stopped");
}
static Notifier exit_notifier = { .notify = process_ends };

/* QEMU aborts when the core locks up (ARMv7-M B1.5.15), and on its own errors; its last words say which. */
static void process_aborts(int signal_number)
{
    signal(SIGABRT, SIG_DFL);
    if (!the_box->ended) {
        the_box->ended = true;
        opq_usart_flush(the_box);
        opq_flash_save(the_box);
        opq_options_save(the_box);
        opq_report_write(the_box, "hang");
    }
}

static void *ram(MemoryRegion *region, OpqBox *box, const char *name, uint64_t base, uint64_t size)
{
    memory_region_init_ram(region, NULL, name, size, &error_fatal);
    memory_region_add_subregion(get_system_memory(), base, region);
    return memory_region_get_ram_ptr(region);
}

static void forget(OpqBox *box, uint8_t *memory, size_t size, uint64_t salt)
{
    uint64_t state = opq_world_seed(box, salt);

    for (size_t at = 0; at < size; at += 8) { /* what SRAM holds after power-on is anything */
        uint64_t word = opq_random(&state);
        memcpy(memory + at, &word, 8);
    }
}

static void opqbox_init(MachineState *machine)
{
    OpqBox *box = OPQBOX_MACHINE(machine);
    DeviceState *armv7m;

    the_box = box;
    opq_report_init(box);
    box->sysclk = clock_new(OBJECT(machine), "SYSCLK");
    clock_set_hz(box->sysclk, 16000000);
    box->refclk = clock_new(OBJECT(machine), "REFCLK"); /* PM0214 4.5.4: HCLK / 8 */
    clock_set_mul_div(box->refclk, 8, 1);
    clock_set_source(box->refclk, box->sysclk);

    opq_usart_init(box);
    opq_world_init(box);
    opq_flash_init(box);
    opq_options_init(box);
    box->sram_ram = ram(&box->sram, box, "opqbox.sram", OPQ_SRAM_BASE, box->sram_bytes);
    box->ccm_ram = ram(&box->ccm, box, "opqbox.ccm", 0x10000000, 0x10000);
    forget(box, box->sram_ram, box->sram_bytes, 1);
    forget(box, box->ccm_ram, 0x10000, 2);

    object_initialize_child(OBJECT(machine), "armv7m", &box->armv7m, TYPE_ARMV7M);
    armv7m = DEVICE(&box->armv7m);
    qdev_prop_set_uint32(armv7m, "num-irq", ARRAY_SIZE(box->irq));
    qdev_prop_set_uint8(armv7m, "num-prio-bits", 4);
    qdev_prop_set_string(armv7m, "cpu-type", machine->cpu_type);
    qdev_prop_set_bit(armv7m, "enable-bitband", true);
    qdev_connect_clock_in(armv7m, "cpuclk", box->sysclk);
    qdev_connect_clock_in(armv7m, "refclk", box->refclk);
    object_property_set_link(OBJECT(armv7m), "memory", OBJECT(get_system_memory()), &error_abort);
    sysbus_realize(SYS_BUS_DEVICE(armv7m), &error_fatal);
    qdev_connect_gpio_out_named(armv7m, "SYSRESETREQ", 0, qemu_allocate_irq(sysresetreq, box, 0));
    for (unsigned n = 0; n < ARRAY_SIZE(box->irq); n++) {
        box->irq[n] = qdev_get_gpio_in(armv7m, n);
    }

    opq_iwdg_init(box);
    opq_core_init(box, &error_fatal);
    opq_rom_init(box);
    opq_chain_init(box);
    opq_idle_init(box);
    opq_rcc_power_on(box);
    opq_bus_init(box);
    opq_bus_reset(box);
    armv7m_load_kernel(box->armv7m.cpu, machine->kernel_filename, 0x08000000, OPQ_FLASH_SIZE);
    qemu_add_exit_notifier(&exit_notifier);
    signal(SIGABRT, process_aborts);
}

static bool get_live(Object *object, Error **errp) { return OPQBOX_MACHINE(object)->live; }
static void set_live(Object *object, bool value, Error **errp) { OPQBOX_MACHINE(object)->live = value; }

#define FILE_PROPERTY(name)                                                    \
    static char *get_##name(Object *object, Error **errp)                      \
    {                                                                          \
        return g_strdup(OPQBOX_MACHINE(object)->name);                         \
    }                                                                          \
    static void set_##name(Object *object, const char *value, Error **errp)    \
    {                                                                          \
        g_free(OPQBOX_MACHINE(object)->name);                                  \
        OPQBOX_MACHINE(object)->name = g_strdup(value);                        \
    }
FILE_PROPERTY(world_file)
FILE_PROPERTY(flash_file)
FILE_PROPERTY(options_file)
FILE_PROPERTY(report_file)
FILE_PROPERTY(uart1_log)
FILE_PROPERTY(uid)

/* For who waits for a live Box: in its time, not in the host's. */
static void get_virtual_ns(Object *object, Visitor *visitor, const char *name, void *opaque, Error **errp)
{
    int64_t now = opq_now_ns();

    visit_type_int64(visitor, name, &now, errp);
}

static void opqbox_instance_init(Object *object)
{
    OpqBox *box = OPQBOX_MACHINE(object);

    box->rev_id = 0x1007; /* RM0090 38.6.1: revision 1 */
    box->hse_hz = 12000000; /* the reference board; qemu.py gives each board its own */
    box->uid = g_strdup("000000010002000300040005");
    box->mains_channel = 10;
    box->sram_bytes = 0x20000;
    object_property_add_uint32_ptr(object, "sram-bytes", &box->sram_bytes, OBJ_PROP_FLAG_READWRITE);
    object_property_add_uint32_ptr(object, "mains-channel", &box->mains_channel, OBJ_PROP_FLAG_READWRITE);
    object_property_add_uint32_ptr(object, "spi2-zero", &box->spi2_zero, OBJ_PROP_FLAG_READWRITE);
    object_property_add_uint32_ptr(object, "hse-hz", &box->hse_hz, OBJ_PROP_FLAG_READWRITE);
    object_property_add_uint32_ptr(object, "rev-id", &box->rev_id, OBJ_PROP_FLAG_READWRITE);
}

static void opqbox_class_init(ObjectClass *class, void *data)
{
    static const char *const cpus[] = { ARM_CPU_TYPE_NAME("cortex-m4"), NULL };
    MachineClass *machine = MACHINE_CLASS(class);

    machine->desc = "OPQ Box (STM32F405) in a scripted world";
    machine->init = opqbox_init;
    machine->valid_cpu_types = cpus;
    machine->default_cpu_type = cpus[0];
    machine->max_cpus = 1;
    machine->no_floppy = machine->no_cdrom = machine->no_parallel = true;
    object_class_property_add_str(class, "world", get_world_file, set_world_file);
    object_class_property_add_str(class, "flash", get_flash_file, set_flash_file);
    object_class_property_add_str(class, "options", get_options_file, set_options_file);
    object_class_property_add_str(class, "report", get_report_file, set_report_file);
    object_class_property_add_str(class, "uart1-log", get_uart1_log, set_uart1_log);
    object_class_property_add_bool(class, "live", get_live, set_live);
    object_class_property_add_str(class, "uid", get_uid, set_uid);
    object_class_property_add(class, "virtual-ns", "int", get_virtual_ns, NULL, NULL, NULL);
}

static const TypeInfo opqbox_type = {
    .name = TYPE_OPQBOX_MACHINE,
    .parent = TYPE_MACHINE,
    .instance_size = sizeof(OpqBox),
    .instance_init = opqbox_instance_init,
    .class_init = opqbox_class_init,
};

static void opqbox_register(void)
{
    type_register_static(&opqbox_type);
}
type_init(opqbox_register)
