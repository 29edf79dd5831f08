/*
 * GPIO ports, SYSCFG's choice of pins and EXTI's edges (RM0090 8, 9, 12).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"

static const char port_letter[] = "ABCDEFGHI";

static unsigned mode(const OpqGpio *gpio, int pin) { return gpio->moder >> (2 * pin) & 3; }

/* What a pin's input buffer sees: outside first, then our own output, then the pull. */
static uint32_t levels(const OpqGpio *gpio)
{
    uint32_t seen = 0;

    for (int pin = 0; pin < 16; pin++) {
        bool level = false;
        if (mode(gpio, pin) == 1 && !((gpio->otyper >> pin & 1) && (gpio->odr >> pin & 1))) {
            level = gpio->odr >> pin & 1; /* push-pull, or open drain that pulls low */
        } else if (mode(gpio, pin) == 3) {
            level = false; /* 8.3.12: analog mode reads 0 */
        } else if (gpio->driven >> pin & 1) {
            level = gpio->level >> pin & 1;
        } else {
            level = (gpio->pupdr >> (2 * pin) & 3) == 1;
        }
        seen |= (uint32_t)level << pin;
    }
    return seen;
}

static void outputs_changed(OpqBox *box, int port)
{
    OpqGpio *gpio = &box->gpio[port];

    for (int pin = 0; pin < 16; pin++) {
        bool level = gpio->odr >> pin & 1;
        if (mode(gpio, pin) == 1 && level != (gpio->seen >> pin & 1)) {
            gpio->seen ^= 1u << pin;
            opq_report_pin(box, port_letter[port], pin, level);
        }
    }
}

static void inputs_changed(OpqBox *box, int port)
{
    OpqGpio *gpio = &box->gpio[port];
    uint32_t now = levels(gpio), changed = now ^ gpio->exti_seen;

    gpio->exti_seen = now;
    for (int pin = 0; changed && pin < 16; pin++) {
        if ((changed >> pin & 1) && (int)(box->exti.exticr[pin / 4] >> (pin % 4 * 4) & 15) == port) {
            opq_exti_edge(box, pin, now >> pin & 1);
        }
    }
}

bool opq_gpio_alternate(OpqBox *box, int port, int pin, unsigned function)
{
    OpqGpio *gpio = &box->gpio[port];

    return mode(gpio, pin) == 2 && (gpio->afr[pin / 8] >> (pin % 8 * 4) & 15) == function;
}

/* DS8626 table 9: the pins of TIM5_CH1..4 (AF2) and TIM3_CH1..4; others are not wired on our boards. */
static const struct { uint8_t port, pin, function, timer, channel; } timer_pins[] = {
    { 0, 0, 2, 3, 0 }, { 0, 1, 2, 3, 1 }, { 0, 2, 2, 3, 2 }, { 0, 3, 2, 3, 3 },
    { 0, 0, 1, 0, 0 }, { 0, 1, 1, 0, 1 }, { 0, 2, 1, 0, 2 }, { 0, 3, 1, 0, 3 },
};

void opq_gpio_drive(OpqBox *box, int port, int pin, bool level, int64_t t_ns)
{
    OpqGpio *gpio = &box->gpio[port];
    bool before = (gpio->driven & gpio->level) >> pin & 1;

    gpio->driven |= 1u << pin;
    gpio->level = (gpio->level & ~(1u << pin)) | (uint32_t)level << pin;
    for (unsigned n = 0; level != before && n < ARRAY_SIZE(timer_pins); n++) {
        if (timer_pins[n].port == port && timer_pins[n].pin == pin &&
            opq_gpio_alternate(box, port, pin, timer_pins[n].function)) {
            opq_timer_pin(box, timer_pins[n].timer, timer_pins[n].channel, level, opq_tick_of_ns(t_ns));
        }
    }
    inputs_changed(box, port);
}

uint32_t opq_gpio_read(OpqBox *box, int port, uint32_t offset)
{
    OpqGpio *gpio = &box->gpio[port];

    switch (offset) {
    case 0x00: return gpio->moder;
    case 0x04: return gpio->otyper;
    case 0x08: return gpio->ospeedr;
    case 0x0C: return gpio->pupdr;
    case 0x10: return levels(gpio);
    case 0x14: return gpio->odr;
    case 0x18: return 0;
    case 0x1C: return gpio->lckr;
    case 0x20: case 0x24: return gpio->afr[(offset - 0x20) / 4];
    }
    opq_unknown(box, "GPIO", 0x40020000 + 0x400 * port, offset, false, 0);
    return 0;
}

