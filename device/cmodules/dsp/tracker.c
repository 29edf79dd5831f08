#include "tracker.h"

#include <stddef.h>

#include "extremes.h"
#include "turns.h"

// As in opq_measure.timebase, where they are explained.
#define FAINT 0.02f
#define STEP 0.05f
#define FAR_FAINT 0.3f
#define SHARE 0.25f
#define RETUNE 0.001f
#define LOWEST 0.65f
#define HIGHEST 1.45f
#define USUAL_RISE 0.25f
#define USUAL_FALL (1.0f / 2400.0f) // 10 s at 60 Hz: an interruption of seconds does not lower what is usual

enum {
    SURE_AFTER = OPQ_HOPS_PER_CYCLE,  // a phasor is judged when those of the next cycle are known
    SPAN = 2 * OPQ_HOPS_PER_CYCLE,    // hops over which the frequency is taken
    PATIENCE = 60 * OPQ_HOPS_PER_CYCLE, // after so long without a steady phasor, any known one is accepted
    EXACT_EACH = 16,                  // distance of exact entries of a table; those between are turned
};

static uint32_t q32_per_sample(float hz, float rate_hz) { return (uint32_t)(hz / rate_hz * OPQ_Q32_PER_TURN + 0.5f); }

float opq_tracker_hz(const opq_tracker_t *tracker, uint32_t step_q32) {
    return (float)step_q32 * OPQ_TURNS_PER_Q32 * tracker->rate_hz;
}

// cosine[k] and sine[k] of k steps, 0 .. reach.
static void turn_table(float *cosine, float *sine, uint32_t reach, uint32_t step_q32) {
    float turn_re = opq_turns_cos(step_q32), turn_im = opq_turns_sin(step_q32);
    for (uint32_t k = 0; k <= reach; k++) {
        if (k % EXACT_EACH == 0) {
            cosine[k] = opq_turns_cos(k * step_q32);
            sine[k] = opq_turns_sin(k * step_q32);
        } else {
            cosine[k] = cosine[k - 1] * turn_re - sine[k - 1] * turn_im;
            sine[k] = sine[k - 1] * turn_re + cosine[k - 1] * turn_im;
        }
    }
}

static void tune(opq_tracker_t *tracker, uint32_t step_q32) {
    float period = OPQ_Q32_PER_TURN / (float)step_q32, sum = 0.0f;
    tracker->tuned_q32 = step_q32;
    tracker->reach = period < (float)OPQ_TRACKER_REACH ? (uint32_t)period : OPQ_TRACKER_REACH;
    tracker->hop = (uint32_t)(period / (float)OPQ_HOPS_PER_CYCLE + 0.5f);
    turn_table(tracker->cosine, tracker->sine, tracker->reach, step_q32 / 2);
    for (uint32_t k = 0; k <= tracker->reach; k++) { // cosine of half the angle is the Hann window, of two cycles
        float half_re = tracker->cosine[k], half_im = tracker->sine[k], window = 1.0f + half_re;
        tracker->cosine[k] = window * (half_re * half_re - half_im * half_im);
        tracker->sine[k] = window * 2.0f * half_re * half_im;
        sum += k == 0 ? window : 2.0f * window;
    }
    for (uint32_t k = 0; k <= tracker->reach; k++) {
        tracker->cosine[k] /= sum;
        tracker->sine[k] /= sum;
    }
}

void opq_tracker_init(opq_tracker_t *tracker, float rate_hz, float nominal_hz) {
    tracker->rate_hz = rate_hz;
    tracker->nominal_hz = nominal_hz;
    tracker->nominal_q32 = tracker->step_q32 = q32_per_sample(nominal_hz, rate_hz);
    tracker->usual = tracker->amplitude = 0.0f;
    tune(tracker, tracker->step_q32);
    opq_tracker_begin(tracker, 0);
}

void opq_tracker_rate(opq_tracker_t *tracker, float rate_hz) {
    tracker->rate_hz = rate_hz;
    tracker->nominal_q32 = q32_per_sample(tracker->nominal_hz, rate_hz);
}

void opq_tracker_begin(opq_tracker_t *tracker, uint64_t first_sample) {
    tracker->hops = tracker->steady_run = tracker->unsteady_run = 0;
    tracker->locked = false;
    tracker->next_centre = first_sample + tracker->reach;
    tracker->reference_centre = first_sample;
    tracker->reference_phase_q32 = 0;
}

bool opq_tracker_retune(opq_tracker_t *tracker) {
    int32_t off = (int32_t)(tracker->step_q32 - tracker->tuned_q32);
    if (fabsf((float)off) <= RETUNE * (float)tracker->tuned_q32) {
        return false;
    }
    tune(tracker, tracker->step_q32);
    return true;
}

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

static opq_phasor_t *back(opq_tracker_t *tracker, uint32_t hops) {
    return &tracker->phasors[(tracker->hops - 1 - hops) % OPQ_TRACKER_HOPS];
}

