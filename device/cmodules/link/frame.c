#include "link.h"

#include <string.h>

#include "messages.h"

size_t opq_frame_write(uint8_t *out, size_t room, uint8_t type, uint16_t sequence, const uint8_t *payload,
                       size_t length) {
    if (length > OPQ_LINK_MAX_PAYLOAD) {
        return 0;
    }
    size_t raw = OPQ_LINK_HEAD + length + OPQ_LINK_CRC;
    size_t most = raw + raw / 254U + 1U + 1U;  // COBS adds one byte per 254 and one; the closing zero
    if (most > room) {
        return 0;
    }
    // The body is put at the end of the frame's own room and is encoded downwards from there: COBS writes at
    // most `overhead` bytes more than it has read, so the writer never overtakes the reader.
    size_t overhead = raw / 254U + 1U;
    uint8_t *body = out + overhead;
    if (length > 0) {
        memmove(body + OPQ_LINK_HEAD, payload, length);
    }
    body[0] = type;
    body[1] = (uint8_t)sequence;
    body[2] = (uint8_t)(sequence >> 8);
    uint32_t crc = opq_crc32(0, body, OPQ_LINK_HEAD + length);
    for (size_t i = 0; i < OPQ_LINK_CRC; i++) {
        body[OPQ_LINK_HEAD + length + i] = (uint8_t)(crc >> (8U * i));
    }
    size_t coded = opq_cobs_encode(body, raw, out);
    out[coded] = 0;
    return coded + 1U;
}

void opq_decoder_init(opq_decoder_t *decoder) {
    decoder->counters = (opq_link_counters_t){0};
    decoder->length = 0;
    decoder->expected = -1;
    decoder->skipping = false;
}

static bool read_frame(opq_decoder_t *decoder, size_t length, opq_frame_t *frame) {
    opq_link_counters_t *count = &decoder->counters;
    uint8_t *body = decoder->bytes;
    size_t raw = opq_cobs_decode(body, length, body);
    uint32_t received_crc = 0;
    bool whole = raw != SIZE_MAX && raw >= OPQ_LINK_HEAD + OPQ_LINK_CRC;
    if (whole) {
        raw -= OPQ_LINK_CRC;
        for (size_t i = 0; i < OPQ_LINK_CRC; i++) {
            received_crc |= (uint32_t)body[raw + i] << (8U * i);
        }
    }
    if (!whole || opq_crc32(0, body, raw) != received_crc) {
        count->crc_errors++;
        count->bytes_skipped += (uint32_t)length;
        return false;
    }
    frame->type = body[0];
    frame->sequence = (uint16_t)(body[1] | (uint16_t)(body[2] << 8));
    frame->payload = body + OPQ_LINK_HEAD;
    frame->length = raw - OPQ_LINK_HEAD;
    if (decoder->expected >= 0 && frame->sequence != decoder->expected) {
        count->sequence_gaps++;
    }
    decoder->expected = (frame->sequence + 1) & 0xFFFF;
    if (!opq_message_is_good(frame->type, frame->payload, frame->length)) {
        count->malformed++;
        count->bytes_skipped += (uint32_t)length;
        return false;
    }
    count->frames++;
    return true;
}

bool opq_decoder_push(opq_decoder_t *decoder, uint8_t byte, opq_frame_t *frame) {
    if (byte != 0) {
        if (decoder->skipping) {
            decoder->counters.bytes_skipped++;
        } else if (decoder->length + 1U >= OPQ_LINK_MAX_FRAME) {
            decoder->counters.oversize++;
            decoder->counters.bytes_skipped += decoder->length + 1U;
            decoder->length = 0;
            decoder->skipping = true;
        } else {
            decoder->bytes[decoder->length++] = byte;
        }
        return false;
    }
    uint32_t length = decoder->length;
    decoder->length = 0;
    decoder->skipping = false;
    return length > 0 && read_frame(decoder, length, frame);
}
