"""One event on one time axis over its Boxes: waveforms, computed figures, two cursors."""
