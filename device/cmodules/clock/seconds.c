#include "seconds.h"

#include "calendar.h"
#include "ticks.h"

#define SPREAD_MS 500        // how much sooner or later than typical a label may come; a wrong one is 1000 off
#define NEXT_VOTE_MS 600     // a receiver sends each second several times; the first one counts
#define ENOUGH 13u           // of OPQ_VOTES
#define TURN_OVER 30u        // contradicting labels in a row that replace the settled second
#define TURN_OVER_AT_LEAP 3u // where a leap second may be
#define HINT_AGES_S 200      // so long after a leap second the gateway's time may be from before it
#define RANK_S 10            // time after the last label of a higher rank until a lower one counts again
#define FIX_OF 5u            // seconds with labels, of which
#define FIX_FROM 3u          // have a fix where it comes back: one damaged sentence of 256 passes NMEA's checksum
#define LAST_THREE 7u        // bits of seconds without a fix that end it
#define LEAP_KNOWN_S 810     // 12.5 minutes for the satellites' leap seconds, and TURN_OVER labels after them
#define LEAP_OFF_S 4         // a larger difference is not one of leap seconds

void opq_seconds_start(opq_seconds_t *seconds) { *seconds = (opq_seconds_t){.fixes = UINT8_MAX}; }

static void clear(opq_seconds_t *seconds) {
    seconds->voted = seconds->next = seconds->against = seconds->contradicted = 0;
}

void opq_seconds_reset(opq_seconds_t *seconds) {
    clear(seconds);
    seconds->settled = seconds->confirmed = false;
}

bool opq_seconds_fix(const opq_seconds_t *seconds) { return !seconds->no_fix; }

void opq_seconds_note_fix(opq_seconds_t *seconds, const opq_label_t *label) {
    bool first = !seconds->any;
    seconds->any = true;
    if (label->of_next_pulse) { // TIM-TP does not report a fix
        return;
    }
    int64_t since_ticks = label->arrival_tick - seconds->fixes_tick;
    if (first || seconds->no_fix || since_ticks > RANK_S * OPQ_TICK_HZ) {
        seconds->fixed_tick = label->arrival_tick;
    }
    if (since_ticks >= NEXT_VOTE_MS * OPQ_TICK_HZ / 1000) {
        seconds->fixes = (uint8_t)(seconds->fixes << 1);
        seconds->fixes_tick = label->arrival_tick;
    }
    seconds->fixes |= label->valid;
    unsigned with_fix = 0;
    for (unsigned i = 0; i < FIX_OF; i++) {
        with_fix += (seconds->fixes & 1u << i) != 0;
    }
    if (with_fix >= FIX_FROM || (seconds->fixes & LAST_THREE) == 0) {
        seconds->no_fix = with_fix < FIX_FROM;
    }
}

// Whether a label's leap seconds are the satellites', and not those of the receiver's firmware.
static bool confirms(const opq_seconds_t *seconds, const opq_label_t *label) {
    return label->kind == OPQ_LABEL_UBX_CONFIRMED ||
           (label->kind == OPQ_LABEL_NMEA && label->arrival_tick - seconds->fixed_tick >= LEAP_KNOWN_S * OPQ_TICK_HZ);
}

bool opq_seconds_near_leap(int64_t utc_s, int64_t margin_s) {
    opq_date_t day = opq_date(utc_s - 2 * 3600); // at 00:00:xx it is still the day before
    if (!((day.month == 6 && day.day == 30) || (day.month == 12 && day.day == 31))) {
        return false;
    }
    int64_t midnight = opq_unix_s(day.year, day.month, day.day, 0, 0, 0) + 86400;
    return utc_s >= midnight - 6 && utc_s < midnight - 6 + margin_s;
}

void opq_seconds_leap(opq_seconds_t *seconds, int8_t change) {
    seconds->offset_s -= change; // the pulses count an inserted second, and Unix time does not
    for (unsigned i = 0; i < OPQ_VOTES; i++) {
        seconds->votes_ms[i] -= (int64_t)change * 1000;
    }
    seconds->against = 0;
}

