#include "image.h"

#include <string.h>

#include "sha256.h"

enum {  // offsets in the header
    AT_HEADER_VERSION = 4, AT_HEADER_BYTES = 6, AT_HARDWARE = 8, AT_VERSION = OPQ_IMAGE_VERSION_OFFSET, AT_LOAD_ADDRESS = 28,
    AT_LENGTH = 32, AT_FLAGS = 36, AT_SHA256 = 40, AT_LABEL = 72, AT_SIGNATURE = OPQ_IMAGE_SIGNED_BYTES,
};

static uint32_t u32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static bool is_zero(const uint8_t *bytes, size_t length) {
    uint8_t all = 0;
    for (size_t i = 0; i < length; i++) {
        all |= bytes[i];
    }
    return all == 0;
}

opq_image_verdict_t opq_image_header(const uint8_t *header, uint32_t slot_address, const opq_image_rules_t *rules,
                                     opq_image_t *image) {
    memset(image, 0, sizeof *image);
    if (memcmp(header, "OPQF", 4) != 0) {
        return OPQ_IMAGE_NO_MAGIC;
    }
    if (u32(header + AT_HEADER_VERSION) != (OPQ_IMAGE_HEADER_VERSION | (uint32_t)OPQ_IMAGE_HEADER_BYTES << 16)) {
        return OPQ_IMAGE_HEADER_UNKNOWN;
    }
    memcpy(image->hardware, header + AT_HARDWARE, OPQ_IMAGE_HARDWARE_BYTES);
    memcpy(image->label, header + AT_LABEL, OPQ_IMAGE_LABEL_BYTES);
    image->version = u32(header + AT_VERSION);
    image->load_address = u32(header + AT_LOAD_ADDRESS);
    image->length = u32(header + AT_LENGTH);
    image->flags = u32(header + AT_FLAGS);
    image->sha256 = header + AT_SHA256;
    if (strcmp(image->hardware, rules->hardware) != 0) {
        return OPQ_IMAGE_WRONG_HARDWARE;
    }
    if (image->load_address != slot_address) {
        return OPQ_IMAGE_WRONG_ADDRESS;
    }
    if (image->length < 8 || image->length % 4 != 0 || image->length > OPQ_IMAGE_MAX_BODY_BYTES) {
        return OPQ_IMAGE_BAD_LENGTH;
    }
    if (image->version < rules->floor_version) {
        return OPQ_IMAGE_DOWNGRADE;
    }
    if (is_zero(header + AT_SIGNATURE, 64)) {
        return OPQ_IMAGE_UNSIGNED;
    }
    if (!rules->check(header + AT_SIGNATURE, rules->public_key, header, OPQ_IMAGE_SIGNED_BYTES)) {
        return OPQ_IMAGE_BAD_SIGNATURE;
    }
    return OPQ_IMAGE_GOOD;
}

// Stack pointer: in SRAM or CCM, or right after it (RM0090 2.3.1: 128 KB and 64 KB), by whole double words (AAPCS
// 5.2.1.2). Reset vector: Thumb, inside of the body. Only signed images get here; this finds our own mistakes.
static bool vectors_are_sane(const opq_image_t *image, const uint8_t *body) {
    uint32_t stack = u32(body), reset = u32(body + 4), begin = image->load_address + OPQ_IMAGE_HEADER_BYTES;
    bool in_sram = stack > UINT32_C(0x20000000) && stack <= UINT32_C(0x20020000);
    bool in_ccm = stack > UINT32_C(0x10000000) && stack <= UINT32_C(0x10010000);
    return (in_sram || in_ccm) && stack % 8 == 0 && (reset & 1u) != 0 && reset > begin &&
           reset - begin < image->length;
}

opq_image_verdict_t opq_image_body(const opq_image_t *image, const uint8_t *body, size_t available) {
    if (available < image->length) {
        return OPQ_IMAGE_TRUNCATED;
    }
    opq_sha256_t sha;
    uint8_t digest[32];
    opq_sha256_init(&sha);
    opq_sha256_update(&sha, body, image->length);
    opq_sha256_final(&sha, digest);
    if (memcmp(digest, image->sha256, sizeof digest) != 0) {
        return OPQ_IMAGE_BAD_HASH;
    }
    return vectors_are_sane(image, body) ? OPQ_IMAGE_GOOD : OPQ_IMAGE_BAD_VECTORS;
}

opq_image_verdict_t opq_image_check(const uint8_t *bytes, size_t available, uint32_t slot_address,
                                    const opq_image_rules_t *rules, opq_image_t *image) {
    if (available < OPQ_IMAGE_HEADER_BYTES) {
        memset(image, 0, sizeof *image);
        return available >= 4 && memcmp(bytes, "OPQF", 4) == 0 ? OPQ_IMAGE_TRUNCATED : OPQ_IMAGE_NO_MAGIC;
    }
    opq_image_verdict_t verdict = opq_image_header(bytes, slot_address, rules, image);
    if (verdict != OPQ_IMAGE_GOOD) {
        return verdict;
    }
    return opq_image_body(image, bytes + OPQ_IMAGE_HEADER_BYTES, available - OPQ_IMAGE_HEADER_BYTES);
}
