// Holds the features to the golden signals: `golden_dsp FILE...`. Says for each quantity how far off it was.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dsp.h"

enum { MAX_SAMPLES = 32768, MAX_ENTRIES = 16 };

typedef struct { uint32_t step, phase; double amplitude; long begin, end; } tone_t;
typedef struct { long begin, end, permille; } scale_t;
typedef struct { char key[16]; double value, tolerance, worst; } wanted_t;
typedef struct { int kind, entering; long sample, tolerance; } wanted_crossing_t;

typedef struct {
    opq_features_config_t config;
    long samples, dc, clip, gap_at, gap, settled, until, windows;
    tone_t tones[MAX_ENTRIES];
    scale_t scales[MAX_ENTRIES];
    wanted_t wanted[MAX_ENTRIES];
    wanted_crossing_t crossings[MAX_ENTRIES];
    int tone_count, scale_count, wanted_count, crossing_count;
} signal_t;

static int failures;
static void fail(const char *file, const char *what, double got, double wanted) {
    printf("FAIL %s: %s is %.9g, want %.9g\n", file, what, got, wanted);
    failures++;
}

static void read_line(signal_t *s, const char *line) {
    tone_t *tone = &s->tones[s->tone_count];
    scale_t *scale = &s->scales[s->scale_count];
    wanted_t *wanted = &s->wanted[s->wanted_count];
    wanted_crossing_t *crossing = &s->crossings[s->crossing_count];
    float *limit = s->config.limit_pu;
    (void)sscanf(line, "rate_hz %f", &s->config.rate_hz);
    (void)sscanf(line, "nominal_hz %f", &s->config.nominal_hz);
    (void)sscanf(line, "nominal_v %f", &s->config.nominal_v);
    (void)sscanf(line, "v_per_lsb %f", &s->config.v_per_lsb);
    (void)sscanf(line, "limits_pu %f %f %f %f", &limit[0], &limit[1], &limit[2], &s->config.hysteresis_pu);
    (void)sscanf(line, "samples %ld", &s->samples);
    (void)sscanf(line, "dc_lsb %ld", &s->dc);
    (void)sscanf(line, "clip_lsb %ld", &s->clip);
    (void)sscanf(line, "gap %ld %ld", &s->gap_at, &s->gap);
    (void)sscanf(line, "settled %ld %ld", &s->settled, &s->until);
    (void)sscanf(line, "windows %ld", &s->windows);
    s->tone_count += sscanf(line, "tone %" SCNu32 " %" SCNu32 " %lf %ld %ld", &tone->step, &tone->phase,
                            &tone->amplitude, &tone->begin, &tone->end) == 5;
    s->scale_count += sscanf(line, "scale %ld %ld %ld", &scale->begin, &scale->end, &scale->permille) == 3;
    s->wanted_count += sscanf(line, "window %15s %lf %lf", wanted->key, &wanted->value, &wanted->tolerance) == 3;
    s->crossing_count += sscanf(line, "crossing %d %d %ld %ld", &crossing->kind, &crossing->entering, &crossing->sample,
                                &crossing->tolerance) == 4;
}

static int16_t count_at(const signal_t *s, long k) {
    double sum = 0.0;
    for (int i = 0; i < s->tone_count; i++) {
        const tone_t *tone = &s->tones[i];
        if (k >= tone->begin && k < tone->end) {
            uint32_t phase = tone->phase + tone->step * (uint32_t)k;
            sum += tone->amplitude * sin((double)phase * 6.283185307179586 / 4294967296.0);
        }
    }
    for (int i = 0; i < s->scale_count; i++) {
        if (k >= s->scales[i].begin && k < s->scales[i].end) {
            sum = sum * (double)s->scales[i].permille / 1000.0;
        }
    }
    long count = lrint(sum) + s->dc;
    return (int16_t)(count > s->clip ? s->clip : count < -s->clip ? -s->clip : count);
}

