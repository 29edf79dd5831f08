// The 10/12-cycle windows of the features (IEC 61000-4-30:2015, 4.4): opened and closed at half-cycle boundaries,
// reported two cycles later, when the phases at their end are known. For features.c only.
#ifndef OPQ_WINDOWS_H
#define OPQ_WINDOWS_H

#include "dsp.h"

void opq_windows_open(opq_features_t *features, opq_position_t at, opq_energy_t energy);
void opq_windows_close(opq_features_t *features, opq_position_t at, opq_energy_t energy);
// Adds a judged phasor to the window that it lies in; finishes the window before it.
void opq_windows_phase(opq_features_t *features, const opq_phasor_t *phasor);
// Searches the samples for which the high pass has all its input, for the windows that they lie in.
void opq_windows_transients(opq_features_t *features);

// Rms in V of the samples between two positions, `samples` apart.
float opq_energy_rms_v(const opq_features_t *features, opq_energy_t from, opq_energy_t to, float samples);

#endif
