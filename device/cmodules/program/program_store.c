#include "program_store.h"

#include "link.h"

enum { MAGIC_AT = 0, SEQUENCE_AT = 4, LENGTH_AT = 8, TEXT_CRC_AT = 12, HEAD_CRC_AT = 16, CRASHES_AT = 20 };
#define MAGIC UINT32_C(0x3150514F) // "OQP1"

static uint32_t address_of(uint32_t place) {
    return opq_nor_sector_address(OPQ_PROGRAM_SECTOR) + place * OPQ_PROGRAM_PLACE_BYTES;
}

const uint8_t *opq_program_text(const opq_nor_t *nor, uint32_t place) {
    return opq_nor_at(nor, address_of(place) + OPQ_PROGRAM_HEAD_BYTES);
}

// Sequence, length and CRC of the text lie one after another.
static uint32_t head_crc(const opq_nor_t *nor, uint32_t place) {
    return opq_crc32(0, opq_nor_at(nor, address_of(place) + SEQUENCE_AT), HEAD_CRC_AT - SEQUENCE_AT);
}

static bool read_place(const opq_nor_t *nor, uint32_t place, opq_program_t *out) {
    uint32_t at = address_of(place);
    *out = (opq_program_t){
        .place = place,
        .sequence = opq_nor_word(nor, at + SEQUENCE_AT),
        .length = opq_nor_word(nor, at + LENGTH_AT),
        .crc32 = opq_nor_word(nor, at + TEXT_CRC_AT),
        .text = opq_program_text(nor, place),
    };
    if (opq_nor_word(nor, at + MAGIC_AT) != MAGIC || opq_nor_word(nor, at + HEAD_CRC_AT) != head_crc(nor, place) ||
        out->length > OPQ_PROGRAM_MAX_BYTES || opq_crc32(0, out->text, out->length) != out->crc32) {
        return false;
    }
    while (out->crashes < OPQ_PROGRAM_CRASHES &&
           opq_nor_word(nor, at + CRASHES_AT + 4u * out->crashes) != OPQ_NOR_ERASED) {
        out->crashes++;
    }
    return true;
}

static bool is_erased(const opq_nor_t *nor, uint32_t place) {
    return opq_nor_is_erased(nor, address_of(place), OPQ_PROGRAM_PLACE_BYTES);
}

static opq_nor_status_t write_word(const opq_nor_t *nor, uint32_t address, uint32_t word) {
    return opq_nor_write(nor, address, (const uint8_t *)&word, sizeof word);
}

bool opq_program_load(const opq_nor_t *nor, opq_program_t *found) {
    bool any = false;
    for (uint32_t place = 0; place < OPQ_PROGRAM_PLACES; place++) {
        opq_program_t next;
        if (!read_place(nor, place, &next)) {
            if (!is_erased(nor, place)) {
                (void)write_word(nor, address_of(place) + MAGIC_AT, 0); // never good at a later start
            }
        } else if (!any || next.sequence > found->sequence) {
            *found = next;
            any = true;
        }
    }
    if (any) {
        (void)write_word(nor, address_of(found->place) + MAGIC_AT, MAGIC); // good at each later start
    }
    return any;
}

uint32_t opq_program_free_place(const opq_nor_t *nor) {
    uint32_t free_place = OPQ_PROGRAM_PLACES;
    bool any = false;
    for (uint32_t place = OPQ_PROGRAM_PLACES; place-- > 0;) {
        opq_program_t good;
        if (is_erased(nor, place)) {
            free_place = place;
        } else {
            any = any || read_place(nor, place, &good);
        }
    }
    return any ? free_place : OPQ_PROGRAM_PLACES;
}

opq_nor_status_t opq_program_begin(const opq_nor_t *nor, uint32_t place, uint32_t sequence) {
    return write_word(nor, address_of(place) + SEQUENCE_AT, sequence);
}

opq_nor_status_t opq_program_write(const opq_nor_t *nor, uint32_t place, uint32_t offset, const uint8_t *text,
                                   size_t length) {
    return opq_nor_write(nor, address_of(place) + OPQ_PROGRAM_HEAD_BYTES + offset, text, length);
}

opq_nor_status_t opq_program_commit(const opq_nor_t *nor, uint32_t place, uint32_t sequence, uint32_t length,
                                    uint32_t crc32) {
    const uint32_t head[] = {sequence, length, crc32};
    uint32_t at = address_of(place);
    opq_nor_status_t status = opq_nor_write(nor, at + SEQUENCE_AT, (const uint8_t *)head, sizeof head);
    if (status == OPQ_NOR_OK) {
        status = write_word(nor, at + HEAD_CRC_AT, head_crc(nor, place));
    }
    return status == OPQ_NOR_OK ? write_word(nor, at + MAGIC_AT, MAGIC) : status;
}

opq_nor_status_t opq_program_erase(const opq_nor_t *nor, const opq_program_t *kept) {
    opq_nor_status_t status = nor->erase(nor->context, OPQ_PROGRAM_SECTOR);
    if (status == OPQ_NOR_OK) {
        status = opq_program_write(nor, 0, 0, kept->text, kept->length);
    }
    for (uint32_t n = 0; status == OPQ_NOR_OK && n < kept->crashes; n++) {
        status = write_word(nor, address_of(0) + CRASHES_AT + 4u * n, 0);
    }
    return status == OPQ_NOR_OK ? opq_program_commit(nor, 0, kept->sequence, kept->length, kept->crc32) : status;
}

opq_nor_status_t opq_program_count_crash(const opq_nor_t *nor, const opq_program_t *program) {
    if (program->crashes == OPQ_PROGRAM_CRASHES) {
        return OPQ_NOR_OK;
    }
    return write_word(nor, address_of(program->place) + CRASHES_AT + 4u * program->crashes, 0);
}
