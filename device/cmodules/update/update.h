// Receives a firmware image into the slot that does not run. The app (over the link) and the boot loader's
// recovery both use it; neither can write the running slot with it.
//
//     begin(length)      ends an update before it, answers for which slot the image has to be
//     data(offset, ...)  the image from its header on; known bytes are skipped, a gap is refused; the
//                        header is checked before anything is erased, and `next` stays at its end until then
//     step()             while BUSY: erases one sector per call, so that the caller can do other work in between
//     end()              checks header and body in flash, writes the header last, marks the slot for trial
//
// After a cut anywhere: before the header's last word the slot has nothing that starts, after it the whole image.
#ifndef OPQ_UPDATE_H
#define OPQ_UPDATE_H

#include "image.h"
#include "nor.h"
#include "slot.h"

typedef enum {
    OPQ_UPDATE_IDLE = 0,
    OPQ_UPDATE_HEADER = 1,    // waiting for the first 512 bytes
    OPQ_UPDATE_ERASING = 2,   // call step()
    OPQ_UPDATE_RECEIVING = 3,
    OPQ_UPDATE_READY = 4,     // installed; a reset starts it on trial
    OPQ_UPDATE_REFUSED = 5,   // `verdict` says why; begin() starts again
} opq_update_state_t;

typedef enum {
    OPQ_UPDATE_OK = 0,
    OPQ_UPDATE_BUSY = 1,           // erasing: send the same data again a little later
    OPQ_UPDATE_WRONG_OFFSET = 2,   // a piece is missing before this one; `next` says where to go on
    OPQ_UPDATE_BAD_IMAGE = 3,      // `verdict` says why
    OPQ_UPDATE_FLASH = 4,          // `nor_status` says why
    OPQ_UPDATE_NOT_BEGUN = 5,
    OPQ_UPDATE_ON_TRIAL = 6,       // the running image has not reported health yet: its predecessor must stay
    OPQ_UPDATE_BAD_LENGTH = 7,
} opq_update_status_t;

typedef struct {
    const opq_nor_t *nor;
    opq_image_rules_t rules;
    opq_slot_t running;  // OPQ_SLOT_NONE in recovery
    opq_slot_t slot;     // the one written
    opq_update_state_t state;
    opq_image_verdict_t verdict;
    opq_nor_status_t nor_status;
    uint32_t length;  // announced, header included; an upper bound
    uint32_t next;    // offset of the next byte wanted
    uint32_t erased;  // sectors, of three
    opq_image_t image;
    uint32_t held;    // bytes of an unfinished word
    uint8_t word[4];
    uint8_t header[OPQ_IMAGE_HEADER_BYTES];
} opq_update_t;

// `slot`: the one to write. `running` is never written.
void opq_update_init(opq_update_t *update, const opq_nor_t *nor, const opq_image_rules_t *rules, opq_slot_t running,
                     opq_slot_t slot);
opq_update_status_t opq_update_begin(opq_update_t *update, uint32_t length);
opq_update_status_t opq_update_data(opq_update_t *update, uint32_t offset, const uint8_t *data, size_t count);
opq_update_status_t opq_update_step(opq_update_t *update);
opq_update_status_t opq_update_end(opq_update_t *update);

// The running image is healthy: ends its trial. Further calls change nothing.
opq_nor_status_t opq_update_confirm(const opq_nor_t *nor, opq_slot_t running);

#endif
