// The functions that MicroPython needs: time from TIM5, characters from the console.
#include <stdint.h>

#include "shared/runtime/interrupt_char.h"
#include "tick.h"

static inline mp_uint_t mp_hal_ticks_ms(void) { return (mp_uint_t)(opq_tick_now() / 84000); }
static inline mp_uint_t mp_hal_ticks_us(void) { return (mp_uint_t)(opq_tick_now() / 84); }
static inline mp_uint_t mp_hal_ticks_cpu(void) { return (mp_uint_t)opq_tick_now(); }
