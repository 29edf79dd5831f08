// `opq.clock` for MicroPython: receiver and pulses into the clock. Names as in app/typings/opq/clock.pyi.
#include <string.h>

#include "board.h"
#include "clock.h"
#include "nmea.h"
#include "py/binary.h"
#include "py/runtime.h"
#include "tick.h"
#include "uart.h"
#include "ubx.h"

enum {
    RECEIVE = 1024,          // 90 ms of 115,200 baud; a receiver sends its 600 bytes once a second
    TRANSMIT = 64,           // CFG-VALSET or CFG-MSG, one a second
    BYTES_AT_ONCE = RECEIVE, // bounded: a poll reads what is there at its start
    CONFIGURE_EACH_S = 10,   // a u-blox that lost its supply loses its configuration
    VALSET_ANSWER_S = 2,     // u-blox answers within a second
};

extern opq_clock_t opq_box_clock; // main.c

static uint8_t receive_bytes[RECEIVE], transmit_bytes[TRANSMIT];
static opq_queue_t receive, transmit;
static opq_nmea_t nmea;
static opq_ubx_t ubx;
static opq_fix_t fix;
static bool started, listening, pulses_only, wants_ubx;
static uint32_t silent_s, sentences_seen, messages_seen;
static uint32_t valset_s; // how long an answer is awaited; 0: none is
static uint32_t request;  // the next CFG-MSG, plus 1; 0: none

static void listen(mp_int_t baud) {
    static mp_int_t running_baud;
    if (!listening) {
        opq_queue_init(&receive, receive_bytes, RECEIVE);
        opq_queue_init(&transmit, transmit_bytes, TRANSMIT);
        static const opq_uart_events_t nothing = {NULL, NULL};
        opq_uart_start(OPQ_UART_GPS, (uint32_t)baud, &transmit, &receive, &nothing);
        opq_nmea_start(&nmea);
        opq_ubx_start(&ubx);
        listening = true;
    } else if (baud != running_baud) {
        opq_uart_baud(OPQ_UART_GPS, (uint32_t)baud);
    }
    running_baud = baud;
}

static void send_valset(void) {
    uint8_t message[OPQ_UBX_VALSET];
    (void)opq_queue_put(&transmit, message, opq_ubx_valset(wants_ubx, message));
    opq_uart_send(OPQ_UART_GPS);
    ubx.valset = OPQ_UBX_VALSET_UNANSWERED;
    valset_s = 1;
    request = 0;
}

// NMEA goes on until NAV-PVT has come: a receiver of generation 6 does not know it.
static void send_request(void) {
    uint8_t message[OPQ_UBX_ENABLE];
    if (request == 0 || (wants_ubx && request > OPQ_UBX_REQUESTS && !ubx.fix_reported)) {
        return;
    }
    request = opq_ubx_request(request - 1, wants_ubx, message) > 0 ? request + 1 : 0;
    if (request > 0) {
        (void)opq_queue_put(&transmit, message, sizeof message);
        opq_uart_send(OPQ_UART_GPS);
    }
}

// What the receiver sends is set where the wanted form does not come; of NMEA only in a receiver that speaks UBX.
static void configure_receiver(void) {
    bool ublox = ubx.messages != messages_seen;
    bool comes = wants_ubx ? ublox : nmea.sentences != sentences_seen;
    silent_s = comes ? 0 : silent_s + 1;
    messages_seen = ubx.messages;
    sentences_seen = nmea.sentences;
    if (valset_s > 0) {
        bool too_old = ubx.valset == OPQ_UBX_VALSET_REFUSED || valset_s > VALSET_ANSWER_S;
        request = too_old ? 1 : request;
        valset_s = too_old || ubx.valset == OPQ_UBX_VALSET_TAKEN ? 0 : valset_s + 1;
    }
    send_request();
    if ((wants_ubx || ublox) && silent_s >= CONFIGURE_EACH_S) {
        send_valset();
        silent_s = 0;
    }
}

