// USART1 by interrupt gives back what USART2 received; bytes that nobody takes are overruns.
#include "program.h"

static uint8_t queue[4096];
static volatile uint32_t head, tail, received, errors, idles;

void usart2_handler(void) {
    uint32_t status = USART2->SR;
    uint8_t byte = (uint8_t)USART2->DR;
    idles += (status & USART_SR_IDLE) != 0;
    errors += (status & USART_SR_ORE) != 0;
    if (status & USART_SR_RXNE) {
        queue[head++ % sizeof(queue)] = byte;
        received++;
        USART1->CR1 |= USART_CR1_TXEIE;
    }
}

void usart1_handler(void) {
    if (!(USART1->SR & USART_SR_TXE)) {
        return;
    }
    if (tail == head) {
        USART1->CR1 &= ~USART_CR1_TXEIE;
    } else {
        USART1->DR = queue[tail++ % sizeof(queue)];
    }
}

int main(void) {
    clock_168mhz();
    say_open();
    RCC->AHB1ENR |= RCC_AHB1ENR_GPIOBEN;
    RCC->APB1ENR |= RCC_APB1ENR_USART2EN;
    ticks_start();
    uint32_t from = TIM5->CNT;
    say_bytes("0123456789");
    while (!(USART1->SR & USART_SR_TC)) {
    }
    uint32_t took = TIM5->CNT - from;
    say("\nten_bytes_us", took / 84);
    USART2->BRR = 42000000 / 9600;
    USART2->CR1 = USART_CR1_UE | USART_CR1_RE | USART_CR1_RXNEIE | OPQ_BIT(4);
    irq_enable(USART2_IRQn, 2);
    irq_enable(USART1_IRQn, 2);
    wait_ticks(84000000 / 10);
    USART1->CR1 &= ~USART_CR1_TXEIE;
    say("\nreceived", received);
    say("idles", idles);
    say("errors", errors);
    irq_off(USART2_IRQn); // nobody takes the next
    wait_ticks(84000000 / 10);
    say("overrun", (USART2->SR & USART_SR_ORE) != 0);
    say("first", USART2->DR); // the first of them
    say("cleared", (USART2->SR & (USART_SR_ORE | USART_SR_RXNE)) == 0);
    say("done", 1);
    return 0;
}
