#include "pipeline.h"

#include <stdatomic.h>

#include "messages.h"

static opq_pipeline_config_t config;
static opq_pipeline_counters_t counters;

static uint8_t tx_bytes[OPQ_PIPELINE_TX_BYTES], rx_bytes[OPQ_PIPELINE_RX_BYTES];
static uint8_t outbox_bytes[OPQ_PIPELINE_OUTBOX_BYTES], inbox_bytes[OPQ_PIPELINE_INBOX_BYTES];
static opq_queue_t tx, rx, outbox, inbox;

static opq_decoder_t decoder;
static opq_stamps_t stamps;
static opq_resends_t resends;
static uint64_t done_to;   // first sample after the newest block taken
static uint16_t sequence;  // of the next frame; only PendSV numbers
static uint8_t frame[OPQ_LINK_MAX_FRAME];
static uint8_t *const payload = frame;  // a message is written where its frame will be

static opq_features_t features;
static bool features_run, measurements;
static uint32_t features_rate_millihz, features_lost_before;

// Windows for a user's program: PendSV puts, the main thread takes; both count up and wrap.
static opq_stamped_window_t windows[OPQ_PIPELINE_WINDOWS];
static _Atomic uint32_t windows_put, windows_taken, windows_lost;
static _Atomic bool windows_watched;

static _Atomic bool held;

// Values from the main thread for the next run; each is taken once.
static struct {
    _Atomic bool features, limits;
    opq_features_config_t features_config;
    bool features_run, measurements;
    float limit_pu[OPQ_CROSSING_KINDS];
    float hysteresis_pu;
} coming;

opq_queue_t *opq_pipeline_tx(void) { return &tx; }
opq_queue_t *opq_pipeline_rx(void) { return &rx; }

void opq_pipeline_init(const opq_pipeline_config_t *with) {
    config = *with;
    counters = (opq_pipeline_counters_t){0};
    opq_stages_reset();
    opq_queue_init(&tx, tx_bytes, sizeof tx_bytes);
    (void)opq_queue_put_byte(&tx, 0);  // ends a partial frame of a reset or the prompt: the first frame is whole
    opq_queue_init(&rx, rx_bytes, sizeof rx_bytes);
    opq_queue_init(&outbox, outbox_bytes, sizeof outbox_bytes);
    opq_queue_init(&inbox, inbox_bytes, sizeof inbox_bytes);
    opq_decoder_init(&decoder);
    resends = (opq_resends_t){0};
    sequence = 0;
    features_run = measurements = false;
    features.lost = features_lost_before = 0;
    atomic_store(&coming.features, false);
    atomic_store(&coming.limits, false);
    atomic_store(&held, false);
    opq_pipeline_restart();
}

const opq_pipeline_config_t *opq_pipeline_config(void) { return &config; }
uint64_t opq_pipeline_uptime_ms(void) { return (uint64_t)config.now_tick() / (uint64_t)(OPQ_TICK_HZ / 1000); }

void opq_pipeline_restart(void) {
    done_to = 0;
    opq_stamps_clear(&stamps);
    opq_resends_clear(&resends);
}

void opq_pipeline_hold(bool hold) { atomic_store(&held, hold); }

void opq_pipeline_features(const opq_features_config_t *with, bool send_measurements) {
    atomic_store(&coming.features, false);  // PendSV may interrupt here: it takes all or nothing
    coming.features_run = with != NULL;
    if (with != NULL) {
        coming.features_config = *with;
    }
    coming.measurements = send_measurements;
    atomic_store_explicit(&coming.features, true, memory_order_release);
}

void opq_pipeline_limits(const float limit_pu[OPQ_CROSSING_KINDS], float hysteresis_pu) {
    atomic_store(&coming.limits, false);
    for (int kind = 0; kind < OPQ_CROSSING_KINDS; kind++) {
        coming.limit_pu[kind] = limit_pu[kind];
    }
    coming.hysteresis_pu = hysteresis_pu;
    atomic_store_explicit(&coming.limits, true, memory_order_release);
}

