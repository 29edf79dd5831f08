// An AD7687 (Analog Devices, 16 bits, 250 kS/s, differential, two's complement) on SPI2, read without the CPU.
//
//     TIM3 update (TRGO) = CNV rises: the input is held, the conversion begins      tick 0
//     CNV falls after t_CONV (at most 2.2 us): SDO shows the MSB                    tick 190
//     TIM3_CH2 compare asks DMA1 stream 5 to write a word to SPI2_DR: 16 clocks     tick 202
//     SPI2_RX asks DMA1 stream 3 to store the word                                  tick ~335
//
// "CS mode, 3-wire, without busy indicator": SDI at VIO, CNV from PC6 (TIM3_CH1), SCK PB13, SDO PB14. Timings of its
// datasheet (rev. E, tables 4 and 5, VDD 4.5 to 5.5 V, VIO above 2.3 V): t_CONV <= 2.2 us, t_ACQ >= 1.8 us,
// t_CYC >= 4 us, t_EN <= 22 ns, t_SCK >= 15 ns. An AD7688 (500 kS/s) fits as well; an AD7980 (straight binary) needs
// `flip` 0x8000 in the form below, and its own enob and v_per_lsb.
#include "acquire.h"
#include "board.h"
#include "front_end.h"
#include "internal_adc.h"
#include "stm32f405.h"
#include "trigger.h"

enum {
    CNV_TICKS = 190,  // 2.26 us, t_CONV at most 2.2 us
    READ_TICKS = 202, // 143 ns later, t_EN at most 22 ns
};
static const uint32_t spi_cr1 = SPI_CR1_MSTR | SPI_CR1_SSM | SPI_CR1_SSI | SPI_CR1_DFF | // mode 0: SDO changes on
                                SPI_CR1_BR(1) | SPI_CR1_SPE; // falling edges; PCLK1 / 4 = 10.5 MHz, 16 bits in 1.5 us

static uint16_t dummy; // DMA1 reads it: in SRAM
static struct {
    uint16_t *buffer;
    uint32_t counts;
    uint32_t spi_cr1; // a copy in RAM
} spi;

// Interrupt or task context. Waits a bounded time for EN to fall (RM0090 10.3.17).
OPQ_RAMFUNC static bool stream_off(uint32_t number) {
    DMA1->S[number].CR = 0;
    for (uint32_t turns = 0; turns < 1000; turns++) {
        if ((DMA1->S[number].CR & DMA_SxCR_EN) == 0) {
            return true;
        }
    }
    return false;
}

// Interrupt or task context: sets both streams and SPI2 as at the start, in any state.
OPQ_RAMFUNC static bool arm(void) {
    SPI2->CR2 = 0;
    SPI2->CR1 = 0;
    if (!stream_off(3) || !stream_off(5)) {
        return false;
    }
    (void)SPI2->DR; // 28.3.10: DR, then SR, clears OVR
    (void)SPI2->SR;
    DMA1->LIFCR = DMA_FLAGS << OPQ_DMA_SHIFT(3);
    DMA1->HIFCR = DMA_FLAGS << OPQ_DMA_SHIFT(5);
    DMA1->S[3].PAR = (uint32_t)(uintptr_t)&SPI2->DR;
    DMA1->S[3].M0AR = (uint32_t)(uintptr_t)spi.buffer;
    DMA1->S[3].NDTR = spi.counts;
    DMA1->S[3].FCR = 0; // direct mode
    DMA1->S[3].CR = DMA_SxCR_CHSEL(0) | DMA_SxCR_PL_VERY_HIGH | DMA_SxCR_MSIZE_16 | DMA_SxCR_PSIZE_16 | DMA_SxCR_MINC |
                    DMA_SxCR_CIRC | DMA_SxCR_HTIE | DMA_SxCR_TCIE | DMA_SxCR_TEIE | DMA_SxCR_DMEIE | DMA_SxCR_EN;
    DMA1->S[5].PAR = (uint32_t)(uintptr_t)&SPI2->DR;
    DMA1->S[5].M0AR = (uint32_t)(uintptr_t)&dummy;
    DMA1->S[5].NDTR = 1;
    DMA1->S[5].FCR = 0;
    DMA1->S[5].CR = DMA_SxCR_CHSEL(5) | DMA_SxCR_PL_VERY_HIGH | DMA_SxCR_MSIZE_16 | DMA_SxCR_PSIZE_16 |
                    DMA_SxCR_DIR_M2P | DMA_SxCR_CIRC | DMA_SxCR_EN;
    SPI2->CR2 = SPI_CR2_RXDMAEN;
    SPI2->CR1 = spi.spi_cr1;
    return true;
}

