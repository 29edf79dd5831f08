// Frames of all kinds into recovery, most of them bent: nothing outside of the target slot is ever written, and what
// starts afterwards is the confirmed image, or nothing that was not signed.
//
//     recovery_fuzz FRAMES SEED   prints one line: frames, update_steps, refused writes outside, images installed
//
// Every signature is "good" here, so that bent bodies get as far as they can; the hash alone must stop them.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nor_flash.h"
#include "recovery.h"
#include "sha256.h"

static nor_flash_t flash;
static uint8_t image[OPQ_IMAGE_HEADER_BYTES + 3000], bent[sizeof image];

static bool any_signature(const uint8_t signature[64], const uint8_t key[32], const uint8_t *message, size_t length) {
    (void)signature, (void)key, (void)message, (void)length;
    return true;
}

static void nowhere(void *context, const uint8_t *bytes, size_t length) {
    (void)bytes;
    *(size_t *)context += length;
}

static uint32_t below(uint32_t limit) { return (uint32_t)(nor_flash_random(&flash) % limit); }

static void put32(uint8_t *at, uint32_t value) { memcpy(at, &value, sizeof value); }

static void make(uint32_t slot_address) {
    memset(image, 0, sizeof image);
    memcpy(image, "OPQF\1\0\0\2opqbox", 14);
    put32(image + 24, 7);
    put32(image + 28, slot_address);
    put32(image + 32, 3000);
    image[448] = 1;
    put32(image + 512, 0x20020000);
    put32(image + 516, slot_address + 512 + 9);
    for (size_t i = 520; i < sizeof image; i++) {
        image[i] = (uint8_t)below(256);
    }
    opq_sha256_t sha;
    opq_sha256_init(&sha);
    opq_sha256_update(&sha, image + 512, 3000);
    opq_sha256_final(&sha, image + 40);
}

static void feed(opq_recovery_t *recovery, const uint8_t *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) {
        opq_recovery_byte(recovery, bytes[i]);
    }
}

static void say(opq_recovery_t *recovery, uint8_t type, const uint8_t *payload, size_t length) {
    uint8_t frame[OPQ_LINK_MAX_FRAME];
    size_t size = opq_frame_write(frame, sizeof frame, type, (uint16_t)below(65536), payload, length);
    if (below(20) == 0 && size > 0) {
        frame[below((uint32_t)size)] ^= (uint8_t)(1u << below(8));
    }
    feed(recovery, frame, below(50) == 0 ? below((uint32_t)size + 1) : size);
}

static void command(opq_recovery_t *recovery) {
    static const char *const arguments[] = {"3512", "3512", "3512", "0", "", "4294967295", "99999", "x"};
    const char *argument = arguments[below(8)];
    opq_command_t order = {.command_id = (uint16_t)below(65536),
                           .operation = (uint8_t)(1 + below(9)),
                           .argument = {argument, strlen(argument)}};
    uint8_t payload[300];
    say(recovery, OPQ_COMMAND, payload, opq_write_command(payload, sizeof payload, &order));
}

static void piece(opq_recovery_t *recovery) {
    uint32_t next = recovery->update.next;
    uint32_t offset = below(4) != 0 && next < sizeof image ? next : below(sizeof image);
    uint32_t left = (uint32_t)sizeof image - offset, count = 1 + below(left < 1024 ? left : 1024);
    memcpy(bent, image, sizeof image);
    if (below(10) == 0) {
        bent[offset + below(count)] ^= (uint8_t)(1u << below(8));
    }
    opq_update_data_t data = {.command_id = 1, .offset = offset, .count = (uint16_t)count, .bytes = bent + offset};
    uint8_t payload[OPQ_LINK_MAX_PAYLOAD];
    say(recovery, OPQ_UPDATE_DATA, payload, opq_write_update_data(payload, sizeof payload, &data));
}

int main(int argc, char **argv) {
    static opq_recovery_t recovery;
    uint64_t frames = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000, installed = 0, wrong = 0;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    size_t sent = 0;
    nor_flash_new(&flash, seed);
    uint8_t key[32] = {0};
    opq_boot_facts_t facts = {.hardware = "opqbox", .public_key = key, .check = any_signature};
    opq_boot_plan_t plan = opq_boot_plan(&flash.nor, &facts);
    flash.writable = 7u << opq_slot_first_sector(plan.target);
    make(opq_slot_address(plan.target));
    opq_recovery_init(&recovery, &flash.nor, &facts, &plan, nowhere, &sent);
    for (uint64_t i = 0; i < frames; i++) {
        if (below(6) == 0) {
            command(&recovery);
        } else if (below(30) == 0) {
            uint8_t noise[64];
            for (size_t k = 0; k < sizeof noise; k++) {
                noise[k] = (uint8_t)below(256);
            }
            feed(&recovery, noise, sizeof noise);
        } else {
            piece(&recovery);
        }
        if (recovery.reset) {  // installed, or a reset requested: whatever starts must be the image to its last byte
            plan = opq_boot_plan(&flash.nor, &facts);
            if (plan.action == OPQ_BOOT_START) {
                installed++;
                wrong += memcmp(opq_nor_at(&flash.nor, opq_slot_address(plan.slot) + 512), image + 512, 3000) != 0;
            }
            plan.slot = OPQ_SLOT_NONE;
            plan.target = OPQ_SLOT_A;
            opq_recovery_init(&recovery, &flash.nor, &facts, &plan, nowhere, &sent);
        }
    }
    printf("frames %llu update_steps %u wrong %llu outside %u installed %llu sent %zu\n", (unsigned long long)frames,
           recovery.update_steps, (unsigned long long)wrong, flash.outside, (unsigned long long)installed, sent);
    return wrong + flash.outside == 0 ? 0 : 1;
}
