// The acquisition on the PC with a converter that ctypes drives: conversions go in one by one, as DMA would store them.
#include <string.h>

#include "acquire.h"
#include "decimate.h"
#include "ring.h"

static struct {
    uint16_t *buffer;
    size_t counts, at;
    uint32_t first_tick, raw_ticks, triggers, flags;
    int starts, stops, wakes;
    bool fails;
} fake;

static opq_acquire_status_t fake_start(uint32_t oversampling, uint16_t *buffer, size_t counts, uint32_t *first_tick) {
    fake.buffer = buffer;
    fake.counts = counts;
    fake.at = fake.flags = 0;
    fake.raw_ticks = OPQ_SAMPLE_TICKS / oversampling;
    fake.starts++;
    *first_tick = fake.first_tick;
    return fake.fails ? OPQ_ACQUIRE_NO_CLOCK : OPQ_ACQUIRE_OK;
}
static void fake_stop(void) { fake.stops++; }
static void wake(void) { fake.wakes++; }

static opq_converter_t converter = {.name = "fake", .start = fake_start, .stop = fake_stop};

int host_start(uint32_t oversampling, uint32_t first_tick, int64_t now_tick, int bits, int aperture_ticks, int offset_lsb,
               int delay_ticks, int linear_lsb, int fails) {
    static const uint8_t all[] = {1, 2, 4, 5, 7, 8, 10, 0};
    memcpy(converter.oversamplings, all, sizeof all);
    converter.bits = (uint8_t)bits;
    converter.form = bits == 12 ? (opq_raw_form_t){4, 0x8000, INT16_MIN, 4095 * 16 - 0x8000}
                                : (opq_raw_form_t){0, 0, INT16_MIN, INT16_MAX};
    if (linear_lsb != 0) {
        converter.form.low = (int16_t)-linear_lsb;
        converter.form.high = (int16_t)linear_lsb;
    }
    converter.aperture_ticks = aperture_ticks;
    fake.first_tick = first_tick;
    fake.triggers = 0;
    fake.fails = fails != 0;
    opq_acquire_config_t config = {.offset_lsb = (int16_t)offset_lsb, .delay_ticks = delay_ticks, .wake = wake};
    return opq_acquire_start(&converter, oversampling, now_tick, &config);
}

// Conversions happen; the interrupt does not run yet.
void host_convert(const uint16_t *raw, size_t n) {
    for (size_t k = 0; k < n; k++) {
        fake.buffer[fake.at++] = raw[k];
        fake.triggers++;
        if (fake.at == fake.counts / 2) {
            fake.flags |= 1;
        } else if (fake.at == fake.counts) {
            fake.flags |= 2;
            fake.at = 0;
        }
    }
}

// The interrupt, as in internal_adc.c and external_adc.c. `early_trigger`: the next conversion has begun already.
void host_interrupt(int early_trigger, int off_grid_ticks) {
    uint32_t flags = fake.flags;
    uint32_t newest = fake.first_tick + (fake.triggers - 1 + (uint32_t)early_trigger) * fake.raw_ticks;
    fake.flags = 0;
    for (uint32_t part = 0; part < 2; part++) {
        if (flags >> part & 1u) {
            opq_acquire_on_half(part, newest + (uint32_t)off_grid_ticks);
        }
    }
}

// An error stopped the converter; it begins again `ticks` after the newest trigger.
void host_restart(uint32_t ticks) {
    uint32_t first = fake.first_tick + (fake.triggers - 1) * fake.raw_ticks + ticks;
    fake.at = fake.flags = 0;
    fake.first_tick = first;
    fake.triggers = 0;
    opq_acquire_on_restart(first);
}

int host_wakes(void) { return fake.wakes; }

// A ring of its own, small, for the model test.
enum { SMALL = 800 };
static opq_ring_t ring;
static int16_t small_samples[SMALL];
static uint8_t small_clipped[SMALL / OPQ_BLOCK_SAMPLES];

void host_ring_init(int64_t first_tick) { opq_ring_init(&ring, small_samples, small_clipped, SMALL, first_tick); }
void host_ring_put(const int16_t *samples, uint32_t n, uint64_t clipped) { opq_ring_put(&ring, samples, n, clipped); }
void host_ring_gap(uint32_t missing, int64_t first_tick) { opq_ring_gap(&ring, missing, first_tick); }
int host_ring_next(opq_block_t *block) { return opq_ring_next(&ring, block); }
int host_ring_holds(uint64_t first) { return opq_ring_holds(&ring, first); }
size_t host_ring_read(uint64_t first, size_t n, int16_t *out) { return opq_ring_read(&ring, first, n, out); }
uint64_t host_ring_head(void) { return opq_ring_head(&ring); }
uint64_t host_ring_tail(void) { return opq_ring_tail(&ring); }
uint32_t host_ring_reader_overruns(void) { return ring.reader_overruns; }

// Taps of a filter and its shift, for the tests of its response.
uint32_t host_taps(uint32_t oversampling, int16_t *taps, uint32_t *shift) {
    const opq_filter_t *filter = opq_filter(oversampling);
    if (filter == NULL) {
        return 0;
    }
    *shift = filter->shift;
    for (uint32_t k = 0; k < filter->tap_count; k++) {
        taps[k] = filter->taps == NULL ? 1 : filter->taps[k];
    }
    return filter->tap_count;
}