void opq_gpio_write(OpqBox *box, int port, uint32_t offset, uint32_t value, uint32_t mask)
{
    OpqGpio *gpio = &box->gpio[port];

    switch (offset) {
    case 0x00: opq_store(&gpio->moder, value, mask, ~0u); break;
    case 0x04: opq_store(&gpio->otyper, value, mask, 0xFFFF); break;
    case 0x08: opq_store(&gpio->ospeedr, value, mask, ~0u); break;
    case 0x0C: opq_store(&gpio->pupdr, value, mask, ~0u); break;
    case 0x10: break;
    case 0x14: opq_store(&gpio->odr, value, mask, 0xFFFF); break;
    case 0x18: gpio->odr = (gpio->odr & ~(value >> 16)) | (value & 0xFFFF); break; /* set wins, 8.4.7 */
    case 0x1C: opq_store(&gpio->lckr, value, mask, 0x1FFFF); break; /* kept; nothing is locked */
    case 0x20: case 0x24: opq_store(&gpio->afr[(offset - 0x20) / 4], value, mask, ~0u); break;
    default: opq_unknown(box, "GPIO", 0x40020000 + 0x400 * port, offset, true, value); return;
    }
    outputs_changed(box, port);
    inputs_changed(box, port);
}

void opq_gpio_reset(OpqBox *box, int port)
{
    OpqGpio *gpio = &box->gpio[port], before = *gpio;

    *gpio = (OpqGpio){ /* 8.4: port A and B wake with the debug pins */
        .moder = port == 0 ? 0xA8000000 : port == 1 ? 0x00000280 : 0,
        .ospeedr = port == 0 ? 0x0C000000 : port == 1 ? 0x000000C0 : 0,
        .pupdr = port == 0 ? 0x64000000 : port == 1 ? 0x00000100 : 0,
        .driven = before.driven, .level = before.level,
    };
    gpio->exti_seen = levels(gpio);
}

uint32_t opq_syscfg_read(OpqBox *box, int index, uint32_t offset)
{
    OpqExti *exti = &box->exti;

    switch (offset) {
    case 0x00: return exti->memrmp;
    case 0x04: return exti->pmc;
    case 0x08: case 0x0C: case 0x10: case 0x14: return exti->exticr[(offset - 8) / 4];
    case 0x20: return exti->cmpcr;
    }
    opq_unknown(box, "SYSCFG", 0x40013800, offset, false, 0);
    return 0;
}

void opq_syscfg_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask)
{
    OpqExti *exti = &box->exti;

    switch (offset) {
    case 0x00:
        opq_store(&exti->memrmp, value, mask, 3);
        if (exti->memrmp > 1) {
            opq_violation(box, "SYSCFG_MEMRMP: only main flash and system memory are mapped at 0 here");
        }
        opq_rom_map(box);
        break;
    case 0x04: opq_store(&exti->pmc, value, mask, 0x00870000); break;
    case 0x08: case 0x0C: case 0x10: case 0x14:
        opq_store(&exti->exticr[(offset - 8) / 4], value, mask, 0xFFFF);
        break;
    case 0x20: opq_store(&exti->cmpcr, value, mask, 1); break;
    default: opq_unknown(box, "SYSCFG", 0x40013800, offset, true, value);
    }
}

static void exti_irqs(OpqBox *box)
{
    uint32_t active = box->exti.pr & box->exti.imr;

    opq_irq(box, 1, active >> 16 & 1); /* PVD */
    for (int line = 0; line < 5; line++) {
        opq_irq(box, 6 + line, active >> line & 1);
    }
    opq_irq(box, 23, (active & 0x03E0) != 0);
    opq_irq(box, 40, (active & 0xFC00) != 0);
}

void opq_exti_edge(OpqBox *box, int line, bool rising)
{
    OpqExti *exti = &box->exti;

    if ((rising ? exti->rtsr : exti->ftsr) >> line & 1) {
        exti->pr |= 1u << line;
        exti_irqs(box);
    }
}

uint32_t opq_exti_read(OpqBox *box, int index, uint32_t offset)
{
    OpqExti *exti = &box->exti;

    switch (offset) {
    case 0x00: return exti->imr;
    case 0x04: return exti->emr;
    case 0x08: return exti->rtsr;
    case 0x0C: return exti->ftsr;
    case 0x10: return exti->swier;
    case 0x14: return exti->pr;
    }
    opq_unknown(box, "EXTI", 0x40013C00, offset, false, 0);
    return 0;
}

void opq_exti_write(OpqBox *box, int index, uint32_t offset, uint32_t value, uint32_t mask)
{
    OpqExti *exti = &box->exti;
    uint32_t before;

    switch (offset) {
    case 0x00: opq_store(&exti->imr, value, mask, 0x7FFFFF); break;
    case 0x04: opq_store(&exti->emr, value, mask, 0x7FFFFF); break;
    case 0x08: opq_store(&exti->rtsr, value, mask, 0x7FFFFF); break;
    case 0x0C: opq_store(&exti->ftsr, value, mask, 0x7FFFFF); break;
    case 0x10:
        before = exti->swier;
        opq_store(&exti->swier, value, mask, 0x7FFFFF);
        exti->pr |= exti->swier & ~before & exti->imr; /* 12.3.5 */
        break;
    case 0x14:
        exti->pr &= ~(value & mask);
        exti->swier &= ~(value & mask);
        break;
    default: opq_unknown(box, "EXTI", 0x40013C00, offset, true, value); return;
    }
    exti_irqs(box);
}

void opq_exti_reset(OpqBox *box, int index)
{
    box->exti = (OpqExti){ .memrmp = box->boot0 }; /* 9.2.1: as the boot pins are */
    opq_rom_map(box);
    exti_irqs(box);
}
