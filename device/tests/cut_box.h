// A Box whose power is cut, for power_cuts_update.c: its flash, and what boot loader and updater do with it.
#ifndef CUT_BOX_H
#define CUT_BOX_H

#include "boot.h"
#include "nor_flash.h"
#include "update.h"

enum { VERSIONS = 4, NOBODY = -1 };

typedef struct {
    uint8_t *bytes;
    size_t length;
} cut_file_t;

typedef struct {
    opq_slot_t slot;  // NONE: recovery
    int version;      // whose bytes are there to the last; NOBODY: nobody's
    bool confirmed;
} cut_start_t;

extern nor_flash_t cut_flash;
extern cut_file_t cut_files[VERSIONS][2];

void cut_box_read(const char *folder);  // v<version>_<slot>.bin, and the key
// A reset, up to the jump; the power goes at write `cut_at`, 0: it stays.
cut_start_t cut_box_start(uint32_t cut_at);
// All of an image over the line; false: refused, or cut.
bool cut_box_update(opq_slot_t running, opq_slot_t target, int version, uint32_t floor);

#endif
