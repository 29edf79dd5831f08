// The record that the firmware writes before it resets itself, in CCM, which a reset keeps and a power cut loses.
#ifndef OPQ_CRASH_H
#define OPQ_CRASH_H

#include <stdbool.h>
#include <stdint.h>

#define OPQ_CRASH_ADDRESS UINT32_C(0x1000FE78) // right below the boot loader's handover

typedef enum {
    OPQ_CRASH_NONE = 0,
    OPQ_CRASH_FAULT = 1,     // a processor fault: the registers say where and why
    OPQ_CRASH_CLOCK = 2,     // HSE stopped (clock security system, RM0090 7.2.7)
    OPQ_CRASH_APP_ENDED = 3, // the frozen app returned or raised
    OPQ_CRASH_NLR = 4,       // MicroPython: an exception that nothing catches
    OPQ_CRASH_INTERRUPT = 5, // an unexpected interrupt; `pc` is its number
} opq_crash_kind_t;

// After `magic` in the order of the link's message Crash (opq_proto.link.messages): new words go before `check`.
typedef struct {
    uint32_t magic;
    uint32_t kind;
    uint32_t count;                   // since power came on
    uint32_t pc, lr, psr;             // of the faulting code (PM0214 2.3.7)
    uint32_t cfsr, hfsr, mmfar, bfar; // PM0214 4.4.10, 4.4.11, 4.4.14, 4.4.15
    uint32_t r0, r1, r2, r3, r12, sp; // sp: before the processor pushed its frame
    uint32_t stack[64];               // from sp on; 0 behind the stack's top
    uint32_t check;                   // ~ of the sum of all before, so that random RAM is not a record
} opq_crash_t;

enum { OPQ_CRASH_WORDS = sizeof(opq_crash_t) / 4 - 2 }; // without magic and check
_Static_assert(sizeof(opq_crash_t) <= 324, "the linker script leaves 328 bytes; cmodules/program has the last four");

// Task context, once: why the firmware reset itself, if it did. The record is kept, but no later start reports it.
bool opq_crash_take(opq_crash_t *out);
// What `opq_crash_take` found, for the link: OPQ_CRASH_WORDS words; NULL if it found nothing.
const uint32_t *opq_crash_words(void);

// Any context: writes the record and resets. In a fault `stack` is what the processor pushed, and the registers are read
// from it; else `exc_return` is 0, and `stack` is where the caller's stack begins.
void opq_crash(opq_crash_kind_t kind, uint32_t pc, const uint32_t *stack, uint32_t exc_return)
    __attribute__((noreturn));

#endif
