#include "repl.h"

#include "handover.h"
#include "led.h"

static bool asked;

bool opq_repl_wanted(void) {
    opq_handover_t message;
    bool told = opq_handover_read((const opq_handover_t *)OPQ_HANDOVER_ADDRESS, &message);
    return asked || opq_pin_repl() || (told && message.wish == OPQ_WISH_REPL);
}

void opq_repl_ask(void) { asked = true; }
