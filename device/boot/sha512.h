// SHA-512 (FIPS 180-4, 6.4), for Ed25519.
#ifndef OPQ_SHA512_H
#define OPQ_SHA512_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t state[8];
    uint64_t length;  // bytes so far; the standard's upper 64 bits stay 0
    uint8_t block[128];
} opq_sha512_t;

void opq_sha512_init(opq_sha512_t *sha);
void opq_sha512_update(opq_sha512_t *sha, const uint8_t *data, size_t length);
void opq_sha512_final(opq_sha512_t *sha, uint8_t digest[64]);

#endif
