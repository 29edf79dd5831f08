// Pins by port and number, as in board.toml, and the function that sets their mode (RM0090 8.4).
#ifndef OPQ_GPIO_H
#define OPQ_GPIO_H

#include <stdbool.h>

#include "stm32f405.h"

// A pin is its port's letter and its number in one byte: OPQ_PIN(A, 0).
#define OPQ_PIN(port, number) ((uint8_t)((((#port)[0] - 'A') << 4) | (number)))
#define OPQ_PIN_NONE UINT8_C(0xFF)

typedef enum { OPQ_GPIO_INPUT = 0, OPQ_GPIO_OUTPUT = 1, OPQ_GPIO_ALTERNATE = 2, OPQ_GPIO_ANALOG = 3 } opq_gpio_mode_t;
typedef enum { OPQ_GPIO_NO_PULL = 0, OPQ_GPIO_PULL_UP = 1, OPQ_GPIO_PULL_DOWN = 2 } opq_gpio_pull_t;

static inline volatile opq_gpio_t *opq_gpio_port(uint8_t pin) {
    return pin >> 4 == 0 ? GPIOA : pin >> 4 == 1 ? GPIOB : pin >> 4 == 2 ? GPIOC : GPIOD;
}

// The port's clock must be on (power.c switches A to D on first). A pin that the board lacks is ignored.
static inline void opq_gpio_configure(uint8_t pin, opq_gpio_mode_t mode, opq_gpio_pull_t pull, uint8_t alternate) {
    if (pin == OPQ_PIN_NONE) {
        return;
    }
    volatile opq_gpio_t *port = opq_gpio_port(pin);
    uint32_t number = pin & 15u, two = number * 2u, four = (number & 7u) * 4u;
    port->AFR[number >> 3] = (port->AFR[number >> 3] & ~(UINT32_C(15) << four)) | ((uint32_t)alternate << four);
    port->OSPEEDR = (port->OSPEEDR & ~(UINT32_C(3) << two)) | (UINT32_C(2) << two);
    port->PUPDR = (port->PUPDR & ~(UINT32_C(3) << two)) | ((uint32_t)pull << two);
    port->MODER = (port->MODER & ~(UINT32_C(3) << two)) | ((uint32_t)mode << two);
}

static inline void opq_gpio_write(uint8_t pin, bool high) {
    if (pin != OPQ_PIN_NONE) {
        opq_gpio_port(pin)->BSRR = OPQ_BIT((pin & 15u) + (high ? 0u : 16u));
    }
}

static inline bool opq_gpio_read(uint8_t pin) {
    return pin != OPQ_PIN_NONE && (opq_gpio_port(pin)->IDR & OPQ_BIT(pin & 15u)) != 0;
}

#endif
