// What ctypes needs beside the clock's own functions: sizes, inline functions, and bytes as module.c feeds them.
#include <string.h>

#include "calendar.h"
#include "clock.h"
#include "nmea.h"
#include "ubx.h"

size_t opq_probe_clock_bytes(void) { return sizeof(opq_clock_t); }
size_t opq_probe_status_bytes(void) { return sizeof(opq_clock_status_t); }
size_t opq_probe_label_bytes(void) { return sizeof(opq_label_t); }
size_t opq_probe_config_bytes(void) { return sizeof(opq_clock_config_t); }
size_t opq_probe_timeline_bytes(void) { return sizeof(opq_timeline_t); }

int64_t opq_probe_extend(uint32_t *halves, uint32_t counter) {
    opq_ticks_t ticks;
    atomic_init(&ticks.halves, *halves);
    int64_t tick = opq_ticks_extend(&ticks, &counter);
    *halves = atomic_load(&ticks.halves);
    return tick;
}

int64_t opq_probe_near(int64_t now_tick, uint32_t captured) { return opq_ticks_near(now_tick, captured); }

// A receiver: both parsers, and their last results.
typedef struct {
    opq_nmea_t nmea;
    opq_ubx_t ubx;
    opq_fix_t fix;
    opq_label_t label;
    opq_leap_t leap;
    uint32_t counts[4]; // by opq_gps_t
} receiver_t;

size_t opq_probe_receiver_bytes(void) { return sizeof(receiver_t); }

void opq_probe_receiver_start(receiver_t *receiver) {
    *receiver = (receiver_t){0};
    opq_nmea_start(&receiver->nmea);
    opq_ubx_start(&receiver->ubx);
}

static void handle_message(receiver_t *receiver, opq_clock_t *clock, opq_gps_t what) {
    receiver->counts[what]++;
    if (clock != NULL && what == OPQ_GPS_LABEL) {
        opq_clock_label(clock, &receiver->label);
    } else if (clock != NULL && what == OPQ_GPS_LEAP) {
        opq_clock_leap(clock, receiver->leap.utc_s, receiver->leap.change, receiver->leap.leap_seconds);
    }
}

void opq_probe_feed(receiver_t *receiver, opq_clock_t *clock, const uint8_t *bytes, size_t count, int64_t tick) {
    for (size_t i = 0; i < count; i++) {
        handle_message(receiver, clock, opq_nmea_push(&receiver->nmea, bytes[i], tick, &receiver->label, &receiver->fix));
        handle_message(receiver, clock,
             opq_ubx_push(&receiver->ubx, bytes[i], tick, &receiver->label, &receiver->fix, &receiver->leap));
    }
}

// label_out: utc_s, arrival_tick, kind, valid, leap, of_next_pulse; fix_out: satellites, latitude, longitude, position;
// counts_out: labels, fixes, leaps, nmea sentences, checksums, malformed, overlong, ubx messages, checksums, malformed,
// skipped.
void opq_probe_reports(const receiver_t *receiver, int64_t label_out[6], int64_t fix_out[4], int64_t leap_out[3],
                    uint32_t counts_out[11]) {
    const opq_label_t *label = &receiver->label;
    const int64_t labels[] = {label->utc_s, label->arrival_tick, label->kind,
                              label->valid, label->leap,         label->of_next_pulse};
    const int64_t fixes[] = {receiver->fix.satellites, receiver->fix.latitude_e7, receiver->fix.longitude_e7,
                             receiver->fix.position};
    const int64_t leaps[] = {receiver->leap.utc_s, receiver->leap.change, receiver->leap.leap_seconds};
    const uint32_t counts[] = {
        receiver->counts[1],        receiver->counts[2],        receiver->counts[3],       receiver->nmea.sentences,
        receiver->nmea.checksums, receiver->nmea.malformed, receiver->nmea.overlong, receiver->ubx.messages,
        receiver->ubx.checksums,  receiver->ubx.malformed,  receiver->ubx.skipped,
    };
    memcpy(label_out, labels, sizeof labels);
    memcpy(fix_out, fixes, sizeof fixes);
    memcpy(leap_out, leaps, sizeof leaps);
    memcpy(counts_out, counts, sizeof counts);
}

int64_t opq_probe_unix_s(int32_t year, int32_t month, int32_t day, int32_t hour, int32_t minute, int32_t second) {
    return opq_unix_s(year, month, day, hour, minute, second);
}

void opq_probe_date(int64_t unix_s, int32_t out[3]) {
    opq_date_t date = opq_date(unix_s);
    out[0] = date.year;
    out[1] = date.month;
    out[2] = date.day;
}
