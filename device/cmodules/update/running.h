// Which slot this code runs from, and the boot loader's message for this start. The app's side of handover.h.
#ifndef OPQ_RUNNING_H
#define OPQ_RUNNING_H

#include "handover.h"
#include "update.h"

// NONE: not in a slot (started by a debugger, or on a PC).
opq_slot_t opq_slot_running(void);
// Prepares opq_update_begin: the other slot, the boot loader's key, and no version below the running one.
void opq_update_init_running(opq_update_t *update, const opq_nor_t *nor);
// The running image is healthy: confirms it and ends the count of watchdog resets in a row.
opq_nor_status_t opq_update_confirm_running(const opq_nor_t *nor);
// The message of the boot loader for this start. False: there is none.
bool opq_update_handover(opq_handover_t *message);
// For the boot loader at the next reset: OPQ_REQUEST_RECOVERY or OPQ_REQUEST_REPL.
void opq_update_request(uint8_t request);

#endif
