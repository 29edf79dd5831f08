#include "timeline.h"

#include <assert.h>

static_assert((OPQ_PIECES & (OPQ_PIECES - 1u)) == 0, "slots are found by the low bits of the count");

void opq_timeline_publish(opq_timeline_t *timeline, const opq_piece_t *piece) {
    uint_least32_t count = atomic_load_explicit(&timeline->count, memory_order_relaxed);
    // The slot of the oldest piece, which no reader uses: readers stop one before it.
    timeline->pieces[count % OPQ_PIECES] = *piece;
    atomic_store_explicit(&timeline->count, count + 1u, memory_order_release);
}

// floor(value * q / 2^36) for 0 <= value < 2^50 and |q| <= 2^36, in two steps that fit 64 bits.
static int64_t times_q36(int64_t value, int64_t q36) {
    int64_t high = value >> 24;
    int64_t low = value & INT64_C(0xFFFFFF);
    return (high * q36 + ((low * q36) >> 24)) >> 12; // gcc: >> of a negative number rounds down
}

static void at(const opq_piece_t *piece, int64_t tick, opq_stamp_t *out) {
    int64_t ticks = tick - piece->tick;
    int64_t nominal_ns = ticks / 21 * 250 + ticks % 21 * 250 / 21; // 1e9 / 84e6 = 250 / 21
    int64_t slewed_ns = nominal_ns < piece->slew_ns ? nominal_ns : piece->slew_ns;
    out->old = nominal_ns < 0;
    if (nominal_ns < 0) {
        slewed_ns = 0;
    }
    int64_t left_ns = times_q36(piece->slew_ns - slewed_ns, piece->slew_q36);
    int64_t forward_ns = nominal_ns < 0 ? -nominal_ns : nominal_ns;
    int64_t doubt_ns =
        piece->uncertainty_ns + times_q36(forward_ns, piece->growth_q36) + (left_ns < 0 ? -left_ns : left_ns);
    out->t_ns =
        piece->t_ns + nominal_ns + times_q36(nominal_ns, piece->rate_q36) + times_q36(slewed_ns, piece->slew_q36);
    out->uncertainty_ns = doubt_ns < (int64_t)OPQ_UNCERTAINTY_UNKNOWN ? (uint32_t)doubt_ns : OPQ_UNCERTAINTY_UNKNOWN;
    out->rate_millihz = piece->rate_millihz;
    out->source = piece->source;
}

void opq_timeline_stamp(const opq_timeline_t *timeline, int64_t tick, opq_stamp_t *out) {
    for (int tries = 0; tries < 3; tries++) { // on the Box the first try succeeds: the writer does not interrupt PendSV
        uint_least32_t count = atomic_load_explicit(&timeline->count, memory_order_acquire);
        uint_least32_t kept = count < OPQ_PIECES ? count : OPQ_PIECES - 1u;
        if (kept == 0) {
            break;
        }
        uint_least32_t back = 1u;
        // A piece that begins later than a newer one was replaced before it began, and is skipped here.
        while (back < kept && timeline->pieces[(count - back) % OPQ_PIECES].tick > tick) {
            back++;
        }
        opq_piece_t piece = timeline->pieces[(count - back) % OPQ_PIECES];
        atomic_thread_fence(memory_order_acquire);
        uint_least32_t now = atomic_load_explicit(&timeline->count, memory_order_relaxed);
        if (now - count + back < OPQ_PIECES) { // its slot was not being written meanwhile
            at(&piece, tick, out);
            return;
        }
    }
    *out = (opq_stamp_t){.uncertainty_ns = OPQ_UNCERTAINTY_UNKNOWN, .source = OPQ_SOURCE_FREE, .old = true};
}
