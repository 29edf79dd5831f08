// Checks texts of settings against their table; not needed outside of this folder.
#ifndef OPQ_SETTINGS_VALUE_H
#define OPQ_SETTINGS_VALUE_H

#include "settings.h"

// A decimal number, all of `length` characters of it: sign, digits, point, exponent. False: it is none.
bool opq_decimal_read(const char *text, size_t length, double *value);
bool opq_setting_takes(const opq_setting_t *setting, const char *value, size_t length);
// Index in the table; opq_setting_count: no such key.
size_t opq_setting_find(const char *key, size_t length);

#endif
