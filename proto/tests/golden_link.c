// Reads golden vectors (files named on the command line) with a CRC-32, COBS and frame reader of
// its own, in C11: what the device's code has to agree with. Exit 0 when all hold.
//
// A link case is checked both ways: its frame is decoded and its payload walked by the wire types
// of the case's fields, and the fields are packed again and must give the same bytes.
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 8192, FRAME_BYTES = 2048, STREAM_BYTES = 4096, HEAD_BYTES = 3, CRC_BYTES = 4 };

static unsigned failures;

static void fail(const char *path, const char *what) {
    fprintf(stderr, "%s: %s\n", path, what);
    failures++;
}

// CRC-32/ISO-HDLC: reflected 0xEDB88320, preset and final complement.
static uint32_t crc32(const uint8_t *data, size_t length) {
    uint32_t crc = 0xFFFFFFFFU;
    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0xEDB88320U & (0U - (crc & 1U)));
        }
    }
    return ~crc;
}

// Returns the number of bytes, or -1 when `data` is not COBS.
static long cobs_decode(const uint8_t *data, size_t length, uint8_t *out) {
    size_t in = 0;
    size_t made = 0;
    if (length == 0) {
        return 0;
    }
    while (in < length) {
        uint8_t code = data[in++];
        if (code == 0 || in + code - 1U > length) {
            return -1;
        }
        for (uint8_t i = 1; i < code; i++) {
            if (data[in] == 0) {
                return -1;
            }
            out[made++] = data[in++];
        }
        if (code < 0xFF && in < length) {
            out[made++] = 0;
        }
    }
    return (long)made;
}

static size_t cobs_encode(const uint8_t *data, size_t length, uint8_t *out) {
    size_t code_at = 0;
    size_t made = 1;
    uint8_t code = 1;
    for (size_t i = 0; i < length; i++) {
        if (data[i] != 0) {
            out[made++] = data[i];
            code++;
        }
        if (data[i] == 0 || (code == 0xFF && i + 1 < length)) {
            out[code_at] = code;
            code_at = made++;
            code = 1;
        }
    }
    out[code_at] = code;
    return made;
}

static size_t from_hex(const char *text, uint8_t *out, size_t room) {
    size_t length = 0;
    unsigned byte = 0;
    while (length < room && sscanf(text + 2 * length, "%2x", &byte) == 1) {
        out[length++] = (uint8_t)byte;
    }
    return length;
}

static void put(uint8_t *out, size_t *at, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        out[(*at)++] = (uint8_t)(value >> (8 * i));
    }
}

// Packs one field as its wire type says. False: the type is not known.
static bool pack(const char *type, const char *value, uint8_t *out, size_t *at) {
    char kind = type[0];
    if (strcmp(type, "str8") == 0) {
        size_t length = strlen(value);
        put(out, at, length, 1);
        memcpy(out + *at, value, length);
        *at += length;
        return true;
    }
    if (strchr(type, '[') != NULL) {
        char *next = NULL;
        for (const char *from = value;; from = next) {
            long long count = strtoll(from, &next, 10);
            if (next == from) {
                return true;
            }
            put(out, at, (uint64_t)count, (size_t)strtoul(type + 1, NULL, 10) / 8);
        }
    }
    size_t bytes = (size_t)strtoul(type + 1, NULL, 10) / 8;
    if (kind == 'u') {
        put(out, at, strtoull(value, NULL, 10), bytes);
    } else if (kind == 'i') {
        put(out, at, (uint64_t)strtoll(value, NULL, 10), bytes);
    } else if (strcmp(type, "f32") == 0) {
        float number = strtof(value, NULL);
        uint32_t bits = 0;
        memcpy(&bits, &number, sizeof bits);
        put(out, at, isnan(number) ? 0x7FC00000U : bits, bytes);
    } else if (strcmp(type, "f64") == 0) {
        double number = strtod(value, NULL);
        uint64_t bits = 0;
        memcpy(&bits, &number, sizeof bits);
        put(out, at, bits, bytes);
    } else {
        return false;
    }
    return true;
}

// The body of the frame, or -1: too short, no COBS, or a wrong CRC.
static long open_frame(const uint8_t *frame, size_t length, uint8_t *body) {
    long raw = cobs_decode(frame, length, body);
    if (raw < HEAD_BYTES + CRC_BYTES) {
        return -1;
    }
    size_t end = (size_t)raw - CRC_BYTES;
    uint32_t said = 0;
    for (size_t i = 0; i < CRC_BYTES; i++) {
        said |= (uint32_t)body[end + i] << (8 * i);
    }
    return crc32(body, end) == said ? (long)end : -1;
}

