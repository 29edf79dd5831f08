// The chip's own flash as an `opq_nor_t` (nor.h), by its registers. Waits and erases run from RAM.
#ifndef OPQ_FLASH_H
#define OPQ_FLASH_H

#include "nor.h"

// Writes the brown-out level, 0 (off) to 3 (2.70 V), into the option bytes: once, by hand at the bench.
// False: no such level, the supply is low, or the flash stayed busy.
bool opq_flash_set_brown_out_level(uint32_t level);

#endif
