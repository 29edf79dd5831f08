#include "link.h"

// Consistent Overhead Byte Stuffing: Cheshire and Baker, IEEE/ACM ToN 7(2), 1999. A full block (0xFF) that
// ends the data is followed by nothing.
size_t opq_cobs_encode(const uint8_t *data, size_t length, uint8_t *out) {
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

size_t opq_cobs_decode(const uint8_t *data, size_t length, uint8_t *out) {
    size_t in = 0;
    size_t made = 0;
    while (in < length) {
        uint8_t code = data[in++];
        if (code == 0 || (size_t)(code - 1U) > length - in) {
            return SIZE_MAX;
        }
        for (uint8_t i = 1; i < code; i++) {
            if (data[in] == 0) {
                return SIZE_MAX;
            }
            out[made++] = data[in++];
        }
        if (code < 0xFF && in < length) {
            out[made++] = 0;
        }
    }
    return made;
}
