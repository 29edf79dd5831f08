// Parses payloads: a table of the layout of each message, and the messages that the Box reads.
#include "link.h"
#include "messages.h"

static uint64_t little_endian(const uint8_t *data, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value |= (uint64_t)data[i] << (8U * i);
    }
    return value;
}

// Strict UTF-8 (RFC 3629, section 4): no overlong form, no surrogate, nothing beyond U+10FFFF.
static bool is_utf8(const uint8_t *text, size_t length) {
    size_t at = 0;
    while (at < length) {
        uint8_t lead = text[at++];
        if (lead < 0x80) {
            continue;
        }
        uint8_t low = 0x80;
        uint8_t high = 0xBF;  // of the second byte
        size_t more;
        if (lead >= 0xC2 && lead <= 0xDF) {
            more = 1;
        } else if (lead >= 0xE0 && lead <= 0xEF) {
            more = 2;
            low = lead == 0xE0 ? 0xA0 : low;
            high = lead == 0xED ? 0x9F : high;
        } else if (lead >= 0xF0 && lead <= 0xF4) {
            more = 3;
            low = lead == 0xF0 ? 0x90 : low;
            high = lead == 0xF4 ? 0x8F : high;
        } else {
            return false;
        }
        if (more > length - at || text[at] < low || text[at] > high) {
            return false;
        }
        for (size_t i = 1; i < more; i++) {
            if (text[at + i] < 0x80 || text[at + i] > 0xBF) {
                return false;
            }
        }
        at += more;
    }
    return true;
}

// A digit is that many bytes of anything; t (time source, clock state), k (kind of crossing), b (no or yes),
// o (operation) and a (status) are one byte with a range; S is a text, I a u16 and as many int16, B a u16
// and at most OPQ_UPDATE_BYTES bytes, P a u8 and as many pairs of texts, N a u8 and as many u32.
static const char *const LAYOUTS[] = {
    [OPQ_HELLO] = "1444844424SS",
    [OPQ_SAMPLES] = "884t41I",
    [OPQ_MEASUREMENT] = "844444",
    [OPQ_CROSSING] = "884tkb44",
    [OPQ_GPS_STATUS] = "t18444441",
    [OPQ_HEALTH] = "844424444441",
    [OPQ_LOG] = "2444",
    [OPQ_COMMAND] = "2oS",
    [OPQ_ACKNOWLEDGEMENT] = "2aS",
    [OPQ_SETTINGS] = "4P",
    [OPQ_RESEND] = "84",
    [OPQ_UPDATE_DATA] = "24B",
    [OPQ_LOSSES] = "N",
    [OPQ_BOX_FACTS] = "N",
    [OPQ_CRASH] = "N",
    [OPQ_CHANNEL_VALUE] = "84SS",
};

// The rest of a payload. Once something was missing or wrong, `bad` stays.
typedef struct {
    const uint8_t *at;
    size_t left;
    bool bad;
} cursor_t;

static const uint8_t *skip(cursor_t *cursor, size_t bytes) {
    const uint8_t *from = cursor->at;
    if (cursor->bad || bytes > cursor->left) {
        cursor->bad = true;
        return NULL;
    }
    cursor->at += bytes;
    cursor->left -= bytes;
    return from;
}

static uint64_t number(cursor_t *cursor, size_t bytes) {
    const uint8_t *from = skip(cursor, bytes);
    return from == NULL ? 0 : little_endian(from, bytes);
}

static void within(cursor_t *cursor, uint64_t least, uint64_t most) {
    uint64_t value = number(cursor, 1);
    cursor->bad = cursor->bad || value < least || value > most;
}

static opq_text_t text(cursor_t *cursor) {
    size_t length = (size_t)number(cursor, 1);
    const uint8_t *from = skip(cursor, length);
    cursor->bad = cursor->bad || !is_utf8(from, length);
    return (opq_text_t){.bytes = (const char *)from, .length = cursor->bad ? 0 : length};
}

static void pass(cursor_t *cursor, char letter) {
    switch (letter) {
        case 't': within(cursor, 0, 3); break;
        case 'k': within(cursor, 1, 3); break;
        case 'b': within(cursor, 0, 1); break;
        case 'o': within(cursor, OPQ_OPERATION_HELLO, OPQ_OPERATION_PROMPT); break;
        case 'a': within(cursor, OPQ_STATUS_DONE, OPQ_STATUS_FAILED); break;
        case 'S': (void)text(cursor); break;
        case 'I': (void)skip(cursor, 2U * (size_t)number(cursor, 2)); break;
        case 'N': (void)skip(cursor, 4U * (size_t)number(cursor, 1)); break;
        case 'B': {
            size_t bytes = (size_t)number(cursor, 2);
            cursor->bad = cursor->bad || bytes > OPQ_UPDATE_BYTES;
            (void)skip(cursor, bytes);
            break;
        }
        case 'P':
            for (size_t texts = 2U * (size_t)number(cursor, 1); texts > 0 && !cursor->bad; texts--) {
                (void)text(cursor);
            }
            break;
        default: (void)skip(cursor, (size_t)(letter - '0')); break;
    }
}

bool opq_message_is_good(uint8_t type, const uint8_t *payload, size_t length) {
    if (type >= sizeof LAYOUTS / sizeof LAYOUTS[0] || LAYOUTS[type] == NULL) {
        return false;
    }
    cursor_t cursor = {.at = payload, .left = length, .bad = false};
    for (const char *letter = LAYOUTS[type]; *letter != 0 && !cursor.bad; letter++) {
        pass(&cursor, *letter);
    }
    return !cursor.bad && cursor.left == 0;
}

bool opq_read_command(const uint8_t *payload, size_t length, opq_command_t *command) {
    if (!opq_message_is_good(OPQ_COMMAND, payload, length)) {
        return false;
    }
    cursor_t cursor = {.at = payload, .left = length, .bad = false};
    command->command_id = (uint16_t)number(&cursor, 2);
    command->operation = (uint8_t)number(&cursor, 1);
    command->argument = text(&cursor);
    return true;
}

bool opq_read_resend(const uint8_t *payload, size_t length, opq_resend_t *resend) {
    if (!opq_message_is_good(OPQ_RESEND, payload, length)) {
        return false;
    }
    cursor_t cursor = {.at = payload, .left = length, .bad = false};
    resend->first_sample = number(&cursor, 8);
    resend->count = (uint32_t)number(&cursor, 4);
    return true;
}

bool opq_read_update_data(const uint8_t *payload, size_t length, opq_update_data_t *data) {
    if (!opq_message_is_good(OPQ_UPDATE_DATA, payload, length)) {
        return false;
    }
    cursor_t cursor = {.at = payload, .left = length, .bad = false};
    data->command_id = (uint16_t)number(&cursor, 2);
    data->offset = (uint32_t)number(&cursor, 4);
    data->count = (uint16_t)number(&cursor, 2);
    data->bytes = cursor.at;
    return true;
}
