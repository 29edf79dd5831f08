// The Box's main data path, run by PendSV: block -> stamp -> Samples -> line; features beside it.
//
//     acquire --blocks--> [run] --frames--> tx queue --USART1 ISR--> line
//                          ^ |
//     rx queue --bytes-----+ +--commands, update data--> inbox  --main thread (MicroPython)
//                          +----messages---------------- outbox --main thread
//
// PendSV is the only producer of the tx queue and the only one that numbers frames. It is pended by
// the acquisition's interrupt, by USART1 at each zero byte received, at a drained tx queue while
// something is left to resend, and by the main thread after a post. Python may stall: this does not.
//
// Each run, in this order, bounded: received bytes (at most OPQ_PIPELINE_RX_PER_RUN), new blocks, the
// crossings and measurements they gave, the outbox, resends while few bytes wait on the line.
// A stamp is computed once, when the block is new, and kept as long as the ring keeps its samples.
#ifndef OPQ_PIPELINE_H
#define OPQ_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link.h"
#include "queue.h"

struct opq_clock;

enum {
    OPQ_PIPELINE_TX_BYTES = 4096,      // 44 ms of the line: nine raw blocks
    OPQ_PIPELINE_RX_BYTES = 2048,      // 22 ms: one whole frame while PendSV is held up
    OPQ_PIPELINE_OUTBOX_BYTES = 4096,  // the settings (2 KB) and a second's messages
    OPQ_PIPELINE_INBOX_BYTES = 4096,   // three pieces of an update
    OPQ_PIPELINE_RX_PER_RUN = 2048,
    OPQ_PIPELINE_LOW_WATER = 1600,     // resends only below: a block time (16.7 ms) of the line, and some
    OPQ_PIPELINE_ASKED = 32,           // spans asked for at once; the gateway asks for 16
};

typedef enum {
    OPQ_STAGE_DECIMATE,  // told by the acquisition's interrupt
    OPQ_STAGE_STAMP,
    OPQ_STAGE_FRAME,
    OPQ_STAGE_FEATURES,
    OPQ_STAGE_RECEIVE,
    OPQ_STAGE_RESEND,
    OPQ_STAGE_TOTAL,  // one run of PendSV
    OPQ_STAGES,
} opq_stage_t;

// Processor cycles per call of a stage; `sum` wraps never (u64), min is 0 before the first.
typedef struct {
    uint32_t calls;
    uint32_t min;
    uint32_t max;
    uint64_t sum;
} opq_stage_cycles_t;

typedef struct {
    struct opq_clock *clock;       // stamps; written by the main thread, read here
    uint32_t (*cycles)(void);      // DWT CYCCNT on the target
    void (*line_ready)(void);      // the tx queue is no longer empty: enable TXE
    void (*wake)(void);            // pend PendSV
    bool measurements;             // send BoxMeasurement
} opq_pipeline_config_t;

typedef struct {
    uint64_t blocks;            // made into frames or counted as dropped
    uint32_t blocks_dropped;    // fresh ones that the full tx queue refused (may be asked for again)
    uint32_t tx_dropped_bytes;  // Health.tx_dropped: all that could not be queued for the line
    uint32_t resent_blocks;
    uint32_t resend_gone;       // blocks asked for that the ring no longer has
    uint32_t resend_refused;    // spans asked for beyond OPQ_PIPELINE_ASKED
    uint32_t crossings;
    uint32_t measurements;
    uint32_t inbox_refused;     // commands that the main thread did not take in time
    opq_link_counters_t link;
} opq_pipeline_counters_t;

// The queues that the port's USART1 interrupt drains and fills.
opq_queue_t *opq_pipeline_tx(void);
opq_queue_t *opq_pipeline_rx(void);

void opq_pipeline_init(const opq_pipeline_config_t *config);
// PendSV's whole work. Not reentrant.
void opq_pipeline_run(void);
// For USART1's interrupt: true when the line ran low and something is left to send again.
bool opq_pipeline_wants_line(void);
// From now on (a new boot of the sampling) blocks begin at sample 0 again; stamps and asks are forgotten.
void opq_pipeline_restart(void);
// USART1 belongs to someone else (REPL): nothing is put on the line any more, nothing is read.
void opq_pipeline_hold(bool held);

// Main thread. False: the outbox is full (counted in tx_dropped_bytes).
bool opq_pipeline_post(uint8_t type, const uint8_t *payload, size_t length);
// Main thread: the next Command or UpdateData. False: none.
bool opq_pipeline_receive(uint8_t *type, uint8_t *payload, size_t room, size_t *length);

void opq_pipeline_counters(opq_pipeline_counters_t *out);
// Any context may add to its own stage; the acquisition's interrupt tells OPQ_STAGE_DECIMATE.
void opq_pipeline_spent(opq_stage_t stage, uint32_t cycles);
opq_stage_cycles_t opq_pipeline_stage(opq_stage_t stage);
// Busy cycles (all stages of interrupts) of each 1000 since the last call; 0 before the second call.
uint16_t opq_pipeline_cpu_permille(void);

#endif
