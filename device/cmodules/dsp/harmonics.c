#include "harmonics.h"

#include "turns.h"

#define RETUNE 0.001f // order 50 is then 2 degrees off at a piece's ends: 1e-4 of its value

void opq_harmonics_init(opq_harmonics_t *harmonics, uint32_t cycles) {
    harmonics->cycles = cycles;
    harmonics->tuned_q32 = 0;
    harmonics->open = false;
}

void opq_harmonics_stop(opq_harmonics_t *harmonics) { harmonics->open = false; }

static void tune(opq_harmonics_t *harmonics, uint32_t step_q32) {
    harmonics->tuned_q32 = step_q32;
    for (uint32_t h = 0; h < OPQ_ORDERS; h++) {
        float turn_re = opq_turns_cos((h + 1) * step_q32), turn_im = opq_turns_sin((h + 1) * step_q32);
        float re = 1.0f, im = 0.0f;
        for (uint32_t k = 0; k < OPQ_PIECE_REACH; k++) {
            float next = re * turn_re - im * turn_im;
            im = re * turn_im + im * turn_re;
            re = next;
            harmonics->cosine[h][k] = re;
            harmonics->sine[h][k] = im;
        }
    }
}

void opq_harmonics_begin(opq_harmonics_t *harmonics, opq_position_t begin, uint32_t step_q32, uint32_t phase_q32,
                         float amplitude) {
    int32_t off = (int32_t)(step_q32 - harmonics->tuned_q32);
    if (harmonics->tuned_q32 == 0 || fabsf((float)off) > RETUNE * (float)step_q32) {
        tune(harmonics, step_q32);
    }
    harmonics->step_q32 = step_q32;
    harmonics->orders = 0; // group of order h ends half an order above it
    while (harmonics->orders < OPQ_ORDERS && (2 * harmonics->orders + 3) * (uint64_t)step_q32 < UINT64_C(1) << 32) {
        harmonics->orders++;
    }
    harmonics->open = true;
    harmonics->begin = begin;
    harmonics->phase_q32 = phase_q32;
    harmonics->amplitude = amplitude;
    harmonics->next = opq_position_round(begin);
    for (uint32_t h = 0; h < OPQ_ORDERS; h++) {
        for (uint32_t bin = 0; bin < 3; bin++) {
            harmonics->bins[h][bin] = (opq_bin_t){0.0f, 0.0f};
        }
    }
}

// Turns from the start of the window to a sample, in 2^-32; intermediate values below 2^58.
static int64_t turned(const opq_harmonics_t *harmonics, uint64_t sample) {
    int64_t span = (int64_t)(sample << OPQ_POSITION_BITS) - harmonics->begin;
    return span * (int64_t)harmonics->step_q32 >> OPQ_POSITION_BITS;
}

// One piece around sample `middle`: each order turned to the start of the window, then to the bins beside it.
static void take(opq_harmonics_t *harmonics, const float *piece, uint64_t middle) {
    float even[OPQ_PIECE_REACH], odd[OPQ_PIECE_REACH], at_middle = piece[OPQ_PIECE_REACH];
    for (uint32_t k = 0; k < OPQ_PIECE_REACH; k++) {
        float after = piece[OPQ_PIECE_REACH + 1 + k], before = piece[OPQ_PIECE_REACH - 1 - k];
        even[k] = after + before;
        odd[k] = after - before;
    }
    int64_t turns = turned(harmonics, middle);
    uint32_t phase = (uint32_t)turns, beside = (uint32_t)(turns / (int64_t)harmonics->cycles);
    float one_re = opq_turns_cos(phase), one_im = -opq_turns_sin(phase);
    float side_re = opq_turns_cos(beside), side_im = -opq_turns_sin(beside);
    float turn_re = 1.0f, turn_im = 0.0f;
    for (uint32_t h = 0; h < harmonics->orders; h++) {
        const float *cosine = harmonics->cosine[h], *sine = harmonics->sine[h];
        float re = at_middle, im = 0.0f;
        for (uint32_t k = 0; k < OPQ_PIECE_REACH; k += 4) { // by hand: the firmware is built for size
            re += even[k] * cosine[k] + even[k + 1] * cosine[k + 1] + even[k + 2] * cosine[k + 2] +
                  even[k + 3] * cosine[k + 3];
            im -= odd[k] * sine[k] + odd[k + 1] * sine[k + 1] + odd[k + 2] * sine[k + 2] + odd[k + 3] * sine[k + 3];
        }
        float next = turn_re * one_re - turn_im * one_im;
        turn_im = turn_re * one_im + turn_im * one_re;
        turn_re = next;
        float there_re = re * turn_re - im * turn_im, there_im = re * turn_im + im * turn_re;
        float rr = there_re * side_re, ii = there_im * side_im, ri = there_re * side_im, ir = there_im * side_re;
        opq_bin_t *bins = harmonics->bins[h];
        bins[0].re += rr + ii; // turned back by the neighbour's angle
        bins[0].im += ir - ri;
        bins[1].re += there_re;
        bins[1].im += there_im;
        bins[2].re += rr - ii;
        bins[2].im += ir + ri;
    }
}

