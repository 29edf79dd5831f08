#include "ring.h"

void opq_ring_init(opq_ring_t *ring, int16_t *samples, uint8_t *clipped, uint32_t capacity, int64_t first_tick) {
    *ring = (opq_ring_t){.samples = samples, .clipped = clipped, .capacity = capacity};
    ring->runs[0] = (opq_run_t){0, 0, first_tick};
    ring->clipped[0] = 0;
    atomic_store_explicit(&ring->head[1], 0, memory_order_relaxed);
    atomic_store_explicit(&ring->head[0], 0, memory_order_relaxed);
    atomic_store_explicit(&ring->run_count, 1, memory_order_release);
}

OPQ_RAMINLINE void publish(opq_ring_t *ring) {
    atomic_store_explicit(&ring->head[1], (uint32_t)(ring->end >> 32), memory_order_release);
    atomic_store_explicit(&ring->head[0], (uint32_t)ring->end, memory_order_release);
}

// Interrupt context: integers only, at most OPQ_HALF_SAMPLES steps.
OPQ_RAMFUNC void opq_ring_put(opq_ring_t *ring, const int16_t *samples, uint32_t count, uint64_t clipped) {
    volatile int16_t *to = ring->samples; // volatile: no call of memcpy, which is in flash
    for (uint32_t k = 0; k < count; k++) {
        to[ring->slot] = samples[k];
        if ((uint32_t)(clipped >> k) & 1u) {
            ring->clipped[ring->block] = 1;
        }
        if (++ring->slot == ring->capacity) {
            ring->slot = 0;
        }
        if (++ring->in_block == OPQ_BLOCK_SAMPLES) {
            ring->in_block = 0;
            ring->block = ring->slot / OPQ_BLOCK_SAMPLES;
            ring->clipped[ring->block] = 0;
        }
    }
    ring->end += count;
    publish(ring);
}

// Interrupt context: integers only, no loop.
OPQ_RAMFUNC void opq_ring_gap(opq_ring_t *ring, uint32_t missing, int64_t first_tick) {
    uint32_t number = atomic_load_explicit(&ring->run_count, memory_order_relaxed);
    opq_run_t *run = &ring->runs[number % OPQ_RUNS];
    run->before = ring->end;
    run->first = ring->end + missing;
    run->first_tick = first_tick;
    bool same_block = missing < OPQ_BLOCK_SAMPLES - ring->in_block;
    ring->end += missing;
    ring->slot = (ring->slot + missing % ring->capacity) % ring->capacity;
    ring->block = ring->slot / OPQ_BLOCK_SAMPLES;
    ring->in_block = ring->slot % OPQ_BLOCK_SAMPLES;
    if (!same_block) {
        ring->clipped[ring->block] = 0;
    }
    atomic_store_explicit(&ring->run_count, number + 1, memory_order_release);
    publish(ring);
}

uint64_t opq_ring_head(const opq_ring_t *ring) {
    uint32_t low, high, again;
    do { // the upper word changes every 99 hours: two rounds at most
        high = atomic_load_explicit(&ring->head[1], memory_order_acquire);
        low = atomic_load_explicit(&ring->head[0], memory_order_acquire);
        again = atomic_load_explicit(&ring->head[1], memory_order_acquire);
    } while (high != again);
    return (uint64_t)high << 32 | low;
}

// First index that the writer cannot be overwriting while it makes its next OPQ_HALF_SAMPLES.
static uint64_t oldest(const opq_ring_t *ring, uint64_t head) {
    uint32_t kept = ring->capacity - OPQ_HALF_SAMPLES;
    return head > kept ? head - kept : 0;
}

bool opq_ring_holds(const opq_ring_t *ring, uint64_t first) {
    return first >= oldest(ring, opq_ring_head(ring));
}

// Start and end of a run, read at one moment. False: the writer has reused its place.
static bool run_at(const opq_ring_t *ring, uint32_t number, uint64_t head, opq_run_t *run, uint64_t *end, bool *closed) {
    uint32_t count = atomic_load_explicit(&ring->run_count, memory_order_acquire);
    *run = ring->runs[number % OPQ_RUNS];
    *closed = number + 1 != count;
    *end = *closed ? ring->runs[(number + 1) % OPQ_RUNS].before : head;
    atomic_thread_fence(memory_order_acquire);
    count = atomic_load_explicit(&ring->run_count, memory_order_relaxed);
    return count - number < OPQ_RUNS; // the next gap goes into the place of run `count - OPQ_RUNS`
}

