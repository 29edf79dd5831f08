#include "machine.h"
#include "prompt.h"
#include "py/mphal.h"
#include "py/runtime.h"

// Timer(period=500, callback=f): f is called in the prompt's code, between two byte codes, every 4 ms at most.

typedef struct _timer_obj_t {
    mp_obj_base_t base;
    struct _timer_obj_t *next;
    mp_obj_t callback;
    uint32_t due_ms, period_ms;
    bool is_periodic, is_running;
} timer_obj_t;

enum { ONE_SHOT = 0, PERIODIC = 1 };

MP_REGISTER_ROOT_POINTER(struct _timer_obj_t *opq_timers);

static void unlink_timer(const timer_obj_t *timer) {
    for (timer_obj_t **at = &MP_STATE_PORT(opq_timers); *at != NULL; at = &(*at)->next) {
        if (*at == timer) {
            *at = timer->next;
            return;
        }
    }
}

void opq_timers_end(void) { MP_STATE_PORT(opq_timers) = NULL; }

static timer_obj_t *due_timer(uint32_t now_ms) {
    timer_obj_t *timer = MP_STATE_PORT(opq_timers);
    while (timer != NULL && (timer->is_running || (int32_t)(now_ms - timer->due_ms) < 0)) {
        timer = timer->next;
    }
    return timer;
}

// From the first timer again after each call, which may have ended others.
void opq_timers_run(void) {
    uint32_t now_ms = (uint32_t)mp_hal_ticks_ms();
    for (timer_obj_t *timer; (timer = due_timer(now_ms)) != NULL;) {
        timer->due_ms = now_ms + timer->period_ms;
        if (!timer->is_periodic) {
            unlink_timer(timer);
        }
        timer->is_running = true; // its own waits do not call it again
        nlr_buf_t nlr;
        if (nlr_push(&nlr) == 0) {
            (void)mp_call_function_1(timer->callback, MP_OBJ_FROM_PTR(timer));
            nlr_pop();
        } else {
            unlink_timer(timer);
            mp_printf(&mp_plat_print, "a Timer's callback failed and is not called any more\r\n");
            mp_obj_print_exception(&mp_plat_print, MP_OBJ_FROM_PTR(nlr.ret_val));
        }
        timer->is_running = false;
    }
}

static void begin(timer_obj_t *self, size_t n_args, const mp_obj_t *args, mp_map_t *named) {
    enum { ARG_mode, ARG_period, ARG_callback };
    static const mp_arg_t allowed[] = {
        {MP_QSTR_mode, MP_ARG_KW_ONLY | MP_ARG_INT, {.u_int = PERIODIC}},
        {MP_QSTR_period, MP_ARG_KW_ONLY | MP_ARG_REQUIRED | MP_ARG_INT, {.u_int = 0}},
        {MP_QSTR_callback, MP_ARG_KW_ONLY | MP_ARG_REQUIRED | MP_ARG_OBJ, {.u_rom_obj = MP_ROM_NONE}},
    };
    mp_arg_val_t given[MP_ARRAY_SIZE(allowed)];
    mp_arg_parse_all(n_args, args, named, MP_ARRAY_SIZE(allowed), allowed, given);
    if (given[ARG_period].u_int < 1 || !mp_obj_is_callable(given[ARG_callback].u_obj)) {
        mp_raise_ValueError(MP_ERROR_TEXT("want period in ms, from 1, and a callback"));
    }
    if (!opq_prompt_is_in_control()) {
        mp_raise_ValueError(MP_ERROR_TEXT("a Timer runs in a prompt only; box.py is called for each window"));
    }
    unlink_timer(self);
    self->is_periodic = given[ARG_mode].u_int == PERIODIC;
    self->period_ms = (uint32_t)given[ARG_period].u_int;
    self->callback = given[ARG_callback].u_obj;
    self->due_ms = (uint32_t)mp_hal_ticks_ms() + self->period_ms;
    self->next = MP_STATE_PORT(opq_timers);
    MP_STATE_PORT(opq_timers) = self;
}

// As in MicroPython an id may come first; -1 is the only one: these timers are not the chip's.
static mp_obj_t timer_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 0, 1, true);
    if (n_args == 1 && mp_obj_get_int(args[0]) != -1) {
        mp_raise_ValueError(MP_ERROR_TEXT("the Box uses the chip's timers; want Timer(-1)"));
    }
    timer_obj_t *self = mp_obj_malloc(timer_obj_t, type);
    self->is_running = false;
    if (n_kw > 0) {
        mp_map_t named;
        mp_map_init_fixed_table(&named, n_kw, args + n_args);
        begin(self, 0, NULL, &named);
    }
    return MP_OBJ_FROM_PTR(self);
}

static mp_obj_t timer_init(size_t n_args, const mp_obj_t *args, mp_map_t *named) {
    begin(MP_OBJ_TO_PTR(args[0]), n_args - 1, args + 1, named);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_KW(timer_init_obj, 1, timer_init);

static mp_obj_t timer_deinit(mp_obj_t self) {
    unlink_timer(MP_OBJ_TO_PTR(self));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(timer_deinit_obj, timer_deinit);

static const mp_rom_map_elem_t timer_locals_table[] = {
    {MP_ROM_QSTR(MP_QSTR_init), MP_ROM_PTR(&timer_init_obj)},
    {MP_ROM_QSTR(MP_QSTR_deinit), MP_ROM_PTR(&timer_deinit_obj)},
    {MP_ROM_QSTR(MP_QSTR_ONE_SHOT), MP_ROM_INT(ONE_SHOT)},
    {MP_ROM_QSTR(MP_QSTR_PERIODIC), MP_ROM_INT(PERIODIC)},
};
static MP_DEFINE_CONST_DICT(timer_locals, timer_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(opq_timer_type, MP_QSTR_Timer, MP_TYPE_FLAG_NONE, make_new, timer_make_new, locals_dict,
                         &timer_locals);
