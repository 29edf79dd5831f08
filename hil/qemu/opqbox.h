/*
 * The OPQ Box as a QEMU machine: an STM32F405 and the world outside it.
 *
 * One struct per block of the chip, one file per block. Time inside the chip is counted in ticks of
 * 84 MHz (the clock of TIM2..TIM5), 64 bits wide and computed from virtual ns, so that nothing drifts.
 * What firmware cannot see between two register accesses is computed when it looks ("sync").
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_OPQ_OPQBOX_H
#define HW_OPQ_OPQBOX_H

#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "chardev/char-fe.h"
#include "exec/memory.h"
#include "hw/boards.h"
#include "hw/arm/armv7m.h"
#include "hw/clock.h"
#include "hw/irq.h"
#include "qom/object.h"
#include "blocks.h"

#define TYPE_OPQBOX_MACHINE MACHINE_TYPE_NAME("opqbox")
OBJECT_DECLARE_SIMPLE_TYPE(OpqBox, OPQBOX_MACHINE)

#define OPQ_NEVER INT64_MAX
#define OPQ_FLASH_SIZE 0x100000
#define OPQ_SRAM_BASE 0x20000000

static inline int64_t opq_now_ns(void) { return qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL); }
/* 84 MHz: 21 ticks in 250 ns. The tick in which a ns lies; the first ns that lies in a tick. */
static inline int64_t opq_tick_of_ns(int64_t t_ns) { return t_ns * 21 / 250; }
static inline int64_t opq_ns_of_tick(int64_t tick) { return (tick * 250 + 20) / 21; }
static inline int64_t opq_now_tick(void) { return opq_tick_of_ns(opq_now_ns()); }

/* One block of registers. `write` gets the value in its lanes and the mask of the lanes written. */
typedef struct OpqBlock {
    const char *name;
    uint32_t base, size;
    uint16_t enable; /* offset of its RCC enable register and bit: OPQ_AHB1(n).., 0: always on */
    int index;       /* which of several of a kind */
    uint32_t (*read)(OpqBox *box, int index, uint32_t offset);
    void (*write)(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask);
    void (*reset)(OpqBox *box, int index);
    OpqBox *box;
    MemoryRegion region;
} OpqBlock;
#define OPQ_AHB1(bit) (0x3000 | (bit))
#define OPQ_APB1(bit) (0x4000 | (bit))
#define OPQ_APB2(bit) (0x4400 | (bit))

/* A register that is merely kept: bits `writable` of the lanes in `mask`. */
static inline void opq_store(uint32_t *reg, uint32_t value, uint32_t mask, uint32_t writable)
{
    *reg = (*reg & ~(mask & writable)) | (value & mask & writable);
}

/* The world outside: world.c reads it, mains.c has the waveform. */
typedef struct OpqWorld OpqWorld;
typedef struct OpqReport OpqReport;

struct OpqBox {
    MachineState parent_obj;

    /* properties */
    char *world_file, *flash_file, *options_file, *report_file, *uart1_log, *uid;
    bool live; /* virtual time keeps to the wall clock */
    int64_t lag_ns; /* live: how far it was behind at most */
    uint32_t hse_hz;
    uint32_t rev_id; /* DBGMCU_IDCODE: 0x1000 is revision A */
    uint32_t mains_channel; /* of ADC1 */
    uint32_t sram_bytes;    /* RM0090 2.3.1: 128 KB, on F42x and F43x 192 KB */
    uint32_t spi2_zero;     /* the converter's code for 0: 32768 for a unipolar one, 0 for two's complement */

    ARMv7MState armv7m;
    Clock *sysclk, *refclk;
    MemoryRegion flash, flash_alias, rom_alias, sram, ccm, sysmem, option_bytes, unmodelled[6];
    uint8_t *flash_ram, *option_ram, *sram_ram, *ccm_ram;
    qemu_irq irq[82];
    bool irq_level[82];
    QEMUTimer *event; /* next moment at which acquisition changes something by itself */
    bool running_chain, ended, reset_asked;
    bool boot0; /* level of the pin */
    bool restarted; /* the run begins with a reset by software, not with power-on */
    int reset_cause;

    OpqRcc rcc;
    OpqGpio gpio[9];
    OpqExti exti;
    OpqTimer timer[4]; /* TIM2..TIM5 */
    OpqAdc adc;
    OpqDma dma[2];
    OpqSpi spi2;
    OpqUsart usart[2]; /* USART1, USART2 */
    OpqFlash flash_if;
    OpqIwdg iwdg;
    OpqPwr pwr;
    OpqCore core;
    OpqWorld *world;
    OpqReport *report;
};

