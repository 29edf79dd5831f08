// Two products of int16 at once: SMLALD on the Cortex-M4 (PM0214 3.6.4), the same in C elsewhere.
#ifndef OPQ_DUAL_MAC_H
#define OPQ_DUAL_MAC_H

#include <stdint.h>

#include "ramfunc.h"

#ifdef __ARM_FEATURE_SIMD32
#include <arm_acle.h>
#include <string.h>

// `sum` + a[0] b[0] + a[1] b[1]; either may be unaligned.
OPQ_RAMINLINE int64_t opq_dual_mac(int64_t sum, const int16_t *a, const int16_t *b) {
    int16x2_t pair_a, pair_b;
    memcpy(&pair_a, a, sizeof pair_a); // one LDR
    memcpy(&pair_b, b, sizeof pair_b);
    return __smlald(pair_a, pair_b, sum);
}
#else
OPQ_RAMINLINE int64_t opq_dual_mac(int64_t sum, const int16_t *a, const int16_t *b) {
    return sum + (int64_t)a[0] * b[0] + (int64_t)a[1] * b[1];
}
#endif

#endif
