// The Box's own board: STM32F405RG, 12 MHz TCXO (0.1 ppm/K), mains on an external 16-bit SPI converter.
// USART1 on PA9/PA10 is also where the ROM boot loader listens (AN2606, STM32F40xxx/41xxx).
#ifndef OPQ_BOARD_H
#define OPQ_BOARD_H

#include "gpio.h"

#define OPQ_BOARD_NAME "opqbox" // the image header's hardware, at most 15 characters
#define OPQ_BOARD_CHIP "STM32F405RG"

#define OPQ_BOARD_HSE_HZ UINT32_C(12000000)
#define OPQ_BOARD_HSE_BYPASS 1 // the TCXO drives OSC_IN (RM0090 7.2.1, external source)
#define OPQ_BOARD_TCXO 1
#define OPQ_BOARD_PVD_LEVEL 7u // 2.9 V

#define OPQ_BOARD_LINK_TX OPQ_PIN(A, 9)  // USART1 AF7
#define OPQ_BOARD_LINK_RX OPQ_PIN(A, 10)
#define OPQ_BOARD_GPS_TX OPQ_PIN(A, 2)  // USART2 AF7: the ROM does not listen there (AN2606), so a GPS cannot hold it
#define OPQ_BOARD_GPS_RX OPQ_PIN(A, 3)
#define OPQ_BOARD_PPS OPQ_PIN(A, 0)      // TIM5_CH1 AF2

#define OPQ_BOARD_CONVERTER_INTERNAL 0   // default of the setting `converter`
#define OPQ_BOARD_MAINS OPQ_PIN(C, 0)    // the second, coarse path: same divider, internal ADC
#define OPQ_BOARD_MAINS_CHANNEL 10u      // ADC1_IN10 (DS8626 table 7)
#define OPQ_BOARD_SUPPLY OPQ_PIN(C, 1)   // 5 V supply before the battery's switch, through a divider
#define OPQ_BOARD_SUPPLY_CHANNEL 11u
#define OPQ_BOARD_SUPPLY_DIVIDER 2.0f
#define OPQ_BOARD_BATTERY OPQ_PIN(C, 2)  // Li-ion cell, through a divider
#define OPQ_BOARD_BATTERY_CHANNEL 12u
#define OPQ_BOARD_BATTERY_DIVIDER 2.0f
#define OPQ_BOARD_TEMPERATURE_CHANNEL 16u // RM0090 13.10

#define OPQ_BOARD_CNV OPQ_PIN(C, 6)  // TIM3_CH1 AF2
#define OPQ_BOARD_SCK OPQ_PIN(B, 13) // SPI2 AF5
#define OPQ_BOARD_SDO OPQ_PIN(B, 14) // SPI2_MISO

#define OPQ_BOARD_LED_STATUS OPQ_PIN(B, 0) // green
#define OPQ_BOARD_LED_TIME OPQ_PIN(B, 1)   // yellow
#define OPQ_BOARD_LED_FAULT OPQ_PIN(B, 5)  // red
#define OPQ_BOARD_LED_ON true              // high lights

#define OPQ_BOARD_RECOVERY OPQ_PIN(C, 8)   // jumper to ground, low when set
#define OPQ_BOARD_REPL OPQ_PIN(C, 9)       // jumper to ground, low asks for the REPL

#endif
