// Bytes of a receiver gone mad: both parsers and the clock behind them, under sanitizers.
// clock_fuzz FIRST_SEED COUNT prints one JSON line of counters.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "nmea.h"
#include "ubx.h"

static uint64_t state;

static uint32_t chance(uint32_t limit) { // splitmix64
    uint64_t z = (state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (uint32_t)((z ^ (z >> 31)) % limit);
}

static size_t sentence(uint8_t *out, size_t room) { // a right one, with fields that may be senseless
    static const char *const types[] = {"GPRMC", "GNRMC", "GPZDA", "GNGGA", "GPGSV", "PUBX"};
    static const char *const words[] = {
        "",           "A",        "V",  "150926.00", "235960.00", "240000",   "2117.9500",
        "15748.9800", "9959.99",  "N",  "S",         "E",         "W",        "140326",
        "311299",     "99999999", "-1", "12",        "2026",      "00",       "31.",
        "1e9",        "\x01\xff", "0",  "6",         "150926.",   "150926.x", "00000000000000000000"};
    char body[160];
    int used = snprintf(body, sizeof body, "%s", types[chance(6)]);
    for (uint32_t fields = chance(24); fields > 0 && used < 130; fields--) {
        used += snprintf(body + used, sizeof body - (size_t)used, ",%s", words[chance(sizeof words / sizeof *words)]);
    }
    unsigned sum = 0;
    for (int i = 0; i < used; i++) {
        sum ^= (unsigned char)body[i];
    }
    return (size_t)snprintf((char *)out, room, "$%s*%02X\r\n", body, sum & 0xFFu);
}

static size_t frame(uint8_t *out) { // a right UBX frame, contents random; at times with a likely date
    static const uint8_t ids[][3] = {{1, 7, 92},    {1, 7, 84},    {1, 0x21, 20},
                                     {1, 0x26, 24}, {0x0D, 1, 16}, {2, 0x15, 120}};
    const uint8_t *id = ids[chance(6)];
    uint8_t length = chance(8) ? id[2] : (uint8_t)chance(130);
    uint8_t *body = out + 2;
    body[0] = id[0], body[1] = id[1], body[2] = length, body[3] = 0;
    for (unsigned i = 0; i < length; i++) {
        body[4 + i] = chance(3) ? (uint8_t)chance(256) : chance(2) ? 0xFF : 0;
    }
    if (chance(2) && length > 24) {
        const uint8_t date[] = {0xEA,
                                7,
                                (uint8_t)(1 + chance(12)),
                                (uint8_t)(1 + chance(28)),
                                (uint8_t)chance(24),
                                (uint8_t)chance(60),
                                (uint8_t)chance(61),
                                7};
        memcpy(body + 8, date, sizeof date);
        body[24] = 3, body[25] = 1;
        memset(body + 20, 0, 4);
    }
    uint8_t a = 0, b = 0;
    for (unsigned i = 0; i < 4u + length; i++) {
        a = (uint8_t)(a + body[i]);
        b = (uint8_t)(b + a);
    }
    out[0] = 0xB5, out[1] = 0x62;
    body[4 + length] = a, body[5 + length] = b;
    return 8u + length;
}

static size_t one(uint8_t *out) {
    size_t length = chance(2) ? sentence(out, 200) : frame(out);
    switch (chance(6)) {
    case 0: // flipped bits
        for (uint32_t flips = 1 + chance(4); flips > 0; flips--) {
            out[chance((uint32_t)length)] ^= (uint8_t)(1u << chance(8));
        }
        return length;
    case 1: return chance((uint32_t)length); // cut
    case 2:                                  // noise
        for (size_t i = 0; i < length; i++) {
            out[i] = (uint8_t)chance(256);
        }
        return length;
    default: return length;
    }
}

static void sane(const opq_label_t *label) {
    if (label->valid && (label->utc_s < INT64_C(315964800) || label->utc_s > INT64_C(42000000000) || label->kind > 2)) {
        abort();
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        return 2;
    }
    state = strtoull(argv[1], NULL, 10);
    long count = atol(argv[2]);
    static opq_clock_t clock;
    static opq_nmea_t nmea;
    static opq_ubx_t ubx;
    opq_fix_t fix = {0};
    opq_clock_config_t config;
    opq_clock_config_default(&config, true);
    opq_clock_init(&clock, &config, 0);
    opq_nmea_start(&nmea);
    opq_ubx_start(&ubx);
    int64_t tick = 0, last_ns = INT64_MIN;
    unsigned long labels = 0, fixes = 0, leaps = 0, back = 0;
    for (long i = 0; i < count; i++) {
        uint8_t bytes[256];
        size_t length = one(bytes);
        tick += OPQ_TICK_HZ / 10;
        for (size_t k = 0; k < length; k++) {
            opq_label_t label;
            opq_leap_t leap;
            opq_gps_t reported[2] = {opq_nmea_push(&nmea, bytes[k], tick, &label, &fix), OPQ_GPS_NOTHING};
            if (reported[0] == OPQ_GPS_LABEL) {
                sane(&label);
                opq_clock_label(&clock, &label);
            }
            reported[1] = opq_ubx_push(&ubx, bytes[k], tick, &label, &fix, &leap);
            if (reported[1] == OPQ_GPS_LABEL) {
                sane(&label);
                opq_clock_label(&clock, &label);
            } else if (reported[1] == OPQ_GPS_LEAP) {
                opq_clock_leap(&clock, leap.utc_s, leap.change, leap.leap_seconds);
            }
            for (int t = 0; t < 2; t++) {
                labels += reported[t] == OPQ_GPS_LABEL;
                fixes += reported[t] == OPQ_GPS_FIX;
                leaps += reported[t] == OPQ_GPS_LEAP;
            }
        }
        if (i % 10 == 0 || chance(20) == 0) {
            opq_clock_pps(&clock, tick + (i % 10 == 0 ? 0 : (int64_t)chance(8400000)));
        }
        if (i % 10 == 5) {
            opq_clock_temperature(&clock, tick, (float)(20.0 + 0.01 * (double)chance(1000)));
            opq_clock_tick(&clock, tick);
        }
        opq_stamp_t stamp;
        opq_clock_stamp(&clock, tick, &stamp);
        back += stamp.t_ns < last_ns;
        last_ns = stamp.t_ns;
    }
    opq_clock_status_t status;
    opq_clock_status(&clock, &status);
    printf("{\"inputs\": %ld, \"labels\": %lu, \"fixes\": %lu, \"leaps\": %lu, \"sentences\": %u, \"nmea_bad\": %u, "
           "\"messages\": %u, \"ubx_bad\": %u, \"pulses\": %u, \"back\": %lu, \"steps_back\": %u}\n",
           count, labels, fixes, leaps, nmea.sentences, nmea.checksums + nmea.malformed + nmea.overlong, ubx.messages,
           ubx.checksums + ubx.malformed + ubx.skipped, status.pulses, back, status.steps_back);
    return 0;
}
