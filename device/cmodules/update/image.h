// A firmware image in a slot: 512-byte header, then the vector table and the rest. proto/golden/README.md
// has the layout; its vectors test this and opq_proto.firmware.image for the same verdicts.
#ifndef OPQ_IMAGE_H
#define OPQ_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    OPQ_IMAGE_HEADER_BYTES = 512,
    OPQ_IMAGE_SIGNED_BYTES = 448,  // of the header; the signature follows
    OPQ_IMAGE_HEADER_VERSION = 1,
    OPQ_IMAGE_HARDWARE_BYTES = 16,
    OPQ_IMAGE_VERSION_OFFSET = 24,
    OPQ_IMAGE_LABEL_BYTES = 40,
    OPQ_SLOT_BYTES = 0x60000,       // 384 KB
    OPQ_SLOT_STATUS_BYTES = 1024,   // the slot's last
    OPQ_IMAGE_MAX_BODY_BYTES = OPQ_SLOT_BYTES - OPQ_IMAGE_HEADER_BYTES - OPQ_SLOT_STATUS_BYTES,
};

#define OPQ_SLOT_A_ADDRESS UINT32_C(0x08020000)  // S5..S7
#define OPQ_SLOT_B_ADDRESS UINT32_C(0x08080000)  // S8..S10

// In the order of the checks: the first that fails is the verdict.
typedef enum {
    OPQ_IMAGE_GOOD = 0,
    OPQ_IMAGE_NO_MAGIC = 1,
    OPQ_IMAGE_HEADER_UNKNOWN = 2,   // an unknown header version or size
    OPQ_IMAGE_WRONG_HARDWARE = 3,
    OPQ_IMAGE_WRONG_ADDRESS = 4,    // linked for the other slot
    OPQ_IMAGE_BAD_LENGTH = 5,       // zero, not whole words, or more than a slot holds
    OPQ_IMAGE_DOWNGRADE = 6,        // below the highest version ever confirmed here
    OPQ_IMAGE_UNSIGNED = 7,         // the signature is all zeros
    OPQ_IMAGE_BAD_SIGNATURE = 8,    // of another key, or of another header
    OPQ_IMAGE_TRUNCATED = 9,        // fewer bytes than the header says
    OPQ_IMAGE_BAD_HASH = 10,
    OPQ_IMAGE_BAD_VECTORS = 11,     // stack pointer or reset vector point outside
} opq_image_verdict_t;

typedef struct {
    char hardware[OPQ_IMAGE_HARDWARE_BYTES + 1];
    char label[OPQ_IMAGE_LABEL_BYTES + 1];  // e.g. 1.2.0-3-gabcdef; for people
    uint32_t version;                       // major << 24 | minor << 16 | patch
    uint32_t load_address;                  // of the header
    uint32_t length;                        // of the body
    uint32_t flags;                         // bit 0: signed by a development key
    const uint8_t *sha256;                  // of the body
} opq_image_t;

// Ed25519 (RFC 8032): whether `signature` of `message` is by `public_key`.
typedef bool opq_signature_check_t(const uint8_t signature[64], const uint8_t public_key[32],
                                   const uint8_t *message, size_t length);

typedef struct {
    const char *hardware;
    uint32_t floor_version;
    const uint8_t *public_key;
    opq_signature_check_t *check;
} opq_image_rules_t;

// Checks the header alone, down to BAD_SIGNATURE. `image` is filled in as soon as the header is known.
opq_image_verdict_t opq_image_header(const uint8_t *header, uint32_t slot_address, const opq_image_rules_t *rules,
                                     opq_image_t *image);
// Checks the body after a good header; `available` bytes are there.
opq_image_verdict_t opq_image_body(const opq_image_t *image, const uint8_t *body, size_t available);
// Checks both.
opq_image_verdict_t opq_image_check(const uint8_t *bytes, size_t available, uint32_t slot_address,
                                    const opq_image_rules_t *rules, opq_image_t *image);

#endif
