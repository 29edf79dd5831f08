#define _POSIX_C_SOURCE 200809L // sigaction, setitimer, clock_gettime

// A timer signal writes into the ring while the main program reads: on one core that is what an interrupt does.
// `ring_preempted MICROSECONDS`; prints what was read, refused and wrong.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

#include "ring.h"

enum { SMALL = 800, PUTS_PER_INTERRUPT = 11 };

static opq_ring_t ring;
static int16_t samples[SMALL];
static uint8_t clipped[SMALL / OPQ_BLOCK_SAMPLES];
static uint64_t written; // the handler's
static volatile long interrupts;

static int16_t value(uint64_t index) { return (int16_t)((index * 7919 + index / SMALL * 101) % 65521); }

static void on_timer(int signal) {
    (void)signal;
    int16_t some[OPQ_HALF_SAMPLES];
    interrupts++;
    for (int put = 0; put < PUTS_PER_INTERRUPT; put++) {
        for (uint32_t k = 0; k < OPQ_HALF_SAMPLES; k++) {
            some[k] = value(written + k);
        }
        opq_ring_put(&ring, some, OPQ_HALF_SAMPLES, 0);
        written += OPQ_HALF_SAMPLES;
    }
    if (interrupts % 7 == 0) {
        written += 60;
        opq_ring_gap(&ring, 60, (int64_t)written * OPQ_SAMPLE_TICKS);
    }
}

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

int main(int argc, char **argv) {
    double end = now_us() + (argc > 1 ? atof(argv[1]) : 1e6);
    long reads = 0, refused = 0, blocks = 0, lost_blocks = 0, wrong = 0;
    int16_t out[600];
    opq_ring_init(&ring, samples, clipped, SMALL, 0);
    struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval each = {{0, 40}, {0, 40}};
    setitimer(ITIMER_REAL, &each, NULL);
    for (uint32_t turn = 1; now_us() < end; turn++) {
        uint64_t tail = opq_ring_tail(&ring), first = tail + turn * 37u % 300u;
        size_t got = opq_ring_read(&ring, first, 600, out);
        reads++;
        refused += got == 0;
        for (size_t k = 0; k < got; k++) {
            wrong += out[k] != value(first + k);
        }
        opq_block_t block;
        while (opq_ring_next(&ring, &block)) {
            long differing = 0;
            for (uint16_t k = 0; k < block.count; k++) {
                differing += block.counts[k] != value(block.first_sample + k);
            }
            bool held = opq_ring_holds(&ring, block.first_sample);
            wrong += held ? differing : 0;
            wrong += block.first_tick != (int64_t)block.first_sample * OPQ_SAMPLE_TICKS;
            blocks++;
            lost_blocks += !held;
        }
    }
    each = (struct itimerval){{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &each, NULL);
    printf("interrupts %ld\nreads %ld\nrefused %ld\nblocks %ld\nlost_blocks %ld\nwrong %ld\n", interrupts, reads, refused,
           blocks, lost_blocks, wrong);
    return wrong != 0;
}
