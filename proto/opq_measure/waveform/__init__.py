"""The content of a stretch of waveform beside its steady part: jumps, transients, notches, noise, lags."""
