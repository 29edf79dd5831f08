// Receivers whose messages are damaged on the line or lie, in worlds whose time is known, under the sanitizers.
//
//     clock_fuzz nmea|ubx FIRST_SEED MUTATED   plays worlds until so many messages were mutated
//
// prints one JSON line of counters. Exit 1 where a stamp left its bound, time went back, or the clock locked to a
// receiver that had no fix; each such world's seed is on stderr.
//
// Damage leaves the checksum as it was: flipped, lost, doubled and foreign bytes, cuts, pieces of two messages, noise.
// A lie has a right checksum: up to three fields have any value. A receiver without a fix lies about all but that.
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calendar.h"
#include "clock.h"
#include "nmea.h"
#include "ubx.h"

// ---------------------------------------------------------------- chance
static uint64_t chance_state;

static uint64_t chance(void) { // splitmix64
    uint64_t z = (chance_state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static uint32_t below(uint32_t limit) { return (uint32_t)((chance() >> 32) * limit >> 32); }

static double uniform(double low, double high) {
    return low + (high - low) * ((double)(chance() >> 11) / 9007199254740992.0);
}

static double noise(void) { // of variance 1, as a sum of twelve
    double sum = -6.0;
    for (int i = 0; i < 12; i++) {
        sum += uniform(0.0, 1.0);
    }
    return sum;
}

// ---------------------------------------------------------------- one message
enum { ROOM = 1200, SLOTS = 20, MONTH_S = 30 * 86400 };

typedef struct {
    uint8_t bytes[ROOM];
    size_t length;
    bool ubx;
    int kept; // the field (NMEA) or offset in the payload (UBX) that says "no fix"; 0: none
    int kept_bytes;
} message_t;

// ---------------------------------------------------------------- the world
typedef struct {
    bool ubx, gateway, confirmed, timeutc, zda_only, timing, runs_free;
    int length_s, fix_from_s, lost_from_s, cold_s, cold_by;
    int reason, grid; // of "no fix"; of TIM-TP, 4: UTC
    uint32_t damaged, lying; // messages of a thousand
    int late_s, text_slot, tick_slot, sync_slot, sync_s;
    int64_t start_s; // UTC of second 0
    bool month_ends;
    // the oscillator
    int64_t second, ticks;
    double part, y_ppb, base_ppb;
} world_t;

static void world_start(world_t *world, bool ubx) {
    static const uint32_t damages[] = {0, 50, 200, 500, 700}, lies[] = {0, 20, 100, 300};
    *world = (world_t){.ubx = ubx, .gateway = below(2), .confirmed = below(4) > 0, .timing = below(2)};
    world->length_s = 120 + (int)below(480);
    world->timeutc = below(2);
    world->zda_only = below(4) == 0;
    world->runs_free = below(2);
    switch (below(4)) {
    case 0: world->fix_from_s = world->length_s; break; // never
    case 1: world->lost_from_s = 20 + (int)below((uint32_t)world->length_s - 20); break;
    default: world->fix_from_s = (int)below(20); break;
    }
    world->lost_from_s = world->lost_from_s > 0 ? world->lost_from_s : world->length_s;
    world->cold_s = below(4) == 0 ? (int)below(300) : 0;
    world->cold_by = (int)below(5) - 2;
    world->reason = (int)below(4);
    world->grid = (int)below(5);
    world->damaged = damages[below(5)];
    world->lying = lies[below(4)];
    world->late_s = world->gateway ? (int)below(4) : 0; // without the gateway's time no flag shows a late label
    world->text_slot = 1 + (int)below(world->gateway ? SLOTS - 1 : SLOTS - 4);
    world->tick_slot = (int)below(SLOTS);
    world->sync_slot = (int)below(SLOTS);
    world->sync_s = below(2) ? 10 : 60;
    int year = 2017 + (int)below(30), month = 1 + (int)below(12);
    world->month_ends = below(4) == 0;
    world->start_s = opq_unix_s(year, month, 3 + (int)below(24), (int)below(24), (int)below(60), 0);
    if (world->month_ends) {
        world->start_s = opq_unix_s(year, month, 1, 0, 0, 0) - (int)below((uint32_t)world->length_s);
    }
    world->base_ppb = uniform(-5000.0, 5000.0);
    world->ticks = (int64_t)(chance() >> 28);
}

static bool has_fix(const world_t *world, int64_t second) {
    return second >= world->fix_from_s && second < world->lost_from_s;
}

// Without satellites it keeps time until three reports of that have come through, of which 70 % may be damaged.
static int64_t coasts_s(const world_t *world) { return 20 + world->damaged / 7; }

static int64_t ticks_at(const world_t *world, double into_ns, double *rest_ns) {
    double gained = world->part + into_ns * 0.084 * (1.0 + world->y_ppb * 1e-9);
    double whole = floor(gained);
    *rest_ns = (gained - whole) / 0.084;
    return world->ticks + (int64_t)whole;
}

static void next_second(world_t *world) {
    double gained = world->part + world->y_ppb * 0.084;
    double whole = floor(gained);
    world->ticks += OPQ_TICK_HZ + (int64_t)whole;
    world->part = gained - whole;
    world->second++;
    world->y_ppb = world->base_ppb + 0.2 * noise();
}

// ---------------------------------------------------------------- what a receiver sends
static void close_nmea(message_t *message, const char *body) {
    unsigned sum = 0;
    for (const char *at = body; *at; at++) {
        sum ^= (unsigned char)*at;
    }
    int length = snprintf((char *)message->bytes, ROOM, "$%s*%02X\r\n", body, sum & 0xFFu);
    message->length = (size_t)length;
}

static void close_ubx(message_t *message, uint8_t class_id, uint8_t id, const uint8_t *payload, size_t length) {
    uint8_t *out = message->bytes, a = 0, b = 0;
    out[0] = 0xB5, out[1] = 0x62, out[2] = class_id, out[3] = id;
    out[4] = (uint8_t)length, out[5] = (uint8_t)(length >> 8);
    memcpy(out + 6, payload, length);
    for (size_t i = 2; i < 6 + length; i++) {
        a = (uint8_t)(a + out[i]);
        b = (uint8_t)(b + a);
    }
    out[6 + length] = a, out[7 + length] = b;
    message->length = 8 + length;
    message->ubx = true;
}

static void put(uint8_t *at, unsigned bytes, int64_t value) {
    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)((uint64_t)value >> 8 * i);
    }
}

