#include "led.h"

#include "board.h"

static const uint8_t pins[] = {OPQ_BOARD_LED_STATUS, OPQ_BOARD_LED_TIME, OPQ_BOARD_LED_FAULT};

void opq_led_start(void) {
    for (uint32_t which = 0; which < sizeof pins; which++) {
        opq_led(which, false);
        opq_gpio_configure(pins[which], OPQ_GPIO_OUTPUT, OPQ_GPIO_NO_PULL, 0);
    }
    opq_gpio_configure(OPQ_BOARD_RECOVERY, OPQ_GPIO_INPUT, OPQ_GPIO_PULL_UP, 0);
    opq_gpio_configure(OPQ_BOARD_REPL, OPQ_GPIO_INPUT, OPQ_GPIO_PULL_UP, 0);
}

void opq_led(uint32_t which, bool on) {
    if (which < sizeof pins) {
        opq_gpio_write(pins[which], on == OPQ_BOARD_LED_ON);
    }
}

bool opq_pin_repl(void) { return !opq_gpio_read(OPQ_BOARD_REPL); }
