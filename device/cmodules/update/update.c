#include "update.h"

#include <string.h>

enum { SLOT_SECTORS = 3 };

void opq_update_init(opq_update_t *update, const opq_nor_t *nor, const opq_image_rules_t *rules, opq_slot_t running,
                     opq_slot_t slot) {
    *update = (opq_update_t){.nor = nor, .rules = *rules, .running = running, .slot = slot};
}

opq_update_status_t opq_update_begin(opq_update_t *update, uint32_t length) {
    if (update->slot == update->running || update->slot == OPQ_SLOT_NONE) {
        return OPQ_UPDATE_NOT_BEGUN;
    }
    if (update->running != OPQ_SLOT_NONE && !opq_slot_marks(update->nor, update->running).confirmed) {
        return OPQ_UPDATE_ON_TRIAL;
    }
    if (length <= OPQ_IMAGE_HEADER_BYTES || length > OPQ_IMAGE_HEADER_BYTES + OPQ_IMAGE_MAX_BODY_BYTES) {
        return OPQ_UPDATE_BAD_LENGTH;
    }
    update->state = OPQ_UPDATE_HEADER;
    update->verdict = OPQ_IMAGE_GOOD;
    update->nor_status = OPQ_NOR_OK;
    update->length = length;
    update->next = update->erased = update->held = 0;
    return OPQ_UPDATE_OK;
}

static opq_update_status_t refuse(opq_update_t *update, opq_image_verdict_t verdict) {
    update->state = OPQ_UPDATE_REFUSED;
    update->verdict = verdict;
    return OPQ_UPDATE_BAD_IMAGE;
}

// Low power ends: the same call works later. Any other error ends this update.
static opq_update_status_t flash_failed(opq_update_t *update, opq_nor_status_t status) {
    update->nor_status = status;
    if (status != OPQ_NOR_LOW_POWER) {
        update->state = OPQ_UPDATE_REFUSED;
    }
    return OPQ_UPDATE_FLASH;
}

static opq_update_status_t take_header(opq_update_t *update, const uint8_t *data, size_t count) {
    size_t room = OPQ_IMAGE_HEADER_BYTES - update->next;
    size_t part = count < room ? count : room;
    memcpy(update->header + update->next, data, part);
    update->next += (uint32_t)part;
    if (update->next < OPQ_IMAGE_HEADER_BYTES) {
        return OPQ_UPDATE_OK;
    }
    opq_image_verdict_t verdict =
        opq_image_header(update->header, opq_slot_address(update->slot), &update->rules, &update->image);
    if (verdict != OPQ_IMAGE_GOOD) {
        return refuse(update, verdict);
    }
    if (update->image.length > update->length - OPQ_IMAGE_HEADER_BYTES) {
        return refuse(update, OPQ_IMAGE_TRUNCATED);
    }
    update->state = OPQ_UPDATE_ERASING;
    return OPQ_UPDATE_OK;
}

static opq_update_status_t take_body(opq_update_t *update, const uint8_t *data, size_t count) {
    uint32_t end = OPQ_IMAGE_HEADER_BYTES + update->image.length;
    if (count > end - update->next) {
        return refuse(update, OPQ_IMAGE_BAD_LENGTH);
    }
    for (size_t i = 0; i < count; i++) {
        update->word[update->held] = data[i];
        if (update->held == 3) {
            uint32_t address = opq_slot_address(update->slot) + update->next - 3;
            opq_nor_status_t status = opq_nor_write(update->nor, address, update->word, 4);
            if (status != OPQ_NOR_OK) {
                return flash_failed(update, status);
            }
        }
        update->held = (update->held + 1) % 4;
        update->next++;
    }
    return OPQ_UPDATE_OK;
}

