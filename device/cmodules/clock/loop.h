// Loop: phase and frequency of the oscillator against whole seconds, by a Kalman filter of two states.
#ifndef OPQ_LOOP_H
#define OPQ_LOOP_H

#include <stdint.h>

typedef struct {
    int64_t tick; // the anchor: the model's time here is t_ns + part_ns
    int64_t t_ns;
    double part_ns; // 0 .. 1
    double y_ppb;   // seconds per nominal second, minus 1: positive is a slow oscillator
    double p_xx;    // ns^2
    double p_xy;    // ns ppb
    double p_yy;    // ppb^2
    double misfit;  // mean of innovation^2 over its forecast, 1 when the noise is as assumed
} opq_loop_t;

void opq_loop_start(opq_loop_t *loop, int64_t tick, int64_t t_ns, double sigma_ns, double y_ppb, double sigma_ppb);
int64_t opq_loop_at(const opq_loop_t *loop, int64_t tick);                       // the model's time, ns
void opq_loop_advance(opq_loop_t *loop, int64_t tick, double q_xx, double q_yy); // moves the anchor; noise per second
void opq_loop_correct(opq_loop_t *loop, double innovation_ns, double r_ns2);     // truth minus model, at the anchor
double opq_loop_variance(const opq_loop_t *loop, int64_t tick, double q_yy);     // of the phase, ns^2, without moving

// Square root by Newton's steps: no libm, the same bits on every machine. Relative error below 1e-9.
double opq_root(double square);

#endif
