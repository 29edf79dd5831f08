// The chip's own flash as an `opq_nor_t` (nor.h), by its registers. Waits and erases run from RAM.
#ifndef OPQ_FLASH_H
#define OPQ_FLASH_H

#include "nor.h"

enum { OPQ_FLASH_BOOT_SECTORS = 3 }; // sectors 0 and 1, a bit each

// Writes the brown-out level, 0 (off) to 3 (2.70 V), and which of the boot loader's sectors cannot be written or erased,
// into the option bytes: once, at the bench (`opq-tools flash --protect`). What is there already is not written again.
// False: no such level or sectors, the supply is low, or the flash stayed busy.
bool opq_flash_protect(uint32_t level, uint32_t sectors);
uint32_t opq_flash_protected_sectors(void); // all of the chip's, a bit each

#endif
