// The converters' drivers on the PC, on register blocks that are memory. `acquire_registers internal|external OSR`.
//
// Prints "<when> <block> <offset> <value>" of every register that is not 0 after the start, after interrupts and after
// an error. Registers whose flags are cleared by writing 0 keep what was not written (RM0090 "rc_w0"); TIM5 counts a
// few ticks per look at it and captures the first trigger OPQ_TRIGGER_LEAD ticks after TIM3 was started.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acquire.h"
#include "slow.h"
#include "stm32f405.h"

enum { WORDS = 64, TIM5_LOOK_TICKS = 7 };

static struct {
    const char *name;
    uint32_t base;
    uint32_t words[256];
} blocks[] = {
    {"RCC", 0x40023800, {0}},   {"GPIOA", 0x40020000, {0}}, {"GPIOB", 0x40020400, {0}}, {"GPIOC", 0x40020800, {0}},
    {"TIM3", 0x40000400, {0}},  {"TIM5", 0x40000C00, {0}},  {"ADC1", 0x40012000, {0}},  {"ADC", 0x40012300, {0}},
    {"DMA1", 0x40026000, {0}},  {"DMA2", 0x40026400, {0}},  {"SPI2", 0x40003800, {0}},  {"NVIC", 0xE000E100, {0}},
};
enum { RCC_BLOCK, TIM3_BLOCK = 4, TIM5_BLOCK, ADC1_BLOCK, DMA1_BLOCK = 8, DMA2_BLOCK, SPI2_BLOCK };

static uint32_t flags[3]; // SR of TIM5 and ADC1 as the hardware holds them
static bool was_running, dead, counting; // dead: TIM5 stands still; counting: TIM3 goes on with each look
static uint32_t started, captures;

static uint32_t *word(int block, uint32_t offset) { return &blocks[block].words[offset / 4]; }

static void keep_flags(uint32_t *kept, uint32_t *seen) { *seen = *kept &= *seen; }

// Time goes on a little with each look at TIM5.
static void tick(void) {
    keep_flags(&flags[0], word(TIM5_BLOCK, 0x10));
    keep_flags(&flags[1], word(ADC1_BLOCK, 0x00));
    if (dead) {
        return;
    }
    *word(TIM5_BLOCK, 0x24) += TIM5_LOOK_TICKS;
    bool running = *word(TIM3_BLOCK, 0x00) & 1u;
    if (running && !was_running) {
        started = *word(TIM5_BLOCK, 0x24);
        captures = 0;
    }
    was_running = running;
    uint32_t lead = *word(TIM3_BLOCK, 0x2C) + 1 - *word(TIM3_BLOCK, 0x24);
    if (running && captures == 0 && *word(TIM5_BLOCK, 0x24) - started >= lead) {
        *word(TIM5_BLOCK, 0x38) = started + lead;
        flags[0] |= 4;
        *word(TIM5_BLOCK, 0x10) = flags[0];
        captures++;
    }
}

volatile void *opq_host_registers(uint32_t address) {
    static uint32_t other[WORDS];
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        if (blocks[i].base == address) {
            if (address == 0x40000C00) {
                tick();
            }
            if (address == 0x40000400 && counting) {
                *word(TIM3_BLOCK, 0x24) += TIM5_LOOK_TICKS;
            }
            return blocks[i].words;
        }
    }
    printf("unknown block %08x\n", (unsigned)address);
    return other;
}

static void print_all(const char *when) {
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        for (uint32_t at = 0; at < 256; at++) {
            if (blocks[i].words[at] != 0) {
                printf("%s %s %x %x\n", when, blocks[i].name, (unsigned)(at * 4), (unsigned)blocks[i].words[at]);
            }
        }
    }
}

void DMA2_Stream0_IRQHandler(void);
void DMA1_Stream3_IRQHandler(void);
void ADC_IRQHandler(void);

static void counters(const char *when) {
    opq_acquire_counters_t c;
    opq_acquire_counters(&c);
    printf("%s counters samples %u\n%s counters missing %u\n%s counters overruns %u\n%s counters grid_errors %u\n", when,
           (unsigned)c.samples, when, (unsigned)c.missing, when, (unsigned)c.overruns, when, (unsigned)c.grid_errors);
}

