// The messages of the serial link: proto/golden/README.md, "The link's layout"; names as opq_proto.link.messages.
//
// Writers put a payload into the caller's buffer through an opq_writer_t; readers parse one. Text
// is a pointer and a length, never terminated. An unknown float is NaN.
#ifndef OPQ_MESSAGES_H
#define OPQ_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    OPQ_HELLO = 0x01,
    OPQ_SAMPLES = 0x02,
    OPQ_MEASUREMENT = 0x03,
    OPQ_CROSSING = 0x04,
    OPQ_GPS_STATUS = 0x05,
    OPQ_HEALTH = 0x06,
    OPQ_LOG = 0x07,
    OPQ_COMMAND = 0x08,
    OPQ_ACKNOWLEDGEMENT = 0x09,
    OPQ_SETTINGS = 0x0A,
    OPQ_RESEND = 0x0B,
    OPQ_UPDATE_DATA = 0x0C,
    OPQ_LOSSES = 0x0D,
    OPQ_BOX_FACTS = 0x0E,
    OPQ_CRASH = 0x0F,
    OPQ_CHANNEL_VALUE = 0x10,
};

enum { OPQ_PROTOCOL = 1, OPQ_MAX_SAMPLES = 900, OPQ_UPDATE_BYTES = 1024 };
enum { OPQ_FLAG_CLIPPED = 1, OPQ_FLAG_OVERRUN_BEFORE = 2, OPQ_FLAG_RESENT = 4 };  // Samples.flags
enum { OPQ_UNKNOWN_UNCERTAINTY = 0xFFFFFFFFU };

typedef enum {
    OPQ_OPERATION_HELLO = 1,
    OPQ_OPERATION_GET_SETTINGS = 2,
    OPQ_OPERATION_PUT_SETTING = 3,
    OPQ_OPERATION_RESET = 4,
    OPQ_OPERATION_SYNC_TIME = 5,
    OPQ_OPERATION_CROSSING_LIMITS = 6,
    OPQ_OPERATION_UPDATE_BEGIN = 7,
    OPQ_OPERATION_UPDATE_END = 8,
    OPQ_OPERATION_REPL = 9,
    OPQ_OPERATION_PROTECT = 10,
    OPQ_OPERATION_PROGRAM = 11,
    OPQ_OPERATION_PROMPT = 12,
} opq_operation_t;

typedef enum {
    OPQ_STATUS_DONE = 0,
    OPQ_STATUS_UNKNOWN = 1,
    OPQ_STATUS_BAD_ARGUMENT = 2,
    OPQ_STATUS_BUSY = 3,
    OPQ_STATUS_FAILED = 4,
} opq_status_t;

typedef struct {
    const char *bytes;
    size_t length;  // at most 255
} opq_text_t;

typedef struct {
    uint32_t box_id;
    uint32_t boot_id;
    uint32_t rate_millihz;
    double v_per_lsb;  // f64 on the wire
    float nominal_v;
    float nominal_hz;
    float effective_bits;
    uint16_t block_samples;
    uint32_t ring_samples;
    opq_text_t hardware;
    opq_text_t firmware;
} opq_hello_t;

typedef struct {
    uint64_t first_sample;
    int64_t t_ns;
    uint32_t uncertainty_ns;
    uint8_t source;
    uint32_t rate_millihz;
    uint8_t flags;
    uint16_t count;
    const int16_t *counts;
} opq_samples_t;

typedef struct {
    uint64_t first_sample;
    uint32_t samples;
    float rms_v;
    float f_hz;
    float thd;
    float trans_v;
} opq_box_measurement_t;

typedef struct {
    uint64_t sample;
    int64_t t_ns;
    uint32_t uncertainty_ns;
    uint8_t source;
    uint8_t kind;  // 1 dip, 2 swell, 3 interruption
    bool entering;
    float rms_v;
    float limit_v;
} opq_crossing_t;

typedef struct {
    uint64_t first_sample;  // of its window
    float value;
    opq_text_t name;
    opq_text_t unit;
} opq_channel_value_t;

typedef struct {
    uint8_t state;
    uint8_t satellites;
    int64_t t_ns;
    uint32_t uncertainty_ns;
    uint32_t pps_count;
    int32_t pps_offset_ns;
    int32_t latitude_e7;
    int32_t longitude_e7;
    int8_t leap_seconds;
} opq_gps_status_t;

typedef struct {
    uint64_t uptime_ms;
    float temperature_c;
    float supply_v;
    float battery_v;
    uint16_t cpu_permille;
    uint32_t overruns;
    uint32_t clipped;
    uint32_t missing_samples;
    uint32_t crc_errors;
    uint32_t tx_dropped;
    uint32_t heap_free_bytes;
    uint8_t reset_cause;
} opq_health_t;

