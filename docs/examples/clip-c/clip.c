/* clip(x, low, high), a function of SQL in C. `make` builds libclip.so.
 *
 * Arguments come as a JSON array of three numbers; nothing more of JSON is needed here. */
#include <stdio.h>
#include <stdlib.h>
#include "opq_plugin.h"

static int instance;

int32_t opq_plugin_api(void) { return OPQ_PLUGIN_API; }

void *opq_open(const char *kind, const char *symbol, const char *properties, char *error, size_t error_size) {
    (void)kind, (void)symbol, (void)properties, (void)error, (void)error_size;
    return &instance; /* it keeps nothing */
}

int64_t opq_function_exec(void *self, const char *arguments, size_t size, char *answer, size_t answer_size) {
    double x, low, high;
    (void)self, (void)size;
    if (sscanf(arguments, " [ %lf , %lf , %lf ]", &x, &low, &high) != 3) {
        snprintf(answer, answer_size, "clip wants three numbers, and got %.200s", arguments);
        return -1;
    }
    return snprintf(answer, answer_size, "%.17g", x < low ? low : x > high ? high : x);
}
