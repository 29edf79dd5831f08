// The STM32F405's registers that the firmware uses and no other, named as in RM0090 rev. 19. Each block cites
// its section; the comment behind a member is its offset (hil/REGISTERS.md and a test are made from these lines).
#ifndef OPQ_STM32F405_H
#define OPQ_STM32F405_H

#include "cortex_m4.h"

// Clocks that the whole firmware counts on (power.c sets them, or reports that it could not).
#define OPQ_HCLK_HZ UINT32_C(168000000)
#define OPQ_PCLK1_HZ UINT32_C(42000000)
#define OPQ_PCLK2_HZ UINT32_C(84000000) // and TIM2..TIM5: 2 x PCLK1 (RM0090 7.2, "Clocks")

// Memory (RM0090 3.3, table 5; 2.3.1)
#define OPQ_FLASH_BASE UINT32_C(0x08000000)
#define OPQ_SRAM_BASE UINT32_C(0x20000000)

// Interrupt numbers (RM0090 12.2, table 61)
enum {
    PVD_IRQn = 1, FLASH_IRQn = 4, RCC_IRQn = 5, EXTI0_IRQn = 6, DMA1_Stream3_IRQn = 14, ADC_IRQn = 18,
    TIM3_IRQn = 29, USART1_IRQn = 37, USART2_IRQn = 38, DMA1_Stream5_IRQn = 16, TIM5_IRQn = 50, DMA2_Stream0_IRQn = 56,
    OPQ_IRQ_COUNT = 82,
};

typedef struct {                  // RM0090 7.3 RCC
    volatile uint32_t CR;         // 0x00
    volatile uint32_t PLLCFGR;    // 0x04
    volatile uint32_t CFGR;       // 0x08
    volatile uint32_t CIR;        // 0x0C
    volatile uint32_t AHB1RSTR;   // 0x10
    volatile uint32_t AHB2RSTR;   // 0x14
    volatile uint32_t AHB3RSTR;   // 0x18
    uint32_t reserved0;
    volatile uint32_t APB1RSTR;   // 0x20
    volatile uint32_t APB2RSTR;   // 0x24
    uint32_t reserved1[2];
    volatile uint32_t AHB1ENR;    // 0x30
    volatile uint32_t AHB2ENR;    // 0x34
    volatile uint32_t AHB3ENR;    // 0x38
    uint32_t reserved2;
    volatile uint32_t APB1ENR;    // 0x40
    volatile uint32_t APB2ENR;    // 0x44
    uint32_t reserved3[10];
    volatile uint32_t BDCR;       // 0x70
    volatile uint32_t CSR;        // 0x74
} opq_rcc_t;
#define RCC OPQ_AT(opq_rcc_t, 0x40023800)
#define RCC_CR_HSION OPQ_BIT(0)
#define RCC_CR_HSIRDY OPQ_BIT(1)
#define RCC_CR_HSEON OPQ_BIT(16)
#define RCC_CR_HSERDY OPQ_BIT(17)
#define RCC_CR_HSEBYP OPQ_BIT(18)
#define RCC_CR_CSSON OPQ_BIT(19)
#define RCC_CR_PLLON OPQ_BIT(24)
#define RCC_CR_PLLRDY OPQ_BIT(25)
#define RCC_PLLCFGR_PLLM(m) ((uint32_t)(m))
#define RCC_PLLCFGR_PLLN(n) ((uint32_t)(n) << 6)
#define RCC_PLLCFGR_PLLP(p) ((((uint32_t)(p) / 2u) - 1u) << 16)
#define RCC_PLLCFGR_PLLSRC_HSE OPQ_BIT(22)
#define RCC_PLLCFGR_PLLQ(q) ((uint32_t)(q) << 24)
#define RCC_CFGR_SW (UINT32_C(3) << 0)
#define RCC_CFGR_SW_PLL (UINT32_C(2) << 0)
#define RCC_CFGR_SWS (UINT32_C(3) << 2)
#define RCC_CFGR_SWS_PLL (UINT32_C(2) << 2)
#define RCC_CFGR_HPRE (UINT32_C(0xF) << 4)
#define RCC_CFGR_PPRE1_DIV4 (UINT32_C(5) << 10)
#define RCC_CFGR_PPRE2_DIV2 (UINT32_C(4) << 13)
#define RCC_CIR_CSSC OPQ_BIT(23)
#define RCC_AHB1ENR_GPIOAEN OPQ_BIT(0)
#define RCC_AHB1ENR_GPIOBEN OPQ_BIT(1)
#define RCC_AHB1ENR_GPIOCEN OPQ_BIT(2)
#define RCC_AHB1ENR_GPIODEN OPQ_BIT(3)
#define RCC_AHB1ENR_CCMDATARAMEN OPQ_BIT(20)
#define RCC_AHB1ENR_DMA1EN OPQ_BIT(21)
#define RCC_AHB1ENR_DMA2EN OPQ_BIT(22)
#define RCC_APB1ENR_TIM3EN OPQ_BIT(1)
#define RCC_APB1ENR_TIM5EN OPQ_BIT(3)
#define RCC_APB1ENR_SPI2EN OPQ_BIT(14)
#define RCC_APB1ENR_USART2EN OPQ_BIT(17)
#define RCC_APB1ENR_PWREN OPQ_BIT(28)
#define RCC_APB2ENR_USART1EN OPQ_BIT(4)
#define RCC_APB2ENR_ADC1EN OPQ_BIT(8)
#define RCC_APB2ENR_SYSCFGEN OPQ_BIT(14)
#define RCC_CSR_RMVF OPQ_BIT(24)
#define RCC_CSR_BORRSTF OPQ_BIT(25)
#define RCC_CSR_PINRSTF OPQ_BIT(26)
#define RCC_CSR_PORRSTF OPQ_BIT(27)
#define RCC_CSR_SFTRSTF OPQ_BIT(28)
#define RCC_CSR_IWDGRSTF OPQ_BIT(29)
#define RCC_CSR_WWDGRSTF OPQ_BIT(30)
#define RCC_CSR_LPWRRSTF OPQ_BIT(31)

