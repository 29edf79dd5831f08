#include "recovery.h"

#include <math.h>
#include <string.h>

static const char *const WHY[] = {
    [OPQ_BOOT_BECAUSE_NOTHING] = OPQ_BOOT_NAME,
    [OPQ_BOOT_BECAUSE_NO_IMAGE] = OPQ_BOOT_NAME ": no good image",
    [OPQ_BOOT_BECAUSE_REJECTED] = OPQ_BOOT_NAME ": image never reported health",
    [OPQ_BOOT_BECAUSE_WATCHDOG] = OPQ_BOOT_NAME ": watchdog resets in a row",
    [OPQ_BOOT_BECAUSE_PIN] = OPQ_BOOT_NAME ": recovery pin",
    [OPQ_BOOT_BECAUSE_REQUEST] = OPQ_BOOT_NAME ": requested",
};

static opq_text_t text(const char *words) { return (opq_text_t){words, strlen(words)}; }

static void send(opq_recovery_t *recovery, uint8_t type, size_t length) {
    size_t size = opq_frame_write(recovery->frame, sizeof recovery->frame, type, recovery->sequence++,
                                  recovery->payload, length);
    recovery->send(recovery->context, recovery->frame, size);
}

static void acknowledge(opq_recovery_t *recovery, uint16_t command_id, opq_status_t status, const char *detail) {
    send(recovery, OPQ_ACKNOWLEDGEMENT,
         opq_write_acknowledgement(recovery->payload, sizeof recovery->payload, command_id, status, text(detail)));
}

