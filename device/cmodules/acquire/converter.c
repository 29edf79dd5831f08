// Rules for every converter: which oversamplings it supports, and how many effective bits they give.
#include <math.h>

#include "acquire.h"

bool opq_converter_allows(const opq_converter_t *converter, uint32_t oversampling) {
    for (size_t i = 0; i < sizeof converter->oversamplings && converter->oversamplings[i] != 0; i++) {
        if (converter->oversamplings[i] == oversampling) {
            return true;
        }
    }
    return false;
}

// Noise powers against full scale add: the averaged converter's, 4^-(enob + log4 oversampling), and the word's, 4^-16.
float opq_effective_bits(const opq_converter_t *converter, uint32_t oversampling) {
    float converter_noise = exp2f(-2.0f * converter->enob) / (float)(oversampling > 0 ? oversampling : 1);
    bool rounded = oversampling > 1 || converter->bits < 16; // the unit filter passes 16 bits unchanged
    float word_noise = rounded ? exp2f(-2.0f * 16.0f) : 0.0f;
    return -0.5f * log2f(converter_noise + word_noise);
}