typedef struct {                 // RM0090 8.4 GPIO
    volatile uint32_t MODER;     // 0x00, two bits a pin: 0 input, 1 output, 2 alternate, 3 analog
    volatile uint32_t OTYPER;    // 0x04
    volatile uint32_t OSPEEDR;   // 0x08
    volatile uint32_t PUPDR;     // 0x0C, two bits a pin: 1 up, 2 down
    volatile uint32_t IDR;       // 0x10
    volatile uint32_t ODR;       // 0x14
    volatile uint32_t BSRR;      // 0x18
    volatile uint32_t LCKR;      // 0x1C
    volatile uint32_t AFR[2];    // 0x20
} opq_gpio_t;
#define GPIOA OPQ_AT(opq_gpio_t, 0x40020000)
#define GPIOB OPQ_AT(opq_gpio_t, 0x40020400)
#define GPIOC OPQ_AT(opq_gpio_t, 0x40020800)
#define GPIOD OPQ_AT(opq_gpio_t, 0x40020C00)

typedef struct {                    // RM0090 9.2 SYSCFG
    volatile uint32_t MEMRMP;       // 0x00
    volatile uint32_t PMC;          // 0x04
    volatile uint32_t EXTICR[4];    // 0x08
    uint32_t reserved0[2];
    volatile uint32_t CMPCR;        // 0x20
} opq_syscfg_t;
#define SYSCFG OPQ_AT(opq_syscfg_t, 0x40013800)

typedef struct {               // RM0090 12.3 EXTI
    volatile uint32_t IMR;     // 0x00
    volatile uint32_t EMR;     // 0x04
    volatile uint32_t RTSR;    // 0x08
    volatile uint32_t FTSR;    // 0x0C
    volatile uint32_t SWIER;   // 0x10
    volatile uint32_t PR;      // 0x14, written with 1 to clear
} opq_exti_t;
#define EXTI OPQ_AT(opq_exti_t, 0x40013C00)
#define EXTI_LINE_PVD OPQ_BIT(16) // RM0090 12.2.5

