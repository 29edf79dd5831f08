// Ed25519 signatures (RFC 8032, 5.1.7), by Monocypher's curve arithmetic and our SHA-512.
#ifndef OPQ_ED25519_H
#define OPQ_ED25519_H

#include "image.h"

// Whether `signature` of `message` is by `public_key`. Only the stack is used; nothing secret is involved.
opq_signature_check_t opq_ed25519_check;

#endif
