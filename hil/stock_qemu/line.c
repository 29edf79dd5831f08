// What stock QEMU's STM32F405 lacks, around the Box's own UART driver (linked with --wrap, never flashed).
//
// Its USART raises no TXE interrupt: the interrupt is made pending by hand for as long as TXEIE is set, which is what a
// transmitter that is always empty does. Its GPIO reads 0, which is every jumper set: the REPL's is a word of flash here.
#include "led.h"
#include "places.h"
#include "uart.h"

#define STRAP ((const volatile uint32_t *)(uintptr_t)0x080E0000) // sector 11, which the Box does not use

const uint32_t opq_stock_uid[3] = {0x53544F43, 0x4B51454D, 0x55000001};

void __real_opq_uart_send(opq_uart_t uart);
void __wrap_opq_uart_send(opq_uart_t uart);
void __real_opq_uart_on_interrupt(opq_uart_t uart);
void __wrap_opq_uart_on_interrupt(opq_uart_t uart);
bool __wrap_opq_pin_repl(void);

// Any context.
static void pend_if_wanted(opq_uart_t uart) {
    volatile opq_usart_t *registers = uart == OPQ_UART_LINK ? USART1 : USART3;
    uint32_t irq = uart == OPQ_UART_LINK ? USART1_IRQn : USART3_IRQn;
    if ((registers->CR1 & USART_CR1_TXEIE) != 0) {
        NVIC->ISPR[irq / 32u] = OPQ_BIT(irq % 32u);
    }
}

void __wrap_opq_uart_send(opq_uart_t uart) {
    __real_opq_uart_send(uart);
    pend_if_wanted(uart);
}

// Interrupt context: one byte, then again until the driver's queue is empty.
void __wrap_opq_uart_on_interrupt(opq_uart_t uart) {
    __real_opq_uart_on_interrupt(uart);
    pend_if_wanted(uart);
}

bool __wrap_opq_pin_repl(void) { return *STRAP == 0; }
