// A pyboard-class STM32F405RG board (pyboard v1.1 positions after each pin): mains on the internal 12-bit ADC.
// Its crystal is no TCXO: locked accuracy is the same, holdover is only as good as the stated bound.
#ifndef OPQ_BOARD_H
#define OPQ_BOARD_H

#include "gpio.h"

#define OPQ_BOARD_NAME "pyboard_f405" // the image header's hardware, at most 15 characters
#define OPQ_BOARD_CHIP "STM32F405RG"

#define OPQ_BOARD_HSE_HZ UINT32_C(12000000) // X1 of the pyboard v1.1
#define OPQ_BOARD_HSE_BYPASS 0              // a crystal, not an oscillator's output
#define OPQ_BOARD_TCXO 0
#define OPQ_BOARD_PVD_LEVEL 7u // 2.9 V

#define OPQ_BOARD_LINK_TX OPQ_PIN(B, 6) // X9, USART1 AF7; PA9 is the USB socket's VBUS here
#define OPQ_BOARD_LINK_RX OPQ_PIN(B, 7) // X10
#define OPQ_BOARD_GPS_TX OPQ_PIN(A, 2) // X3, USART2 AF7: the ROM does not listen there
#define OPQ_BOARD_GPS_RX OPQ_PIN(A, 3) // X4
#define OPQ_BOARD_PPS OPQ_PIN(A, 0)     // X1, TIM5_CH1 AF2

#define OPQ_BOARD_CONVERTER_INTERNAL 1        // default of the setting `converter`
#define OPQ_BOARD_MAINS OPQ_PIN(C, 0)         // X19
#define OPQ_BOARD_MAINS_CHANNEL 10u           // ADC1_IN10 (DS8626 table 7)
#define OPQ_BOARD_SUPPLY OPQ_PIN(C, 1)        // X20, supply before the battery's switch, through a divider
#define OPQ_BOARD_SUPPLY_CHANNEL 11u
#define OPQ_BOARD_SUPPLY_DIVIDER 2.0f
#define OPQ_BOARD_BATTERY OPQ_PIN(C, 2)       // X21, battery, through a divider
#define OPQ_BOARD_BATTERY_CHANNEL 12u
#define OPQ_BOARD_BATTERY_DIVIDER 2.0f
#define OPQ_BOARD_TEMPERATURE_CHANNEL 16u // RM0090 13.10

#define OPQ_BOARD_CNV OPQ_PIN(C, 6)  // Y1, TIM3_CH1 AF2
#define OPQ_BOARD_SCK OPQ_PIN(B, 13) // Y6, SPI2 AF5
#define OPQ_BOARD_SDO OPQ_PIN(B, 14) // Y7, SPI2_MISO

#define OPQ_BOARD_LED_STATUS OPQ_PIN(A, 15) // yellow; red and green are on SWDIO and SWCLK, which are for a debug probe
#define OPQ_BOARD_LED_TIME OPQ_PIN(B, 4)    // blue
#define OPQ_BOARD_LED_FAULT OPQ_PIN_NONE
#define OPQ_BOARD_LED_ON true               // high lights

#define OPQ_BOARD_RECOVERY OPQ_PIN(B, 3)    // the USR switch, low when pressed
#define OPQ_BOARD_REPL OPQ_PIN(C, 13)       // X18, low asks for the REPL

#endif
