// The converters of this firmware and their properties.
#include <string.h>

#include "acquire.h"

const opq_converter_t *opq_converter(const char *name) {
    static const opq_converter_t *const converters[] = {&opq_internal_adc, &opq_external_adc};
    for (size_t i = 0; i < sizeof converters / sizeof converters[0]; i++) {
        if (strcmp(converters[i]->name, name) == 0) {
            return converters[i];
        }
    }
    return NULL;
}