void opq_pipeline_watch_windows(bool on) {
    atomic_store(&windows_watched, on);
    if (!on) {
        atomic_store(&windows_taken, atomic_load(&windows_put));
    }
}

bool opq_pipeline_window(opq_stamped_window_t *out) {
    uint32_t taken = atomic_load_explicit(&windows_taken, memory_order_relaxed);
    if (taken == atomic_load_explicit(&windows_put, memory_order_acquire)) {
        return false;
    }
    *out = windows[taken % OPQ_PIPELINE_WINDOWS];
    atomic_store_explicit(&windows_taken, taken + 1, memory_order_release);
    return true;
}

uint32_t opq_pipeline_windows_lost(void) { return atomic_load(&windows_lost); }

static uint32_t spent(opq_stage_t stage, uint32_t since) {
    uint32_t now = config.cycles();
    opq_stages_add(stage, now - since);
    return now;
}

// Interrupt context (PendSV): puts one whole frame into the line's queue, or nothing.
static bool send(uint8_t type, size_t length) {
    size_t bytes = opq_frame_write(frame, sizeof frame, type, sequence, payload, length);
    if (length == 0 || bytes == 0 || !opq_queue_put(&tx, frame, bytes)) {
        counters.tx_dropped_bytes += (uint32_t)bytes;
        return false;
    }
    sequence++;  // only frames that are sent are numbered: a gap in the numbers is a loss on the line
    config.line_ready();
    return true;
}

static bool send_block(const opq_block_stamp_t *stamp, const int16_t *counts, uint8_t more_flags) {
    opq_samples_t samples = {
        .first_sample = stamp->first_sample,
        .t_ns = stamp->t_ns,
        .uncertainty_ns = stamp->uncertainty_ns,
        .source = stamp->source,
        .rate_millihz = stamp->rate_millihz,
        .flags = (uint8_t)(stamp->flags | more_flags),
        .count = stamp->count,
        .counts = counts,
    };
    return send(OPQ_SAMPLES, opq_write_samples(payload, OPQ_LINK_MAX_PAYLOAD, &samples));
}

static void send_crossings(const opq_block_stamp_t *newest) {
    opq_feature_crossing_t found;
    while (opq_features_crossing(&features, &found)) {
        opq_crossing_t crossing = {
            .sample = found.sample,
            .t_ns = newest->t_ns,
            .uncertainty_ns = newest->uncertainty_ns,
            .source = newest->source,
            .kind = found.kind,
            .entering = found.entering,
            .rms_v = found.rms_v,
            .limit_v = found.limit_v,
        };
        opq_block_stamp_t at;
        if (opq_stamps_time(&stamps, found.sample, &at)) {
            crossing.t_ns = at.t_ns;
            crossing.uncertainty_ns = at.uncertainty_ns;
            crossing.source = at.source;
        }
        counters.crossings++;
        (void)send(OPQ_CROSSING, opq_write_crossing(payload, OPQ_LINK_MAX_PAYLOAD, &crossing));
    }
}

static void keep_window(const opq_feature_window_t *window, const opq_block_stamp_t *newest) {
    uint32_t put = atomic_load_explicit(&windows_put, memory_order_relaxed);
    if (put - atomic_load_explicit(&windows_taken, memory_order_acquire) == OPQ_PIPELINE_WINDOWS) {
        atomic_fetch_add_explicit(&windows_lost, 1, memory_order_relaxed);
        return;
    }
    opq_stamped_window_t *place = &windows[put % OPQ_PIPELINE_WINDOWS];
    opq_block_stamp_t at = *newest;
    (void)opq_stamps_time(&stamps, window->first_sample, &at);
    place->window = *window;
    place->t_ns = at.t_ns;
    place->uncertainty_ns = at.uncertainty_ns;
    place->source = at.source;
    atomic_store_explicit(&windows_put, put + 1, memory_order_release);
}

