// Records of settings in a sector; not needed outside of this folder. Layout: settings.h.
//
// Why a cut cannot mislead: the begin word is a constant, so a partly written one is not seen, or completed by
// the next record; the sum is written after all it covers; the done word only after the sum. A record counts if its
// sum is right AND at least one bit of done is 0: then all before was programmed to its end and always reads the same.
// Done itself may read 0 now and not later. So the settled word follows it: as long as that is not
// 0, a start programs done once more before it uses the record.
#ifndef OPQ_SETTINGS_RECORD_H
#define OPQ_SETTINGS_RECORD_H

#include "settings.h"

enum { OPQ_RECORD_SNAPSHOT = 1, OPQ_RECORD_CHANGE = 2 };
enum { OPQ_RECORD_FRAME_BYTES = 24 };  // begin, length and kind, sequence; sum, done, settled

typedef struct {
    const char *text;
    uint32_t length;
    uint32_t kind;
    uint32_t sequence;
    uint32_t done_address;
    uint32_t next;  // address after it
    bool settled;
} opq_record_t;

typedef enum {
    OPQ_RECORD_GOOD = 0,
    OPQ_RECORD_END = 1,     // only ones from here on
    OPQ_RECORD_UNDONE = 2,  // its sum is right, its done word not written: it does not count, but might later
    OPQ_RECORD_TORN = 3,    // anything else
} opq_record_state_t;

opq_record_state_t opq_record_read(const opq_nor_t *nor, uint32_t address, uint32_t end, opq_record_t *record);

opq_nor_status_t opq_record_settle(const opq_nor_t *nor, const opq_record_t *record);

// A record being written word by word; nothing is written any more after the first failure.
typedef struct {
    const opq_nor_t *nor;
    uint32_t address;
    uint32_t sum;
    uint32_t held;
    uint8_t word[4];
    opq_nor_status_t status;
} opq_record_writer_t;

void opq_record_begin(opq_record_writer_t *writer, const opq_nor_t *nor, uint32_t address, uint32_t kind,
                      uint32_t length, uint32_t sequence);
void opq_record_text(opq_record_writer_t *writer, const char *text, size_t length);
opq_nor_status_t opq_record_end(opq_record_writer_t *writer);

#endif