static void check_link(const char *path, FILE *file) {
    static char line[LINE_BYTES];
    static uint8_t packed[FRAME_BYTES], frame[FRAME_BYTES], body[FRAME_BYTES], made[FRAME_BYTES];
    unsigned type = 0;
    unsigned sequence = 0;
    size_t at = HEAD_BYTES;
    size_t length = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        char name[32], wire[8];
        int value_at = 0;
        line[strcspn(line, "\n")] = '\0';
        if (sscanf(line, "type %u", &type) == 1 || sscanf(line, "sequence %u", &sequence) == 1) {
            continue;
        }
        if (sscanf(line, "field %31s %7s%n", name, wire, &value_at) == 2) {
            const char *value = line + value_at + (line[value_at] == ' ' ? 1 : 0);
            if (!pack(wire, value, packed, &at)) {
                fail(path, "unknown wire type");
            }
        } else if (strncmp(line, "frame ", 6) == 0) {
            length = from_hex(line + 6, frame, sizeof frame);
        }
    }
    size_t head = 0;
    put(packed, &head, type, 1);
    put(packed, &head, sequence, 2);
    if (length == 0 || frame[length - 1] != 0) {
        fail(path, "frame without its closing zero");
        return;
    }
    long opened = open_frame(frame, length - 1, body);
    if (opened < 0 || (size_t)opened != at || memcmp(body, packed, at) != 0) {
        fail(path, "the frame's body is not what its fields give");
        return;
    }
    uint32_t crc = crc32(packed, at);
    put(packed, &at, crc, CRC_BYTES);
    size_t coded = cobs_encode(packed, at, made);
    if (coded != length - 1 || memcmp(made, frame, coded) != 0) {
        fail(path, "the fields do not give the frame");
    }
}

// Good frames and bad ones of a byte stream, by type and CRC alone: payloads are not read here, so
// `malformed` frames count as good ones of an unexpected kind and are left out by the caller.
static void check_stream(const char *path, FILE *file) {
    static char line[2 * STREAM_BYTES + 16];
    static uint8_t bytes[STREAM_BYTES], body[STREAM_BYTES];
    unsigned want_type[8], want_sequence[8], got_type[8], got_sequence[8];
    unsigned wanted = 0, got = 0, want_crc = 0, bad_crc = 0, malformed = 0, want_oversize = 0, oversize = 0;
    size_t length = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "bytes ", 6) == 0) {
            length = from_hex(line + 6, bytes, sizeof bytes);
        } else if (wanted < 8 && sscanf(line, "good %u %u", &want_type[wanted], &want_sequence[wanted]) == 2) {
            wanted++;
        } else if (sscanf(line, "count crc_errors %u", &want_crc) == 1 ||
                   sscanf(line, "count malformed %u", &malformed) == 1 ||
                   sscanf(line, "count oversize %u", &want_oversize) == 1) {
            continue;
        }
    }
    size_t from = 0;
    for (size_t to = 0; to < length; to++) {
        if (bytes[to] != 0) {
            continue;
        }
        size_t size = to - from;
        long opened = size == 0 || size >= FRAME_BYTES ? -1 : open_frame(bytes + from, size, body);
        if (size >= FRAME_BYTES) {
            oversize++;
        } else if (size > 0 && opened < 0) {
            bad_crc++;
        } else if (opened >= 0 && got < 8) {
            got_type[got] = body[0];
            got_sequence[got++] = body[1] | (unsigned)body[2] << 8;
        }
        from = to + 1;
    }
    if (bad_crc != want_crc || oversize != want_oversize || got != wanted + malformed) {
        fail(path, "wrong number of good, bad or oversize frames");
        return;
    }
    unsigned next = 0;
    for (unsigned i = 0; i < got && next < wanted; i++) {
        if (got_type[i] == want_type[next] && got_sequence[i] == want_sequence[next]) {
            next++;
        }
    }
    if (next != wanted) {
        fail(path, "a good frame is missing");
    }
}

static void check_code(const char *path, FILE *file) {
    static char line[LINE_BYTES];
    static uint8_t data[FRAME_BYTES], want[FRAME_BYTES], made[FRAME_BYTES], back[FRAME_BYTES];
    size_t length = 0;
    unsigned long crc = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "hex ", 4) == 0) {
            length = from_hex(line + 4, data, sizeof data);
        } else if (sscanf(line, "crc32 %lu", &crc) == 1) {
            if (crc32(data, length) != (uint32_t)crc) {
                fail(path, "wrong CRC-32");
            }
        } else if (strncmp(line, "cobs ", 5) == 0) {
            size_t wanted = from_hex(line + 5, want, sizeof want);
            size_t coded = cobs_encode(data, length, made);
            if (coded != wanted || memcmp(made, want, wanted) != 0) {
                fail(path, "wrong COBS");
            }
            if (cobs_decode(want, wanted, back) != (long)length || memcmp(back, data, length) != 0) {
                fail(path, "COBS does not come back");
            }
        }
    }
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "r");
        if (file == NULL) {
            fail(argv[i], "cannot be opened");
            continue;
        }
        if (strstr(argv[i], "/link/") != NULL) {
            check_link(argv[i], file);
        } else if (strstr(argv[i], "/stream/") != NULL) {
            check_stream(argv[i], file);
        } else {
            check_code(argv[i], file);
        }
        fclose(file);
    }
    printf("%d files, %u failures\n", argc - 1, failures);
    return failures == 0 && argc > 1 ? 0 : 1;
}
