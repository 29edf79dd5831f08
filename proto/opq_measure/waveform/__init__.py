"""What a stretch of waveform shows beside its steady part: jumps, transients, notches, noise, lags."""
