// Included before the few sources that name addresses which stock QEMU's STM32F405 lacks: CCM is the last third of
// its SRAM there (192 KB in one piece), and what the factory writes into a chip is missing: identity, calibration.
#ifndef OPQ_STOCK_QEMU_PLACES_H
#define OPQ_STOCK_QEMU_PLACES_H

#include "crash.h"
#include "handover.h"
#include "stm32f405.h"

#undef OPQ_CRASH_ADDRESS
#define OPQ_CRASH_ADDRESS UINT32_C(0x2002FF80)
#undef OPQ_HANDOVER_ADDRESS
#define OPQ_HANDOVER_ADDRESS UINT32_C(0x2002FFC0)
#undef UID
#define UID opq_stock_uid

extern const uint32_t opq_stock_uid[3];

// Not calibrated.
#undef VREFINT_CAL
#define VREFINT_CAL 0
#undef TS_CAL1
#define TS_CAL1 0
#undef TS_CAL2
#define TS_CAL2 0

#endif
