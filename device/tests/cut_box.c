#include "cut_box.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef FAST
#include "sha256.h"

static bool fast_check(const uint8_t signature[64], const uint8_t key[32], const uint8_t *message, size_t length) {
    opq_sha256_t sha;
    uint8_t digest[32];
    opq_sha256_init(&sha);
    opq_sha256_update(&sha, key, 32);
    opq_sha256_update(&sha, message, length);
    opq_sha256_final(&sha, digest);
    return memcmp(signature, digest, 32) == 0 && memcmp(signature + 32, digest, 32) == 0;
}
#define CHECK fast_check
#else
#include "ed25519.h"
#define CHECK opq_ed25519_check
#endif

nor_flash_t cut_flash;
cut_file_t cut_files[VERSIONS][2];
static uint8_t key[32];

void cut_box_read(const char *folder) {
    for (int version = 0; version < VERSIONS; version++) {
        for (int slot = 0; slot < 2; slot++) {
            char path[512];
            snprintf(path, sizeof path, "%s/v%d_%c.bin", folder, version, 'A' + slot);
            FILE *file = fopen(path, "rb");
            cut_file_t *into = &cut_files[version][slot];
            into->bytes = malloc(OPQ_SLOT_BYTES);
            into->length = file != NULL ? fread(into->bytes, 1, OPQ_SLOT_BYTES, file) : 0;
            if (file != NULL) {
                fclose(file);
            }
        }
    }
    char path[512];
    snprintf(path, sizeof path, "%s/key", folder);
    FILE *file = fopen(path, "rb");
    if (file == NULL || fread(key, 1, sizeof key, file) != sizeof key) {
        fprintf(stderr, "%s: no key of 32 bytes\n", path);
        exit(2);
    }
    fclose(file);
}


cut_start_t cut_box_start(uint32_t cut_at) {
    opq_boot_facts_t facts = {.hardware = "opqbox", .public_key = key, .check = CHECK};
    nor_flash_power_up(&cut_flash, cut_at);
    opq_boot_plan_t plan = opq_boot_plan(&cut_flash.nor, &facts);
    cut_start_t found = {.slot = OPQ_SLOT_NONE, .version = NOBODY, .confirmed = false};
    if (plan.action != OPQ_BOOT_START) {
        return found;
    }
    opq_boot_begin(&cut_flash.nor, &plan);
    found.slot = plan.slot;
    found.confirmed = plan.trials == 0;
    for (int version = 0; version < VERSIONS; version++) {
        const cut_file_t *file = &cut_files[version][plan.slot];
        if (memcmp(opq_nor_at(&cut_flash.nor, opq_slot_address(plan.slot)), file->bytes, file->length) == 0) {
            found.version = version;
        }
    }
    return found;
}

bool cut_box_update(opq_slot_t running, opq_slot_t target, int version, uint32_t floor) {
    static opq_update_t receiver;
    const cut_file_t *file = &cut_files[version][target];
    opq_image_rules_t rules = {.hardware = "opqbox", .floor_version = floor, .public_key = key, .check = CHECK};
    opq_update_init(&receiver, &cut_flash.nor, &rules, running, target);
    if (opq_update_begin(&receiver, (uint32_t)file->length) != OPQ_UPDATE_OK) {
        return false;
    }
    while (receiver.next < file->length) {
        uint32_t left = (uint32_t)file->length - receiver.next, count = left < 1000 ? left : 1000;
        opq_update_status_t status = opq_update_data(&receiver, receiver.next, file->bytes + receiver.next, count);
        if (status == OPQ_UPDATE_BUSY) {
            status = opq_update_step(&receiver);
        }
        if ((status != OPQ_UPDATE_OK && status != OPQ_UPDATE_BUSY) || cut_flash.off) {
            return false;
        }
    }
    return opq_update_end(&receiver) == OPQ_UPDATE_OK && !cut_flash.off;
}
