// Cuts the power at every write of saves of settings, seed after seed, and looks at what the next starts have.
//
//     power_cuts_settings SEEDS   prints one line: cuts, corrupt, bricked, old, new, erases, longest save in writes
//
// One trial: a prepared flash holds OLD; NEW is put and saved, the power goes at write k; the next start may lose its
// power as well (twice at most). The first start that completes must have all of OLD or all of NEW and say so; five
// more starts must have the same; then a further save must work and be there.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nor_flash.h"
#include "settings.h"

static nor_flash_t before, flash;
static uint64_t cuts, corrupt, bricked, old_held, new_held;

#define FIRST 0x8000u  // offset of S2 in the flash; S2 and S3 are 32 KB
#define BYTES 0x8000u

typedef struct {
    const char *box_id, *gain, *nominal_v, *converter;
} values_t;

static const values_t STANDARD = {"0", "1", "120", "board"};
static const values_t OLD = {"1003", "0.998", "230", "internal"};
static const values_t NEW = {"1004", "1.0025", "277", "external"};
static const values_t NEWEST = {"1005", "1.5", "400", "board"};

static void put(opq_settings_t *settings, const values_t *values) {
    bool ok = opq_settings_put(settings, "box_id", values->box_id) == OPQ_SETTINGS_OK &&
              opq_settings_put(settings, "gain", values->gain) == OPQ_SETTINGS_OK &&
              opq_settings_put(settings, "nominal_v", values->nominal_v) == OPQ_SETTINGS_OK &&
              opq_settings_put(settings, "converter", values->converter) == OPQ_SETTINGS_OK;
    if (!ok) {
        fprintf(stderr, "the table does not take the test's values\n");
        exit(2);
    }
}

static bool has(const opq_settings_t *settings, const values_t *values) {
    return strcmp(opq_settings_get(settings, "box_id"), values->box_id) == 0 &&
           strcmp(opq_settings_get(settings, "gain"), values->gain) == 0 &&
           strcmp(opq_settings_get(settings, "nominal_v"), values->nominal_v) == 0 &&
           strcmp(opq_settings_get(settings, "converter"), values->converter) == 0 &&
           strcmp(opq_settings_get(settings, "led_percent"), "100") == 0 && settings->rejected == 0;
}

// Five ways a flash can look before the save; returns what it holds.
static const values_t *prepare(uint32_t kind) {
    opq_settings_t settings;
    nor_flash_new(&before, 1);
    opq_settings_load(&settings, &before.nor);
    if (kind == 0) {
        return &STANDARD;  // never saved
    }
    put(&settings, &OLD);
    opq_settings_save(&settings);
    uint32_t saves = kind == 1 ? 0 : kind == 2 ? 40 : 100000;
    for (uint32_t i = 0; i < saves; i++) {  // 3, 4: until the sector has no room for the next save
        opq_settings_put(&settings, "gain", i % 2 == 0 ? "1.25" : "0.998");
        put(&settings, &OLD);
        settings.changed |= 1u << 3;
        opq_settings_save(&settings);
        bool in_b = settings.sector == OPQ_SETTINGS_SECTOR_B;
        uint32_t end = opq_nor_sector_address(settings.sector) + opq_nor_sector_bytes(settings.sector);
        if (kind > 2 && end - settings.next < 64 && in_b == (kind == 4)) {
            break;
        }
    }
    return &OLD;
}

static const values_t *held(const opq_settings_t *settings, const values_t *old) {
    return has(settings, old) ? old : has(settings, &NEW) ? &NEW : NULL;
}

// False: the save ran to its end before the cut.
static bool trial(const values_t *old, uint32_t cut_at, uint64_t seed) {
    opq_settings_t settings;
    nor_flash_copy(&flash, &before, FIRST, BYTES, seed);
    flash.writable = 1u << OPQ_SETTINGS_SECTOR_A | 1u << OPQ_SETTINGS_SECTOR_B;
    opq_settings_load(&settings, &flash.nor);
    put(&settings, &NEW);
    nor_flash_power_up(&flash, cut_at);
    opq_settings_save(&settings);
    if (!flash.off) {
        return false;
    }
    cuts++;
    for (uint32_t again = 0; again < 2 && nor_flash_random(&flash) % 3 == 0; again++) {
        nor_flash_power_up(&flash, 1 + (uint32_t)(nor_flash_random(&flash) % 24));
        opq_settings_load(&settings, &flash.nor);
        if (!flash.off) {
            break;
        }
        cuts++;
    }
    nor_flash_power_up(&flash, 0);
    opq_settings_source_t source = opq_settings_load(&settings, &flash.nor);
    const values_t *first = held(&settings, old);
    bool reported = first != old || source != OPQ_SETTINGS_LOST || old == &STANDARD;
    corrupt += first == NULL || !reported;
    old_held += first == old;
    new_held += first == &NEW;
    for (uint32_t start = 0; start < 5; start++) {
        nor_flash_power_up(&flash, 0);
        opq_settings_load(&settings, &flash.nor);
        corrupt += first == NULL || !has(&settings, first);
    }
    put(&settings, &NEWEST);
    bool saved = opq_settings_save(&settings) == OPQ_SETTINGS_OK;
    nor_flash_power_up(&flash, 0);
    source = opq_settings_load(&settings, &flash.nor);  // a torn word may be noticed, and repaired, as late as here
    bool lost = source == OPQ_SETTINGS_LOST || source == OPQ_SETTINGS_BLANK;
    bricked += !saved || lost || !has(&settings, &NEWEST);
    bricked += flash.outside;
    return true;
}

int main(int argc, char **argv) {
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint32_t longest = 0;
    nor_flash_new(&flash, 1);
    for (uint32_t kind = 0; kind < 5; kind++) {
        const values_t *old = prepare(kind);
        for (uint64_t seed = 0; seed < seeds; seed++) {
            uint32_t cut_at = 1;
            while (trial(old, cut_at, seed * 1000003 + cut_at * 31 + kind)) {
                cut_at++;
            }
            longest = cut_at - 1 > longest ? cut_at - 1 : longest;
        }
    }
    uint32_t erases = flash.erases[OPQ_SETTINGS_SECTOR_A] + flash.erases[OPQ_SETTINGS_SECTOR_B];
    printf("cuts %" PRIu64 " corrupt %" PRIu64 " bricked %" PRIu64 " old %" PRIu64 " new %" PRIu64
           " erases %" PRIu32 " longest %" PRIu32 "\n", cuts, corrupt, bricked, old_held, new_held, erases, longest);
    return corrupt + bricked == 0 ? 0 : 1;
}
