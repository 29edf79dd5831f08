#include "messages.h"

#include <string.h>

#include "link.h"

opq_writer_t opq_writer(uint8_t *out, size_t room) {
    return (opq_writer_t){.out = out, .room = room, .length = 0, .failed = false};
}

void opq_put_bytes(opq_writer_t *writer, const uint8_t *data, size_t length) {
    if (writer->failed || length > writer->room - writer->length) {
        writer->failed = true;
        return;
    }
    if (length > 0) {
        memcpy(writer->out + writer->length, data, length);
        writer->length += length;
    }
}

static void put_little_endian(opq_writer_t *writer, uint64_t value, size_t bytes) {
    uint8_t data[8];
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)(value >> (8U * i));
    }
    opq_put_bytes(writer, data, bytes);
}

void opq_put_u8(opq_writer_t *writer, uint8_t value) { put_little_endian(writer, value, 1); }
void opq_put_u16(opq_writer_t *writer, uint16_t value) { put_little_endian(writer, value, 2); }
void opq_put_u32(opq_writer_t *writer, uint32_t value) { put_little_endian(writer, value, 4); }
void opq_put_u64(opq_writer_t *writer, uint64_t value) { put_little_endian(writer, value, 8); }

void opq_put_f32(opq_writer_t *writer, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    opq_put_u32(writer, bits);
}

void opq_put_f64(opq_writer_t *writer, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    opq_put_u64(writer, bits);
}

void opq_put_text(opq_writer_t *writer, opq_text_t text) {
    if (text.length > UINT8_MAX) {
        writer->failed = true;
        return;
    }
    opq_put_u8(writer, (uint8_t)text.length);
    opq_put_bytes(writer, (const uint8_t *)text.bytes, text.length);
}

// Counts are sent in the byte order of the memory.
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the link is little endian");

static size_t done(const opq_writer_t *writer) { return writer->failed ? 0 : writer->length; }

size_t opq_write_hello(uint8_t *out, size_t room, const opq_hello_t *hello) {
    opq_writer_t writer = opq_writer(out, room);
    opq_put_u8(&writer, OPQ_PROTOCOL);
    opq_put_u32(&writer, hello->box_id);
    opq_put_u32(&writer, hello->boot_id);
    opq_put_u32(&writer, hello->rate_millihz);
    opq_put_f64(&writer, hello->v_per_lsb);
    opq_put_f32(&writer, hello->nominal_v);
    opq_put_f32(&writer, hello->nominal_hz);
    opq_put_f32(&writer, hello->effective_bits);
    opq_put_u16(&writer, hello->block_samples);
    opq_put_u32(&writer, hello->ring_samples);
    opq_put_text(&writer, hello->hardware);
    opq_put_text(&writer, hello->firmware);
    return done(&writer);
}

size_t opq_write_samples(uint8_t *out, size_t room, const opq_samples_t *samples) {
    opq_writer_t writer = opq_writer(out, room);
    opq_put_u64(&writer, samples->first_sample);
    opq_put_u64(&writer, (uint64_t)samples->t_ns);
    opq_put_u32(&writer, samples->uncertainty_ns);
    opq_put_u8(&writer, samples->source);
    opq_put_u32(&writer, samples->rate_millihz);
    opq_put_u8(&writer, samples->flags);
    opq_put_u16(&writer, samples->count);
    opq_put_bytes(&writer, (const uint8_t *)samples->counts, (size_t)samples->count * sizeof *samples->counts);
    return samples->count > OPQ_MAX_SAMPLES ? 0 : done(&writer);
}

size_t opq_write_measurement(uint8_t *out, size_t room, const opq_box_measurement_t *measurement) {
    opq_writer_t writer = opq_writer(out, room);
    opq_put_u64(&writer, measurement->first_sample);
    opq_put_u32(&writer, measurement->samples);
    opq_put_f32(&writer, measurement->rms_v);
    opq_put_f32(&writer, measurement->f_hz);
    opq_put_f32(&writer, measurement->thd);
    opq_put_f32(&writer, measurement->trans_v);
    return done(&writer);
}

size_t opq_write_crossing(uint8_t *out, size_t room, const opq_crossing_t *crossing) {
    opq_writer_t writer = opq_writer(out, room);
    opq_put_u64(&writer, crossing->sample);
    opq_put_u64(&writer, (uint64_t)crossing->t_ns);
    opq_put_u32(&writer, crossing->uncertainty_ns);
    opq_put_u8(&writer, crossing->source);
    opq_put_u8(&writer, crossing->kind);
    opq_put_u8(&writer, crossing->entering ? 1 : 0);
    opq_put_f32(&writer, crossing->rms_v);
    opq_put_f32(&writer, crossing->limit_v);
    return done(&writer);
}