/* opqbox.c */
void opq_irq(OpqBox *box, int n, bool level);
enum { OPQ_RESET_SOFTWARE = 28, OPQ_RESET_IWDG = 29 }; /* its bit in RCC_CSR */
void opq_ask_reset(OpqBox *box, int cause);
void opq_end(OpqBox *box, const char *reason);

/* bus.c */
void opq_bus_init(OpqBox *box);
void opq_bus_reset(OpqBox *box);
void opq_bus_reset_by_rcc(OpqBox *box, uint32_t enr_offset, uint32_t bits);
void opq_unknown(OpqBox *box, const char *block, uint32_t base, uint32_t offset, bool write, uint32_t value);

/* report.c */
void opq_report_init(OpqBox *box);
void opq_report_unmodelled(OpqBox *box, const char *block, uint32_t address, bool write, uint32_t value);
void opq_violation(OpqBox *box, const char *what);
void opq_report_pin(OpqBox *box, char port, int pin, bool level);
void opq_report_reset(OpqBox *box, const char *cause);
void opq_report_write(OpqBox *box, const char *reason);

/* rcc.c */
uint32_t opq_rcc_read(OpqBox *box, int index, uint32_t offset);
void opq_rcc_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask);
void opq_rcc_power_on(OpqBox *box);
void opq_rcc_reset(OpqBox *box, int index);
bool opq_rcc_enabled(OpqBox *box, uint16_t enable);
void opq_rcc_leaves_rom(OpqBox *box);

/* gpio.c: pins and EXTI */
uint32_t opq_gpio_read(OpqBox *box, int port, uint32_t offset);
void opq_gpio_write(OpqBox *box, int port, uint32_t offset, uint32_t value, uint32_t mask);
void opq_gpio_reset(OpqBox *box, int port);
bool opq_gpio_alternate(OpqBox *box, int port, int pin, unsigned function);
void opq_gpio_drive(OpqBox *box, int port, int pin, bool level, int64_t t_ns);
uint32_t opq_syscfg_read(OpqBox *box, int index, uint32_t offset);
void opq_syscfg_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask);
uint32_t opq_exti_read(OpqBox *box, int index, uint32_t offset);
void opq_exti_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask);
void opq_exti_reset(OpqBox *box, int index);
void opq_exti_edge(OpqBox *box, int line, bool rising);

/* timer.c */
uint32_t opq_timer_read(OpqBox *box, int index, uint32_t offset);
void opq_timer_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask);
void opq_timer_reset(OpqBox *box, int index);
void opq_timer_fire(OpqBox *box, int index);
void opq_timer_trgo(OpqBox *box, int index, int64_t tick);
void opq_timer_pin(OpqBox *box, int index, int channel, bool level, int64_t tick);
int64_t opq_timer_period(const OpqTimer *timer);
int64_t opq_timer_next_update(const OpqTimer *timer);
int64_t opq_timer_next_match(const OpqTimer *timer, int channel);

/* chain.c: what hangs together by hardware: timers, converters, DMA */
void opq_sync(OpqBox *box);
void opq_chain_init(OpqBox *box);
void opq_chain_run(OpqBox *box, int64_t tick);
void opq_chain_rearm(OpqBox *box, bool changed);
void opq_chain_trgo(OpqBox *box, int index, int64_t tick);
void opq_chain_output(OpqBox *box, int index, int channel, bool rising, int64_t tick);
void opq_chain_compare_dma(OpqBox *box, int index, int channel, int64_t tick);

/* adc.c */
uint32_t opq_adc_read(OpqBox *box, int index, uint32_t offset);
void opq_adc_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask);
void opq_adc_reset(OpqBox *box, int index);
void opq_adc_trigger(OpqBox *box, bool injected, int64_t tick);
void opq_adc_finish(OpqBox *box);
int64_t opq_adc_ticks(OpqBox *box, int channel);

/* dma.c */
uint32_t opq_dma_read(OpqBox *box, int index, uint32_t offset);
void opq_dma_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask);
void opq_dma_reset(OpqBox *box, int index);
bool opq_dma_take(OpqBox *box, int unit, uint32_t streams, unsigned channel, uint32_t dr, uint32_t value);
void opq_dma_give(OpqBox *box, int unit, uint32_t streams, unsigned channel, int64_t tick);
OpqDmaStream *opq_dma_find(OpqBox *box, int unit, uint32_t streams, unsigned channel, unsigned direction);
int64_t opq_dma_to_interrupt(const OpqDmaStream *stream);

