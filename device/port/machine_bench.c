// Included by extmod/modmachine.c: `machine` holds mem8, mem16, mem32 and idle, for the bench.
static void mp_machine_idle(void) { MICROPY_INTERNAL_WFE(1); }
#define MICROPY_PY_MACHINE_EXTRA_GLOBALS
