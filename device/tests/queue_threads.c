// One producer thread and one consumer thread on a small queue: records of every size come out whole and in
// order, what was refused is counted. Exit 0 when all hold.
#include <pthread.h>
#include <stdio.h>

#include "queue.h"

enum { RECORDS = 200000, ROOM = 256 };

static opq_queue_t queue;
static uint8_t bytes[ROOM];
static _Atomic bool done;
static uint64_t refused;

static void *produce(void *unused) {
    uint8_t data[64];
    for (uint32_t number = 0; number < RECORDS; number++) {
        size_t length = number % sizeof data;
        for (size_t i = 0; i < length; i++) {
            data[i] = (uint8_t)(number + i);
        }
        while (!opq_queue_put_record(&queue, (uint8_t)number, data, length)) {
            refused += length;
        }
    }
    atomic_store(&done, true);
    return unused;
}

int main(void) {
    pthread_t producer;
    uint32_t number = 0, wrong = 0;
    opq_queue_init(&queue, bytes, ROOM);
    if (pthread_create(&producer, NULL, produce, NULL) != 0) {
        return 2;
    }
    while (!atomic_load(&done) || opq_queue_waiting(&queue) > 0) {
        uint8_t data[64], tag;
        size_t length;
        if (!opq_queue_take_record(&queue, &tag, data, sizeof data, &length)) {
            continue;
        }
        wrong += tag != (uint8_t)number || length != number % sizeof data;
        for (size_t i = 0; i < length; i++) {
            wrong += data[i] != (uint8_t)(number + i);
        }
        number++;
    }
    (void)pthread_join(producer, NULL);
    wrong += (uint32_t)refused != atomic_load(&queue.refused_bytes);
    printf("%u records, %u wrong\n", number, wrong);
    return number == RECORDS && wrong == 0 ? 0 : 1;
}
