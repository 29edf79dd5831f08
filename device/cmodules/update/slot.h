// The two firmware slots: where they are, and the marks in the last 1 KB of each (words that only go 1 -> 0).
//
//     +0 sequence   +8 tag   +16 installed   +24 confirmed   +32 rejected   +40, +48, +56 trials
//
// A mark is two words. It is set when its first is not all ones; the second follows it, and as long as that is not
// 0 the boot loader programs the first once more before it uses the mark: a word whose programming was cut may read
// 0 now and ones later. The tag is the beginning of the image's SHA-256: a programmer that writes a new image
// and does not erase the slot's last sector leaves the marks of another image there.
#ifndef OPQ_SLOT_H
#define OPQ_SLOT_H

#include "image.h"
#include "nor.h"

enum { OPQ_SLOT_TRIALS = 3 };  // starts within which a new image has to report health

typedef enum { OPQ_SLOT_A = 0, OPQ_SLOT_B = 1, OPQ_SLOT_NONE = 2 } opq_slot_t;

typedef enum {
    OPQ_MARK_SEQUENCE = 0,
    OPQ_MARK_TAG = 1,
    OPQ_MARK_INSTALLED = 2,
    OPQ_MARK_CONFIRMED = 3,
    OPQ_MARK_REJECTED = 4,
    OPQ_MARK_TRIAL = 5,  // and the next two
} opq_mark_t;

typedef struct {
    uint32_t sequence;  // of the installation; 0: by a programmer, not by an update
    bool installed, confirmed, rejected;
    uint32_t trials;  // trials used
} opq_slot_marks_t;

static inline uint32_t opq_slot_address(opq_slot_t slot) {
    return slot == OPQ_SLOT_A ? OPQ_SLOT_A_ADDRESS : OPQ_SLOT_B_ADDRESS;
}
static inline uint32_t opq_slot_first_sector(opq_slot_t slot) { return slot == OPQ_SLOT_A ? 5u : 8u; }
static inline opq_slot_t opq_slot_other(opq_slot_t slot) { return slot == OPQ_SLOT_A ? OPQ_SLOT_B : OPQ_SLOT_A; }

// Whether the mark is completely set: then all that was written before it always reads the same.
bool opq_slot_is_solid(const opq_nor_t *nor, opq_slot_t slot, uint32_t mark);
opq_slot_marks_t opq_slot_marks(const opq_nor_t *nor, opq_slot_t slot);
opq_nor_status_t opq_slot_set(const opq_nor_t *nor, opq_slot_t slot, uint32_t mark);
// Both are numbers; an update writes them before the header, so they are complete in every valid slot.
opq_nor_status_t opq_slot_write_sequence(const opq_nor_t *nor, opq_slot_t slot, uint32_t sequence);
opq_nor_status_t opq_slot_write_tag(const opq_nor_t *nor, opq_slot_t slot, const opq_image_t *image);
// Assigns the marks to this good image: finishes its tag, or clears marks of another image.
opq_nor_status_t opq_slot_claim(const opq_nor_t *nor, opq_slot_t slot, const opq_image_t *image);
// Marks whose write was cut are programmed again.
opq_nor_status_t opq_slot_finish_marks(const opq_nor_t *nor, opq_slot_t slot);

#endif
