#include "settings_record.h"

#include <string.h>

#include "link.h"

#define BEGIN UINT32_C(0x5351504F)  // "OPQS"

opq_record_state_t opq_record_read(const opq_nor_t *nor, uint32_t address, uint32_t end, opq_record_t *record) {
    uint32_t begin = opq_nor_word(nor, address);
    if (begin == OPQ_NOR_ERASED && opq_nor_is_erased(nor, address, end - address)) {
        return OPQ_RECORD_END;
    }
    if (begin != BEGIN || end - address < OPQ_RECORD_FRAME_BYTES) {
        return OPQ_RECORD_TORN;
    }
    uint32_t head = opq_nor_word(nor, address + 4);
    record->length = head & 0xFFFFu;
    record->kind = head >> 16;
    record->sequence = opq_nor_word(nor, address + 8);
    uint32_t padded = (record->length + 3u) & ~3u;
    if (padded > end - address - OPQ_RECORD_FRAME_BYTES) {
        return OPQ_RECORD_TORN;
    }
    record->text = (const char *)opq_nor_at(nor, address + 12);
    uint32_t sum_address = address + 12 + padded;
    if (opq_crc32(0, opq_nor_at(nor, address + 4), 8 + padded) != opq_nor_word(nor, sum_address)) {
        return OPQ_RECORD_TORN;
    }
    record->done_address = sum_address + 4;
    record->next = sum_address + 12;
    record->settled = opq_nor_word(nor, record->done_address + 4) == 0;
    return opq_nor_word(nor, record->done_address) == OPQ_NOR_ERASED ? OPQ_RECORD_UNDONE : OPQ_RECORD_GOOD;
}

opq_nor_status_t opq_record_settle(const opq_nor_t *nor, const opq_record_t *record) {
    opq_nor_status_t status = nor->program(nor->context, record->done_address, 0);
    return status == OPQ_NOR_OK ? nor->program(nor->context, record->done_address + 4, 0) : status;
}

static void put_word(opq_record_writer_t *writer, const uint8_t word[4], bool summed) {
    if (writer->status == OPQ_NOR_OK) {
        writer->status = opq_nor_write(writer->nor, writer->address, word, 4);
    }
    writer->address += 4;
    if (summed) {
        writer->sum = opq_crc32(writer->sum, word, 4);
    }
}

static void put_number(opq_record_writer_t *writer, uint32_t number, bool summed) {
    uint8_t word[4];
    memcpy(word, &number, sizeof word);
    put_word(writer, word, summed);
}

void opq_record_begin(opq_record_writer_t *writer, const opq_nor_t *nor, uint32_t address, uint32_t kind,
                      uint32_t length, uint32_t sequence) {
    *writer = (opq_record_writer_t){.nor = nor, .address = address, .status = OPQ_NOR_OK};
    put_number(writer, BEGIN, false);
    put_number(writer, kind << 16 | length, true);
    put_number(writer, sequence, true);
}

void opq_record_text(opq_record_writer_t *writer, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        writer->word[writer->held++] = (uint8_t)text[i];
        if (writer->held == 4) {
            put_word(writer, writer->word, true);
            writer->held = 0;
        }
    }
}

opq_nor_status_t opq_record_end(opq_record_writer_t *writer) {
    if (writer->held > 0) {
        memset(writer->word + writer->held, 0xFF, 4 - writer->held);
        put_word(writer, writer->word, true);
    }
    put_number(writer, writer->sum, false);
    put_number(writer, 0, false);
    put_number(writer, 0, false);
    return writer->status;
}
