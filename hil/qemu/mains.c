/*
 * Mains at a converter's input: a recording (each count holds until the next is due) or sines, sampled at the
 * tick in which the converter holds. Nothing is summed up in time, so nothing drifts.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "opqbox.h"
#include <math.h>

typedef struct { OpqMainsInput input; int64_t frequency_uhz; double amplitude, offset, phase_rad; } Sine;
typedef struct { int64_t t0_ns, t1_ns; double share; } Dip;
typedef struct { int16_t *counts; int64_t size, rate_millihz, start_ns; bool loop; } Recording;

struct OpqMains {
    Recording recording[OPQ_MAINS_INPUTS];
    GArray *sines, *dips;
    double share;        /* what the dips leave, good for ticks in [from, until) */
    int64_t from, until;
};

OpqMains *opq_mains_new(void)
{
    OpqMains *mains = g_new0(OpqMains, 1);

    mains->sines = g_array_new(false, false, sizeof(Sine));
    mains->dips = g_array_new(false, false, sizeof(Dip));
    return mains;
}

/* What is wrong with the file, or NULL. */
const char *opq_mains_play(OpqMains *mains, OpqMainsInput input, const char *path, int64_t rate_millihz,
                           int64_t start_ns, bool loop)
{
    char *bytes;
    gsize size;

    if (!g_file_get_contents(path, &bytes, &size, NULL)) {
        return "cannot be read";
    }
    if (size < 2 || size % 2) {
        return "no int16 counts, or half of one";
    }
    mains->recording[input] = (Recording){ (int16_t *)bytes, size / 2, rate_millihz, start_ns, loop };
    return NULL;
}

void opq_mains_sine(OpqMains *mains, OpqMainsInput input, int64_t frequency_uhz, int64_t amplitude_lsb,
                    int64_t offset_lsb, int64_t phase_mrad)
{
    Sine sine = { input, frequency_uhz, amplitude_lsb, offset_lsb, phase_mrad / 1000.0 };

    g_array_append_val(mains->sines, sine);
}

void opq_mains_dip(OpqMains *mains, int64_t t0_ns, int64_t t1_ns, int64_t permille)
{
    Dip dip = { t0_ns, t1_ns, permille / 1000.0 };

    g_array_append_val(mains->dips, dip);
}

static int64_t first_tick_at(int64_t t_ns) { return (t_ns * 21 + 249) / 250; }

static double share_at(OpqMains *mains, int64_t tick)
{
    if (tick >= mains->from && tick < mains->until) {
        return mains->share;
    }
    mains->share = 1;
    mains->from = INT64_MIN;
    mains->until = INT64_MAX;
    for (guint n = 0; n < mains->dips->len; n++) {
        const Dip *dip = &g_array_index(mains->dips, Dip, n);
        int64_t edges[] = { first_tick_at(dip->t0_ns), first_tick_at(dip->t1_ns) };
        for (int edge = 0; edge < 2; edge++) {
            if (edges[edge] <= tick) {
                mains->from = MAX(mains->from, edges[edge]);
            } else {
                mains->until = MIN(mains->until, edges[edge]);
            }
        }
        if (tick >= edges[0] && tick < edges[1]) {
            mains->share *= dip->share;
        }
    }
    return mains->share;
}

static double sines(OpqMains *mains, OpqMainsInput input, int64_t tick, bool *any)
{
    double sum = 0, share = mains->sines->len ? share_at(mains, tick) : 1;

    for (guint n = 0; n < mains->sines->len; n++) {
        const Sine *sine = &g_array_index(mains->sines, Sine, n);
        if (sine->input == input) {
            /* turns = f_uHz 1e-6 * tick / 84e6, its whole part taken off before it loses digits */
            int64_t part = (int64_t)((unsigned __int128)sine->frequency_uhz * (uint64_t)tick % 84000000000000ULL);
            sum += sine->offset + share * sine->amplitude * sin(2 * M_PI * (part / 84e12) + sine->phase_rad);
            *any = true;
        }
    }
    return sum;
}

/* The count that the input is worth at `tick`; -1 from ADC1 when the world has no mains there. */
int32_t opq_mains_count(OpqMains *mains, OpqMainsInput input, int64_t tick)
{
    const Recording *recording = &mains->recording[input];
    int32_t least = input == OPQ_MAINS_ADC1 ? 0 : INT16_MIN, most = input == OPQ_MAINS_ADC1 ? 4095 : INT16_MAX;
    bool any = recording->counts != NULL;
    double value = sines(mains, input, tick, &any);

    if (recording->counts) {
        /* floor((t - start) * rate); t = tick * 250 / 21 ns, whole numbers all the way */
        __int128 since = (__int128)tick * 250 - (__int128)recording->start_ns * 21;
        int64_t at = since < 0 ? -1 : (int64_t)(since * recording->rate_millihz / 21 / 1000000000000LL);
        if (recording->loop && at >= 0) {
            at %= recording->size;
        }
        value += at < 0 || at >= recording->size ? (input == OPQ_MAINS_ADC1 ? 2048 : 0) : recording->counts[at];
    }
    if (!any) {
        return input == OPQ_MAINS_ADC1 ? -1 : 0;
    }
    value = floor(value + 0.5);
    return value < least ? least : value > most ? most : (int32_t)value;
}
