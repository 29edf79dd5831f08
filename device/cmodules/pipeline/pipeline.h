// The Box's main data path, run by PendSV: block -> stamp -> Samples -> line, and features.
//
//     acquire --blocks--> [run] --frames--> tx queue --USART1 ISR--> line
//                          ^ |
//     rx queue --bytes-----+ +--commands, update data--> inbox  --main thread (MicroPython)
//                          +----messages---------------- outbox --main thread
//
// PendSV is the only producer of the tx queue and the only one that numbers frames. It is pended by
// the acquisition's interrupt, by USART1 at each zero byte received and at an empty tx queue while
// something has to be sent again, and by the main thread after a post. It goes on while Python stalls.
//
// Each run, in this order, bounded: received bytes (at most OPQ_PIPELINE_RX_PER_RUN), new blocks,
// their crossings and measurements, the outbox, resends while few bytes wait on the line.
// A stamp is computed once, when the block is new, and kept as long as the ring keeps its samples.
#ifndef OPQ_PIPELINE_H
#define OPQ_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acquire.h"
#include "clock.h"
#include "dsp.h"
#include "link.h"
#include "queue.h"
#include "resends.h"
#include "stages.h"
#include "stamps.h"

enum {
    OPQ_PIPELINE_TX_BYTES = 4096,      // 44 ms of the line: nine raw blocks
    OPQ_PIPELINE_RX_BYTES = 2048,      // 22 ms: one whole frame while PendSV is held up
    OPQ_PIPELINE_OUTBOX_BYTES = 4096,  // the settings (2 KB) and a second's messages
    OPQ_PIPELINE_INBOX_BYTES = 4096,   // three pieces of an update
    OPQ_PIPELINE_RX_PER_RUN = 2048,
    OPQ_PIPELINE_LOW_WATER = 1600,     // resends only below this: a block time (16.7 ms) of the line, and some more
    OPQ_PIPELINE_BLOCKS_PER_RUN = 8,   // after a stall the rest waits for the next run
    OPQ_PIPELINE_BLOCK_ROOM = 1024,    // frame of 200 counts (438) and the messages of its features
    OPQ_PIPELINE_WINDOWS = 8,          // 1.6 s of windows for a user's program
    OPQ_PIPELINE_ANSWER_ROOM = 2048,   // payloads of an acknowledgement (260) and the settings (1 KB), and some more
};

typedef struct {
    const opq_clock_t *clock;      // stamps; written by the main thread, read here
    uint32_t (*cycles)(void);      // DWT CYCCNT on the target
    int64_t (*now_tick)(void);     // 84 MHz since the start, for the uptime
    void (*line_ready)(void);      // the tx queue is no longer empty: enable TXE
    void (*wake)(void);            // pend PendSV
} opq_pipeline_config_t;

typedef struct {
    uint64_t blocks;            // made into frames or counted as dropped
    uint32_t blocks_dropped;    // new ones that found the tx queue full (may be requested again)
    uint32_t tx_dropped_bytes;  // Health.tx_dropped: all that could not be queued for the line
    uint32_t resent_blocks;
    uint32_t resend_gone;       // requested blocks that the ring no longer has
    uint32_t resend_refused;    // requested spans beyond OPQ_RESENDS
    uint32_t crossings;
    uint32_t measurements;
    uint32_t inbox_refused;     // commands that the main thread did not take in time
    uint32_t features_lost;     // measurements and crossings that were overwritten before they were sent
    opq_link_counters_t link;
} opq_pipeline_counters_t;

// A window with the time of its first sample.
typedef struct {
    opq_feature_window_t window;
    int64_t t_ns;
    uint32_t uncertainty_ns;
    uint8_t source;
} opq_stamped_window_t;

// The queues that the port's USART1 interrupt drains and fills.
opq_queue_t *opq_pipeline_tx(void);
opq_queue_t *opq_pipeline_rx(void);

void opq_pipeline_init(const opq_pipeline_config_t *config);
const opq_pipeline_config_t *opq_pipeline_config(void);
// Since the Box started.
uint64_t opq_pipeline_uptime_ms(void);
// PendSV's whole work. Not reentrant.
void opq_pipeline_run(void);
// For USART1's interrupt: true when the line ran low and something is left to send again.
OPQ_RAMFUNC bool opq_pipeline_wants_line(void);
// Main thread, before opq_acquire_start: blocks begin at sample 0 again; stamps and requests are cleared.
void opq_pipeline_restart(void);
// Main thread. The features start again with these values in the next run; NULL: no features.
// `measurements`: send a BoxMeasurement per window. Crossings are sent for limits that are not 0.
void opq_pipeline_features(const opq_features_config_t *config, bool measurements);
// Main thread. New limits for the running features.
void opq_pipeline_limits(const float limit_pu[OPQ_CROSSING_KINDS], float hysteresis_pu);

// Windows for the main thread, from the next one on; those that find the queue full are counted.
void opq_pipeline_watch_windows(bool on);
bool opq_pipeline_window(opq_stamped_window_t *out);
uint32_t opq_pipeline_windows_lost(void);
// True: USART1 has another user (REPL); nothing is sent or read any more.
void opq_pipeline_hold(bool held);

// Main thread. False: the outbox is full (counted in tx_dropped_bytes).
bool opq_pipeline_post(uint8_t type, const uint8_t *payload, size_t length);
// Main thread: the next Command or UpdateData. False: none, or the outbox has no room for its answer. Many commands
// wait in the inbox, and further ones are refused and counted, so that no answer of an executed command is lost.
bool opq_pipeline_receive(uint8_t *type, uint8_t *payload, size_t room, size_t *length);
// Main thread: the length of its payload. False: none waits.
bool opq_pipeline_coming(size_t *length);

// Main thread: whether nothing waits to be sent.
bool opq_pipeline_is_idle(void);
// Main thread; snapshots.
void opq_pipeline_counters(opq_pipeline_counters_t *out);

#endif
