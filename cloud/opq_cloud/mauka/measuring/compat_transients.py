"""Transients as the original's TransientPlugin names them. Source: docs/reference/opq-interop.md E.3, H.47.

The low-passed signal is subtracted, and what is above the noise floor is cut into windows. Each window gets
the first of four names that fits, and the number of zero crossings that it adds. The original's faults are
kept: a spike of one sample on the crest has no name, and a damped ringing of 1 or 2 kHz is arcing.

It uses SciPy as the original does, from the extra `original`, which is imported where it is needed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from opq_measure.signal import FloatArray, IndexArray

RATE_HZ: Final = 12_000.0
SAMPLES_PER_MS: Final = 12
ARCING_CROSSINGS: Final = 10
"""The original uses this number too, whatever its setting is."""
MIN_REPEATED: Final = 3
SIGNIFICANT_SHARE: Final = 0.05
FIRST_V = 120 * 2**0.5
"""Initial peak for the fit of a damped cosine."""
FIRST_DECAY = 200.0
"""Initial damping for the fit, 1/s."""
FIRST_HZ = 2500.0
"""Initial frequency for the fit."""
MAX_STEPS = 200
"""Most steps of the fit."""
MISSING = "SciPy is not installed: pip install 'opq-toolkit[original]'"
TransientName = Literal["impulsive", "arcing", "oscillatory", "periodic_notching"]


@dataclass(frozen=True, slots=True)
class TransientSettings:
    """The original's settings with its defaults (docs/reference/opq-interop.md C.4)."""

    noise_floor_v: float = 6.0
    max_lull_ms: float = 4.0
    oscillatory_crossings: int = 3
    notching_std_samples: float = 2.0
    autocorrelation: float = 0.4
    filter_order: int = 4
    cutoff_hz: float = 500.0


@dataclass(frozen=True, slots=True)
class OriginalTransient:
    """Samples [start, stop) as the original classifies them.

    Attributes:
        name: None where it only adds zero crossings.
        metadata: under the original's names; times in seconds, voltages in volts.
    """

    start: int
    stop: int
    name: TransientName | None
    peak_v: float
    metadata: dict[str, float] = field(default_factory=dict)


def original_transients(volts: FloatArray, settings: TransientSettings) -> list[OriginalTransient]:
    """Each window that has a name, or more zero crossings than its fundamental, in time order.

    Args:
        volts: (n,) float64, at 12 kS/s without a gap; fewer than 16 samples give no result.
    """
    from scipy.signal import butter, filtfilt

    numerator, denominator = butter(settings.filter_order, settings.cutoff_hz / (RATE_HZ / 2))
    if len(volts) <= 3 * len(denominator):
        return []
    fundamental = filtfilt(numerator, denominator, volts)
    residual = volts - fundamental
    found = []
    for start, stop in transient_windows(residual, settings):
        part = residual[start:stop]
        above = np.sign(part) * np.maximum(np.abs(part) - settings.noise_floor_v, 0.0)
        named = _named(part, above, fundamental[start:stop], settings)
        name, metadata = named if named is not None else (None, {})
        extra = _extra_crossings(volts[start:stop], fundamental[start:stop], part, settings)
        if extra:
            metadata["num_extra_zero_crossings"] = float(extra)
        if metadata:
            peak_v = float(np.max(np.abs(part)))
            found.append(OriginalTransient(start, stop, name, peak_v, metadata))
    return found


def transient_windows(residual: FloatArray, settings: TransientSettings) -> Iterator[tuple[int, int]]:
    """[start, stop): from the first sample at the floor to two samples after the last before a lull."""
    high = np.flatnonzero(np.abs(residual) >= settings.noise_floor_v)
    if not len(high):
        return
    longest = int(SAMPLES_PER_MS * settings.max_lull_ms)
    parted = np.flatnonzero(np.diff(high) > longest + 1)
    starts = high[np.concatenate(([0], parted + 1))]
    ends = high[np.concatenate((parted, [len(high) - 1]))]
    for start, last in zip(starts.tolist(), ends.tolist(), strict=True):
        lull = len(residual) - 1 - last > longest
        yield start, min(last + 2, len(residual)) if lull else len(residual)


def _named(
    part: FloatArray, above: FloatArray, fundamental: FloatArray, settings: TransientSettings
) -> tuple[TransientName, dict[str, float]] | None:
    if (found := _impulsive(part, above)) is not None:
        return "impulsive", found
    crossings = _crossings(above)
    if len(crossings) >= ARCING_CROSSINGS:
        _, counts = np.unique(np.diff(crossings), return_counts=True)
        if counts.max() >= MIN_REPEATED:
            return "arcing", {"Num_Cycles": float(len(crossings))}
    if len(crossings) >= settings.oscillatory_crossings and (found := _oscillatory(part)) is not None:
        return "oscillatory", found
    if (found := _notching(above, fundamental, settings)) is not None:
        return "periodic_notching", found
    return None