// Losses: counts of what the Box could not receive or store since its start. Wire order: new ones are appended,
// none is removed (opq_proto.link.messages has the same names).
typedef enum {
    OPQ_LOST_LINK_OVERRUNS,  // times that USART1 lost bytes of the gateway: read too late
    OPQ_LOST_LINK_NOISE,     // its bytes with noise or without a stop bit
    OPQ_LOST_LINK_REFUSED,   // its bytes that found the receive queue full
    OPQ_LOST_LINK_MALFORMED, // its frames with an unknown type or bad payload
    OPQ_LOST_LINK_OVERSIZE,  // its runs without a delimiter
    OPQ_LOST_LINK_GAPS,      // places where its sequence jumped
    OPQ_LOST_COMMANDS,       // commands and pieces of an update that found the inbox full
    OPQ_LOST_GPS_OVERRUNS,   // times that USART2 lost bytes of the receiver
    OPQ_LOST_GPS_NOISE,
    OPQ_LOST_GPS_REFUSED,
    OPQ_LOST_GPS_DAMAGED,    // its messages with a wrong checksum or content, cut or too long
    OPQ_LOST_PPS_OVERTAKEN,  // lost pulses: the next came before they were read
    OPQ_LOST_PPS_DROPPED,    // pulses that found their queue full
    OPQ_LOST_PPS_REJECTED,   // pulses rejected, or read too late
    OPQ_LOST_BLOCKS,         // blocks that found the line's queue full; the ring has them still
    OPQ_LOST_RESENDS_GONE,   // blocks requested again that the ring no longer had
    OPQ_LOST_RESENDS,        // spans requested again beyond OPQ_RESENDS
    OPQ_LOST_FIGURES,        // the Box's own measurements and crossings overwritten before they were sent
    OPQ_LOST_TRIGGERS,       // conversions triggered off the grid
    OPQ_LOST_PRINTS,         // bytes printed (tracebacks) and overwritten by newer ones before a prompt showed them
    OPQ_LOST,
} opq_lost_t;

// BoxFacts: what the chip is set to and what the clock uses. Wire order as for Losses.
typedef enum {
    OPQ_FACT_BROWN_OUT_LEVEL,   // option bytes: 0 off, 1 2.10 V, 2 2.40 V, 3 2.70 V
    OPQ_FACT_PROTECTED_SECTORS, // option bytes: a bit for each sector that cannot be written
    OPQ_FACT_CHIP_REVISION,     // REV_ID
    OPQ_FACT_TIME_LABEL,        // what names the seconds: 0 nothing yet, 1 NMEA, 2 UBX, 3 UBX that confirms UTC
    OPQ_FACT_PROGRAM,           // the user's program: 0 none, 1 runs, else why it was stopped (app/user_program.py)
    OPQ_FACT_PROGRAM_CRC32,     // of its text
    OPQ_FACTS,
} opq_fact_t;

typedef struct {
    uint16_t command_id;
    uint8_t operation;
    opq_text_t argument;
} opq_command_t;

typedef struct {
    uint64_t first_sample;
    uint32_t count;
} opq_resend_t;

typedef struct {
    uint16_t command_id;
    uint32_t offset;
    uint16_t count;
    const uint8_t *bytes;
} opq_update_data_t;

// A payload being written. Once something did not fit, `failed` stays and nothing more is written.
typedef struct {
    uint8_t *out;
    size_t room;
    size_t length;
    bool failed;
} opq_writer_t;

opq_writer_t opq_writer(uint8_t *out, size_t room);
void opq_put_u8(opq_writer_t *writer, uint8_t value);
void opq_put_u16(opq_writer_t *writer, uint16_t value);
void opq_put_u32(opq_writer_t *writer, uint32_t value);
void opq_put_u64(opq_writer_t *writer, uint64_t value);
void opq_put_f32(opq_writer_t *writer, float value);
void opq_put_f64(opq_writer_t *writer, double value);
void opq_put_text(opq_writer_t *writer, opq_text_t text);
void opq_put_bytes(opq_writer_t *writer, const uint8_t *data, size_t length);

// Messages of a Box. Each function returns the payload's length, 0 when it does not fit.
size_t opq_write_hello(uint8_t *out, size_t room, const opq_hello_t *hello);
size_t opq_write_samples(uint8_t *out, size_t room, const opq_samples_t *samples);
size_t opq_write_measurement(uint8_t *out, size_t room, const opq_box_measurement_t *measurement);
size_t opq_write_crossing(uint8_t *out, size_t room, const opq_crossing_t *crossing);
size_t opq_write_channel_value(uint8_t *out, size_t room, const opq_channel_value_t *channel);
size_t opq_write_gps_status(uint8_t *out, size_t room, const opq_gps_status_t *status);
size_t opq_write_health(uint8_t *out, size_t room, const opq_health_t *health);
// Losses, BoxFacts and Crash.
size_t opq_write_numbers(uint8_t *out, size_t room, const uint32_t *numbers, uint8_t count);
size_t opq_write_log(uint8_t *out, size_t room, uint16_t code, int32_t a, int32_t b, uint32_t uptime_ms);
size_t opq_write_acknowledgement(uint8_t *out, size_t room, uint16_t command_id, opq_status_t status,
                                 opq_text_t detail);
// Settings: sequence and how many pairs, then the pairs by opq_put_text.
void opq_write_settings_head(opq_writer_t *writer, uint32_t sequence, uint8_t count);

// Messages of a gateway; the writers are for the tools and tests on the PC. False: not a valid payload.
bool opq_read_command(const uint8_t *payload, size_t length, opq_command_t *command);
bool opq_read_resend(const uint8_t *payload, size_t length, opq_resend_t *resend);
bool opq_read_update_data(const uint8_t *payload, size_t length, opq_update_data_t *data);
size_t opq_write_command(uint8_t *out, size_t room, const opq_command_t *command);
size_t opq_write_resend(uint8_t *out, size_t room, const opq_resend_t *resend);
size_t opq_write_update_data(uint8_t *out, size_t room, const opq_update_data_t *data);

// A channel of a user's program: a name of at most OPQ_CHANNEL_NAME of a to z, 0 to 9 and _, and a unit of at most
// OPQ_CHANNEL_UNIT of a to z and 0 to 9; each begins with a letter.
enum { OPQ_CHANNEL_NAME = 16, OPQ_CHANNEL_UNIT = 8 };
bool opq_channel_is_named(opq_text_t name, opq_text_t unit);

// Whether a payload is exactly one message of `type`: sizes, ranges, UTF-8. What opq_proto.link.frames calls
// malformed is false here.
bool opq_message_is_good(uint8_t type, const uint8_t *payload, size_t length);

#endif
