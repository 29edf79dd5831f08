#include "nmea.h"

#include <string.h>

#include "calendar.h"

enum { FIELDS = 20 };

typedef struct {
    const char *at[FIELDS];
    unsigned count;
} fields_t;

void opq_nmea_start(opq_nmea_t *nmea) { *nmea = (opq_nmea_t){0}; }

static int hex(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

// `*hh` at the end is the exclusive or of all between it and the dollar sign; it is removed.
static bool checked(char *line, unsigned length) {
    if (length < 3 || line[length - 3] != '*' || hex(line[length - 2]) < 0 || hex(line[length - 1]) < 0) {
        return false;
    }
    unsigned sum = 0;
    for (unsigned i = 0; i < length - 3; i++) {
        sum ^= (unsigned char)line[i];
    }
    line[length - 3] = 0;
    return sum == (unsigned)(hex(line[length - 2]) * 16 + hex(line[length - 1]));
}

static fields_t split(char *line) {
    fields_t fields = {.count = 0};
    char *at = line;
    while (fields.count < FIELDS) {
        fields.at[fields.count++] = at;
        at = strchr(at, ',');
        if (at == NULL) {
            break;
        }
        *at++ = 0;
    }
    return fields;
}

// Exactly `digits` decimal digits.
static bool number(const char *text, unsigned digits, int32_t *value) {
    *value = 0;
    for (unsigned i = 0; i < digits; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        *value = *value * 10 + (text[i] - '0');
    }
    return true;
}

typedef struct {
    int32_t hour, minute, second;
    bool whole; // .00, or no fraction
} time_of_day_t;

static bool time_of_day(const char *text, time_of_day_t *time) {
    if (!number(text, 2, &time->hour) || !number(text + 2, 2, &time->minute) || !number(text + 4, 2, &time->second)) {
        return false;
    }
    const char *rest = text + 6;
    time->whole = true;
    if (*rest == '.') {
        for (rest++; *rest >= '0' && *rest <= '9'; rest++) {
            time->whole = time->whole && *rest == '0';
        }
    }
    bool leap = time->hour == 23 && time->minute == 59 && time->second == 60;
    return *rest == 0 && time->hour < 24 && time->minute < 60 && (time->second < 60 || leap);
}

// ddmm.mmmm or dddmm.mmmm and a hemisphere.
static bool angle(const char *text, unsigned degree_digits, const char *hemisphere, const char *sides, int32_t *e7) {
    int32_t degrees;
    int32_t minutes;
    if (!number(text, degree_digits, &degrees) || !number(text + degree_digits, 2, &minutes) || minutes >= 60) {
        return false;
    }
    int64_t minutes_e7 = (int64_t)minutes * 10000000;
    const char *rest = text + degree_digits + 2;
    if (*rest == '.') {
        int64_t place = 1000000;
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, place /= 10) {
            minutes_e7 += (*rest - '0') * place;
        }
    }
    int64_t value = (int64_t)degrees * 10000000 + minutes_e7 / 60;
    bool negative = hemisphere[0] == sides[1];
    int64_t limit = degree_digits == 2 ? 900000000 : 1800000000;
    if (*rest != 0 || (hemisphere[0] != sides[0] && !negative) || hemisphere[1] != 0 || value > limit) {
        return false;
    }
    *e7 = (int32_t)(negative ? -value : value);
    return true;
}

static bool position(const fields_t *fields, unsigned from, opq_fix_t *fix) {
    int32_t latitude;
    int32_t longitude;
    if (!angle(fields->at[from], 2, fields->at[from + 1], "NS", &latitude) ||
        !angle(fields->at[from + 2], 3, fields->at[from + 3], "EW", &longitude)) {
        return false;
    }
    fix->latitude_e7 = latitude;
    fix->longitude_e7 = longitude;
    fix->position = true;
    return true;
}

static void fill(opq_label_t *label, const opq_nmea_t *nmea, int32_t year, int32_t month, int32_t day,
                 const time_of_day_t *time, bool valid) {
    *label = (opq_label_t){
        .utc_s = opq_unix_s(year, month, day, time->hour, time->minute, time->second),
        .arrival_tick = nmea->first_tick,
        .kind = OPQ_LABEL_NMEA,
        .valid = valid,
        .leap = time->second == 60,
    };
}

// NMEA 0183's mode: autonomous, differential, float and fixed RTK, precise. An estimate, a time set by hand and a
// simulator's are none, nor is what no edition names; earlier editions have no mode.
static bool mode_is_fix(const char *mode) { return mode[0] == 0 || (strchr("ADFPR", mode[0]) != NULL && mode[1] == 0); }

// RMC's two digits: GPS begins in 1980.
static int32_t century(int32_t year) { return year >= 80 ? 1900 : 2000; }

