// The chip: clocks, cause of the start, supply voltage, identity, reset.
#ifndef OPQ_POWER_H
#define OPQ_POWER_H

#include <stdbool.h>
#include <stdint.h>

typedef enum {
    OPQ_CLOCK_HSE = 0,  // 168 MHz from crystal or TCXO: the normal case
    OPQ_CLOCK_HSI = 1,  // 168 MHz from the internal oscillator, +-1 %: HSE did not start; time has that error
    OPQ_CLOCK_SLOW = 2, // 16 MHz: the PLL did not lock; the line works, nothing is sampled
} opq_clock_source_t;

typedef enum {
    OPQ_RESET_UNKNOWN = 0,
    OPQ_RESET_POWER = 1,     // power came on
    OPQ_RESET_BROWN_OUT = 2, // the supply fell below the brown-out level
    OPQ_RESET_PIN = 3,       // NRST: a programmer, a button
    OPQ_RESET_SOFTWARE = 4,  // requested by the firmware
    OPQ_RESET_WATCHDOG = 5,
    OPQ_RESET_LOW_POWER = 6,
} opq_reset_cause_t;

// Clocks of GPIO, SYSCFG and PWR, then HSE -> PLL -> 168 MHz; every wait is bounded, `opq_power_clock` gives
// the result.
void opq_power_start(void);
opq_clock_source_t opq_power_clock(void);
uint32_t opq_power_pclk1_hz(void);
uint32_t opq_power_pclk2_hz(void);

// From RCC_CSR as the boot loader found it, else as it is; the flags are cleared by the first call.
opq_reset_cause_t opq_power_reset_cause(void);

// PVD below 2.9 V (falling): flash must not be written, and the Box stops in order. Also counted by its interrupt.
bool opq_power_is_low(void);
uint32_t opq_power_dips(void);
void opq_power_on_pvd(void); // interrupt context

// Brown-out level in the option bytes, 0 (off) to 3 (2.70 V); flash.h sets it.
uint32_t opq_power_brown_out_level(void);
// REV_ID of the chip (RM0090 38.6.1): 0x1000 A, 0x1001 Z, 0x1003 Y, 0x1007 1.
uint32_t opq_power_revision(void);

void opq_power_unique_id(uint8_t out[12]);
void opq_power_reset(void) __attribute__((noreturn));

#endif
