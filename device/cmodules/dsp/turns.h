// Angles as 32-bit fractions of a turn: they wrap by themselves and do not lose digits.
#ifndef OPQ_TURNS_H
#define OPQ_TURNS_H

#include <math.h>
#include <stdint.h>

#define OPQ_RAD_PER_Q32 1.4629180792671596e-9f // 2 pi / 2^32
#define OPQ_TURNS_PER_Q32 2.3283064365386963e-10f
#define OPQ_Q32_PER_TURN 4294967296.0f

static inline float opq_turns_rad(uint32_t q32) { return (float)(int32_t)q32 * OPQ_RAD_PER_Q32; }
static inline float opq_turns_cos(uint32_t q32) { return cosf(opq_turns_rad(q32)); }
static inline float opq_turns_sin(uint32_t q32) { return sinf(opq_turns_rad(q32)); }

#endif
