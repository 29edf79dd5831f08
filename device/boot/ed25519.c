#include "ed25519.h"

#include "monocypher.h"
#include "sha512.h"

bool opq_ed25519_check(const uint8_t signature[64], const uint8_t public_key[32], const uint8_t *message,
                       size_t length) {
    opq_sha512_t sha;
    uint8_t hash[64], h[32];
    opq_sha512_init(&sha);
    opq_sha512_update(&sha, signature, 32);
    opq_sha512_update(&sha, public_key, 32);
    opq_sha512_update(&sha, message, length);
    opq_sha512_final(&sha, hash);
    crypto_eddsa_reduce(h, hash);
    return crypto_eddsa_check_equation(signature, public_key, h) == 0;
}
