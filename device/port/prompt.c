// Python's `opq.prompt` (typing stub: app/typings/opq/prompt.pyi): the prompt whose bytes come and go in commands.
//
// `run` is one step of the app. What is typed runs inside of it, and every ROUND_MS the byte code makes room for a
// round of the other steps: commands, GPS, health and the watchdog go on as without a prompt.
#include "prompt.h"

#include "console.h"
#include "extmod/vfs.h"
#include "machine.h"
#include "py/gc.h"
#include "py/mphal.h"
#include "py/objstr.h"
#include "py/runtime.h"
#include "queue.h"
#include "shared/runtime/interrupt_char.h"
#include "shared/runtime/pyexec.h"

enum {
    INPUT_BYTES = 512, // twice what raw-paste mode lets a client send ahead
    ROUND_MS = 4,
};

volatile bool opq_prompt_due;

static uint8_t in_bytes[INPUT_BYTES];
static opq_queue_t in;
static bool is_open, interrupted, in_callback;
static volatile bool running, in_round, round_due;
static mp_obj_t round_of_app; // the argument of `run`, whose caller holds it

void opq_prompt_each_ms(void) {
    static uint32_t passed;
    if (running && !in_round && ++passed >= ROUND_MS) {
        passed = 0;
        round_due = true;
        opq_prompt_due = true;
    }
}

// A round that raised, or after which the app ends, ends the session.
static void call_round(void) {
    nlr_buf_t nlr;
    in_round = true;
    if (nlr_push(&nlr) == 0) {
        is_open = mp_obj_is_true(mp_call_function_0(round_of_app)) && is_open;
        nlr_pop();
    } else {
        is_open = false;
    }
    in_round = false;
}

// The app and callbacks do not get the KeyboardInterrupt that waits for what is typed.
static void call_others(void) {
    bool waits = MP_STATE_MAIN_THREAD(mp_pending_exception) != MP_OBJ_NULL, was_in_callback = in_callback;
    MP_STATE_MAIN_THREAD(mp_pending_exception) = MP_OBJ_NULL;
    call_round();
    in_callback = true;
    opq_timers_run();
    in_callback = was_in_callback;
    if (waits) {
        mp_sched_keyboard_interrupt();
    }
}

bool opq_prompt_is_in_control(void) { return running && !in_round && !opq_program_is_called(); }

// A closed session ends what runs: KeyboardInterrupt at each jump, so that a loop which catches it is left as well.
// The time of a program's call counts for the program alone: no round within.
void opq_prompt_attend(void) {
    if (!running || in_round) {
        return;
    }
    opq_prompt_due = false;
    if (round_due && opq_prompt_is_in_control()) {
        round_due = false;
        call_others();
    }
    if ((interrupted && !in_callback) || !is_open) {
        interrupted = false;
        opq_prompt_due = !is_open;
        mp_sched_keyboard_interrupt();
    }
}

int opq_prompt_take_byte(void) {
    if (running && !is_open) {
        mp_raise_type(&mp_type_SystemExit);
    }
    return opq_queue_take_byte(&in);
}

bool opq_prompt_has_input(void) { return opq_queue_waiting(&in) > 0; }

bool opq_prompt_wait(void) {
    if (!opq_prompt_is_in_control() || !is_open) {
        return false;
    }
    opq_prompt_attend();
    MICROPY_INTERNAL_WFE(1);
    return true;
}