// $--RMC,hhmmss.ss,A|V,lat,N|S,lon,E|W,knots,course,ddmmyy,variation,E|W[,mode[,status]]
static opq_gps_t rmc(opq_nmea_t *nmea, const fields_t *fields, opq_label_t *label, opq_fix_t *fix) {
    if (fields->count < 10) {
        nmea->malformed++;
        return OPQ_GPS_NOTHING;
    }
    nmea->fix_reported = true;
    nmea->fix = strcmp(fields->at[2], "A") == 0 && (fields->count < 13 || mode_is_fix(fields->at[12]));
    time_of_day_t time;
    int32_t day, month, year;
    bool dated = strlen(fields->at[9]) == 6 && number(fields->at[9], 2, &day) && number(fields->at[9] + 2, 2, &month) &&
                 number(fields->at[9] + 4, 2, &year) && opq_date_valid(year += century(year), month, day) &&
                 time_of_day(fields->at[1], &time);
    if (!dated) {
        nmea->malformed += nmea->fix; // without a fix the fields are empty
        *label = (opq_label_t){.arrival_tick = nmea->first_tick, .kind = OPQ_LABEL_NMEA};
        return OPQ_GPS_LABEL; // it reports: no fix
    }
    if (nmea->fix) {
        (void)position(fields, 3, fix);
    }
    if (!time.whole && nmea->fix) {
        return OPQ_GPS_FIX; // receivers at 5 or 10 Hz
    }
    fill(label, nmea, year, month, day, &time, nmea->fix);
    return OPQ_GPS_LABEL;
}

// $--ZDA,hhmmss.ss,dd,mm,yyyy,zone,minutes
static opq_gps_t zda(opq_nmea_t *nmea, const fields_t *fields, opq_label_t *label) {
    time_of_day_t time;
    int32_t day, month, year;
    if (fields->count < 5 || !time_of_day(fields->at[1], &time) || !number(fields->at[2], 2, &day) ||
        !number(fields->at[3], 2, &month) || !number(fields->at[4], 4, &year) || !opq_date_valid(year, month, day)) {
        nmea->malformed += fields->count < 5 || fields->at[1][0] != 0;
        return OPQ_GPS_NOTHING;
    }
    if (!time.whole || (nmea->fix_reported && !nmea->fix)) {
        return OPQ_GPS_NOTHING;
    }
    fill(label, nmea, year, month, day, &time, true);
    return OPQ_GPS_LABEL;
}

// $--GGA,hhmmss.ss,lat,N|S,lon,E|W,quality,satellites,...
static opq_gps_t gga(opq_nmea_t *nmea, const fields_t *fields, opq_label_t *label, opq_fix_t *fix) {
    int32_t satellites;
    const char *count = fields->count > 7 ? fields->at[7] : "";
    size_t digits = strlen(count);
    if (fields->count < 8 || digits > 2 || !number(count, (unsigned)digits, &satellites)) {
        nmea->malformed++;
        return OPQ_GPS_NOTHING;
    }
    nmea->fix_reported = true;
    const char *quality = fields->at[6]; // 0 none, 6 dead reckoning, 7 manual, 8 simulator
    nmea->fix = quality[0] >= '1' && quality[0] <= '5' && quality[1] == 0;
    fix->satellites = (uint8_t)satellites;
    if (!nmea->fix) { // a receiver may send no RMC
        *label = (opq_label_t){.arrival_tick = nmea->first_tick, .kind = OPQ_LABEL_NMEA};
        return OPQ_GPS_LABEL;
    }
    (void)position(fields, 2, fix);
    return OPQ_GPS_FIX;
}

static opq_gps_t sentence(opq_nmea_t *nmea, opq_label_t *label, opq_fix_t *fix) {
    nmea->line[nmea->length] = 0;
    if (memchr(nmea->line, 0, nmea->length) != NULL || !checked(nmea->line, nmea->length)) {
        nmea->checksums++;
        return OPQ_GPS_NOTHING;
    }
    nmea->sentences++;
    fields_t fields = split(nmea->line);
    if (strlen(fields.at[0]) != 5) {
        return OPQ_GPS_NOTHING;
    }
    const char *type = fields.at[0] + 2;
    return strcmp(type, "RMC") == 0   ? rmc(nmea, &fields, label, fix)
           : strcmp(type, "ZDA") == 0 ? zda(nmea, &fields, label)
           : strcmp(type, "GGA") == 0 ? gga(nmea, &fields, label, fix)
                                      : OPQ_GPS_NOTHING;
}

opq_gps_t opq_nmea_push(opq_nmea_t *nmea, uint8_t byte, int64_t tick, opq_label_t *label, opq_fix_t *fix) {
    if (byte == '$') { // also within a sentence that was cut
        nmea->checksums += nmea->inside;
        nmea->inside = true;
        nmea->length = 0;
        nmea->first_tick = tick;
        return OPQ_GPS_NOTHING;
    }
    if (!nmea->inside) {
        return OPQ_GPS_NOTHING;
    }
    if (byte == '\r' || byte == '\n') {
        nmea->inside = false;
        return sentence(nmea, label, fix);
    }
    if (nmea->length == OPQ_NMEA_LINE) {
        nmea->inside = false;
        nmea->overlong++;
        return OPQ_GPS_NOTHING;
    }
    nmea->line[nmea->length++] = (char)byte;
    return OPQ_GPS_NOTHING;
}
