// Two products of int16 at once: SMLALD on the Cortex-M4 (PM0214 3.6.4), the same in C elsewhere.
#ifndef OPQ_DUAL_MAC_H
#define OPQ_DUAL_MAC_H

#include <stdint.h>

#include "ramfunc.h"

#ifdef __ARM_FEATURE_SIMD32
#include <string.h>

// `sum` + a[0] b[0] + a[1] b[1]; either may be unaligned. Written in assembly, because GCC 12 moves the sum's pair of
// registers around each __smlald.
OPQ_RAMINLINE int64_t opq_dual_mac(int64_t sum, const int16_t *a, const int16_t *b) {
    uint32_t pair_a, pair_b;
    memcpy(&pair_a, a, sizeof pair_a); // one LDR
    memcpy(&pair_b, b, sizeof pair_b);
    __asm("smlald %Q0, %R0, %1, %2" : "+r"(sum) : "r"(pair_a), "r"(pair_b));
    return sum;
}
#else
OPQ_RAMINLINE int64_t opq_dual_mac(int64_t sum, const int16_t *a, const int16_t *b) {
    return sum + (int64_t)a[0] * b[0] + (int64_t)a[1] * b[1];
}
#endif

enum { OPQ_DOT_STEP = 8 };

// `sum` + a[0] b[0] + ... of `count` products, a multiple of OPQ_DOT_STEP: two instructions each on the target,
// unrolled by hand, because the firmware is built for size.
OPQ_RAMINLINE int64_t opq_dot(int64_t sum, const int16_t *a, const int16_t *b, uint32_t count) {
    for (const int16_t *end = b + count; b != end; a += OPQ_DOT_STEP, b += OPQ_DOT_STEP) {
        sum = opq_dual_mac(sum, a, b);
        sum = opq_dual_mac(sum, a + 2, b + 2);
        sum = opq_dual_mac(sum, a + 4, b + 4);
        sum = opq_dual_mac(sum, a + 6, b + 6);
    }
    return sum;
}

#endif
