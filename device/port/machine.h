// `machine.Pin` and `machine.Timer` of a user's code: free pins only, and timers that run while a prompt is open.
#ifndef OPQ_MACHINE_H
#define OPQ_MACHINE_H

#include "py/obj.h"

extern const mp_obj_type_t opq_pin_type, opq_timer_type;

// Main thread, in a prompt's code: calls what is due.
void opq_timers_run(void);
// Main thread: the prompt's code is gone, its timers go too.
void opq_timers_end(void);

#endif
