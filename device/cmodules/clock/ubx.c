#include "ubx.h"

#include "calendar.h"
#include "ticks.h"

enum { SYNC1 = 0xB5, SYNC2 = 0x62 };
enum { NAV = 0x01, ACK = 0x05, CFG = 0x06, TIM = 0x0D, NMEA = 0xF0 };
enum { NAV_PVT = 0x07, NAV_TIMEUTC = 0x21, NAV_TIMELS = 0x26, TIM_TP = 0x01, CFG_MSG = 0x01, CFG_VALSET = 0x8A };
enum { ACK_NAK = 0x00, ACK_ACK = 0x01, ACK_LENGTH = 2 };
enum { PVT_LENGTH = 92, PVT_LENGTH_7 = 84, TIMEUTC_LENGTH = 20, TIMELS_LENGTH = 24, TP_LENGTH = 16 };
enum { WAIT1, WAIT2, CLASS, ID, LENGTH1, LENGTH2, PAYLOAD, CHECK_A, CHECK_B };

#define DAY_S INT64_C(86400)
#define EPOCH_NS 50000000 // a solution farther from the whole second is one of several in it

void opq_ubx_start(opq_ubx_t *ubx) { *ubx = (opq_ubx_t){0}; }

static uint16_t u16(const uint8_t *at) { return (uint16_t)(at[0] | (uint16_t)at[1] << 8); }

static uint32_t u32(const uint8_t *at) { return u16(at) | (uint32_t)u16(at + 2) << 16; }

static int32_t i32(const uint8_t *at) {
    uint32_t value = u32(at);
    return value < UINT32_C(0x80000000) ? (int32_t)value : (int32_t)(value - UINT32_C(0x80000000)) + INT32_MIN;
}

static int8_t i8(uint8_t value) { return (int8_t)(value < 0x80 ? value : value - 0x100); }

// year u2, month, day, hour, minute, second as NAV-PVT and NAV-TIMEUTC have them; `nano_ns` is -500 ms .. 500 ms.
static bool label_at(const opq_ubx_t *ubx, const uint8_t *at, int32_t nano_ns, opq_label_t *label) {
    uint16_t year = u16(at);
    bool leap = at[4] == 23 && at[5] == 59 && at[6] == 60;
    if (!opq_date_valid(year, at[2], at[3]) || at[4] > 23 || at[5] > 59 || (at[6] > 59 && !leap) ||
        nano_ns > EPOCH_NS || nano_ns < -EPOCH_NS) {
        return false;
    }
    *label = (opq_label_t){
        .utc_s = opq_unix_s(year, at[2], at[3], at[4], at[5], at[6]),
        .arrival_tick = ubx->first_tick,
        .leap = leap,
    };
    return true;
}

// Of each number that a message means something by, what ../../../docs/receivers.md says of its values.
enum { ACCURACY_NS = 100000000 }; // a second that is known no better names no pulse
enum { GRID_GPS = 0, GRID_GLONASS = 1, GRID_BEIDOU = 2, GRID_GALILEO = 3 };
enum { FROM_GPS = 2, FROM_BEIDOU = 4, FROM_NAVIC = 7 }; // a change's source; between: SBAS, Galileo, GLONASS

#define BEIDOU_WEEKS 1356 // of GPS before its week 0, 2006-01-01
#define BEIDOU_S 14       // GPS minus BeiDou time
#define MOSCOW_S 10800    // GLONASS minus UTC
#define AFTER_S INT64_C(3471292800) // 2080-01-01: no date of later counts, as in opq_date_valid
#define AGREES_S 60       // a time pulse's second and a solution's are of one day, leap seconds aside

