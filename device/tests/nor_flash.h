// A NOR flash for the PC that loses its power in the middle of a word or a sector, and behaves worse than a real one:
//
//   - programming only lowers bits; whoever asks for more finds the flash not as written;
//   - a word cut while being programmed has each falling bit fallen, not fallen, or unstable: it reads differently
//     at every start, until it is programmed again or erased;
//   - a sector cut while being erased is untouched, all zeros up to somewhere (controllers program to zero first),
//     erased up to somewhere, any mixture with unstable bits, or reads erased with a few unstable bits.
//
// After the cut nothing changes any more until power comes back.
#ifndef NOR_FLASH_H
#define NOR_FLASH_H

#include "nor.h"

enum { NOR_FLASH_RANGES = 64 };

typedef struct {
    uint32_t offset, length;
} nor_range_t;

typedef struct {
    opq_nor_t nor;
    uint64_t random;
    uint32_t operations;  // programs and erases since power came
    uint32_t cut_at;      // the power goes in the middle of this one, counted from 1; 0: it stays
    bool off;
    bool low_power;       // writes are refused, reads work
    uint32_t outside;     // writes into sectors that `writable` does not have: must stay 0
    uint32_t writable;    // one bit per sector
    uint32_t erases[OPQ_NOR_SECTORS];
    uint32_t ranges;
    nor_range_t range[NOR_FLASH_RANGES];  // where unstable bits are
    uint8_t bytes[OPQ_NOR_BYTES];
    uint8_t unstable[OPQ_NOR_BYTES];
} nor_flash_t;

void nor_flash_new(nor_flash_t *flash, uint64_t seed);
// Takes over what `from` holds from `offset` on; seed, operations and cut start anew.
void nor_flash_copy(nor_flash_t *flash, const nor_flash_t *from, uint32_t offset, uint32_t length, uint64_t seed);
// Power comes (back): unstable bits read as they like this time. The next cut is at `cut_at`.
void nor_flash_power_up(nor_flash_t *flash, uint32_t cut_at);
uint64_t nor_flash_random(nor_flash_t *flash);

#endif
