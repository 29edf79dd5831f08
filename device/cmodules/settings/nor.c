#include "nor.h"

#include <string.h>

uint32_t opq_nor_word(const opq_nor_t *nor, uint32_t address) {
    uint32_t word;
    memcpy(&word, opq_nor_at(nor, address), sizeof word);
    return word;
}

static bool inside(uint32_t address, size_t length) {
    return address >= OPQ_NOR_ORIGIN && length <= OPQ_NOR_BYTES &&
           address - OPQ_NOR_ORIGIN <= OPQ_NOR_BYTES - (uint32_t)length;
}

opq_nor_status_t opq_nor_write(const opq_nor_t *nor, uint32_t address, const uint8_t *data, size_t length) {
    if (address % 4u != 0 || !inside(address, (length + 3u) & ~(size_t)3)) {
        return OPQ_NOR_BAD_ARGUMENT;
    }
    for (size_t i = 0; i < length; i += 4) {
        uint32_t word = OPQ_NOR_ERASED;
        memcpy(&word, data + i, length - i < 4 ? length - i : 4);
        uint32_t at = address + (uint32_t)i;
        opq_nor_status_t status = nor->program(nor->context, at, word);
        if (status != OPQ_NOR_OK) {
            return status;
        }
        if (opq_nor_word(nor, at) != word) {
            return OPQ_NOR_FAILED;  // worn out, or not erased before
        }
    }
    return OPQ_NOR_OK;
}

bool opq_nor_is_erased(const opq_nor_t *nor, uint32_t address, uint32_t length) {
    if (!inside(address, length)) {
        return false;
    }
    uint32_t all = OPQ_NOR_ERASED;
    for (uint32_t i = 0; i < length; i += 4) {
        all &= opq_nor_word(nor, address + i);
    }
    return all == OPQ_NOR_ERASED;
}
