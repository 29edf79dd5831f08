// The chip's own flash behind `opq_nor_t` (nor.h), on the registers. Waits and erases run from RAM.
#ifndef OPQ_FLASH_H
#define OPQ_FLASH_H

#include "nor.h"

// Sets OPTSTRT and waits, from RAM. The caller has unlocked and filled OPTCR. False: it stayed busy.
bool opq_flash_option_start(void);

#endif
