"""Array types, the piece of a signal with its time, and the checks that all entry points share."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IndexArray = NDArray[np.int64]
SignalArray = NDArray[Any]
"""(n,) int16 counts or floats; memory-mapped arrays are read block by block."""

MAX_V = 1e12
"""Larger than any voltage or count; squares of it and their sums stay far from overflow."""
MIN_HZ = 10.0
"""Two cycles in 200 ms; with one, a subgroup (61000-4-7:2002, 3.2.4) would hold the neighbouring orders."""
LEAST_SAMPLES = 8.0
"""Samples per cycle from which on rms, frequency, sags and swells are known: relays record 8, 12 or 16."""
WAVEFORM_SAMPLES = 20.0
"""Samples per cycle from which on the shape of the wave is known: harmonics, flicker, transients."""
BLOCK_SAMPLES = 1 << 19
"""Samples converted to float64 at once: 4 MiB, so that memory does not grow with the signal's length."""


@dataclass(frozen=True, slots=True)
class SignalPiece:
    """A piece of one signal: its place on the Box's sample axis, its measured rate, and its time if known.

    Two pieces are consecutive if `first_sample` continues where the one before ended, the gain is the same
    and the rate is within 1000 ppm (it is measured against PPS again for every piece). Anything else is a
    gap.
    """

    volts: SignalArray
    """(n,) volts, or counts of `v_per_lsb`."""
    first_sample: int
    rate_hz: float
    start_ns: int | None = None
    """UTC of `volts[0]`."""
    v_per_lsb: float = 1.0

    @property
    def end_sample(self) -> int:
        return self.first_sample + len(self.volts)

    def time_ns(self, position: float) -> int | None:
        """UTC of a fractional position counted from `volts[0]`; None when the time is not known."""
        return None if self.start_ns is None else self.start_ns + round(position * 1e9 / self.rate_hz)


def like_rate_hz(rate_hz: float) -> float:
    """Rounds a rate to four digits, so that weights and filters made for it serve all Boxes of a kind.

    Each Box has its own crystal and measures its rate again every second.
    """
    return float(f"{rate_hz:.4g}")


def check_nominal(nominal_hz: float) -> None:
    """Rejects a nominal frequency that is not possible.

    Raises:
        ValueError: not a finite number of at least 10 Hz.
    """
    if not MIN_HZ <= nominal_hz < np.inf:
        raise ValueError(f"nominal_hz is {nominal_hz:g}, want a number from {MIN_HZ:g}")


def check_signal(
    volts: SignalArray, rate_hz: float, nominal_hz: float, least_samples: float = WAVEFORM_SAMPLES
) -> None:
    """Rejects a signal from which no quantity can be computed.

    Args:
        least_samples: samples that a nominal cycle has to have.
    Raises:
        ValueError: no array, not one-dimensional, not numbers, a value that is not finite or beyond 1e12, a
            nominal frequency below 10 Hz, or a rate that is less than `least_samples` per nominal cycle.
    """
    check_nominal(nominal_hz)
    if not (np.isfinite(rate_hz) and rate_hz >= least_samples * nominal_hz):
        raise ValueError(
            f"rate_hz is {rate_hz}, want at least {least_samples:g} samples per cycle of {nominal_hz:g} Hz"
        )
    check_samples(volts)


def check_samples(volts: SignalArray) -> None:
    """Rejects anything that is not an array of samples.

    Raises:
        ValueError: no array, not one-dimensional, not numbers, a value that is not finite or beyond 1e12.
    """
    if not isinstance(volts, np.ndarray):
        raise ValueError(f"the signal is a {type(volts).__name__}, want a NumPy array")
    if volts.ndim != 1:
        raise ValueError(f"the signal has {volts.ndim} dimensions, want 1")
    if volts.dtype.kind not in "iuf":
        raise ValueError(f"the signal is of type {volts.dtype}, want whole numbers or floats")
    if volts.dtype.kind != "f":
        return
    for first in range(0, len(volts), BLOCK_SAMPLES):
        block = np.asarray(volts[first : first + BLOCK_SAMPLES], dtype=np.float64)
        if np.einsum("i,i", block, block) <= MAX_V * MAX_V:  # fast, and starts no thread; False for NaN
            continue
        finite = np.abs(block) <= MAX_V
        if not finite.all():
            raise ValueError(f"sample {first + int(np.argmin(finite))} is not a finite number (to 1e12)")
