// STM32F4DISCOVERY (MB997; F407VG: an F405 with Ethernet and a camera interface): mains on the internal 12-bit ADC.
// What is on the board already leaves these pins (UM1472 6.1): PA9 has 4.7 uF of the USB socket, PC0 its power switch,
// PC3 and PB10 the microphone, PC7, PC10, PC12 and PB9 the audio DAC.
#ifndef OPQ_BOARD_H
#define OPQ_BOARD_H

#include "gpio.h"

#define OPQ_BOARD_NAME "disco_f407" // the image header's hardware, at most 15 characters
#define OPQ_BOARD_CHIP "STM32F407VG"

#define OPQ_BOARD_HSE_HZ UINT32_C(8000000) // X2
#define OPQ_BOARD_HSE_BYPASS 0             // a crystal, not an oscillator's output
#define OPQ_BOARD_TCXO 0
#define OPQ_BOARD_PVD_LEVEL 6u             // 2.8 V: VDD is 3.0 V here, D3 below the regulator's 3.3 V (2.97 V measured)

#define OPQ_BOARD_LINK_TX OPQ_PIN(B, 6) // USART1 AF7; also the audio DAC's SCL, an input with a pull-up
#define OPQ_BOARD_LINK_RX OPQ_PIN(B, 7)
#define OPQ_BOARD_GPS_TX OPQ_PIN(A, 2)  // USART2 AF7
#define OPQ_BOARD_GPS_RX OPQ_PIN(A, 3)
#define OPQ_BOARD_PPS OPQ_PIN(A, 0)     // TIM5_CH1 AF2; the blue USER switch ties it to VDD: leave it alone

#define OPQ_BOARD_CONVERTER_INTERNAL 1  // default of the setting `converter`
#define OPQ_BOARD_MAINS OPQ_PIN(C, 5)
#define OPQ_BOARD_MAINS_CHANNEL 15u     // ADC1_IN15 (DS8626 table 7)
// VDDA is VDD: check.py with 3.0 V instead of U8's 3.3 V. The front end is fed from the board's 3V pin, not by U8.
#define OPQ_BOARD_INTERNAL_V_PER_LSB 0.018235f
#define OPQ_BOARD_INTERNAL_LINEAR_LSB 30500
#define OPQ_BOARD_INTERNAL_NOISE_LSB 1.30f
#define OPQ_BOARD_SUPPLY OPQ_PIN(C, 1)  // supply before the battery's switch, through a divider
#define OPQ_BOARD_SUPPLY_CHANNEL 11u
#define OPQ_BOARD_SUPPLY_DIVIDER 2.0f
#define OPQ_BOARD_BATTERY OPQ_PIN(C, 2) // battery, through a divider
#define OPQ_BOARD_BATTERY_CHANNEL 12u
#define OPQ_BOARD_BATTERY_DIVIDER 2.0f
#define OPQ_BOARD_TEMPERATURE_CHANNEL 16u

#define OPQ_BOARD_CNV OPQ_PIN(C, 6)  // TIM3_CH1 AF2
#define OPQ_BOARD_SCK OPQ_PIN(B, 13) // SPI2 AF5
#define OPQ_BOARD_SDO OPQ_PIN(B, 14) // SPI2_MISO

#define OPQ_BOARD_LED_STATUS OPQ_PIN(D, 12) // LD4, green
#define OPQ_BOARD_LED_TIME OPQ_PIN(D, 15)   // LD6, blue
#define OPQ_BOARD_LED_FAULT OPQ_PIN(D, 14)  // LD5, red
#define OPQ_BOARD_LED_ON true               // high lights

#define OPQ_BOARD_RECOVERY OPQ_PIN(C, 8)    // jumper to ground, low when set
#define OPQ_BOARD_REPL OPQ_PIN(C, 9)        // jumper to ground, low asks for the REPL

#endif
