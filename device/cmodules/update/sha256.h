// SHA-256 (FIPS 180-4, 6.2).
#ifndef OPQ_SHA256_H
#define OPQ_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t state[8];
    uint64_t length;  // bytes so far
    uint8_t block[64];
} opq_sha256_t;

void opq_sha256_init(opq_sha256_t *sha);
void opq_sha256_update(opq_sha256_t *sha, const uint8_t *data, size_t length);
void opq_sha256_final(opq_sha256_t *sha, uint8_t digest[32]);

#endif
