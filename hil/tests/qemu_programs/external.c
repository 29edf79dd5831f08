// The 16-bit converter: TIM3_CH1 drives CNV, TIM3_CH2 makes DMA1 write SPI2->DR, SPI2's words land by DMA1.
#include "program.h"

#define RING 400
static int16_t ring[RING];
static const uint16_t nothing = 0;
static volatile uint32_t halves, bad, started;
static volatile int16_t expected;

static void check(const int16_t *counts) {
    for (int n = 0; n < RING / 2; n++) {
        if (!started) {
            expected = counts[n];
            started = 1;
        }
        bad += counts[n] != expected;
        expected = (int16_t)(expected + 1);
    }
    halves++;
}

void dma1_stream3_handler(void) {
    uint32_t flags = DMA1->LISR;
    DMA1->LIFCR = flags;
    if (flags & DMA_HTIF << OPQ_DMA_SHIFT(3)) {
        check(ring);
    }
    if (flags & DMA_TCIF << OPQ_DMA_SHIFT(3)) {
        check(ring + RING / 2);
    }
}

int main(void) {
    clock_168mhz();
    say_open();
    RCC->AHB1ENR |= RCC_AHB1ENR_GPIOBEN | RCC_AHB1ENR_GPIOCEN | RCC_AHB1ENR_DMA1EN;
    RCC->APB1ENR |= RCC_APB1ENR_TIM3EN | RCC_APB1ENR_SPI2EN;
    GPIOC->AFR[0] = UINT32_C(2) << 24; // PC6 TIM3_CH1
    GPIOC->MODER = UINT32_C(2) << 12;
    GPIOB->AFR[1] = UINT32_C(0x55) << 20; // PB13, PB14 SPI2
    GPIOB->MODER = UINT32_C(0xA) << 26;

    SPI2->CR2 = SPI_CR2_RXDMAEN;
    SPI2->CR1 = SPI_CR1_MSTR | SPI_CR1_DFF | SPI_CR1_SSM | SPI_CR1_SSI | SPI_CR1_BR(1) |
                SPI_CR1_SPE; // 10.5 MHz
    DMA1->S[3].PAR = 0x4000380C;
    DMA1->S[3].M0AR = (uint32_t)(uintptr_t)ring;
    DMA1->S[3].NDTR = RING;
    DMA1->S[3].CR = DMA_SxCR_CHSEL(0) | DMA_SxCR_PSIZE_16 | DMA_SxCR_MSIZE_16 | DMA_SxCR_MINC | DMA_SxCR_CIRC |
                    DMA_SxCR_HTIE | DMA_SxCR_TCIE;
    DMA1->S[3].CR |= DMA_SxCR_EN;
    DMA1->S[5].PAR = 0x4000380C;
    DMA1->S[5].M0AR = (uint32_t)(uintptr_t)&nothing;
    DMA1->S[5].NDTR = 1;
    DMA1->S[5].CR = DMA_SxCR_CHSEL(5) | DMA_SxCR_PSIZE_16 | DMA_SxCR_MSIZE_16 | DMA_SxCR_DIR_M2P | DMA_SxCR_CIRC;
    DMA1->S[5].CR |= DMA_SxCR_EN;
    irq_enable(DMA1_Stream3_IRQn, 1);

    TIM3->ARR = 1399; // 60 kS/s
    TIM3->CCR1 = 190; // CNV high for 2.26 us, as long as an AD7687 converts
    TIM3->CCR2 = 202;
    TIM3->CCMR1 = TIM_CCMR1_OC1M_PWM1 | TIM_CCMR1_OC2M_PWM1;
    TIM3->CCER = TIM_CCER_CC1E;
    TIM3->DIER = TIM_DIER_CC2DE;
    TIM3->CR1 = TIM_CR1_CEN;
    while (halves < 300) {
        __asm volatile("wfi");
    }
    TIM3->CR1 = 0;
    say("bad", bad);
    say("overrun", (SPI2->SR & SPI_SR_OVR) != 0);
    say("done", 1);
    return 0;
}
