/* Prints the Measurements of a running system: ./measurements ipc://D/sockets/measurements
 *
 * Needs libzmq alone: cc -o measurements measurements.c -lzmq
 * The few fields that it wants are decoded by hand; protobuf-c or nanopb make code for all of opqbox3.proto. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

typedef struct {
    const uint8_t *at, *end;
} bytes_t;

typedef struct {
    uint32_t number;
    uint64_t value; /* of a varint, or the bits of a fixed field */
    bytes_t inside; /* of a text or a message */
} field_t;

static bool next_varint(bytes_t *from, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 64 && from->at < from->end; shift += 7) {
        uint8_t byte = *from->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

/* False at the end of the message, and where it is damaged. Unknown fields are for the caller to skip. */
static bool next_field(bytes_t *from, field_t *field) {
    uint64_t key, size;
    if (!next_varint(from, &key)) return false;
    field->number = (uint32_t)(key >> 3);
    field->inside = (bytes_t){0};
    switch (key & 7) {
    case 0: return next_varint(from, &field->value);
    case 1: size = 8; break;
    case 5: size = 4; break;
    case 2:
        if (!next_varint(from, &size)) return false;
        break;
    default: return false;
    }
    if (size > (uint64_t)(from->end - from->at)) return false;
    field->inside = (bytes_t){from->at, from->at + size};
    field->value = 0;
    if ((key & 7) != 2)
        for (uint64_t k = size; k-- > 0;) field->value = field->value << 8 | from->at[k];
    from->at += size;
    return true;
}

/* An entry of the map `metrics`: its key, which writers put first, is field 1, its value field 2, a Metric with its average in field 3. */
static void read_metric(bytes_t entry, float *rms_v) {
    field_t field, inner;
    bool is_rms = false;
    while (next_field(&entry, &field)) {
        if (field.number == 1) is_rms = field.inside.end - field.inside.at == 3 && !memcmp(field.inside.at, "rms", 3);
        if (field.number != 2 || !is_rms) continue;
        *rms_v = 0; /* proto3 leaves out a value that is 0 */
        while (next_field(&field.inside, &inner)) {
            uint32_t bits = (uint32_t)inner.value;
            if (inner.number == 3) memcpy(rms_v, &bits, sizeof bits);
        }
    }
}

int main(int count, char **words) {
    if (count != 2) return 2;
    void *context = zmq_ctx_new();
    void *inbox = zmq_socket(context, ZMQ_SUB);
    zmq_setsockopt(inbox, ZMQ_SUBSCRIBE, "", 0);
    if (zmq_connect(inbox, words[1]) != 0) {
        fprintf(stderr, "%s\n", zmq_strerror(zmq_errno()));
        return 1;
    }
    for (;;) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, inbox, 0) < 0) return 1; /* the topic */
        if (!zmq_msg_more(&frame) || zmq_msg_recv(&frame, inbox, 0) < 0) continue;
        const uint8_t *body = zmq_msg_data(&frame);
        bytes_t message = {body, body + zmq_msg_size(&frame)};
        uint64_t box_id = 0, timestamp_ms = 0;
        float rms_v = -1; /* unknown */
        field_t field;
        while (next_field(&message, &field)) {
            if (field.number == 1) box_id = field.value;
            if (field.number == 2) timestamp_ms = field.value;
            if (field.number == 3) read_metric(field.inside, &rms_v);
        }
        printf("Box %llu: ", (unsigned long long)box_id);
        printf(rms_v < 0 ? "unknown" : "%.2f V", rms_v);
        printf(" until %llu\n", (unsigned long long)timestamp_ms);
        fflush(stdout);
        zmq_msg_close(&frame);
    }
}
