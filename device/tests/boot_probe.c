// Boot loader, updates and recovery for ctypes: one flash, one of each.
#include <string.h>

#include "boot.h"
#include "ed25519.h"
#include "nor_flash.h"
#include "recovery.h"
#include "update.h"

static nor_flash_t flash;
static opq_boot_facts_t facts = {.hardware = "opqbox", .check = opq_ed25519_check};
static opq_boot_plan_t plan;
static opq_update_t update;
static opq_recovery_t recovery;
static uint8_t key[32], sent[1 << 16];
static size_t sent_bytes;

void probe_new(uint64_t seed, const uint8_t *public_key);
uint8_t *probe_bytes(void);
uint32_t probe_operations(void);
uint32_t probe_outside(void);
void probe_low_power(int low);
void probe_writable(uint32_t sectors);
int probe_plan(int pin, int request, uint32_t watchdog_resets);
uint32_t probe_of_plan(int what);
void probe_begin(void);
int probe_confirm(int slot);
void probe_update_init(int running, int slot, uint32_t floor_version);
int probe_update(int what, uint32_t number, const uint8_t *data, size_t count);
uint32_t probe_of_update(int what);
void probe_recovery(void);
void probe_feed(const uint8_t *bytes, size_t count);
size_t probe_sent(uint8_t *out);
int probe_reset_wanted(void);
uint32_t probe_update_steps(void);

void probe_new(uint64_t seed, const uint8_t *public_key) {
    nor_flash_new(&flash, seed);
    memcpy(key, public_key, sizeof key);
    facts.public_key = key;
}
uint8_t *probe_bytes(void) { return flash.bytes; }
uint32_t probe_operations(void) { return flash.operations; }
uint32_t probe_outside(void) { return flash.outside; }
void probe_low_power(int low) { flash.low_power = low != 0; }
void probe_writable(uint32_t sectors) { flash.writable = sectors; }

int probe_plan(int pin, int request, uint32_t watchdog_resets) {
    facts.recovery_pin = pin != 0;
    facts.recovery_requested = request != 0;
    facts.watchdog_resets = watchdog_resets;
    plan = opq_boot_plan(&flash.nor, &facts);
    return (int)plan.action;
}

uint32_t probe_of_plan(int what) {
    const uint32_t values[] = {
        (uint32_t)plan.because, (uint32_t)plan.slot, (uint32_t)plan.target, plan.wait_ms, plan.trials,
        plan.floor_version, plan.rolled_back ? 1u : 0u, (uint32_t)plan.verdict[0], (uint32_t)plan.verdict[1],
    };
    return values[what];
}

void probe_begin(void) { opq_boot_begin(&flash.nor, &plan); }
int probe_confirm(int slot) { return (int)opq_update_confirm(&flash.nor, (opq_slot_t)slot); }

void probe_update_init(int running, int slot, uint32_t floor_version) {
    opq_image_rules_t rules = {.hardware = "opqbox", .floor_version = floor_version, .public_key = key,
                               .check = opq_ed25519_check};
    opq_update_init(&update, &flash.nor, &rules, (opq_slot_t)running, (opq_slot_t)slot);
}

int probe_update(int what, uint32_t number, const uint8_t *data, size_t count) {
    switch (what) {
        case 0:
            return (int)opq_update_begin(&update, number);
        case 1:
            return (int)opq_update_data(&update, number, data, count);
        case 2:
            return (int)opq_update_step(&update);
        default:
            return (int)opq_update_end(&update);
    }
}

uint32_t probe_of_update(int what) {
    const uint32_t values[] = {update.next, (uint32_t)update.verdict, (uint32_t)update.state,
                               (uint32_t)update.nor_status};
    return values[what];
}

static void keep(void *context, const uint8_t *bytes, size_t length) {
    (void)context;
    if (sent_bytes + length <= sizeof sent) {
        memcpy(sent + sent_bytes, bytes, length);
        sent_bytes += length;
    }
}

void probe_recovery(void) {
    sent_bytes = 0;
    opq_recovery_init(&recovery, &flash.nor, &facts, &plan, keep, NULL);
    opq_recovery_hello(&recovery);
}

void probe_feed(const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        opq_recovery_byte(&recovery, bytes[i]);
    }
}

size_t probe_sent(uint8_t *out) {
    size_t length = sent_bytes;
    memcpy(out, sent, length);
    sent_bytes = 0;
    return length;
}

int probe_reset_wanted(void) { return recovery.reset ? 1 : 0; }

uint32_t probe_update_steps(void) { return recovery.update_steps; }
