#include "calendar.h"

// Years are counted from March, so that the leap day is a year's last; 400 years have 146,097 days.
int64_t opq_unix_s(int32_t year, int32_t month, int32_t day, int32_t hour, int32_t minute, int32_t second) {
    int64_t y = (int64_t)year - (month <= 2 ? 1 : 0);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (int64_t)(month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
    return days * 86400 + (int64_t)hour * 3600 + (int64_t)minute * 60 + second;
}

bool opq_date_valid(int32_t year, int32_t month, int32_t day) {
    if (year < 1980 || year > 2079 || month < 1 || month > 12 || day < 1) {
        return false;
    }
    opq_date_t found = opq_date(opq_unix_s(year, month, day, 0, 0, 0)); // 31 February is a day of March
    return found.month == month && found.day == day;
}

opq_date_t opq_date(int64_t unix_s) {
    int64_t days = (unix_s >= 0 ? unix_s / 86400 : -((86399 - unix_s) / 86400)) + 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t of_era = days - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t march = (5 * of_year + 2) / 153;
    int32_t month = (int32_t)(march < 10 ? march + 3 : march - 9);
    return (opq_date_t){
        .year = (int32_t)(year + era * 400 + (month <= 2 ? 1 : 0)),
        .month = month,
        .day = (int32_t)(of_year - (153 * march + 2) / 5 + 1),
    };
}
