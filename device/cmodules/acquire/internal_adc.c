#include "internal_adc.h"

#include "acquire.h"
#include "board.h"
#include "front_end.h"
#include "slow.h"
#include "stm32f405.h"
#include "trigger.h"

enum { ADC_TICKS = 6 };                                    // of 84 MHz per ADC clock
#define ADC_CCR_ADCPRE_DIV6 (UINT32_C(2) << 16)            // RM0090 13.13.16
enum { SMP_28 = 2, SMP_144 = 6 };                          // 13.13.4
enum {
    REGULAR_TICKS = (28 + 12) * ADC_TICKS,
    INJECTED_TICKS = (144 + 12) * ADC_TICKS,
    SYNCHRONISING_TICKS = 5 * ADC_TICKS,                   // trigger to start: 2 to 3 ADC clocks (DS8626, tlatr)
    STABILISING_TICKS = 10 * 84,                           // tSTAB 3 us, the sensor's tSTART 10 us (DS8626)
};
#define REGULAR_CR2 (ADC_CR2_ADON | ADC_CR2_DDS | ADC_CR2_EXTSEL_TIM3_TRGO | ADC_CR2_EXTEN_RISING)

static const uint8_t slow_channels[OPQ_SLOW_CHANNELS] = {
    [OPQ_SLOW_SUPPLY] = OPQ_BOARD_SUPPLY_CHANNEL,
    [OPQ_SLOW_BATTERY] = OPQ_BOARD_BATTERY_CHANNEL,
    [OPQ_SLOW_TEMPERATURE] = OPQ_BOARD_TEMPERATURE_CHANNEL,
    [OPQ_SLOW_VREFINT] = ADC_CHANNEL_VREFINT,
};

static struct {
    uint32_t jsqr[OPQ_SLOW_CHANNELS]; // a copy in RAM
    uint32_t channel;                 // being converted, or next
    uint32_t earliest, latest;        // TIM3->CNT between which a slow conversion may start; latest 0: always
    uint16_t *buffer;
    uint32_t counts;
} adc;

static void sample_time(uint32_t channel, uint32_t code) {
    volatile uint32_t *smpr = channel > 9 ? &ADC1->SMPR1 : &ADC1->SMPR2;
    uint32_t shift = 3 * (channel % 10);
    *smpr = (*smpr & ~(UINT32_C(7) << shift)) | code << shift;
}

static void wait_ticks(uint32_t ticks) {
    uint32_t begun = TIM5->CNT;
    for (uint32_t turns = 0; TIM5->CNT - begun < ticks && turns < 16 * STABILISING_TICKS; turns++) {
    }
}

void opq_slow_begin(bool beside_mains, uint32_t oversampling) {
    uint32_t period = OPQ_SAMPLE_TICKS / oversampling;
    adc.earliest = REGULAR_TICKS + SYNCHRONISING_TICKS;
    adc.latest = beside_mains ? period - INJECTED_TICKS - SYNCHRONISING_TICKS : 0;
    adc.channel = 0;
    opq_slow_reset();
    RCC->APB2ENR |= RCC_APB2ENR_ADC1EN;
    RCC->APB2RSTR |= RCC_APB2ENR_ADC1EN;
    RCC->APB2RSTR &= ~RCC_APB2ENR_ADC1EN;
    opq_gpio_configure(OPQ_BOARD_SUPPLY, OPQ_GPIO_ANALOG, OPQ_GPIO_NO_PULL, 0);
    opq_gpio_configure(OPQ_BOARD_BATTERY, OPQ_GPIO_ANALOG, OPQ_GPIO_NO_PULL, 0);
    ADC_COMMON->CCR = ADC_CCR_ADCPRE_DIV6 | ADC_CCR_TSVREFE;
    for (uint32_t i = 0; i < OPQ_SLOW_CHANNELS; i++) {
        sample_time(slow_channels[i], SMP_144);
        adc.jsqr[i] = ADC_JSQR_JL(1) | (uint32_t)slow_channels[i] << 15; // 13.13.12: a group of one is JSQ4
    }
    ADC1->JSQR = adc.jsqr[0];
    ADC1->CR2 = ADC_CR2_ADON;
    wait_ticks(STABILISING_TICKS);
}

// Interrupt context, integers only, waits 3.2 us at most. JSQR is written while no injected conversion runs: the one
// before was started 3.3 ms ago. Interrupts are off from reading TIM3 to the start, because a late
// start would reach into the next conversion of the mains; if it is too late already, the next half is used.
OPQ_RAMFUNC void opq_slow_on_half(void) {
    if (ADC1->SR & ADC_SR_JEOC) {
        ADC1->SR = ~(ADC_SR_JEOC | ADC_SR_JSTRT);
        opq_slow_take(adc.channel, (uint16_t)ADC1->JDR[0]);
        adc.channel = (adc.channel + 1) % OPQ_SLOW_CHANNELS;
    }
    uint32_t primask = opq_irq_disable();
    uint32_t since = TIM3->CNT;
    for (uint32_t turns = 0; adc.latest != 0 && since < adc.earliest && turns < OPQ_SAMPLE_TICKS; turns++) {
        since = TIM3->CNT; // at most 3.2 us, until the conversion of the mains has ended for certain; mostly some ticks
    }
    if (adc.latest == 0 || (since >= adc.earliest && since <= adc.latest)) {
        ADC1->JSQR = adc.jsqr[adc.channel];
        ADC1->CR2 |= ADC_CR2_JSWSTART;
    }
    opq_irq_restore(primask);
}

