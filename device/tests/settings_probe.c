// The settings for ctypes: one flash, one set of values.
#include <string.h>

#include "nor_flash.h"
#include "settings.h"
#include "settings_record.h"

static nor_flash_t flash;
static opq_settings_t settings;

void probe_new(uint64_t seed);
int probe_load(void);
int probe_put(const char *key, const char *value);
int probe_save(void);
const char *probe_get(const char *key);
float probe_number(const char *key);
int32_t probe_integer(const char *key);
uint8_t *probe_bytes(void);
uint32_t probe_erases(uint32_t sector);
uint32_t probe_operations(void);
uint32_t probe_rejected(void);
void probe_low_power(int low);
int probe_store_foreign(const char *text);

void probe_new(uint64_t seed) { nor_flash_new(&flash, seed); }
int probe_load(void) {
    nor_flash_power_up(&flash, 0);
    return (int)opq_settings_load(&settings, &flash.nor);
}
int probe_put(const char *key, const char *value) { return (int)opq_settings_put(&settings, key, value); }
int probe_save(void) { return (int)opq_settings_save(&settings); }
const char *probe_get(const char *key) { return opq_settings_get(&settings, key); }
float probe_number(const char *key) { return opq_settings_number(&settings, key, -1); }
int32_t probe_integer(const char *key) { return opq_settings_integer(&settings, key, -1); }
uint8_t *probe_bytes(void) { return flash.bytes; }
uint32_t probe_erases(uint32_t sector) { return flash.erases[sector]; }
uint32_t probe_operations(void) { return flash.operations; }
uint32_t probe_rejected(void) { return settings.rejected; }
void probe_low_power(int low) { flash.low_power = low != 0; }
int probe_store_foreign(const char *text) {
    opq_record_writer_t writer;
    uint32_t length = (uint32_t)strlen(text);
    opq_record_begin(&writer, &flash.nor, settings.next, OPQ_RECORD_CHANGE, length, settings.sequence + 1);
    opq_record_text(&writer, text, length);
    return (int)opq_record_end(&writer);
}
