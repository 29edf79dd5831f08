// Python's package `opq`: the C modules that this build has. Our own port has all of them; another port of MicroPython,
// which takes ../ as its USER_C_MODULES, has those that touch no hardware.
#include "py/obj.h"

extern const mp_obj_module_t opq_dsp_module, opq_link_module;
#ifdef OPQ_PORT
extern const mp_obj_module_t opq_acquire_module, opq_board_module, opq_clock_module, opq_pipeline_module,
    opq_program_module, opq_prompt_module, opq_settings_module, opq_update_module;
#endif

static const mp_rom_map_elem_t globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_opq)},
    {MP_ROM_QSTR(MP_QSTR_dsp), MP_ROM_PTR(&opq_dsp_module)},
    {MP_ROM_QSTR(MP_QSTR_link), MP_ROM_PTR(&opq_link_module)},
#ifdef OPQ_PORT
    {MP_ROM_QSTR(MP_QSTR_acquire), MP_ROM_PTR(&opq_acquire_module)},
    {MP_ROM_QSTR(MP_QSTR_board), MP_ROM_PTR(&opq_board_module)},
    {MP_ROM_QSTR(MP_QSTR_clock), MP_ROM_PTR(&opq_clock_module)},
    {MP_ROM_QSTR(MP_QSTR_pipeline), MP_ROM_PTR(&opq_pipeline_module)},
    {MP_ROM_QSTR(MP_QSTR_program), MP_ROM_PTR(&opq_program_module)},
    {MP_ROM_QSTR(MP_QSTR_prompt), MP_ROM_PTR(&opq_prompt_module)},
    {MP_ROM_QSTR(MP_QSTR_settings), MP_ROM_PTR(&opq_settings_module)},
    {MP_ROM_QSTR(MP_QSTR_update), MP_ROM_PTR(&opq_update_module)},
#endif
};
static MP_DEFINE_CONST_DICT(globals, globals_table);

const mp_obj_module_t opq_module = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&globals};
MP_REGISTER_MODULE(MP_QSTR_opq, opq_module);
