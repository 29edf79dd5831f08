#include "slot.h"

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
        .confirmed = is_set(nor, slot, OPQ_MARK_CONFIRMED),
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

opq_nor_status_t opq_slot_finish_marks(const opq_nor_t *nor, opq_slot_t slot) {
    opq_nor_status_t status = OPQ_NOR_OK;
    for (uint32_t mark = OPQ_MARK_INSTALLED; mark < OPQ_MARK_TRIAL + OPQ_SLOT_TRIALS && status == OPQ_NOR_OK; mark++) {
        if (is_set(nor, slot, mark)) {
            status = opq_slot_set(nor, slot, mark);
        }
    }
    return status;
}
