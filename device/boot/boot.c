#include "boot.h"

// A header that was cut in its last word may still read well now. Programming the same words again makes them
// certain (nor.h); then the slot is marked as installed. False: its marks cannot be written, and do not count.
static bool settle(const opq_nor_t *nor, opq_slot_t slot, const opq_image_t *image) {
    uint32_t address = opq_slot_address(slot);
    if (opq_slot_claim(nor, slot, image) != OPQ_NOR_OK) {
        return false;
    }
    if (!opq_slot_is_solid(nor, slot, OPQ_MARK_INSTALLED)) {
        for (uint32_t i = 0; i < OPQ_IMAGE_HEADER_BYTES; i += 4) {
            if (nor->program(nor->context, address + i, opq_nor_word(nor, address + i)) != OPQ_NOR_OK) {
                return true;  // for example low power: the next start tries again
            }
        }
        opq_slot_set(nor, slot, OPQ_MARK_INSTALLED);
    }
    opq_slot_finish_marks(nor, slot);
    return true;
}

static bool may_start(const opq_boot_plan_t *plan, opq_slot_t slot) {
    return plan->verdict[slot] == OPQ_IMAGE_GOOD && !plan->marks[slot].rejected &&
           plan->image[slot].version >= plan->floor_version;
}

static bool is_newer(const opq_boot_plan_t *plan, opq_slot_t slot, opq_slot_t than) {
    if (plan->image[slot].version != plan->image[than].version) {
        return plan->image[slot].version > plan->image[than].version;
    }
    return plan->marks[slot].sequence > plan->marks[than].sequence;
}

typedef bool slot_test_t(const opq_boot_plan_t *plan, opq_slot_t slot);

static opq_slot_t newest(const opq_boot_plan_t *plan, slot_test_t *test) {
    bool a = test(plan, OPQ_SLOT_A), b = test(plan, OPQ_SLOT_B);
    if (a && b) {
        return is_newer(plan, OPQ_SLOT_B, OPQ_SLOT_A) ? OPQ_SLOT_B : OPQ_SLOT_A;
    }
    return a ? OPQ_SLOT_A : b ? OPQ_SLOT_B : OPQ_SLOT_NONE;
}

static bool is_good(const opq_boot_plan_t *plan, opq_slot_t slot) { return plan->verdict[slot] == OPQ_IMAGE_GOOD; }

static bool is_confirmed(const opq_boot_plan_t *plan, opq_slot_t slot) {
    return may_start(plan, slot) && plan->marks[slot].confirmed;
}

// Recovery replaces an image on trial, never the confirmed one: the floor would be lost and older images accepted.
static void recover(opq_boot_plan_t *plan, opq_boot_because_t because, uint32_t wait_ms) {
    opq_slot_t confirmed = newest(plan, is_confirmed);
    if (confirmed != OPQ_SLOT_NONE) {
        plan->slot = confirmed;
        plan->target = opq_slot_other(confirmed);
        plan->trials = 0;
    }
    plan->action = OPQ_BOOT_RECOVERY;
    plan->because = because;
    plan->wait_ms = plan->slot == OPQ_SLOT_NONE ? OPQ_BOOT_FOR_EVER : wait_ms;
}

opq_boot_plan_t opq_boot_plan(const opq_nor_t *nor, const opq_boot_facts_t *facts) {
    opq_boot_plan_t plan = {.action = OPQ_BOOT_START, .because = OPQ_BOOT_BECAUSE_NOTHING};
    opq_image_rules_t rules = {.hardware = facts->hardware, .public_key = facts->public_key, .check = facts->check};
    for (opq_slot_t slot = OPQ_SLOT_A; slot <= OPQ_SLOT_B; slot++) {
        uint32_t address = opq_slot_address(slot);
        plan.verdict[slot] = opq_image_check(opq_nor_at(nor, address), OPQ_SLOT_BYTES - OPQ_SLOT_STATUS_BYTES,
                                             address, &rules, &plan.image[slot]);
        if (plan.verdict[slot] == OPQ_IMAGE_GOOD) {
            if (settle(nor, slot, &plan.image[slot])) {
                plan.marks[slot] = opq_slot_marks(nor, slot);
            }
            if (plan.marks[slot].confirmed && plan.image[slot].version > plan.floor_version) {
                plan.floor_version = plan.image[slot].version;
            }
        }
    }
    for (opq_slot_t slot = OPQ_SLOT_A; slot <= OPQ_SLOT_B; slot++) {
        opq_slot_marks_t *marks = &plan.marks[slot];
        if (may_start(&plan, slot) && !marks->confirmed && marks->trials == OPQ_SLOT_TRIALS) {
            opq_slot_set(nor, slot, OPQ_MARK_REJECTED);
            marks->rejected = true;
        }
        plan.rolled_back |= plan.verdict[slot] == OPQ_IMAGE_GOOD && marks->rejected;
    }
    plan.slot = newest(&plan, may_start);
    bool only_rejected = plan.slot == OPQ_SLOT_NONE;
    if (only_rejected) {
        plan.slot = newest(&plan, is_good);  // used after a while in recovery, if there is no better one
    }
    plan.target = plan.slot == OPQ_SLOT_A ? OPQ_SLOT_B : OPQ_SLOT_A;
    if (plan.slot != OPQ_SLOT_NONE && !plan.marks[plan.slot].confirmed) {
        plan.trials = plan.marks[plan.slot].trials;
    }
    if (facts->recovery_pin) {
        recover(&plan, OPQ_BOOT_BECAUSE_PIN, OPQ_BOOT_FOR_EVER);
    } else if (plan.slot == OPQ_SLOT_NONE) {
        recover(&plan, OPQ_BOOT_BECAUSE_NO_IMAGE, OPQ_BOOT_FOR_EVER);
    } else if (facts->recovery_requested) {
        recover(&plan, OPQ_BOOT_BECAUSE_REQUEST, OPQ_BOOT_REQUEST_MS);
    } else if (only_rejected) {
        recover(&plan, OPQ_BOOT_BECAUSE_REJECTED, OPQ_BOOT_HELP_MS);
    } else if (facts->watchdog_resets >= OPQ_BOOT_WATCHDOG_LIMIT) {
        recover(&plan, OPQ_BOOT_BECAUSE_WATCHDOG, OPQ_BOOT_HELP_MS);
    }
    return plan;
}

void opq_boot_begin(const opq_nor_t *nor, opq_boot_plan_t *plan) {
    const opq_slot_marks_t *marks = &plan->marks[plan->slot];
    if (marks->confirmed || marks->rejected || marks->trials >= OPQ_SLOT_TRIALS) {
        return;
    }
    if (opq_slot_set(nor, plan->slot, OPQ_MARK_TRIAL + marks->trials) == OPQ_NOR_OK) {
        plan->trials = marks->trials + 1;
        return;
    }
    opq_slot_t other = opq_slot_other(plan->slot);  // trials that are not counted might never end
    if (is_confirmed(plan, other)) {
        plan->slot = other;
        plan->trials = 0;
    }
}
