// The Box's settings: text values by name, checked against a table, kept in two sectors of flash (S2, S3).
//
// A sector begins with a snapshot of all values and goes on with one record per save. When it is full, or its
// end is untidy after a power cut, a new snapshot goes into the other sector; the old one stays as the second
// copy until then. A save is all or nothing: after a cut anywhere, the next start has all old or all new values, and
// later starts have the same. About 400 saves of one value cost one erase; 10,000 erases of each sector (DS8626, flash
// endurance) are 8 million saves.
//
//     record   "OPQS" | length u16, kind u16 | sequence u32 | key=value\n ..., filled with ones | crc32 | done 0 | settled 0
//
// Not for interrupts. One owner (the main thread).
#ifndef OPQ_SETTINGS_H
#define OPQ_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nor.h"

enum {
    OPQ_SETTINGS_VALUE_BYTES = 24,   // of one value, with its closing zero
    OPQ_SETTINGS_MAX = 32,           // settings in the table, at most
    OPQ_SETTINGS_SECTOR_A = 2,
    OPQ_SETTINGS_SECTOR_B = 3,
};

typedef enum {
    OPQ_SETTING_INTEGER,  // low..high
    OPQ_SETTING_NUMBER,   // low..high, finite
    OPQ_SETTING_WORD,     // one of `words`, separated by |
} opq_setting_kind_t;

typedef struct {
    const char *key;
    opq_setting_kind_t kind;
    const char *standard;  // the value without any setting
    double low, high;      // double: limits of whole numbers up to 2^31 are exact in it; never in a hot path
    const char *words;
} opq_setting_t;

extern const opq_setting_t opq_setting_table[];
extern const size_t opq_setting_count;

typedef enum {
    OPQ_SETTINGS_OK = 0,
    OPQ_SETTINGS_UNKNOWN_KEY = 1,
    OPQ_SETTINGS_BAD_VALUE = 2,  // not of the kind, or outside of its limits
    OPQ_SETTINGS_FLASH = 3,      // not saved: `nor_status` says why; RAM has the new values, flash the old ones
} opq_settings_status_t;

// Where the values came from at the start; all but LOADED are logged.
typedef enum {
    OPQ_SETTINGS_LOADED = 0,
    OPQ_SETTINGS_BLANK = 1,        // both sectors erased: a new Box; standard values
    OPQ_SETTINGS_REPAIRED = 2,     // a save had been cut: all of its values are used, or none
    OPQ_SETTINGS_SECOND_COPY = 3,  // the other sector holds a damaged or unfinished copy; the next save replaces it
    OPQ_SETTINGS_LOST = 4,         // no sector holds a whole copy: standard values
} opq_settings_source_t;

typedef struct {
    const opq_nor_t *nor;
    opq_settings_source_t source;
    opq_nor_status_t nor_status;  // of the last write
    uint32_t sequence;            // counts saves over the Box's life
    uint32_t rejected;            // stored values that the table rejects (another firmware's): standard values
    uint32_t sector;              // the active one; 0: none yet
    uint32_t next;                // address of the next record
    bool untidy;                  // the next save begins with a new snapshot
    uint32_t changed;             // one bit per setting: differs from the flash
    char values[OPQ_SETTINGS_MAX][OPQ_SETTINGS_VALUE_BYTES];
} opq_settings_t;

// Reads both sectors, chooses one, and makes the choice permanent (may write). Always leaves usable values.
opq_settings_source_t opq_settings_load(opq_settings_t *settings, const opq_nor_t *nor);

// The value's text; NULL: no such key.
const char *opq_settings_get(const opq_settings_t *settings, const char *key);
// As numbers; `otherwise` when there is no such key or it is a word.
int32_t opq_settings_integer(const opq_settings_t *settings, const char *key, int32_t otherwise);
float opq_settings_number(const opq_settings_t *settings, const char *key, float otherwise);

// Sets a value in RAM only, after the checks.
opq_settings_status_t opq_settings_put(opq_settings_t *settings, const char *key, const char *value);

// Saves all changed values in flash at once; writes nothing if nothing changed.
opq_settings_status_t opq_settings_save(opq_settings_t *settings);

#endif
