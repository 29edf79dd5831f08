// The independent watchdog (IWDG): runs from its own oscillator, cannot be stopped, resets the chip when it is not fed.
#ifndef OPQ_WATCHDOG_H
#define OPQ_WATCHDOG_H

#include <stdint.h>

// 8.2 s at the nominal 32 kHz; 5.6 s to 15.4 s over the LSI's spread of 17..47 kHz (DS8626 table 42).
enum { OPQ_WATCHDOG_NOMINAL_MS = 8192 };

void opq_watchdog_start(void);
void opq_watchdog_feed(void);

#endif
