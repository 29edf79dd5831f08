#include "queue.h"

#include <string.h>

void opq_queue_init(opq_queue_t *queue, uint8_t *bytes, uint32_t room) {
    queue->bytes = bytes;
    queue->mask = room - 1U;
    atomic_init(&queue->head, 0);
    atomic_init(&queue->tail, 0);
    atomic_init(&queue->refused_bytes, 0);
}

size_t opq_queue_waiting(const opq_queue_t *queue) {
    uint32_t tail = atomic_load_explicit(&queue->tail, memory_order_acquire);
    return (uint32_t)(atomic_load_explicit(&queue->head, memory_order_acquire) - tail);
}

size_t opq_queue_free(const opq_queue_t *queue) { return (size_t)queue->mask + 1U - opq_queue_waiting(queue); }

static bool refuse(opq_queue_t *queue, size_t length) {
    uint32_t before = atomic_load_explicit(&queue->refused_bytes, memory_order_relaxed);
    atomic_store_explicit(&queue->refused_bytes, before + (uint32_t)length, memory_order_relaxed);
    return false;
}

// Copies to `position` on, around the end; the caller has checked the room.
static uint32_t copy_in(opq_queue_t *queue, uint32_t position, const uint8_t *data, size_t length) {
    size_t at = position & queue->mask;
    size_t first = (size_t)queue->mask + 1U - at;
    if (length > 0) {
        size_t part = length < first ? length : first;
        memcpy(queue->bytes + at, data, part);
        memcpy(queue->bytes, data + part, length - part);
    }
    return position + (uint32_t)length;
}

static uint32_t copy_out(const opq_queue_t *queue, uint32_t position, uint8_t *data, size_t length) {
    size_t at = position & queue->mask;
    size_t first = (size_t)queue->mask + 1U - at;
    if (length > 0) {
        size_t part = length < first ? length : first;
        memcpy(data, queue->bytes + at, part);
        memcpy(data + part, queue->bytes, length - part);
    }
    return position + (uint32_t)length;
}

bool opq_queue_put(opq_queue_t *queue, const uint8_t *data, size_t length) {
    if (length > opq_queue_free(queue)) {
        return refuse(queue, length);
    }
    uint32_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    atomic_store_explicit(&queue->head, copy_in(queue, head, data, length), memory_order_release);
    return true;
}

bool opq_queue_put_byte(opq_queue_t *queue, uint8_t byte) {
    uint32_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    if (head - atomic_load_explicit(&queue->tail, memory_order_acquire) > queue->mask) {
        uint32_t refused = atomic_load_explicit(&queue->refused_bytes, memory_order_relaxed);
        atomic_store_explicit(&queue->refused_bytes, refused + 1U, memory_order_relaxed);
        return false;
    }
    queue->bytes[head & queue->mask] = byte;
    atomic_store_explicit(&queue->head, head + 1U, memory_order_release);
    return true;
}

int opq_queue_take_byte(opq_queue_t *queue) {
    uint32_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    if (atomic_load_explicit(&queue->head, memory_order_acquire) == tail) {
        return -1;
    }
    uint8_t byte = queue->bytes[tail & queue->mask];
    atomic_store_explicit(&queue->tail, tail + 1U, memory_order_release);
    return byte;
}

size_t opq_queue_take(opq_queue_t *queue, uint8_t *data, size_t room) {
    size_t waiting = opq_queue_waiting(queue);
    size_t length = waiting < room ? waiting : room;
    uint32_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    atomic_store_explicit(&queue->tail, copy_out(queue, tail, data, length), memory_order_release);
    return length;
}

// A record: length u16 LE, tag, bytes.
enum { RECORD_HEAD = 3 };

bool opq_queue_put_record(opq_queue_t *queue, uint8_t tag, const uint8_t *data, size_t length) {
    if (length > UINT16_MAX || length + RECORD_HEAD > opq_queue_free(queue)) {
        return refuse(queue, length);
    }
    const uint8_t head_bytes[RECORD_HEAD] = {(uint8_t)length, (uint8_t)(length >> 8), tag};
    uint32_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    head = copy_in(queue, head, head_bytes, RECORD_HEAD);
    atomic_store_explicit(&queue->head, copy_in(queue, head, data, length), memory_order_release);
    return true;
}

static bool read_head(const opq_queue_t *queue, uint32_t *tail, uint8_t *tag, size_t *length) {
    uint8_t head_bytes[RECORD_HEAD];
    if (opq_queue_waiting(queue) < RECORD_HEAD) {
        return false;
    }
    *tail = copy_out(queue, atomic_load_explicit(&queue->tail, memory_order_relaxed), head_bytes, RECORD_HEAD);
    *length = (size_t)(head_bytes[0] | (uint32_t)head_bytes[1] << 8);
    *tag = head_bytes[2];
    return true;
}

bool opq_queue_record_waits(const opq_queue_t *queue, size_t *length) {
    uint32_t tail;
    uint8_t tag;
    return read_head(queue, &tail, &tag, length);
}

bool opq_queue_take_record(opq_queue_t *queue, uint8_t *tag, uint8_t *data, size_t room, size_t *length) {
    uint32_t tail;
    size_t size;
    if (!read_head(queue, &tail, tag, &size)) {
        return false;
    }
    bool fits = size <= room;
    tail = fits ? copy_out(queue, tail, data, size) : tail + (uint32_t)size;
    atomic_store_explicit(&queue->tail, tail, memory_order_release);
    *length = fits ? size : 0;
    return fits;
}
