#include "repl.h"

#include "handover.h"
#include "led.h"

static bool requested;

bool opq_repl_wanted(void) {
    opq_handover_t message;
    bool has_message = opq_handover_read((const opq_handover_t *)OPQ_HANDOVER_ADDRESS, &message);
    return requested || opq_pin_repl() || (has_message && message.request == OPQ_REQUEST_REPL);
}

void opq_repl_request(void) { requested = true; }
