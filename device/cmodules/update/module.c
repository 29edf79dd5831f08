// `opq.update` for MicroPython: device/app/typings/opq/update.pyi. One update at a time.
#include "py/runtime.h"
#include "running.h"

static opq_update_t update;
static bool ready;

static opq_update_t *the_update(void) {
    if (!ready) {
        opq_update_init_running(&update, opq_flash());
        ready = true;
    }
    return &update;
}

static mp_obj_t update_begin(mp_obj_t length) {
    mp_int_t bytes = mp_obj_get_int(length);
    return MP_OBJ_NEW_SMALL_INT(opq_update_begin(the_update(), bytes < 0 ? 0 : (uint32_t)bytes));
}
static MP_DEFINE_CONST_FUN_OBJ_1(update_begin_obj, update_begin);

static mp_obj_t update_data(mp_obj_t offset, mp_obj_t piece) {
    mp_buffer_info_t bytes;
    mp_get_buffer_raise(piece, &bytes, MP_BUFFER_READ);
    return MP_OBJ_NEW_SMALL_INT(
        opq_update_data(the_update(), (uint32_t)mp_obj_get_int_truncated(offset), bytes.buf, bytes.len));
}
static MP_DEFINE_CONST_FUN_OBJ_2(update_data_obj, update_data);

static mp_obj_t update_step(void) { return MP_OBJ_NEW_SMALL_INT(opq_update_step(the_update())); }
static MP_DEFINE_CONST_FUN_OBJ_0(update_step_obj, update_step);

static mp_obj_t update_end(void) { return MP_OBJ_NEW_SMALL_INT(opq_update_end(the_update())); }
static MP_DEFINE_CONST_FUN_OBJ_0(update_end_obj, update_end);

static mp_obj_t update_next(void) { return mp_obj_new_int_from_uint(the_update()->next); }
static MP_DEFINE_CONST_FUN_OBJ_0(update_next_obj, update_next);

static mp_obj_t update_state(void) { return MP_OBJ_NEW_SMALL_INT(the_update()->state); }
static MP_DEFINE_CONST_FUN_OBJ_0(update_state_obj, update_state);

static mp_obj_t update_verdict(void) { return MP_OBJ_NEW_SMALL_INT(the_update()->verdict); }
static MP_DEFINE_CONST_FUN_OBJ_0(update_verdict_obj, update_verdict);

static mp_obj_t update_slot(void) { return MP_OBJ_NEW_SMALL_INT(the_update()->slot); }
static MP_DEFINE_CONST_FUN_OBJ_0(update_slot_obj, update_slot);

static mp_obj_t update_on_trial(void) {
    opq_slot_t running = opq_slot_running();
    return mp_obj_new_bool(running != OPQ_SLOT_NONE && !opq_slot_marks(opq_flash(), running).confirmed);
}
static MP_DEFINE_CONST_FUN_OBJ_0(update_on_trial_obj, update_on_trial);

static mp_obj_t update_confirm(void) { return MP_OBJ_NEW_SMALL_INT(opq_update_confirm_running(opq_flash())); }
static MP_DEFINE_CONST_FUN_OBJ_0(update_confirm_obj, update_confirm);

static mp_obj_t update_rolled_back(void) {
    opq_handover_t message;
    return mp_obj_new_bool(opq_update_handover(&message) && message.rolled_back != 0);
}
static MP_DEFINE_CONST_FUN_OBJ_0(update_rolled_back_obj, update_rolled_back);

