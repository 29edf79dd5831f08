#include "board.h"
#include "machine.h"
#include "py/runtime.h"

// Pin("PB8", Pin.OUT, value=1): a pin that the board leaves free, with the mode and pull of MicroPython's Pin.

typedef struct {
    mp_obj_base_t base;
    uint8_t pin;
} pin_obj_t;

enum { AS_IT_IS = -1 };

static bool is_used(uint8_t pin) {
    static const uint8_t used[] = {OPQ_BOARD_USED_PINS, OPQ_PIN(A, 13), OPQ_PIN(A, 14)}; // and the debugger's
    for (size_t n = 0; n < sizeof used; n++) {
        if (used[n] == pin) {
            return true;
        }
    }
    return false;
}

// "PB8": port A to D, number 0 to 15.
static uint8_t pin_named(mp_obj_t name) {
    size_t length;
    const char *text = mp_obj_str_get_data(name, &length);
    uint32_t number = 16;
    if ((length == 3 || length == 4) && text[0] == 'P' && text[1] >= 'A' && text[1] <= 'D') {
        number = 0;
        for (size_t n = 2; n < length; n++) {
            number = text[n] >= '0' && text[n] <= '9' ? number * 10 + (uint32_t)(text[n] - '0') : 100;
        }
    }
    if (number > 15) {
        mp_raise_ValueError(MP_ERROR_TEXT("want a pin such as 'PB8', of ports A to D"));
    }
    return (uint8_t)(((uint32_t)(text[1] - 'A') << 4) | number);
}

static void configure(const pin_obj_t *self, size_t n_args, const mp_obj_t *args, mp_map_t *named) {
    enum { ARG_mode, ARG_pull, ARG_value };
    static const mp_arg_t allowed[] = {
        {MP_QSTR_mode, MP_ARG_INT, {.u_int = AS_IT_IS}},
        {MP_QSTR_pull, MP_ARG_OBJ, {.u_rom_obj = MP_ROM_NONE}},
        {MP_QSTR_value, MP_ARG_KW_ONLY | MP_ARG_OBJ, {.u_rom_obj = MP_ROM_NONE}},
    };
    mp_arg_val_t given[MP_ARRAY_SIZE(allowed)];
    mp_arg_parse_all(n_args, args, named, MP_ARRAY_SIZE(allowed), allowed, given);
    mp_int_t pull = given[ARG_pull].u_obj == mp_const_none ? OPQ_GPIO_NO_PULL : mp_obj_get_int(given[ARG_pull].u_obj);
    mp_int_t mode = given[ARG_mode].u_int;
    if ((mode != AS_IT_IS && mode != OPQ_GPIO_INPUT && mode != OPQ_GPIO_OUTPUT) || pull < 0 || pull > OPQ_GPIO_PULL_DOWN) {
        mp_raise_ValueError(MP_ERROR_TEXT("want IN or OUT, and None, PULL_UP or PULL_DOWN"));
    }
    if (given[ARG_value].u_obj != mp_const_none) {
        opq_gpio_write(self->pin, mp_obj_is_true(given[ARG_value].u_obj)); // before the mode: no pulse
    }
    if (mode != AS_IT_IS) {
        opq_gpio_configure(self->pin, (opq_gpio_mode_t)mode, (opq_gpio_pull_t)pull, 0);
    }
}

static mp_obj_t pin_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 1, 3, true);
    uint8_t pin = pin_named(args[0]);
    if (is_used(pin)) {
        mp_raise_ValueError(MP_ERROR_TEXT("the board uses this pin"));
    }
    pin_obj_t *self = mp_obj_malloc(pin_obj_t, type);
    self->pin = pin;
    mp_map_t named;
    mp_map_init_fixed_table(&named, n_kw, args + n_args);
    configure(self, n_args - 1, args + 1, &named);
    return MP_OBJ_FROM_PTR(self);
}

static mp_obj_t pin_init(size_t n_args, const mp_obj_t *args, mp_map_t *named) {
    configure(MP_OBJ_TO_PTR(args[0]), n_args - 1, args + 1, named);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_KW(pin_init_obj, 1, pin_init);

static mp_obj_t pin_call(mp_obj_t self_in, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    const pin_obj_t *self = MP_OBJ_TO_PTR(self_in);
    mp_arg_check_num(n_args, n_kw, 0, 1, false);
    if (n_args == 0) {
        return MP_OBJ_NEW_SMALL_INT(opq_gpio_read(self->pin));
    }
    opq_gpio_write(self->pin, mp_obj_is_true(args[0]));
    return mp_const_none;
}

static mp_obj_t pin_value(size_t n_args, const mp_obj_t *args) { return pin_call(args[0], n_args - 1, 0, args + 1); }
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(pin_value_obj, 1, 2, pin_value);

static mp_obj_t pin_on(mp_obj_t self_in) { return pin_call(self_in, 1, 0, (const mp_obj_t[]){mp_const_true}); }
static MP_DEFINE_CONST_FUN_OBJ_1(pin_on_obj, pin_on);
static mp_obj_t pin_off(mp_obj_t self_in) { return pin_call(self_in, 1, 0, (const mp_obj_t[]){mp_const_false}); }
static MP_DEFINE_CONST_FUN_OBJ_1(pin_off_obj, pin_off);

static void pin_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    (void)kind;
    const pin_obj_t *self = MP_OBJ_TO_PTR(self_in);
    mp_printf(print, "Pin('P%c%u')", 'A' + (self->pin >> 4), self->pin & 15u);
}

static const mp_rom_map_elem_t pin_locals_table[] = {
    {MP_ROM_QSTR(MP_QSTR_init), MP_ROM_PTR(&pin_init_obj)},
    {MP_ROM_QSTR(MP_QSTR_value), MP_ROM_PTR(&pin_value_obj)},
    {MP_ROM_QSTR(MP_QSTR_on), MP_ROM_PTR(&pin_on_obj)},
    {MP_ROM_QSTR(MP_QSTR_off), MP_ROM_PTR(&pin_off_obj)},
    {MP_ROM_QSTR(MP_QSTR_IN), MP_ROM_INT(OPQ_GPIO_INPUT)},
    {MP_ROM_QSTR(MP_QSTR_OUT), MP_ROM_INT(OPQ_GPIO_OUTPUT)},
    {MP_ROM_QSTR(MP_QSTR_PULL_UP), MP_ROM_INT(OPQ_GPIO_PULL_UP)},
    {MP_ROM_QSTR(MP_QSTR_PULL_DOWN), MP_ROM_INT(OPQ_GPIO_PULL_DOWN)},
};
static MP_DEFINE_CONST_DICT(pin_locals, pin_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(opq_pin_type, MP_QSTR_Pin, MP_TYPE_FLAG_NONE, make_new, pin_make_new, print, pin_print, call,
                         pin_call, locals_dict, &pin_locals);
