// The data path on the PC: a converter that the test feeds, real acquisition, clock, features and link behind it.
// PendSV runs when it was pended, as on the chip; the line is drained as fast as the test says.
#include <string.h>

#include "acquire.h"
#include "clock.h"
#include "messages.h"
#include "pipeline.h"

enum { HALF = OPQ_HALF_SAMPLES, FIRST_TICK = 1000000, WARM_S = 5 };

static uint16_t *conversions;
static uint32_t part, cycle;
static int64_t tick;
static bool pended;
static opq_clock_t clock_;

static uint32_t cycles(void) { return cycle += 100; }
static int64_t now_tick(void) { return tick; }
static void wake(void) { pended = true; }
static void line_ready(void) {}

static opq_acquire_status_t start(uint32_t oversampling, uint16_t *buffer, size_t counts, uint32_t *first_tick) {
    (void)oversampling;
    (void)counts;
    conversions = buffer;
    part = 0;
    *first_tick = (uint32_t)tick;
    return OPQ_ACQUIRE_OK;
}
static void stop(void) {}

static const opq_converter_t converter = {
    .name = "test",
    .bits = 16,
    .enob = 15.0F,
    .v_per_lsb = 0.01F,
    .form = {.shift = 0, .flip = 0, .low = INT16_MIN, .high = INT16_MAX},
    .oversamplings = {1, 0},
    .oversampling_default = 1,
    .start = start,
    .stop = stop,
};
const opq_converter_t opq_internal_adc = {.name = "internal"}, opq_external_adc = {.name = "external"};

uint16_t world_cpu_permille(void);
uint16_t world_cpu_permille(void) { return opq_stages_cpu_permille(cycles()); }

void world_begin(int64_t utc_ns, float dip_pu);
void world_begin(int64_t utc_ns, float dip_pu) {
    const opq_pipeline_config_t config = {
        .clock = &clock_, .cycles = cycles, .now_tick = now_tick, .line_ready = line_ready, .wake = wake};
    const opq_acquire_config_t acquire = {.wake = wake, .cycles = cycles, .spent = opq_stages_decimated};
    const opq_features_config_t features = {
        .rate_hz = 12000.0F, .nominal_hz = 60.0F, .nominal_v = 120.0F, .v_per_lsb = 0.01F,
        .limit_pu = {dip_pu, 1.1F, 0.1F}, .hysteresis_pu = 0.02F};
    opq_clock_config_t clock_config;
    tick = FIRST_TICK;
    cycle = 0;
    opq_clock_config_default(&clock_config, true);
    opq_clock_init(&clock_, &clock_config, 0);
    for (int64_t second = 0; second < WARM_S; second++) {  // a message takes effect from the next second on
        if (second == 0) {
            opq_clock_sync(&clock_, tick, utc_ns - WARM_S * INT64_C(1000000000), 1000000, OPQ_SOURCE_NTP);
        }
        opq_clock_tick(&clock_, tick);
        tick += OPQ_TICK_HZ;
    }
    opq_pipeline_init(&config);
    opq_pipeline_features(&features, true);
    opq_acquire_stop();
    (void)opq_acquire_start(&converter, 1, tick, &acquire);
}

static void run(void) {
    for (int runs = 0; pended && runs < 100; runs++) {
        pended = false;
        opq_pipeline_run();
    }
}

// One half buffer of samples has been converted, while PendSV cannot run.
void world_half_only(const int16_t *samples);
void world_half_only(const int16_t *samples) {
    memcpy(conversions + part * HALF, samples, HALF * sizeof *samples);
    tick += HALF * OPQ_SAMPLE_TICKS;
    opq_acquire_on_half(part, (uint32_t)(tick - OPQ_SAMPLE_TICKS));
    part ^= 1U;
}

void world_half(const int16_t *samples);
void world_half(const int16_t *samples) {
    world_half_only(samples);
    run();
}

// So many samples went by without the processor seeing them.
void world_lose(uint32_t samples);
void world_lose(uint32_t samples) { tick += (int64_t)samples * OPQ_SAMPLE_TICKS; }

void world_clock(int64_t t_ns);
void world_clock(int64_t t_ns) {
    if (t_ns != 0) {
        opq_clock_sync(&clock_, tick, t_ns, 1000000, OPQ_SOURCE_NTP);
    }
    opq_clock_tick(&clock_, tick);
}

void world_receive(const uint8_t *bytes, size_t length);
void world_receive(const uint8_t *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) {
        (void)opq_queue_put_byte(opq_pipeline_rx(), bytes[i]);
        pended = pended || bytes[i] == 0;
    }
    run();
}

size_t world_drain(uint8_t *out, size_t room);
size_t world_drain(uint8_t *out, size_t room) {
    size_t taken = opq_queue_take(opq_pipeline_tx(), out, room);
    pended = pended || opq_pipeline_wants_line();
    run();
    return taken;
}

size_t world_waiting(void);
size_t world_waiting(void) { return opq_queue_waiting(opq_pipeline_tx()); }