static int64_t ceil_s(int64_t ms) { return ms >= 0 ? (ms + 999) / 1000 : -(-ms / 1000); }

// The offset that the votes give. Label minus arrival is the offset minus a latency; the median's latency is below 1 s
// though single ones are above, and up to three labels of the sixteen may be wrong.
static bool elect(const opq_seconds_t *seconds, int64_t *offset_s, int64_t *latency_ms) {
    if (seconds->voted < OPQ_VOTES) {
        return false;
    }
    int64_t sorted[OPQ_VOTES] = {0};
    for (unsigned i = 0; i < OPQ_VOTES; i++) {
        unsigned k = i;
        for (; k > 0 && sorted[k - 1] > seconds->votes_ms[i]; k--) {
            sorted[k] = sorted[k - 1];
        }
        sorted[k] = seconds->votes_ms[i];
    }
    int64_t median_ms = sorted[OPQ_VOTES / 2];
    unsigned agree = 0;
    for (unsigned i = 0; i < OPQ_VOTES; i++) {
        agree += sorted[i] > median_ms - SPREAD_MS && sorted[i] < median_ms + SPREAD_MS;
    }
    *offset_s = ceil_s(median_ms);
    *latency_ms = *offset_s * 1000 - median_ms;
    return agree >= ENOUGH;
}

// How far the receiver's labels are ahead of UTC by lost weeks. Of any other difference it is not known which of the two
// clocks has it.
static int64_t bias_found_s(int64_t offset_s, int64_t utc_s, opq_seconds_hint_t hint) {
    if (hint.known) {
        int64_t off_s = offset_s - hint.offset_s;
        return off_s % OPQ_ROLLOVER_S == 0 ? off_s : 0;
    }
    int64_t lost_s = 0;
    while (utc_s + lost_s < OPQ_EARLIEST_S) {
        lost_s += OPQ_ROLLOVER_S;
    }
    return -lost_s;
}

static void shift(opq_seconds_t *seconds, int64_t bias_s) {
    seconds->bias_s += bias_s;
    for (unsigned i = 0; i < OPQ_VOTES; i++) {
        seconds->votes_ms[i] -= bias_s * 1000;
    }
}

// Compares a settled second, with which its labels agree, with the gateway's time.
static opq_seconds_result_t compare(opq_seconds_t *seconds, int64_t utc_s, opq_seconds_hint_t hint) {
    if (!hint.known || opq_seconds_near_leap(utc_s, HINT_AGES_S)) {
        return OPQ_SECONDS_AGREES;
    }
    if (hint.offset_s == seconds->offset_s) {
        seconds->contradicted = 0;
        seconds->disputed_s = 0;
        seconds->confirmed = true;
        return OPQ_SECONDS_AGREES;
    }
    seconds->contradicted++;
    if (seconds->contradicted < OPQ_CONTRADICTED) {
        return OPQ_SECONDS_AGREES;
    }
    int64_t bias_s = bias_found_s(seconds->offset_s, utc_s, hint);
    if (bias_s == 0) {
        seconds->disputed_s = hint.offset_s - seconds->offset_s;
        return OPQ_SECONDS_AGREES;
    }
    shift(seconds, bias_s);
    seconds->offset_s -= bias_s;
    seconds->contradicted = 0;
    seconds->disputed_s = 0;
    return OPQ_SECONDS_SETTLED;
}

static bool ranks(opq_seconds_t *seconds, const opq_label_t *label) {
    bool silent = seconds->voted == 0 || label->arrival_tick - seconds->rank_tick > RANK_S * OPQ_TICK_HZ;
    if (label->kind < seconds->kind && !silent) {
        return false;
    }
    if (label->kind != seconds->kind) {
        seconds->kind = label->kind;
        seconds->bias_s = 0;
        clear(seconds);
    }
    return true;
}

