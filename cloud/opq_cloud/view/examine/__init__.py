"""One event on one time axis over its Boxes: waveforms, what is computed of them, two cursors."""