typedef struct {                // RM0090 18.4 TIM2 to TIM5
    volatile uint32_t CR1;      // 0x00
    volatile uint32_t CR2;      // 0x04
    volatile uint32_t SMCR;     // 0x08
    volatile uint32_t DIER;     // 0x0C
    volatile uint32_t SR;       // 0x10, written with 0 to clear
    volatile uint32_t EGR;      // 0x14
    volatile uint32_t CCMR1;    // 0x18
    volatile uint32_t CCMR2;    // 0x1C
    volatile uint32_t CCER;     // 0x20
    volatile uint32_t CNT;      // 0x24
    volatile uint32_t PSC;      // 0x28
    volatile uint32_t ARR;      // 0x2C
    uint32_t reserved0;
    volatile uint32_t CCR1;     // 0x34
    volatile uint32_t CCR2;     // 0x38
    volatile uint32_t CCR3;     // 0x3C
    volatile uint32_t CCR4;     // 0x40
    uint32_t reserved1;
    volatile uint32_t DCR;      // 0x48
    volatile uint32_t DMAR;     // 0x4C
    volatile uint32_t OR;       // 0x50
} opq_tim_t;
#define TIM2 OPQ_AT(opq_tim_t, 0x40000000)
#define TIM3 OPQ_AT(opq_tim_t, 0x40000400)
#define TIM4 OPQ_AT(opq_tim_t, 0x40000800)
#define TIM5 OPQ_AT(opq_tim_t, 0x40000C00)
#define TIM_CR1_CEN OPQ_BIT(0)
#define TIM_CR2_MMS_UPDATE (UINT32_C(2) << 4)
#define TIM_SMCR_TS_ITR1 (UINT32_C(1) << 4) // TIM5: TIM3_TRGO (RM0090 18.4.3, table 97)
#define TIM_DIER_CC1IE OPQ_BIT(1)
#define TIM_DIER_CC3IE OPQ_BIT(3)
#define TIM_DIER_CC2DE OPQ_BIT(10)
#define TIM_SR_UIF OPQ_BIT(0)
#define TIM_SR_CC1IF OPQ_BIT(1)
#define TIM_SR_CC2IF OPQ_BIT(2)
#define TIM_SR_CC3IF OPQ_BIT(3)
#define TIM_SR_CC1OF OPQ_BIT(9)
#define TIM_SR_CC2OF OPQ_BIT(10)
#define TIM_EGR_UG OPQ_BIT(0)
#define TIM_CCMR1_CC1S_TI1 (UINT32_C(1) << 0)
#define TIM_CCMR1_IC1F(n) ((uint32_t)(n) << 4)
#define TIM_CCMR1_CC2S_TRC (UINT32_C(3) << 8)
#define TIM_CCMR1_OC1M_PWM1 (UINT32_C(6) << 4)
#define TIM_CCMR1_OC2M_PWM1 (UINT32_C(6) << 12)
#define TIM_CCER_CC1E OPQ_BIT(0)
#define TIM_CCER_CC2E OPQ_BIT(4)
#define TIM_CCER_CC4E OPQ_BIT(12)

