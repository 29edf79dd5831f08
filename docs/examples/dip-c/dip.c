/* dip, a trigger of Makai in C: the least rms of a window falls below a share of nominal, once per dip and Box.
 *
 * `make` builds libdip.so. Of JSON no more is needed here than to find a number behind a key; take a library
 * where you read more. One instance is called by one thread at a time, so that it needs no lock. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "opq_plugin.h"

enum { MAX_BOXES = 1024, LONGEST_ID = 16 };

typedef struct {
    double share; /* of nominal: below it is a dip */
    size_t boxes;
    char dipped[MAX_BOXES][LONGEST_ID]; /* Boxes in a dip; "" is free */
} dip_t;

/* The value behind `key` after `from`; NULL where there is none. */
static const char *value_of(const char *from, const char *key) {
    const char *at = from ? strstr(from, key) : NULL;
    at = at ? strchr(at + strlen(key), ':') : NULL;
    return at ? at + 1 + strspn(at + 1, " ") : NULL;
}

static char *place_of(dip_t *self, const char *box_id) {
    for (size_t k = 0; k < self->boxes; k++) {
        if (strcmp(self->dipped[k], box_id) == 0) {
            return self->dipped[k];
        }
    }
    return NULL;
}

int32_t opq_plugin_api(void) { return OPQ_PLUGIN_API; }

void *opq_open(const char *kind, const char *symbol, const char *properties, char *error, size_t error_size) {
    const char *share = value_of(properties, "\"share\"");
    dip_t *self = calloc(1, sizeof *self);
    (void)kind, (void)symbol;
    if (self == NULL) {
        return NULL;
    }
    self->share = share ? strtod(share, NULL) : 0.9;
    if (!(self->share > 0 && self->share < 1)) {
        snprintf(error, error_size, "share  is %g; want more than 0, less than 1", self->share);
        free(self);
        return NULL;
    }
    return self;
}

int64_t opq_trigger_decide(void *instance, const char *seen, size_t size, char *decision, size_t decision_size) {
    dip_t *self = instance;
    const char *least = value_of(value_of(seen, "\"rms\""), "\"min\"");
    const char *volts = value_of(value_of(seen, "\"nominal\""), "\"volts\"");
    const char *box = value_of(seen, "\"box_id\"");
    char box_id[LONGEST_ID] = "";
    (void)size;
    if (least == NULL || volts == NULL || box == NULL || sscanf(box, "\"%15[0-9]\"", box_id) != 1) {
        return 0; /* no voltage in it */
    }
    double least_v = strtod(least, NULL), limit_v = self->share * strtod(volts, NULL);
    char *place = place_of(self, box_id);
    if (!(least_v < limit_v)) {
        if (place != NULL) {
            place[0] = '\0'; /* it is over */
        }
        return 0;
    }
    if (place != NULL) {
        return 0; /* of a dip that was reported */
    }
    place = place_of(self, ""); /* one that is free again */
    if (place == NULL && self->boxes < MAX_BOXES) {
        place = self->dipped[self->boxes++];
    }
    if (place != NULL) {
        strcpy(place, box_id);
    }
    return snprintf(decision, decision_size,
                    "{\"metric\": \"rms\", \"value\": %.3f, \"limit\": %.3f, \"because\": \"rms %.1f V is below %.1f V\"}",
                    least_v, limit_v, least_v, limit_v);
}

void opq_close(void *instance) { free(instance); }
