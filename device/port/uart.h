// USART1 (the link, or the REPL) and USART2 (GPS): interrupts between the registers and byte queues.
#ifndef OPQ_UART_H
#define OPQ_UART_H

#include <stdbool.h>
#include <stdint.h>

#include "queue.h"

typedef enum { OPQ_UART_LINK = 0, OPQ_UART_GPS = 1, OPQ_UARTS } opq_uart_t;

typedef struct {
    uint32_t received;   // bytes taken from DR
    uint32_t overruns;   // ORE: a byte came before the one before it was read
    uint32_t noise;      // NF or FE: a byte that the hardware marks as doubtful; it is passed on, the CRC decides
    uint32_t refused;    // bytes that found the receive queue full
} opq_uart_counters_t;

// Interrupt context. `byte`: a byte was put into the queue; `drained`: the transmit queue is empty. Each may be NULL.
typedef struct {
    void (*byte)(uint8_t byte);
    void (*drained)(void);
} opq_uart_events_t;

// Task context. Pins, 8N1, baud from the real clock, interrupts on. A second call with other queues loses bytes
// under way.
void opq_uart_start(opq_uart_t uart, uint32_t baud, opq_queue_t *transmit, opq_queue_t *receive,
                    const opq_uart_events_t *events);
// Any context: the transmit queue is no longer empty.
void opq_uart_send(opq_uart_t uart);
// Task context: waits until the last bit has left, at most `timeout_ms`. False: bytes were still there.
bool opq_uart_flush(opq_uart_t uart, uint32_t timeout_ms);
void opq_uart_baud(opq_uart_t uart, uint32_t baud);
opq_uart_counters_t opq_uart_counters(opq_uart_t uart);

// Interrupt context.
void opq_uart_on_interrupt(opq_uart_t uart);

#endif
