// A world for the clock: an oscillator that drifts, a sensor that lags, a receiver that jitters, labels a second wrong.
// The truth is known here, so that every stamp is judged: clock_world SCENARIO FIRST_SEED SEEDS prints one JSON line.
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calendar.h"
#include "clock.h"

#define PI 3.14159265358979323846
#define SUBFRAMES_S 750 // in which the satellites send their leap seconds once

typedef struct {
    const char *name;
    int length_s;
    int lost_from_s, lost_to_s; // no pulses, no fix; to 0: to the end
    double base_ppm;            // the oscillator's offset, uniform +-
    bool glitches, missing, wrong_labels, cold_labels, jump300, no_gps, restarts, late_labels, cold_again;
    int leap;         // +1, -1, 0
    int temperature;  // 0 constant, 1 warm-up, 2 fast ramps, 3 learnt then 5 K in an hour, 4 flat then 5 K
    int judge_from_s; // errors of locked stamps count from here
} scenario_t;

static const scenario_t scenarios[] = {
    {.name = "cold_start", .length_s = 400, .base_ppm = 5, .cold_labels = true, .temperature = 1},
    {.name = "loss_and_return",
     .length_s = 1800,
     .lost_from_s = 700,
     .lost_to_s = 1300,
     .base_ppm = 2,
     .temperature = 1,
     .restarts = true},
    {.name = "jump_of_300_ms", .length_s = 1200, .lost_from_s = 500, .lost_to_s = 800, .base_ppm = 2, .jump300 = true},
    {.name = "glitches", .length_s = 600, .base_ppm = 2, .glitches = true},
    {.name = "missing_pulses", .length_s = 600, .base_ppm = 2, .missing = true},
    {.name = "wrong_labels", .length_s = 600, .base_ppm = 2, .wrong_labels = true},
    {.name = "late_labels", .length_s = 600, .base_ppm = 2, .late_labels = true},
    {.name = "cold_again",
     .length_s = 2100,
     .lost_from_s = 1000,
     .lost_to_s = 1100,
     .base_ppm = 2,
     .cold_again = true},
    {.name = "leap_inserted", .length_s = 300, .base_ppm = 2, .leap = 1},
    {.name = "leap_deleted", .length_s = 300, .base_ppm = 2, .leap = -1},
    {.name = "off_50_ppm", .length_s = 600, .base_ppm = 50},
    {.name = "temperature_ramp", .length_s = 1500, .base_ppm = 2, .temperature = 2},
    {.name = "holdover_1h_learnt", .length_s = 10800, .lost_from_s = 7200, .base_ppm = 2, .temperature = 3},
    {.name = "holdover_1h_after_20min", .length_s = 4800, .lost_from_s = 1200, .base_ppm = 2, .temperature = 5},
    {.name = "holdover_1h_unlearnt", .length_s = 4500, .lost_from_s = 900, .base_ppm = 2, .temperature = 4},
    {.name = "gateway_time_only", .length_s = 1800, .base_ppm = 2, .no_gps = true, .temperature = 1},
};

// ---------------------------------------------------------------- chance
static uint64_t chance_state;

