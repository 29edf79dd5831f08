// Every setting of the Box: its kind, standard value and limits. The app and the gateway's
// commands use these names; units end the names.
#include "settings.h"

#define INTEGER(key, standard, low, high) {key, OPQ_SETTING_INTEGER, standard, low, high, NULL}
#define NUMBER(key, standard, low, high) {key, OPQ_SETTING_NUMBER, standard, low, high, NULL}
#define WORD(key, standard, words) {key, OPQ_SETTING_WORD, standard, 0, 0, words}

const opq_setting_t opq_setting_table[] = {
    INTEGER("box_id", "0", 0, 2147483647),  // 0: not set; Command.box_id is an int32 (docs/reference/opq-interop.md B.1)
    NUMBER("nominal_v", "120", 1, 1000000),
    NUMBER("nominal_hz", "60", 45, 65),         // limits of dsp (dsp/features.c): 42.5 to 69 Hz are measured
    NUMBER("gain", "1", 0.5, 2),                // on the board's v_per_lsb; by `opq-tools calibrate`
    NUMBER("offset_lsb", "0", -32768, 32767),   // mean of the counts, subtracted from each
    NUMBER("phase_ns", "0", -1000000, 1000000), // delay of the analogue front end, subtracted from the time stamps
    NUMBER("dip_pu", "0.9", 0.1, 1),            // IEC 61000-4-30:2015, 5.4.2: 85 to 90 % of nominal
    NUMBER("swell_pu", "1.1", 1, 2),            // 5.4.2: 110 %
    NUMBER("interruption_pu", "0.1", 0, 0.5),   // 5.5: 5 to 10 %
    NUMBER("hysteresis_pu", "0.02", 0, 0.2),    // 5.4.1: usually 2 %
    WORD("converter", "board", "board|internal|external"),
    INTEGER("oversampling", "0", 0, 40),        // 0: the converter's own; else it divides 7,000 timer ticks
    WORD("gps", "nmea", "nmea|ubx|none"),
    INTEGER("gps_baud", "9600", 4800, 460800),
    INTEGER("leap_seconds", "18", 0, 60),       // GPS - UTC since 2017-01-01 (IERS Bulletin C 52); the receiver's is preferred
    INTEGER("cable_delay_ns", "0", 0, 100000),  // antenna cable: about 5 ns/m
    INTEGER("label_offset_s", "0", -1, 1),      // added to the receiver's seconds: -1 if it labels the next pulse
    NUMBER("tcxo_ppb_per_k", "0", -2000, 2000), // learnt while locked
    NUMBER("tcxo_ppb_per_k_sigma", "0", 0, 2000),  // 0: never learnt
    NUMBER("battery_low_v", "3.4", 0, 60),
    NUMBER("supply_low_v", "4.4", 0, 60),
    INTEGER("led_percent", "100", 0, 100),
};
const size_t opq_setting_count = sizeof opq_setting_table / sizeof *opq_setting_table;

_Static_assert(sizeof opq_setting_table / sizeof *opq_setting_table <= OPQ_SETTINGS_MAX, "changed has one bit each");