// configure(receiver, leap_seconds, pulse_delay_ns, ppb_per_k, ppb_per_k_sigma[, baud[, label_offset_s]])
static mp_obj_t clock_configure(size_t n, const mp_obj_t *args) {
    const char *receiver = mp_obj_str_get_str(args[0]);
    opq_clock_config_t config;
    opq_clock_config_default(&config, OPQ_BOARD_TCXO);
    config.leap_seconds = (int8_t)mp_obj_get_int(args[1]);
    config.pulse_delay_ns = (int32_t)mp_obj_get_int(args[2]);
    config.label_offset_s = n > 6 ? (int8_t)mp_obj_get_int(args[6]) : 0;
    float sigma = mp_obj_get_float_to_f(args[4]);
    if (sigma > 0.0f) { // saved in flash by an earlier start
        config.tcxo_ppb_per_k = mp_obj_get_float_to_f(args[3]);
        config.tcxo_sigma_ppb_per_k = sigma;
    }
    if (started) {
        opq_clock_configure(&opq_box_clock, &config);
    } else {
        opq_clock_init(&opq_box_clock, &config, opq_tick_now());
        started = true;
    }
    pulses_only = strcmp(receiver, "none") == 0; // pulses may still come, and the gateway gives their seconds
    if (!pulses_only) {
        listen(n > 5 ? mp_obj_get_int(args[5]) : 9600);
    }
    wants_ubx = strcmp(receiver, "ubx") == 0;
    silent_s = CONFIGURE_EACH_S; // in the next second
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(clock_configure_obj, 5, 7, clock_configure);

static void handle_message(opq_gps_t what, const opq_label_t *label, const opq_leap_t *leap) {
    if (what == OPQ_GPS_LABEL) {
        opq_clock_label(&opq_box_clock, label);
    } else if (what == OPQ_GPS_LEAP) {
        opq_clock_leap(&opq_box_clock, leap->utc_s, leap->change, leap->leap_seconds);
    }
}

static mp_obj_t clock_poll(void) {
    int64_t tick;
    while (opq_tick_take_pps(&tick)) {
        opq_clock_pps(&opq_box_clock, tick);
    }
    if (!listening || pulses_only) {
        return mp_const_none;
    }
    int64_t now_tick = opq_tick_now();
    for (unsigned i = 0; i < BYTES_AT_ONCE; i++) {
        int byte = opq_queue_take_byte(&receive);
        if (byte < 0) {
            break;
        }
        opq_label_t label;
        opq_leap_t leap;
        handle_message(opq_nmea_push(&nmea, (uint8_t)byte, now_tick, &label, &fix), &label, &leap);
        handle_message(opq_ubx_push(&ubx, (uint8_t)byte, now_tick, &label, &fix, &leap), &label, &leap);
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(clock_poll_obj, clock_poll);

static mp_obj_t clock_second(mp_obj_t temperature) {
    int64_t now_tick = opq_tick_now();
    opq_clock_temperature(&opq_box_clock, now_tick, mp_obj_get_float_to_f(temperature));
    opq_clock_tick(&opq_box_clock, now_tick);
    if (listening && !pulses_only) {
        configure_receiver();
    }
    return MP_OBJ_NEW_SMALL_INT(opq_box_clock.status.state);
}
static MP_DEFINE_CONST_FUN_OBJ_1(clock_second_obj, clock_second);

static mp_obj_t clock_sync(mp_obj_t t_ns, mp_obj_t uncertainty_ns, mp_obj_t ntp) {
    int64_t now_tick = opq_tick_now(); // first: what follows takes time
    int64_t time_ns;
    mp_binary_set_val_array('q', &time_ns, 0, t_ns);
    opq_clock_sync(&opq_box_clock, now_tick, time_ns, (uint32_t)mp_obj_get_int_truncated(uncertainty_ns),
                   mp_obj_is_true(ntp) ? OPQ_SOURCE_NTP : OPQ_SOURCE_FREE);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_3(clock_sync_obj, clock_sync);

static mp_obj_t clock_labels_wrong(void) {
    return MP_OBJ_NEW_SMALL_INT(opq_box_clock.status.labels_wrong & 0x3FFFFFFFu);
}
static MP_DEFINE_CONST_FUN_OBJ_0(clock_labels_wrong_obj, clock_labels_wrong);

// Messages of the receiver that could not be read, since the start.
static mp_obj_t clock_damaged(void) {
    return mp_obj_new_int_from_uint(nmea.checksums + nmea.malformed + nmea.overlong + ubx.checksums + ubx.malformed);
}
static MP_DEFINE_CONST_FUN_OBJ_0(clock_damaged_obj, clock_damaged);

static mp_obj_t clock_seen(void) {
    mp_obj_t items[] = {
        MP_OBJ_NEW_SMALL_INT(fix.satellites),
        mp_obj_new_int(fix.latitude_e7),
        mp_obj_new_int(fix.longitude_e7),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(clock_seen_obj, clock_seen);

static mp_obj_t clock_learnt(void) {
    const opq_clock_status_t *status = &opq_box_clock.status;
    if (!status->learnt) {
        return mp_const_none;
    }
    mp_obj_t items[] = {
        mp_obj_new_float_from_f((float)status->coefficient_pptk / 1000.0f),
        mp_obj_new_float_from_f((float)status->coefficient_sigma_pptk / 1000.0f),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(clock_learnt_obj, clock_learnt);

// status(buffer): copies the status struct (clock.h), for tests and the prompt; without a buffer returns its size.
static mp_obj_t clock_status(size_t n, const mp_obj_t *args) {
    opq_clock_status_t status;
    if (n > 0) {
        mp_buffer_info_t buffer;
        mp_get_buffer_raise(args[0], &buffer, MP_BUFFER_WRITE);
        opq_clock_status(&opq_box_clock, &status);
        memcpy(buffer.buf, &status, buffer.len < sizeof status ? buffer.len : sizeof status);
    }
    return MP_OBJ_NEW_SMALL_INT(sizeof status);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(clock_status_obj, 0, 1, clock_status);

static const mp_rom_map_elem_t clock_globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_clock)},
    {MP_ROM_QSTR(MP_QSTR_FREE), MP_ROM_INT(OPQ_CLOCK_FREE)},
    {MP_ROM_QSTR(MP_QSTR_ACQUIRING), MP_ROM_INT(OPQ_CLOCK_ACQUIRING)},
    {MP_ROM_QSTR(MP_QSTR_LOCKED), MP_ROM_INT(OPQ_CLOCK_LOCKED)},
    {MP_ROM_QSTR(MP_QSTR_HOLDOVER), MP_ROM_INT(OPQ_CLOCK_HOLDOVER)},
    {MP_ROM_QSTR(MP_QSTR_configure), MP_ROM_PTR(&clock_configure_obj)},
    {MP_ROM_QSTR(MP_QSTR_poll), MP_ROM_PTR(&clock_poll_obj)},
    {MP_ROM_QSTR(MP_QSTR_second), MP_ROM_PTR(&clock_second_obj)},
    {MP_ROM_QSTR(MP_QSTR_sync), MP_ROM_PTR(&clock_sync_obj)},
    {MP_ROM_QSTR(MP_QSTR_labels_wrong), MP_ROM_PTR(&clock_labels_wrong_obj)},
    {MP_ROM_QSTR(MP_QSTR_damaged), MP_ROM_PTR(&clock_damaged_obj)},
    {MP_ROM_QSTR(MP_QSTR_seen), MP_ROM_PTR(&clock_seen_obj)},
    {MP_ROM_QSTR(MP_QSTR_learnt), MP_ROM_PTR(&clock_learnt_obj)},
    {MP_ROM_QSTR(MP_QSTR_status), MP_ROM_PTR(&clock_status_obj)},
};
static MP_DEFINE_CONST_DICT(clock_globals, clock_globals_table);

const mp_obj_module_t opq_clock_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&clock_globals,
};
