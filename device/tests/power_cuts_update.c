// Cuts the power at every write of an update, from its first erase to the confirmed start of the new image, seed
// after seed, and looks at what starts then.
//
//     power_cuts_update FOLDER FIRST STEP SEEDS [KIND]   FOLDER holds v<version>_<slot>.bin; cuts at writes FIRST,
//                                                        FIRST + STEP ... of updates of every kind, or of one
//
// One trial: update, reset, trial start, health, reset; the power goes at write k, and twice at most in the starts
// that follow. The first start that completes must start an image that is there to its last byte: the old one, or the
// new one; the new one alone once it was confirmed. Then either the app reports health and the new image stays, or it
// never does and the old one comes back within four starts (or, where the report of health was what was cut, the new
// one stays); and where the old one runs, the update must work again.
//
// Prints one line of figures. With -DFAST a signature is twice the SHA-256 of key and header instead of Ed25519.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cut_box.h"

#ifndef STARTS
#define STARTS 5  // how often a Box is started again to see that it stays what it is
#endif
#define FIRST_BYTE 0x20000u  // offset of slot A; both slots are 768 KB
#define BYTES 0xC0000u

typedef struct {
    const char *name;
    opq_slot_t running, target;
    int old_version, new_version;
} kind_t;

static const kind_t KINDS[] = {
    {"A runs, B holds an older image", OPQ_SLOT_A, OPQ_SLOT_B, 1, 2},
    {"B runs, A holds an older image", OPQ_SLOT_B, OPQ_SLOT_A, 1, 2},
    {"A by a programmer, B blank", OPQ_SLOT_A, OPQ_SLOT_B, 1, 2},
    {"A runs, B holds a rejected image", OPQ_SLOT_A, OPQ_SLOT_B, 1, 2},
    {"the same version again", OPQ_SLOT_A, OPQ_SLOT_B, 1, 1},
    {"blank, by recovery", OPQ_SLOT_NONE, OPQ_SLOT_A, NOBODY, 1},
};

static nor_flash_t before;
static uint64_t cuts, corrupt, bricked, old_started, new_started, late, rolled_back;

static uint32_t number(int version) { return version < 0 ? 0 : 0x01000000u + (uint32_t)version; }

static void must(bool good, const char *what) {
    if (!good) {
        fprintf(stderr, "cannot prepare: %s\n", what);
        exit(2);
    }
}

static void prepare(const kind_t *kind) {
    nor_flash_new(&cut_flash, 7);
    opq_slot_t other = kind->target;
    if (kind == &KINDS[2]) {
        const cut_file_t *file = &cut_files[1][OPQ_SLOT_A];
        must(opq_nor_write(&cut_flash.nor, OPQ_SLOT_A_ADDRESS, file->bytes, file->length) == OPQ_NOR_OK, "by programmer");
    } else if (kind->running != OPQ_SLOT_NONE) {
        must(cut_box_update(OPQ_SLOT_NONE, other, 0, 0), "oldest");
        must(cut_box_start(0).version == 0, "oldest starts");
        opq_update_confirm(&cut_flash.nor, other);
        must(cut_box_update(other, kind->running, 1, 0), "old");
    }
    if (kind->running != OPQ_SLOT_NONE) {
        must(cut_box_start(0).version == 1, "old starts");
        opq_update_confirm(&cut_flash.nor, kind->running);
    }
    if (kind == &KINDS[3]) {
        must(cut_box_update(kind->running, other, 3, 0), "image that will be rejected");
        for (int i = 0; i < OPQ_SLOT_TRIALS; i++) {
            must(cut_box_start(0).version == 3, "trial");
        }
        must(cut_box_start(0).version == 1, "rollback");
    }
    nor_flash_new(&before, 7);
    memcpy(before.bytes, cut_flash.bytes, sizeof before.bytes);
    before.writable = 7u << 5 | 7u << 8;
}

static bool confirming;  // the power went while health was being reported: it may count at a later start, or not

// Update, reset, trial, health, reset. True: the new image had been confirmed before the power went.
static bool session(const kind_t *kind, uint32_t cut_at) {
    nor_flash_power_up(&cut_flash, cut_at);
    confirming = false;
    uint32_t used = 0;
    if (!cut_box_update(kind->running, kind->target, kind->new_version, number(kind->old_version)) || cut_flash.off) {
        return false;
    }
    for (int step = 0; step < 2; step++) {
        used += cut_flash.operations;
        if (cut_at <= used) {
            cut_flash.off = false;
            return step > 0;
        }
        cut_start_t started = cut_box_start(cut_at - used);
        if (cut_flash.off) {
            return step > 0;
        }
        if (started.slot == kind->target) {
            opq_update_confirm(&cut_flash.nor, started.slot);
            if (cut_flash.off) {
                confirming = true;
                return step > 0;
            }
        }
    }
    return true;
}