size_t opq_write_channel_value(uint8_t *out, size_t room, const opq_channel_value_t *channel) {
    opq_writer_t writer = opq_writer(out, room);
    opq_put_u64(&writer, channel->first_sample);
    opq_put_f32(&writer, channel->value);
    opq_put_text(&writer, channel->name);
    opq_put_text(&writer, channel->unit);
    return done(&writer);
}

// `gap`: a further character that may stand after the first.
static bool is_word(opq_text_t text, size_t most, char gap) {
    bool good = text.length >= 1 && text.length <= most;
    for (size_t n = 0; good && n < text.length; n++) {
        char each = text.bytes[n];
        bool later = (each >= '0' && each <= '9') || each == gap;
        good = (each >= 'a' && each <= 'z') || (n > 0 && later);
    }
    return good;
}

bool opq_channel_is_named(opq_text_t name, opq_text_t unit) {
    return is_word(name, OPQ_CHANNEL_NAME, '_') && is_word(unit, OPQ_CHANNEL_UNIT, '0');
}

size_t opq_write_gps_status(uint8_t *out, size_t room, const opq_gps_status_t *status) {
    opq_writer_t writer = opq_writer(out, room);
    opq_put_u8(&writer, status->state);
    opq_put_u8(&writer, status->satellites);
    opq_put_u64(&writer, (uint64_t)status->t_ns);
    opq_put_u32(&writer, status->uncertainty_ns);
    opq_put_u32(&writer, status->pps_count);
    opq_put_u32(&writer, (uint32_t)status->pps_offset_ns);
    opq_put_u32(&writer, (uint32_t)status->latitude_e7);
    opq_put_u32(&writer, (uint32_t)status->longitude_e7);
    opq_put_u8(&writer, (uint8_t)status->leap_seconds);
    return done(&writer);
}

size_t opq_write_health(uint8_t *out, size_t room, const opq_health_t *health) {
    opq_writer_t writer = opq_writer(out, room);
    opq_put_u64(&writer, health->uptime_ms);
    opq_put_f32(&writer, health->temperature_c);
    opq_put_f32(&writer, health->supply_v);
    opq_put_f32(&writer, health->battery_v);
    opq_put_u16(&writer, health->cpu_permille);
    opq_put_u32(&writer, health->overruns);
    opq_put_u32(&writer, health->clipped);
    opq_put_u32(&writer, health->missing_samples);
    opq_put_u32(&writer, health->crc_errors);
    opq_put_u32(&writer, health->tx_dropped);
    opq_put_u32(&writer, health->heap_free_bytes);
    opq_put_u8(&writer, health->reset_cause);
    return done(&writer);
}

size_t opq_write_numbers(uint8_t *out, size_t room, const uint32_t *numbers, uint8_t count) {
    opq_writer_t writer = opq_writer(out, room);
    opq_put_u8(&writer, count);
    opq_put_bytes(&writer, (const uint8_t *)numbers, (size_t)count * sizeof *numbers);
    return done(&writer);
}

size_t opq_write_log(uint8_t *out, size_t room, uint16_t code, int32_t a, int32_t b, uint32_t uptime_ms) {
    opq_writer_t writer = opq_writer(out, room);
    opq_put_u16(&writer, code);
    opq_put_u32(&writer, (uint32_t)a);
    opq_put_u32(&writer, (uint32_t)b);
    opq_put_u32(&writer, uptime_ms);
    return done(&writer);
}

size_t opq_write_acknowledgement(uint8_t *out, size_t room, uint16_t command_id, opq_status_t status,
                                 opq_text_t detail) {
    opq_writer_t writer = opq_writer(out, room);
    opq_put_u16(&writer, command_id);
    opq_put_u8(&writer, (uint8_t)status);
    opq_put_text(&writer, detail);
    return done(&writer);
}

void opq_write_settings_head(opq_writer_t *writer, uint32_t sequence, uint8_t count) {
    opq_put_u32(writer, sequence);
    opq_put_u8(writer, count);
}

size_t opq_write_command(uint8_t *out, size_t room, const opq_command_t *command) {
    opq_writer_t writer = opq_writer(out, room);
    opq_put_u16(&writer, command->command_id);
    opq_put_u8(&writer, command->operation);
    opq_put_text(&writer, command->argument);
    return done(&writer);
}

size_t opq_write_resend(uint8_t *out, size_t room, const opq_resend_t *resend) {
    opq_writer_t writer = opq_writer(out, room);
    opq_put_u64(&writer, resend->first_sample);
    opq_put_u32(&writer, resend->count);
    return done(&writer);
}

size_t opq_write_update_data(uint8_t *out, size_t room, const opq_update_data_t *data) {
    opq_writer_t writer = opq_writer(out, room);
    opq_put_u16(&writer, data->command_id);
    opq_put_u32(&writer, data->offset);
    opq_put_u16(&writer, data->count);
    opq_put_bytes(&writer, data->bytes, data->count);
    return data->count > OPQ_UPDATE_BYTES ? 0 : done(&writer);
}