typedef struct {                // RM0090 13.13 ADC
    volatile uint32_t SR;       // 0x00, written with 0 to clear
    volatile uint32_t CR1;      // 0x04
    volatile uint32_t CR2;      // 0x08
    volatile uint32_t SMPR1;    // 0x0C, channels 10..18, three bits each
    volatile uint32_t SMPR2;    // 0x10, channels 0..9
    volatile uint32_t JOFR[4];  // 0x14
    volatile uint32_t HTR;      // 0x24
    volatile uint32_t LTR;      // 0x28
    volatile uint32_t SQR1;     // 0x2C
    volatile uint32_t SQR2;     // 0x30
    volatile uint32_t SQR3;     // 0x34
    volatile uint32_t JSQR;     // 0x38
    volatile uint32_t JDR[4];   // 0x3C
    volatile uint32_t DR;       // 0x4C
} opq_adc_t;
typedef struct {                // RM0090 13.13.15 ADC common
    volatile uint32_t CSR;      // 0x00
    volatile uint32_t CCR;      // 0x04
    volatile uint32_t CDR;      // 0x08
} opq_adc_common_t;
#define ADC1 OPQ_AT(opq_adc_t, 0x40012000)
#define ADC_COMMON OPQ_AT(opq_adc_common_t, 0x40012300)
#define ADC_SR_EOC OPQ_BIT(1)
#define ADC_SR_JEOC OPQ_BIT(2)
#define ADC_SR_JSTRT OPQ_BIT(3)
#define ADC_SR_OVR OPQ_BIT(5)
#define ADC_CR1_SCAN OPQ_BIT(8)
#define ADC_CR1_OVRIE OPQ_BIT(26)
#define ADC_CR2_ADON OPQ_BIT(0)
#define ADC_CR2_DMA OPQ_BIT(8)
#define ADC_CR2_DDS OPQ_BIT(9)
#define ADC_CR2_JEXTSEL_TIM3_CC4 (UINT32_C(5) << 16) // 13.13.3: 0101, timer 3 CC4 event
#define ADC_CR2_JEXTEN_RISING (UINT32_C(1) << 20)
#define ADC_CR2_JSWSTART OPQ_BIT(22)
#define ADC_CR2_EXTSEL_TIM3_TRGO (UINT32_C(8) << 24)
#define ADC_CR2_EXTEN_RISING (UINT32_C(1) << 28)
#define ADC_CR2_SWSTART OPQ_BIT(30)
#define ADC_SQR1_L(count) (((uint32_t)(count) - 1u) << 20)
#define ADC_JSQR_JL(count) (((uint32_t)(count) - 1u) << 20)
#define ADC_CCR_ADCPRE_DIV4 (UINT32_C(1) << 16)
#define ADC_CCR_TSVREFE OPQ_BIT(23)
#define ADC_CHANNEL_VREFINT 17u

typedef struct {                 // RM0090 10.5.5 one DMA stream
    volatile uint32_t CR;        // 0x00
    volatile uint32_t NDTR;      // 0x04
    volatile uint32_t PAR;       // 0x08
    volatile uint32_t M0AR;      // 0x0C
    volatile uint32_t M1AR;      // 0x10
    volatile uint32_t FCR;       // 0x14
} opq_dma_stream_t;
typedef struct {                 // RM0090 10.5 DMA
    volatile uint32_t LISR;      // 0x00
    volatile uint32_t HISR;      // 0x04
    volatile uint32_t LIFCR;     // 0x08, written with 1 to clear
    volatile uint32_t HIFCR;     // 0x0C, written with 1 to clear
    opq_dma_stream_t S[8];       // 0x10
} opq_dma_t;
#define DMA1 OPQ_AT(opq_dma_t, 0x40026000)
#define DMA2 OPQ_AT(opq_dma_t, 0x40026400)
#define DMA_SxCR_EN OPQ_BIT(0)
#define DMA_SxCR_DMEIE OPQ_BIT(1)
#define DMA_SxCR_TEIE OPQ_BIT(2)
#define DMA_SxCR_HTIE OPQ_BIT(3)
#define DMA_SxCR_TCIE OPQ_BIT(4)
#define DMA_SxCR_DIR_M2P (UINT32_C(1) << 6)
#define DMA_SxCR_CIRC OPQ_BIT(8)
#define DMA_SxCR_MINC OPQ_BIT(10)
#define DMA_SxCR_PSIZE_16 (UINT32_C(1) << 11)
#define DMA_SxCR_MSIZE_16 (UINT32_C(1) << 13)
#define DMA_SxCR_PL_VERY_HIGH (UINT32_C(3) << 16)
#define DMA_SxCR_CHSEL(n) ((uint32_t)(n) << 25)
#define DMA_FEIF OPQ_BIT(0) // as they stand for stream 0 and 4; stream n & 3 is shifted by OPQ_DMA_SHIFT
#define DMA_DMEIF OPQ_BIT(2)
#define DMA_TEIF OPQ_BIT(3)
#define DMA_HTIF OPQ_BIT(4)
#define DMA_TCIF OPQ_BIT(5)
#define DMA_FLAGS (DMA_FEIF | DMA_DMEIF | DMA_TEIF | DMA_HTIF | DMA_TCIF)
#define OPQ_DMA_SHIFT(stream) ((((stream)&1u) * 6u) + (((stream)&2u) * 8u)) // 10.5.1: 0, 6, 16, 22