static opq_gps_t pvt(opq_ubx_t *ubx, opq_label_t *label, opq_fix_t *fix) {
    const uint8_t *p = ubx->payload;
    uint8_t valid = p[11];                                      // 0 validDate, 1 validTime, 2 fullyResolved
    bool fixed = (p[21] & 1u) != 0 && p[20] >= 2 && p[20] <= 5; // gnssFixOK; 2D, 3D, with dead reckoning, time only
    bool runs_free = ubx->pulse_free && ubx->first_tick - ubx->pulse_tick < AGREES_S / 2 * OPQ_TICK_HZ;
    ubx->fix_reported = true;
    ubx->fix = fixed && (valid & 3u) == 3u && u32(p + 12) <= ACCURACY_NS && !runs_free;
    fix->satellites = p[23];
    if (fixed && p[20] != 5 && (ubx->length < PVT_LENGTH || (p[78] & 1u) == 0)) { // invalidLlh
        fix->longitude_e7 = i32(p + 24);
        fix->latitude_e7 = i32(p + 28);
        fix->position = true;
    }
    if (!ubx->fix) {
        *label = (opq_label_t){.arrival_tick = ubx->first_tick, .kind = OPQ_LABEL_UBX};
        return OPQ_GPS_LABEL; // it reports: no fix
    }
    if (!label_at(ubx, p + 4, i32(p + 16), label)) {
        return OPQ_GPS_FIX;
    }
    label->valid = true;
    label->kind = (valid & 4u) != 0 ? OPQ_LABEL_UBX_CONFIRMED : OPQ_LABEL_UBX;
    ubx->named_s = label->utc_s;
    ubx->named_tow = u32(p);
    ubx->named_tick = ubx->first_tick;
    return OPQ_GPS_LABEL;
}

static opq_gps_t timeutc(opq_ubx_t *ubx, opq_label_t *label) {
    const uint8_t *p = ubx->payload;
    uint8_t valid = p[19]; // 0 validTOW, 1 validWKN, 2 validUTC
    bool known = (valid & 3u) == 3u && u32(p + 4) <= ACCURACY_NS;
    if (!known && !ubx->fix_reported) {
        *label = (opq_label_t){.arrival_tick = ubx->first_tick, .kind = OPQ_LABEL_UBX};
        return OPQ_GPS_LABEL; // without NAV-PVT it is this that reports: no fix
    }
    if (!known || (ubx->fix_reported && !ubx->fix) || !label_at(ubx, p + 12, i32(p + 8), label)) {
        return OPQ_GPS_NOTHING;
    }
    label->valid = true;
    label->kind = (valid & 4u) != 0 ? OPQ_LABEL_UBX_CONFIRMED : OPQ_LABEL_UBX;
    return OPQ_GPS_LABEL;
}

// Seconds of GPS's count of weeks in the grid of the pulse, as UTC.
static bool grid_utc(const opq_ubx_t *ubx, uint8_t grid, int64_t grid_s, int64_t *utc_s) {
    *utc_s = OPQ_GPS_EPOCH_S + grid_s;
    switch (grid) {
    case GRID_GPS:
    case GRID_GALILEO:
        *utc_s -= ubx->leap_seconds;
        return ubx->leap_known;
    case GRID_GLONASS:
        *utc_s -= MOSCOW_S;
        return true;
    case GRID_BEIDOU:
        *utc_s += BEIDOU_WEEKS * OPQ_WEEK_S + BEIDOU_S - ubx->leap_seconds;
        return ubx->leap_known;
    default: // NavIC, not known, reserved
        return false;
    }
}

// The time of the next pulse.
static opq_gps_t tp(opq_ubx_t *ubx, opq_label_t *label) {
    const uint8_t *p = ubx->payload;
    bool utc_base = (p[14] & 1u) != 0;
    bool utc_known = (p[14] & 2u) != 0;
    ubx->pulse_free = (p[14] & 32u) != 0; // TpNotLocked
    ubx->pulse_tick = ubx->first_tick;
    int64_t grid_s = u16(p + 12) * OPQ_WEEK_S + ((int64_t)u32(p) + 500) / 1000;
    int64_t utc_s = OPQ_GPS_EPOCH_S + grid_s;
    if (u32(p) >= OPQ_WEEK_S * 1000 || ubx->pulse_free ||
        !(utc_base ? utc_known : grid_utc(ubx, p[15] & 15u, grid_s, &utc_s))) {
        return OPQ_GPS_NOTHING;
    }
    if (utc_s >= AFTER_S) {
        ubx->malformed++;
        return OPQ_GPS_NOTHING;
    }
    if (ubx->named_s != 0 && (utc_s - ubx->named_s > AGREES_S || utc_s - ubx->named_s < -AGREES_S) &&
        ubx->first_tick - ubx->named_tick < AGREES_S / 2 * OPQ_TICK_HZ) {
        ubx->malformed++; // it contradicts the solution
        return OPQ_GPS_NOTHING;
    }
    *label = (opq_label_t){
        .utc_s = utc_s,
        .arrival_tick = ubx->first_tick,
        .kind = OPQ_LABEL_UBX_CONFIRMED,
        .valid = !ubx->fix_reported || ubx->fix,
        .of_next_pulse = true,
    };
    return OPQ_GPS_LABEL;
}

