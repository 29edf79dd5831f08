// UBX, byte by byte: NAV-PVT, NAV-TIMEUTC, NAV-TIMELS, TIM-TP (u-blox 8 / M8 protocol specification, UBX-13003221).
#ifndef OPQ_UBX_H
#define OPQ_UBX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "label.h"
#include "nmea.h"

#define OPQ_UBX_PAYLOAD 100u  // NAV-PVT has 92; longer messages are skipped
#define OPQ_UBX_LONGEST 1024u // a larger length is noise: it must not consume the next minute
#define OPQ_UBX_ENABLE 11u
#define OPQ_UBX_VALSET 32u

enum { OPQ_UBX_VALSET_UNANSWERED, OPQ_UBX_VALSET_TAKEN, OPQ_UBX_VALSET_REFUSED };

typedef struct {
    int64_t utc_s;       // the change happens where this second begins; 0: none ahead
    int8_t change;       // 1 insertion, -1 deletion, 0 none, OPQ_LEAP_UNKNOWN
    int8_t leap_seconds; // GPS - UTC now
} opq_leap_t;

typedef struct {
    uint32_t messages; // good ones, of any kind
    uint32_t checksums;
    uint32_t malformed; // right checksum, invalid fields or length
    uint32_t skipped;   // longer than OPQ_UBX_PAYLOAD
    int64_t first_tick;
    uint16_t length;
    uint16_t got;
    uint8_t state;
    uint8_t a, b; // running checksum
    uint8_t first_a;
    uint8_t class_id;
    uint8_t message_id;
    bool fix_reported; // NAV-PVT was received
    bool fix;      // and reported a fix; the timing messages do not
    bool leap_known;
    int8_t leap_seconds; // of the last NAV-TIMELS
    uint8_t valset;      // the answer to CFG-VALSET
    int64_t named_s;     // by the last NAV-PVT,
    uint32_t named_tow;  // at this time of week
    int64_t named_tick;
    bool pulse_free;     // the last TIM-TP reported that its pulse is not locked,
    int64_t pulse_tick;  // at this time
    uint8_t payload[OPQ_UBX_PAYLOAD];
} opq_ubx_t;

void opq_ubx_start(opq_ubx_t *ubx);

// `tick`: now. `label`, `fix` and `leap` change only as the result says; NAV-PVT updates `fix` too.
opq_gps_t opq_ubx_push(opq_ubx_t *ubx, uint8_t byte, int64_t tick, opq_label_t *label, opq_fix_t *fix,
                       opq_leap_t *leap);

// CFG-VALSET: what the receiver sends on UART1: NAV-PVT, NAV-TIMELS and TIM-TP each second and no NMEA, whose bytes would
// make them late; or NMEA again. Generation 9 and later; earlier ones refuse it.
size_t opq_ubx_valset(bool ubx, uint8_t out[OPQ_UBX_VALSET]);

// CFG-MSG, the same for earlier generations, one message at a time on this port. 0: no such index.
#define OPQ_UBX_REQUESTS 3u // the first ones turn UBX on or off, those after them NMEA
size_t opq_ubx_request(unsigned index, bool ubx, uint8_t out[OPQ_UBX_ENABLE]);

#endif
