// A queue of bytes between one producer and one consumer, e.g. a task and an interrupt; no locks.
//
// Each side owns one position; both count up for ever and wrap with uint32_t. The room is a power of
// two, given once. A put stores all or nothing: a frame is never cut by a full queue.
#ifndef OPQ_QUEUE_H
#define OPQ_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ramfunc.h"

typedef struct {
    uint8_t *bytes;
    uint32_t mask;          // room - 1
    _Atomic uint32_t head;  // the producer's: bytes ever put
    _Atomic uint32_t tail;  // the consumer's: bytes ever taken
    _Atomic uint32_t refused_bytes;  // what did not fit; counted by the producer
} opq_queue_t;

// `room` is a power of two. Before either side runs.
void opq_queue_init(opq_queue_t *queue, uint8_t *bytes, uint32_t room);

// The producer's side. All of `length` or nothing (then false, and counted).
bool opq_queue_put(opq_queue_t *queue, const uint8_t *data, size_t length);
OPQ_RAMFUNC bool opq_queue_put_byte(opq_queue_t *queue, uint8_t byte);  // from RAM: USART1 goes on during an erase
size_t opq_queue_free(const opq_queue_t *queue);

// The consumer's side. -1: empty.
OPQ_RAMFUNC int opq_queue_take_byte(opq_queue_t *queue);
size_t opq_queue_take(opq_queue_t *queue, uint8_t *data, size_t room);

// A record is put with its length in front, and read as a whole. False: none waits. A record longer
// than `room` is removed, with false too (the consumer's buffer is too small: a bug).
bool opq_queue_put_record(opq_queue_t *queue, uint8_t tag, const uint8_t *data, size_t length);
bool opq_queue_take_record(opq_queue_t *queue, uint8_t *tag, uint8_t *data, size_t room, size_t *length);
bool opq_queue_record_waits(const opq_queue_t *queue, size_t *length);  // and how long the next one is

// Either side.
OPQ_RAMFUNC size_t opq_queue_waiting(const opq_queue_t *queue);

#endif
