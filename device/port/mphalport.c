#include "py/mphal.h"

#include <errno.h>

#include "py/runtime.h"

#include "console.h"
#include "interrupts.h"
#include "pipeline.h"
#include "prompt.h"
#include "py/stream.h"
#include "uart.h"

enum { ROOM = 1024 };

static uint8_t out_bytes[ROOM];
static opq_queue_t out, *in; // `in` belonged to the link: 2 KB
static bool has_line;
static uint32_t lost_bytes;

// Where the C library's mathematics note an error, which nobody reads; newlib's own place is in its state for files.
int *__errno(void) {
    static int noted;
    return &noted;
}

// Interrupt context: Ctrl-C stops the running line at the next byte code. In flash: at the prompt an erase may
// stall it.
static void on_prompt_byte(uint8_t byte) {
    if (byte == mp_interrupt_char) {
        mp_sched_keyboard_interrupt();
    }
}

void opq_console_take_line(void) {
    static const opq_uart_events_t events = {on_prompt_byte, NULL};
    opq_pipeline_hold(true);
    (void)opq_uart_flush(OPQ_UART_LINK, 100); // the acknowledgement of the command
    if (out.bytes == NULL) {
        opq_queue_init(&out, out_bytes, ROOM);
    }
    in = opq_pipeline_rx();
    while (opq_queue_take_byte(in) >= 0) { // bytes that were meant for the link
    }
    has_line = true;
    opq_uart_start(OPQ_UART_LINK, OPQ_LINK_BAUD, &out, in, &events);
    opq_uart_send(OPQ_UART_LINK); // text printed before
    opq_interrupts_feed(true);
}

uint32_t opq_console_lost_bytes(void) { return lost_bytes; }

size_t opq_console_take(uint8_t *text, size_t room) {
    return out.bytes == NULL ? 0 : opq_queue_take(&out, text, room);
}

uintptr_t mp_hal_stdio_poll(uintptr_t flags) {
    bool readable = has_line ? opq_queue_waiting(in) > 0 : opq_prompt_has_input();
    return flags & (MP_STREAM_POLL_WR | (readable ? MP_STREAM_POLL_RD : 0u));
}

int mp_hal_stdin_rx_chr(void) {
    for (;;) {
        int byte = has_line ? opq_queue_take_byte(in) : opq_prompt_take_byte();
        if (byte >= 0) {
            return byte;
        }
        mp_event_wait_indefinite();
    }
}

mp_uint_t mp_hal_stdout_tx_strn(const char *text, size_t length) {
    if (out.bytes == NULL) {
        opq_queue_init(&out, out_bytes, ROOM);
    }
    for (size_t n = 0; n < length; n++) {
        if (opq_queue_free(&out) == 0) {
            if (has_line) {
                while (opq_queue_free(&out) == 0) { // the interrupt drains it: 11 us a byte
                }
            } else {
                while (opq_queue_free(&out) == 0 && opq_prompt_wait()) { // until the gateway has fetched some
                }
                if (opq_queue_free(&out) == 0) {
                    (void)opq_queue_take_byte(&out);
                    lost_bytes++;
                }
            }
        }
        (void)opq_queue_put_byte(&out, (uint8_t)text[n]);
        if (has_line) {
            opq_uart_send(OPQ_UART_LINK);
        }
    }
    return length;
}

void mp_hal_delay_ms(mp_uint_t ms) {
    int64_t until = opq_tick_now() + (int64_t)ms * 84000;
    while (opq_tick_now() < until) {
        mp_event_wait_ms(1); // SysTick ends it at the latest
    }
}

void mp_hal_delay_us(mp_uint_t us) {
    mp_uint_t from = mp_hal_ticks_us();
    while (mp_hal_ticks_us() - from < us) {
    }
}