static void send_measurements(const opq_block_stamp_t *newest) {
    opq_feature_window_t window;
    while (opq_features_measurement(&features, &window)) {
        if (atomic_load(&windows_watched)) {
            keep_window(&window, newest);
        }
        if (measurements) {
            opq_box_measurement_t figures = {
                .first_sample = window.first_sample,
                .samples = window.samples,
                .rms_v = window.rms_v,
                .f_hz = window.f_hz,
                .thd = window.thd,
                .trans_v = window.trans_v,
            };
            counters.measurements++;
            (void)send(OPQ_MEASUREMENT, opq_write_measurement(payload, OPQ_LINK_MAX_PAYLOAD, &figures));
        }
    }
}

static void take_what_is_coming(void) {
    if (atomic_load_explicit(&coming.features, memory_order_acquire)) {
        atomic_store(&coming.features, false);
        features_lost_before += features.lost;
        features.lost = 0;
        features_run = coming.features_run && opq_features_init(&features, &coming.features_config) == OPQ_FEATURES_OK;
        measurements = coming.measurements;
        features_rate_millihz = 0;
    }
    if (atomic_load_explicit(&coming.limits, memory_order_acquire)) {
        atomic_store(&coming.limits, false);
        if (features_run) {
            opq_features_limits(&features, coming.limit_pu, coming.hysteresis_pu);
        }
    }
}

static void one_block(const opq_block_t *block, bool silent) {
    uint32_t from = config.cycles();
    opq_stamp_t time;
    opq_clock_stamp(config.clock, block->first_tick, &time);
    opq_block_stamp_t stamp = {
        .first_sample = block->first_sample,
        .t_ns = time.t_ns,
        .uncertainty_ns = time.uncertainty_ns,
        .rate_millihz = time.rate_millihz,
        .count = block->count,
        .source = time.source,
        .flags = (uint8_t)((block->clipped ? OPQ_FLAG_CLIPPED : 0) |
                           (block->overrun_before ? OPQ_FLAG_OVERRUN_BEFORE : 0)),
    };
    opq_stamps_add(&stamps, &stamp);
    counters.blocks++;
    from = spent(OPQ_STAGE_STAMP, from);
    if (silent) {
        return;
    }
    if (!send_block(&stamp, block->counts, 0)) {
        counters.blocks_dropped++;
    }
    from = spent(OPQ_STAGE_FRAME, from);
    if (features_run) {
        if (stamp.rate_millihz != features_rate_millihz) {
            features_rate_millihz = stamp.rate_millihz;
            opq_features_rate(&features, (float)stamp.rate_millihz / 1000.0F);
        }
        opq_features_push(&features, block->counts, block->count, block->first_sample, block->clipped);
        send_crossings(&stamp);
        send_measurements(&stamp);
        (void)spent(OPQ_STAGE_FEATURES, from);
    }
}

static void receive(void) {
    uint32_t from = config.cycles();
    bool any = false;
    for (int bytes = 0; bytes < OPQ_PIPELINE_RX_PER_RUN; bytes++) {
        opq_frame_t got;
        opq_resend_t resend;
        int byte = opq_queue_take_byte(&rx);
        if (byte < 0) {
            break;
        }
        any = true;
        if (!opq_decoder_push(&decoder, (uint8_t)byte, &got)) {
            continue;
        }
        if (got.type == OPQ_RESEND && opq_read_resend(got.payload, got.length, &resend)) {
            opq_resends_ask(&resends, resend.first_sample, resend.count, done_to);
        } else if (got.type == OPQ_COMMAND || got.type == OPQ_UPDATE_DATA) {
            if (!opq_queue_put_record(&inbox, got.type, got.payload, got.length)) {
                counters.inbox_refused++;
            }
        }
    }
    if (any) {
        (void)spent(OPQ_STAGE_RECEIVE, from);
    }
}

static void send_outbox(void) {
    uint8_t type;
    size_t length;
    while (opq_queue_free(&tx) >= OPQ_LINK_MAX_FRAME &&
           opq_queue_take_record(&outbox, &type, payload, OPQ_LINK_MAX_PAYLOAD, &length)) {
        (void)send(type, length);
    }
}

