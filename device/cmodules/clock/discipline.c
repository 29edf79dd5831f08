// Pulses: which are accepted, and what happens when they stop and come back.
#include "discipline.h"

#define GATE_NS 400.0          // within this, or six sigma, a pulse is accepted at once
#define TRAIN_TO_BEGIN 6u      // pulses one second apart before the loop begins
#define TRAIN_TO_RETURN 4u     // after holdover, if the train is within the stated bound
#define RETURN_NS 1000.0       // on top of that bound
#define TRAIN_TO_OVERTHROW 64u // a train elsewhere contradicts the clock: accepted if it lasts for a minute
#define PULSES_TO_TRUST 10u
#define TRUST_NS 400.0
#define HINT_TICKS (150 * OPQ_TICK_HZ) // the gateway sends its time once a minute
#define HINT_NS 250e6          // the gateway's time decides which second it is if it is good to a quarter of one

opq_bound_t opq_clock_net_bound(const opq_clock_t *clock, int64_t tick) {
    double age_s = (double)(tick - clock->net_tick) / (double)OPQ_TICK_HZ;
    double sigma_ppb = opq_root(clock->net.p_yy + OPQ_CLOCK_NET_WANDER_PPB2_S * (age_s > 0.0 ? age_s : 0.0));
    double growth_ppb = OPQ_CLOCK_SIGMAS * sigma_ppb;
    // An error common to all syncs (an asymmetric path) does not average out: the gateway's uncertainty counts in full.
    return (opq_bound_t){
        .bound_ns = (double)clock->net_uncertainty_ns + (age_s > 0.0 ? growth_ppb * age_s : 0.0),
        .growth_ppb = growth_ppb,
    };
}

opq_seconds_hint_t opq_clock_hint(const opq_clock_t *clock, int64_t tick) {
    if (clock->net_syncs == 0 || clock->net_source != OPQ_SOURCE_NTP || !clock->gps_running ||
        tick - clock->net_tick > HINT_TICKS ||
        opq_clock_net_bound(clock, tick).bound_ns > HINT_NS) {
        return (opq_seconds_hint_t){0};
    }
    int64_t off_ns = opq_loop_at(&clock->net, tick) - opq_loop_at(&clock->gps, tick) + OPQ_CLOCK_SECOND_NS / 2;
    int64_t whole = off_ns / OPQ_CLOCK_SECOND_NS - (off_ns % OPQ_CLOCK_SECOND_NS < 0);
    return (opq_seconds_hint_t){.known = true, .offset_s = whole};
}

static double magnitude(double value) { return value < 0.0 ? -value : value; }

// The second of the loop's count that a pulse at `t_ns` belongs to, as ns.
static int64_t nearest_second(int64_t t_ns) {
    int64_t up = t_ns + OPQ_CLOCK_SECOND_NS / 2;
    int64_t rest = up % OPQ_CLOCK_SECOND_NS;
    return up - (rest < 0 ? rest + OPQ_CLOCK_SECOND_NS : rest);
}

// Truth minus model at a pulse, if it is a good one.
static int64_t innovation_ns(const opq_clock_t *clock, int64_t tick, int64_t *pulse_t_ns) {
    int64_t model_ns = opq_loop_at(&clock->gps, tick);
    *pulse_t_ns = nearest_second(model_ns - clock->config.pulse_delay_ns) + clock->config.pulse_delay_ns;
    return *pulse_t_ns - model_ns;
}

static void believe(opq_clock_t *clock, int64_t tick, int64_t innovation) {
    int64_t passed = tick - clock->good_tick;
    int64_t seconds = (passed + OPQ_TICK_HZ / 2) / OPQ_TICK_HZ;
    if (clock->gps_pulses > 0 && seconds > 1) {
        clock->status.pulses_missed += (uint32_t)(seconds - 1);
    }
    clock->good_tick = tick;
    clock->gps_pulses++;
    clock->status.pulses++;
    clock->status.pulse_offset_ns = (int32_t)innovation;
}

