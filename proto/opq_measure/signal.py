"""What a signal is to this package: array types, and the one check that all entries share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
SignalArray = NDArray[Any]
"""(n,) of int16 counts or of floats; memory-mapped arrays are welcome, they are read block by block."""

MOST_V = 1e12
"""Beyond any voltage and any count; squares and their sums stay far from overflow."""
LEAST_HZ = 10.0
"""Two cycles in 200 ms; of one, a subgroup (61000-4-7:2002, 3.2.4) would hold the neighbouring orders."""
BLOCK_SAMPLES = 1 << 19
"""Samples that are turned into float64 at once: 4 MiB, so that a day of signal needs no day of memory."""


def check_signal(volts: SignalArray, rate_hz: float, nominal_hz: float) -> None:
    """Refuse what no quantity can be computed of.

    Raises:
        ValueError: not one-dimensional, not numbers, a value that is not finite, a nominal
            frequency below 10 Hz, or a rate that is not at least 20 samples per nominal cycle.
    """
    if volts.ndim != 1:
        raise ValueError(f"the signal has {volts.ndim} dimensions, want 1")
    if volts.dtype.kind not in "iuf":
        raise ValueError(f"the signal is of type {volts.dtype}, want whole numbers or floats")
    if not LEAST_HZ <= nominal_hz < np.inf:
        raise ValueError(f"nominal_hz is {nominal_hz:g}, want a number from {LEAST_HZ:g}")
    if not (np.isfinite(rate_hz) and rate_hz >= 20 * nominal_hz):
        raise ValueError(f"rate_hz is {rate_hz}, want at least 20 samples per cycle of {nominal_hz:g} Hz")
    if volts.dtype.kind != "f":
        return
    for first in range(0, len(volts), BLOCK_SAMPLES):
        block = np.asarray(volts[first : first + BLOCK_SAMPLES], dtype=np.float64)
        finite = np.abs(block) <= MOST_V  # False for NaN
        if not finite.all():
            raise ValueError(f"sample {first + int(np.argmin(finite))} is not a finite number (to 1e12)")