typedef struct {                // RM0090 30.6 USART
    volatile uint32_t SR;       // 0x00
    volatile uint32_t DR;       // 0x04
    volatile uint32_t BRR;      // 0x08
    volatile uint32_t CR1;      // 0x0C
    volatile uint32_t CR2;      // 0x10
    volatile uint32_t CR3;      // 0x14
    volatile uint32_t GTPR;     // 0x18
} opq_usart_t;
#define USART1 OPQ_AT(opq_usart_t, 0x40011000)
#define USART2 OPQ_AT(opq_usart_t, 0x40004400)
#define USART_SR_FE OPQ_BIT(1)
#define USART_SR_NF OPQ_BIT(2)
#define USART_SR_ORE OPQ_BIT(3)
#define USART_SR_IDLE OPQ_BIT(4)
#define USART_SR_RXNE OPQ_BIT(5)
#define USART_SR_TC OPQ_BIT(6)
#define USART_SR_TXE OPQ_BIT(7)
#define USART_CR1_RE OPQ_BIT(2)
#define USART_CR1_TE OPQ_BIT(3)
#define USART_CR1_RXNEIE OPQ_BIT(5)
#define USART_CR1_TXEIE OPQ_BIT(7)
#define USART_CR1_UE OPQ_BIT(13)

typedef struct {                // RM0090 28.5 SPI
    volatile uint32_t CR1;      // 0x00
    volatile uint32_t CR2;      // 0x04
    volatile uint32_t SR;       // 0x08
    volatile uint32_t DR;       // 0x0C
} opq_spi_t;
#define SPI2 OPQ_AT(opq_spi_t, 0x40003800)
#define SPI_CR1_MSTR OPQ_BIT(2)
#define SPI_CR1_BR(n) ((uint32_t)(n) << 3) // PCLK / 2^(n+1)
#define SPI_CR1_SPE OPQ_BIT(6)
#define SPI_CR1_SSI OPQ_BIT(8)
#define SPI_CR1_SSM OPQ_BIT(9)
#define SPI_CR1_DFF OPQ_BIT(11) // 16-bit frames
#define SPI_CR2_RXDMAEN OPQ_BIT(0)
#define SPI_SR_RXNE OPQ_BIT(0)
#define SPI_SR_OVR OPQ_BIT(6)