// (slot, trials, watchdog_resets, verdict_a, verdict_b, floor_version, boot_version, check_us, starts); None: there
// is not a message of a boot loader.
static mp_obj_t update_boot(void) {
    opq_handover_t message;
    if (!opq_update_handover(&message)) {
        return mp_const_none;
    }
    mp_obj_t facts[] = {
        MP_OBJ_NEW_SMALL_INT(message.slot),
        MP_OBJ_NEW_SMALL_INT(message.trials),
        MP_OBJ_NEW_SMALL_INT(message.watchdog_resets),
        MP_OBJ_NEW_SMALL_INT(message.verdict_a),
        MP_OBJ_NEW_SMALL_INT(message.verdict_b),
        mp_obj_new_int_from_uint(message.floor_version),
        mp_obj_new_int_from_uint(message.boot_version),
        mp_obj_new_int_from_uint(message.check_us),
        mp_obj_new_int_from_uint(message.starts),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(facts), facts);
}
static MP_DEFINE_CONST_FUN_OBJ_0(update_boot_obj, update_boot);

static mp_obj_t update_request(mp_obj_t request) {
    opq_update_request((uint8_t)mp_obj_get_int(request));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(update_request_obj, update_request);

static const mp_rom_map_elem_t update_globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_update)},
    {MP_ROM_QSTR(MP_QSTR_begin), MP_ROM_PTR(&update_begin_obj)},
    {MP_ROM_QSTR(MP_QSTR_data), MP_ROM_PTR(&update_data_obj)},
    {MP_ROM_QSTR(MP_QSTR_step), MP_ROM_PTR(&update_step_obj)},
    {MP_ROM_QSTR(MP_QSTR_end), MP_ROM_PTR(&update_end_obj)},
    {MP_ROM_QSTR(MP_QSTR_next), MP_ROM_PTR(&update_next_obj)},
    {MP_ROM_QSTR(MP_QSTR_state), MP_ROM_PTR(&update_state_obj)},
    {MP_ROM_QSTR(MP_QSTR_verdict), MP_ROM_PTR(&update_verdict_obj)},
    {MP_ROM_QSTR(MP_QSTR_slot), MP_ROM_PTR(&update_slot_obj)},
    {MP_ROM_QSTR(MP_QSTR_on_trial), MP_ROM_PTR(&update_on_trial_obj)},
    {MP_ROM_QSTR(MP_QSTR_confirm), MP_ROM_PTR(&update_confirm_obj)},
    {MP_ROM_QSTR(MP_QSTR_rolled_back), MP_ROM_PTR(&update_rolled_back_obj)},
    {MP_ROM_QSTR(MP_QSTR_boot), MP_ROM_PTR(&update_boot_obj)},
    {MP_ROM_QSTR(MP_QSTR_request), MP_ROM_PTR(&update_request_obj)},
    {MP_ROM_QSTR(MP_QSTR_OK), MP_ROM_INT(OPQ_UPDATE_OK)},
    {MP_ROM_QSTR(MP_QSTR_BUSY), MP_ROM_INT(OPQ_UPDATE_BUSY)},
    {MP_ROM_QSTR(MP_QSTR_WRONG_OFFSET), MP_ROM_INT(OPQ_UPDATE_WRONG_OFFSET)},
    {MP_ROM_QSTR(MP_QSTR_BAD_IMAGE), MP_ROM_INT(OPQ_UPDATE_BAD_IMAGE)},
    {MP_ROM_QSTR(MP_QSTR_FLASH), MP_ROM_INT(OPQ_UPDATE_FLASH)},
    {MP_ROM_QSTR(MP_QSTR_NOT_BEGUN), MP_ROM_INT(OPQ_UPDATE_NOT_BEGUN)},
    {MP_ROM_QSTR(MP_QSTR_ON_TRIAL), MP_ROM_INT(OPQ_UPDATE_ON_TRIAL)},
    {MP_ROM_QSTR(MP_QSTR_BAD_LENGTH), MP_ROM_INT(OPQ_UPDATE_BAD_LENGTH)},
    {MP_ROM_QSTR(MP_QSTR_REQUEST_RECOVERY), MP_ROM_INT(OPQ_REQUEST_RECOVERY)},
    {MP_ROM_QSTR(MP_QSTR_REQUEST_REPL), MP_ROM_INT(OPQ_REQUEST_REPL)},
};
static MP_DEFINE_CONST_DICT(update_globals, update_globals_table);

const mp_obj_module_t opq_update_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&update_globals,
};
