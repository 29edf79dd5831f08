// The boot loader's decision: which slot to start, or to wait for an image on USART1. It uses no registers; the
// same code runs on the PC with the flash model, cut at every write.
//
// Every start checks both slots by header, SHA-256 and Ed25519. The highest version that is confirmed, or has a
// trial left, is started. A trial is counted in flash before it begins; an image whose trials are used up
// without the app having reported health is rejected for ever, and the image before it runs again.
#ifndef OPQ_BOOT_H
#define OPQ_BOOT_H

#include "handover.h"
#include "image.h"
#include "nor.h"
#include "slot.h"

#define OPQ_BOOT_VERSION UINT32_C(0x01000000)  // 1.0.0
#define OPQ_BOOT_NAME "boot 1.0.0"

enum {
    OPQ_BOOT_WATCHDOG_LIMIT = 8,      // watchdog resets in a row, after which recovery waits before the next start
    OPQ_BOOT_HELP_MS = 30000,         // of silence, if there is an image to start
    OPQ_BOOT_REQUEST_MS = 300000,     // if recovery was requested; both count from the last step of an update
};
#define OPQ_BOOT_FOR_EVER UINT32_MAX

typedef enum {
    OPQ_BOOT_START = 0,
    OPQ_BOOT_RECOVERY = 1,
} opq_boot_action_t;

typedef enum {  // reason for recovery
    OPQ_BOOT_BECAUSE_NOTHING = 0,
    OPQ_BOOT_BECAUSE_NO_IMAGE = 1,   // no slot holds a good image
    OPQ_BOOT_BECAUSE_REJECTED = 2,   // only images that never reported health
    OPQ_BOOT_BECAUSE_WATCHDOG = 3,
    OPQ_BOOT_BECAUSE_PIN = 4,
    OPQ_BOOT_BECAUSE_REQUEST = 5,
} opq_boot_because_t;

typedef struct {
    const char *hardware;
    const uint8_t *public_key;
    opq_signature_check_t *check;
    bool recovery_pin;
    bool recovery_requested;
    uint32_t watchdog_resets;  // in a row, with this one
} opq_boot_facts_t;

typedef struct {
    opq_boot_action_t action;
    opq_boot_because_t because;
    opq_slot_t slot;     // to start, at once or after a recovery without update; NONE: none
    opq_slot_t target;   // slot that recovery may write; never `slot`
    uint32_t wait_ms;
    uint32_t trials;     // trials used by `slot`; 0: confirmed
    uint32_t floor_version;
    bool rolled_back;
    opq_image_verdict_t verdict[2];
    opq_image_t image[2];
    opq_slot_marks_t marks[2];
} opq_boot_plan_t;

// Decides, and finishes marks whose writing was cut. Counts no trial yet.
opq_boot_plan_t opq_boot_plan(const opq_nor_t *nor, const opq_boot_facts_t *facts);

// Right before the jump: counts the trial. If it cannot be counted and there is a confirmed image, `plan` has
// that one instead.
void opq_boot_begin(const opq_nor_t *nor, opq_boot_plan_t *plan);

#endif
