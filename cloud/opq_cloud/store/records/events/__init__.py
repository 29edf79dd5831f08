"""Events, and their waveforms."""
