// A user's program, `box.py`, in flash: sector 4 has sixteen places of 4 KB, each a head of eight words and UTF-8 text.
// The good place with the highest sequence counts; one without text means that the program was removed.
//
// The sequence is written first: a place that was begun does not look erased any more, and a cut of that word is made
// certain by the next begin, which has the same sequence. The magic is written last, so that a power cut during a write
// leaves the former program. Each removal and each put uses a place, a refused or broken off put too. When none is free
// the sector is erased (64 KB: 0.5 to 1.1 s, DS8626 table 40) and the former program written again, to the first place:
// a cut in that time leaves no program. Where no place is good an erase may have been cut, so it is erased as well.
#ifndef OPQ_PROGRAM_STORE_H
#define OPQ_PROGRAM_STORE_H

#include "nor.h"

enum {
    OPQ_PROGRAM_SECTOR = 4,
    OPQ_PROGRAM_PLACES = 16,
    OPQ_PROGRAM_PLACE_BYTES = 4096,
    OPQ_PROGRAM_HEAD_BYTES = 32,
    OPQ_PROGRAM_MAX_BYTES = OPQ_PROGRAM_PLACE_BYTES - OPQ_PROGRAM_HEAD_BYTES,
    OPQ_PROGRAM_CRASHES = 3,
};

typedef struct {
    uint32_t place;    // 0 to 15
    uint32_t sequence; // counts changes
    uint32_t length;   // 0: removed
    uint32_t crc32;    // of the text
    uint32_t crashes;  // resets during this program, at most OPQ_PROGRAM_CRASHES
    const uint8_t *text;
} opq_program_t;

// False: no place is good. Makes certain what a power cut left between two values; not while a place is written.
bool opq_program_load(const opq_nor_t *nor, opq_program_t *found);
// OPQ_PROGRAM_PLACES: none is free, or none is good.
uint32_t opq_program_free_place(const opq_nor_t *nor);
// Erases the sector; `kept` is the present program with its text in RAM, or without text.
opq_nor_status_t opq_program_erase(const opq_nor_t *nor, const opq_program_t *kept);
// From here on the place is used; `sequence` is that of the commit.
opq_nor_status_t opq_program_begin(const opq_nor_t *nor, uint32_t place, uint32_t sequence);
// Text from `offset` on, a multiple of 4; the same bytes may be written again.
opq_nor_status_t opq_program_write(const opq_nor_t *nor, uint32_t place, uint32_t offset, const uint8_t *text,
                                   size_t length);
const uint8_t *opq_program_text(const opq_nor_t *nor, uint32_t place);
// From here on the place counts, if its text has this CRC-32.
opq_nor_status_t opq_program_commit(const opq_nor_t *nor, uint32_t place, uint32_t sequence, uint32_t length,
                                    uint32_t crc32);
opq_nor_status_t opq_program_count_crash(const opq_nor_t *nor, const opq_program_t *program);

#endif
