#include "running.h"

#include <string.h>

#ifdef __arm__
static opq_handover_t *handover(void) { return (opq_handover_t *)(uintptr_t)OPQ_HANDOVER_ADDRESS; }
static const opq_boot_info_t *boot_info(void) { return (const opq_boot_info_t *)(uintptr_t)OPQ_BOOT_INFO_ADDRESS; }
#else  // a PC has neither; an update is refused there as wrong hardware
static opq_handover_t *handover(void) {
    static opq_handover_t none;
    return &none;
}
static const opq_boot_info_t *boot_info(void) {
    static const opq_boot_info_t none;
    return &none;
}
#endif

static bool nobody_checks(const uint8_t signature[64], const uint8_t public_key[32], const uint8_t *message,
                          size_t length) {
    (void)signature, (void)public_key, (void)message, (void)length;
    return false;
}

opq_slot_t opq_slot_running(void) {
    uintptr_t here = (uintptr_t)&opq_slot_running;
    if (here >= OPQ_SLOT_A_ADDRESS && here < OPQ_SLOT_A_ADDRESS + OPQ_SLOT_BYTES) {
        return OPQ_SLOT_A;
    }
    return here >= OPQ_SLOT_B_ADDRESS && here < OPQ_SLOT_B_ADDRESS + OPQ_SLOT_BYTES ? OPQ_SLOT_B : OPQ_SLOT_NONE;
}

void opq_update_init_running(opq_update_t *update, const opq_nor_t *nor) {
    const opq_boot_info_t *info = boot_info();
    bool there = info->magic == OPQ_BOOT_INFO_MAGIC;
    opq_image_rules_t rules = {
        .hardware = there ? info->hardware : "",
        .public_key = info->public_key,
        .check = there ? info->check : nobody_checks,
    };
    opq_slot_t running = opq_slot_running();
    if (running != OPQ_SLOT_NONE) {
        const uint8_t *header = opq_nor_at(nor, opq_slot_address(running));
        memcpy(&rules.floor_version, header + OPQ_IMAGE_VERSION_OFFSET, sizeof rules.floor_version);
    }
    opq_update_init(update, nor, &rules, running, running == OPQ_SLOT_NONE ? OPQ_SLOT_NONE : opq_slot_other(running));
}

opq_nor_status_t opq_update_confirm_running(const opq_nor_t *nor) {
    opq_nor_status_t status = opq_update_confirm(nor, opq_slot_running());
    opq_handover_t message;
    if (status == OPQ_NOR_OK && opq_handover_read(handover(), &message)) {
        message.watchdog_resets = 0;
        message.trials = 0;
        opq_handover_write(handover(), &message);
    }
    return status;
}

bool opq_update_handover(opq_handover_t *message) { return opq_handover_read(handover(), message); }

void opq_update_request(uint8_t request) {
    opq_handover_t message;
    (void)opq_handover_read(handover(), &message);  // all zero if there is none
    message.request = request;
    opq_handover_write(handover(), &message);
}
