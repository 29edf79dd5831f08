/* What a shared library exports to be a plug-in of the OPQ toolkit. C ABI: C, C++, Rust, Go with cgo, Zig ...
 *
 * It runs in a process of its own. One instance is called by one thread at a time, different instances at once.
 * Texts are UTF-8 JSON; what comes in is valid until the call returns. `opq_plugin_api` and `opq_open` are needed,
 * and of the others those of the kinds that plugin.json lists. Build: cc -shared -fPIC -o libmine.so mine.c
 */
#ifndef OPQ_PLUGIN_H
#define OPQ_PLUGIN_H
#include <stddef.h>
#include <stdint.h>

#define OPQ_PLUGIN_API 1

#ifdef __cplusplus
extern "C" {
#endif

enum {
    OPQ_OK = 0,
    OPQ_AGAIN = 1, /* could not be done now (a connection): the same data comes again, in order */
    OPQ_BAD = 2    /* cannot be done at all: counted, the next one comes */
};

/* Returns OPQ_PLUGIN_API of the header that it was built with. */
int32_t opq_plugin_api(void);

/* One instance. kind: "source", "sink", "function" or "trigger"; symbol: its name in plugin.json; properties: a JSON object.
 * NULL: refused; then `error` (error_size bytes, zero-terminated) says which property is wrong. */
void *opq_open(const char *kind, const char *symbol, const char *properties, char *error, size_t error_size);

/* Sink: `data` is a JSON array of rows, or one row with sendSingle. `row_id` is the same when it is sent again. */
int32_t opq_sink_collect(void *instance, const char *data, size_t size, const char *row_id, char *error,
                         size_t error_size);

/* Function: `arguments` is a JSON array. Writes one JSON value into `answer` and returns its size;
 * negative: refused, then `answer` holds the text of the error, zero-terminated. */
int64_t opq_function_exec(void *instance, const char *arguments, size_t size, char *answer, size_t answer_size);

/* Source: waits at most timeout_ms. Writes one JSON object, or an array of objects, and returns its size;
 * 0: nothing now; negative: an error, then `message` holds its text. Waiting longer delays the stop. */
int64_t opq_source_next(void *instance, char *message, size_t message_size, int32_t timeout_ms);

/* Trigger: `seen` is {"measurement": {...}, "nominal": {"volts": ..., "hz": ...}}; a measurement has `box_id`,
 * `timestamp_ms` and `metrics`, a table of {"min", "max", "average"} under "rms", "f", "thd", "trans". Writes one
 * JSON object {"metric", "value", "limit", "because"}, with "span_ns": [start, end] for what is over, and returns
 * its size; 0: nothing to ask for; negative: an error, then `decision` holds its text, zero-terminated. What it
 * remembers ends with its instance: it is opened again where it has to forget. */
int64_t opq_trigger_decide(void *instance, const char *seen, size_t size, char *decision, size_t decision_size);

void opq_close(void *instance); /* may be left out */

#ifdef __cplusplus
}
#endif
#endif