opq_seconds_result_t opq_seconds_label(opq_seconds_t *seconds, const opq_label_t *label, int64_t model_ns,
                                       opq_seconds_hint_t hint) {
    int64_t model_ms = model_ns / 1000000;
    if (!label->valid || !ranks(seconds, label) ||
        (seconds->voted > 0 && model_ms - seconds->last_vote_ms < NEXT_VOTE_MS && model_ms >= seconds->last_vote_ms)) {
        return OPQ_SECONDS_NOTHING;
    }
    seconds->rank_tick = label->arrival_tick;
    seconds->last_vote_ms = model_ms;
    // Second 60 gets the number of the one before, so that 00:00:00 is right from its first sample on.
    int64_t utc_s = label->utc_s - (label->of_next_pulse ? 1 : 0) - (label->leap ? 1 : 0);
    int64_t vote_ms = (utc_s - seconds->bias_s) * 1000 - model_ms;
    seconds->votes_ms[seconds->next] = vote_ms;
    seconds->next = (seconds->next + 1u) % OPQ_VOTES;
    seconds->voted += seconds->voted < OPQ_VOTES;
    int64_t offset_s = 0;
    int64_t latency_ms = 0;
    bool elected = elect(seconds, &offset_s, &latency_ms);

    if (seconds->settled) {
        int64_t unusual_ms = seconds->offset_s * 1000 - vote_ms - seconds->latency_ms;
        if (unusual_ms > -SPREAD_MS && unusual_ms < SPREAD_MS) {
            seconds->against = 0;
            seconds->confirmed |= elected && offset_s == seconds->offset_s && confirms(seconds, label);
            return compare(seconds, utc_s - seconds->bias_s, hint);
        }
        seconds->against++;
        int64_t off_s = (unusual_ms < 0 ? SPREAD_MS - unusual_ms : -unusual_ms - SPREAD_MS) /
                        1000; // -1: a second was inserted, and the labels are one late
        seconds->against_s = off_s;
        bool leap = (off_s == 1 || off_s == -1) && opq_seconds_near_leap(label->utc_s, OPQ_NEAR_LEAP_S);
        bool begins = seconds->against >= TURN_OVER_AT_LEAP && seconds->against < OPQ_CONTRADICTED; // not long before
        if (leap && (label->leap ? off_s == -1 : begins)) {
            opq_seconds_leap(seconds, (int8_t)-off_s);
            // Labels that are disputed may have moved for another reason, which the gateway's time shows later.
            bool wider = (seconds->disputed_s > 0 && off_s < 0) || (seconds->disputed_s < 0 && off_s > 0);
            seconds->disputed_s -= wider ? off_s : 0;
            return OPQ_SECONDS_SETTLED;
        }
        if (seconds->against >= OPQ_CONTRADICTED && hint.known && !opq_seconds_near_leap(label->utc_s, HINT_AGES_S)) {
            seconds->disputed_s = hint.offset_s - seconds->offset_s;
        }
        if (seconds->against < TURN_OVER) {
            return OPQ_SECONDS_AGAINST;
        }
        // A receiver that started again does not know better than pulses that were counted without a break; for 12.5
        // minutes it says the same, which is one contradiction. With the gateway's time of its opinion, a second is a
        // leap second that was not announced.
        bool missed_leap = elected && hint.known && hint.offset_s == offset_s && (off_s == 1 || off_s == -1);
        if (seconds->confirmed && !missed_leap && !confirms(seconds, label) && off_s >= -LEAP_OFF_S &&
            off_s <= LEAP_OFF_S) {
            return OPQ_SECONDS_NOTHING;
        }
    }
    if (!elected) {
        return seconds->settled ? OPQ_SECONDS_AGAINST : OPQ_SECONDS_VOTED;
    }
    int64_t bias_s = bias_found_s(offset_s, offset_s + model_ms / 1000, hint); // this label itself may lie
    shift(seconds, bias_s);
    offset_s -= bias_s;
    seconds->disputed_s = hint.known ? hint.offset_s - offset_s : 0;
    seconds->against = 0;
    bool same = seconds->settled && seconds->offset_s == offset_s;
    seconds->confirmed = (same && seconds->confirmed) || confirms(seconds, label) ||
                         (hint.known && hint.offset_s == offset_s);
    seconds->settled = true;
    seconds->latency_ms = latency_ms;
    seconds->offset_s = offset_s;
    return same ? OPQ_SECONDS_AGREES : OPQ_SECONDS_SETTLED;
}
