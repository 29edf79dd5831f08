#include "nor_flash.h"

#include <string.h>

uint64_t nor_flash_random(nor_flash_t *flash) {  // splitmix64 (Steele, Lea, Flood 2014)
    uint64_t z = flash->random += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static uint32_t below(nor_flash_t *flash, uint32_t limit) { return (uint32_t)(nor_flash_random(flash) % limit); }

static void remember(nor_flash_t *flash, uint32_t offset, uint32_t length) {
    for (uint32_t i = 0; i < flash->ranges; i++) {
        if (flash->range[i].offset <= offset && offset + length <= flash->range[i].offset + flash->range[i].length) {
            return;
        }
    }
    if (flash->ranges < NOR_FLASH_RANGES) {  // more than so many cuts without an erase between do not happen here
        flash->range[flash->ranges++] = (nor_range_t){offset, length};
    }
}

static void forget(nor_flash_t *flash, uint32_t offset, uint32_t length) {
    memset(flash->unstable + offset, 0, length);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < flash->ranges; i++) {
        nor_range_t range = flash->range[i];
        if (range.offset < offset || range.offset + range.length > offset + length) {
            flash->range[kept++] = range;
        }
    }
    flash->ranges = kept;
}

static uint32_t get(const uint8_t *from, uint32_t offset) {
    uint32_t word;
    memcpy(&word, from + offset, sizeof word);
    return word;
}

// How a word with unstable bits reads this time: at the margin, all of them often go the same way.
static uint32_t settle(nor_flash_t *flash, uint32_t word, uint32_t unstable) {
    switch (below(flash, 3)) {
        case 0:
            return word | unstable;
        case 1:
            return word & ~unstable;
        default:
            return word ^ (unstable & (uint32_t)nor_flash_random(flash));
    }
}

static void tear_word(nor_flash_t *flash, uint32_t offset, uint32_t wanted) {
    uint32_t was = get(flash->bytes, offset), loose = get(flash->unstable, offset);
    uint32_t falling = (was | loose) & ~wanted;
    uint32_t fallen = 0, doubtful = 0;
    switch (below(flash, 5)) {
        case 0:  // hardly begun
            break;
        case 1:  // done, but not reported
            fallen = falling;
            break;
        case 2:  // some fell
            fallen = falling & (uint32_t)nor_flash_random(flash);
            break;
        case 3:  // some fell, some are in between
            fallen = falling & (uint32_t)nor_flash_random(flash);
            doubtful = falling & ~fallen & (uint32_t)nor_flash_random(flash);
            break;
        default:  // all in between
            doubtful = falling;
            break;
    }
    uint32_t now = was & ~fallen, unstable = (loose & ~fallen) | doubtful;
    now = settle(flash, now, unstable);
    memcpy(flash->bytes + offset, &now, sizeof now);
    memcpy(flash->unstable + offset, &unstable, sizeof unstable);
    if (unstable != 0) {
        remember(flash, offset, 4);
    }
}

static void tear_sector(nor_flash_t *flash, uint32_t offset, uint32_t length) {
    uint32_t until = below(flash, length / 4 + 1) * 4;
    switch (below(flash, 5)) {
        case 0:
            return;
        case 1:  // still programming to zero
            memset(flash->bytes + offset, 0, until);
            memset(flash->unstable + offset, 0, until);
            return;
        case 2:
            memset(flash->bytes + offset, 0xFF, until);
            memset(flash->unstable + offset, 0, until);
            return;
        case 3:  // any mixture
            for (uint32_t i = 0; i < length; i += 8) {
                uint64_t old, risen = nor_flash_random(flash), loose = nor_flash_random(flash);
                memcpy(&old, flash->bytes + offset + i, sizeof old);
                old |= risen;
                memcpy(flash->bytes + offset + i, &old, sizeof old);
                memcpy(flash->unstable + offset + i, &loose, sizeof loose);
            }
            break;
        default:  // reads erased, but not all of it will next time
            memset(flash->bytes + offset, 0xFF, length);
            memset(flash->unstable + offset, 0, length);
            for (uint32_t i = 0; i < 16; i++) {
                flash->unstable[offset + below(flash, length)] |= (uint8_t)(1u << below(flash, 8));
            }
            break;
    }
    remember(flash, offset, length);
}

