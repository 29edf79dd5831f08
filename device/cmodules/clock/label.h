// Label: a whole second of UTC from a receiver, and which of our counted pulses it belongs to.
#ifndef OPQ_LABEL_H
#define OPQ_LABEL_H

#include <stdbool.h>
#include <stdint.h>

typedef enum { // by rank: a higher one outweighs a lower one
    OPQ_LABEL_NMEA = 0,
    OPQ_LABEL_UBX = 1,           // valid, but it is not known whether its leap seconds come from the satellites
    OPQ_LABEL_UBX_CONFIRMED = 2, // NAV-PVT with fullyResolved and validTime, NAV-TIMEUTC with validUTC, TIM-TP with UTC
} opq_label_kind_t;

#define OPQ_LEAP_UNKNOWN 2 // for a change: the receiver does not say whether a leap second is ahead

// The content of one message of a receiver.
typedef struct {
    int64_t utc_s;        // Unix second; during 23:59:60 that of the midnight after it
    int64_t arrival_tick; // when the message's first byte was taken from the line
    uint8_t kind;         // opq_label_kind_t
    bool valid;           // the receiver has a fix and knows the time
    bool leap;            // this is second 60
    bool of_next_pulse;   // TIM-TP: belongs to the next pulse; all others: to the last one
} opq_label_t;

#endif