// The loop begins at a train's last pulse, with the train's mean period as its frequency.
static void begin(opq_clock_t *clock, const opq_train_t *train) {
    int64_t length_ticks = train->last_tick - train->first_tick;
    double nominal_s = (double)length_ticks / (double)OPQ_TICK_HZ;
    double y_ppb = ((double)train->seconds - nominal_s) / nominal_s * 1e9;
    int64_t t_ns = clock->config.pulse_delay_ns;
    if (clock->gps_running) { // go on counting, so that the seconds settled before can be compared
        (void)innovation_ns(clock, train->last_tick, &t_ns);
    }
    opq_loop_start(&clock->gps, train->last_tick, t_ns, 2.0 * OPQ_CLOCK_PULSE_NS, y_ppb,
                   2.0 * OPQ_CLOCK_PULSE_NS / (double)train->seconds + 10.0);
    opq_seconds_reset(&clock->seconds);
    opq_tcxo_break(&clock->tcxo);
    clock->gps_running = true;
    clock->gps_trusted = false;
    clock->holding = false;
    clock->gps_pulses = 0;
    believe(clock, train->last_tick, 0);
    opq_trains_clear(&clock->trains);
}

// Back from holdover: the phase is taken from the pulse, the frequency from holdover.
static void come_back(opq_clock_t *clock, int64_t tick, int64_t pulse_t_ns, int64_t innovation) {
    double sigma_ppb = opq_root(opq_tcxo_variance_ppb(&clock->tcxo, &clock->thermometer));
    opq_loop_start(&clock->gps, tick, pulse_t_ns, 2.0 * OPQ_CLOCK_PULSE_NS, clock->gps.y_ppb, sigma_ppb + 10.0);
    clock->holding = false;
    believe(clock, tick, innovation);
    opq_trains_clear(&clock->trains);
}

void opq_clock_pps(opq_clock_t *clock, int64_t tick) {
    if (!opq_seconds_fix(&clock->seconds)) { // without a fix the pulse of a receiver runs free
        clock->status.pulses_rejected++;
        opq_trains_clear(&clock->trains);
        return;
    }
    if (!clock->gps_running) {
        const opq_train_t *train = opq_trains_push(&clock->trains, tick);
        bool alone = train != NULL && opq_train_alone(train);
        clock->status.pulses_rejected += !alone;
        if (alone && train->run >= TRAIN_TO_BEGIN) {
            begin(clock, train);
        }
        return;
    }
    if (tick <= clock->good_tick) {
        clock->status.pulses_late++;
        return;
    }
    if (tick - clock->good_tick < OPQ_TICK_HZ / 2) { // a double pulse
        clock->status.pulses_rejected++;
        return;
    }
    int64_t pulse_t_ns = 0;
    int64_t innovation = innovation_ns(clock, tick, &pulse_t_ns);
    double off_ns = magnitude((double)innovation);
    if (!clock->holding) {
        double noise2 = OPQ_CLOCK_PULSE_NS * OPQ_CLOCK_PULSE_NS;
        double gate_ns = 6.0 * opq_root(opq_loop_variance(&clock->gps, tick, OPQ_CLOCK_WANDER_PPB2_S) + noise2);
        if (off_ns <= (gate_ns > GATE_NS ? gate_ns : GATE_NS)) {
            opq_loop_advance(&clock->gps, tick, OPQ_CLOCK_PHASE_NS2_S, OPQ_CLOCK_WANDER_PPB2_S);
            opq_loop_correct(&clock->gps, (double)(pulse_t_ns - clock->gps.t_ns) - clock->gps.part_ns, noise2);
            believe(clock, tick, innovation);
            opq_tcxo_locked(&clock->tcxo, &clock->thermometer, &clock->gps);
            opq_clock_trust(clock);
            return;
        }
    }
    const opq_train_t *train = opq_trains_push(&clock->trains, tick);
    if (train == NULL) {
        clock->status.pulses_rejected++;
        return;
    }
    bool lost = tick - clock->good_tick > OPQ_CLOCK_LOST_TICKS;
    double bound_ns = opq_clock_gps_bound(clock, tick).bound_ns + RETURN_NS;
    if (lost && clock->holding && train->run >= TRAIN_TO_RETURN && off_ns <= bound_ns) {
        come_back(clock, tick, pulse_t_ns, innovation);
    } else if (lost && train->run >= TRAIN_TO_OVERTHROW && opq_train_alone(train)) {
        begin(clock, train);
    } else {
        clock->status.pulses_rejected++;
    }
}