typedef struct {
    opq_date_t date;
    int hour, minute, second;
    int64_t unix_s;
} moment_t;

static moment_t moment_at(int64_t unix_s) {
    int of_day = (int)(unix_s % 86400);
    return (moment_t){opq_date(unix_s), of_day / 3600, of_day / 60 % 60, of_day % 60, unix_s};
}

static void nmea_message(const world_t *world, const moment_t *now, bool fix, unsigned index, message_t *message) {
    static const char bad_modes[] = "NEMS", bad_qualities[] = "0678";
    static const char *const others[] = {
        "GPGSV,3,1,11,03,03,111,00,04,15,270,00,06,01,010,00,13,06,292,00",
        "GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1",
        "GPVTG,054.7,T,034.4,M,005.5,N,010.2,K",
        "GNTXT,01,01,02,ANTSTATUS=OK",
        "PUBX,04,073731.00,091202,113851.00,1196,15D,1930035,-2660.664,43,",
    };
    static const char place[] = "2117.9500,N,15748.9800,W";
    char body[140], time[16];
    message->ubx = false;
    message->kept = 0;
    (void)snprintf(time, sizeof time, "%02d%02d%02d.00", now->hour, now->minute, now->second);
    switch (index) {
    case 0: {
        bool status = !fix && world->reason == 0;
        char mode = fix ? 'A' : bad_modes[world->reason];
        (void)snprintf(body, sizeof body, "GNRMC,%s,%c,%s,0.0,0.0,%02d%02d%02d,,,%c", time, status ? 'V' : 'A', place,
                       (int)now->date.day, (int)now->date.month, (int)now->date.year % 100, mode);
        message->kept = fix ? 0 : status ? 2 : 12;
        break;
    }
    case 1:
        (void)snprintf(body, sizeof body, "GNGGA,%s,%s,%c,09,1.0,10.0,M,0.0,M,,", time, place,
                       fix ? '1' : bad_qualities[world->reason]);
        message->kept = fix ? 0 : 6;
        break;
    case 2:
        (void)snprintf(body, sizeof body, "GNZDA,%s,%02d,%02d,%04d,00,00", time, (int)now->date.day,
                       (int)now->date.month, (int)now->date.year);
        break;
    default: (void)snprintf(body, sizeof body, "%s", others[index - 3]); break;
    }
    close_nmea(message, body);
}

