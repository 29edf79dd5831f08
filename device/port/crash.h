// The record that the firmware writes before it resets itself, in CCM, which a reset keeps and a power cut loses.
#ifndef OPQ_CRASH_H
#define OPQ_CRASH_H

#include <stdbool.h>
#include <stdint.h>

#define OPQ_CRASH_ADDRESS UINT32_C(0x1000FF80) // 64 bytes below the boot loader's handover

typedef enum {
    OPQ_CRASH_NONE = 0,
    OPQ_CRASH_FAULT = 1,     // a processor fault: the registers say where and why
    OPQ_CRASH_CLOCK = 2,     // HSE stopped (clock security system, RM0090 7.2.7)
    OPQ_CRASH_APP_ENDED = 3, // the frozen app returned or raised
    OPQ_CRASH_NLR = 4,       // MicroPython: an exception that nothing catches
    OPQ_CRASH_INTERRUPT = 5, // an unexpected interrupt; `pc` is its number
} opq_crash_kind_t;

typedef struct {
    uint32_t magic;
    uint32_t kind;
    uint32_t pc, lr, psr;      // of the faulting code (PM0214 2.3.7)
    uint32_t cfsr, hfsr, bfar; // PM0214 4.4.10, 4.4.11, 4.4.15
    uint32_t count;            // since power came on
    uint32_t spare[6];
    uint32_t check;            // ~ of the sum of all before, so that random RAM is not a record
} opq_crash_t;

_Static_assert(sizeof(opq_crash_t) == 64, "the linker script leaves 64 bytes");

// Task context, once: why the firmware reset itself, if it did. Clears the record except the count.
bool opq_crash_take(opq_crash_t *out);

// Any context: writes the record and resets.
void opq_crash(opq_crash_kind_t kind, uint32_t pc, uint32_t lr, uint32_t psr) __attribute__((noreturn));

#endif