static void resend(void) {
    uint32_t from = config.cycles();
    bool any = false;
    while (opq_queue_waiting(&tx) < OPQ_PIPELINE_LOW_WATER) {
        opq_block_stamp_t stamp;
        int16_t counts[OPQ_BLOCK_SAMPLES];
        if (!opq_resends_next(&resends, &stamps, &stamp)) {
            break;
        }
        any = true;
        if (opq_acquire_read(stamp.first_sample, stamp.count, counts) != stamp.count) {
            resends.gone++;
        } else if (send_block(&stamp, counts, OPQ_FLAG_RESENT)) {
            counters.resent_blocks++;
        }
    }
    if (any) {
        (void)spent(OPQ_STAGE_RESEND, from);
    }
}

// After a stall (an erase takes up to 2 s) blocks wait in the ring while the line has no room for one. When the
// ring itself gets full they are not sent, and counted; the gateway may still request them.
static bool may_go_on(void) {
    return opq_queue_free(&tx) >= OPQ_PIPELINE_BLOCK_ROOM ||
           opq_acquire_head() - done_to > (uint64_t)OPQ_RING_SAMPLES * 3U / 4U;
}

// Interrupt context (PendSV): bounded by OPQ_PIPELINE_RX_PER_RUN bytes, OPQ_PIPELINE_BLOCKS_PER_RUN blocks and
// the room of the line's queue; single-precision floats in the features only.
void opq_pipeline_run(void) {
    uint32_t from = config.cycles();
    bool silent = atomic_load(&held);
    opq_block_t block;
    take_what_is_coming();
    if (!silent) {
        receive();
    }
    int blocks = 0;
    while (blocks < OPQ_PIPELINE_BLOCKS_PER_RUN && (silent || may_go_on()) && opq_acquire_next(&block)) {
        one_block(&block, silent);
        done_to = block.first_sample + block.count;
        blocks++;
    }
    if (!silent) {
        send_outbox();
        resend();
    }
    if (blocks == OPQ_PIPELINE_BLOCKS_PER_RUN || (!silent && opq_queue_waiting(&rx) > 0)) {
        config.wake();
    }
    counters.link = decoder.counters;
    counters.features_lost = features_lost_before + features.lost;
    counters.resend_gone = resends.gone;
    counters.resend_refused = resends.refused;
    (void)spent(OPQ_STAGE_TOTAL, from);
}

bool opq_pipeline_wants_line(void) {
    return (resends.spans > 0 || opq_queue_waiting(&outbox) > 0) && !atomic_load(&held) &&
           opq_queue_waiting(&tx) < OPQ_PIPELINE_LOW_WATER;
}

bool opq_pipeline_post(uint8_t type, const uint8_t *data, size_t length) {
    if (length > OPQ_LINK_MAX_PAYLOAD || !opq_queue_put_record(&outbox, type, data, length)) {
        return false;
    }
    config.wake();
    return true;
}

bool opq_pipeline_receive(uint8_t *type, uint8_t *data, size_t room, size_t *length) {
    return opq_queue_free(&outbox) >= OPQ_PIPELINE_ANSWER_ROOM &&
           opq_queue_take_record(&inbox, type, data, room, length);
}

bool opq_pipeline_coming(size_t *length) { return opq_queue_record_waits(&inbox, length); }

bool opq_pipeline_is_idle(void) { return opq_queue_waiting(&outbox) == 0 && opq_queue_waiting(&tx) == 0; }

void opq_pipeline_counters(opq_pipeline_counters_t *out) {
    uint32_t runs;
    do {  // again if a run came between
        runs = opq_stages_calls(OPQ_STAGE_TOTAL);
        *out = counters;
        atomic_thread_fence(memory_order_acquire);
    } while (opq_stages_calls(OPQ_STAGE_TOTAL) != runs);
    out->tx_dropped_bytes += atomic_load(&outbox.refused_bytes);
}
