#include "clock.h"

#include "discipline.h"

#define NET_SIGMA_PPB 50000.0 // 50 ppm before anything is known
#define NET_REFUSED 3u        // contradicting syncs in a row after which the gateway's clock counts as set again
#define RESTART_NS INT64_C(500000000)

void opq_clock_config_default(opq_clock_config_t *config, bool tcxo) {
    *config = (opq_clock_config_t){
        .sample_ticks = 7000,
        .leap_seconds = 18,                              // IERS Bulletin C 71: GPS - UTC since 2017-01-01
        .tcxo_sigma_ppb_per_k = tcxo ? 100.0f : 1000.0f, // a crystal: 30 ppm over 30 K
        .sensor_lag_s = 60.0f,
    };
}

void opq_clock_init(opq_clock_t *clock, const opq_clock_config_t *config, int64_t now_tick) {
    *clock = (opq_clock_t){.config = *config, .start_tick = now_tick};
    opq_seconds_start(&clock->seconds);
    opq_clock_configure(clock, config);
    opq_thermometer_start(&clock->thermometer, (double)config->sensor_lag_s);
    opq_tcxo_start(&clock->tcxo, -(double)config->tcxo_ppb_per_k, (double)config->tcxo_sigma_ppb_per_k);
    opq_piece_t free = {
        .tick = now_tick,
        .uncertainty_ns = (int64_t)OPQ_UNCERTAINTY_UNKNOWN,
        .rate_millihz = (uint32_t)((OPQ_TICK_HZ * 1000 + config->sample_ticks / 2) / config->sample_ticks),
        .source = OPQ_SOURCE_FREE,
    };
    opq_timeline_publish(&clock->timeline, &free);
    clock->published_tick = now_tick;
    clock->status.rate_millihz = free.rate_millihz;
    clock->status.uncertainty_ns = OPQ_UNCERTAINTY_UNKNOWN;
    clock->status.temperature_mk = INT32_MIN;
}

void opq_clock_configure(opq_clock_t *clock, const opq_clock_config_t *config) {
    // A change of the delay while locked moves the pulses by less than the gate, or they become a new train.
    clock->config = *config;
    clock->thermometer.lag_s = (double)config->sensor_lag_s;
    if (!clock->leap_received) {
        clock->status.leap_seconds = config->leap_seconds;
    }
}

void opq_clock_label(opq_clock_t *clock, const opq_label_t *received) {
    opq_label_t label = *received;
    label.utc_s += clock->config.label_offset_s;
    opq_clock_pass_leap(clock, label.arrival_tick);
    clock->status.labels += label.valid;
    opq_seconds_note_fix(&clock->seconds, &label);
    if (!clock->gps_running) { // there are no seconds to name yet
        return;
    }
    opq_seconds_hint_t hint = opq_clock_hint(clock, label.arrival_tick);
    int64_t model_ns = opq_loop_at(&clock->gps, label.arrival_tick) - clock->config.pulse_delay_ns;
    int64_t bias_s = clock->seconds.bias_s;
    int64_t disputed_s = clock->seconds.disputed_s;
    int64_t offset_s = clock->seconds.offset_s;
    opq_seconds_result_t result = opq_seconds_label(&clock->seconds, &label, model_ns, hint);
    clock->status.labels_wrong += result == OPQ_SECONDS_AGAINST;
    clock->status.label_conflicts +=
        clock->seconds.bias_s != bias_s || (clock->seconds.disputed_s != 0 && clock->seconds.disputed_s != disputed_s);
    if (result == OPQ_SECONDS_SETTLED) {
        int64_t inserted = offset_s - clock->seconds.offset_s;
        if (clock->gps_trusted && (inserted == 1 || inserted == -1) && opq_seconds_near_leap(label.utc_s, OPQ_NEAR_LEAP_S)) {
            clock->status.leap_seconds = (int8_t)(clock->status.leap_seconds + inserted);
        }
        opq_clock_trust(clock);
    }
}

void opq_clock_leap(opq_clock_t *clock, int64_t utc_s, int8_t change, int8_t leap_seconds) {
    clock->status.leap_seconds = leap_seconds;
    clock->leap_received = true;
    if (change == OPQ_LEAP_UNKNOWN) {
        return;
    }
    // A receiver goes on announcing a leap second while it happens.
    clock->seconds.leap_utc_s = change == 0 || utc_s == clock->seconds.leap_done_s ? 0 : utc_s;
    clock->seconds.leap_change = change;
    clock->seconds.leap_reported = true;
}

