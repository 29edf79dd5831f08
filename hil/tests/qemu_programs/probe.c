// ADC1 started by software at known ticks, then what goes wrong: triggers too fast, DMA where it cannot reach.
#include "program.h"

static void convert(void) {
    ADC1->CR2 |= ADC_CR2_SWSTART;
    while (!(ADC1->SR & ADC_SR_EOC)) {
    }
}

int main(void) {
    clock_168mhz();
    say_open();
    RCC->AHB1ENR |= RCC_AHB1ENR_GPIOCEN | RCC_AHB1ENR_DMA2EN;
    RCC->APB1ENR |= RCC_APB1ENR_TIM3EN;
    RCC->APB2ENR |= RCC_APB2ENR_ADC1EN;
    GPIOC->MODER = 3;
    ticks_start();
    ADC_COMMON->CCR = ADC_CCR_ADCPRE_DIV4;
    ADC1->SMPR1 = 1; // channel 10: 15 cycles of 4 ticks
    ADC1->SQR3 = 10;
    ADC1->CR2 = ADC_CR2_ADON;
    wait_ticks(84 * 5);
    uint32_t from = TIM5->CNT;
    convert();
    say("conversion_ticks_off", TIM5->CNT - from - 108 < 12); // (15 + 12) * 4, and the loop
    for (int n = 0; n < 40; n++) {
        wait_ticks(84 * 700);
        from = TIM5->CNT;
        convert();
        say("at", from);
        say("count", ADC1->DR);
    }

    // A trigger each 100 ticks, a conversion of 108: each other one finds it busy.
    ADC1->CR2 |= ADC_CR2_EXTSEL_TIM3_TRGO | ADC_CR2_EXTEN_RISING;
    TIM3->ARR = 99;
    TIM3->CR2 = TIM_CR2_MMS_UPDATE;
    TIM3->CR1 = TIM_CR1_CEN;
    wait_ticks(100000);
    TIM3->CR1 = 0;

    // CCM is on the core's own bus.
    DMA2->S[0].PAR = 0x4001204C;
    DMA2->S[0].M0AR = 0x10000000;
    DMA2->S[0].NDTR = 10;
    DMA2->S[0].CR = DMA_SxCR_PSIZE_16 | DMA_SxCR_MSIZE_16 | DMA_SxCR_MINC;
    DMA2->S[0].CR |= DMA_SxCR_EN;
    ADC1->SR = 0;
    (void)ADC1->DR;
    ADC1->CR2 = ADC_CR2_ADON | ADC_CR2_DMA | ADC_CR2_DDS;
    ADC1->CR2 |= ADC_CR2_SWSTART;
    wait_ticks(840);
    say("transfer_error", (DMA2->LISR & DMA_TEIF) != 0);
    say("stream_off", (DMA2->S[0].CR & DMA_SxCR_EN) == 0);

    // Once and not in a circle: three items, then the stream is off.
    static volatile uint16_t taken[3];
    DMA2->LIFCR = DMA_FLAGS;
    DMA2->S[0].M0AR = (uint32_t)(uintptr_t)taken;
    DMA2->S[0].NDTR = 3;
    DMA2->S[0].CR |= DMA_SxCR_EN;
    ADC1->CR2 = ADC_CR2_ADON;
    ADC1->CR2 = ADC_CR2_ADON | ADC_CR2_DMA | ADC_CR2_DDS;
    ADC1->SR = 0;
    for (int n = 0; n < 3; n++) {
        ADC1->CR2 |= ADC_CR2_SWSTART;
        wait_ticks(840);
    }
    say("whole", (DMA2->LISR & DMA_TCIF) != 0);
    say("left", DMA2->S[0].NDTR);
    say("off_again", (DMA2->S[0].CR & DMA_SxCR_EN) == 0);
    say("done", 1);
    return 0;
}
