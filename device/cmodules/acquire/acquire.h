// Acquisition: converter counts become samples, each with its running index and its exact tick.
//
//     TIM3 --> converter --DMA--> half buffer --interrupt--> [decimate] --> ring --PendSV--> blocks
//      +--TRGO--> TIM5 CH2: the tick of every conversion's start, in hardware
//
// Tick of a sample. Conversions of a run start `7000 / oversampling` ticks of 84 MHz apart, the first at
// the captured tick T. Sample k of the run is the filter's output whose middle tap lies on conversion
//     c(k) = (k + skipped + 1) * oversampling - 1 - (taps - 1) / 2
// and its tick is T + aperture + c(k) * (7000 / oversampling) - delay. `skipped` outputs at the start
// are left out, because their taps reach before the first conversion. The tap count is odd, so this is a whole
// number of ticks: nothing is rounded. `aperture` (the converter's) is the time from its trigger to
// where it holds the input; `delay` (a setting) is the analogue front end's.
//
// Missing samples advance the index. A run ends where the even grid of 7000 ticks is broken; the
// next run has its own first tick, and no block has samples of two runs.
#ifndef OPQ_ACQUIRE_H
#define OPQ_ACQUIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ramfunc.h"

enum {
    OPQ_SAMPLE_TICKS = 7000,      // 84 MHz / 12 kS/s
    OPQ_BLOCK_SAMPLES = 200,      // one cycle at 60 Hz
    OPQ_HALF_SAMPLES = 40,        // samples made per interrupt, every 3.33 ms
    OPQ_MAX_OVERSAMPLING = 10,
    OPQ_HALF_COUNTS = OPQ_HALF_SAMPLES * OPQ_MAX_OVERSAMPLING,
};

#ifndef OPQ_RING_SAMPLES
#define OPQ_RING_SAMPLES 38400 // 3.2 s; a multiple of OPQ_BLOCK_SAMPLES. A board may state more (board.toml, memory)
#endif

typedef enum {
    OPQ_ACQUIRE_OK,
    OPQ_ACQUIRE_BAD_OVERSAMPLING, // not one of the converter's
    OPQ_ACQUIRE_BUSY,             // it runs already
    OPQ_ACQUIRE_NO_CLOCK,         // the timer's first trigger was not captured within its time
    OPQ_ACQUIRE_NO_DEVICE,        // a register does not read back as written, or this board has no such converter
} opq_acquire_status_t;

// How raw counts of a converter become int16: (raw << shift) ^ flip. From `low` down and from `high` up, where the converter
// or a stage before it leaves its linear range, a conversion is clipped.
typedef struct {
    uint8_t shift;
    uint16_t flip;
    int16_t low, high;
} opq_raw_form_t;

typedef struct opq_converter {
    const char *name;                  // as in settings: "internal", "external"
    const char *part;                  // the part whose datasheet applies
    uint8_t bits;                      // of the hardware
    bool class_a;                      // whether class A is claimed (IEC 61000-4-30)
    float enob;                        // of one conversion, from its datasheet
    float front_end_lsb;               // noise before the converter, counts rms in 0 to 3 kHz (front_end.h)
    float v_per_lsb;                   // of a sample, with the front end of the board (front_end.h)
    opq_raw_form_t form;
    int32_t aperture_ticks;            // trigger to hold
    uint8_t oversamplings[8];          // rising, ends with 0
    uint8_t oversampling_default;
    // Task context. `start` fills `*first_tick` with TIM5's capture of the first trigger.
    opq_acquire_status_t (*start)(uint32_t oversampling, uint16_t *buffer, size_t counts, uint32_t *first_tick);
    void (*stop)(void);
} opq_converter_t;

// The two converters of this firmware.
extern const opq_converter_t opq_internal_adc, opq_external_adc;
const opq_converter_t *opq_converter(const char *name); // NULL: unknown name

bool opq_converter_allows(const opq_converter_t *converter, uint32_t oversampling);
// Estimate for a sample, front end included: the largest sine in the linear range against the noise in 0 to 3 kHz.
float opq_effective_bits(const opq_converter_t *converter, uint32_t oversampling);

typedef struct {
    int16_t offset_lsb;       // subtracted from each sample, saturating
    int32_t delay_ticks;      // of the analogue front end (calibration "phase")
    // Interrupt context, in RAM (OPQ_RAMFUNC); each may be NULL.
    void (*wake)(void);                // a block may be complete: pend PendSV
    uint32_t (*cycles)(void);          // DWT CYCCNT
    void (*spent)(uint32_t cycles);    // of one half buffer: stage "decimate"
} opq_acquire_config_t;

typedef struct {
    uint64_t samples;         // made, without the missing ones
    uint64_t missing;         // indices left out: conversions were lost, or an interrupt was too late
    uint64_t clipped;         // samples whose filter saw a clipped conversion, or that saturated
    uint32_t overruns;        // times that samples went missing
    uint32_t reader_overruns; // times that the reader was too late: its samples were overwritten
    uint32_t grid_errors;     // captured triggers off the grid of 7000 / oversampling ticks
} opq_acquire_counters_t;

typedef struct {
    uint64_t first_sample;
    int64_t first_tick;       // 64-bit TIM5 ticks, aperture, filter and front end taken into account
    uint16_t count;           // 200, fewer only at a gap; first_sample + count is a multiple of 200 or a gap starts
    bool clipped;
    bool overrun_before;      // samples are missing right before it
    const int16_t *counts;    // in the ring: valid for nearly OPQ_RING_SAMPLES more samples, see opq_acquire_holds
} opq_block_t;

// Task context. Index, ring and counters start from 0. `now_tick`: 64-bit TIM5 time, less than 20 s off.
opq_acquire_status_t opq_acquire_start(const opq_converter_t *converter, uint32_t oversampling, int64_t now_tick,
                                       const opq_acquire_config_t *config);
void opq_acquire_stop(void);
const opq_converter_t *opq_acquire_converter(void); // NULL: stopped
uint32_t opq_acquire_oversampling(void);
// Task or PendSV context; a snapshot.
void opq_acquire_counters(opq_acquire_counters_t *out);

// Context of the only reader (PendSV).
bool opq_acquire_next(opq_block_t *block);
// Task or PendSV context, all below.
// False: the block was overwritten while it was used; what was read of it is invalid.
bool opq_acquire_holds(const opq_block_t *block);
// Copies samples from `first` on, up to `count`, the first gap or the newest sample; returns 0 if the ring does not
// have `first`. The returned samples were not overwritten while they were copied.
size_t opq_acquire_read(uint64_t first, size_t count, int16_t *out);
// The next index to be made, and the oldest in the ring.
uint64_t opq_acquire_head(void);
uint64_t opq_acquire_tail(void);

// Interrupt context, called by the converters' drivers. `part`: 0 the lower, 1 the upper half is full;
// `trigger_tick`: TIM5's capture of the newest trigger.
void opq_acquire_on_half(uint32_t part, uint32_t trigger_tick);
// The converter was stopped by an error and runs again from the start of the buffer; `first_tick` as in start.
void opq_acquire_on_restart(uint32_t first_tick);

#endif
