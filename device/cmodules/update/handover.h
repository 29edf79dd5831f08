// Messages between boot loader and app: 64 bytes at the end of CCM, which a reset keeps and a power cut loses;
// and the parts of the boot loader that the app may use: its public key and its signature check, at the end of S1.
#ifndef OPQ_HANDOVER_H
#define OPQ_HANDOVER_H

#include "image.h"

#define OPQ_HANDOVER_ADDRESS UINT32_C(0x1000FFC0)   // the linker scripts leave it out of heap and stack
#define OPQ_BOOT_INFO_ADDRESS UINT32_C(0x08007F80)  // the last 128 bytes of S1
#define OPQ_HANDOVER_MAGIC UINT32_C(0x4F51504F)     // "OPQO"
#define OPQ_BOOT_INFO_MAGIC UINT32_C(0x4951504F)    // "OPQI"

enum {  // opq_handover_t.request, app to boot loader, for one reset
    OPQ_REQUEST_NOTHING = 0,
    OPQ_REQUEST_RECOVERY = 1,  // stay in the boot loader, wait for an image on USART1
    OPQ_REQUEST_REPL = 2,      // passed back to the app: start into the REPL
};

typedef struct {
    uint32_t magic;
    uint8_t request;
    uint8_t slot;            // started: 0 A, 1 B
    uint8_t trials;          // trials used by the started image, with this start; 0: it is confirmed
    uint8_t watchdog_resets; // in a row, without a report of health between
    uint8_t verdict_a;       // opq_image_verdict_t of each slot at the last start
    uint8_t verdict_b;
    uint8_t rolled_back;     // 1: the newer image was rejected, and the older one was started
    uint8_t reserved;
    uint32_t reset_csr;      // RCC_CSR as the boot loader found it; it clears the flags
    uint32_t floor_version;
    uint32_t boot_version;
    uint32_t check_us;       // time to check both slots: header, signature, hash
    uint32_t starts;         // since power came on
    uint32_t spare[7];
    uint32_t crc32;          // of all before
} opq_handover_t;

typedef struct {
    uint32_t magic;
    uint32_t boot_version;
    char hardware[OPQ_IMAGE_HARDWARE_BYTES];
    uint8_t public_key[32];
    opq_signature_check_t *check;  // runs in place, uses only the caller's stack (device/boot/README.md)
    uint32_t spare[16];
    uint32_t crc32;  // 0, not used yet; the tool that flashes the boot loader checks all of it
} opq_boot_info_t;

_Static_assert(sizeof(opq_handover_t) == 64, "the linker scripts leave 64 bytes");

// False: no message (power came on, or it was overwritten); `out` is then all zero.
bool opq_handover_read(const opq_handover_t *at, opq_handover_t *out);
void opq_handover_write(opq_handover_t *at, opq_handover_t *message);

#endif
