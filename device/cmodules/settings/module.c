// `opq.settings` for MicroPython: device/app/typings/opq/settings.pyi. One set of values, loaded once.
#include <string.h>

#include "py/runtime.h"
#include "settings.h"

static opq_settings_t values;

static mp_obj_t settings_load(void) { return MP_OBJ_NEW_SMALL_INT(opq_settings_load(&values, opq_flash())); }
static MP_DEFINE_CONST_FUN_OBJ_0(settings_load_obj, settings_load);

// A text of the caller; it has no zero byte, which C would take for its end.
static const char *text(mp_obj_t object) {
    size_t length;
    const char *found = mp_obj_str_get_data(object, &length);
    return strlen(found) == length ? found : "";
}

static const char *known(mp_obj_t key) {
    const char *value = opq_settings_get(&values, text(key));
    if (value == NULL) {
        mp_raise_type_arg(&mp_type_KeyError, key);
    }
    return value;
}

static mp_obj_t settings_get(mp_obj_t key) {
    const char *value = known(key);
    return mp_obj_new_str(value, strlen(value));
}
static MP_DEFINE_CONST_FUN_OBJ_1(settings_get_obj, settings_get);

static mp_obj_t settings_integer(mp_obj_t key) {
    known(key);
    return mp_obj_new_int(opq_settings_integer(&values, text(key), 0));
}
static MP_DEFINE_CONST_FUN_OBJ_1(settings_integer_obj, settings_integer);

static mp_obj_t settings_number(mp_obj_t key) {
    known(key);
    return mp_obj_new_float((mp_float_t)opq_settings_number(&values, text(key), 0));
}
static MP_DEFINE_CONST_FUN_OBJ_1(settings_number_obj, settings_number);

static mp_obj_t settings_put(mp_obj_t key, mp_obj_t value) {
    return MP_OBJ_NEW_SMALL_INT(opq_settings_put(&values, text(key), text(value)));
}
static MP_DEFINE_CONST_FUN_OBJ_2(settings_put_obj, settings_put);

static mp_obj_t settings_save(void) { return MP_OBJ_NEW_SMALL_INT(opq_settings_save(&values)); }
static MP_DEFINE_CONST_FUN_OBJ_0(settings_save_obj, settings_save);

static mp_obj_t settings_sequence(void) { return mp_obj_new_int_from_uint(values.sequence); }
static MP_DEFINE_CONST_FUN_OBJ_0(settings_sequence_obj, settings_sequence);

static mp_obj_t settings_rejected(void) { return mp_obj_new_int_from_uint(values.rejected); }
static MP_DEFINE_CONST_FUN_OBJ_0(settings_rejected_obj, settings_rejected);

static mp_obj_t settings_items(void) {
    mp_obj_t list = mp_obj_new_list(0, NULL);
    for (size_t i = 0; i < opq_setting_count; i++) {
        mp_obj_t pair[] = {
            mp_obj_new_str(opq_setting_table[i].key, strlen(opq_setting_table[i].key)),
            mp_obj_new_str(values.values[i], strlen(values.values[i])),
        };
        mp_obj_list_append(list, mp_obj_new_tuple(2, pair));
    }
    return list;
}
static MP_DEFINE_CONST_FUN_OBJ_0(settings_items_obj, settings_items);

static const mp_rom_map_elem_t settings_globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_settings)},
    {MP_ROM_QSTR(MP_QSTR_load), MP_ROM_PTR(&settings_load_obj)},
    {MP_ROM_QSTR(MP_QSTR_get), MP_ROM_PTR(&settings_get_obj)},
    {MP_ROM_QSTR(MP_QSTR_integer), MP_ROM_PTR(&settings_integer_obj)},
    {MP_ROM_QSTR(MP_QSTR_number), MP_ROM_PTR(&settings_number_obj)},
    {MP_ROM_QSTR(MP_QSTR_put), MP_ROM_PTR(&settings_put_obj)},
    {MP_ROM_QSTR(MP_QSTR_save), MP_ROM_PTR(&settings_save_obj)},
    {MP_ROM_QSTR(MP_QSTR_sequence), MP_ROM_PTR(&settings_sequence_obj)},
    {MP_ROM_QSTR(MP_QSTR_rejected), MP_ROM_PTR(&settings_rejected_obj)},
    {MP_ROM_QSTR(MP_QSTR_items), MP_ROM_PTR(&settings_items_obj)},
    {MP_ROM_QSTR(MP_QSTR_OK), MP_ROM_INT(OPQ_SETTINGS_OK)},
    {MP_ROM_QSTR(MP_QSTR_UNKNOWN_KEY), MP_ROM_INT(OPQ_SETTINGS_UNKNOWN_KEY)},
    {MP_ROM_QSTR(MP_QSTR_BAD_VALUE), MP_ROM_INT(OPQ_SETTINGS_BAD_VALUE)},
    {MP_ROM_QSTR(MP_QSTR_FLASH), MP_ROM_INT(OPQ_SETTINGS_FLASH)},
    {MP_ROM_QSTR(MP_QSTR_LOADED), MP_ROM_INT(OPQ_SETTINGS_LOADED)},
    {MP_ROM_QSTR(MP_QSTR_BLANK), MP_ROM_INT(OPQ_SETTINGS_BLANK)},
    {MP_ROM_QSTR(MP_QSTR_REPAIRED), MP_ROM_INT(OPQ_SETTINGS_REPAIRED)},
    {MP_ROM_QSTR(MP_QSTR_SECOND_COPY), MP_ROM_INT(OPQ_SETTINGS_SECOND_COPY)},
    {MP_ROM_QSTR(MP_QSTR_LOST), MP_ROM_INT(OPQ_SETTINGS_LOST)},
};
static MP_DEFINE_CONST_DICT(settings_globals, settings_globals_table);

const mp_obj_module_t opq_settings_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&settings_globals,
};