def _impulsive(part: FloatArray, above: FloatArray) -> dict[str, float] | None:
    """The metadata of an impulse; None unless all that is above the floor has one sign."""
    if np.any(above > 0) and np.any(above < 0):
        return None
    height = np.abs(above)
    peak = int(np.argmax(height))
    start, end = int(np.argmax(height > 0)), peak + int(np.argmin(height[peak:]))
    return {
        "Peak_Voltage": float(part[peak]),
        "Rise_Time": (peak - start) / RATE_HZ,
        "Decay_Time": (end - peak) / RATE_HZ,
        "Start_Index": float(start),
        "Peak_Index": float(peak),
        "End_Index": float(end),
    }


def _crossings(values: FloatArray) -> IndexArray:
    """Places after which the sign bit changes; zero counts as positive."""
    return np.flatnonzero(np.diff(np.signbit(values + 0.0)))


def _oscillatory(part: FloatArray) -> dict[str, float] | None:
    """The metadata if a damped cosine fits better than a decay alone: F-test, 2 degrees of freedom."""
    count = len(part)
    if count <= 5:
        return None
    t_s = np.arange(count) / RATE_HZ
    first = np.array([FIRST_V, FIRST_DECAY, FIRST_HZ, 0.0, 0.0])
    fitted, squares = _least_squares(first, lambda p: _damped(t_s, p) - part, lambda p: _slopes(t_s, p))
    _, plain = _least_squares(
        np.zeros(2),  # in the original the decay rate is also the constant
        lambda p: p[0] * np.exp(np.clip(-p[1] * t_s, -700, 700)) + p[1] - part,
        lambda p: _decay_slopes(t_s, p),
    )
    free = count - 5
    f = (plain - squares) / 2 / max(squares / free, 1e-300)
    p_value = (1 + 2 * f / free) ** (-free / 2) if f > 0 else 1.0  # of F with 2 and `free` degrees
    return {"Frequency": float(fitted[2]), "p_value": p_value} if p_value < SIGNIFICANT_SHARE else None


def _damped(t_s: FloatArray, p: FloatArray) -> FloatArray:
    wave = np.exp(np.clip(-p[1] * t_s, -700, 700)) * np.cos(2 * np.pi * p[2] * t_s + p[3])
    return np.asarray(p[0] * wave + p[4])


def _slopes(t_s: FloatArray, p: FloatArray) -> FloatArray:
    decay = np.exp(np.clip(-p[1] * t_s, -700, 700))
    angle = 2 * np.pi * p[2] * t_s + p[3]
    cosine, sine = decay * np.cos(angle), -p[0] * decay * np.sin(angle)
    return np.stack([cosine, -p[0] * t_s * cosine, 2 * np.pi * t_s * sine, sine, np.ones_like(t_s)], axis=1)


def _decay_slopes(t_s: FloatArray, p: FloatArray) -> FloatArray:
    decay = np.exp(np.clip(-p[1] * t_s, -700, 700))
    return np.stack([decay, 1 - p[0] * t_s * decay], axis=1)


def _least_squares(
    first: FloatArray, misfit: Callable[[FloatArray], FloatArray], slopes: Callable[[FloatArray], FloatArray]
) -> tuple[FloatArray, float]:
    """The parameters by Levenberg-Marquardt, and the remaining sum of squares."""
    from scipy.optimize import least_squares

    found = least_squares(misfit, first, jac=slopes, method="lm", x_scale="jac", max_nfev=MAX_STEPS)
    return found.x, 2 * float(found.cost)


def _notching(
    above: FloatArray, fundamental: FloatArray, settings: TransientSettings
) -> dict[str, float] | None:
    """The metadata of notching: all of it opposes the fundamental and repeats at even distances.

    Two notches or fewer have no distances that could differ; they count as periodic, without a period.
    """
    from scipy.signal import find_peaks

    if np.any(np.sign(above) * np.sign(fundamental) > 0):
        return None
    there = np.flatnonzero(above)
    height = np.abs(above[there[0] : there[-1] + 1])
    if len(height) < 2:
        return None
    likeness = np.correlate(height, height[: len(height) // 2], mode="valid")
    likeness = likeness[len(likeness) // 2 :]
    if not likeness.max() > 0:
        return None
    likeness = likeness / likeness.max()
    peaks, _ = find_peaks(likeness)
    periods = np.diff(peaks[likeness[peaks] >= settings.autocorrelation])
    uneven = np.abs(np.diff(periods))
    if len(uneven) and np.std(uneven) > settings.notching_std_samples:
        return None
    tops = height[find_peaks(height)[0]]
    found = {"amplitude": float(np.mean(tops)) + settings.noise_floor_v} if len(tops) else {}
    return {**found, **({"period": float(np.mean(periods)) / RATE_HZ} if len(periods) else {})} or None


def _extra_crossings(
    volts: FloatArray, fundamental: FloatArray, part: FloatArray, settings: TransientSettings
) -> int:
    """Sign changes that the wave has beyond its fundamental's, where the residual is above the floor."""
    ours, theirs = np.diff(np.signbit(volts)), np.diff(np.signbit(fundamental))
    if ours.sum() <= theirs.sum():
        return 0
    places = np.flatnonzero(ours != theirs)
    return int(np.sum(np.abs(part[places]) > settings.noise_floor_v))
