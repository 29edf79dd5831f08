// NMEA 0183, byte by byte. RMC and ZDA name the second, RMC and GGA say whether there is a fix and where.
// Any talker (GP, GN, GL ...). A sentence without a checksum is none.
#ifndef OPQ_NMEA_H
#define OPQ_NMEA_H

#include <stdbool.h>
#include <stdint.h>

#include "label.h"

#define OPQ_NMEA_LINE 120u // NMEA 0183 4.x allows 82 characters; receivers exceed it

// What receivers tell beside the time.
typedef struct {
    int32_t latitude_e7;
    int32_t longitude_e7;
    uint8_t satellites;
    bool position;
} opq_fix_t;

typedef enum {
    OPQ_GPS_NOTHING = 0, // in the middle of a message, or one that says nothing to us
    OPQ_GPS_LABEL = 1,   // `label` was filled
    OPQ_GPS_FIX = 2,     // `fix` was renewed
    OPQ_GPS_LEAP = 3,    // UBX only: `leap` was filled
} opq_gps_t;

typedef struct {
    uint32_t sentences; // good ones, of any kind
    uint32_t checksums; // missing or wrong checksum
    uint32_t malformed; // right checksum, senseless fields
    uint32_t overlong;
    int64_t first_tick;
    uint8_t length;
    bool inside;
    bool fix_told; // RMC or GGA came
    bool fix;      // and said so; ZDA does not
    char line[OPQ_NMEA_LINE + 1];
} opq_nmea_t;

void opq_nmea_start(opq_nmea_t *nmea);

// `tick`: now. `label` and `fix` are touched only as the result says; RMC renews `fix` as well.
opq_gps_t opq_nmea_push(opq_nmea_t *nmea, uint8_t byte, int64_t tick, opq_label_t *label, opq_fix_t *fix);

#endif
