// `opq.program` for MicroPython: device/app/typings/opq/program.pyi. The stored box.py, and calls of its functions.
#include <math.h>
#include <string.h>

#include "crash.h"
#include "link.h"
#include "messages.h"
#include "pipeline.h"
#include "program_budget.h"
#include "program_store.h"
#include "py/objstr.h"
#include "py/objtuple.h"
#include "py/runtime.h"

enum {
    MESSAGES_PER_CALL = 4, // the line's outbox is for commands, health and log as well
    PIECE_BYTES = 180,     // 240 characters of base64 fit into the detail of an acknowledgement
};
// In RAM that a reset keeps, XOR the CRC-32 of the text that is called: the reset came during that call.
#define IN_CALL UINT32_C(0x5842504F)

static volatile uint32_t left_ms; // 0: no call
volatile bool opq_program_over;
static bool expired; // the last call was over its limit
static uint32_t messages_left;
static opq_stamped_window_t current; // without samples: none
static opq_program_t kept; // the stored program
static uint32_t receiving; // the place that is being written

static volatile uint32_t *in_call(void) { return (volatile uint32_t *)(OPQ_CRASH_ADDRESS + sizeof(opq_crash_t)); }

void opq_program_each_ms(void) {
    if (left_ms > 0 && --left_ms == 0) {
        opq_program_over = true;
        mp_sched_keyboard_interrupt();
    }
}

bool opq_program_is_called(void) { return left_ms > 0 || opq_program_over; }

static void end_call(void) {
    left_ms = 0;
    expired = opq_program_over;
    opq_program_over = false;
    MP_STATE_MAIN_THREAD(mp_pending_exception) = MP_OBJ_NULL; // one that came after the program's last byte code
    messages_left = 0;
    *in_call() = 0;
}

