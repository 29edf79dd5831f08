// ADC1 by TIM3's update at 60 kS/s into a ring by DMA2, an injected group between; the input is a staircase.
#include "program.h"

#define RING 200
static uint16_t ring[RING];
static volatile uint32_t halves, bad, expected, started, late;

static void check(const uint16_t *counts) {
    for (int n = 0; n < RING / 2; n++) {
        if (!started) {
            expected = counts[n];
            started = 1;
        }
        bad += counts[n] != (expected & 4095);
        expected++;
    }
    halves++;
}

void dma2_stream0_handler(void) {
    uint32_t flags = DMA2->LISR;
    DMA2->LIFCR = flags;
    late += DMA2->S[0].NDTR < RING / 2 - 5 || DMA2->S[0].NDTR > RING;
    if (flags & DMA_HTIF) {
        late += DMA2->S[0].NDTR > RING / 2 || DMA2->S[0].NDTR < RING / 2 - 5;
        check(ring);
    }
    if (flags & DMA_TCIF) {
        check(ring + RING / 2);
    }
}

int main(void) {
    clock_168mhz();
    say_open();
    RCC->AHB1ENR |= RCC_AHB1ENR_GPIOCEN | RCC_AHB1ENR_DMA2EN;
    RCC->APB1ENR |= RCC_APB1ENR_TIM3EN;
    RCC->APB2ENR |= RCC_APB2ENR_ADC1EN;
    GPIOC->MODER = 0x3F; // PC0..PC2 analog
    ticks_start();

    DMA2->S[0].PAR = 0x4001204C;
    DMA2->S[0].M0AR = (uint32_t)(uintptr_t)ring;
    DMA2->S[0].NDTR = RING;
    DMA2->S[0].CR = DMA_SxCR_CHSEL(0) | DMA_SxCR_PSIZE_16 | DMA_SxCR_MSIZE_16 | DMA_SxCR_MINC | DMA_SxCR_CIRC |
                    DMA_SxCR_HTIE | DMA_SxCR_TCIE;
    DMA2->S[0].CR |= DMA_SxCR_EN;
    irq_enable(DMA2_Stream0_IRQn, 1);

    ADC_COMMON->CCR = ADC_CCR_ADCPRE_DIV4 | ADC_CCR_TSVREFE;
    ADC1->SMPR1 = 1; // channel 10: 15 cycles
    ADC1->SQR3 = 10;
    ADC1->CR1 = ADC_CR1_SCAN;
    ADC1->JSQR = ADC_JSQR_JL(2) | 11u << 10 | 16u << 15; // the last two places count
    ADC1->CR2 = ADC_CR2_ADON;
    wait_ticks(84 * 5);
    ADC1->CR2 |= ADC_CR2_DMA | ADC_CR2_DDS | ADC_CR2_EXTSEL_TIM3_TRGO | ADC_CR2_EXTEN_RISING |
                 ADC_CR2_JEXTSEL_TIM3_CC4 | ADC_CR2_JEXTEN_RISING;

    TIM3->ARR = 1399; // 60 kS/s
    TIM3->CCR4 = 700; // PWM mode 2: OC4REF rises here
    TIM3->CCMR2 = UINT32_C(7) << 12;
    TIM3->CCER = TIM_CCER_CC4E;
    TIM3->CR2 = TIM_CR2_MMS_UPDATE;
    TIM3->CR1 = TIM_CR1_CEN;
    while (halves < 600) {
        __asm volatile("wfi");
    }
    TIM3->CR1 = 0;
    say("bad", bad);
    say("late", late);
    say("overrun", (ADC1->SR & ADC_SR_OVR) != 0);
    say("injected_done", (ADC1->SR & ADC_SR_JEOC) != 0);
    say("supply", ADC1->JDR[0]);
    say("temperature", ADC1->JDR[1]);

    // DMA stopped: the second result finds the first still unread
    irq_off(DMA2_Stream0_IRQn);
    DMA2->S[0].CR &= ~DMA_SxCR_EN;
    say("stopped_says_so", (DMA2->LISR & DMA_TCIF) != 0);
    TIM3->CR1 = TIM_CR1_CEN;
    wait_ticks(84000);
    say("overrun", (ADC1->SR & ADC_SR_OVR) != 0);
    say("done", 1);
    return 0;
}
