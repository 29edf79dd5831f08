// NMEA 0183, byte by byte. RMC and ZDA give the second, RMC and GGA the fix and the position.
// Any talker (GP, GN, GL ...). A sentence without a checksum is not used.
#ifndef OPQ_NMEA_H
#define OPQ_NMEA_H

#include <stdbool.h>
#include <stdint.h>

#include "label.h"

#define OPQ_NMEA_LINE 120u // NMEA 0183 4.x allows 82 characters; receivers exceed it

// What receivers send besides the time.
typedef struct {
    int32_t latitude_e7;
    int32_t longitude_e7;
    uint8_t satellites;
    bool position;
} opq_fix_t;

typedef enum {
    OPQ_GPS_NOTHING = 0, // within a message, or a message that is not used
    OPQ_GPS_LABEL = 1,   // `label` was filled
    OPQ_GPS_FIX = 2,     // `fix` was updated
    OPQ_GPS_LEAP = 3,    // UBX only: `leap` was filled
} opq_gps_t;

typedef struct {
    uint32_t sentences; // good ones, of any kind
    uint32_t checksums; // missing or wrong checksum
    uint32_t malformed; // right checksum, invalid fields
    uint32_t overlong;
    int64_t first_tick;
    uint8_t length;
    bool inside;
    bool fix_reported; // RMC or GGA was received
    bool fix;      // and reported a fix; ZDA has none
    char line[OPQ_NMEA_LINE + 1];
} opq_nmea_t;

void opq_nmea_start(opq_nmea_t *nmea);

// `tick`: now. `label` and `fix` change only as the result says; RMC updates `fix` too.
opq_gps_t opq_nmea_push(opq_nmea_t *nmea, uint8_t byte, int64_t tick, opq_label_t *label, opq_fix_t *fix);

#endif