static double member(const opq_feature_window_t *window, const char *key) {
    return strcmp(key, "rms_v") == 0  ? (double)window->rms_v
           : strcmp(key, "f_hz") == 0 ? (double)window->f_hz
           : strcmp(key, "thd") == 0  ? (double)window->thd
                                      : (double)window->trans_v;
}

static void hold(signal_t *s, const char *file, opq_features_t *features, int *windows, int *crossings) {
    opq_feature_window_t window;
    opq_feature_crossing_t crossing;
    while (opq_features_measurement(features, &window)) {
        ++*windows;
        long first = (long)window.first_sample;
        if (first < s->settled || first + (long)window.samples > s->until + s->gap) {
            continue;
        }
        bool peak = false; // a transient is in one of the windows, the others hold less
        for (int i = 0; i < s->wanted_count; i++) {
            wanted_t *wanted = &s->wanted[i];
            double off = fabs(member(&window, wanted->key) - wanted->value);
            peak = strcmp(wanted->key, "trans_v") == 0;
            if (peak ? wanted->worst == 0.0 || off < wanted->worst : !(off <= wanted->worst)) {
                wanted->worst = off;
            }
            if (!peak && !(off <= wanted->tolerance)) {
                fail(file, wanted->key, member(&window, wanted->key), wanted->value);
            }
        }
    }
    while (opq_features_crossing(features, &crossing)) {
        const wanted_crossing_t *wanted = &s->crossings[*crossings];
        if (*crossings >= s->crossing_count || crossing.kind != wanted->kind ||
            crossing.entering != (wanted->entering != 0) ||
            labs((long)crossing.sample - wanted->sample) > wanted->tolerance) {
            fail(file, "crossing at", (double)crossing.sample, (double)wanted->sample);
        }
        ++*crossings;
    }
}

static void run(const char *file, size_t block) {
    static signal_t s;
    static int16_t counts[MAX_SAMPLES];
    static opq_features_t features;
    s = (signal_t){.windows = -1, .gap_at = MAX_SAMPLES};
    FILE *in = fopen(file, "r");
    char line[256];
    while (in != NULL && fgets(line, sizeof line, in) != NULL) {
        read_line(&s, line);
    }
    if (in == NULL || s.samples == 0 || s.samples > MAX_SAMPLES || fclose(in) != 0) {
        fail(file, "samples", (double)s.samples, 1.0);
        return;
    }
    for (long k = 0; k < s.samples; k++) {
        counts[k] = count_at(&s, k);
    }
    if (opq_features_init(&features, &s.config) != OPQ_FEATURES_OK) {
        fail(file, "configuration", 0.0, 1.0);
        return;
    }
    int windows = 0, crossings = 0;
    for (long at = 0; at < s.samples;) {
        long part = (long)block;
        part = at < s.gap_at && at + part > s.gap_at ? s.gap_at - at : part;
        part = at + part > s.samples ? s.samples - at : part;
        opq_features_push(&features, counts + at, (size_t)part, (uint64_t)(at < s.gap_at ? at : at + s.gap), false);
        at += part;
        hold(&s, file, &features, &windows, &crossings);
    }
    if (s.windows >= 0 ? windows != s.windows : windows < 2) {
        fail(file, "number of windows", windows, (double)(s.windows >= 0 ? s.windows : 2));
    }
    if (crossings != s.crossing_count) {
        fail(file, "number of crossings", crossings, s.crossing_count);
    }
    for (int i = 0; i < s.wanted_count; i++) {
        const wanted_t *wanted = &s.wanted[i];
        printf("%s %s off by %.3g of %.3g allowed\n", file, wanted->key, wanted->worst, wanted->tolerance);
        if (!(wanted->worst <= wanted->tolerance)) {
            fail(file, wanted->key, wanted->worst, wanted->tolerance);
        }
    }
}

int main(int argc, char **argv) {
    size_t block = (size_t)atoi(argv[1]);
    for (int i = 2; i < argc; i++) {
        run(argv[i], block);
    }
    printf("%d failures\n", failures);
    return failures != 0;
}
