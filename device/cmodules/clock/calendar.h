// Calendar: dates of the proleptic Gregorian calendar and Unix seconds. No table, no libc.
#ifndef OPQ_CALENDAR_H
#define OPQ_CALENDAR_H

#include <stdbool.h>
#include <stdint.h>

#define OPQ_GPS_EPOCH_S INT64_C(315964800) // 1980-01-06 00:00:00 UTC, week 0 of GPS (IS-GPS-200, 3.3.4)

#define OPQ_WEEK_S INT64_C(604800)
#define OPQ_ROLLOVER_S (1024 * OPQ_WEEK_S)    // GPS sends ten bits of the week; a receiver adds the rest
#define OPQ_EARLIEST_S INT64_C(1451606400)    // 2016-01-01: a second before it has lost weeks

typedef struct {
    int32_t year;
    int32_t month; // 1 .. 12
    int32_t day;   // 1 .. 31
} opq_date_t;

// Whether a month has this day, in 1980 (GPS begins) to 2079, which RMC's two digits can say.
bool opq_date_valid(int32_t year, int32_t month, int32_t day);

// Second 60 gives the Unix second of the midnight after it.
int64_t opq_unix_s(int32_t year, int32_t month, int32_t day, int32_t hour, int32_t minute, int32_t second);
opq_date_t opq_date(int64_t unix_s);

#endif
