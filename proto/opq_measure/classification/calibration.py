"""How often a verdict is right, by the noise that it was measured in.

A part's own probability says how far its figure is beyond its limit. It knows nothing of what else the
noise does: a class that is not seen, or one more that is. Those shares were counted on recordings of other
seeds than `bench classify` prints, and the bench says how far the confidence is from what comes true.
"""

import numpy as np

QUIET_PU, NOISY_PU = 0.03, 0.10
"""Noise against the fundamental, rms: 30 dB and 20 dB."""
RIGHT_QUIET, RIGHT_NOISY = 0.995, 0.95
"""Share of parts that were right there."""
OFTEN_MISSED = {"impulsive_transient": 0.9, "oscillatory_transient": 0.93, "interruption": 0.93}
"""Of these, where it is noisy."""


def calibrated(kind: str, confidence: float, noise_pu: float) -> float:
    """0 .. 1, for a part of a class."""
    noisy = OFTEN_MISSED.get(kind, RIGHT_NOISY)
    right = float(np.interp(noise_pu, (QUIET_PU, NOISY_PU), (RIGHT_QUIET, noisy)))
    return min(1.0, max(0.0, confidence)) * right
