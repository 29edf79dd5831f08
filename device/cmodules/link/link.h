// Frames of the serial link. proto/golden/README.md has the layout; its vectors test this code.
//
//     body  = type u8, sequence u16 LE, payload        frame = COBS(body + CRC-32 of body, u32 LE) + 0x00
//
// Pure: no registers, no clock, no allocation. Messages are in messages.h, byte queues in queue.h.
#ifndef OPQ_LINK_H
#define OPQ_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    OPQ_LINK_BAUD = 921600,                             // 8N1
    OPQ_LINK_MAX_FRAME = 2048,                          // with the closing zero
    OPQ_LINK_HEAD = 3,                                  // type and sequence
    OPQ_LINK_CRC = 4,
    OPQ_LINK_MAX_PAYLOAD = OPQ_LINK_MAX_FRAME - 1 - 9 - OPQ_LINK_HEAD - OPQ_LINK_CRC,  // 9: COBS of 2048
};

// CRC-32/ISO-HDLC, as zlib's: `crc` is 0 at the start, or the result for the bytes before.
uint32_t opq_crc32(uint32_t crc, const uint8_t *data, size_t length);

// Without the closing zero. `out` needs length + length / 254 + 1 bytes; returns how many it wrote.
size_t opq_cobs_encode(const uint8_t *data, size_t length, uint8_t *out);
// SIZE_MAX: not COBS. `out` may be `data`: decoded bytes are never longer than the encoded ones.
size_t opq_cobs_decode(const uint8_t *data, size_t length, uint8_t *out);

// The whole frame with its closing zero into `out`, where `payload` may lie; 0 when it does not fit `room` or MAX_FRAME.
size_t opq_frame_write(uint8_t *out, size_t room, uint8_t type, uint16_t sequence, const uint8_t *payload,
                       size_t length);

// One good frame; `payload` is valid until the next call into the decoder.
typedef struct {
    uint8_t type;
    uint16_t sequence;
    const uint8_t *payload;
    size_t length;
} opq_frame_t;

// The counters of opq_proto.link.frames.Decoder: from 0, only rising.
typedef struct {
    uint32_t frames;
    uint32_t crc_errors;     // COBS or CRC-32 wrong
    uint32_t malformed;      // good CRC, but an unknown type or a bad payload
    uint32_t oversize;       // runs longer than MAX_FRAME without a zero
    uint32_t bytes_skipped;  // in no good frame, delimiters not counted
    uint32_t sequence_gaps;
} opq_link_counters_t;

typedef struct {
    opq_link_counters_t counters;
    uint32_t length;  // of the unfinished frame
    int32_t expected; // next sequence; -1: any
    bool skipping;    // inside an oversize run
    uint8_t bytes[OPQ_LINK_MAX_FRAME];
} opq_decoder_t;

void opq_decoder_init(opq_decoder_t *decoder);

// Takes one byte of the line. True: it ended a good frame, which is now in `frame`.
bool opq_decoder_push(opq_decoder_t *decoder, uint8_t byte, opq_frame_t *frame);

#endif
