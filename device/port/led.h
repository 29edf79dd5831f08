// LEDs by duty, not by pin: a board that lacks one ignores it.
#ifndef OPQ_LED_H
#define OPQ_LED_H

#include <stdbool.h>
#include <stdint.h>

enum { OPQ_LED_STATUS = 0, OPQ_LED_TIME = 1, OPQ_LED_FAULT = 2 };

void opq_led_start(void); // also the recovery and REPL pins, with their pull-ups
void opq_led(uint32_t which, bool on);
bool opq_pin_repl(void); // low: the prompt is requested

#endif