// Interrupt or task context: sets the stream to the start of the buffer. Waits a bounded time for EN to fall (10.3.17).
OPQ_RAMFUNC static bool arm_dma(void) {
    DMA2->S[0].CR = 0;
    for (uint32_t turns = 0; DMA2->S[0].CR & DMA_SxCR_EN; turns++) {
        if (turns > 1000) {
            return false;
        }
    }
    DMA2->LIFCR = DMA_FLAGS << OPQ_DMA_SHIFT(0);
    DMA2->S[0].PAR = (uint32_t)(uintptr_t)&ADC1->DR;
    DMA2->S[0].M0AR = (uint32_t)(uintptr_t)adc.buffer;
    DMA2->S[0].NDTR = adc.counts;
    DMA2->S[0].FCR = 0; // direct mode
    DMA2->S[0].CR = DMA_SxCR_CHSEL(0) | DMA_SxCR_PL_VERY_HIGH | DMA_SxCR_MSIZE_16 | DMA_SxCR_PSIZE_16 | DMA_SxCR_MINC |
                    DMA_SxCR_CIRC | DMA_SxCR_HTIE | DMA_SxCR_TCIE | DMA_SxCR_TEIE | DMA_SxCR_DMEIE | DMA_SxCR_EN;
    return true;
}

static opq_acquire_status_t start(uint32_t oversampling, uint16_t *buffer, size_t counts, uint32_t *first_tick) {
    adc.buffer = buffer;
    adc.counts = (uint32_t)counts;
    RCC->AHB1ENR |= RCC_AHB1ENR_DMA2EN;
    opq_trigger_prepare(oversampling);
    opq_slow_begin(true, oversampling);
    opq_gpio_configure(OPQ_BOARD_MAINS, OPQ_GPIO_ANALOG, OPQ_GPIO_NO_PULL, 0);
    sample_time(OPQ_BOARD_MAINS_CHANNEL, SMP_28);
    ADC1->SQR1 = ADC_SQR1_L(1);
    ADC1->SQR3 = OPQ_BOARD_MAINS_CHANNEL;
    ADC1->CR1 = ADC_CR1_OVRIE;
    if (!arm_dma()) {
        return OPQ_ACQUIRE_NO_DEVICE;
    }
    ADC1->SR = 0;
    ADC1->CR2 = REGULAR_CR2 | ADC_CR2_DMA;
    opq_irq_enable(DMA2_Stream0_IRQn, 2);
    opq_irq_enable(ADC_IRQn, 2);
    return opq_trigger_start(first_tick) ? OPQ_ACQUIRE_OK : OPQ_ACQUIRE_NO_CLOCK;
}

static void stop(void) {
    opq_trigger_stop();
    opq_irq_off(DMA2_Stream0_IRQn);
    opq_irq_off(ADC_IRQn);
    DMA2->S[0].CR = 0;
    ADC1->CR2 = 0;
}

// Interrupt context: waits at most 5 us for the first trigger. 13.8.2: set up DMA, clear OVR, then trigger.
OPQ_RAMFUNC static void restart(void) {
    uint32_t first_tick;
    opq_trigger_stop();
    ADC1->CR2 = REGULAR_CR2; // DMA off: after OVR its bit has to rise
    bool armed = arm_dma();
    ADC1->SR = 0;
    ADC1->CR2 = REGULAR_CR2 | ADC_CR2_DMA;
    TIM3->CNT = TIM3->ARR + 1 - OPQ_TRIGGER_LEAD;
    if (armed && opq_trigger_start(&first_tick)) {
        opq_acquire_on_restart(first_tick);
    }
}

// Interrupt context: one half buffer (the flag of the other half causes another interrupt), integers only.
OPQ_RAMFUNC void DMA2_Stream0_IRQHandler(void) {
    uint32_t flags = DMA2->LISR & DMA_FLAGS;
    DMA2->LIFCR = flags;
    opq_slow_on_half();
    if (flags & (DMA_TEIF | DMA_DMEIF)) {
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

OPQ_RAMFUNC void ADC_IRQHandler(void) {
    if (ADC1->SR & ADC_SR_OVR) {
        restart();
    }
}

const opq_converter_t opq_internal_adc = {
    .name = "internal",
    .part = "STM32F405 ADC1",
    .bits = 12,
    .class_a = false,
    .enob = 10.4f, // DS8626, "ADC dynamic accuracy at fADC = 18 MHz": typical
    .front_end_lsb = OPQ_BOARD_INTERNAL_NOISE_LSB,
    .v_per_lsb = OPQ_BOARD_INTERNAL_V_PER_LSB,
    .form = {.shift = 4, .flip = 0x8000, .low = -OPQ_BOARD_INTERNAL_LINEAR_LSB, .high = OPQ_BOARD_INTERNAL_LINEAR_LSB},
    .aperture_ticks = 28 * ADC_TICKS, // the input is held when the sampling time ends (13.5)
    .oversamplings = {1, 2, 4, 5, 0},
    .oversampling_default = 5,
    .start = start,
    .stop = stop,
};