void opq_clock_trust(opq_clock_t *clock) {
    if (clock->gps_trusted || !clock->gps_running || clock->holding || clock->gps_pulses < PULSES_TO_TRUST) {
        return;
    }
    if (!clock->seconds.settled && !clock->seconds.any) { // pulses alone: the gateway's time may give their seconds
        opq_seconds_hint_t hint = opq_clock_hint(clock, clock->gps.tick);
        clock->seconds.settled = clock->seconds.confirmed = hint.known;
        clock->seconds.offset_s = hint.offset_s;
    }
    double bound_ns = OPQ_CLOCK_SIGMAS * opq_root(clock->gps.p_xx);
    clock->gps_trusted = clock->seconds.settled && bound_ns < TRUST_NS;
}

void opq_clock_hold(opq_clock_t *clock, int64_t now_tick) {
    if (!clock->gps_running || now_tick - clock->good_tick <= OPQ_CLOCK_LOST_TICKS) {
        return;
    }
    if (!clock->gps_trusted) { // it never became a clock: start again
        if (!clock->seconds.settled || now_tick - clock->good_tick > 20 * OPQ_TICK_HZ) {
            clock->gps_running = false;
            opq_seconds_reset(&clock->seconds);
        }
        return;
    }
    if (!clock->holding) {
        clock->holding = true;
        clock->status.holdovers++;
        opq_loop_advance(&clock->gps, now_tick, OPQ_CLOCK_PHASE_NS2_S, OPQ_CLOCK_WANDER_PPB2_S);
        opq_tcxo_hold(&clock->tcxo, &clock->thermometer, &clock->gps);
    } else {
        opq_loop_advance(&clock->gps, now_tick, 0.0, 0.0); // the oscillator model gives its uncertainty now
    }
    clock->gps.y_ppb = opq_tcxo_held_ppb(&clock->tcxo, &clock->thermometer, now_tick);
}

opq_bound_t opq_clock_gps_bound(const opq_clock_t *clock, int64_t tick) {
    double now_ns2;
    double later_ns2;
    if (clock->holding) {
        double ahead_s = (double)(tick - clock->tcxo.hold_tick) / (double)OPQ_TICK_HZ;
        ahead_s = ahead_s > 0.0 ? ahead_s : 0.0;
        now_ns2 = opq_tcxo_variance(&clock->tcxo, &clock->thermometer, ahead_s);
        later_ns2 = opq_tcxo_variance(&clock->tcxo, &clock->thermometer, ahead_s + 10.0);
    } else {
        double scale = clock->gps.misfit > 1.0 ? clock->gps.misfit : 1.0;
        now_ns2 = scale * opq_loop_variance(&clock->gps, tick, OPQ_CLOCK_WANDER_PPB2_S);
        later_ns2 = scale * opq_loop_variance(&clock->gps, tick + 10 * OPQ_TICK_HZ, OPQ_CLOCK_WANDER_PPB2_S);
    }
    double now_ns = OPQ_CLOCK_SIGMAS * opq_root(now_ns2);
    double later_ns = OPQ_CLOCK_SIGMAS * opq_root(later_ns2);
    return (opq_bound_t){.bound_ns = now_ns + OPQ_CLOCK_FLOOR_NS, .growth_ppb = (later_ns - now_ns) / 10.0};
}