// The share of sample k's stretch, k - 1/2 .. k + 1/2, that lies after the start of the window.
static float first_share(const opq_harmonics_t *harmonics, uint64_t sample) {
    return 0.5f - opq_position_span((opq_position_t)(sample << OPQ_POSITION_BITS), harmonics->begin);
}

static void take_piece(opq_harmonics_t *harmonics, const opq_history_t *history, uint32_t samples, float last_share) {
    float piece[OPQ_PIECE];
    const int16_t *counts = opq_history_from(history, harmonics->next);
    uint32_t phase = harmonics->phase_q32 + (uint32_t)turned(harmonics, harmonics->next);
    float re = harmonics->amplitude * opq_turns_cos(phase), im = harmonics->amplitude * opq_turns_sin(phase);
    float turn_re = opq_turns_cos(harmonics->step_q32), turn_im = opq_turns_sin(harmonics->step_q32);
    for (uint32_t k = 0; k < OPQ_PIECE; k++) {
        piece[k] = k < samples ? (float)counts[k] - im : 0.0f; // less the fundamental, amplitude x sin(phase)
        float next = re * turn_re - im * turn_im;
        im = re * turn_im + im * turn_re;
        re = next;
    }
    if (harmonics->next == opq_position_round(harmonics->begin)) {
        piece[0] *= first_share(harmonics, harmonics->next);
    }
    piece[samples - 1] *= last_share;
    take(harmonics, piece, harmonics->next + OPQ_PIECE_REACH);
    harmonics->next += samples;
}

void opq_harmonics_run(opq_harmonics_t *harmonics, const opq_history_t *history, uint64_t until) {
    while (harmonics->open && harmonics->next + OPQ_PIECE <= until) {
        take_piece(harmonics, history, OPQ_PIECE, 1.0f);
    }
}

float opq_harmonics_end(opq_harmonics_t *harmonics, const opq_history_t *history, opq_position_t end) {
    uint64_t last = opq_position_round(end);
    opq_harmonics_run(harmonics, history, last);
    if (!harmonics->open || harmonics->next > last) {
        harmonics->open = false;
        return NAN;
    }
    float share = 0.5f + opq_position_span((opq_position_t)(last << OPQ_POSITION_BITS), end);
    take_piece(harmonics, history, (uint32_t)(last - harmonics->next) + 1, share);
    harmonics->open = false;
    // The subtracted fundamental, A sin(phase + turned), has in its own bin (N A / 2) e^(j (phase - 90 degrees)).
    float removed = 0.5f * harmonics->amplitude * opq_position_span(harmonics->begin, end);
    harmonics->bins[0][1].re += removed * opq_turns_sin(harmonics->phase_q32);
    harmonics->bins[0][1].im -= removed * opq_turns_cos(harmonics->phase_q32);
    float fundamental = 0.0f, distortion = 0.0f;
    for (uint32_t h = 0; h < harmonics->orders; h++) {
        float group = 0.0f;
        for (uint32_t bin = 0; bin < 3; bin++) {
            const opq_bin_t *b = &harmonics->bins[h][bin];
            group += b->re * b->re + b->im * b->im;
        }
        if (h == 0) {
            fundamental = group;
        } else {
            distortion += group;
        }
    }
    return fundamental > 0.0f ? sqrtf(distortion / fundamental) : NAN;
}
