#include "settings.h"

#include <string.h>

#include "settings_record.h"
#include "settings_value.h"

// --- values in RAM

static void set(opq_settings_t *settings, size_t index, const char *value, size_t length) {
    memset(settings->values[index], 0, OPQ_SETTINGS_VALUE_BYTES);
    memcpy(settings->values[index], value, length);
}

static void set_standard(opq_settings_t *settings) {
    for (size_t i = 0; i < opq_setting_count; i++) {
        set(settings, i, opq_setting_table[i].standard, strlen(opq_setting_table[i].standard));
    }
}

const char *opq_settings_get(const opq_settings_t *settings, const char *key) {
    size_t index = opq_setting_find(key, strlen(key));
    return index < opq_setting_count ? settings->values[index] : NULL;
}

float opq_settings_number(const opq_settings_t *settings, const char *key, float otherwise) {
    const char *text = opq_settings_get(settings, key);
    double value;
    return text != NULL && opq_decimal_read(text, strlen(text), &value) ? (float)value : otherwise;
}

int32_t opq_settings_integer(const opq_settings_t *settings, const char *key, int32_t otherwise) {
    const char *text = opq_settings_get(settings, key);
    double value;
    if (text == NULL || !opq_decimal_read(text, strlen(text), &value) || value < INT32_MIN || value > INT32_MAX) {
        return otherwise;
    }
    return (int32_t)value;
}

opq_settings_status_t opq_settings_put(opq_settings_t *settings, const char *key, const char *value) {
    size_t index = opq_setting_find(key, strlen(key));
    if (index == opq_setting_count) {
        return OPQ_SETTINGS_UNKNOWN_KEY;
    }
    size_t length = strlen(value);
    if (!opq_setting_takes(&opq_setting_table[index], value, length)) {
        return OPQ_SETTINGS_BAD_VALUE;
    }
    if (strcmp(settings->values[index], value) != 0) {
        set(settings, index, value, length);
        settings->changed |= UINT32_C(1) << index;
    }
    return OPQ_SETTINGS_OK;
}

// --- from flash

static void apply(opq_settings_t *settings, const opq_record_t *record) {
    const char *at = record->text, *end = record->text + record->length;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        line_end = line_end != NULL ? line_end : end;
        const char *equals = memchr(at, '=', (size_t)(line_end - at));
        size_t index = equals != NULL ? opq_setting_find(at, (size_t)(equals - at)) : opq_setting_count;
        size_t length = equals != NULL ? (size_t)(line_end - equals - 1) : 0;
        if (index < opq_setting_count && opq_setting_takes(&opq_setting_table[index], equals + 1, length)) {
            set(settings, index, equals + 1, length);
        } else {
            settings->rejected++;
        }
        at = line_end + 1;
    }
}

static uint32_t sector_end(uint32_t sector) {
    return opq_nor_sector_address(sector) + opq_nor_sector_bytes(sector);
}

// How the sector begins: GOOD only for a snapshot.
static opq_record_state_t begins(const opq_nor_t *nor, uint32_t sector, uint32_t *sequence) {
    opq_record_t record;
    opq_record_state_t state =
        opq_record_read(nor, opq_nor_sector_address(sector), sector_end(sector), &record);
    if (state == OPQ_RECORD_GOOD) {
        *sequence = record.sequence;
        return record.kind == OPQ_RECORD_SNAPSHOT ? state : OPQ_RECORD_TORN;
    }
    return state;
}

// Reads all good records of the sector, in order. Returns how it ends.
static opq_record_state_t replay(opq_settings_t *settings, uint32_t sector, bool *finished) {
    uint32_t end = sector_end(sector);
    settings->next = opq_nor_sector_address(sector);
    settings->sector = sector;
    for (;;) {
        opq_record_t record;
        if (settings->next == end) {
            return OPQ_RECORD_END;
        }
        opq_record_state_t state = opq_record_read(settings->nor, settings->next, end, &record);
        if (state != OPQ_RECORD_GOOD) {
            return state;
        }
        if (!record.settled) {  // cut in its last words: it is complete; finish it before it is used
            *finished = true;
            settings->nor_status = opq_record_settle(settings->nor, &record);
        }
        apply(settings, &record);
        settings->sequence = record.sequence;
        settings->next = record.next;
    }
}

// --- to flash

static bool is_standard(const opq_settings_t *settings, size_t index) {
    return strcmp(settings->values[index], opq_setting_table[index].standard) == 0;
}

static bool belongs(const opq_settings_t *settings, uint32_t kind, size_t index) {
    return kind == OPQ_RECORD_SNAPSHOT ? !is_standard(settings, index) : (settings->changed >> index & 1u) != 0;
}

static uint32_t text_length(const opq_settings_t *settings, uint32_t kind) {
    size_t length = 0;
    for (size_t i = 0; i < opq_setting_count; i++) {
        length += belongs(settings, kind, i) ? strlen(opq_setting_table[i].key) + strlen(settings->values[i]) + 2 : 0;
    }
    return (uint32_t)length;
}