static mp_obj_t prompt_open(void) {
    uint8_t former[32]; // what an earlier session did not fetch
    while (opq_console_take(former, sizeof former) > 0) {
    }
    opq_queue_init(&in, in_bytes, INPUT_BYTES);
    is_open = true;
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(prompt_open_obj, prompt_open);

static mp_obj_t prompt_close(void) {
    is_open = false;
    opq_prompt_due = running;
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(prompt_close_obj, prompt_close);

// put(data) -> how many bytes had room; Ctrl-C, where it counts, interrupts what runs.
static mp_obj_t prompt_put(mp_obj_t data) {
    mp_buffer_info_t typed;
    mp_get_buffer_raise(data, &typed, MP_BUFFER_READ);
    size_t n = 0;
    for (; n < typed.len && opq_queue_free(&in) > 0; n++) {
        uint8_t byte = ((const uint8_t *)typed.buf)[n];
        if (byte == mp_interrupt_char) {
            interrupted = true;
        } else {
            (void)opq_queue_put_byte(&in, byte);
        }
    }
    return MP_OBJ_NEW_SMALL_INT((mp_int_t)n);
}
static MP_DEFINE_CONST_FUN_OBJ_1(prompt_put_obj, prompt_put);

// take(most) -> printed bytes. Nothing is taken before there is room on the heap.
static mp_obj_t prompt_take(mp_obj_t most) {
    size_t room = (size_t)mp_obj_get_int(most);
    mp_obj_str_t *taken = mp_obj_malloc(mp_obj_str_t, &mp_type_bytes);
    byte *text = m_new(byte, room + 1u);
    taken->len = opq_console_take(text, room);
    text[taken->len] = 0;
    taken->data = text;
    taken->hash = qstr_compute_hash(text, taken->len);
    return MP_OBJ_FROM_PTR(taken);
}
static MP_DEFINE_CONST_FUN_OBJ_1(prompt_take_obj, prompt_take);

static void read_and_execute(void) {
    while ((pyexec_mode_kind == PYEXEC_MODE_RAW_REPL ? pyexec_raw_repl() : pyexec_friendly_repl()) == 0) {
    }
}

// run(round, names) -> True: a soft reset (Ctrl-D) ended it, its names are gone; False: the session is over.
static mp_obj_t prompt_run(mp_obj_t round, mp_obj_t with) {
    mp_obj_dict_t *globals = mp_globals_get(), *locals = mp_locals_get();
    mp_obj_dict_t *names = MP_OBJ_TO_PTR(with);
    nlr_buf_t nlr;
    round_of_app = round;
    running = true;
    if (nlr_push(&nlr) == 0) {
        mp_globals_set(names);
        mp_locals_set(names);
        read_and_execute();
        nlr_pop();
    }
    mp_globals_set(globals);
    mp_locals_set(locals);
    mp_hal_set_interrupt_char(-1);
    if (is_open) {
        mp_hal_stdout_tx_strn("MPY: soft reboot\r\n", 18);
    } else {
        pyexec_mode_kind = PYEXEC_MODE_FRIENDLY_REPL;
    }
    running = false;
    interrupted = in_callback = opq_prompt_due = round_due = false;
    round_of_app = MP_OBJ_NULL;
    MP_STATE_MAIN_THREAD(mp_pending_exception) = MP_OBJ_NULL;
    MP_STATE_THREAD(gc_lock_depth) = 0; // micropython.heap_lock()
    opq_timers_end();
    MP_STATE_VM(vfs_cur) = MP_VFS_ROOT;
    MP_STATE_VM(vfs_mount_table) = NULL;
    return mp_obj_new_bool(is_open);
}
static MP_DEFINE_CONST_FUN_OBJ_2(prompt_run_obj, prompt_run);

static const mp_rom_map_elem_t globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_prompt)},
    {MP_ROM_QSTR(MP_QSTR_open), MP_ROM_PTR(&prompt_open_obj)},
    {MP_ROM_QSTR(MP_QSTR_close), MP_ROM_PTR(&prompt_close_obj)},
    {MP_ROM_QSTR(MP_QSTR_put), MP_ROM_PTR(&prompt_put_obj)},
    {MP_ROM_QSTR(MP_QSTR_take), MP_ROM_PTR(&prompt_take_obj)},
    {MP_ROM_QSTR(MP_QSTR_run), MP_ROM_PTR(&prompt_run_obj)},
};
static MP_DEFINE_CONST_DICT(globals, globals_table);

const mp_obj_module_t opq_prompt_module = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&globals};
