// `opq.pipeline` for MicroPython: the data path seen from the main thread. Names as in app/typings/opq/pipeline.pyi.
#include <string.h>

#include "console.h"
#include "crash.h"
#include "flash.h"
#include "messages.h"
#include "pipeline.h"
#include "power.h"
#include "py/objstr.h"
#include "py/runtime.h"
#include "tick.h"
#include "uart.h"

// Messages of the main thread are made on its stack; the longest of them is Hello with two texts. The settings and
// what comes in may be longer and have room from the heap.
enum { SHORT = 600 };

static opq_text_t text_of(mp_obj_t object) {
    opq_text_t text;
    text.bytes = mp_obj_str_get_data(object, &text.length);
    return text;
}

static mp_obj_t posted(uint8_t type, const uint8_t *payload, size_t length) {
    return mp_obj_new_bool(length > 0 && opq_pipeline_post(type, payload, length));
}

static mp_obj_t pipeline_poll(void) {
    uint8_t type;
    size_t length;
    opq_command_t command;
    opq_update_data_t data;
    size_t room;
    if (!opq_pipeline_coming(&room)) {
        return mp_const_none;
    }
    uint8_t *payload = m_new(uint8_t, room);  // a heap without room raises here: the command waits for the next call
    mp_obj_t items[4] = {mp_const_none, mp_const_none, mp_const_none, mp_const_none};
    if (!opq_pipeline_receive(&type, payload, room, &length)) {
        m_del(uint8_t, payload, room);
        return mp_const_none;
    }
    if (type == OPQ_COMMAND && opq_read_command(payload, length, &command)) {
        items[1] = MP_OBJ_NEW_SMALL_INT(command.command_id);
        items[2] = MP_OBJ_NEW_SMALL_INT(command.operation);
        items[3] = mp_obj_new_str(command.argument.bytes, command.argument.length);
    } else if (type == OPQ_UPDATE_DATA && opq_read_update_data(payload, length, &data)) {
        items[1] = MP_OBJ_NEW_SMALL_INT(data.command_id);
        items[2] = mp_obj_new_int_from_uint(data.offset);
        items[3] = mp_obj_new_bytes(data.bytes, data.count);
    }
    m_del(uint8_t, payload, room);
    if (items[1] == mp_const_none) {
        return mp_const_none;
    }
    items[0] = MP_OBJ_NEW_SMALL_INT(type);
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(pipeline_poll_obj, pipeline_poll);

static mp_obj_t pipeline_acknowledge(size_t n, const mp_obj_t *args) {
    uint8_t payload[SHORT];
    opq_text_t detail = {.bytes = "", .length = 0};
    if (n > 2) {
        detail = text_of(args[2]);
    }
    return posted(OPQ_ACKNOWLEDGEMENT, payload,
                  opq_write_acknowledgement(payload, sizeof payload, (uint16_t)mp_obj_get_int(args[0]),
                                            (opq_status_t)mp_obj_get_int(args[1]), detail));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(pipeline_acknowledge_obj, 2, 3, pipeline_acknowledge);

static mp_obj_t pipeline_hello(size_t n, const mp_obj_t *args) {
    (void)n;
    uint8_t payload[SHORT];
    opq_hello_t hello = {
        .box_id = (uint32_t)mp_obj_get_int_truncated(args[0]),
        .boot_id = (uint32_t)mp_obj_get_int_truncated(args[1]),
        .rate_millihz = (uint32_t)(OPQ_TICK_HZ * 1000 / OPQ_SAMPLE_TICKS),
        .v_per_lsb = (double)mp_obj_get_float_to_f(args[2]),  // double: the wire's type
        .nominal_v = mp_obj_get_float_to_f(args[3]),
        .nominal_hz = mp_obj_get_float_to_f(args[4]),
        .effective_bits = mp_obj_get_float_to_f(args[5]),
        .block_samples = OPQ_BLOCK_SAMPLES,
        .ring_samples = OPQ_RING_SAMPLES,
        .hardware = text_of(args[6]),
        .firmware = text_of(args[7]),
    };
    return posted(OPQ_HELLO, payload, opq_write_hello(payload, sizeof payload, &hello));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(pipeline_hello_obj, 8, 8, pipeline_hello);

static mp_obj_t pipeline_settings(mp_obj_t sequence, mp_obj_t list) {
    size_t count;
    mp_obj_t *items;
    mp_obj_get_array(list, &count, &items);
    uint8_t *payload = m_new(uint8_t, OPQ_LINK_MAX_PAYLOAD);
    opq_writer_t writer = opq_writer(payload, OPQ_LINK_MAX_PAYLOAD);
    opq_write_settings_head(&writer, (uint32_t)mp_obj_get_int_truncated(sequence), (uint8_t)count);
    for (size_t i = 0; i < count; i++) {
        mp_obj_t *pair;
        mp_obj_get_array_fixed_n(items[i], 2, &pair);
        opq_put_text(&writer, text_of(pair[0]));
        opq_put_text(&writer, text_of(pair[1]));
    }
    mp_obj_t is_posted = posted(OPQ_SETTINGS, payload, writer.failed || count > UINT8_MAX ? 0 : writer.length);
    m_del(uint8_t, payload, OPQ_LINK_MAX_PAYLOAD);
    return is_posted;
}
static MP_DEFINE_CONST_FUN_OBJ_2(pipeline_settings_obj, pipeline_settings);

static mp_obj_t pipeline_gps_status(mp_obj_t satellites, mp_obj_t latitude_e7, mp_obj_t longitude_e7) {
    uint8_t payload[SHORT];
    opq_clock_status_t clock;
    opq_clock_status(opq_pipeline_config()->clock, &clock);
    opq_gps_status_t status = {
        .state = clock.state,
        .satellites = (uint8_t)mp_obj_get_int(satellites),
        .t_ns = clock.t_ns,
        .uncertainty_ns = clock.uncertainty_ns,
        .pps_count = clock.pulses,
        .pps_offset_ns = clock.pulse_offset_ns,
        .latitude_e7 = (int32_t)mp_obj_get_int(latitude_e7),
        .longitude_e7 = (int32_t)mp_obj_get_int(longitude_e7),
        .leap_seconds = clock.leap_seconds,
    };
    return posted(OPQ_GPS_STATUS, payload, opq_write_gps_status(payload, sizeof payload, &status));
}
static MP_DEFINE_CONST_FUN_OBJ_3(pipeline_gps_status_obj, pipeline_gps_status);

static uint32_t most(uint64_t value) { return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value; }

static mp_obj_t pipeline_health(size_t n, const mp_obj_t *args) {
    (void)n;
    uint8_t payload[SHORT];
    opq_acquire_counters_t samples;
    opq_pipeline_counters_t line;
    opq_acquire_counters(&samples);
    opq_pipeline_counters(&line);
    opq_health_t health = {
        .uptime_ms = opq_pipeline_uptime_ms(),
        .temperature_c = mp_obj_get_float_to_f(args[0]),
        .supply_v = mp_obj_get_float_to_f(args[1]),
        .battery_v = mp_obj_get_float_to_f(args[2]),
        .cpu_permille = opq_stages_cpu_permille(opq_pipeline_config()->cycles()),
        .overruns = samples.overruns + samples.reader_overruns,
        .clipped = most(samples.clipped),
        .missing_samples = most(samples.missing),
        .crc_errors = line.link.crc_errors,
        .tx_dropped = line.tx_dropped_bytes,
        .heap_free_bytes = (uint32_t)mp_obj_get_int(args[3]),
        .reset_cause = (uint8_t)mp_obj_get_int(args[4]),
    };
    return posted(OPQ_HEALTH, payload, opq_write_health(payload, sizeof payload, &health));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(pipeline_health_obj, 5, 5, pipeline_health);

// losses(gps_damaged, again) -> sent: all losses since the start; unchanged counts are sent only if `again`.
static mp_obj_t pipeline_losses(mp_obj_t gps_damaged, mp_obj_t again) {
    static uint32_t reported[OPQ_LOST];
    uint8_t payload[SHORT];
    opq_uart_counters_t line = opq_uart_counters(OPQ_UART_LINK), gps = opq_uart_counters(OPQ_UART_GPS);
    opq_pps_counters_t pps = opq_tick_pps_counters();
    opq_acquire_counters_t samples;
    opq_pipeline_counters_t path;
    opq_clock_status_t clock;
    opq_acquire_counters(&samples);
    opq_pipeline_counters(&path);
    opq_clock_status(opq_pipeline_config()->clock, &clock);
    const uint32_t now[OPQ_LOST] = {
        [OPQ_LOST_LINK_OVERRUNS] = line.overruns,
        [OPQ_LOST_LINK_NOISE] = line.noise,
        [OPQ_LOST_LINK_REFUSED] = line.refused,
        [OPQ_LOST_LINK_MALFORMED] = path.link.malformed,
        [OPQ_LOST_LINK_OVERSIZE] = path.link.oversize,
        [OPQ_LOST_LINK_GAPS] = path.link.sequence_gaps,
        [OPQ_LOST_COMMANDS] = path.inbox_refused,
        [OPQ_LOST_GPS_OVERRUNS] = gps.overruns,
        [OPQ_LOST_GPS_NOISE] = gps.noise,
        [OPQ_LOST_GPS_REFUSED] = gps.refused,
        [OPQ_LOST_GPS_DAMAGED] = (uint32_t)mp_obj_get_int_truncated(gps_damaged),
        [OPQ_LOST_PPS_OVERTAKEN] = pps.overcaptured,
        [OPQ_LOST_PPS_DROPPED] = pps.dropped,
        [OPQ_LOST_PPS_REJECTED] = clock.pulses_rejected + clock.pulses_late,
        [OPQ_LOST_BLOCKS] = path.blocks_dropped,
        [OPQ_LOST_RESENDS_GONE] = path.resend_gone,
        [OPQ_LOST_RESENDS] = path.resend_refused,
        [OPQ_LOST_FIGURES] = path.features_lost,
        [OPQ_LOST_TRIGGERS] = samples.grid_errors,
        [OPQ_LOST_PRINTS] = opq_console_lost_bytes(),
    };
    bool changed = memcmp(reported, now, sizeof reported) != 0;
    if ((!changed && !mp_obj_is_true(again)) ||
        !mp_obj_is_true(posted(OPQ_LOSSES, payload, opq_write_numbers(payload, sizeof payload, now, OPQ_LOST)))) {
        return mp_const_false;
    }
    memcpy(reported, now, sizeof reported);
    return mp_const_true;
}
static MP_DEFINE_CONST_FUN_OBJ_2(pipeline_losses_obj, pipeline_losses);

// facts(again, program, program_crc32): as losses, what the chip is set to, what the clock uses, the user's program.
static mp_obj_t pipeline_facts(mp_obj_t again, mp_obj_t program, mp_obj_t program_crc32) {
    static uint32_t reported[OPQ_FACTS];
    uint8_t payload[SHORT];
    opq_clock_status_t clock;
    opq_clock_status(opq_pipeline_config()->clock, &clock);
    const uint32_t now[OPQ_FACTS] = {
        [OPQ_FACT_BROWN_OUT_LEVEL] = opq_power_brown_out_level(),
        [OPQ_FACT_PROTECTED_SECTORS] = opq_flash_protected_sectors(),
        [OPQ_FACT_CHIP_REVISION] = opq_power_revision(),
        [OPQ_FACT_TIME_LABEL] = clock.label,
        [OPQ_FACT_PROGRAM] = (uint32_t)mp_obj_get_int(program),
        [OPQ_FACT_PROGRAM_CRC32] = (uint32_t)mp_obj_get_int_truncated(program_crc32),
    };
    if ((mp_obj_is_true(again) || memcmp(reported, now, sizeof reported) != 0) &&
        mp_obj_is_true(posted(OPQ_BOX_FACTS, payload, opq_write_numbers(payload, sizeof payload, now, OPQ_FACTS)))) {
        memcpy(reported, now, sizeof reported);
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_3(pipeline_facts_obj, pipeline_facts);

// crash(): the record of the crash that led to this start, if there was one.
static mp_obj_t pipeline_crash(void) {
    uint8_t payload[SHORT];
    const uint32_t *words = opq_crash_words();
    if (words != NULL) {
        posted(OPQ_CRASH, payload, opq_write_numbers(payload, sizeof payload, words, OPQ_CRASH_WORDS));
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(pipeline_crash_obj, pipeline_crash);

static mp_obj_t pipeline_log(mp_obj_t code, mp_obj_t a, mp_obj_t b) {
    uint8_t payload[SHORT];
    return posted(OPQ_LOG, payload,
                  opq_write_log(payload, sizeof payload, (uint16_t)mp_obj_get_int(code),
                                (int32_t)mp_obj_get_int_truncated(a), (int32_t)mp_obj_get_int_truncated(b),
                                (uint32_t)opq_pipeline_uptime_ms()));
}
static MP_DEFINE_CONST_FUN_OBJ_3(pipeline_log_obj, pipeline_log);

static mp_obj_t pipeline_restart(void) {
    opq_pipeline_restart();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(pipeline_restart_obj, pipeline_restart);

static mp_obj_t pipeline_features(size_t n, const mp_obj_t *args) {
    (void)n;
    opq_features_config_t config = {
        .rate_hz = (float)OPQ_TICK_HZ / (float)OPQ_SAMPLE_TICKS,
        .nominal_v = mp_obj_get_float_to_f(args[0]),
        .nominal_hz = mp_obj_get_float_to_f(args[1]),
        .v_per_lsb = mp_obj_get_float_to_f(args[2]),
        .limit_pu = {mp_obj_get_float_to_f(args[3]), mp_obj_get_float_to_f(args[4]), mp_obj_get_float_to_f(args[5])},
        .hysteresis_pu = mp_obj_get_float_to_f(args[6]),
    };
    opq_pipeline_features(&config, true);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(pipeline_features_obj, 7, 7, pipeline_features);

static mp_obj_t pipeline_limits(size_t n, const mp_obj_t *args) {
    (void)n;
    const float limit_pu[OPQ_CROSSING_KINDS] = {mp_obj_get_float_to_f(args[0]), mp_obj_get_float_to_f(args[1]),
                                                mp_obj_get_float_to_f(args[2])};
    opq_pipeline_limits(limit_pu, mp_obj_get_float_to_f(args[3]));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(pipeline_limits_obj, 4, 4, pipeline_limits);

static mp_obj_t pipeline_hold(mp_obj_t held) {
    opq_pipeline_hold(mp_obj_is_true(held));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(pipeline_hold_obj, pipeline_hold);

static mp_obj_t pipeline_idle(void) { return mp_obj_new_bool(opq_pipeline_is_idle()); }
static MP_DEFINE_CONST_FUN_OBJ_0(pipeline_idle_obj, pipeline_idle);

// blocks, dropped, tx_dropped_bytes, resent, gone, refused, crossings, measurements, inbox_refused, then the decoder's
static mp_obj_t pipeline_counters(void) {
    opq_pipeline_counters_t c;
    opq_pipeline_counters(&c);
    mp_obj_t items[] = {
        mp_obj_new_int_from_ull(c.blocks),
        mp_obj_new_int_from_uint(c.blocks_dropped),
        mp_obj_new_int_from_uint(c.tx_dropped_bytes),
        mp_obj_new_int_from_uint(c.resent_blocks),
        mp_obj_new_int_from_uint(c.resend_gone),
        mp_obj_new_int_from_uint(c.resend_refused),
        mp_obj_new_int_from_uint(c.crossings),
        mp_obj_new_int_from_uint(c.measurements),
        mp_obj_new_int_from_uint(c.inbox_refused),
        mp_obj_new_int_from_uint(c.link.frames),
        mp_obj_new_int_from_uint(c.link.crc_errors),
        mp_obj_new_int_from_uint(c.link.malformed),
        mp_obj_new_int_from_uint(c.link.oversize),
        mp_obj_new_int_from_uint(c.link.bytes_skipped),
        mp_obj_new_int_from_uint(c.link.sequence_gaps),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(pipeline_counters_obj, pipeline_counters);

static mp_obj_t pipeline_stage(mp_obj_t name) {
    static const char *const names[OPQ_STAGES] = {"decimate", "stamp", "frame", "features", "receive", "resend",
                                                  "total"};
    const char *wanted = mp_obj_str_get_str(name);
    for (int stage = 0; stage < OPQ_STAGES; stage++) {
        if (strcmp(wanted, names[stage]) == 0) {
            opq_stage_cycles_t cycles;
            opq_stages_read((opq_stage_t)stage, &cycles);
            uint32_t calls = cycles.calls;
            mp_obj_t items[] = {
                mp_obj_new_int_from_uint(calls),
                mp_obj_new_int_from_uint(cycles.min),
                mp_obj_new_int_from_uint(calls == 0 ? 0 : (uint32_t)(cycles.sum / calls)),
                mp_obj_new_int_from_uint(cycles.max),
            };
            return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
        }
    }
    mp_raise_ValueError(MP_ERROR_TEXT("no such stage"));
}
static MP_DEFINE_CONST_FUN_OBJ_1(pipeline_stage_obj, pipeline_stage);

static const mp_rom_map_elem_t pipeline_globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_pipeline)},
    {MP_ROM_QSTR(MP_QSTR_COMMAND), MP_ROM_INT(OPQ_COMMAND)},
    {MP_ROM_QSTR(MP_QSTR_UPDATE_DATA), MP_ROM_INT(OPQ_UPDATE_DATA)},
    {MP_ROM_QSTR(MP_QSTR_poll), MP_ROM_PTR(&pipeline_poll_obj)},
    {MP_ROM_QSTR(MP_QSTR_acknowledge), MP_ROM_PTR(&pipeline_acknowledge_obj)},
    {MP_ROM_QSTR(MP_QSTR_hello), MP_ROM_PTR(&pipeline_hello_obj)},
    {MP_ROM_QSTR(MP_QSTR_settings), MP_ROM_PTR(&pipeline_settings_obj)},
    {MP_ROM_QSTR(MP_QSTR_gps_status), MP_ROM_PTR(&pipeline_gps_status_obj)},
    {MP_ROM_QSTR(MP_QSTR_health), MP_ROM_PTR(&pipeline_health_obj)},
    {MP_ROM_QSTR(MP_QSTR_losses), MP_ROM_PTR(&pipeline_losses_obj)},
    {MP_ROM_QSTR(MP_QSTR_facts), MP_ROM_PTR(&pipeline_facts_obj)},
    {MP_ROM_QSTR(MP_QSTR_crash), MP_ROM_PTR(&pipeline_crash_obj)},
    {MP_ROM_QSTR(MP_QSTR_log), MP_ROM_PTR(&pipeline_log_obj)},
    {MP_ROM_QSTR(MP_QSTR_restart), MP_ROM_PTR(&pipeline_restart_obj)},
    {MP_ROM_QSTR(MP_QSTR_features), MP_ROM_PTR(&pipeline_features_obj)},
    {MP_ROM_QSTR(MP_QSTR_limits), MP_ROM_PTR(&pipeline_limits_obj)},
    {MP_ROM_QSTR(MP_QSTR_hold), MP_ROM_PTR(&pipeline_hold_obj)},
    {MP_ROM_QSTR(MP_QSTR_idle), MP_ROM_PTR(&pipeline_idle_obj)},
    {MP_ROM_QSTR(MP_QSTR_counters), MP_ROM_PTR(&pipeline_counters_obj)},
    {MP_ROM_QSTR(MP_QSTR_stage), MP_ROM_PTR(&pipeline_stage_obj)},
};
static MP_DEFINE_CONST_DICT(pipeline_globals, pipeline_globals_table);

const mp_obj_module_t opq_pipeline_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&pipeline_globals,
};
