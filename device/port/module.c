// Python's `opq.board`: the chip and the board (typing stub: app/typings/opq/board.pyi).
#include "board.h"

#include "py/mphal.h"
#include "py/objstr.h"
#include "py/runtime.h"

#include "boot_id.h"
#include "crash.h"
#include "flash.h"
#include "led.h"
#include "power.h"
#include "repl.h"
#include "tick.h"
#include "watchdog.h"

static mp_obj_t board_reset_cause(void) { return MP_OBJ_NEW_SMALL_INT((mp_int_t)opq_power_reset_cause()); }
static MP_DEFINE_CONST_FUN_OBJ_0(reset_cause_obj, board_reset_cause);

static mp_obj_t board_clock_source(void) { return MP_OBJ_NEW_SMALL_INT((mp_int_t)opq_power_clock()); }
static MP_DEFINE_CONST_FUN_OBJ_0(clock_source_obj, board_clock_source);

static mp_obj_t board_unique_id(void) {
    uint8_t id[12];
    opq_power_unique_id(id);
    return mp_obj_new_bytes(id, sizeof id);
}
static MP_DEFINE_CONST_FUN_OBJ_0(unique_id_obj, board_unique_id);

static mp_obj_t board_boot_id(void) { return mp_obj_new_int_from_uint(opq_boot_id()); }
static MP_DEFINE_CONST_FUN_OBJ_0(boot_id_obj, board_boot_id);

static mp_obj_t board_led(mp_obj_t which, mp_obj_t on) {
    opq_led((uint32_t)mp_obj_get_int(which), mp_obj_is_true(on));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_2(led_obj, board_led);

static mp_obj_t board_repl_wanted(void) { return mp_obj_new_bool(opq_repl_wanted()); }
static MP_DEFINE_CONST_FUN_OBJ_0(repl_wanted_obj, board_repl_wanted);

static mp_obj_t board_repl(void) {
    opq_repl_request();
    mp_raise_type(&mp_type_SystemExit);
}
static MP_DEFINE_CONST_FUN_OBJ_0(repl_obj, board_repl);

static mp_obj_t board_supply_is_low(void) { return mp_obj_new_bool(opq_power_is_low()); }
static MP_DEFINE_CONST_FUN_OBJ_0(supply_is_low_obj, board_supply_is_low);

static mp_obj_t board_watchdog_start(void) {
    opq_watchdog_start();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(watchdog_start_obj, board_watchdog_start);

static mp_obj_t board_watchdog_feed(void) {
    opq_watchdog_feed();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(watchdog_feed_obj, board_watchdog_feed);

static mp_obj_t board_reset(void) { opq_power_reset(); }
static MP_DEFINE_CONST_FUN_OBJ_0(reset_obj, board_reset);

// protection() -> (brown-out level, protected sectors); protect(level, sectors) -> whether they are so now.
static mp_obj_t board_protection(void) {
    mp_obj_t items[] = {
        MP_OBJ_NEW_SMALL_INT((mp_int_t)opq_power_brown_out_level()),
        MP_OBJ_NEW_SMALL_INT((mp_int_t)opq_flash_protected_sectors()),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(protection_obj, board_protection);

static mp_obj_t board_protect(mp_obj_t level, mp_obj_t sectors) {
    return mp_obj_new_bool(opq_flash_protect((uint32_t)mp_obj_get_int(level), (uint32_t)mp_obj_get_int(sectors)));
}
static MP_DEFINE_CONST_FUN_OBJ_2(protect_obj, board_protect);

// (kind, pc, lr, cfsr, hfsr, count): why the firmware reset itself before this start; None: it did not.
static mp_obj_t board_crash(void) {
    opq_crash_t crash;
    if (!opq_crash_take(&crash)) {
        return mp_const_none;
    }
    mp_obj_t items[] = {
        mp_obj_new_int_from_uint(crash.kind), mp_obj_new_int_from_uint(crash.pc),   mp_obj_new_int_from_uint(crash.lr),
        mp_obj_new_int_from_uint(crash.cfsr), mp_obj_new_int_from_uint(crash.hfsr), mp_obj_new_int_from_uint(crash.count),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(crash_obj, board_crash);

static mp_obj_t board_tick(void) { return mp_obj_new_int_from_ll(opq_tick_now()); }
static MP_DEFINE_CONST_FUN_OBJ_0(tick_obj, board_tick);

// As MP_DEFINE_STR_OBJ, whose parameter is named like its member.
#define STR_OBJ(text) {{&mp_type_str}, 0, sizeof(text) - 1, (const byte *)text}
static const mp_obj_str_t name_obj = STR_OBJ(OPQ_BOARD_NAME);
static const mp_obj_str_t firmware_obj = STR_OBJ(OPQ_FIRMWARE_VERSION);

static const mp_rom_map_elem_t globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_board)},
    {MP_ROM_QSTR(MP_QSTR_NAME), MP_ROM_PTR(&name_obj)},
    {MP_ROM_QSTR(MP_QSTR_FIRMWARE), MP_ROM_PTR(&firmware_obj)},
    {MP_ROM_QSTR(MP_QSTR_LED_STATUS), MP_ROM_INT(OPQ_LED_STATUS)},
    {MP_ROM_QSTR(MP_QSTR_LED_TIME), MP_ROM_INT(OPQ_LED_TIME)},
    {MP_ROM_QSTR(MP_QSTR_LED_FAULT), MP_ROM_INT(OPQ_LED_FAULT)},
    {MP_ROM_QSTR(MP_QSTR_reset_cause), MP_ROM_PTR(&reset_cause_obj)},
    {MP_ROM_QSTR(MP_QSTR_clock_source), MP_ROM_PTR(&clock_source_obj)},
    {MP_ROM_QSTR(MP_QSTR_unique_id), MP_ROM_PTR(&unique_id_obj)},
    {MP_ROM_QSTR(MP_QSTR_boot_id), MP_ROM_PTR(&boot_id_obj)},
    {MP_ROM_QSTR(MP_QSTR_led), MP_ROM_PTR(&led_obj)},
    {MP_ROM_QSTR(MP_QSTR_repl_wanted), MP_ROM_PTR(&repl_wanted_obj)},
    {MP_ROM_QSTR(MP_QSTR_repl), MP_ROM_PTR(&repl_obj)},
    {MP_ROM_QSTR(MP_QSTR_supply_is_low), MP_ROM_PTR(&supply_is_low_obj)},
    {MP_ROM_QSTR(MP_QSTR_watchdog_start), MP_ROM_PTR(&watchdog_start_obj)},
    {MP_ROM_QSTR(MP_QSTR_watchdog_feed), MP_ROM_PTR(&watchdog_feed_obj)},
    {MP_ROM_QSTR(MP_QSTR_reset), MP_ROM_PTR(&reset_obj)},
    {MP_ROM_QSTR(MP_QSTR_protection), MP_ROM_PTR(&protection_obj)},
    {MP_ROM_QSTR(MP_QSTR_protect), MP_ROM_PTR(&protect_obj)},
    {MP_ROM_QSTR(MP_QSTR_crash), MP_ROM_PTR(&crash_obj)},
    {MP_ROM_QSTR(MP_QSTR_tick), MP_ROM_PTR(&tick_obj)},
};
static MP_DEFINE_CONST_DICT(globals, globals_table);

const mp_obj_module_t opq_board_module = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&globals};
