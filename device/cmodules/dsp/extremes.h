// The larger and the smaller of two: MicroPython's STM32 port links its own libm, which has no fmaxf and no fminf.
// As they do, both keep what is there when the other value is not a number.
#ifndef OPQ_EXTREMES_H
#define OPQ_EXTREMES_H

static inline float opq_larger(float there, float other) { return other > there ? other : there; }
static inline float opq_smaller(float there, float other) { return other < there ? other : there; }

#endif
