#include "settings_value.h"

#include <string.h>

// double: limits are whole numbers up to 2^31, which float does not hold; once per setting and start.
bool opq_decimal_read(const char *text, size_t length, double *value) {
    size_t i = 0;
    bool negative = length > 0 && text[0] == '-';
    i += negative ? 1u : 0u;
    uint64_t digits = 0;
    int32_t exponent = 0;
    bool any = false, point = false;
    for (; i < length; i++) {
        char c = text[i];
        if (c == '.' && !point) {
            point = true;
            continue;
        }
        if (c < '0' || c > '9') {
            break;
        }
        any = true;
        if (digits < UINT64_C(100000000000000000)) {
            digits = digits * 10u + (uint64_t)(c - '0');
            exponent -= point ? 1 : 0;
        } else {
            exponent += point ? 0 : 1;
        }
    }
    if (!any) {
        return false;
    }
    if (i < length && (text[i] == 'e' || text[i] == 'E')) {
        i++;
        bool down = i < length && text[i] == '-';
        i += i < length && (text[i] == '-' || text[i] == '+') ? 1u : 0u;
        int32_t power = 0;
        size_t first = i;
        for (; i < length && text[i] >= '0' && text[i] <= '9'; i++) {
            power = power < 1000 ? power * 10 + (text[i] - '0') : power;
        }
        if (i == first) {
            return false;
        }
        exponent += down ? -power : power;
    }
    if (i != length || exponent > 40 || exponent < -80) {  // beyond float; a value takes 23 characters at most
        return false;
    }
    double scale = 1;
    for (int32_t k = exponent < 0 ? -exponent : exponent; k > 0; k--) {
        scale *= 10;
    }
    double magnitude = exponent < 0 ? (double)digits / scale : (double)digits * scale;
    *value = negative ? -magnitude : magnitude;
    return true;
}

static bool is_one_of(const char *words, const char *value, size_t length) {
    for (const char *word = words; length > 0;) {
        const char *end = strchr(word, '|');
        size_t size = end != NULL ? (size_t)(end - word) : strlen(word);
        if (size == length && memcmp(word, value, length) == 0) {
            return true;
        }
        if (end == NULL) {
            return false;
        }
        word = end + 1;
    }
    return false;
}

bool opq_setting_takes(const opq_setting_t *setting, const char *value, size_t length) {
    if (length >= OPQ_SETTINGS_VALUE_BYTES) {
        return false;
    }
    if (setting->kind == OPQ_SETTING_WORD) {
        return is_one_of(setting->words, value, length);
    }
    double number;
    if (!opq_decimal_read(value, length, &number) || !(number >= setting->low && number <= setting->high)) {
        return false;
    }
    return setting->kind == OPQ_SETTING_NUMBER ||
           (memchr(value, '.', length) == NULL && memchr(value, 'e', length) == NULL &&
            memchr(value, 'E', length) == NULL);
}

size_t opq_setting_find(const char *key, size_t length) {
    for (size_t i = 0; i < opq_setting_count; i++) {
        if (strlen(opq_setting_table[i].key) == length && memcmp(opq_setting_table[i].key, key, length) == 0) {
            return i;
        }
    }
    return opq_setting_count;
}
