#include "acquire.h"

#include <stdatomic.h>

#include "decimate.h"
#include "ring.h"

// If an interrupt is later than this share of a half buffer, the converter is about to overwrite the half: it is lost.
enum { LATE_NUMERATOR = 3, LATE_DENOMINATOR = 4 };

static int16_t ring_samples[OPQ_RING_SAMPLES];
static uint8_t ring_clipped[OPQ_RING_SAMPLES / OPQ_BLOCK_SAMPLES];
static uint16_t conversions[2 * OPQ_HALF_COUNTS]; // written by DMA

static opq_ring_t ring;
static opq_decimator_t decimator;
static opq_acquire_config_t settings;
static const opq_converter_t *running;
static _Atomic bool filled; // the ring can be read, also after a stop

// Used by the interrupt; all of it in RAM, because flash may be busy.
static struct {
    _Atomic bool on;
    uint32_t oversampling, raw_ticks, half_counts;
    int32_t to_first_ticks; // from a run's first trigger to the tick of its first sample
    uint32_t part;          // the half that is expected next
    int64_t half_tick;      // trigger of its first conversion
    uint32_t skip;          // samples of a new run still to leave out
    _Atomic uint32_t changes;
    opq_acquire_counters_t counters;
} state;

opq_acquire_status_t opq_acquire_start(const opq_converter_t *converter, uint32_t oversampling, int64_t now_tick,
                                       const opq_acquire_config_t *config) {
    if (running != NULL) {
        return OPQ_ACQUIRE_BUSY;
    }
    const opq_filter_t *filter = opq_filter(oversampling);
    if (filter == NULL || !opq_converter_allows(converter, oversampling)) {
        return OPQ_ACQUIRE_BAD_OVERSAMPLING;
    }
    settings = *config;
    opq_decimator_init(&decimator, filter, converter->form, settings.offset_lsb);
    state.oversampling = oversampling;
    state.raw_ticks = OPQ_SAMPLE_TICKS / oversampling;
    state.half_counts = OPQ_HALF_SAMPLES * oversampling;
    state.part = 0;
    state.skip = opq_decimator_skipped(&decimator);
    state.to_first_ticks = converter->aperture_ticks - settings.delay_ticks +
                           (int32_t)(opq_decimator_first_middle(&decimator) * state.raw_ticks);
    state.counters = (opq_acquire_counters_t){0};
    uint32_t first = 0;
    opq_acquire_status_t status = converter->start(oversampling, conversions, 2 * state.half_counts, &first);
    if (status != OPQ_ACQUIRE_OK) {
        converter->stop();
        return status;
    }
    state.half_tick = now_tick + (int32_t)(first - (uint32_t)now_tick);
    atomic_store(&filled, false); // PendSV may interrupt here
    opq_ring_init(&ring, ring_samples, ring_clipped, OPQ_RING_SAMPLES, state.half_tick + state.to_first_ticks);
    atomic_store(&filled, true);
    running = converter;
    atomic_store_explicit(&state.on, true, memory_order_release);
    return OPQ_ACQUIRE_OK;
}

void opq_acquire_stop(void) {
    atomic_store_explicit(&state.on, false, memory_order_release);
    if (running != NULL) {
        running->stop();
        running = NULL;
    }
}

const opq_converter_t *opq_acquire_converter(void) { return running; }
uint32_t opq_acquire_oversampling(void) { return running != NULL ? state.oversampling : 0; }

// Interrupt context: integers only, no loop. The expected half begins `lost` sample times later. Samples that the
// run before had yet to skip were never counted as made, so they are not counted as missing either.
OPQ_RAMFUNC static void begin_run(uint32_t lost) {
    uint32_t skip = opq_decimator_skipped(&decimator);
    lost += skip - state.skip;
    state.skip = skip;
    opq_decimator_begin(&decimator);
    state.counters.missing += lost;
    state.counters.overruns++;
    opq_ring_gap(&ring, lost, state.half_tick + state.to_first_ticks);
}

