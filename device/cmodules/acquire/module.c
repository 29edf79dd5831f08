// `opq.acquire` for MicroPython: the converter, its counters and the slow channels. Names as in app/typings/opq/acquire.pyi.
#include <string.h>

#include "acquire.h"
#include "board.h"
#include "pipeline.h"
#include "power.h"
#include "py/runtime.h"
#include "slow.h"

static mp_obj_t acquire_start(size_t n, const mp_obj_t *args) {
    (void)n;
    const char *name = mp_obj_str_get_str(args[0]);
    if (strcmp(name, "board") == 0) {
        name = OPQ_BOARD_CONVERTER_INTERNAL ? "internal" : "external";
    }
    if (opq_power_clock() == OPQ_CLOCK_SLOW) { // no PLL: no timer runs at its rate
        return MP_OBJ_NEW_SMALL_INT(OPQ_ACQUIRE_NO_CLOCK);
    }
    const opq_converter_t *converter = opq_converter(name);
    if (converter == NULL) {
        return MP_OBJ_NEW_SMALL_INT(OPQ_ACQUIRE_NO_DEVICE);
    }
    mp_int_t oversampling = mp_obj_get_int(args[1]);
    const opq_pipeline_config_t *line = opq_pipeline_config();
    opq_acquire_config_t config = {
        .offset_lsb = (int16_t)mp_obj_get_int(args[2]),
        .delay_ticks = (int32_t)mp_obj_get_int(args[3]),
        .wake = line->wake,
        .cycles = line->cycles,
        .spent = opq_stages_decimated,
    };
    return MP_OBJ_NEW_SMALL_INT(opq_acquire_start(
        converter, oversampling == 0 ? converter->oversampling_default : (uint32_t)oversampling, line->now_tick(), &config));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(acquire_start_obj, 4, 4, acquire_start);

static mp_obj_t acquire_stop(void) {
    opq_acquire_stop();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(acquire_stop_obj, acquire_stop);

static mp_obj_t acquire_converter(void) {
    const opq_converter_t *converter = opq_acquire_converter();
    if (converter == NULL) {
        return mp_const_none;
    }
    uint32_t oversampling = opq_acquire_oversampling();
    mp_obj_t items[] = {
        mp_obj_new_str(converter->name, strlen(converter->name)),
        MP_OBJ_NEW_SMALL_INT(oversampling),
        mp_obj_new_float_from_f(opq_effective_bits(converter, oversampling)),
        mp_obj_new_float_from_f(converter->v_per_lsb),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(acquire_converter_obj, acquire_converter);

static mp_obj_t acquire_head(void) { return mp_obj_new_int_from_ull(opq_acquire_head()); }
static MP_DEFINE_CONST_FUN_OBJ_0(acquire_head_obj, acquire_head);

static mp_obj_t acquire_ring_samples(void) { return MP_OBJ_NEW_SMALL_INT(OPQ_RING_SAMPLES); }
static MP_DEFINE_CONST_FUN_OBJ_0(acquire_ring_samples_obj, acquire_ring_samples);

static mp_obj_t acquire_counters(void) {
    opq_acquire_counters_t counters;
    opq_acquire_counters(&counters);
    mp_obj_t items[] = {
        mp_obj_new_int_from_ull(counters.samples),    mp_obj_new_int_from_ull(counters.missing),
        mp_obj_new_int_from_ull(counters.clipped),    mp_obj_new_int_from_uint(counters.overruns),
        mp_obj_new_int_from_uint(counters.reader_overruns), mp_obj_new_int_from_uint(counters.grid_errors),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(acquire_counters_obj, acquire_counters);

static mp_obj_t acquire_read(mp_obj_t first, mp_obj_t into) { // copies int16 samples; returns how many the ring had
    mp_buffer_info_t buffer;
    mp_get_buffer_raise(into, &buffer, MP_BUFFER_WRITE);
    mp_obj_t high = mp_binary_op(MP_BINARY_OP_RSHIFT, first, MP_OBJ_NEW_SMALL_INT(32)); // no 64-bit getter in 1.25
    uint64_t index = (uint64_t)(uint32_t)mp_obj_get_int_truncated(high) << 32 | (uint32_t)mp_obj_get_int_truncated(first);
    return MP_OBJ_NEW_SMALL_INT(opq_acquire_read(index, buffer.len / sizeof(int16_t), buffer.buf));
}
static MP_DEFINE_CONST_FUN_OBJ_2(acquire_read_obj, acquire_read);

static mp_obj_t acquire_slow(void) {
    static const opq_slow_scale_t dividers = {
        .supply_divider = OPQ_BOARD_SUPPLY_DIVIDER,
        .battery_divider = OPQ_BOARD_BATTERY_DIVIDER,
    };
    opq_slow_scale_t scale = dividers;
    scale.vrefint_cal = VREFINT_CAL;
    scale.ts_cal1 = TS_CAL1;
    scale.ts_cal2 = TS_CAL2;
    opq_slow_counts_t counts;
    opq_slow_values_t values;
    opq_slow_counts(&counts);
    opq_slow_values(&counts, &scale, &values);
    mp_obj_t items[] = {
        mp_obj_new_float_from_f(values.vdda_v),
        mp_obj_new_float_from_f(values.supply_v),
        mp_obj_new_float_from_f(values.battery_v),
        mp_obj_new_float_from_f(values.temperature_c),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(acquire_slow_obj, acquire_slow);

static const mp_rom_map_elem_t acquire_globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_acquire)},
    {MP_ROM_QSTR(MP_QSTR_start), MP_ROM_PTR(&acquire_start_obj)},
    {MP_ROM_QSTR(MP_QSTR_stop), MP_ROM_PTR(&acquire_stop_obj)},
    {MP_ROM_QSTR(MP_QSTR_converter), MP_ROM_PTR(&acquire_converter_obj)},
    {MP_ROM_QSTR(MP_QSTR_head), MP_ROM_PTR(&acquire_head_obj)},
    {MP_ROM_QSTR(MP_QSTR_ring_samples), MP_ROM_PTR(&acquire_ring_samples_obj)},
    {MP_ROM_QSTR(MP_QSTR_counters), MP_ROM_PTR(&acquire_counters_obj)},
    {MP_ROM_QSTR(MP_QSTR_read), MP_ROM_PTR(&acquire_read_obj)},
    {MP_ROM_QSTR(MP_QSTR_slow), MP_ROM_PTR(&acquire_slow_obj)},
    {MP_ROM_QSTR(MP_QSTR_OK), MP_ROM_INT(OPQ_ACQUIRE_OK)},
    {MP_ROM_QSTR(MP_QSTR_BAD_OVERSAMPLING), MP_ROM_INT(OPQ_ACQUIRE_BAD_OVERSAMPLING)},
    {MP_ROM_QSTR(MP_QSTR_BUSY), MP_ROM_INT(OPQ_ACQUIRE_BUSY)},
    {MP_ROM_QSTR(MP_QSTR_NO_CLOCK), MP_ROM_INT(OPQ_ACQUIRE_NO_CLOCK)},
    {MP_ROM_QSTR(MP_QSTR_NO_DEVICE), MP_ROM_INT(OPQ_ACQUIRE_NO_DEVICE)},
};
static MP_DEFINE_CONST_DICT(acquire_globals, acquire_globals_table);

const mp_obj_module_t opq_acquire_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&acquire_globals,
};