static void date_into(uint8_t *at, const moment_t *now) {
    put(at, 2, now->date.year);
    const uint8_t rest[] = {(uint8_t)now->date.month, (uint8_t)now->date.day, (uint8_t)now->hour,
                            (uint8_t)now->minute, (uint8_t)now->second};
    memcpy(at + 2, rest, sizeof rest);
}

static void ubx_message(const world_t *world, const moment_t *now, bool fix, bool cold, unsigned index,
                        message_t *message) {
    static const uint8_t bad_types[] = {0, 1, 6, 255}, bad_valid[] = {0, 1, 2, 6};
    static const int64_t grids_s[] = {18, 10800, 4 - INT64_C(1356) * OPQ_WEEK_S, 18, 0};
    static const int kept[] = {20, 21, 11, 12};
    uint8_t p[300] = {0};
    bool sure = world->confirmed && !cold;
    int64_t true_s = now->unix_s - (cold ? world->cold_by : 0);
    int64_t gps_s = true_s - OPQ_GPS_EPOCH_S + 18;
    put(p, 4, gps_s % OPQ_WEEK_S * 1000);
    message->kept = 0;
    switch (index) {
    case 0: // NAV-PVT
        date_into(p + 4, now);
        p[11] = sure ? 7 : 3, p[20] = 3, p[21] = 1, p[23] = 9;
        put(p + 12, 4, 25);
        put(p + 24, 4, -1578163333), put(p + 28, 4, 212991666);
        message->kept = cold ? 11 : 0;
        message->kept_bytes = 1;
        if (!fix) {
            message->kept = kept[world->reason];
            message->kept_bytes = world->reason == 3 ? 4 : 1;
            p[20] = world->reason == 0 ? bad_types[below(4)] : p[20];
            p[21] = world->reason == 1 ? 0 : p[21];
            p[11] = world->reason == 2 ? bad_valid[below(4)] : p[11];
            put(p + 12, 4, world->reason == 3 ? 0xFFFFFFFF : 25);
        }
        close_ubx(message, 0x01, 0x07, p, world->zda_only ? 84 : 92);
        return;
    case 1: // NAV-TIMEUTC
        put(p + 4, 4, 25);
        date_into(p + 12, now);
        p[19] = sure ? 7 : 3;
        message->kept = cold ? 19 : 0;
        message->kept_bytes = 1;
        close_ubx(message, 0x01, 0x21, p, 20);
        return;
    case 2: // NAV-TIMELS
        p[8] = cold ? 0 : 2, p[9] = (uint8_t)(cold ? 18 - world->cold_by : 18), p[10] = 2, p[23] = 3;
        message->kept = cold ? 8 : 0;
        message->kept_bytes = 1;
        put(p + 12, 4, -300000000), put(p + 16, 2, 1929), p[18] = 7;
        close_ubx(message, 0x01, 0x26, p, 24);
        return;
    case 3: { // TIM-TP
        int64_t next_s = true_s + 1 - OPQ_GPS_EPOCH_S + grids_s[world->grid];
        put(p, 4, next_s % OPQ_WEEK_S * 1000);
        put(p + 12, 2, next_s / OPQ_WEEK_S);
        p[14] = world->grid < 4 ? 2 : cold ? 1 : 3, p[15] = world->grid < 4 ? (uint8_t)world->grid : 0;
        message->kept = cold ? 14 : 0;
        message->kept_bytes = 1;
        close_ubx(message, 0x0D, 0x01, p, 16);
        return;
    }
    case 4: // ACK-ACK, ACK-NAK
        p[0] = 6, p[1] = 0x8A;
        close_ubx(message, 0x05, (uint8_t)below(2), p, 2);
        return;
    default: // NAV-SAT and others, of any length
        for (size_t i = 4; i < sizeof p; i++) {
            p[i] = (uint8_t)chance();
        }
        close_ubx(message, 0x01, (uint8_t)(0x30 + below(16)), p, below(300));
        return;
    }
}