// `words` and a whole number after them.
static void acknowledge_number(opq_recovery_t *recovery, uint16_t command_id, opq_status_t status, const char *words,
                               uint32_t number) {
    char detail[40];
    size_t length = strlen(words), digits = 0;
    char reversed[10];
    memcpy(detail, words, length);
    do {
        reversed[digits++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (digits > 0) {
        detail[length++] = reversed[--digits];
    }
    detail[length] = '\0';
    acknowledge(recovery, command_id, status, detail);
}

static bool number_of(opq_text_t argument, uint32_t *number) {
    *number = 0;
    for (size_t i = 0; i < argument.length; i++) {
        if (argument.bytes[i] < '0' || argument.bytes[i] > '9' || *number > UINT32_MAX / 10 - 1) {
            return false;
        }
        *number = *number * 10 + (uint32_t)(argument.bytes[i] - '0');
    }
    return argument.length > 0;
}

static void answer(opq_recovery_t *recovery, uint16_t command_id, opq_update_status_t status, const char *done) {
    const opq_update_t *update = &recovery->update;
    switch (status) {
        case OPQ_UPDATE_OK:
            acknowledge(recovery, command_id, OPQ_STATUS_DONE, done);
            break;
        case OPQ_UPDATE_BAD_LENGTH:
            acknowledge(recovery, command_id, OPQ_STATUS_BAD_ARGUMENT, "length");
            break;
        case OPQ_UPDATE_BAD_IMAGE:
            acknowledge_number(recovery, command_id, OPQ_STATUS_FAILED, "verdict ", (uint32_t)update->verdict);
            break;
        case OPQ_UPDATE_FLASH:
            acknowledge_number(recovery, command_id,
                               update->nor_status == OPQ_NOR_LOW_POWER ? OPQ_STATUS_BUSY : OPQ_STATUS_FAILED,
                               "flash ", (uint32_t)update->nor_status);
            break;
        case OPQ_UPDATE_BUSY:
        case OPQ_UPDATE_WRONG_OFFSET:
        case OPQ_UPDATE_NOT_BEGUN:
        case OPQ_UPDATE_ON_TRIAL:
            acknowledge_number(recovery, command_id, OPQ_STATUS_FAILED, "status ", (uint32_t)status);
            break;
    }
}

static void on_data(opq_recovery_t *recovery, const opq_update_data_t *piece) {
    opq_update_status_t status = opq_update_data(&recovery->update, piece->offset, piece->bytes, piece->count);
    if (status == OPQ_UPDATE_BUSY) {
        do {
            status = opq_update_step(&recovery->update);
        } while (status == OPQ_UPDATE_BUSY);
        if (status == OPQ_UPDATE_OK) {
            status = opq_update_data(&recovery->update, piece->offset, piece->bytes, piece->count);
        }
    }
    recovery->update_steps += status == OPQ_UPDATE_OK ? 1u : 0u;
    if (status == OPQ_UPDATE_OK || status == OPQ_UPDATE_WRONG_OFFSET) {
        acknowledge_number(recovery, piece->command_id, OPQ_STATUS_DONE, "", recovery->update.next);
    } else {
        answer(recovery, piece->command_id, status, "");
    }
}

static void on_command(opq_recovery_t *recovery, const opq_command_t *command) {
    const char *slot = recovery->update.slot == OPQ_SLOT_A ? "A" : "B";
    opq_update_status_t status;
    uint32_t length;
    switch (command->operation) {
        case OPQ_OPERATION_HELLO:
            acknowledge(recovery, command->command_id, OPQ_STATUS_DONE, "");
            opq_recovery_hello(recovery);
            break;
        case OPQ_OPERATION_UPDATE_BEGIN:
            if (!number_of(command->argument, &length)) {
                acknowledge(recovery, command->command_id, OPQ_STATUS_BAD_ARGUMENT, "length");
                break;
            }
            status = opq_update_begin(&recovery->update, length);
            recovery->update_steps += status == OPQ_UPDATE_OK ? 1u : 0u;
            answer(recovery, command->command_id, status, slot);
            break;
        case OPQ_OPERATION_UPDATE_END:
            status = opq_update_end(&recovery->update);
            recovery->reset = status == OPQ_UPDATE_OK;
            answer(recovery, command->command_id, status, slot);
            break;
        case OPQ_OPERATION_RESET:
            recovery->reset = true;
            acknowledge(recovery, command->command_id, OPQ_STATUS_DONE, "");
            break;
        default:
            acknowledge(recovery, command->command_id, OPQ_STATUS_UNKNOWN, "boot loader");
            break;
    }
}

void opq_recovery_init(opq_recovery_t *recovery, const opq_nor_t *nor, const opq_boot_facts_t *facts,
                       const opq_boot_plan_t *plan, opq_recovery_send_t *send_bytes, void *context) {
    memset(recovery, 0, sizeof *recovery);
    opq_image_rules_t rules = {.hardware = facts->hardware, .floor_version = plan->floor_version,
                               .public_key = facts->public_key, .check = facts->check};
    // No slot counts as running: during recovery none runs, and an unconfirmed image is not a reason to refuse an update.
    opq_update_init(&recovery->update, nor, &rules, OPQ_SLOT_NONE, plan->target);
    recovery->hardware = facts->hardware;
    recovery->because = plan->because;
    recovery->send = send_bytes;
    recovery->context = context;
    opq_decoder_init(&recovery->decoder);
}

void opq_recovery_hello(opq_recovery_t *recovery) {
    opq_hello_t hello = {
        .boot_id = recovery->boot_id,
        .rate_millihz = 12000000,  // the link's only rate; nothing is sampled here
        .v_per_lsb = (double)NAN,
        .nominal_v = NAN,
        .nominal_hz = NAN,
        .effective_bits = NAN,
        .block_samples = 200,
        .hardware = text(recovery->hardware),
        .firmware = text(WHY[recovery->because]),
    };
    send(recovery, OPQ_HELLO, opq_write_hello(recovery->payload, sizeof recovery->payload, &hello));
}

void opq_recovery_byte(opq_recovery_t *recovery, uint8_t byte) {
    opq_frame_t frame;
    opq_command_t command;
    opq_update_data_t piece;
    if (!opq_decoder_push(&recovery->decoder, byte, &frame)) {
        return;
    }
    if (frame.type == OPQ_COMMAND && opq_read_command(frame.payload, frame.length, &command)) {
        on_command(recovery, &command);
    } else if (frame.type == OPQ_UPDATE_DATA && opq_read_update_data(frame.payload, frame.length, &piece)) {
        on_data(recovery, &piece);
    }
}