// The second that an announced change precedes, from the date; 0: it has none. BeiDou counts days from 0, GPS from 1.
static int64_t change_date_s(const uint8_t *p) {
    uint16_t day = (uint16_t)(u16(p + 18) + (p[10] == FROM_BEIDOU));
    return day >= 1 && day <= 7 ? OPQ_GPS_EPOCH_S + u16(p + 16) * OPQ_WEEK_S + day * DAY_S : 0;
}

static opq_gps_t timels(opq_ubx_t *ubx, opq_leap_t *leap) {
    const uint8_t *p = ubx->payload;
    uint8_t valid = p[23]; // 0 validCurrLs, 1 validTimeToLsEvent
    if ((valid & 1u) == 0) {
        return OPQ_GPS_NOTHING;
    }
    // 0 is a default of the firmware, 6 and 7 are somebody's word, 255 is not known.
    ubx->leap_known = (p[8] >= 1 && p[8] <= 5) || p[8] == 8;
    if (p[8] == 255) {
        return OPQ_GPS_NOTHING;
    }
    ubx->leap_seconds = i8(p[9]);
    *leap = (opq_leap_t){.change = OPQ_LEAP_UNKNOWN, .leap_seconds = ubx->leap_seconds};
    int8_t change = i8(p[11]);
    if ((valid & 2u) == 0 || !ubx->leap_known || p[10] < FROM_GPS || p[10] > FROM_NAVIC || change < -1 || change > 1) {
        return OPQ_GPS_LEAP; // it does not say what is ahead
    }
    leap->change = 0;
    int32_t left_s = i32(p + 12);
    if (change != 0 && left_s > 0) {
        // What is left is the same in every system's count; the date is of the system that announces it.
        bool named = ubx->named_s != 0 && u32(p) == ubx->named_tow;
        int64_t at_s = named ? (ubx->named_s + left_s + DAY_S / 2) / DAY_S * DAY_S : change_date_s(p);
        if (at_s == 0 || opq_date(at_s).day != 1) { // leap seconds end a month (ITU-R TF.460-6)
            leap->change = OPQ_LEAP_UNKNOWN;
            return OPQ_GPS_LEAP;
        }
        leap->utc_s = at_s;
        leap->change = change;
    }
    return OPQ_GPS_LEAP;
}

// A length that its page does not have is another message under the same number: its fields may mean anything.
static bool as_long_as(opq_ubx_t *ubx, uint16_t length) {
    ubx->malformed += ubx->length != length;
    return ubx->length == length;
}

static opq_gps_t message(opq_ubx_t *ubx, opq_label_t *label, opq_fix_t *fix, opq_leap_t *leap) {
    ubx->messages++;
    uint16_t length = ubx->length;
    if (ubx->class_id == NAV && ubx->message_id == NAV_PVT) {
        return as_long_as(ubx, length == PVT_LENGTH_7 ? length : PVT_LENGTH) ? pvt(ubx, label, fix) : OPQ_GPS_NOTHING;
    }
    if (ubx->class_id == NAV && ubx->message_id == NAV_TIMEUTC) {
        return as_long_as(ubx, TIMEUTC_LENGTH) ? timeutc(ubx, label) : OPQ_GPS_NOTHING;
    }
    if (ubx->class_id == NAV && ubx->message_id == NAV_TIMELS) {
        return as_long_as(ubx, TIMELS_LENGTH) ? timels(ubx, leap) : OPQ_GPS_NOTHING;
    }
    if (ubx->class_id == TIM && ubx->message_id == TIM_TP) {
        return as_long_as(ubx, TP_LENGTH) ? tp(ubx, label) : OPQ_GPS_NOTHING;
    }
    if (ubx->class_id == ACK && length == ACK_LENGTH && ubx->payload[0] == CFG && ubx->payload[1] == CFG_VALSET) {
        ubx->valset = ubx->message_id == ACK_ACK ? OPQ_UBX_VALSET_TAKEN : OPQ_UBX_VALSET_REFUSED;
    }
    return OPQ_GPS_NOTHING;
}

static void sum(opq_ubx_t *ubx, uint8_t byte) { // 8-bit Fletcher, over class to payload
    ubx->a = (uint8_t)(ubx->a + byte);
    ubx->b = (uint8_t)(ubx->b + ubx->a);
}

