#include "program.h"

extern uint32_t _sidata, _data, _edata, _bss, _ebss, _stack;
int main(void);
void tim5_handler(void);

void reset(void) {
    SCB->CPACR |= SCB_CPACR_FPU;
    for (uint32_t *from = &_sidata, *to = &_data; to < &_edata;) {
        *to++ = *from++;
    }
    for (uint32_t *to = &_bss; to < &_ebss;) {
        *to++ = 0;
    }
    main();
    for (;;) {
        __asm volatile("wfi");
    }
}

static void fault(void) {
    say("fault", SCB->CFSR);
    for (;;) {
        __asm volatile("wfi");
    }
}

#define HANDLER(name) void name(void) __attribute__((weak, alias("fault")))
HANDLER(exti0_handler);
HANDLER(pvd_handler);
HANDLER(adc_handler);
HANDLER(dma1_stream3_handler);
HANDLER(dma2_stream0_handler);
HANDLER(tim3_handler);
HANDLER(usart1_handler);
HANDLER(usart2_handler);
HANDLER(systick_handler);

__attribute__((section(".vectors"), used)) static void (*const vectors[16 + OPQ_IRQ_COUNT])(void) = {
    [0] = (void (*)(void)) & _stack, [1] = reset, [2] = fault, [3] = fault, [4] = fault, [5] = fault, [6] = fault,
    [15] = systick_handler, [16 + PVD_IRQn] = pvd_handler, [16 + EXTI0_IRQn] = exti0_handler,
    [16 + DMA1_Stream3_IRQn] = dma1_stream3_handler, [16 + ADC_IRQn] = adc_handler, [16 + TIM3_IRQn] = tim3_handler,
    [16 + USART1_IRQn] = usart1_handler, [16 + USART2_IRQn] = usart2_handler, [16 + TIM5_IRQn] = tim5_handler,
    [16 + DMA2_Stream0_IRQn] = dma2_stream0_handler,
};

void clock_168mhz(void) {
    RCC->APB1ENR |= RCC_APB1ENR_PWREN;
    FLASH->ACR = FLASH_ACR_LATENCY(5) | FLASH_ACR_PRFTEN | FLASH_ACR_ICEN | FLASH_ACR_DCEN;
    RCC->CR |= RCC_CR_HSEON;
    while (!(RCC->CR & RCC_CR_HSERDY)) {
    }
    RCC->PLLCFGR = RCC_PLLCFGR_PLLM(12) | RCC_PLLCFGR_PLLN(336) | RCC_PLLCFGR_PLLP(2) | RCC_PLLCFGR_PLLSRC_HSE |
                   RCC_PLLCFGR_PLLQ(7);
    RCC->CR |= RCC_CR_PLLON;
    while (!(RCC->CR & RCC_CR_PLLRDY)) {
    }
    RCC->CFGR = RCC_CFGR_PPRE1_DIV4 | RCC_CFGR_PPRE2_DIV2;
    RCC->CFGR |= RCC_CFGR_SW_PLL;
    while ((RCC->CFGR & RCC_CFGR_SWS) != RCC_CFGR_SWS_PLL) {
    }
}

void say_open(void) {
    RCC->AHB1ENR |= RCC_AHB1ENR_GPIOAEN;
    RCC->APB2ENR |= RCC_APB2ENR_USART1EN;
    GPIOA->AFR[1] = (GPIOA->AFR[1] & ~UINT32_C(0xFF0)) | 0x770;
    GPIOA->MODER = (GPIOA->MODER & ~(UINT32_C(0xF) << 18)) | UINT32_C(0xA) << 18;
    USART1->BRR = 91;
    USART1->CR1 = USART_CR1_UE | USART_CR1_TE | USART_CR1_RE;
}

void say_bytes(const char *text) {
    for (; *text; text++) {
        while (!(USART1->SR & USART_SR_TXE)) {
        }
        USART1->DR = (uint8_t)*text;
    }
}

void say(const char *name, uint32_t value) {
    char digits[12] = "";
    char *at = digits + sizeof(digits) - 1;
    *at = 0;
    *--at = '\n';
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    say_bytes(name);
    say_bytes("=");
    say_bytes(at);
}

void ticks_start(void) {
    RCC->APB1ENR |= RCC_APB1ENR_TIM5EN;
    TIM5->ARR = UINT32_MAX;
    TIM5->EGR = TIM_EGR_UG;
    TIM5->CR1 = TIM_CR1_CEN;
}

static volatile bool waited;

void tim5_handler(void) {
    TIM5->DIER &= ~TIM_DIER_CC3IE;
    waited = true;
}

// Asleep, but for interrupts: polling costs an emulator more than anything else.
void wait_ticks(uint32_t ticks) {
    waited = false;
    TIM5->CCR3 = TIM5->CNT + ticks;
    TIM5->SR = ~TIM_SR_CC3IF;
    TIM5->DIER |= TIM_DIER_CC3IE;
    irq_enable(TIM5_IRQn, 3);
    for (;;) {
        __asm volatile("cpsid i" ::: "memory");
        if (waited) {
            break;
        }
        __asm volatile("wfi\n\tcpsie i\n\tisb" ::: "memory");
    }
    __asm volatile("cpsie i" ::: "memory");
}

void irq_enable(unsigned irq, unsigned priority) {
    NVIC->IP[irq] = (uint8_t)(priority << 4);
    NVIC->ISER[irq / 32] = UINT32_C(1) << (irq % 32);
}

void irq_off(unsigned irq) { NVIC->ICER[irq / 32] = UINT32_C(1) << (irq % 32); }