// ---------------------------------------------------------------- what becomes of it
static void nmea_lie(message_t *message, bool fix) {
    static const char *const words[] = {
        "",        "A",       "V",      "D",      "E",      "M",        "N",          "S",       "150926.00",
        "235960.00", "240000", "2117.9500", "15748.9800", "9959.99", "311299", "310226", "000000", "99999999",
        "-1",      "12",      "2026",   "00",     "31.",    "1e9",      "\x01\xff", "0",       "1",
        "6",       "9",       "150926.", "00000000000000000000"};
    char body[ROOM], lie[ROOM], any[14];
    size_t length = message->length - 6;
    memcpy(body, message->bytes + 1, length);
    body[length] = 0;
    for (uint32_t lies = 1 + below(3); lies > 0; lies--) {
        int fields = 0;
        for (const char *at = body; (at = strchr(at, ',')) != NULL; at++) {
            fields++;
        }
        int field = 1 + (int)below(fields > 0 ? (uint32_t)fields : 1);
        if (field == message->kept) {
            continue;
        }
        const char *word = words[below(sizeof words / sizeof *words)];
        if (below(2)) {
            size_t letters = below(13);
            for (size_t i = 0; i < letters; i++) {
                char letter = (char)(below(4) ? '0' + (int)below(10) : 32 + (int)below(95));
                any[i] = letter == '$' || letter == '*' || (letter == ',' && !fix) ? '0' : letter;
            }
            any[letters] = 0;
            word = any;
        }
        char *from = body;
        for (int i = 0; i < field && from != NULL; i++) {
            from = strchr(from, ',');
            from = from == NULL ? NULL : from + 1;
        }
        if (from == NULL) {
            continue;
        }
        const char *rest = strchr(from, ',');
        (void)snprintf(lie, sizeof lie, "%.*s%s%s", (int)(from - body), body, word, rest == NULL ? "" : rest);
        memcpy(body, lie, sizeof body);
    }
    if (fix && below(10) == 0) { // an edition with fewer fields
        char *last = strrchr(body, ',');
        if (last != NULL) {
            *last = 0;
        }
    }
    close_nmea(message, body);
}

static void ubx_lie(message_t *message, bool fix) {
    static const uint8_t edges[] = {0, 1, 2, 3, 6, 7, 0x7F, 0x80, 0xFE, 0xFF};
    uint8_t payload[ROOM] = {0};
    size_t length = message->length - 8;
    memcpy(payload, message->bytes + 6, length);
    for (uint32_t lies = 1 + below(3); lies > 0 && length > 0; lies--) {
        size_t at = below((uint32_t)length), bytes = 1u << below(3);
        bool all_edge = below(2);
        uint8_t edge = edges[below(sizeof edges)];
        for (size_t i = at; i < at + bytes && i < length; i++) {
            int from = message->kept;
            bool kept = from > 0 && i >= (size_t)from && i < (size_t)(from + message->kept_bytes);
            payload[i] = kept ? payload[i] : all_edge ? edge : (uint8_t)chance();
        }
    }
    if (fix && below(20) == 0) {
        length = below((uint32_t)length + 20);
    }
    close_ubx(message, message->bytes[2], message->bytes[3], payload, length);
}

static void damage(message_t *message, const message_t *other) {
    uint8_t *bytes = message->bytes;
    size_t length = message->length;
    for (uint32_t times = 1 + below(3); times > 0 && length > 1; times--) {
        size_t at = below((uint32_t)length);
        switch (below(8)) {
        case 0:
        case 1: bytes[at] ^= (uint8_t)(1u << below(8)); break;
        case 2: memmove(bytes + at, bytes + at + 1, --length - at); break;
        case 3: // one doubled, or a foreign one
            if (length < ROOM) {
                memmove(bytes + at + 1, bytes + at, length++ - at);
                bytes[at] = below(2) ? bytes[at] : (uint8_t)chance();
            }
            break;
        case 4: length = at + 1; break;
        case 5: // its beginning, and the end of another
            if (other->length > at) {
                memcpy(bytes + at, other->bytes + at, other->length - at);
                length = other->length;
            }
            break;
        case 6:
            for (size_t i = at; i < length && i < at + 20; i++) {
                bytes[i] = (uint8_t)chance();
            }
            break;
        default: bytes[at] = (uint8_t)below(2) ? 0xFF : '$'; break;
        }
    }
    message->length = length;
}

// ---------------------------------------------------------------- the Box
typedef struct {
    opq_clock_t clock;
    opq_nmea_t nmea;
    opq_ubx_t ubx;
    opq_fix_t fix;
} box_t;

typedef struct {
    uint64_t mutated, lies, messages, labels, leaps, stamps, known, gps, locked_worlds, worlds;
    uint64_t outside, back, without_fix, senseless;
    double worst_share;
} counts_t;

