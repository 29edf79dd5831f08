// Damaged frames into the decoder, under the sanitizers: link_fuzz FRAMES SEED. Each round sends a burst of
// frames with some of these: flipped bits, lost bytes, doubled bytes, zeros and noise put in. Exit 0 when
// no frame came out that was not sent, and every byte is accounted for.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "link.h"
#include "messages.h"

enum { BURST = 8, ROOM = BURST * (OPQ_LINK_MAX_FRAME + 64) };

static uint64_t state;

// xorshift64* (Vigna 2016): repeats with the seed.
static uint32_t random_below(uint32_t limit) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * UINT64_C(2685821657736338717)) >> 33) % limit;
}

static size_t some_payload(uint8_t *out, uint8_t *type) {
    int16_t counts[OPQ_MAX_SAMPLES];
    uint8_t bytes[OPQ_UPDATE_BYTES];
    switch (random_below(4)) {
        case 0: {
            opq_resend_t resend = {.first_sample = random_below(1U << 30), .count = random_below(5000)};
            *type = OPQ_RESEND;
            return opq_write_resend(out, OPQ_LINK_MAX_PAYLOAD, &resend);
        }
        case 1: {
            uint16_t count = (uint16_t)random_below(OPQ_MAX_SAMPLES + 1);
            for (uint16_t i = 0; i < count; i++) {
                counts[i] = (int16_t)(random_below(4) == 0 ? 0 : random_below(65536) - 32768);
            }
            opq_samples_t samples = {.first_sample = random_below(1U << 30), .source = 3, .count = count,
                                     .counts = counts};
            *type = OPQ_SAMPLES;
            return opq_write_samples(out, OPQ_LINK_MAX_PAYLOAD, &samples);
        }
        case 2: {
            uint16_t count = (uint16_t)random_below(OPQ_UPDATE_BYTES + 1);
            for (uint16_t i = 0; i < count; i++) {
                bytes[i] = (uint8_t)random_below(256);
            }
            opq_update_data_t data = {.command_id = 7, .offset = random_below(1U << 20), .count = count,
                                      .bytes = bytes};
            *type = OPQ_UPDATE_DATA;
            return opq_write_update_data(out, OPQ_LINK_MAX_PAYLOAD, &data);
        }
        default:
            *type = OPQ_LOG;
            return opq_write_log(out, OPQ_LINK_MAX_PAYLOAD, (uint16_t)random_below(65536), -1, 7, 3);
    }
}

static size_t damage(uint8_t *line, size_t length) {
    for (uint32_t times = random_below(4); times > 0 && length > 1; times--) {
        size_t at = random_below((uint32_t)length);
        switch (random_below(4)) {
            case 0: line[at] = (uint8_t)(line[at] ^ (1U << random_below(8))); break;
            case 1: memmove(line + at, line + at + 1, length - at - 1); length--; break;
            case 2: line[at] = 0; break;
            default:
                memmove(line + at + 1, line + at, length - at);
                line[at] = (uint8_t)random_below(256);
                length++;
                break;
        }
    }
    return length;
}

int main(int argc, char **argv) {
    static uint8_t line[ROOM], payloads[BURST][OPQ_LINK_MAX_PAYLOAD];
    static opq_decoder_t decoder;
    size_t lengths[BURST];
    uint8_t types[BURST];
    unsigned long frames = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;
    unsigned long good = 0, corrupt = 0;
    uint64_t fed = 0, zeros = 0, used = 0;
    state = argc > 2 ? strtoull(argv[2], NULL, 10) * 2 + 1 : 1;
    opq_decoder_init(&decoder);
    for (unsigned long sent = 0; sent < frames; sent += BURST) {
        size_t length = 0;
        for (uint16_t i = 0; i < BURST; i++) {
            lengths[i] = some_payload(payloads[i], &types[i]);
            uint16_t sequence = (uint16_t)(sent + i);
            length += opq_frame_write(line + length, OPQ_LINK_MAX_FRAME, types[i], sequence, payloads[i], lengths[i]);
        }
        length = damage(line, length);
        line[length++] = 0;  // between bursts: what the damage left open does not run on
        for (size_t at = 0, from = 0; at < length; at++) {
            opq_frame_t frame;
            zeros += line[at] == 0;
            if (opq_decoder_push(&decoder, line[at], &frame)) {
                uint16_t i = (uint16_t)(frame.sequence - (uint16_t)sent);
                bool same = i < BURST && frame.type == types[i] && frame.length == lengths[i] &&
                            memcmp(frame.payload, payloads[i], lengths[i]) == 0;
                corrupt += !same;
                good++;
                used += at - from;
            }
            from = line[at] == 0 ? at + 1 : from;
        }
        fed += length;
    }
    const opq_link_counters_t *count = &decoder.counters;
    uint64_t lost = fed - zeros - used - count->bytes_skipped;
    printf("%lu sent %lu good %u crc %u malformed %u oversize %lu corrupt %llu unaccounted\n", frames, good,
           count->crc_errors, count->malformed, count->oversize, corrupt, (unsigned long long)lost);
    return corrupt == 0 && lost == 0 && good == count->frames && good > frames / 2 ? 0 : 1;
}
