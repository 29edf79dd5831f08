// Gives back every byte that comes on USART1, by interrupts, and tells of each PPS.
#include "program.h"

static uint8_t queue[256];
static volatile uint32_t head, tail;

static void put(uint8_t byte) {
    queue[head++ % sizeof(queue)] = byte;
    USART1->CR1 |= USART_CR1_TXEIE;
}

void usart1_handler(void) {
    uint32_t status = USART1->SR;
    if (status & USART_SR_RXNE) {
        put((uint8_t)USART1->DR);
    }
    if (status & USART_SR_TXE) {
        if (tail == head) {
            USART1->CR1 &= ~USART_CR1_TXEIE;
        } else {
            USART1->DR = queue[tail++ % sizeof(queue)];
        }
    }
}

void exti0_handler(void) {
    EXTI->PR = OPQ_BIT(0);
    put('!');
}

int main(void) {
    clock_168mhz();
    say_open();
    RCC->APB2ENR |= RCC_APB2ENR_SYSCFGEN;
    EXTI->RTSR = EXTI->IMR = OPQ_BIT(0);
    irq_enable(EXTI0_IRQn, 2);
    irq_enable(USART1_IRQn, 2);
    USART1->CR1 |= USART_CR1_RXNEIE;
    return 0;
}