static bool is_expected(const kind_t *kind, const cut_start_t *started) {
    bool old = started->slot == kind->running && started->version == kind->old_version;
    bool new = started->slot == kind->target && started->version == kind->new_version;
    return old || new;
}

static bool stays(opq_slot_t slot) {
    for (int again = 0; again < STARTS; again++) {
        cut_start_t started = cut_box_start(0);
        if (started.slot != slot || !started.confirmed) {
            return false;
        }
    }
    return true;
}

// The new image runs on trial: with health it stays, without it the old one comes back.
static bool goes_on(const kind_t *kind, bool confirmed) {
    if (confirmed || kind->running == OPQ_SLOT_NONE || nor_flash_random(&cut_flash) % 2 == 0) {
        return opq_update_confirm(&cut_flash.nor, kind->target) == OPQ_NOR_OK && stays(kind->target);
    }
    cut_start_t started = {.slot = kind->target};
    for (int again = 0; again < OPQ_SLOT_TRIALS + 1 && started.slot == kind->target; again++) {
        started = cut_box_start(0);
    }
    if (confirming && started.slot == kind->target) {
        return stays(kind->target);
    }
    rolled_back++;
    return started.slot == kind->running && started.version == kind->old_version && stays(kind->running);
}

static bool works_again(const kind_t *kind) {
    cut_start_t started;
    if (!cut_box_update(kind->running, kind->target, kind->new_version, number(kind->old_version))) {
        return false;
    }
    started = cut_box_start(0);
    return started.slot == kind->target && started.version == kind->new_version &&
           opq_update_confirm(&cut_flash.nor, kind->target) == OPQ_NOR_OK && stays(kind->target);
}

// False: the session ran to its end before the cut.
static bool trial(const kind_t *kind, uint32_t cut_at, uint64_t seed) {
    nor_flash_copy(&cut_flash, &before, FIRST_BYTE, BYTES, seed);
    cut_flash.outside = 0;
    bool confirmed = session(kind, cut_at);
    if (!cut_flash.off) {
        return false;
    }
    cuts++;
    for (int again = 0; again < 2 && nor_flash_random(&cut_flash) % 3 == 0; again++) {
        cut_box_start(1 + (uint32_t)(nor_flash_random(&cut_flash) % 6));
        if (!cut_flash.off) {
            break;
        }
        cuts++;
    }
    cut_start_t first = cut_box_start(0);
    bool nothing_yet = kind->running == OPQ_SLOT_NONE && first.slot == OPQ_SLOT_NONE && !confirmed;
    corrupt += !nothing_yet && !is_expected(kind, &first);
    corrupt += confirmed && first.slot != kind->target;
    bool new = first.slot == kind->target;
    if (!new && !nothing_yet) {
        for (int again = 0; again < STARTS && !new; again++) {  // a torn header may read well at a later start
            cut_start_t started = cut_box_start(0);
            corrupt += !is_expected(kind, &started);
            new = started.slot == kind->target;
            late += new;
        }
    }
    old_started += !new && !nothing_yet;
    new_started += new;
    bool good = new ? goes_on(kind, first.confirmed) : works_again(kind);
    bricked += !good;
    bricked += cut_flash.outside;
    return true;
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "power_cuts_update FOLDER FIRST STEP SEEDS [KIND]\n");
        return 2;
    }
    cut_box_read(argv[1]);
    uint32_t first = (uint32_t)strtoul(argv[2], NULL, 10), step = (uint32_t)strtoul(argv[3], NULL, 10);
    uint64_t seeds = strtoull(argv[4], NULL, 10);
    uint32_t longest = 0;
    size_t kinds = sizeof KINDS / sizeof *KINDS, only = argc > 5 ? strtoul(argv[5], NULL, 10) : kinds;
    for (size_t k = 0; k < kinds; k++) {
        if (only < kinds && k != only) {
            continue;
        }
        prepare(&KINDS[k]);
        for (uint64_t seed = 0; seed < seeds; seed++) {
            uint32_t cut_at = first + (uint32_t)(seed % step);
            while (trial(&KINDS[k], cut_at, seed * 1000003 + cut_at * 31 + k)) {
                cut_at += step;
            }
            longest = cut_at > longest ? cut_at : longest;
        }
        if (corrupt + bricked > 0) {
            fprintf(stderr, "%s: %" PRIu64 " corrupt, %" PRIu64 " bricked\n", KINDS[k].name, corrupt, bricked);
        }
    }
    printf("cuts %" PRIu64 " corrupt %" PRIu64 " bricked %" PRIu64 " old %" PRIu64 " new %" PRIu64 " late %" PRIu64
           " rolled_back %" PRIu64 " longest %" PRIu32 "\n",
           cuts, corrupt, bricked, old_started, new_started, late, rolled_back, longest);
    return corrupt + bricked == 0 ? 0 : 1;
}