opq_gps_t opq_ubx_push(opq_ubx_t *ubx, uint8_t byte, int64_t tick, opq_label_t *label, opq_fix_t *fix,
                       opq_leap_t *leap) {
    if (ubx->state >= CLASS && ubx->state <= PAYLOAD) {
        sum(ubx, byte);
    }
    switch (ubx->state) {
    case WAIT1:
        ubx->first_tick = tick;
        ubx->state = byte == SYNC1 ? WAIT2 : WAIT1;
        break;
    case WAIT2:
        ubx->a = ubx->b = 0;
        ubx->got = 0;
        ubx->state = byte == SYNC2 ? CLASS : byte == SYNC1 ? WAIT2 : WAIT1;
        break;
    case CLASS:
        ubx->class_id = byte;
        ubx->state = ID;
        break;
    case ID:
        ubx->message_id = byte;
        ubx->state = LENGTH1;
        break;
    case LENGTH1:
        ubx->length = byte;
        ubx->state = LENGTH2;
        break;
    case LENGTH2:
        ubx->length = (uint16_t)(ubx->length | (uint16_t)byte << 8);
        ubx->malformed += ubx->length > OPQ_UBX_LONGEST;
        ubx->state = ubx->length > OPQ_UBX_LONGEST ? WAIT1 : ubx->length > 0 ? PAYLOAD : CHECK_A;
        break;
    case PAYLOAD:
        if (ubx->got < OPQ_UBX_PAYLOAD) {
            ubx->payload[ubx->got] = byte;
        }
        ubx->state = ++ubx->got == ubx->length ? CHECK_A : PAYLOAD;
        break;
    case CHECK_A:
        ubx->first_a = byte;
        ubx->state = CHECK_B;
        break;
    default:
        ubx->state = WAIT1;
        if (ubx->first_a != ubx->a || byte != ubx->b) {
            ubx->checksums++;
        } else if (ubx->length > OPQ_UBX_PAYLOAD) {
            ubx->skipped++;
        } else {
            return message(ubx, label, fix, leap);
        }
        break;
    }
    return OPQ_GPS_NOTHING;
}

// `body`: class, id, length and payload.
static size_t frame(const uint8_t *body, size_t length, uint8_t *out) {
    opq_ubx_t checksum = {0};
    out[0] = SYNC1;
    out[1] = SYNC2;
    for (size_t i = 0; i < length; i++) {
        out[2 + i] = body[i];
        sum(&checksum, body[i]);
    }
    out[2 + length] = checksum.a;
    out[3 + length] = checksum.b;
    return length + 4;
}

size_t opq_ubx_request(unsigned index, bool ubx, uint8_t out[OPQ_UBX_ENABLE]) {
    static const uint8_t messages[][2] = {
        {NAV, NAV_PVT}, {NAV, NAV_TIMELS}, {TIM, TIM_TP}, // OPQ_UBX_REQUESTS
        {NMEA, 0x00},   {NMEA, 0x01},      {NMEA, 0x02},  // GGA, GLL, GSA
        {NMEA, 0x03},   {NMEA, 0x04},      {NMEA, 0x05},  // GSV, RMC, VTG
        {NMEA, 0x08},                                     // ZDA
    };
    if (index >= sizeof messages / sizeof *messages) {
        return 0;
    }
    const uint8_t each_second = (index < OPQ_UBX_REQUESTS) == ubx;
    const uint8_t body[] = {CFG, CFG_MSG, 3, 0, messages[index][0], messages[index][1], each_second};
    return frame(body, sizeof body, out);
}

size_t opq_ubx_valset(bool ubx, uint8_t out[OPQ_UBX_VALSET]) {
    // Version 0, layer RAM; CFG-MSGOUT-UBX_NAV_PVT_UART1, _NAV_TIMELS_UART1, _TIM_TP_UART1, CFG-UART1OUTPROT-NMEA
    // (UBX-20053845)
    const uint8_t body[] = {CFG, CFG_VALSET, 24,   0,    0,    1,    0,   0,    0x07, 0x00, 0x91, 0x20, ubx,  0x61,
                            0x00, 0x91,      0x20, ubx,  0x7E, 0x01, 0x91, 0x20, ubx,  0x02, 0x00, 0x74, 0x10, !ubx};
    return frame(body, sizeof body, out);
}
