// The Box's firmware, from the start of main to the frozen app, or to the prompt.
#include "board.h"
#include "clock.h"
#include "console.h"
#include "crash.h"
#include "interrupts.h"
#include "led.h"
#include "machine.h"
#include "pipeline.h"
#include "power.h"
#include "ramfunc.h"
#include "py/gc.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stackctrl.h"
#include "repl.h"
#include "shared/runtime/gchelper.h"
#include "shared/runtime/pyexec.h"
#include "tick.h"
#include "uart.h"
#include "watchdog.h"

extern uint8_t opq_heap_start[], opq_heap_end[], opq_stack_limit[], opq_stack_top[];

int main(void);

enum {
    STACK_RESERVE = 6400, // below Python's limit: both stack budgets of boards/*/board.toml, and 1 KB of its own
};

opq_clock_t opq_box_clock; // module `clock` updates it, the pipeline reads stamps from it

// Interrupt context, in RAM: a frame may be complete.
OPQ_RAMFUNC static void on_byte(uint8_t byte) {
    if (byte == 0) {
        opq_wake_pipeline();
    }
}

// Interrupt context, in RAM: there may be blocks to send again.
OPQ_RAMFUNC static void on_drained(void) {
    if (opq_pipeline_wants_line()) {
        opq_wake_pipeline();
    }
}

static void line_ready(void) { opq_uart_send(OPQ_UART_LINK); }

#if MICROPY_GC_SPLIT_HEAP
static _Alignas(16) uint8_t more_heap[OPQ_BOARD_MORE_HEAP_BYTES]; // gc_add writes words at its start
#endif

static void start_python(void) {
    gc_init(opq_heap_start, opq_heap_end);
#if MICROPY_GC_SPLIT_HEAP
    gc_add(more_heap, more_heap + sizeof more_heap);
#endif
    mp_init();
}

static void prompt(void) {
    opq_console_take_line();
    for (;;) {
        if (pyexec_mode_kind == PYEXEC_MODE_RAW_REPL ? pyexec_raw_repl() : pyexec_friendly_repl()) {
            mp_hal_stdout_tx_strn("MPY: soft reboot\r\n", 18); // Ctrl-D; interrupts, and so sampling, go on
            opq_timers_end();
            gc_sweep_all();
            mp_deinit();
            start_python();
        }
    }
}

int main(void) {
    static const opq_pipeline_config_t pipeline = {
        .clock = &opq_box_clock,
        .cycles = opq_cycles,
        .now_tick = opq_tick_now,
        .line_ready = line_ready,
        .wake = opq_wake_pipeline,
    };
    static const opq_uart_events_t events = {on_byte, on_drained};
    opq_power_start();
    opq_watchdog_start();
    opq_led_start();
    opq_led(OPQ_LED_STATUS, true);
    opq_tick_start();
    opq_pipeline_init(&pipeline);
    opq_interrupts_start();
    opq_uart_start(OPQ_UART_LINK, OPQ_LINK_BAUD, opq_pipeline_tx(), opq_pipeline_rx(), &events);

    mp_stack_set_top(opq_stack_top);
    mp_stack_set_limit((mp_uint_t)(opq_stack_top - opq_stack_limit) - STACK_RESERVE);
    start_python();
    if (!opq_repl_wanted()) {
        (void)pyexec_frozen_module("main.py", false); // the app; returns only if it cannot go on
        if (!opq_repl_wanted()) {
            opq_led(OPQ_LED_FAULT, true); // long enough to be seen, and for the line to carry what is queued
            mp_hal_delay_ms(1000);
            opq_crash(OPQ_CRASH_APP_ENDED, 0, __builtin_frame_address(0), 0);
        }
    }
    prompt();
    return 0;
}

void gc_collect(void) {
    gc_collect_start();
    gc_helper_collect_regs_and_stack();
    gc_collect_end();
}

void nlr_jump_fail(void *value) {
    opq_crash(OPQ_CRASH_NLR, (uint32_t)(uintptr_t)value, __builtin_frame_address(0), 0);
}