// The next phasor: 2 x reach products. The fundamental A sin(phase + turn k) gives (A / 2) e^(j (phase - 90 degrees)).
static void measure(opq_tracker_t *tracker, const opq_history_t *history, opq_phasor_t *out) {
    uint32_t reach = tracker->reach;
    const int16_t *middle = opq_history_from(history, tracker->next_centre - reach) + reach;
    float re = (float)middle[0] * tracker->cosine[0], im = 0.0f;
    int32_t total = middle[0];
    int64_t square = middle[0] * middle[0];
    for (uint32_t k = 1; k <= reach; k++) {
        int32_t after = middle[k], before = *(middle - k);
        re += (float)(after + before) * tracker->cosine[k];
        im -= (float)(after - before) * tracker->sine[k];
        total += after + before;
        square += (int64_t)after * after + (int64_t)before * before;
    }
    float count = (float)(2 * reach + 1), mean = (float)total / count, power = (float)square / count;
    float alternating = opq_larger(1e-6f * power + 1e-6f, power - mean * mean); // only rounding apart from DC
    float size_square = re * re + im * im;
    out->centre = tracker->next_centre;
    out->amplitude = 2.0f * sqrtf(size_square);
    float turns = atan2f(im, re) * (OPQ_TURNS_PER_Q32 / OPQ_RAD_PER_Q32) + 0.25f;
    out->phase_q32 = (uint32_t)(int64_t)(turns * OPQ_Q32_PER_TURN);
    out->known = out->amplitude > FAINT * tracker->usual && 2.0f * size_square > SHARE * alternating;
    out->steady = false;
    float rise = out->amplitude - tracker->usual;
    tracker->usual += rise * (rise > 0.0f ? USUAL_RISE : USUAL_FALL);
}

// `judged` is SURE_AFTER hops old: rejected while the amplitude steps, because DC and image leak in there.
static bool is_steady(opq_tracker_t *tracker, const opq_phasor_t *judged) {
    enum { BESIDE = OPQ_HOPS_PER_CYCLE / 2 };
    uint32_t oldest = least(tracker->hops - 1, 2 * SURE_AFTER);
    float loudest = 0.0f;
    for (uint32_t hops = 0; hops <= oldest; hops++) {
        loudest = opq_larger(loudest, back(tracker, hops)->amplitude);
    }
    uint32_t before = least(SURE_AFTER + BESIDE, oldest);
    float change = fabsf(back(tracker, SURE_AFTER - BESIDE)->amplitude - back(tracker, before)->amplitude);
    return judged->known && change < STEP * loudest && judged->amplitude > FAR_FAINT * loudest;
}

// How much more the signal turned per sample than `step_q32` between two phasors.
static int32_t faster(const opq_phasor_t *from, const opq_phasor_t *to, uint32_t step_q32) {
    uint32_t samples = (uint32_t)(to->centre - from->centre);
    int32_t ahead = (int32_t)(to->phase_q32 - from->phase_q32 - step_q32 * samples);
    return ahead / (int32_t)samples;
}

// Half a cycle gives the whole turn, two cycles give the fine value.
static void follow(opq_tracker_t *tracker, const opq_phasor_t *judged) {
    uint32_t span = least(tracker->steady_run, SPAN);
    uint32_t step = tracker->step_q32;
    if (span >= 2) {
        step += (uint32_t)faster(back(tracker, SURE_AFTER + 2), judged, step);
        step += (uint32_t)faster(back(tracker, SURE_AFTER + span), judged, step);
        float share = (float)step / (float)tracker->nominal_q32;
        if (share > LOWEST && share < HIGHEST) {
            tracker->step_q32 = step;
        }
    }
    tracker->amplitude = judged->amplitude;
    tracker->reference_centre = judged->centre;
    tracker->reference_phase_q32 = judged->phase_q32;
    if (!tracker->locked && span >= OPQ_HOPS_PER_CYCLE) { // detuned tables see its mirror image
        tracker->locked = !opq_tracker_retune(tracker);
        if (!tracker->locked) {
            tracker->hops = 0;
        }
    }
}

bool opq_tracker_run(opq_tracker_t *tracker, const opq_history_t *history, const opq_phasor_t **judged) {
    *judged = NULL;
    if (history->end <= tracker->next_centre + tracker->reach) {
        return false;
    }
    tracker->hops++;
    measure(tracker, history, back(tracker, 0));
    tracker->next_centre += tracker->hop;
    if (tracker->hops <= SURE_AFTER) {
        return true;
    }
    opq_phasor_t *phasor = back(tracker, SURE_AFTER);
    phasor->steady = is_steady(tracker, phasor) || (tracker->unsteady_run > PATIENCE && phasor->known);
    if (phasor->steady) {
        follow(tracker, phasor);
        tracker->steady_run = tracker->hops == 0 ? 0 : tracker->steady_run + 1;
        tracker->unsteady_run = 0;
    } else {
        tracker->steady_run = 0;
        tracker->unsteady_run++;
        tracker->reference_phase_q32 += tracker->step_q32 * (uint32_t)(phasor->centre - tracker->reference_centre);
        tracker->reference_centre = phasor->centre;
    }
    *judged = phasor;
    return true;
}

uint32_t opq_tracker_phase(const opq_tracker_t *tracker, opq_position_t position) {
    int64_t span = position - (int64_t)(tracker->reference_centre << OPQ_POSITION_BITS);
    return tracker->reference_phase_q32 + (uint32_t)((span * (int64_t)tracker->step_q32) >> OPQ_POSITION_BITS);
}

opq_position_t opq_tracker_next_edge(const opq_tracker_t *tracker, opq_position_t from) {
    int64_t half = (INT64_C(1) << (31 + OPQ_POSITION_BITS)) / (int64_t)tracker->step_q32;
    int64_t predicted = from + half;
    int64_t past = opq_tracker_phase(tracker, predicted) & INT32_MAX; // beyond a half-cycle boundary, 0 .. half a turn
    if (past >= INT64_C(1) << 30) {
        past -= INT64_C(1) << 31;
    }
    return predicted - past * (INT64_C(1) << OPQ_POSITION_BITS) / (int64_t)tracker->step_q32;
}

opq_position_t opq_tracker_edge_before(const opq_tracker_t *tracker, uint64_t at) {
    int64_t position = (int64_t)(at << OPQ_POSITION_BITS);
    int64_t past = opq_tracker_phase(tracker, position) & INT32_MAX;
    return position - past * (INT64_C(1) << OPQ_POSITION_BITS) / (int64_t)tracker->step_q32;
}