/* spi.c: SPI2 and the converter behind it */
uint32_t opq_spi_read(OpqBox *box, int index, uint32_t offset);
void opq_spi_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask);
void opq_spi_reset(OpqBox *box, int index);
void opq_spi_finish(OpqBox *box);
void opq_spi_transmit(OpqBox *box, uint32_t value, int64_t tick);
void opq_spi_cnv(OpqBox *box, bool level, int64_t tick);
int64_t opq_spi_ticks(OpqBox *box);

/* usart.c */
void opq_usart_init(OpqBox *box);
uint32_t opq_usart_read(OpqBox *box, int index, uint32_t offset);
void opq_usart_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask);
void opq_usart_reset(OpqBox *box, int index);
void opq_usart_script(OpqBox *box, int index, int64_t t_ns, const uint8_t *bytes, size_t size);
void opq_usart_script_done(OpqBox *box);
/* usart_line.c */
void opq_usart_flush(OpqBox *box);
void opq_line_log(const char *path);
void opq_line_leaves(OpqBox *box, int index, uint8_t byte, int64_t t_ns);
bool opq_line_noised(uint32_t ppb, uint64_t *state, uint8_t *byte);

/* flash.c */
void opq_flash_init(OpqBox *box);
void opq_options_init(OpqBox *box);
void opq_options_save(OpqBox *box);
uint32_t opq_flash_read(OpqBox *box, int index, uint32_t offset);
void opq_flash_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask);
void opq_flash_reset(OpqBox *box, int index);
void opq_flash_cut(OpqBox *box);
void opq_flash_save(OpqBox *box);

/* supply.c: IWDG, PWR with its voltage detector */
void opq_iwdg_init(OpqBox *box);
uint32_t opq_iwdg_read(OpqBox *box, int index, uint32_t offset);
void opq_iwdg_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask);
void opq_iwdg_reset(OpqBox *box, int index);
uint32_t opq_pwr_read(OpqBox *box, int index, uint32_t offset);
void opq_pwr_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask);
void opq_pwr_reset(OpqBox *box, int index);
void opq_pwr_supply(OpqBox *box, bool low);

/* core.c: DWT, DBGMCU, system memory */
void opq_core_init(OpqBox *box, Error **errp);
uint32_t opq_dwt_read(OpqBox *box, int index, uint32_t offset);
void opq_dwt_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask);
void opq_dwt_clock_changes(OpqBox *box, uint32_t before_hz);
uint32_t opq_debug_read(OpqBox *box, int index, uint32_t offset);
void opq_debug_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask);
uint32_t opq_dbgmcu_read(OpqBox *box, int index, uint32_t offset);
void opq_dbgmcu_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask);
void opq_core_reset(OpqBox *box, int index);

/* rom.c: BOOT0 and what the ROM boot loader leaves behind */
void opq_rom_init(OpqBox *box);
void opq_rom_map(OpqBox *box);
void opq_rom_go(OpqBox *box);

/* idle.c */
void opq_idle_init(OpqBox *box);
void opq_pass_time(OpqBox *box, int64_t until_ns, bool interruptible);

/* world.c, world_file.c, mains.c */
typedef enum { OPQ_PIN, OPQ_PULSE, OPQ_ADC, OPQ_PVD, OPQ_BOOT0, OPQ_GO, OPQ_CUT, OPQ_END } OpqEventKind;
void opq_world_init(OpqBox *box);
void opq_world_run(OpqBox *box, int64_t now_ns);
void opq_world_read(OpqBox *box, const char *path);
void opq_world_add(OpqBox *box, int64_t t_ns, OpqEventKind kind, int a, int b);
void opq_world_set_seed(OpqBox *box, uint64_t seed);
void opq_world_set_cut_after(OpqBox *box, uint64_t operation);
uint64_t opq_random(uint64_t *state);
uint64_t opq_world_seed(OpqBox *box, uint64_t salt);
uint64_t opq_world_cut_after(OpqBox *box);
uint64_t opq_world_pulses(OpqBox *box);
typedef struct OpqMains OpqMains;
typedef enum { OPQ_MAINS_ADC1, OPQ_MAINS_SPI2, OPQ_MAINS_INPUTS } OpqMainsInput;
OpqMains *opq_mains_new(void);
const char *opq_mains_play(OpqMains *mains, OpqMainsInput input, const char *path, int64_t rate_millihz,
                           int64_t start_ns, bool loop);
void opq_mains_sine(OpqMains *mains, OpqMainsInput input, int64_t frequency_uhz, int64_t amplitude_lsb,
                    int64_t offset_lsb, int64_t phase_mrad);
void opq_mains_dip(OpqMains *mains, int64_t t0_ns, int64_t t1_ns, int64_t permille);
int32_t opq_mains_count(OpqMains *mains, OpqMainsInput input, int64_t tick);
OpqMains *opq_world_mains(OpqBox *box);

#endif
