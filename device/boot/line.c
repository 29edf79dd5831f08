#include "line.h"

#include "board.h"
#include "link.h"
#include "power.h"
#include "watchdog.h"

void USART1_IRQHandler(void);
void SysTick_Handler(void);

enum {
    WAIT_LOOPS = 100000,  // a byte takes 11 us: a wait this long means a dead transmitter
    RING = 4096,          // two of the longest frames; a power of two
};

static uint8_t ring[RING];
static volatile uint32_t head, tail;  // the interrupt's and opq_line_take's; both count up and wrap

// Interrupt context: one byte, integers only. A full ring refuses the newest.
void USART1_IRQHandler(void) {
    uint32_t status = USART1->SR;
    if ((status & (USART_SR_RXNE | USART_SR_ORE)) != 0) {
        uint8_t byte = (uint8_t)USART1->DR;  // after SR: clears both (RM0090 30.6.1)
        if ((status & USART_SR_RXNE) != 0 && head - tail < RING) {
            ring[head % RING] = byte;
            head++;
        }
    }
}

static void await(uint32_t flag) {
    for (uint32_t loop = 0; loop < WAIT_LOOPS && (USART1->SR & flag) == 0; loop++) {
    }
}

// Interrupt context: only ends the sleep of opq_line_wait.
void SysTick_Handler(void) {}

void opq_line_wait(void) {
    uint32_t state = opq_irq_disable();  // a byte between the check and the sleep still ends the sleep
    if (head == tail) {
        __asm volatile("wfi");
    }
    opq_irq_restore(state);
}

void opq_line_start(void) {
    RCC->APB2ENR |= RCC_APB2ENR_USART1EN;
    (void)RCC->APB2ENR;  // two cycles until the clock is there (RM0090 7.2.14)
    USART1->CR1 = 0;
    USART1->BRR = (opq_power_pclk2_hz() + OPQ_LINK_BAUD / 2) / OPQ_LINK_BAUD;  // RM0090 30.3.4, OVER8 = 0
    USART1->CR1 = USART_CR1_UE | USART_CR1_TE | USART_CR1_RE | USART_CR1_RXNEIE;
    opq_gpio_configure(OPQ_BOARD_LINK_TX, OPQ_GPIO_ALTERNATE, OPQ_GPIO_NO_PULL, 7);
    opq_gpio_configure(OPQ_BOARD_LINK_RX, OPQ_GPIO_ALTERNATE, OPQ_GPIO_PULL_UP, 7);
    opq_irq_enable(USART1_IRQn, 0);
    SysTick->LOAD = (opq_power_clock() == OPQ_CLOCK_SLOW ? 16000000u : OPQ_HCLK_HZ) / 1000u - 1u;
    SysTick->VAL = 0;
    SysTick->CTRL = SysTick_CTRL_ENABLE | SysTick_CTRL_TICKINT | SysTick_CTRL_CLKSOURCE;
    opq_irq_restore(0);
}

int32_t opq_line_take(void) {
    if (head == tail) {
        return -1;
    }
    uint8_t byte = ring[tail % RING];
    tail++;
    return byte;
}

void opq_line_send(void *context, const uint8_t *bytes, size_t length) {
    (void)context;
    for (size_t i = 0; i < length; i++) {
        await(USART_SR_TXE);
        USART1->DR = bytes[i];
    }
    opq_watchdog_feed();
}

void opq_line_end(void) {
    await(USART_SR_TC);
    (void)opq_irq_disable();
    SysTick->CTRL = 0;
    SCB->ICSR = SCB_ICSR_PENDSTCLR;
    opq_irq_off(USART1_IRQn);
    USART1->CR1 = 0;
    RCC->APB2ENR &= ~RCC_APB2ENR_USART1EN;
    opq_gpio_configure(OPQ_BOARD_LINK_TX, OPQ_GPIO_INPUT, OPQ_GPIO_PULL_UP, 0);  // the line stays idle
}

void opq_micros_start(void) {
    RCC->APB1ENR |= RCC_APB1ENR_TIM5EN;
    (void)RCC->APB1ENR;
    // Twice PCLK1 where that is divided (RM0090 7.2, "Clocks")
    uint32_t timer_hz = opq_power_pclk1_hz() == OPQ_PCLK1_HZ ? 2u * OPQ_PCLK1_HZ : opq_power_pclk1_hz();
    TIM5->PSC = timer_hz / 1000000u - 1u;
    TIM5->ARR = UINT32_MAX;
    TIM5->EGR = TIM_EGR_UG;  // applies PSC
    TIM5->SR = 0;
    TIM5->CR1 = TIM_CR1_CEN;
}

uint32_t opq_micros(void) { return TIM5->CNT; }

void opq_micros_end(void) {
    TIM5->CR1 = 0;
    TIM5->PSC = 0;
    TIM5->CNT = 0;
    TIM5->EGR = TIM_EGR_UG;
    TIM5->SR = 0;
    RCC->APB1ENR &= ~RCC_APB1ENR_TIM5EN;
}
