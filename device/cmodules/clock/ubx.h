// UBX (u-blox 8 / M8 interface description, UBX-13003221): byte by byte. NAV-PVT, NAV-TIMEUTC, NAV-TIMELS, TIM-TP.
#ifndef OPQ_UBX_H
#define OPQ_UBX_H

#include <stdbool.h>
#include <stdint.h>

#include "label.h"
#include "nmea.h"

#define OPQ_UBX_PAYLOAD 100u // NAV-PVT has 92; longer messages are skipped by their length

typedef struct {
    int64_t utc_s;       // the change happens where this second begins; 0: none ahead
    int8_t change;       // +1 insertion, -1 deletion, 0 none
    int8_t leap_seconds; // GPS - UTC now
} opq_leap_t;

typedef struct {
    uint32_t messages;
    uint32_t checksums;
    uint32_t malformed;
    uint32_t skipped;    // longer than we keep
    uint8_t state;
    uint8_t a, b;        // running checksum
    uint8_t first_a;
    uint8_t class_id;
    uint8_t message_id;
    uint16_t length;
    uint16_t got;
    int64_t first_tick;
    int8_t leap_seconds; // last told, 0x7F not known
    uint8_t payload[OPQ_UBX_PAYLOAD];
} opq_ubx_t;

void opq_ubx_start(opq_ubx_t *ubx);
opq_gps_t opq_ubx_push(opq_ubx_t *ubx, uint8_t byte, int64_t tick, opq_label_t *label, opq_fix_t *fix, opq_leap_t *leap);

#endif
