"""A Box's history and waveforms."""
