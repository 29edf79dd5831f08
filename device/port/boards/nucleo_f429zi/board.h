// NUCLEO-F429ZI (MB1137; F429ZI: the F405's blocks, and a second bank of flash that is not used): mains on the internal
// 12-bit ADC. Pins by their names on the Zio connectors (UM1974 6.11). At 168 MHz of its 180, without over-drive.
#ifndef OPQ_BOARD_H
#define OPQ_BOARD_H

#include "gpio.h"

#define OPQ_BOARD_NAME "nucleo_f429zi" // the image header's hardware, at most 15 characters
#define OPQ_BOARD_CHIP "STM32F429ZI"

#define OPQ_BOARD_HSE_HZ UINT32_C(8000000) // the ST-LINK's MCO
#define OPQ_BOARD_HSE_BYPASS 1             // an oscillator's output, not a crystal
#define OPQ_BOARD_TCXO 0
#define OPQ_BOARD_PVD_LEVEL 7u             // 2.9 V

#define OPQ_BOARD_LINK_TX OPQ_PIN(B, 6) // D26, USART1 AF7; the ST-LINK's own port is USART3, which is not the link's
#define OPQ_BOARD_LINK_RX OPQ_PIN(B, 7) // morpho CN11-21; lights LD2 (blue) while the line idles
#define OPQ_BOARD_GPS_TX OPQ_PIN(D, 5)  // D53, USART2 AF7
#define OPQ_BOARD_GPS_RX OPQ_PIN(D, 6)  // D52
#define OPQ_BOARD_PPS OPQ_PIN(A, 0)     // D32, TIM5_CH1 AF2

#define OPQ_BOARD_CONVERTER_INTERNAL 1  // default of the setting `converter`
#define OPQ_BOARD_MAINS OPQ_PIN(C, 0)   // A1
#define OPQ_BOARD_MAINS_CHANNEL 10u     // ADC1_IN10 (DS9405 table 10)
#define OPQ_BOARD_SUPPLY OPQ_PIN(C, 3)  // A2, supply before the battery's switch, through a divider
#define OPQ_BOARD_SUPPLY_CHANNEL 13u
#define OPQ_BOARD_SUPPLY_DIVIDER 2.0f
#define OPQ_BOARD_BATTERY OPQ_PIN(B, 1) // A6, battery, through a divider
#define OPQ_BOARD_BATTERY_CHANNEL 9u
#define OPQ_BOARD_BATTERY_DIVIDER 2.0f
#define OPQ_BOARD_TEMPERATURE_CHANNEL 18u // RM0090 13.10: another one on F42x and F43x

#define OPQ_BOARD_CNV OPQ_PIN(C, 6)  // D16, TIM3_CH1 AF2
#define OPQ_BOARD_SCK OPQ_PIN(B, 13) // D18, SPI2 AF5; open JP7 (Ethernet)
#define OPQ_BOARD_SDO OPQ_PIN(C, 2)  // A7, SPI2_MISO AF5; PB14 is LD3

#define OPQ_BOARD_LED_STATUS OPQ_PIN(B, 0) // LD1, green
#define OPQ_BOARD_LED_TIME OPQ_PIN_NONE
#define OPQ_BOARD_LED_FAULT OPQ_PIN(B, 14) // LD3, red
#define OPQ_BOARD_LED_ON true              // high lights

#define OPQ_BOARD_RECOVERY OPQ_PIN(C, 8)   // D43, jumper to ground, low when set
#define OPQ_BOARD_REPL OPQ_PIN(C, 9)       // D44, jumper to ground, low asks for the REPL

#endif
