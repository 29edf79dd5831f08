// Recovery: an image over USART1 while no firmware runs. It uses the serial link (proto/golden/README.md): sends Hello
// as "boot 1.0.0 ...", accepts UPDATE_BEGIN, UpdateData, UPDATE_END, HELLO and RESET, answers every other command
// with "unknown". The sender needs no proof of identity: only a signed image starts. It uses no registers.
#ifndef OPQ_RECOVERY_H
#define OPQ_RECOVERY_H

#include "boot.h"
#include "link.h"
#include "messages.h"
#include "update.h"

typedef void opq_recovery_send_t(void *context, const uint8_t *bytes, size_t length);

typedef struct {
    opq_update_t update;
    const char *hardware;
    opq_boot_because_t because;
    uint32_t boot_id;
    opq_recovery_send_t *send;
    void *context;
    uint32_t update_steps;  // steps of an update; other commands do not count
    bool reset;      // requested, or an image is installed
    uint16_t sequence;
    opq_decoder_t decoder;
    uint8_t payload[256];
    uint8_t frame[320];
} opq_recovery_t;

void opq_recovery_init(opq_recovery_t *recovery, const opq_nor_t *nor, const opq_boot_facts_t *facts,
                       const opq_boot_plan_t *plan, opq_recovery_send_t *send, void *context);
void opq_recovery_hello(opq_recovery_t *recovery);
// Takes one byte of the line; answers at once. A piece that needs an erase takes the time of up to three of them (2 s
// each, DS8626 table 46): the sender waits for the answer, and flash.c feeds the watchdog.
void opq_recovery_byte(opq_recovery_t *recovery, uint8_t byte);

#endif
