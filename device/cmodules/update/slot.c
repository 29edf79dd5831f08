#include "slot.h"

#include <string.h>

static uint32_t mark_address(opq_slot_t slot, uint32_t mark) {
    return opq_slot_address(slot) + OPQ_SLOT_BYTES - OPQ_SLOT_STATUS_BYTES + 8 * mark;
}

static bool is_set(const opq_nor_t *nor, opq_slot_t slot, uint32_t mark) {
    return opq_nor_word(nor, mark_address(slot, mark)) != OPQ_NOR_ERASED;
}

bool opq_slot_is_solid(const opq_nor_t *nor, opq_slot_t slot, uint32_t mark) {
    return opq_nor_word(nor, mark_address(slot, mark) + 4) == 0;
}

opq_slot_marks_t opq_slot_marks(const opq_nor_t *nor, opq_slot_t slot) {
    uint32_t sequence = opq_nor_word(nor, mark_address(slot, OPQ_MARK_SEQUENCE));
    opq_slot_marks_t marks = {
        .sequence = sequence == OPQ_NOR_ERASED ? 0 : sequence,
        .installed = is_set(nor, slot, OPQ_MARK_INSTALLED),
        // Rejected is final: a confirmation that was cut may read as set later.
        .confirmed = is_set(nor, slot, OPQ_MARK_CONFIRMED) && !is_set(nor, slot, OPQ_MARK_REJECTED),
        .rejected = is_set(nor, slot, OPQ_MARK_REJECTED),
    };
    for (uint32_t i = 0; i < OPQ_SLOT_TRIALS; i++) {
        marks.trials += is_set(nor, slot, OPQ_MARK_TRIAL + i) ? 1u : 0u;
    }
    return marks;
}

static opq_nor_status_t write(const opq_nor_t *nor, uint32_t address, uint32_t word) {
    opq_nor_status_t status = nor->program(nor->context, address, word);
    return status == OPQ_NOR_OK && opq_nor_word(nor, address) != word ? OPQ_NOR_FAILED : status;
}

opq_nor_status_t opq_slot_set(const opq_nor_t *nor, opq_slot_t slot, uint32_t mark) {
    if (opq_slot_is_solid(nor, slot, mark)) {
        return OPQ_NOR_OK;
    }
    opq_nor_status_t status = write(nor, mark_address(slot, mark), 0);
    return status == OPQ_NOR_OK ? write(nor, mark_address(slot, mark) + 4, 0) : status;
}

opq_nor_status_t opq_slot_write_sequence(const opq_nor_t *nor, opq_slot_t slot, uint32_t sequence) {
    return write(nor, mark_address(slot, OPQ_MARK_SEQUENCE), sequence);
}

static uint32_t tag_of(const opq_image_t *image) {
    uint32_t tag;
    memcpy(&tag, image->sha256, sizeof tag);
    return tag == OPQ_NOR_ERASED ? 0 : tag;
}

opq_nor_status_t opq_slot_write_tag(const opq_nor_t *nor, opq_slot_t slot, const opq_image_t *image) {
    opq_nor_status_t status = write(nor, mark_address(slot, OPQ_MARK_TAG), tag_of(image));
    return status == OPQ_NOR_OK ? write(nor, mark_address(slot, OPQ_MARK_TAG) + 4, 0) : status;
}

opq_nor_status_t opq_slot_claim(const opq_nor_t *nor, opq_slot_t slot, const opq_image_t *image) {
    uint32_t status_address = mark_address(slot, 0);
    uint32_t last_sector = opq_slot_first_sector(slot) + 2;
    if (opq_nor_word(nor, mark_address(slot, OPQ_MARK_TAG)) == tag_of(image)) {
        if (!opq_slot_is_solid(nor, slot, OPQ_MARK_TAG)) {
            opq_slot_write_tag(nor, slot, image);  // if it fails, the next start tries again
        }
        return OPQ_NOR_OK;
    }
    if (!opq_nor_is_erased(nor, status_address, OPQ_SLOT_STATUS_BYTES)) {
        uint32_t image_end = opq_slot_address(slot) + OPQ_IMAGE_HEADER_BYTES + image->length;
        if (image_end > opq_nor_sector_address(last_sector)) {
            return OPQ_NOR_FAILED;  // impossible: writing an image erases the marks of its sector
        }
        opq_nor_status_t status = nor->erase(nor->context, last_sector);
        if (status != OPQ_NOR_OK) {
            return status;
        }
    }
    return opq_slot_write_tag(nor, slot, image);
}

opq_nor_status_t opq_slot_finish_marks(const opq_nor_t *nor, opq_slot_t slot) {
    opq_nor_status_t status = OPQ_NOR_OK;
    for (uint32_t mark = OPQ_MARK_INSTALLED; mark < OPQ_MARK_TRIAL + OPQ_SLOT_TRIALS && status == OPQ_NOR_OK; mark++) {
        if (is_set(nor, slot, mark)) {
            status = opq_slot_set(nor, slot, mark);
        }
    }
    return status;
}
