// The image checks and hashes for ctypes.
#include "ed25519.h"
#include "image.h"
#include "sha256.h"
#include "sha512.h"

int probe_verdict(const uint8_t *bytes, size_t available, uint32_t slot_address, const char *hardware,
                  uint32_t floor_version, const uint8_t *public_key);
void probe_sha256(const uint8_t *data, size_t length, size_t piece, uint8_t *digest);
void probe_sha512(const uint8_t *data, size_t length, size_t piece, uint8_t *digest);
int probe_ed25519(const uint8_t *signature, const uint8_t *public_key, const uint8_t *message, size_t length);

int probe_verdict(const uint8_t *bytes, size_t available, uint32_t slot_address, const char *hardware,
                  uint32_t floor_version, const uint8_t *public_key) {
    opq_image_rules_t rules = {.hardware = hardware, .floor_version = floor_version, .public_key = public_key,
                               .check = opq_ed25519_check};
    opq_image_t image;
    return (int)opq_image_check(bytes, available, slot_address, &rules, &image);
}

void probe_sha256(const uint8_t *data, size_t length, size_t piece, uint8_t *digest) {
    opq_sha256_t sha;
    opq_sha256_init(&sha);
    for (size_t at = 0; at < length; at += piece) {
        opq_sha256_update(&sha, data + at, length - at < piece ? length - at : piece);
    }
    opq_sha256_final(&sha, digest);
}

void probe_sha512(const uint8_t *data, size_t length, size_t piece, uint8_t *digest) {
    opq_sha512_t sha;
    opq_sha512_init(&sha);
    for (size_t at = 0; at < length; at += piece) {
        opq_sha512_update(&sha, data + at, length - at < piece ? length - at : piece);
    }
    opq_sha512_final(&sha, digest);
}

int probe_ed25519(const uint8_t *signature, const uint8_t *public_key, const uint8_t *message, size_t length) {
    return opq_ed25519_check(signature, public_key, message, length) ? 1 : 0;
}