static void skip_to(opq_ring_t *ring, uint64_t index) {
    ring->next = index;
    ring->overrun = true;
}

bool opq_ring_next(opq_ring_t *ring, opq_block_t *block) {
    for (uint32_t tries = 0; tries < 3 * OPQ_RUNS; tries++) {
        uint64_t head = opq_ring_head(ring), end;
        opq_run_t run;
        bool closed;
        if (!run_at(ring, ring->run, head, &run, &end, &closed)) {
            uint32_t count = atomic_load_explicit(&ring->run_count, memory_order_acquire);
            ring->run = count - OPQ_RUNS / 2; // all before is left out
            ring->reader_overruns++;
            ring->overrun = true;
            continue;
        }
        if (ring->next < run.first) {
            skip_to(ring, run.first);
        }
        uint64_t safe = oldest(ring, head + 2 * OPQ_BLOCK_SAMPLES); // two block times to use the block
        if (ring->next < safe && ring->next < end) {
            ring->reader_overruns++;
            uint64_t up = (safe + OPQ_BLOCK_SAMPLES - 1) / OPQ_BLOCK_SAMPLES * OPQ_BLOCK_SAMPLES;
            skip_to(ring, up < end ? up : end);
        }
        uint64_t whole = (ring->next / OPQ_BLOCK_SAMPLES + 1) * OPQ_BLOCK_SAMPLES;
        uint64_t stop = end < whole ? end : whole;
        if (stop > ring->next && (stop == whole || closed)) {
            uint32_t slot = (uint32_t)(ring->next % ring->capacity);
            *block = (opq_block_t){
                .first_sample = ring->next,
                .first_tick = run.first_tick + (int64_t)(ring->next - run.first) * OPQ_SAMPLE_TICKS,
                .count = (uint16_t)(stop - ring->next),
                .clipped = ring->clipped[slot / OPQ_BLOCK_SAMPLES] != 0,
                .overrun_before = ring->overrun,
                .counts = ring->samples + slot,
            };
            ring->next = stop;
            ring->overrun = false;
            return true;
        }
        if (!closed) {
            return false;
        }
        ring->run++;
        ring->overrun = true;
    }
    return false;
}

size_t opq_ring_read(const opq_ring_t *ring, uint64_t first, size_t count, int16_t *out) {
    uint64_t head = opq_ring_head(ring), end = 0;
    uint32_t newest = atomic_load_explicit(&ring->run_count, memory_order_acquire) - 1;
    bool found = false;
    for (uint32_t back = 0; back < OPQ_RUNS - 1 && back <= newest && !found; back++) {
        opq_run_t run;
        bool closed;
        found = run_at(ring, newest - back, head, &run, &end, &closed) && run.first <= first && first < end;
    }
    if (!found || first < oldest(ring, head)) {
        return 0;
    }
    size_t there = (size_t)(end - first) < count ? (size_t)(end - first) : count;
    uint32_t slot = (uint32_t)(first % ring->capacity);
    for (size_t k = 0; k < there; k++) {
        out[k] = ring->samples[slot];
        slot = slot + 1 == ring->capacity ? 0 : slot + 1;
    }
    atomic_thread_fence(memory_order_acquire);
    return opq_ring_holds(ring, first) ? there : 0;
}

uint64_t opq_ring_tail(const opq_ring_t *ring) {
    uint64_t head = opq_ring_head(ring), end;
    uint64_t tail = oldest(ring, head);
    uint32_t count = atomic_load_explicit(&ring->run_count, memory_order_acquire);
    uint32_t kept = count < OPQ_RUNS ? count : OPQ_RUNS - 1;
    opq_run_t run;
    bool closed;
    if (kept == count || !run_at(ring, count - kept, head, &run, &end, &closed)) {
        return tail;
    }
    return tail > run.first ? tail : run.first;
}