opq_update_status_t opq_update_data(opq_update_t *update, uint32_t offset, const uint8_t *data, size_t count) {
    if (update->state == OPQ_UPDATE_REFUSED) {
        return update->verdict != OPQ_IMAGE_GOOD ? OPQ_UPDATE_BAD_IMAGE : OPQ_UPDATE_FLASH;
    }
    if (update->state == OPQ_UPDATE_ERASING) {
        return OPQ_UPDATE_BUSY;
    }
    if (update->state != OPQ_UPDATE_HEADER && update->state != OPQ_UPDATE_RECEIVING) {
        return OPQ_UPDATE_NOT_BEGUN;
    }
    if (offset > update->next) {
        return OPQ_UPDATE_WRONG_OFFSET;
    }
    uint32_t known = update->next - offset;  // sent again: its answer was lost
    if (known >= count) {
        return OPQ_UPDATE_OK;
    }
    return update->state == OPQ_UPDATE_HEADER ? take_header(update, data + known, count - known)
                                              : take_body(update, data + known, count - known);
}

// The header's sector is erased first: then nothing in the slot can start, whatever the other sectors hold.
opq_update_status_t opq_update_step(opq_update_t *update) {
    if (update->state != OPQ_UPDATE_ERASING) {
        return OPQ_UPDATE_OK;
    }
    opq_nor_status_t status =
        update->nor->erase(update->nor->context, opq_slot_first_sector(update->slot) + update->erased);
    if (status != OPQ_NOR_OK) {
        return flash_failed(update, status);
    }
    update->erased++;
    if (update->erased == SLOT_SECTORS) {
        update->state = OPQ_UPDATE_RECEIVING;
    }
    return update->state == OPQ_UPDATE_ERASING ? OPQ_UPDATE_BUSY : OPQ_UPDATE_OK;
}

opq_update_status_t opq_update_end(opq_update_t *update) {
    if (update->state == OPQ_UPDATE_REFUSED) {
        return update->verdict != OPQ_IMAGE_GOOD ? OPQ_UPDATE_BAD_IMAGE : OPQ_UPDATE_FLASH;
    }
    if (update->state == OPQ_UPDATE_ERASING) {
        return OPQ_UPDATE_BUSY;
    }
    if (update->state != OPQ_UPDATE_RECEIVING) {
        return OPQ_UPDATE_NOT_BEGUN;
    }
    if (update->next < OPQ_IMAGE_HEADER_BYTES + update->image.length) {
        update->verdict = OPQ_IMAGE_TRUNCATED;  // the rest may still come
        return OPQ_UPDATE_BAD_IMAGE;
    }
    uint32_t address = opq_slot_address(update->slot);
    const uint8_t *body = opq_nor_at(update->nor, address + OPQ_IMAGE_HEADER_BYTES);
    opq_image_verdict_t verdict = opq_image_body(&update->image, body, update->image.length);
    if (verdict != OPQ_IMAGE_GOOD) {
        return refuse(update, verdict);
    }
    uint32_t sequence = opq_slot_marks(update->nor, opq_slot_other(update->slot)).sequence + 1;
    opq_nor_status_t status = opq_slot_write_sequence(update->nor, update->slot, sequence);
    if (status == OPQ_NOR_OK) {
        status = opq_slot_write_tag(update->nor, update->slot, &update->image);
    }
    if (status == OPQ_NOR_OK) {
        status = opq_nor_write(update->nor, address, update->header, OPQ_IMAGE_HEADER_BYTES);
    }
    if (status == OPQ_NOR_OK) {
        status = opq_slot_set(update->nor, update->slot, OPQ_MARK_INSTALLED);
    }
    if (status != OPQ_NOR_OK) {
        return flash_failed(update, status);
    }
    update->verdict = OPQ_IMAGE_GOOD;
    update->state = OPQ_UPDATE_READY;
    return OPQ_UPDATE_OK;
}

opq_nor_status_t opq_update_confirm(const opq_nor_t *nor, opq_slot_t running) {
    return running == OPQ_SLOT_NONE ? OPQ_NOR_OK : opq_slot_set(nor, running, OPQ_MARK_CONFIRMED);
}
