// Included by extmod/modmachine.c: `machine` holds mem8, mem16, mem32 and idle, for the bench; Pin and Timer for users.
#include "machine.h"

static void mp_machine_idle(void) { MICROPY_INTERNAL_WFE(1); }
#define MICROPY_PY_MACHINE_EXTRA_GLOBALS \
    {MP_ROM_QSTR(MP_QSTR_Pin), MP_ROM_PTR(&opq_pin_type)}, {MP_ROM_QSTR(MP_QSTR_Timer), MP_ROM_PTR(&opq_timer_type)},
