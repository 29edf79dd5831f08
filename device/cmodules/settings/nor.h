// NOR flash for settings, update and the boot loader: erase a sector to ones, program words 1 -> 0, read.
//
// Three implementations: the STM32F405's (device/port/flash.c, and the boot loader's), and the model of the
// tests (device/tests/nor_flash.c), which cuts the power in the middle of any word or sector.
//
// Guarantees for the users of this interface (RM0090 3.6; the model behaves worse than this, never better):
//   - a program that returned OK leaves exactly the word AND the value before; programming a word again is allowed
//     as long as bits only go 1 -> 0, and the same value again makes an uncertain word certain;
//   - a program cut by the power leaves each bit that should become 0 as 0, as 1, or reading differently each time;
//   - an erase cut by the power leaves undefined contents in that sector, and only there.
#ifndef OPQ_NOR_H
#define OPQ_NOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPQ_NOR_ORIGIN UINT32_C(0x08000000)  // RM0090 2.3, table 1
#define OPQ_NOR_BYTES UINT32_C(0x00100000)   // STM32F405RG: 1 MB
#define OPQ_NOR_ERASED UINT32_C(0xFFFFFFFF)

enum { OPQ_NOR_SECTORS = 12 };

typedef enum {
    OPQ_NOR_OK = 0,
    OPQ_NOR_BAD_ARGUMENT = 1,  // outside of the flash, or not a whole word
    OPQ_NOR_LOW_POWER = 2,     // the supply is too low to write; nothing was done (RM0090 3.6.2: x32 wants 2.7 V)
    OPQ_NOR_TIMEOUT = 3,       // the controller stayed busy
    OPQ_NOR_FAILED = 4,        // an error flag, or the flash does not read as written
} opq_nor_status_t;

typedef struct {
    void *context;
    const uint8_t *bytes;  // where the flash can be read; the byte at OPQ_NOR_ORIGIN
    opq_nor_status_t (*erase)(void *context, uint32_t sector);
    opq_nor_status_t (*program)(void *context, uint32_t address, uint32_t word);  // address: a multiple of 4
} opq_nor_t;

// RM0090 3.3, table 5: S0..S3 16 KB, S4 64 KB, S5..S11 128 KB.
static inline uint32_t opq_nor_sector_bytes(uint32_t sector) {
    return sector < 4u ? UINT32_C(0x4000) : sector == 4u ? UINT32_C(0x10000) : UINT32_C(0x20000);
}

static inline uint32_t opq_nor_sector_address(uint32_t sector) {
    return OPQ_NOR_ORIGIN +
           (sector < 5u ? sector * UINT32_C(0x4000) : (sector - 4u) * UINT32_C(0x20000));  // S4 begins at 64 KB
}

static inline const uint8_t *opq_nor_at(const opq_nor_t *nor, uint32_t address) {
    return nor->bytes + (address - OPQ_NOR_ORIGIN);
}

uint32_t opq_nor_word(const opq_nor_t *nor, uint32_t address);

// Whole words of `data` from `address` on, the last one padded with ones; each is read back.
opq_nor_status_t opq_nor_write(const opq_nor_t *nor, uint32_t address, const uint8_t *data, size_t length);

// Whole words.
bool opq_nor_is_erased(const opq_nor_t *nor, uint32_t address, uint32_t length);

// The chip's own flash, from the port (flash.c) or, on a PC, from the tests.
const opq_nor_t *opq_flash(void);

#endif