static void handle(box_t *box, counts_t *counts, opq_gps_t what, const opq_label_t *label, const opq_leap_t *leap) {
    if (what == OPQ_GPS_LABEL) {
        counts->labels++;
        counts->senseless += label->valid && (label->utc_s < INT64_C(315532800) || label->utc_s > INT64_C(42000000000) ||
                                              label->kind > OPQ_LABEL_UBX_CONFIRMED);
        opq_clock_label(&box->clock, label);
    } else if (what == OPQ_GPS_LEAP) {
        counts->leaps++;
        opq_clock_leap(&box->clock, leap->utc_s, leap->change, leap->leap_seconds);
    }
}

static void receive(box_t *box, counts_t *counts, const message_t *message, int64_t tick) { // as module.c
    for (size_t i = 0; i < message->length; i++) {
        opq_label_t label;
        opq_leap_t leap;
        handle(box, counts, opq_nmea_push(&box->nmea, message->bytes[i], tick, &label, &box->fix), &label, &leap);
        handle(box, counts, opq_ubx_push(&box->ubx, message->bytes[i], tick, &label, &box->fix, &leap), &label, &leap);
    }
}

static void text_of_second(const world_t *world, box_t *box, counts_t *counts, double into_ns) {
    static message_t message, before;
    int64_t second = world->second - world->late_s;
    bool fix = has_fix(world, second);
    bool cold = second < world->cold_s;
    moment_t now = moment_at(world->start_s + second + (cold ? world->cold_by : 0));
    for (unsigned index = 0; index < (world->ubx ? 6u : 8u); index++) {
        bool ubx_sent = index == 1 ? world->timeutc : index != 3 || world->timing;
        bool nmea_sent = index == 0 ? !world->zda_only : index != 2 || world->zda_only || world->timing;
        if (world->ubx ? !ubx_sent : !nmea_sent) {
            continue;
        }
        if (world->ubx) {
            ubx_message(world, &now, fix, cold, index, &message);
        } else {
            nmea_message(world, &now, fix, index, &message);
        }
        // A wrong announcement of a leap second is taken at its word.
        bool announces = world->month_ends && world->ubx && index == 2;
        bool lies = !announces && below(1000) < world->lying, damaged = below(1000) < world->damaged;
        if (lies && world->ubx) {
            ubx_lie(&message, fix);
        } else if (lies) {
            nmea_lie(&message, fix);
        }
        message_t right = message;
        if (damaged) {
            damage(&message, &before);
        }
        before = right;
        counts->messages++;
        counts->lies += lies;
        counts->mutated += lies || damaged;
        double rest_ns;
        receive(box, counts, &message, ticks_at(world, into_ns + 3e6 * index, &rest_ns));
    }
}

static void judge(const world_t *world, const box_t *box, counts_t *counts, double into_ns, int64_t *last_ns) {
    double rest_ns;
    int64_t tick = ticks_at(world, into_ns, &rest_ns);
    opq_stamp_t stamp;
    opq_clock_stamp(&box->clock, tick, &stamp);
    int64_t true_ns = (world->start_s + world->second) * INT64_C(1000000000) + (int64_t)(into_ns - rest_ns);
    counts->stamps++;
    counts->back += stamp.t_ns < *last_ns;
    *last_ns = stamp.t_ns;
    bool gps = stamp.source == OPQ_SOURCE_GPS || stamp.source == OPQ_SOURCE_HOLDOVER;
    counts->gps += gps;
    // of a receiver that never had a fix, or lost it a minute ago
    int64_t reported_s = world->lost_from_s + world->late_s + 40 + coasts_s(world);
    counts->without_fix += (gps && world->fix_from_s >= world->length_s) ||
                           (stamp.source == OPQ_SOURCE_GPS && world->second > reported_s);
    if (stamp.uncertainty_ns != OPQ_UNCERTAINTY_UNKNOWN) {
        double share = fabs((double)(stamp.t_ns - true_ns)) / (double)stamp.uncertainty_ns;
        counts->known++;
        counts->outside += share > 1.0;
        counts->worst_share = share > counts->worst_share ? share : counts->worst_share;
    }
}

