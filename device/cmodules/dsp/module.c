// `opq.dsp` for MicroPython: features of given samples, for tests and golden vectors. The Box's own stream is computed in
// `pipeline`, which has another instance. `Features` lives on the heap.
//
//     f = dsp.Features(rate_hz, nominal_hz, nominal_v, v_per_lsb, dip_pu, swell_pu, interruption_pu, hysteresis_pu)
//     f.push(int16_buffer, first_sample, clipped)
//     f.measurement() -> (first_sample, samples, rms_v, f_hz, thd, trans_v, min_v, max_v, clipped) or None
//     f.crossing() -> (sample, kind, entering, rms_v, limit_v) or None
//     f.half_cycle() -> (sample, begin, cycle_samples, rms_v) or None
#include "dsp.h"
#include "py/runtime.h"

typedef struct {
    mp_obj_base_t base;
    opq_features_t features;
} features_obj_t;

static opq_features_t *features_of(mp_obj_t self) { return &((features_obj_t *)MP_OBJ_TO_PTR(self))->features; }

static mp_obj_t features_make_new(const mp_obj_type_t *type, size_t n, size_t keywords, const mp_obj_t *args) {
    mp_arg_check_num(n, keywords, 8, 8, false);
    float values[8];
    for (size_t k = 0; k < 8; k++) {
        values[k] = mp_obj_get_float_to_f(args[k]);
    }
    opq_features_config_t config = {
        .rate_hz = values[0],
        .nominal_hz = values[1],
        .nominal_v = values[2],
        .v_per_lsb = values[3],
        .limit_pu = {values[4], values[5], values[6]},
        .hysteresis_pu = values[7],
    };
    features_obj_t *self = mp_obj_malloc(features_obj_t, type);
    if (opq_features_init(&self->features, &config) != OPQ_FEATURES_OK) {
        mp_raise_ValueError(MP_ERROR_TEXT("bad configuration"));
    }
    return MP_OBJ_FROM_PTR(self);
}

static mp_obj_t features_push(size_t n, const mp_obj_t *args) {
    (void)n;
    mp_buffer_info_t buffer;
    mp_get_buffer_raise(args[1], &buffer, MP_BUFFER_READ);
    mp_obj_t upper = mp_binary_op(MP_BINARY_OP_RSHIFT, args[2], MP_OBJ_NEW_SMALL_INT(32));
    uint64_t first =
        (uint64_t)(uint32_t)mp_obj_get_int_truncated(upper) << 32 | (uint32_t)mp_obj_get_int_truncated(args[2]);
    opq_features_push(features_of(args[0]), buffer.buf, buffer.len / sizeof(int16_t), first, mp_obj_is_true(args[3]));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(features_push_obj, 4, 4, features_push);

static mp_obj_t features_measurement(mp_obj_t self) {
    opq_feature_window_t found;
    if (!opq_features_measurement(features_of(self), &found)) {
        return mp_const_none;
    }
    mp_obj_t items[] = {
        mp_obj_new_int_from_ull(found.first_sample),
        mp_obj_new_int_from_uint(found.samples),
        mp_obj_new_float_from_f(found.rms_v),
        mp_obj_new_float_from_f(found.f_hz),
        mp_obj_new_float_from_f(found.thd),
        mp_obj_new_float_from_f(found.trans_v),
        mp_obj_new_float_from_f(found.half_cycle_min_v),
        mp_obj_new_float_from_f(found.half_cycle_max_v),
        mp_obj_new_bool(found.clipped),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_1(features_measurement_obj, features_measurement);

static mp_obj_t features_crossing(mp_obj_t self) {
    opq_feature_crossing_t found;
    if (!opq_features_crossing(features_of(self), &found)) {
        return mp_const_none;
    }
    mp_obj_t items[] = {
        mp_obj_new_int_from_ull(found.sample),
        MP_OBJ_NEW_SMALL_INT(found.kind),
        mp_obj_new_bool(found.entering),
        mp_obj_new_float_from_f(found.rms_v),
        mp_obj_new_float_from_f(found.limit_v),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_1(features_crossing_obj, features_crossing);

static mp_obj_t features_half_cycle(mp_obj_t self) {
    opq_half_cycle_t found;
    if (!opq_features_half_cycle(features_of(self), &found)) {
        return mp_const_none;
    }
    mp_obj_t items[] = {
        mp_obj_new_int_from_ull(found.sample),
        mp_obj_new_float_from_f(found.begin),
        mp_obj_new_float_from_f(found.cycle_samples),
        mp_obj_new_float_from_f(found.rms_v),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_1(features_half_cycle_obj, features_half_cycle);

static const mp_rom_map_elem_t features_locals_table[] = {
    {MP_ROM_QSTR(MP_QSTR_push), MP_ROM_PTR(&features_push_obj)},
    {MP_ROM_QSTR(MP_QSTR_measurement), MP_ROM_PTR(&features_measurement_obj)},
    {MP_ROM_QSTR(MP_QSTR_crossing), MP_ROM_PTR(&features_crossing_obj)},
    {MP_ROM_QSTR(MP_QSTR_half_cycle), MP_ROM_PTR(&features_half_cycle_obj)},
};
static MP_DEFINE_CONST_DICT(features_locals, features_locals_table);

static MP_DEFINE_CONST_OBJ_TYPE(features_type, MP_QSTR_Features, MP_TYPE_FLAG_NONE, make_new, features_make_new,
                                locals_dict, &features_locals);

static const mp_rom_map_elem_t dsp_globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_dsp)},
    {MP_ROM_QSTR(MP_QSTR_Features), MP_ROM_PTR(&features_type)},
    {MP_ROM_QSTR(MP_QSTR_DIP), MP_ROM_INT(OPQ_CROSSING_DIP)},
    {MP_ROM_QSTR(MP_QSTR_SWELL), MP_ROM_INT(OPQ_CROSSING_SWELL)},
    {MP_ROM_QSTR(MP_QSTR_INTERRUPTION), MP_ROM_INT(OPQ_CROSSING_INTERRUPTION)},
};
static MP_DEFINE_CONST_DICT(dsp_globals, dsp_globals_table);

const mp_obj_module_t opq_dsp_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&dsp_globals,
};