typedef struct {                // RM0090 3.9 embedded flash interface
    volatile uint32_t ACR;      // 0x00
    volatile uint32_t KEYR;     // 0x04
    volatile uint32_t OPTKEYR;  // 0x08
    volatile uint32_t SR;       // 0x0C, flags written with 1 to clear
    volatile uint32_t CR;       // 0x10
    volatile uint32_t OPTCR;    // 0x14
} opq_flash_t;
#define FLASH OPQ_AT(opq_flash_t, 0x40023C00)
#define FLASH_ACR_LATENCY(n) ((uint32_t)(n))
#define FLASH_ACR_PRFTEN OPQ_BIT(8)
#define FLASH_ACR_ICEN OPQ_BIT(9)
#define FLASH_ACR_DCEN OPQ_BIT(10)
#define FLASH_ACR_ICRST OPQ_BIT(11)
#define FLASH_ACR_DCRST OPQ_BIT(12)
#define FLASH_KEY1 UINT32_C(0x45670123) // 3.6.1
#define FLASH_KEY2 UINT32_C(0xCDEF89AB)
#define FLASH_OPTKEY1 UINT32_C(0x08192A3B) // 3.7.2
#define FLASH_OPTKEY2 UINT32_C(0x4C5D6E7F)
#define FLASH_SR_EOP OPQ_BIT(0)
#define FLASH_SR_OPERR OPQ_BIT(1)
#define FLASH_SR_WRPERR OPQ_BIT(4)
#define FLASH_SR_PGAERR OPQ_BIT(5)
#define FLASH_SR_PGPERR OPQ_BIT(6)
#define FLASH_SR_PGSERR OPQ_BIT(7)
#define FLASH_SR_BSY OPQ_BIT(16)
#define FLASH_CR_PG OPQ_BIT(0)
#define FLASH_CR_SER OPQ_BIT(1)
#define FLASH_CR_SNB(n) ((uint32_t)(n) << 3)
#define FLASH_CR_PSIZE_32 (UINT32_C(2) << 8)
#define FLASH_CR_STRT OPQ_BIT(16)
#define FLASH_CR_LOCK OPQ_BIT(31)
#define FLASH_OPTCR_OPTLOCK OPQ_BIT(0)
#define FLASH_OPTCR_OPTSTRT OPQ_BIT(1)
#define FLASH_OPTCR_BOR_LEV (UINT32_C(3) << 2) // 3.9.10: 0 is level 3 (2.70 V), 3 is off
#define FLASH_OPTCR_NWRP(sectors) ((uint32_t)(sectors) << 16)  // 1: the sector can be written

typedef struct {               // RM0090 21.4 IWDG
    volatile uint32_t KR;      // 0x00
    volatile uint32_t PR;      // 0x04
    volatile uint32_t RLR;     // 0x08
    volatile uint32_t SR;      // 0x0C
} opq_iwdg_t;
#define IWDG OPQ_AT(opq_iwdg_t, 0x40003000)
#define IWDG_KR_RELOAD UINT32_C(0xAAAA)
#define IWDG_KR_UNLOCK UINT32_C(0x5555)
#define IWDG_KR_START UINT32_C(0xCCCC)

typedef struct {               // RM0090 5.4 PWR
    volatile uint32_t CR;      // 0x00
    volatile uint32_t CSR;     // 0x04
} opq_pwr_t;
#define PWR OPQ_AT(opq_pwr_t, 0x40007000)
#define PWR_CR_PVDE OPQ_BIT(4)
#define PWR_CR_PLS(n) ((uint32_t)(n) << 5)
#define PWR_CR_VOS OPQ_BIT(14) // scale 1, needed for 168 MHz (RM0090 5.1.4)
#define PWR_CSR_PVDO OPQ_BIT(2)

// RM0090 38.6 DBGMCU, 39 device electronic signature, DS8626 table 80/82 (factory calibration at 3.3 V)
#define DBGMCU_IDCODE (*OPQ_AT(uint32_t, 0xE0042000))
#define DBGMCU_IDCODE_DEV_ID UINT32_C(0xFFF) // 0x413: F405/407/415/417
#define DBGMCU_DEV_F42X UINT32_C(0x419)
#define DBGMCU_REV_A UINT32_C(0x1000)
#define DBGMCU_APB1_FZ (*OPQ_AT(uint32_t, 0xE0042008))
#define DBGMCU_APB1_FZ_IWDG_STOP OPQ_BIT(12)
#define UID (OPQ_AT(uint32_t, 0x1FFF7A10)) // three words
#define FLASH_SIZE_KB (*OPQ_AT(uint16_t, 0x1FFF7A22))
#define VREFINT_CAL (*OPQ_AT(uint16_t, 0x1FFF7A2A))
#define TS_CAL1 (*OPQ_AT(uint16_t, 0x1FFF7A2C)) // at 30 C
#define TS_CAL2 (*OPQ_AT(uint16_t, 0x1FFF7A2E)) // at 110 C

#endif
