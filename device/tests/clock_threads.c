// One thread publishes pieces as fast as it can, others stamp: each stamp must be of one piece, whole.
// Every piece lies on the same line (t = nominal time of the tick) but has its own uncertainty, rate and source, which
// belong together; a stamp mixed of two pieces shows in either. clock_threads SECONDS prints one JSON line.
#define _POSIX_C_SOURCE 199309L // nanosleep
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "timeline.h"

static opq_timeline_t timeline;
static _Atomic int64_t newest;
static _Atomic int stop;

static int64_t nominal_ns(int64_t tick) { return tick / 21 * 250 + tick % 21 * 250 / 21; }

static void *writer(void *arg) {
    unsigned long *published = arg;
    int64_t tick = 0;
    while (!stop) {
        tick += 21 * 1000;
        uint32_t mark = (uint32_t)(tick / 21000) & 0xFFFFu;
        opq_piece_t piece = {.tick = tick,
                             .t_ns = nominal_ns(tick),
                             .uncertainty_ns = mark,
                             .rate_millihz = mark * 3u,
                             .source = (uint8_t)(mark & 3u)};
        opq_timeline_publish(&timeline, &piece);
        atomic_store(&newest, tick);
        ++*published;
    }
    return NULL;
}

typedef struct {
    unsigned long read, old, torn;
} reader_t;

static void *reader(void *arg) {
    reader_t *counts = arg;
    uint32_t chance = 12345;
    while (!stop) {
        chance = chance * 1664525u + 1013904223u;
        int64_t tick = atomic_load(&newest) - (int64_t)(chance >> 8) % (21 * 1000 * 20) + 21000;
        opq_stamp_t stamp;
        opq_timeline_stamp(&timeline, tick, &stamp);
        counts->read++;
        if (stamp.uncertainty_ns == OPQ_UNCERTAINTY_UNKNOWN) { // nothing published, or overtaken three times
            counts->old++;
            continue;
        }
        counts->old += stamp.old;
        counts->torn += stamp.rate_millihz != stamp.uncertainty_ns * 3u ||
                        stamp.source != (stamp.uncertainty_ns & 3u) || (!stamp.old && stamp.t_ns != nominal_ns(tick));
    }
    return NULL;
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 1.0;
    pthread_t threads[3];
    unsigned long published = 0;
    reader_t counts[2] = {{0, 0, 0}, {0, 0, 0}};
    pthread_create(&threads[0], NULL, writer, &published);
    pthread_create(&threads[1], NULL, reader, &counts[0]);
    pthread_create(&threads[2], NULL, reader, &counts[1]);
    struct timespec pause = {(time_t)seconds, (long)((seconds - (double)(long)seconds) * 1e9)};
    nanosleep(&pause, NULL);
    stop = 1;
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("{\"published\": %lu, \"read\": %lu, \"old\": %lu, \"torn\": %lu}\n", published,
           counts[0].read + counts[1].read, counts[0].old + counts[1].old, counts[0].torn + counts[1].torn);
    return 0;
}