// One half buffer is full: its flag, and the capture of its last trigger.
static void half(bool internal, uint32_t number, uint32_t oversampling, uint32_t first) {
    uint32_t flag = number % 2 == 0 ? 0x10 : 0x20; // HTIF, TCIF
    *word(internal ? DMA2_BLOCK : DMA1_BLOCK, 0x00) = internal ? flag : flag << 22;
    *word(TIM5_BLOCK, 0x38) = first + ((number + 1) * 40 * oversampling - 1) * (7000 / oversampling);
    *word(TIM5_BLOCK, 0x24) = *word(TIM5_BLOCK, 0x38) + 290;
    *word(TIM3_BLOCK, 0x24) = 290;
    internal ? DMA2_Stream0_IRQHandler() : DMA1_Stream3_IRQHandler();
}

int main(int argc, char **argv) {
    bool internal = argc < 2 || strcmp(argv[1], "internal") == 0;
    uint32_t oversampling = argc > 2 ? (uint32_t)atoi(argv[2]) : 1;
    const opq_converter_t *converter = opq_converter(argv[1]);
    opq_acquire_config_t config = {0};
    *word(TIM5_BLOCK, 0x24) = 0xFFFFFF00; // wraps while it starts
    opq_acquire_status_t status = opq_acquire_start(converter, oversampling, 0xFFFFFF00, &config);
    printf("start status result %d\n", (int)status);
    uint32_t first = *word(TIM5_BLOCK, 0x38);
    printf("start first lead %u\n", (unsigned)(first - started));
    print_all("start");

    for (uint32_t number = 0; number < 9; number++) {
        if (internal || number > 0) {
            flags[1] |= 4; // JEOC: the slow channel started by the half before is done
            *word(ADC1_BLOCK, 0x00) = flags[1];
            *word(ADC1_BLOCK, 0x3C) = 1000 + number;
        }
        printf("half%u jsqr before %x\n", (unsigned)number, (unsigned)*word(ADC1_BLOCK, 0x38));
        *word(ADC1_BLOCK, 0x08) &= ~(1u << 22); // hardware clears JSWSTART (13.13.3)
        half(internal, number, oversampling, first);
        printf("half%u jswstart after %x\n", (unsigned)number, (unsigned)(*word(ADC1_BLOCK, 0x08) >> 22 & 1));
    }
    counters("halves");
    opq_slow_counts_t slow;
    opq_slow_counts(&slow);
    printf("halves slow readings %u\n", (unsigned)slow.readings);

    *word(ADC1_BLOCK, 0x08) &= ~(1u << 22);
    *word(TIM3_BLOCK, 0x24) = 7000 / oversampling - 200; // too near the next conversion of the mains
    *word(internal ? DMA2_BLOCK : DMA1_BLOCK, 0x00) = 0;
    internal ? DMA2_Stream0_IRQHandler() : DMA1_Stream3_IRQHandler();
    printf("late jswstart after %x\n", (unsigned)(*word(ADC1_BLOCK, 0x08) >> 22 & 1));
    *word(ADC1_BLOCK, 0x08) &= ~(1u << 22);
    *word(TIM3_BLOCK, 0x24) = 100; // the conversion of the mains is still under way
    counting = true;
    internal ? DMA2_Stream0_IRQHandler() : DMA1_Stream3_IRQHandler();
    counting = false;
    printf("early jswstart after %x\n", (unsigned)(*word(ADC1_BLOCK, 0x08) >> 22 & 1));
    printf("early waited tim3 %u\n", (unsigned)*word(TIM3_BLOCK, 0x24));

    if (internal) {
        flags[1] |= 0x20; // OVR
        *word(ADC1_BLOCK, 0x00) = flags[1];
        ADC_IRQHandler();
    } else {
        *word(SPI2_BLOCK, 0x08) = 0x40; // OVR
        DMA1_Stream3_IRQHandler();
        *word(SPI2_BLOCK, 0x08) = 0;
    }
    counters("restart");
    print_all("restart");
    opq_acquire_stop();
    print_all("stop");

    *word(TIM3_BLOCK, 0x2C) = 0;
    dead = true;
    printf("dead status result %d\n", (int)opq_acquire_start(converter, oversampling, 0, &config));
    return 0;
}
