// Ticks: TIM5's 32 bits as 64, and the queue that takes captured pulses from the interrupt to the main thread.
// TIM5 counts 84 MHz and wraps each 51.1 s. Nothing here waits or locks; any context may call it.
#ifndef OPQ_TICKS_H
#define OPQ_TICKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define OPQ_TICK_HZ                                                                                                    \
    INT64_C(84000000) // TIM5's clock: APB1 timers, RM0090 figure 21, with HSE and PLL at their nominal frequency

// Number of half ranges that the counter has passed. Its lowest bit is the highest bit of the last counter value.
typedef struct {
    atomic_uint_least32_t halves;
} opq_ticks_t;

// 64-bit time of a counter value just read. `counter` must be read AFTER this function was entered or by the same
// context without a wait of 25 s between; it must be called at least every 25 s (the DMA interrupt does, every 8 ms).
// The interrupt that sees the half change first stores it; a slower reader with the old half computes the same.
static inline int64_t opq_ticks_extend(opq_ticks_t *ticks, const volatile uint32_t *counter) {
    uint_least32_t halves = atomic_load_explicit(&ticks->halves, memory_order_acquire); // first, then the counter
    uint32_t low = *counter;
    if ((halves ^ (low >> 31)) & 1u) {
        uint_least32_t next = halves + 1u;
        // Only forward: an interrupted reader must not store an old half.
        (void)atomic_compare_exchange_strong_explicit(&ticks->halves, &halves, next, memory_order_acq_rel,
                                                      memory_order_relaxed);
        halves = next;
    }
    return (int64_t)(((uint64_t)(halves >> 1) << 32) | low);
}

// 64-bit time of a captured 32-bit value, given a 64-bit time read within 25 s of it, before or after. Signed, since a
// capture may be newer than the `now` it is compared with; read as unsigned, it would fall 51 s into the past.
static inline int64_t opq_ticks_near(int64_t now_tick, uint32_t captured) {
    uint32_t ahead = captured - (uint32_t)(uint64_t)now_tick;
    int64_t signed_ahead = ahead < UINT32_C(0x80000000) ? (int64_t)ahead : (int64_t)ahead - INT64_C(0x100000000);
    return now_tick + signed_ahead;
}

#define OPQ_PULSES 16u // a power of two; at one pulse a second the main thread may sleep 16 s

// An interrupt writes, the main thread reads.
typedef struct {
    int64_t ticks[OPQ_PULSES];
    atomic_uint_least32_t head;
    atomic_uint_least32_t tail;
    atomic_uint_least32_t dropped; // full: the newest is refused
} opq_pulses_t;

// Interrupt context: one copy, integers only.
static inline bool opq_pulses_offer(opq_pulses_t *pulses, int64_t tick) {
    uint_least32_t head = atomic_load_explicit(&pulses->head, memory_order_relaxed);
    if (head - atomic_load_explicit(&pulses->tail, memory_order_acquire) >= OPQ_PULSES) {
        (void)atomic_fetch_add_explicit(&pulses->dropped, 1u, memory_order_relaxed);
        return false;
    }
    pulses->ticks[head % OPQ_PULSES] = tick;
    atomic_store_explicit(&pulses->head, head + 1u, memory_order_release);
    return true;
}

static inline bool opq_pulses_take(opq_pulses_t *pulses, int64_t *tick) {
    uint_least32_t tail = atomic_load_explicit(&pulses->tail, memory_order_relaxed);
    if (tail == atomic_load_explicit(&pulses->head, memory_order_acquire)) {
        return false;
    }
    *tick = pulses->ticks[tail % OPQ_PULSES];
    atomic_store_explicit(&pulses->tail, tail + 1u, memory_order_release);
    return true;
}

#endif
