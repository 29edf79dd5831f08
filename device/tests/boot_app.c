// The smallest image that a boot loader can start: says its name on USART1, then feeds the watchdog or hangs.
#include "stm32f405.h"

void app(void) __attribute__((noreturn));

typedef struct {
    uint32_t stack;
    void (*reset)(void);
} vectors_t;

__attribute__((section(".vectors"), used)) static const vectors_t vectors = {0x20020000, app};

void app(void) {
    RCC->AHB1ENR |= RCC_AHB1ENR_GPIOAEN;
    RCC->APB2ENR |= RCC_APB2ENR_USART1EN;
    GPIOA->MODER = (GPIOA->MODER & ~(UINT32_C(3) << 18)) | UINT32_C(2) << 18;  // PA9
    GPIOA->AFR[1] = (GPIOA->AFR[1] & ~(UINT32_C(15) << 4)) | UINT32_C(7) << 4;
    USART1->BRR = 16000000 / 115200;  // the boot loader leaves HSI running
    USART1->CR1 = USART_CR1_UE | USART_CR1_TE;
    for (const char *text = NAME "\n"; *text != '\0'; text++) {
        while ((USART1->SR & USART_SR_TXE) == 0) {
        }
        USART1->DR = (uint8_t)*text;
    }
    for (;;) {
        if (FEEDS) {
            IWDG->KR = IWDG_KR_RELOAD;
        }
        SysTick->LOAD = 1600000;  // 0.1 s
        SysTick->VAL = 0;
        SysTick->CTRL = FEEDS ? SysTick_CTRL_ENABLE | SysTick_CTRL_CLKSOURCE | SysTick_CTRL_TICKINT : 0;
        __asm volatile("cpsid i\n\twfi");  // a pending interrupt wakes it; with none it sleeps until the watchdog
        SCB->ICSR = OPQ_BIT(25);           // PENDSTCLR
    }
}
