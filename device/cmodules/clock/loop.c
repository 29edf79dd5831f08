#include "loop.h"

#include "ticks.h"

#define NS_PER_TICK (250.0 / 21.0) // 1e9 / 84e6

double opq_root(double square) {
    if (!(square > 0.0)) {
        return 0.0;
    }
    double root = square > 1.0 ? square : 1.0;
    for (int i = 0; i < 64; i++) { // halves until near, then doubles the digits; 1e18 takes 36 steps
        double next = 0.5 * (root + square / root);
        if (next >= root) {
            break;
        }
        root = next;
    }
    return root;
}

void opq_loop_start(opq_loop_t *loop, int64_t tick, int64_t t_ns, double sigma_ns, double y_ppb, double sigma_ppb) {
    *loop = (opq_loop_t){
        .tick = tick,
        .t_ns = t_ns,
        .y_ppb = y_ppb,
        .p_xx = sigma_ns * sigma_ns,
        .p_yy = sigma_ppb * sigma_ppb,
        .misfit = 1.0,
    };
}

// Nominal ns of `ticks`, the whole part and the rest, so that a day of them loses nothing.
static int64_t nominal_ns(int64_t ticks, double *rest) {
    int64_t whole = ticks / 21 * 250;
    *rest = (double)(ticks % 21) * NS_PER_TICK;
    return whole;
}

int64_t opq_loop_at(const opq_loop_t *loop, int64_t tick) {
    double rest;
    int64_t whole = nominal_ns(tick - loop->tick, &rest);
    double beside = loop->part_ns + rest + ((double)whole + rest) * loop->y_ppb * 1e-9;
    int64_t rounded = (int64_t)beside;
    return loop->t_ns + whole + (beside < (double)rounded ? rounded - 1 : rounded);
}

static void settle(opq_loop_t *loop) { // part_ns back into 0 .. 1
    int64_t whole = (int64_t)loop->part_ns;
    if (loop->part_ns < (double)whole) {
        whole--;
    }
    loop->t_ns += whole;
    loop->part_ns -= (double)whole;
}

void opq_loop_advance(opq_loop_t *loop, int64_t tick, double q_xx, double q_yy) {
    double rest;
    int64_t whole = nominal_ns(tick - loop->tick, &rest);
    double passed_ns = (double)whole + rest;
    double s = passed_ns * 1e-9; // 1 ppb for 1 s is 1 ns
    loop->tick = tick;
    loop->t_ns += whole;
    loop->part_ns += rest + passed_ns * loop->y_ppb * 1e-9;
    settle(loop);
    if (s > 0.0) {
        loop->p_xx += 2.0 * s * loop->p_xy + s * s * loop->p_yy + q_xx * s + q_yy * s * s * s / 3.0;
        loop->p_xy += s * loop->p_yy + q_yy * s * s / 2.0;
        loop->p_yy += q_yy * s;
    }
}

void opq_loop_correct(opq_loop_t *loop, double innovation_ns, double r_ns2) {
    double forecast = loop->p_xx + r_ns2;
    double gain_x = loop->p_xx / forecast;
    double gain_y = loop->p_xy / forecast;
    double odd = innovation_ns * innovation_ns / forecast;
    loop->misfit += ((odd < 25.0 ? odd : 25.0) - loop->misfit) / 16.0;
    loop->part_ns += gain_x * innovation_ns;
    loop->y_ppb += gain_y * innovation_ns;
    loop->p_yy -= gain_y * loop->p_xy;
    loop->p_xy -= gain_x * loop->p_xy;
    loop->p_xx -= gain_x * loop->p_xx;
    settle(loop);
}

double opq_loop_variance(const opq_loop_t *loop, int64_t tick, double q_yy) {
    double s = (double)(tick - loop->tick) / (double)OPQ_TICK_HZ;
    if (s < 0.0) {
        s = -s;
    }
    return loop->p_xx + 2.0 * s * loop->p_xy + s * s * loop->p_yy + q_yy * s * s * s / 3.0;
}