// True: the power goes in the middle of this operation.
static bool goes_off(nor_flash_t *flash) {
    flash->operations++;
    flash->off = flash->cut_at != 0 && flash->operations == flash->cut_at;
    return flash->off;
}

static uint32_t sector_of(uint32_t address) {
    uint32_t sector = OPQ_NOR_SECTORS - 1;
    while (sector > 0 && opq_nor_sector_address(sector) > address) {
        sector--;
    }
    return sector;
}

static opq_nor_status_t erase(void *context, uint32_t sector) {
    nor_flash_t *flash = context;
    if (flash->off || sector >= OPQ_NOR_SECTORS) {
        return OPQ_NOR_TIMEOUT;
    }
    if (flash->low_power) {
        return OPQ_NOR_LOW_POWER;
    }
    uint32_t offset = opq_nor_sector_address(sector) - OPQ_NOR_ORIGIN, length = opq_nor_sector_bytes(sector);
    flash->outside += (flash->writable >> sector & 1u) ^ 1u;
    if (goes_off(flash)) {
        tear_sector(flash, offset, length);
        return OPQ_NOR_TIMEOUT;
    }
    memset(flash->bytes + offset, 0xFF, length);
    forget(flash, offset, length);
    flash->erases[sector]++;
    return OPQ_NOR_OK;
}

static opq_nor_status_t program(void *context, uint32_t address, uint32_t word) {
    nor_flash_t *flash = context;
    if (flash->off) {
        return OPQ_NOR_TIMEOUT;
    }
    if (flash->low_power) {
        return OPQ_NOR_LOW_POWER;
    }
    uint32_t offset = address - OPQ_NOR_ORIGIN;
    if (address % 4 != 0 || offset >= OPQ_NOR_BYTES) {
        return OPQ_NOR_BAD_ARGUMENT;
    }
    flash->outside += (flash->writable >> sector_of(address) & 1u) ^ 1u;
    if (goes_off(flash)) {
        tear_word(flash, offset, word);
        return OPQ_NOR_TIMEOUT;
    }
    uint32_t now = get(flash->bytes, offset) & word, unstable = get(flash->unstable, offset) & word;
    memcpy(flash->bytes + offset, &now, sizeof now);
    memcpy(flash->unstable + offset, &unstable, sizeof unstable);
    return OPQ_NOR_OK;
}

void nor_flash_new(nor_flash_t *flash, uint64_t seed) {
    memset(flash, 0, sizeof *flash);
    memset(flash->bytes, 0xFF, sizeof flash->bytes);
    flash->nor = (opq_nor_t){.context = flash, .bytes = flash->bytes, .erase = erase, .program = program};
    flash->random = seed;
    flash->writable = (1u << OPQ_NOR_SECTORS) - 1u;
}

void nor_flash_copy(nor_flash_t *flash, const nor_flash_t *from, uint32_t offset, uint32_t length, uint64_t seed) {
    for (uint32_t i = 0; i < flash->ranges; i++) {
        memset(flash->unstable + flash->range[i].offset, 0, flash->range[i].length);
    }
    memcpy(flash->bytes + offset, from->bytes + offset, length);
    flash->ranges = 0;
    flash->random = seed;
    flash->writable = from->writable;
    flash->low_power = false;
    nor_flash_power_up(flash, 0);
}

void nor_flash_power_up(nor_flash_t *flash, uint32_t cut_at) {
    flash->operations = 0;
    flash->cut_at = cut_at;
    flash->off = false;
    for (uint32_t r = 0; r < flash->ranges; r++) {
        nor_range_t range = flash->range[r];
        for (uint32_t i = range.offset; i < range.offset + range.length; i += 4) {
            uint32_t loose = get(flash->unstable, i);
            if (loose != 0) {
                uint32_t word = settle(flash, get(flash->bytes, i), loose);
                memcpy(flash->bytes + i, &word, sizeof word);
            }
        }
    }
}