static uint64_t chance(void) { // splitmix64
    uint64_t z = (chance_state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static double uniform(double low, double high) {
    return low + (high - low) * ((double)(chance() >> 11) / 9007199254740992.0);
}

static double gauss(void) {
    static const double tiny = 1e-300;
    return sqrt(-2.0 * log(uniform(0.0, 1.0) + tiny)) * cos(2.0 * PI * uniform(0.0, 1.0));
}

static int below(int limit) { return (int)(chance() % (uint64_t)limit); }

// ---------------------------------------------------------------- what is true
#define FLICKERS 4
static const double flicker_s[FLICKERS] = {10.0, 100.0, 1000.0, 10000.0};

typedef struct {
    const scenario_t *scenario;
    double base_ppb, k_ppb, wander_ppb, flicker_ppb[FLICKERS];
    double crystal_c, sensor_c, start_c;
    double ramp[6];
    double saw_ns, saw_phase, saw_step;
    int64_t second; // true seconds since start; ticks at its beginning:
    int64_t ticks;
    double ticks_part;
    double y_ppb;       // during this second
    int64_t unix_start; // UTC of second 0
    int64_t leap_at;    // second 60 (insertion) or the one that is left out (deletion) begins here
} truth_t;

static double temperature_c(const truth_t *truth, double s) {
    const double *r = truth->ramp;
    const scenario_t *scenario = truth->scenario;
    switch (scenario->temperature) {
    case 1: // warming up in its case
        return 22.0 + r[0] * (1.0 - exp(-s / r[1]));
    case 2: { // up and down, up to 5 K in a minute
        double phase = fmod(s, 2.0 * r[1]);
        return 22.0 + r[0] * (phase < r[1] ? phase / r[1] : 2.0 - phase / r[1]);
    }
    case 5: // up by 6 K in 10 min and down by 4: what an emulator has time for
        return s < 600.0    ? 22.0 + 0.01 * s
               : s < 1200.0 ? 28.0 - (s - 600.0) / 150.0
                            : 24.0 + 5.0 * (s - 1200.0) / 3600.0;
    case 3:
    case 4: {
        double lost = (double)scenario->lost_from_s;
        double known = s < lost ? s : lost;
        double before = 0.0;
        if (scenario->temperature == 3) { // at least 3 K while locked: a ramp, a hill or a slow wave
            double along = known / lost;
            before = r[2] < 1.0   ? r[0] * along
                     : r[2] < 2.0 ? r[0] * (along < 0.6 ? along / 0.6 : 1.0 - 0.5 * (along - 0.6) / 0.4)
                                  : r[0] * 0.5 * (1.0 - cos(2.0 * PI * along * r[3]));
        }
        return 25.0 + before + (s > lost ? r[4] * 5.0 * (s - lost) / 3600.0 : 0.0);
    }
    default: return 25.0;
    }
}

static void truth_start(truth_t *truth, const scenario_t *scenario) {
    *truth = (truth_t){.scenario = scenario};
    truth->base_ppb = uniform(-1000.0, 1000.0) * scenario->base_ppm;
    truth->k_ppb = chance() & 1 ? 100.0 : -100.0; // 0.1 ppm/K
    for (int i = 0; i < FLICKERS; i++) {
        truth->flicker_ppb[i] = 0.3 * gauss();
    }
    double sign = chance() & 1 ? 1.0 : -1.0;
    switch (scenario->temperature) {
    case 1: truth->ramp[0] = uniform(5.0, 15.0), truth->ramp[1] = uniform(200.0, 600.0); break;
    case 2: truth->ramp[0] = sign * uniform(5.0, 20.0), truth->ramp[1] = uniform(240.0, 900.0); break;
    default:
        truth->ramp[0] = sign * uniform(3.0, 6.0), truth->ramp[2] = uniform(0.0, 3.0),
        truth->ramp[3] = uniform(0.6, 1.6);
        truth->ramp[4] = chance() & 1 ? 1.0 : -1.0;
        break;
    }
    truth->crystal_c = truth->sensor_c = truth->start_c = temperature_c(truth, 0.0);
    truth->saw_ns = uniform(10.0, 30.0);
    truth->saw_step = uniform(0.01, 0.49);
    truth->ticks = (int64_t)(chance() >> 28); // anywhere, wraps of 32 bits included
    int year = 2017 + below(12);
    truth->unix_start = opq_unix_s(year, 1 + below(12), 1 + below(28), below(24), below(60), below(60));
    truth->leap_at = INT64_MAX;
    if (scenario->leap != 0) {
        int into = 120 + below(60);
        truth->unix_start = (below(2) ? opq_unix_s(year, 7, 1, 0, 0, 0) : opq_unix_s(year, 1, 1, 0, 0, 0)) - into;
        truth->leap_at = scenario->leap > 0 ? into : into - 1;
    }
}

static void truth_second(truth_t *truth) { // frequency of the second that begins
    double s = (double)truth->second;
    for (int i = 0; i < FLICKERS; i++) {
        double keep = exp(-1.0 / flicker_s[i]);
        truth->flicker_ppb[i] = keep * truth->flicker_ppb[i] + 0.3 * sqrt(1.0 - keep * keep) * gauss();
    }
    truth->wander_ppb += gauss() / 60.0; // 1 ppb in an hour
    truth->crystal_c = temperature_c(truth, s + 0.5);
    truth->sensor_c += (truth->crystal_c - truth->sensor_c) / 60.0; // 1 min
    truth->y_ppb = truth->base_ppb + truth->k_ppb * (truth->crystal_c - 25.0) + truth->wander_ppb + 0.2 * gauss();
    for (int i = 0; i < FLICKERS; i++) {
        truth->y_ppb += truth->flicker_ppb[i];
    }
}

static void truth_next(truth_t *truth) {
    double gained = truth->ticks_part + truth->y_ppb * 0.084;
    double whole = floor(gained);
    truth->ticks += OPQ_TICK_HZ + (int64_t)whole;
    truth->ticks_part = gained - whole;
    truth->second++;
    truth->saw_phase = fmod(truth->saw_phase + truth->saw_step, 1.0);
}

// The counter at `ns` into this second (may be a little outside), and the rest of a tick in ns.
static int64_t ticks_at(const truth_t *truth, double ns, double *rest_ns) {
    double gained = truth->ticks_part + ns * 0.084 * (1.0 + truth->y_ppb * 1e-9);
    double whole = floor(gained);
    if (rest_ns) {
        *rest_ns = (gained - whole) / 0.084;
    }
    return truth->ticks + (int64_t)whole;
}

// UTC of the beginning of a true second, as Unix counts; second 60 repeats the name of 59.
static int64_t unix_at(const truth_t *truth, int64_t second) {
    int64_t plain = truth->unix_start + second;
    return second < truth->leap_at ? plain : plain - truth->scenario->leap;
}

// ---------------------------------------------------------------- what is judged
#define KEPT 64

typedef struct {
    double gps_sum2, gps_max;
    int64_t gps_count;
    double hold_max, hold_end, hold_end_bound;
    int64_t stamps, outside, back, revised, jumps;
    // not GPS time again 15 s after a leap second, 60 s after pulses came back and leap seconds are known
    int64_t unsettled;
    bool run_outside, locked_ever;
    int first_locked_s, wrong_second_s;
    double worst_ratio;
    bool any_known;
    // the last stamps
    int64_t tick[KEPT], t_ns[KEPT];
    int kept;
    int64_t last_true_ns, last_t_ns;
    double last_bound_ns;
    bool last_known;
} judge_t;

static void judge_stamp(judge_t *judge, const opq_clock_t *clock, const truth_t *truth, double into_ns) {
    double rest_ns;
    int64_t tick = ticks_at(truth, into_ns, &rest_ns);
    opq_stamp_t stamp;
    opq_clock_stamp(clock, tick, &stamp);
    int64_t true_ns = unix_at(truth, truth->second) * INT64_C(1000000000) + (int64_t)(into_ns - rest_ns);
    int64_t error_ns = stamp.t_ns - true_ns;
    if (truth->second == truth->leap_at && truth->scenario->leap > 0 &&
        llabs(error_ns - 1000000000) > llabs(error_ns)) {
        error_ns -= 1000000000; // second 60 has two names: the bound has to hold for either
    }
    double off_ns = fabs((double)error_ns);
    bool known = stamp.uncertainty_ns != OPQ_UNCERTAINTY_UNKNOWN;
    judge->stamps++;
    judge->back += judge->stamps > 1 && stamp.t_ns < judge->last_t_ns;
    if (known) {
        judge->any_known = true;
        bool outside = off_ns > (double)stamp.uncertainty_ns;
        judge->outside += outside;
        judge->run_outside = judge->run_outside || outside;
        double ratio = off_ns / (double)stamp.uncertainty_ns;
        judge->worst_ratio = ratio > judge->worst_ratio ? ratio : judge->worst_ratio;
        if (stamp.source == OPQ_SOURCE_GPS) {
            if (stamp.uncertainty_ns < 100000000) { // a second in doubt says so
                judge->gps_sum2 += off_ns * off_ns;
                judge->gps_max = off_ns > judge->gps_max ? off_ns : judge->gps_max;
                judge->gps_count++;
            }
            if (!judge->locked_ever) {
                judge->locked_ever = true;
                judge->first_locked_s = (int)truth->second;
            }
        } else if (stamp.source == OPQ_SOURCE_HOLDOVER && stamp.uncertainty_ns < 100000000) {
            judge->hold_max = off_ns > judge->hold_max ? off_ns : judge->hold_max;
        }
        judge->hold_end = off_ns;
        judge->hold_end_bound = (double)stamp.uncertainty_ns;
    }
    if (known && judge->last_known) { // a jump that neither stamp's bound owns up to
        int64_t jump = (stamp.t_ns - judge->last_t_ns) - (true_ns - judge->last_true_ns);
        bool leap = truth->scenario->leap != 0 && llabs(truth->second - truth->leap_at) < 4;
        judge->jumps += !leap && fabs((double)jump) > (double)stamp.uncertainty_ns + judge->last_bound_ns;
    }
    int64_t back_s = truth->scenario->lost_to_s + (truth->scenario->cold_again ? SUBFRAMES_S : 0);
    bool settling = truth->scenario->leap != 0
                        ? truth->second > truth->leap_at + 15
                        : truth->scenario->lost_to_s > 0 && truth->second > back_s + 60;
    judge->unsettled += settling && (stamp.source != OPQ_SOURCE_GPS || off_ns > 1000.0);
    judge->last_known = known;
    judge->last_bound_ns = (double)stamp.uncertainty_ns;
    judge->last_true_ns = true_ns;
    judge->last_t_ns = stamp.t_ns;
    int slot = judge->kept++ % KEPT;
    judge->tick[slot] = tick;
    judge->t_ns[slot] = stamp.t_ns;
}

static void judge_again(judge_t *judge, const opq_clock_t *clock, int64_t now_tick) { // a resent sample has its stamp
    int count = judge->kept < KEPT ? judge->kept : KEPT;
    for (int i = 0; i < count; i++) {
        if (now_tick - judge->tick[i] < 5 * OPQ_TICK_HZ) {
            opq_stamp_t stamp;
            opq_clock_stamp(clock, judge->tick[i], &stamp);
            judge->revised += stamp.t_ns != judge->t_ns[i];
        }
    }
}

// ---------------------------------------------------------------- what happens
typedef enum { PULSE, LABEL, TIMES, READING, TICK, STAMP, SYNC } what_t;

typedef struct {
    double ns; // into the second
    what_t what;
    int64_t value;
    int kind;
} event_t;

#define EVENTS 64

typedef struct {
    event_t at[EVENTS];
    int count;
} agenda_t;

static event_t *add(agenda_t *agenda, double ns, what_t what) {
    int i = agenda->count < EVENTS ? agenda->count++ : EVENTS - 1;
    while (i > 0 && agenda->at[i - 1].ns > ns) {
        agenda->at[i] = agenda->at[i - 1];
        i--;
    }
    agenda->at[i] = (event_t){.ns = ns, .what = what};
    return &agenda->at[i];
}

typedef struct {
    uint8_t kind;
    bool announced, silent;
    int wrong_left, wrong_by; // labels
    int cold_left, cold_by;
    int jump_left;
    double latency_ns, latency_jitter_ns;
} receiver_t;

static void receiver_start(receiver_t *receiver, const scenario_t *scenario) {
    *receiver = (receiver_t){.kind = below(2) ? OPQ_LABEL_UBX_CONFIRMED : OPQ_LABEL_NMEA, .announced = below(2)};
    receiver->latency_ns = uniform(20e6, scenario->late_labels ? 3000e6 : 600e6);
    receiver->latency_jitter_ns = uniform(1e6, 60e6);
    if (scenario->cold_labels) { // before the leap seconds are known; says nothing for some seconds first
        receiver->cold_left = below(12);
        receiver->cold_by = below(5) - 2;
    }
    if (scenario->cold_again) {
        receiver->silent = below(2);
        receiver->cold_by = below(5) - 2;
    }
    if (scenario->jump300) {
        receiver->jump_left = 3 + below(40);
    }
    if (scenario->late_labels) {
        receiver->kind = (uint8_t)below(OPQ_LABEL_UBX_CONFIRMED + 1);
    }
}

// It has started again, and has not heard the satellites' leap seconds so far.
static bool unlearnt(const truth_t *truth) {
    const scenario_t *scenario = truth->scenario;
    int64_t fixed_s = truth->second - scenario->lost_to_s;
    return scenario->cold_again && fixed_s >= 0 && fixed_s < SUBFRAMES_S;
}

static void pulses(agenda_t *agenda, const truth_t *truth, receiver_t *receiver, bool present) {
    const scenario_t *scenario = truth->scenario;
    double saw = truth->saw_ns * (2.0 * truth->saw_phase - 1.0);
    double edge_ns = 50.0 + saw + 20.0 * gauss(); // 50 ns of cable, which the settings know
    bool back = present && scenario->lost_to_s > 0 && truth->second >= scenario->lost_to_s;
    if (back && receiver->jump_left > 0) {
        receiver->jump_left--;
        edge_ns += 300e6;
    }
    if (scenario->missing && below(5) == 0) {
        present = false;
    }
    if (present) {
        add(agenda, edge_ns > 0.0 ? edge_ns : 0.0, PULSE);
    }
    if (scenario->glitches) {
        for (int i = below(4); i > 0; i--) {
            add(agenda, uniform(0.0, 999e6), PULSE);
        }
        if (present && below(10) == 0) { // ringing
            add(agenda, edge_ns + uniform(1e3, 1e6), PULSE);
        }
    }
}

static void labels(agenda_t *agenda, const truth_t *truth, receiver_t *receiver, bool fix) {
    const scenario_t *scenario = truth->scenario;
    int64_t by = 0;
    if (scenario->wrong_labels && receiver->wrong_left == 0 && below(25) == 0) {
        receiver->wrong_left = 1 + below(5);
        receiver->wrong_by = below(2) ? 1 : -1;
    }
    if (receiver->wrong_left > 0) {
        receiver->wrong_left--;
        by = receiver->wrong_by;
    }
    if (receiver->cold_left > 0 && truth->second > 4) {
        receiver->cold_left--;
        by = receiver->cold_by;
    }
    if (unlearnt(truth)) {
        by = receiver->cold_by;
    }
    double latency = receiver->latency_ns + receiver->latency_jitter_ns * uniform(0.0, 1.0);
    if (scenario->wrong_labels && below(10) == 0) {
        latency += uniform(0.0, 399e6); // a busy main thread
    }
    if (scenario->late_labels) { // by so many seconds it names an earlier one
        by -= (int64_t)(latency / 1e9);
        latency = fmod(latency, 1e9);
    }
    event_t *event = add(agenda, latency < 999e6 ? latency : 999e6, LABEL);
    event->value = by;
    event->kind = fix;
    if (scenario->leap != 0 && receiver->announced && truth->second > 5 && truth->second < truth->leap_at - 1 &&
        truth->second % 10 == 0) {
        (void)add(agenda, 700e6, TIMES);
    }
}

static void handle(opq_clock_t *clock, judge_t *judge, const truth_t *truth, const receiver_t *receiver,
                   const event_t *event) {
    const scenario_t *scenario = truth->scenario;
    int64_t tick = ticks_at(truth, event->ns, NULL);
    switch (event->what) {
    case PULSE: opq_clock_pps(clock, tick); break;
    case LABEL: {
        bool second_60 = scenario->leap > 0 && truth->second == truth->leap_at;
        opq_label_t label = {
            .utc_s = unix_at(truth, truth->second) + event->value + (second_60 ? 1 : 0),
            .arrival_tick = tick,
            .kind = unlearnt(truth) && receiver->kind == OPQ_LABEL_UBX_CONFIRMED ? OPQ_LABEL_UBX : receiver->kind,
            .valid = event->kind,
            .leap = second_60,
        };
        if (!scenario->cold_again) { // it has had its fix for long: its leap seconds are the satellites'
            clock->seconds.fixed_tick = -1000 * OPQ_TICK_HZ;
        }
        opq_clock_label(clock, &label);
        break;
    }
    case TIMES:
        opq_clock_leap(clock, truth->unix_start + truth->leap_at + (scenario->leap < 0), (int8_t)scenario->leap, 18);
        break;
    case READING: opq_clock_temperature(clock, tick, (float)(truth->sensor_c + 0.5 * gauss())); break;
    case TICK:
        opq_clock_tick(clock, tick);
        judge_again(judge, clock, tick);
        break;
    case STAMP: judge_stamp(judge, clock, truth, event->ns); break;
    case SYNC: { // over the link: a few ms late and uneven, bound 10 ms
        int64_t t_ns = unix_at(truth, truth->second) * INT64_C(1000000000) + (int64_t)event->ns;
        opq_clock_sync(clock, tick, t_ns + (int64_t)(2e6 + 1.5e6 * gauss()), 10000000, OPQ_SOURCE_NTP);
        break;
    }
    }
}

static void run(const scenario_t *scenario, uint64_t seed, judge_t *judge, opq_clock_t *clock) {
    chance_state = seed * UINT64_C(0xD1342543DE82EF95) + 12345;
    truth_t truth;
    receiver_t receiver;
    truth_start(&truth, scenario);
    receiver_start(&receiver, scenario);
    opq_clock_config_t config;
    opq_clock_config_default(&config, true);
    config.pulse_delay_ns = 50;
    opq_clock_init(clock, &config, truth.ticks);
    *judge = (judge_t){0};
    double tick_phase = uniform(0.0, 900e6);
    int busy = 0;
    while (truth.second < scenario->length_s) {
        truth_second(&truth);
        agenda_t agenda = {.count = 0};
        bool lost = scenario->no_gps || (scenario->lost_from_s > 0 && truth.second >= scenario->lost_from_s &&
                                         (scenario->lost_to_s == 0 || truth.second < scenario->lost_to_s));
        bool fix = !lost && truth.second > 3;
        if (!scenario->no_gps) {
            pulses(&agenda, &truth, &receiver, fix);
            if (!lost || !receiver.silent) {
                labels(&agenda, &truth, &receiver, fix);
            }
        }
        if ((scenario->no_gps || scenario->late_labels) && truth.second % 10 == 5) {
            (void)add(&agenda, uniform(0.0, 900e6), SYNC);
        }
        (void)add(&agenda, uniform(100e6, 200e6), READING);
        busy = busy > 0 ? busy - 1 : below(300) == 0 ? 1 + below(3) : 0; // the main thread misses a turn at times
        if (busy == 0) {
            (void)add(&agenda, tick_phase + uniform(0.0, 50e6), TICK);
        }
        for (int i = 0; i < 3; i++) {
            (void)add(&agenda, uniform(0.0, 999e6), STAMP);
        }
        for (int i = 0; i < agenda.count; i++) {
            handle(clock, judge, &truth, &receiver, &agenda.at[i]);
        }
        truth_next(&truth);
    }
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double share(double *values, int count, double part) { // the value that `part` of them do not exceed
    qsort(values, (size_t)count, sizeof *values, by_size);
    int i = (int)ceil(part * (double)count) - 1;
    return count ? values[i < 0 ? 0 : i] : 0.0;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
            printf("%s\n", scenarios[i].name);
        }
        return argc == 1 ? 0 : 2;
    }
    const scenario_t *scenario = NULL;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(argv[1], scenarios[i].name) == 0) {
            scenario = &scenarios[i];
        }
    }
    uint64_t first = strtoull(argv[2], NULL, 10);
    int seeds = atoi(argv[3]);
    bool verbose = argc > 4;
    if (scenario == NULL || seeds < 1) {
        return 2;
    }
    double *rms = malloc(sizeof *rms * (size_t)seeds);
    double *max = malloc(sizeof *max * (size_t)seeds);
    double *hold = malloc(sizeof *hold * (size_t)seeds);
    double *bound = malloc(sizeof *bound * (size_t)seeds);
    double *locked = malloc(sizeof *locked * (size_t)seeds);
    static opq_clock_t clock;
    static judge_t judge;
    int64_t back = 0, revised = 0, jumps = 0, outside_runs = 0, never = 0, stamps = 0, outside = 0, steps_back = 0,
            unlearnt = 0, unsettled = 0;
    int holds = 0;
    double sum2 = 0.0, count = 0.0;
    for (int i = 0; i < seeds; i++) {
        run(scenario, first + (uint64_t)i, &judge, &clock);
        opq_clock_status_t status;
        opq_clock_status(&clock, &status);
        rms[i] = judge.gps_count ? sqrt(judge.gps_sum2 / (double)judge.gps_count) : 0.0;
        max[i] = judge.gps_max;
        locked[i] = judge.first_locked_s;
        sum2 += judge.gps_sum2;
        count += (double)judge.gps_count;
        if (scenario->lost_from_s > 0 || scenario->no_gps) {
            hold[holds] = scenario->lost_to_s == 0 ? judge.hold_end : judge.hold_max;
            bound[holds++] = judge.hold_end_bound;
        }
        back += judge.back;
        revised += judge.revised;
        jumps += judge.jumps;
        stamps += judge.stamps;
        outside += judge.outside;
        outside_runs += judge.run_outside;
        unsettled += judge.unsettled;
        never += !judge.locked_ever && !scenario->no_gps;
        steps_back += status.steps_back;
        unlearnt += !status.learnt;
        if (verbose) {
            printf("seed %llu rms %.0f max %.0f hold %.0f bound %.0f ratio %.2f locked %d state %d coeff %d +- %d of "
                   "%s outside %lld back %lld rev %lld jumps %lld steps %u wrong %u rejected %u\n",
                   (unsigned long long)(first + (uint64_t)i), rms[i], max[i], judge.hold_end, judge.hold_end_bound,
                   judge.worst_ratio, judge.first_locked_s, status.state, status.coefficient_pptk,
                   status.coefficient_sigma_pptk, "100000", (long long)judge.outside, (long long)judge.back,
                   (long long)judge.revised, (long long)judge.jumps, status.steps, status.labels_wrong,
                   status.pulses_rejected);
        }
    }
    printf(
        "{\"scenario\": \"%s\", \"seeds\": %d, \"stamps\": %lld, \"locked_rms_ns\": %.1f, \"worst_rms_ns\": %.1f, "
        "\"p997_max_ns\": %.0f, "
        "\"max_ns\": %.0f, \"holdover_p50_ns\": %.0f, \"holdover_p997_ns\": %.0f, \"holdover_max_ns\": %.0f, "
        "\"bound_p50_ns\": %.0f, "
        "\"locked_after_p50_s\": %.0f, \"locked_after_max_s\": %.0f, "
        "\"runs_outside\": %lld, \"stamps_outside\": %lld, \"never_locked\": %lld, \"back\": %lld, \"revised\": %lld, "
        "\"jumps\": %lld, \"steps_back\": %lld, \"unlearnt\": %lld, \"unsettled\": %lld}\n",
        scenario->name, seeds, (long long)stamps, count > 0 ? sqrt(sum2 / count) : 0.0, share(rms, seeds, 1.0),
        share(max, seeds, 0.997), share(max, seeds, 1.0), share(hold, holds, 0.5), share(hold, holds, 0.997),
        share(hold, holds, 1.0), share(bound, holds, 0.5), share(locked, seeds, 0.5), share(locked, seeds, 1.0),
        (long long)outside_runs, (long long)outside, (long long)never, (long long)back, (long long)revised,
        (long long)jumps, (long long)steps_back, (long long)unlearnt, (long long)unsettled);
    free(rms), free(max), free(hold), free(bound), free(locked);
    return 0;
}
