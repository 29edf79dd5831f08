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

// Noise powers in 0 to 3 kHz add, in counts squared: the front end's; the converter's, which is white up to half its rate;
// the word's rounding. A sine's power is 1.5 * 4^bits of the noise's: its crest is the end of the linear range.
float opq_effective_bits(const opq_converter_t *converter, uint32_t oversampling) {
    const float crest = (float)converter->form.high;
    float in_band = 3000.0f / (6000.0f * (float)(oversampling > 0 ? oversampling : 1));
    float converter_noise = 32768.0f * 32768.0f / 2.0f / (1.5f * exp2f(2.0f * converter->enob)) * in_band;
    bool rounded = oversampling > 1 || converter->bits < 16; // the unit filter passes 16 bits unchanged
    float word_noise = rounded ? 0.5f / 12.0f : 0.0f;
    float noise = converter->front_end_lsb * converter->front_end_lsb + converter_noise + word_noise;
    return 0.5f * log2f(crest * crest / 2.0f / (1.5f * noise));
}