static opq_acquire_status_t start(uint32_t oversampling, uint16_t *buffer, size_t counts, uint32_t *first_tick) {
    spi.buffer = buffer;
    spi.counts = (uint32_t)counts;
    spi.spi_cr1 = spi_cr1;
    RCC->AHB1ENR |= RCC_AHB1ENR_DMA1EN;
    RCC->APB1ENR |= RCC_APB1ENR_SPI2EN;
    opq_trigger_prepare(oversampling); // the counter is past CNV_TICKS: CNV is low
    TIM3->CCR1 = CNV_TICKS;
    TIM3->CCR2 = READ_TICKS;
    TIM3->CCMR1 = TIM_CCMR1_OC1M_PWM1; // CH1 high from the update to CCR1; CH2 only compares
    TIM3->CCER = TIM_CCER_CC1E;
    TIM3->DIER = TIM_DIER_CC2DE;
    opq_slow_begin(false, oversampling);
    if (!arm()) {
        return OPQ_ACQUIRE_NO_DEVICE;
    }
    opq_gpio_configure(OPQ_BOARD_CNV, OPQ_GPIO_ALTERNATE, OPQ_GPIO_NO_PULL, 2);
    opq_gpio_configure(OPQ_BOARD_SCK, OPQ_GPIO_ALTERNATE, OPQ_GPIO_NO_PULL, 5);
    opq_gpio_configure(OPQ_BOARD_SDO, OPQ_GPIO_ALTERNATE, OPQ_GPIO_PULL_DOWN, 5);
    opq_irq_enable(DMA1_Stream3_IRQn, 2);
    return opq_trigger_start(first_tick) ? OPQ_ACQUIRE_OK : OPQ_ACQUIRE_NO_CLOCK;
}

static void stop(void) {
    opq_trigger_stop();
    opq_irq_off(DMA1_Stream3_IRQn);
    (void)stream_off(3);
    (void)stream_off(5);
    SPI2->CR1 = 0;
    ADC1->CR2 = 0;
}

// Interrupt context: waits at most 5 us for the first trigger.
OPQ_RAMFUNC static void restart(void) {
    uint32_t first_tick;
    opq_trigger_stop();
    TIM3->CNT = TIM3->ARR + 1 - OPQ_TRIGGER_LEAD; // CNV falls, if it was high, and the converter is done before it rises
    if (arm() && opq_trigger_start(&first_tick)) {
        opq_acquire_on_restart(first_tick);
    }
}

// Interrupt context: one half buffer, integers only.
OPQ_RAMFUNC void DMA1_Stream3_IRQHandler(void) {
    uint32_t flags = DMA1->LISR >> OPQ_DMA_SHIFT(3) & DMA_FLAGS;
    DMA1->LIFCR = flags << OPQ_DMA_SHIFT(3);
    opq_slow_on_half();
    if ((flags & (DMA_TEIF | DMA_DMEIF)) != 0 || (SPI2->SR & SPI_SR_OVR) != 0) {
        restart();
        return;
    }
    if (flags & DMA_HTIF) {
        opq_acquire_on_half(0, opq_trigger_newest());
    }
    if (flags & DMA_TCIF) {
        opq_acquire_on_half(1, opq_trigger_newest());
    }
}

const opq_converter_t opq_external_adc = {
    .name = "external",
    .part = "AD7687",
    .bits = 16,
    .class_a = true,
    .enob = 15.5f, // datasheet, table 2: SINAD 95 dB typical at 20 kHz, VREF 5 V
    .front_end_lsb = OPQ_BOARD_EXTERNAL_NOISE_LSB,
    .v_per_lsb = OPQ_BOARD_EXTERNAL_V_PER_LSB,
    .form = {.shift = 0, .flip = 0, .low = -OPQ_BOARD_EXTERNAL_LINEAR_LSB, .high = OPQ_BOARD_EXTERNAL_LINEAR_LSB},
    .aperture_ticks = 0, // aperture delay 2.5 ns: a fifth of a tick
    .oversamplings = {1, 2, 4, 5, 7, 8, 10, 0},
    .oversampling_default = 10,
    .start = start,
    .stop = stop,
};
