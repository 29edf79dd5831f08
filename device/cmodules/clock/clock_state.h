// Clock state: the data of the clock and its reports. clock.h has the functions.
#ifndef OPQ_CLOCK_STATE_H
#define OPQ_CLOCK_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "label.h"
#include "loop.h"
#include "seconds.h"
#include "tcxo.h"
#include "ticks.h"
#include "timeline.h"
#include "train.h"

typedef enum { // the link's numbers (GpsStatus.state)
    OPQ_CLOCK_FREE = 0,
    OPQ_CLOCK_ACQUIRING = 1,
    OPQ_CLOCK_LOCKED = 2,
    OPQ_CLOCK_HOLDOVER = 3,
} opq_clock_state_t;

typedef struct {
    uint32_t sample_ticks;      // 7000: 12 kS/s
    int32_t pulse_delay_ns;     // antenna cable and receiver: delay of the edge after the second
    int8_t leap_seconds;        // GPS - UTC as known at build time or from the settings
    int8_t label_offset_s;      // added to each label: -1 for a receiver that names the pulse to come
    float tcxo_ppb_per_k;       // initial estimate from the settings; > 0: faster when warm
    float tcxo_sigma_ppb_per_k; // its uncertainty (1 sigma)
    float sensor_lag_s;         // the sensor follows the crystal with this delay
} opq_clock_config_t;

typedef struct {
    uint8_t state;       // opq_clock_state_t
    uint8_t source;      // opq_time_source_t of a stamp given now
    bool learnt;         // the temperature coefficient was learnt over >= 3 K while locked
    bool labelled;       // the number of the second is settled
    int8_t leap_seconds; // GPS - UTC
    uint8_t label;       // what names the seconds: 0 nothing yet, else 1 + opq_label_kind_t
    int64_t t_ns;        // at the last opq_clock_tick
    uint32_t uncertainty_ns;
    uint32_t rate_millihz;
    int32_t pulse_offset_ns;  // last accepted pulse minus its forecast
    int32_t frequency_ppb;    // the oscillator: > 0 is fast
    int32_t coefficient_pptk; // learnt, parts per trillion per kelvin (ppb / K * 1000)
    int32_t coefficient_sigma_pptk;
    int32_t temperature_mk;   // of the crystal as estimated, millikelvin above 0 degrees C; INT32_MIN unknown
    int32_t slewing_ns;       // remaining correction; positive: stamps are late
    uint32_t pulses;          // accepted
    uint32_t pulses_rejected; // glitches, doubles, trains that contradict a better clock
    uint32_t pulses_missed;
    uint32_t pulses_late;     // read too late to be used
    uint32_t labels;          // valid ones
    uint32_t labels_wrong;    // of those, with another second than the settled one
    uint32_t label_conflicts; // the gateway's time and the receiver's differ by whole seconds
    uint32_t steps;           // the timeline jumped forward
    uint32_t steps_back;      // backward, more than 10 s: only if the time given before was so wrong
    uint32_t holdovers;
    int64_t last_step_ns;
} opq_clock_status_t;

// About 2.2 KB; static, one per Box.
typedef struct opq_clock {
    opq_timeline_t timeline;
    opq_clock_config_t config;
    opq_clock_status_t status;
    opq_trains_t trains;
    opq_loop_t gps; // against pulses; its seconds are counted from the start
    opq_loop_t net; // against the gateway's time
    opq_seconds_t seconds;
    opq_thermometer_t thermometer;
    opq_tcxo_t tcxo;
    int64_t start_tick;
    int64_t good_tick;      // last accepted pulse
    int64_t net_tick;       // last accepted sync
    int64_t published_tick; // where the newest piece begins
    int64_t leap_tick;      // where an announced leap second begins
    int64_t leap_end_tick;  // and where it ends
    uint32_t gps_pulses;    // since the loop began
    uint32_t net_syncs;
    uint32_t net_refused; // in a row
    uint32_t net_uncertainty_ns;
    uint8_t net_source;
    int8_t leap_change; // of the announced leap second; 0: none
    bool gps_running;
    bool gps_trusted; // converged and with settled seconds: stamps follow it
    bool holding;
    bool leap_received; // the receiver gave the leap seconds: the settings' are not used
    bool crawling;   // the timeline waits for a time that was set back
} opq_clock_t;

#endif
