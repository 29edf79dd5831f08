// The same run of the clock on any machine: pulses with jitter, a ramp of temperature, a glitch, a loss, a return.
// Prints what came out, doubles by their bits. Integers make the world, so that only the clock's arithmetic is
// compared.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"

static uint32_t state = 2463534242u;

static int32_t chance(int32_t limit) { // xorshift32
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return (int32_t)(state % (uint32_t)limit);
}

static unsigned long long bits(double value) {
    unsigned long long found;
    memcpy(&found, &value, sizeof found);
    return found;
}

int main(void) {
    enum { SECONDS = 4200, LOST_FROM = 3000, LOST_TO = 3900 };
    static opq_clock_t clock;
    opq_clock_config_t config;
    opq_clock_config_default(&config, true);
    opq_clock_init(&clock, &config, 777);
    int64_t second_tick = INT64_C(4294967296) - 50 * OPQ_TICK_HZ;
    for (int64_t s = 0; s < SECONDS; s++) {
        int32_t millikelvin = (int32_t)(s < 2400 ? s * 2 : 4800) + 25000;
        if (s < LOST_FROM || s >= LOST_TO) {
            if (s % 17 == 3) {
                opq_clock_pps(&clock, second_tick - chance(40000000) - 1000);
            }
            opq_clock_pps(&clock, second_tick + chance(7) - 3);
            opq_label_t label = {.utc_s = 1790000000 + s,
                                 .arrival_tick = second_tick + 9000000 + chance(1000000),
                                 .kind = OPQ_LABEL_UBX_CONFIRMED,
                                 .valid = true};
            opq_clock_label(&clock, &label);
        }
        opq_clock_temperature(&clock, second_tick + 30000000, (float)(millikelvin + chance(1500) - 750) / 1000.0f);
        opq_clock_tick(&clock, second_tick + 50000000);
        if (s % 60 == 59) {
            opq_stamp_t stamp;
            opq_clock_stamp(&clock, second_tick + 50000000, &stamp);
            printf("%lld %d %lld %lu %d %lu y %016llx p %016llx k %016llx\n", (long long)s, clock.status.state,
                   (long long)stamp.t_ns, (unsigned long)stamp.uncertainty_ns, stamp.source,
                   (unsigned long)stamp.rate_millihz, bits(clock.gps.y_ppb), bits(clock.gps.p_xx),
                   bits(clock.tcxo.coefficient_ppb_k));
        }
        second_tick += OPQ_TICK_HZ + 170 + (int64_t)(millikelvin - 25000) * 84 / 10000;
    }
    return 0;
}
