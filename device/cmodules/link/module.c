// `opq.link` for MicroPython: the codes of the serial link alone, so that the golden vectors test the
// same C code as in the firmware. `pipeline` has the line itself.
#include <string.h>

#include "link.h"
#include "py/objlist.h"
#include "py/runtime.h"

static mp_obj_t link_crc32(size_t n, const mp_obj_t *args) {
    mp_buffer_info_t data;
    mp_get_buffer_raise(args[0], &data, MP_BUFFER_READ);
    uint32_t crc = n > 1 ? (uint32_t)mp_obj_get_int_truncated(args[1]) : 0;
    return mp_obj_new_int_from_uint(opq_crc32(crc, data.buf, data.len));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(link_crc32_obj, 1, 2, link_crc32);

static mp_obj_t link_cobs_encode(mp_obj_t object) {
    mp_buffer_info_t data;
    vstr_t out;
    mp_get_buffer_raise(object, &data, MP_BUFFER_READ);
    vstr_init_len(&out, data.len + data.len / 254 + 1);
    out.len = opq_cobs_encode(data.buf, data.len, (uint8_t *)out.buf);
    return mp_obj_new_bytes_from_vstr(&out);
}
static MP_DEFINE_CONST_FUN_OBJ_1(link_cobs_encode_obj, link_cobs_encode);

static mp_obj_t link_cobs_decode(mp_obj_t object) {
    mp_buffer_info_t data;
    vstr_t out;
    mp_get_buffer_raise(object, &data, MP_BUFFER_READ);
    vstr_init_len(&out, data.len + 1);
    out.len = opq_cobs_decode(data.buf, data.len, (uint8_t *)out.buf);
    if (out.len == SIZE_MAX) {
        return mp_const_none;
    }
    return mp_obj_new_bytes_from_vstr(&out);
}
static MP_DEFINE_CONST_FUN_OBJ_1(link_cobs_decode_obj, link_cobs_decode);

// frame(type, sequence, payload)
static mp_obj_t link_frame(mp_obj_t type, mp_obj_t sequence, mp_obj_t object) {
    mp_buffer_info_t data;
    vstr_t out;
    mp_get_buffer_raise(object, &data, MP_BUFFER_READ);
    vstr_init_len(&out, OPQ_LINK_MAX_FRAME);
    out.len = opq_frame_write((uint8_t *)out.buf, OPQ_LINK_MAX_FRAME, (uint8_t)mp_obj_get_int(type),
                              (uint16_t)mp_obj_get_int(sequence), data.buf, data.len);
    if (out.len == 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("payload too long"));
    }
    return mp_obj_new_bytes_from_vstr(&out);
}
static MP_DEFINE_CONST_FUN_OBJ_3(link_frame_obj, link_frame);

// decode(bytes) -> ([(type, sequence, payload) ...], (crc_errors, malformed, oversize, bytes_skipped, sequence_gaps))
static mp_obj_t link_decode(mp_obj_t object) {
    mp_buffer_info_t data;
    mp_get_buffer_raise(object, &data, MP_BUFFER_READ);
    opq_decoder_t *decoder = m_new(opq_decoder_t, 1);
    opq_decoder_init(decoder);
    mp_obj_t found = mp_obj_new_list(0, NULL);
    for (size_t i = 0; i < data.len; i++) {
        opq_frame_t frame;
        if (opq_decoder_push(decoder, ((const uint8_t *)data.buf)[i], &frame)) {
            mp_obj_t items[] = {
                MP_OBJ_NEW_SMALL_INT(frame.type),
                MP_OBJ_NEW_SMALL_INT(frame.sequence),
                mp_obj_new_bytes(frame.payload, frame.length),
            };
            mp_obj_list_append(found, mp_obj_new_tuple(MP_ARRAY_SIZE(items), items));
        }
    }
    const opq_link_counters_t *count = &decoder->counters;
    mp_obj_t counts[] = {
        mp_obj_new_int_from_uint(count->crc_errors),    mp_obj_new_int_from_uint(count->malformed),
        mp_obj_new_int_from_uint(count->oversize),      mp_obj_new_int_from_uint(count->bytes_skipped),
        mp_obj_new_int_from_uint(count->sequence_gaps),
    };
    m_del(opq_decoder_t, decoder, 1);
    mp_obj_t both[] = {found, mp_obj_new_tuple(MP_ARRAY_SIZE(counts), counts)};
    return mp_obj_new_tuple(MP_ARRAY_SIZE(both), both);
}
static MP_DEFINE_CONST_FUN_OBJ_1(link_decode_obj, link_decode);

static const mp_rom_map_elem_t link_globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_link)},
    {MP_ROM_QSTR(MP_QSTR_crc32), MP_ROM_PTR(&link_crc32_obj)},
    {MP_ROM_QSTR(MP_QSTR_cobs_encode), MP_ROM_PTR(&link_cobs_encode_obj)},
    {MP_ROM_QSTR(MP_QSTR_cobs_decode), MP_ROM_PTR(&link_cobs_decode_obj)},
    {MP_ROM_QSTR(MP_QSTR_frame), MP_ROM_PTR(&link_frame_obj)},
    {MP_ROM_QSTR(MP_QSTR_decode), MP_ROM_PTR(&link_decode_obj)},
};
static MP_DEFINE_CONST_DICT(link_globals, link_globals_table);

const mp_obj_module_t opq_link_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&link_globals,
};