static opq_nor_status_t write_record(opq_settings_t *settings, uint32_t address, uint32_t kind) {
    opq_record_writer_t writer;
    opq_record_begin(&writer, settings->nor, address, kind, text_length(settings, kind), settings->sequence + 1);
    for (size_t i = 0; i < opq_setting_count; i++) {
        if (belongs(settings, kind, i)) {
            opq_record_text(&writer, opq_setting_table[i].key, strlen(opq_setting_table[i].key));
            opq_record_text(&writer, "=", 1);
            opq_record_text(&writer, settings->values[i], strlen(settings->values[i]));
            opq_record_text(&writer, "\n", 1);
        }
    }
    opq_nor_status_t status = opq_record_end(&writer);
    if (status == OPQ_NOR_OK) {
        settings->sequence++;
        settings->next = writer.address;
        settings->changed = 0;
        settings->untidy = false;
    }
    return status;
}

// Writes a snapshot into the sector that is not active. The active one does not change, so a cut leaves the old values.
static opq_nor_status_t write_snapshot(opq_settings_t *settings) {
    uint32_t sector = settings->sector == OPQ_SETTINGS_SECTOR_A ? OPQ_SETTINGS_SECTOR_B : OPQ_SETTINGS_SECTOR_A;
    opq_nor_status_t status = settings->nor->erase(settings->nor->context, sector);
    if (status == OPQ_NOR_OK) {
        status = write_record(settings, opq_nor_sector_address(sector), OPQ_RECORD_SNAPSHOT);
    }
    if (status == OPQ_NOR_OK) {
        settings->sector = sector;
    }
    return status;
}

opq_settings_status_t opq_settings_save(opq_settings_t *settings) {
    if (settings->changed == 0) {
        return OPQ_SETTINGS_OK;
    }
    uint32_t kind = OPQ_RECORD_CHANGE;
    uint32_t bytes = OPQ_RECORD_FRAME_BYTES + ((text_length(settings, kind) + 3u) & ~3u);
    if (settings->sector != 0 && !settings->untidy && bytes <= sector_end(settings->sector) - settings->next) {
        settings->nor_status = write_record(settings, settings->next, kind);
        if (settings->nor_status == OPQ_NOR_OK) {
            return OPQ_SETTINGS_OK;
        }
        settings->untidy = true;
        if (settings->nor_status == OPQ_NOR_LOW_POWER) {
            return OPQ_SETTINGS_FLASH;
        }
    }
    settings->nor_status = write_snapshot(settings);  // full, untidy, the first save, or a word that cannot be written
    return settings->nor_status == OPQ_NOR_OK ? OPQ_SETTINGS_OK : OPQ_SETTINGS_FLASH;
}

// A snapshot cut right before its last words does not count now, but might at another start: it is erased.
// Anything else that is not a copy stays; a temporary read error must not destroy a copy.
static void clear_undone(opq_settings_t *settings, uint32_t sector, opq_record_state_t state) {
    if (state == OPQ_RECORD_UNDONE) {
        settings->nor_status = settings->nor->erase(settings->nor->context, sector);
    }
}

opq_settings_source_t opq_settings_load(opq_settings_t *settings, const opq_nor_t *nor) {
    *settings = (opq_settings_t){.nor = nor, .nor_status = OPQ_NOR_OK};
    set_standard(settings);
    const uint32_t a = OPQ_SETTINGS_SECTOR_A, b = OPQ_SETTINGS_SECTOR_B;
    uint32_t sequence_a = 0, sequence_b = 0;
    opq_record_state_t state_a = begins(nor, a, &sequence_a), state_b = begins(nor, b, &sequence_b);
    bool good_a = state_a == OPQ_RECORD_GOOD, good_b = state_b == OPQ_RECORD_GOOD;
    clear_undone(settings, a, state_a);
    clear_undone(settings, b, state_b);
    if (!good_a && !good_b) {
        bool blank = state_a == OPQ_RECORD_END && state_b == OPQ_RECORD_END;
        settings->source = blank ? OPQ_SETTINGS_BLANK : OPQ_SETTINGS_LOST;
        return settings->source;
    }
    bool use_a = good_a && (!good_b || sequence_a > sequence_b);
    bool finished = false;
    opq_record_state_t end = replay(settings, use_a ? a : b, &finished);
    opq_record_state_t other = use_a ? state_b : state_a;
    settings->source = finished || end != OPQ_RECORD_END ? OPQ_SETTINGS_REPAIRED : OPQ_SETTINGS_LOADED;
    if (end != OPQ_RECORD_END) {
        settings->untidy = true;
        settings->nor_status = write_snapshot(settings);  // otherwise its unfinished end might count at another start
    } else if (other != OPQ_RECORD_GOOD && other != OPQ_RECORD_END) {
        settings->source = OPQ_SETTINGS_SECOND_COPY;
        settings->untidy = true;  // the next save replaces it, as it might outrank that save if read well later
    }
    return settings->source;
}
