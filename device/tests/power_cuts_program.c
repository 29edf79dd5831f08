// Cuts the power at every write of puts of a user's program, seed after seed, and looks at what the next starts have.
//
//     power_cuts_program SEEDS   prints one line: cuts, corrupt, bricked, old, new, none, erases, longest put in writes
//
// One trial: a prepared flash holds OLD, or none; NEW is put as module.c does it, and the power goes at write k; the next
// start may lose its power as well (twice at most). The first start that completes must have all of OLD or all of NEW, or
// none if an erase was cut; five more starts must have the same; then, or at once, a further put must work and be there.
// So must a put that ran to its end.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "link.h"
#include "nor_flash.h"
#include "program_store.h"

enum { FIRST = 0x10000, BYTES = 0x10000, PIECE = 12 }; // sector 4

static nor_flash_t before, flash;
static opq_program_t kept;
static bool erasing;
static uint64_t cuts, corrupt, bricked, old_held, new_held, none_held;

static const char *const NONE = "";
static const char *const OLD = "def window(w): pass\n";
static const char *const NEW = "def window(w):\n    print(w)\n";
static char NEWEST[OPQ_PROGRAM_MAX_BYTES + 1]; // long: what a cut erase left in the sector comes to light

static void start(nor_flash_t *on, uint32_t cut_at) {
    nor_flash_power_up(on, cut_at);
    if (!opq_program_load(&on->nor, &kept)) {
        kept = (opq_program_t){.sequence = 0};
    }
}

// NULL: something else.
static const char *held(void) {
    const char *const all[] = {NONE, OLD, NEW, NEWEST};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (kept.length == strlen(all[i]) && (kept.length == 0 || memcmp(kept.text, all[i], kept.length) == 0)) {
            return all[i];
        }
    }
    return NULL;
}

static bool same_in_five_starts(nor_flash_t *on, const char *wanted) {
    bool same = true;
    for (int n = 0; n < 5; n++) {
        start(on, 0);
        same = same && held() == wanted;
    }
    return same;
}

static uint32_t begin(nor_flash_t *on) {
    uint32_t place = opq_program_free_place(&on->nor);
    if (place == OPQ_PROGRAM_PLACES) {
        static uint8_t copy[OPQ_PROGRAM_MAX_BYTES];
        if (kept.length > 0) {
            memcpy(copy, kept.text, kept.length);
        }
        kept.text = copy;
        erasing = true;
        erasing = opq_program_erase(&on->nor, &kept) != OPQ_NOR_OK;
        if (erasing || !opq_program_load(&on->nor, &kept)) {
            return OPQ_PROGRAM_PLACES;
        }
        place = opq_program_free_place(&on->nor);
    }
    bool begun = place < OPQ_PROGRAM_PLACES && opq_program_begin(&on->nor, place, kept.sequence + 1u) == OPQ_NOR_OK;
    return begun ? place : OPQ_PROGRAM_PLACES;
}

static bool put(nor_flash_t *on, const char *text, bool to_the_end) {
    uint32_t length = (uint32_t)strlen(text), place = begin(on);
    const uint8_t *bytes = (const uint8_t *)text;
    bool ok = place < OPQ_PROGRAM_PLACES;
    for (uint32_t at = 0; ok && at < length; at += PIECE) {
        ok = opq_program_write(&on->nor, place, at, bytes + at, length - at < PIECE ? length - at : PIECE) == OPQ_NOR_OK;
        if (!to_the_end) {
            return false;
        }
    }
    return ok && opq_program_commit(&on->nor, place, kept.sequence + 1u, length, opq_crc32(0, bytes, length)) ==
                     OPQ_NOR_OK;
}

// Five ways a flash can look before the put; returns what it holds.
static const char *prepare(uint32_t kind) {
    nor_flash_new(&before, 1);
    start(&before, 0);
    if (kind == 0) {
        return NONE; // never put
    }
    for (int n = 0; n < 3 || (kind == 2 && opq_program_free_place(&before.nor) < OPQ_PROGRAM_PLACES); n++) {
        put(&before, OLD, true);
        start(&before, 0);
    }
    if (kind == 3) {
        put(&before, NONE, true); // removed
    } else if (kind == 4) {
        put(&before, NEW, false); // broken off
    }
    start(&before, 0);
    return held();
}

// False: the put ran to its end before the cut.
static bool trial(const char *old, uint32_t cut_at, uint64_t seed) {
    nor_flash_copy(&flash, &before, FIRST, BYTES, seed);
    flash.writable = 1u << OPQ_PROGRAM_SECTOR;
    erasing = false;
    start(&flash, 0);
    nor_flash_power_up(&flash, cut_at);
    bool done = put(&flash, NEW, true);
    if (!flash.off) {
        bricked += !done || !same_in_five_starts(&flash, NEW);
        return false;
    }
    cuts++;
    bool none_allowed = erasing || old == NONE;
    for (uint32_t again = 0; again < 2 && nor_flash_random(&flash) % 3 == 0; again++) {
        start(&flash, 1 + (uint32_t)(nor_flash_random(&flash) % 6));
        if (!flash.off) {
            break;
        }
        cuts++;
    }
    start(&flash, 0);
    const char *first = held();
    corrupt += first != old && first != NEW && !(first == NONE && none_allowed);
    corrupt += cut_at % 2 == 0 && !same_in_five_starts(&flash, first); // or the next put follows at once
    old_held += first == old;
    new_held += first == NEW;
    none_held += first == NONE && old != NONE;
    bricked += !put(&flash, NEWEST, true) || !same_in_five_starts(&flash, NEWEST);
    bricked += flash.outside;
    return true;
}

int main(int argc, char **argv) {
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint32_t longest = 0;
    memset(NEWEST, '#', sizeof NEWEST - 1);
    nor_flash_new(&flash, 1);
    for (uint32_t kind = 0; kind < 5; kind++) {
        const char *old = prepare(kind);
        if (old != (kind == 0 || kind == 3 ? NONE : OLD)) {
            fprintf(stderr, "kind %" PRIu32 " holds something else\n", kind);
            return 2;
        }
        for (uint64_t seed = 0; seed < seeds; seed++) {
            uint32_t cut_at = 1;
            while (trial(old, cut_at, seed * 1000003 + cut_at * 31 + kind)) {
                cut_at++;
            }
            longest = cut_at - 1 > longest ? cut_at - 1 : longest;
        }
    }
    printf("cuts %" PRIu64 " corrupt %" PRIu64 " bricked %" PRIu64 " old %" PRIu64 " new %" PRIu64 " none %" PRIu64
           " erases %" PRIu32 " longest %" PRIu32 "\n", cuts, corrupt, bricked, old_held, new_held, none_held,
           flash.erases[OPQ_PROGRAM_SECTOR], longest);
    return corrupt + bricked == 0 ? 0 : 1;
}