// Interrupt context: integers only; one half buffer, OPQ_HALF_SAMPLES * (oversampling + taps / 2) steps.
OPQ_RAMFUNC static void take_half(void) {
    int16_t samples[OPQ_HALF_SAMPLES];
    uint64_t clipped = opq_decimate(&decimator, conversions + state.part * state.half_counts, samples);
    uint32_t skip = state.skip;
    state.skip = 0;
    clipped >>= skip;
    opq_ring_put(&ring, samples + skip, OPQ_HALF_SAMPLES - skip, clipped);
    state.counters.samples += OPQ_HALF_SAMPLES - skip;
    for (; clipped != 0; clipped &= clipped - 1) {
        state.counters.clipped++;
    }
    state.part ^= 1u;
    state.half_tick += (int64_t)OPQ_HALF_SAMPLES * OPQ_SAMPLE_TICKS;
}

// Interrupt context: integers only, bounded by take_half.
//
// `lag` counts the conversions triggered since the expected half was full; normally it is below a half buffer. If
// it is more, the DMA has begun to overwrite the half that should be read now, and that half is lost.
OPQ_RAMFUNC void opq_acquire_on_half(uint32_t part, uint32_t trigger_tick) {
    if (!atomic_load_explicit(&state.on, memory_order_acquire)) {
        return;
    }
    uint32_t begun = settings.cycles != NULL ? settings.cycles() : 0;
    uint32_t last_tick = (uint32_t)state.half_tick + (state.half_counts - 1) * state.raw_ticks;
    int32_t lag_ticks = (int32_t)(trigger_tick - last_tick);
    uint32_t lag = lag_ticks > 0 ? (uint32_t)lag_ticks / state.raw_ticks : 0;
    if (lag_ticks % (int32_t)state.raw_ticks != 0) {
        state.counters.grid_errors++;
    }
    if (lag_ticks < 0) {
        return; // the flag of a half that is lost already
    }
    uint32_t halves = lag / state.half_counts;
    if (lag - halves * state.half_counts > state.half_counts * LATE_NUMERATOR / LATE_DENOMINATOR) {
        halves++;
    }
    if (halves > 0) {
        state.part ^= halves & 1u;
        state.half_tick += (int64_t)halves * OPQ_HALF_SAMPLES * OPQ_SAMPLE_TICKS;
        begin_run(halves * OPQ_HALF_SAMPLES);
    }
    if (state.part == part && lag >= halves * state.half_counts) {
        take_half();
    } // else that half is not full yet, or the other one is: another interrupt follows
    atomic_fetch_add_explicit(&state.changes, 1, memory_order_release);
    if (settings.spent != NULL && settings.cycles != NULL) {
        settings.spent(settings.cycles() - begun);
    }
    if (settings.wake != NULL) {
        settings.wake();
    }
}

// Interrupt context: integers only, no loop. The index advances by the time that passed, to the nearest sample, and
// never goes back: after a restart within one sample time of the newest one, the next is less than 7000 ticks later.
OPQ_RAMFUNC void opq_acquire_on_restart(uint32_t first_tick) {
    if (!atomic_load_explicit(&state.on, memory_order_acquire)) {
        return;
    }
    int32_t passed = (int32_t)(first_tick - (uint32_t)state.half_tick);
    uint32_t lost = passed > 0 ? ((uint32_t)passed + OPQ_SAMPLE_TICKS / 2) / OPQ_SAMPLE_TICKS : 0;
    state.half_tick += passed;
    state.part = 0;
    begin_run(lost);
    atomic_fetch_add_explicit(&state.changes, 1, memory_order_release);
}

void opq_acquire_counters(opq_acquire_counters_t *out) {
    uint32_t before, after;
    do { // an interrupt comes every 3.3 ms: two rounds at most
        before = atomic_load_explicit(&state.changes, memory_order_acquire);
        *out = state.counters;
        atomic_thread_fence(memory_order_acquire);
        after = atomic_load_explicit(&state.changes, memory_order_relaxed);
    } while (before != after);
    out->reader_overruns = ring.reader_overruns;
}

bool opq_acquire_next(opq_block_t *block) {
    return atomic_load_explicit(&state.on, memory_order_acquire) && opq_ring_next(&ring, block);
}
bool opq_acquire_holds(const opq_block_t *block) { return opq_ring_holds(&ring, block->first_sample); }
size_t opq_acquire_read(uint64_t first, size_t count, int16_t *out) {
    return atomic_load(&filled) ? opq_ring_read(&ring, first, count, out) : 0;
}
uint64_t opq_acquire_head(void) { return atomic_load(&filled) ? opq_ring_head(&ring) : 0; }
uint64_t opq_acquire_tail(void) { return atomic_load(&filled) ? opq_ring_tail(&ring) : 0; }
