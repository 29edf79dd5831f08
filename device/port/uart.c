#include "uart.h"

#include "board.h"
#include "power.h"
#include "ramfunc.h"
#include "tick.h"

typedef struct {
    volatile opq_usart_t *registers;
    opq_queue_t *transmit, *receive;
    opq_uart_events_t events;
    volatile opq_uart_counters_t counters;
} line_t;

static line_t lines[OPQ_UARTS];

static void set_baud(opq_uart_t uart, uint32_t baud) {
    uint32_t pclk_hz = uart == OPQ_UART_LINK ? opq_power_pclk2_hz() : opq_power_pclk1_hz();
    lines[uart].registers->BRR = (pclk_hz + baud / 2u) / baud; // OVER8 = 0: mantissa and fraction in one (RM0090 30.3.4)
}

void opq_uart_start(opq_uart_t uart, uint32_t baud, opq_queue_t *transmit, opq_queue_t *receive,
                    const opq_uart_events_t *events) {
    static const struct {
        uint8_t tx, rx;
    } pins[OPQ_UARTS] = {{OPQ_BOARD_LINK_TX, OPQ_BOARD_LINK_RX}, {OPQ_BOARD_GPS_TX, OPQ_BOARD_GPS_RX}};
    uint32_t irq = uart == OPQ_UART_LINK ? USART1_IRQn : USART2_IRQn;
    line_t *line = &lines[uart];
    opq_irq_off(irq);
    if (uart == OPQ_UART_LINK) {
        RCC->APB2ENR |= RCC_APB2ENR_USART1EN;
        (void)RCC->APB2ENR;
        line->registers = USART1;
    } else {
        RCC->APB1ENR |= RCC_APB1ENR_USART2EN;
        (void)RCC->APB1ENR;
        line->registers = USART2;
    }
    opq_gpio_configure(pins[uart].tx, OPQ_GPIO_ALTERNATE, OPQ_GPIO_NO_PULL, 7);
    opq_gpio_configure(pins[uart].rx, OPQ_GPIO_ALTERNATE, OPQ_GPIO_PULL_UP, 7); // an open line reads as idle
    line->transmit = transmit;
    line->receive = receive;
    line->events = *events;
    line->registers->CR1 = 0;
    line->registers->CR2 = 0;
    line->registers->CR3 = 0;
    set_baud(uart, baud);
    line->registers->CR1 = USART_CR1_UE | USART_CR1_TE | USART_CR1_RE | USART_CR1_RXNEIE;
    opq_irq_enable(irq, 1); // above the acquisition, which may wait: it has 3.3 ms, a byte at 921,600 baud only 10 us
}

OPQ_RAMFUNC void opq_uart_send(opq_uart_t uart) {
    uint32_t state = opq_irq_disable(); // the interrupt clears TXEIE in the same register
    lines[uart].registers->CR1 |= USART_CR1_TXEIE;
    opq_irq_restore(state);
}

bool opq_uart_flush(opq_uart_t uart, uint32_t timeout_ms) {
    int64_t until = opq_tick_now() + (int64_t)timeout_ms * 84000;
    while (opq_queue_waiting(lines[uart].transmit) > 0 || (lines[uart].registers->SR & USART_SR_TC) == 0) {
        if (opq_tick_now() > until) {
            return false;
        }
    }
    return true;
}

void opq_uart_baud(opq_uart_t uart, uint32_t baud) { set_baud(uart, baud); }

opq_uart_counters_t opq_uart_counters(opq_uart_t uart) {
    const volatile opq_uart_counters_t *now = &lines[uart].counters;
    return (opq_uart_counters_t){now->received, now->overruns, now->noise, now->refused};
}

// Interrupt context, in RAM: one byte each way, integers only.
OPQ_RAMFUNC void opq_uart_on_interrupt(opq_uart_t uart) {
    line_t *line = &lines[uart];
    uint32_t status = line->registers->SR;
    if ((status & (USART_SR_RXNE | USART_SR_ORE)) != 0) {
        uint8_t byte = (uint8_t)line->registers->DR; // after SR: clears RXNE, ORE, NF and FE (RM0090 30.6.1)
        line->counters.overruns += (status & USART_SR_ORE) != 0 ? 1u : 0u;
        line->counters.noise += (status & (USART_SR_NF | USART_SR_FE)) != 0 ? 1u : 0u;
        if ((status & USART_SR_RXNE) != 0) {
            line->counters.received++;
            line->counters.refused += opq_queue_put_byte(line->receive, byte) ? 0u : 1u;
            if (line->events.byte != NULL) {
                line->events.byte(byte);
            }
        }
    }
    if ((status & USART_SR_TXE) != 0 && (line->registers->CR1 & USART_CR1_TXEIE) != 0) {
        int byte = opq_queue_take_byte(line->transmit);
        if (byte >= 0) {
            line->registers->DR = (uint32_t)byte;
        } else {
            line->registers->CR1 &= ~USART_CR1_TXEIE;
            if (line->events.drained != NULL) {
                line->events.drained();
            }
        }
    }
}