// call(crc32, limit_ms, function, *arguments): what it returns or raises; the CRC-32 is of the text that is called.
static mp_obj_t program_call(size_t n, const mp_obj_t *args) {
    nlr_buf_t nlr;
    uint32_t limit_ms = (uint32_t)mp_obj_get_int(args[1]);
    messages_left = MESSAGES_PER_CALL;
    *in_call() = IN_CALL ^ (uint32_t)mp_obj_get_int_truncated(args[0]);
    left_ms = limit_ms + 1u; // the first one may be over at once
    if (nlr_push(&nlr) == 0) {
        mp_obj_t result = mp_call_function_n_kw(args[2], n - 3, 0, args + 3);
        nlr_pop();
        end_call();
        return result;
    }
    end_call();
    nlr_jump(nlr.ret_val);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(program_call_obj, 3, 7, program_call);

static mp_obj_t program_expired(void) { return mp_obj_new_bool(expired); }
static MP_DEFINE_CONST_FUN_OBJ_0(program_expired_obj, program_expired);

// line(error): the innermost line of box.py in its traceback; 0: none.
static mp_obj_t program_line(mp_obj_t error) {
    size_t count, *values;
    qstr file = qstr_find_strn("box.py", 6);
    mp_obj_exception_get_traceback(error, &count, &values);
    for (size_t i = 0; i + 1 < count; i += 3) {
        if (values[i] == file) {
            return MP_OBJ_NEW_SMALL_INT((mp_int_t)values[i + 1]);
        }
    }
    return MP_OBJ_NEW_SMALL_INT(0);
}
static MP_DEFINE_CONST_FUN_OBJ_1(program_line_obj, program_line);

// crashed(): whether the reset before this start came during a call of the stored program; asked once, after load().
static mp_obj_t program_crashed(void) {
    bool crashed = *in_call() == (IN_CALL ^ kept.crc32);
    *in_call() = 0;
    return mp_obj_new_bool(crashed);
}
static MP_DEFINE_CONST_FUN_OBJ_0(program_crashed_obj, program_crashed);

static mp_obj_t program_watch(mp_obj_t on) {
    opq_pipeline_watch_windows(mp_obj_is_true(on));
    if (!mp_obj_is_true(on)) {
        current = (opq_stamped_window_t){0};
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(program_watch_obj, program_watch);

static mp_obj_t known(float value) { return isnan(value) ? mp_const_none : mp_obj_new_float_from_f(value); }

// window(): the oldest window that was not fetched, or None.
static mp_obj_t program_window(void) {
    static const qstr names[] = {
        MP_QSTR_first_sample, MP_QSTR_samples,          MP_QSTR_t_ns,             MP_QSTR_uncertainty_ns,
        MP_QSTR_source,       MP_QSTR_rms_v,            MP_QSTR_f_hz,             MP_QSTR_thd,
        MP_QSTR_trans_v,      MP_QSTR_half_cycle_min_v, MP_QSTR_half_cycle_max_v, MP_QSTR_clipped,
    };
    if (!opq_pipeline_window(&current)) {
        current = (opq_stamped_window_t){0};
        return mp_const_none;
    }
    const opq_feature_window_t *window = &current.window;
    mp_obj_t items[] = {
        mp_obj_new_int_from_ull(window->first_sample),
        mp_obj_new_int_from_uint(window->samples),
        mp_obj_new_int_from_ll(current.t_ns),
        mp_obj_new_int_from_uint(current.uncertainty_ns),
        MP_OBJ_NEW_SMALL_INT(current.source),
        known(window->rms_v),
        known(window->f_hz),
        known(window->thd),
        known(window->trans_v),
        known(window->half_cycle_min_v),
        known(window->half_cycle_max_v),
        mp_obj_new_bool(window->clipped),
    };
    return mp_obj_new_attrtuple(names, MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(program_window_obj, program_window);

static mp_obj_t program_windows_lost(void) { return mp_obj_new_int_from_uint(opq_pipeline_windows_lost()); }
static MP_DEFINE_CONST_FUN_OBJ_0(program_windows_lost_obj, program_windows_lost);

static mp_obj_t posted(uint8_t type, const uint8_t *payload, size_t length) {
    if (messages_left == 0 || length == 0 || !opq_pipeline_post(type, payload, length)) {
        return mp_const_false;
    }
    messages_left--;
    return mp_const_true;
}

// log(a, b): a line of log with two integers.
static mp_obj_t program_log(mp_obj_t a, mp_obj_t b) {
    enum { PROGRAM_LINE = 73 }; // device/app/codes.py
    uint8_t payload[16];
    return posted(OPQ_LOG, payload, opq_write_log(payload, sizeof payload, PROGRAM_LINE,
                                                  (int32_t)mp_obj_get_int_truncated(a),
                                                  (int32_t)mp_obj_get_int_truncated(b),
                                                  (uint32_t)opq_pipeline_uptime_ms()));
}
static MP_DEFINE_CONST_FUN_OBJ_2(program_log_obj, program_log);

// crossing(kind, entering, rms_v, limit_v), at the first sample of the window; False while there is none.
static mp_obj_t program_crossing(size_t n, const mp_obj_t *args) {
    (void)n;
    static const char *const kinds[OPQ_CROSSING_KINDS] = {"dip", "swell", "interruption"};
    const char *wanted = mp_obj_str_get_str(args[0]);
    uint8_t payload[48];
    opq_crossing_t crossing = {
        .sample = current.window.first_sample,
        .t_ns = current.t_ns,
        .uncertainty_ns = current.uncertainty_ns,
        .source = current.source,
        .entering = mp_obj_is_true(args[1]),
        .rms_v = mp_obj_get_float_to_f(args[2]),
        .limit_v = mp_obj_get_float_to_f(args[3]),
    };
    for (uint8_t kind = 0; kind < OPQ_CROSSING_KINDS; kind++) {
        if (strcmp(kinds[kind], wanted) == 0) {
            crossing.kind = (uint8_t)(kind + 1u);
            size_t length = current.window.samples == 0 ? 0 : opq_write_crossing(payload, sizeof payload, &crossing);
            return posted(OPQ_CROSSING, payload, length);
        }
    }
    mp_raise_ValueError(MP_ERROR_TEXT("want dip, swell or interruption"));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(program_crossing_obj, 4, 4, program_crossing);

static opq_text_t text_of(mp_obj_t text) {
    size_t length;
    const char *bytes = mp_obj_str_get_data(text, &length);
    return (opq_text_t){.bytes = bytes, .length = length};
}

// channel(name, unit, value), of the window; False while there is none, and for a value that is not known.
static mp_obj_t program_channel(mp_obj_t name, mp_obj_t unit, mp_obj_t value) {
    uint8_t payload[48];
    opq_channel_value_t channel = {
        .first_sample = current.window.first_sample,
        .value = value == mp_const_none ? NAN : mp_obj_get_float_to_f(value),
        .name = text_of(name),
        .unit = text_of(unit),
    };
    if (!opq_channel_is_named(channel.name, channel.unit)) {
        mp_raise_ValueError(MP_ERROR_TEXT("want a name of 16 a-z 0-9 _ and a unit of 8 a-z 0-9"));
    }
    bool is_known = current.window.samples > 0 && isfinite(channel.value);
    size_t length = is_known ? opq_write_channel_value(payload, sizeof payload, &channel) : 0;
    return posted(OPQ_CHANNEL_VALUE, payload, length);
}
static MP_DEFINE_CONST_FUN_OBJ_3(program_channel_obj, program_channel);

// load() -> (length, crc32, crashes) of the stored program; None: there is none.
static mp_obj_t program_load(void) {
    if (!opq_program_load(opq_flash(), &kept)) {
        kept = (opq_program_t){.sequence = 0};
    }
    if (kept.length == 0) {
        return mp_const_none;
    }
    mp_obj_t items[] = {
        mp_obj_new_int_from_uint(kept.length),
        mp_obj_new_int_from_uint(kept.crc32),
        mp_obj_new_int_from_uint(kept.crashes),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(program_load_obj, program_load);

// A str whose characters stay in flash.
static mp_obj_t text_in_flash(const uint8_t *text, size_t length) {
    mp_obj_str_t *object = mp_obj_malloc(mp_obj_str_t, &mp_type_str);
    object->data = text;
    object->len = length;
    object->hash = qstr_compute_hash(text, length);
    return MP_OBJ_FROM_PTR(object);
}

static mp_obj_t program_text(void) { return text_in_flash(kept.text, kept.length); }
static MP_DEFINE_CONST_FUN_OBJ_0(program_text_obj, program_text);

static mp_obj_t program_piece(mp_obj_t offset) {
    size_t from = (size_t)mp_obj_get_int(offset);
    size_t left = from < kept.length ? kept.length - from : 0;
    return mp_obj_new_bytes(kept.text + (left > 0 ? from : 0), left < PIECE_BYTES ? left : PIECE_BYTES);
}
static MP_DEFINE_CONST_FUN_OBJ_1(program_piece_obj, program_piece);

static opq_nor_status_t erase_but_kept(void) {
    opq_program_t copy = kept;
    uint8_t *text = m_new(uint8_t, kept.length);
    if (kept.length > 0) {
        memcpy(text, kept.text, kept.length);
    }
    copy.text = text;
    opq_nor_status_t status = opq_program_erase(opq_flash(), &copy);
    m_del(uint8_t, text, copy.length);
    (void)program_load();
    return status;
}

// room(): begins a place; an erase, where none is free, takes about 1 s. Returns an opq_nor_status_t.
static mp_obj_t program_room(void) {
    opq_nor_status_t status = OPQ_NOR_OK;
    receiving = opq_program_free_place(opq_flash());
    if (receiving == OPQ_PROGRAM_PLACES) {
        status = erase_but_kept();
        receiving = opq_program_free_place(opq_flash());
    }
    if (receiving < OPQ_PROGRAM_PLACES) {
        status = opq_program_begin(opq_flash(), receiving, kept.sequence + 1u);
    }
    return MP_OBJ_NEW_SMALL_INT(status);
}
static MP_DEFINE_CONST_FUN_OBJ_0(program_room_obj, program_room);

static mp_obj_t program_write(mp_obj_t offset, mp_obj_t piece) {
    mp_buffer_info_t bytes;
    mp_get_buffer_raise(piece, &bytes, MP_BUFFER_READ);
    uint32_t from = (uint32_t)mp_obj_get_int_truncated(offset);
    if (receiving >= OPQ_PROGRAM_PLACES || from > OPQ_PROGRAM_MAX_BYTES || bytes.len > OPQ_PROGRAM_MAX_BYTES - from) {
        return MP_OBJ_NEW_SMALL_INT(OPQ_NOR_BAD_ARGUMENT);
    }
    return MP_OBJ_NEW_SMALL_INT(opq_program_write(opq_flash(), receiving, from, bytes.buf, bytes.len));
}
static MP_DEFINE_CONST_FUN_OBJ_2(program_write_obj, program_write);

// received(length, crc32): the text that was written, or None where its CRC-32 is another.
static mp_obj_t program_received(mp_obj_t length, mp_obj_t crc32) {
    const uint8_t *text = opq_program_text(opq_flash(), receiving);
    size_t bytes = (size_t)mp_obj_get_int(length);
    if (receiving >= OPQ_PROGRAM_PLACES || bytes > OPQ_PROGRAM_MAX_BYTES ||
        opq_crc32(0, text, bytes) != (uint32_t)mp_obj_get_int_truncated(crc32)) {
        return mp_const_none;
    }
    return text_in_flash(text, bytes);
}
static MP_DEFINE_CONST_FUN_OBJ_2(program_received_obj, program_received);

// keep(length, crc32): from here on what was received is the stored program; length 0: there is none.
static mp_obj_t program_keep(mp_obj_t length, mp_obj_t crc32) {
    if (receiving >= OPQ_PROGRAM_PLACES) {
        return MP_OBJ_NEW_SMALL_INT(OPQ_NOR_BAD_ARGUMENT);
    }
    opq_nor_status_t status = opq_program_commit(opq_flash(), receiving, kept.sequence + 1u,
                                                 (uint32_t)mp_obj_get_int(length),
                                                 (uint32_t)mp_obj_get_int_truncated(crc32));
    receiving = OPQ_PROGRAM_PLACES;
    return MP_OBJ_NEW_SMALL_INT(status);
}
static MP_DEFINE_CONST_FUN_OBJ_2(program_keep_obj, program_keep);

static mp_obj_t program_count_crash(void) {
    opq_nor_status_t status = opq_program_count_crash(opq_flash(), &kept);
    (void)program_load();
    return MP_OBJ_NEW_SMALL_INT(status);
}
static MP_DEFINE_CONST_FUN_OBJ_0(program_count_crash_obj, program_count_crash);

static const mp_rom_map_elem_t program_globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_program)},
    {MP_ROM_QSTR(MP_QSTR_log), MP_ROM_PTR(&program_log_obj)},
    {MP_ROM_QSTR(MP_QSTR_crossing), MP_ROM_PTR(&program_crossing_obj)},
    {MP_ROM_QSTR(MP_QSTR_channel), MP_ROM_PTR(&program_channel_obj)},
    {MP_ROM_QSTR(MP_QSTR_call), MP_ROM_PTR(&program_call_obj)},
    {MP_ROM_QSTR(MP_QSTR_expired), MP_ROM_PTR(&program_expired_obj)},
    {MP_ROM_QSTR(MP_QSTR_line), MP_ROM_PTR(&program_line_obj)},
    {MP_ROM_QSTR(MP_QSTR_crashed), MP_ROM_PTR(&program_crashed_obj)},
    {MP_ROM_QSTR(MP_QSTR_watch), MP_ROM_PTR(&program_watch_obj)},
    {MP_ROM_QSTR(MP_QSTR_window), MP_ROM_PTR(&program_window_obj)},
    {MP_ROM_QSTR(MP_QSTR_windows_lost), MP_ROM_PTR(&program_windows_lost_obj)},
    {MP_ROM_QSTR(MP_QSTR_load), MP_ROM_PTR(&program_load_obj)},
    {MP_ROM_QSTR(MP_QSTR_text), MP_ROM_PTR(&program_text_obj)},
    {MP_ROM_QSTR(MP_QSTR_piece), MP_ROM_PTR(&program_piece_obj)},
    {MP_ROM_QSTR(MP_QSTR_room), MP_ROM_PTR(&program_room_obj)},
    {MP_ROM_QSTR(MP_QSTR_write), MP_ROM_PTR(&program_write_obj)},
    {MP_ROM_QSTR(MP_QSTR_received), MP_ROM_PTR(&program_received_obj)},
    {MP_ROM_QSTR(MP_QSTR_keep), MP_ROM_PTR(&program_keep_obj)},
    {MP_ROM_QSTR(MP_QSTR_count_crash), MP_ROM_PTR(&program_count_crash_obj)},
    {MP_ROM_QSTR(MP_QSTR_MAX_BYTES), MP_ROM_INT(OPQ_PROGRAM_MAX_BYTES)},
    {MP_ROM_QSTR(MP_QSTR_CRASHES), MP_ROM_INT(OPQ_PROGRAM_CRASHES)},
};
static MP_DEFINE_CONST_DICT(program_globals, program_globals_table);

const mp_obj_module_t opq_program_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&program_globals,
};