static void pulse(const world_t *world, box_t *box) {
    bool fix = has_fix(world, world->second);
    int64_t without_s = world->second < world->fix_from_s ? 1000 + world->second : world->second - world->lost_from_s;
    // The pulses of a receiver that was not understood so far are used, so until then they are right or missing.
    if (!fix && without_s > 0 && (!world->runs_free || !box->clock.seconds.any)) {
        return;
    }
    double off_ns = 200.0 + 15.0 * noise();
    off_ns += !fix && without_s > coasts_s(world) ? 300.0 * (double)(without_s - coasts_s(world)) : 0.0;
    double rest_ns;
    opq_clock_pps(&box->clock, ticks_at(world, off_ns, &rest_ns));
}

static void play(world_t *world, box_t *box, counts_t *counts) {
    opq_clock_config_t config;
    opq_clock_config_default(&config, true);
    config.pulse_delay_ns = 200;
    *box = (box_t){0};
    opq_clock_init(&box->clock, &config, world->ticks);
    opq_nmea_start(&box->nmea);
    opq_ubx_start(&box->ubx);
    int64_t last_ns = INT64_MIN;
    world->y_ppb = world->base_ppb;
    for (; world->second < world->length_s; next_second(world)) {
        pulse(world, box);
        int text_slot = world->text_slot + (int)below(2);
        for (int slot = 0; slot < SLOTS; slot++) {
            double into_ns = 5e7 * slot + uniform(1e6, 2e7), rest_ns;
            int64_t tick = ticks_at(world, into_ns, &rest_ns);
            if (slot == (text_slot < SLOTS ? text_slot : SLOTS - 1)) {
                text_of_second(world, box, counts, into_ns);
            }
            if (slot == world->tick_slot) {
                opq_clock_temperature(&box->clock, tick, (float)(25.0 + 0.5 * noise()));
                opq_clock_tick(&box->clock, tick);
            }
            if (world->gateway && slot == world->sync_slot && world->second % world->sync_s == 2) {
                int64_t t_ns = (world->start_s + world->second) * INT64_C(1000000000) + (int64_t)into_ns;
                opq_clock_sync(&box->clock, tick, t_ns + (int64_t)uniform(-3e6, 8e6), 10000000, OPQ_SOURCE_NTP);
            }
            if (below(SLOTS / 2) == 0) {
                judge(world, box, counts, into_ns + 2.5e7, &last_ns);
            }
        }
    }
    opq_clock_status_t status;
    opq_clock_status(&box->clock, &status);
    counts->locked_worlds += status.pulses > 20;
    counts->worlds++;
}

int main(int argc, char **argv) {
    if (argc != 4 || (strcmp(argv[1], "nmea") != 0 && strcmp(argv[1], "ubx") != 0)) {
        return 2;
    }
    static world_t world;
    static box_t box;
    static counts_t counts;
    uint64_t seed = strtoull(argv[2], NULL, 10), wanted = strtoull(argv[3], NULL, 10), wrong = 0;
    for (; counts.mutated < wanted; seed++) {
        chance_state = seed * UINT64_C(0xD1342543DE82EF95) + 12345;
        world_start(&world, argv[1][0] == 'u');
        play(&world, &box, &counts);
        uint64_t now = counts.outside + counts.back + counts.without_fix + counts.senseless;
        if (now > wrong) {
            fprintf(stderr, "seed %llu: outside %llu back %llu without_fix %llu senseless %llu so far\n",
                    (unsigned long long)seed, (unsigned long long)counts.outside, (unsigned long long)counts.back,
                    (unsigned long long)counts.without_fix, (unsigned long long)counts.senseless);
        }
        wrong = now;
    }
    printf("{\"worlds\": %llu, \"locked_worlds\": %llu, \"messages\": %llu, \"mutated\": %llu, \"lies\": %llu, "
           "\"labels\": %llu, \"leaps\": %llu, \"stamps\": %llu, \"known\": %llu, \"gps\": %llu, \"outside\": %llu, "
           "\"back\": %llu, \"without_fix\": %llu, \"senseless\": %llu, \"worst_share\": %.2f}\n",
           (unsigned long long)counts.worlds, (unsigned long long)counts.locked_worlds,
           (unsigned long long)counts.messages, (unsigned long long)counts.mutated, (unsigned long long)counts.lies,
           (unsigned long long)counts.labels, (unsigned long long)counts.leaps, (unsigned long long)counts.stamps,
           (unsigned long long)counts.known, (unsigned long long)counts.gps, (unsigned long long)counts.outside,
           (unsigned long long)counts.back, (unsigned long long)counts.without_fix,
           (unsigned long long)counts.senseless, counts.worst_share);
    return wrong > 0 ? 1 : 0;
}