void opq_clock_temperature(opq_clock_t *clock, int64_t tick, float celsius) {
    if (opq_thermometer_push(&clock->thermometer, tick, (double)celsius)) {
        opq_tcxo_reading(&clock->tcxo, (double)celsius);
    }
}

void opq_clock_sync(opq_clock_t *clock, int64_t tick, int64_t t_ns, uint32_t uncertainty_ns, uint8_t source) {
    double half_ns = (double)uncertainty_ns / 2.0 + 1000.0; // the value is a bound; it is used as two sigma
    if (clock->net_syncs > 0 && tick <= clock->net_tick) {
        return;
    }
    if (clock->net_syncs > 0) {
        int64_t off_ns = t_ns - opq_loop_at(&clock->net, tick);
        double limit_ns = 2.0 * (opq_clock_net_bound(clock, tick).bound_ns + (double)uncertainty_ns);
        bool odd = off_ns > RESTART_NS * 4 || off_ns < -RESTART_NS * 4 || (double)off_ns > limit_ns ||
                   (double)off_ns < -limit_ns;
        if (odd && ++clock->net_refused < NET_REFUSED) {
            return;
        }
        if (odd) {
            clock->net_syncs = 0;
        }
    }
    clock->net_refused = 0;
    if (clock->net_syncs == 0) {
        double y_ppb = clock->gps_running ? clock->gps.y_ppb : 0.0;
        opq_loop_start(&clock->net, tick, t_ns, half_ns, y_ppb, clock->gps_running ? 100.0 : NET_SIGMA_PPB);
    } else {
        opq_loop_advance(&clock->net, tick, OPQ_CLOCK_PHASE_NS2_S, OPQ_CLOCK_NET_WANDER_PPB2_S);
        opq_loop_correct(&clock->net, (double)(t_ns - clock->net.t_ns) - clock->net.part_ns, half_ns * half_ns);
    }
    clock->net_syncs++;
    clock->net_tick = tick;
    clock->net_uncertainty_ns = uncertainty_ns;
    clock->net_source = source == OPQ_SOURCE_NTP ? OPQ_SOURCE_NTP : OPQ_SOURCE_FREE;
}

static uint8_t state(const opq_clock_t *clock, int64_t now_tick) {
    if (clock->gps_trusted) {
        return clock->holding ? OPQ_CLOCK_HOLDOVER : OPQ_CLOCK_LOCKED;
    }
    for (unsigned i = 0; i < OPQ_TRAINS; i++) {
        const opq_train_t *train = &clock->trains.trains[i];
        if (train->run > 1 && now_tick - train->last_tick < OPQ_CLOCK_LOST_TICKS) {
            return OPQ_CLOCK_ACQUIRING;
        }
    }
    return clock->gps_running ? OPQ_CLOCK_ACQUIRING : OPQ_CLOCK_FREE;
}

void opq_clock_tick(opq_clock_t *clock, int64_t now_tick) {
    opq_clock_pass_leap(clock, now_tick);
    opq_clock_hold(clock, now_tick);
    opq_clock_publish(clock, now_tick);
    opq_stamp_t stamp;
    opq_timeline_stamp(&clock->timeline, now_tick, &stamp);
    opq_clock_status_t *status = &clock->status;
    status->state = state(clock, now_tick);
    status->source = stamp.source;
    status->t_ns = stamp.t_ns;
    status->uncertainty_ns = stamp.uncertainty_ns;
    status->rate_millihz = stamp.rate_millihz;
    status->labelled = clock->seconds.settled;
    status->label = clock->seconds.voted > 0 ? (uint8_t)(1u + clock->seconds.kind) : 0;
    status->learnt = opq_tcxo_learnt(&clock->tcxo);
    status->frequency_ppb = (int32_t)-(clock->gps_running ? clock->gps.y_ppb : clock->net.y_ppb);
    status->coefficient_pptk = (int32_t)(-1000.0 * clock->tcxo.coefficient_ppb_k);
    status->coefficient_sigma_pptk = (int32_t)(1000.0 * opq_root(clock->tcxo.coefficient_variance));
    if (clock->thermometer.readings > 0) {
        status->temperature_mk = (int32_t)(1000.0 * opq_thermometer_crystal_c(&clock->thermometer, now_tick));
    }
}

void opq_clock_status(const opq_clock_t *clock, opq_clock_status_t *out) { *out = clock->status; }

void opq_clock_stamp(const opq_clock_t *clock, int64_t tick, opq_stamp_t *out) {
    opq_timeline_stamp(&clock->timeline, tick, out);
}
