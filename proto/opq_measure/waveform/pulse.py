"""The shape of a pulse in a residual: where it begins and ends, its peak, its half waves, its ringing.

It begins and ends where its magnitude passes 10 % of its peak, or 4 sigma of the noise if that is more.

Source: IEEE 1159-2019, 4.2 (peak, rise, duration, spectral content of transients).
"""

import math
from dataclasses import dataclass

import numpy as np

from opq_measure.signal import BoolArray, FloatArray
from opq_measure.waveform.oscillation import Oscillation, oscillation

END_SHARE = 0.1
"""A share of the peak: where a pulse begins and ends."""
PULSE_SIGMAS = 4.0
"""A multiple of the noise: the least value that counts as part of the pulse."""
GAP_S = 0.002
"""Longest gap between two half waves above `END_SHARE`: half a period of 250 Hz."""
LOBE_SHARE = 0.2
"""A share of the peak: the least half wave of a ringing; a filter's ripple beside an impulse is smaller."""
CLEAN_SHARE = 0.95
"""Above this share of the energy in one ringing, its peak is interpolated between samples."""
MIN_HALF_WAVES = 3
"""Half waves from which on a pulse is a ringing."""
DECAYS_S = np.geomspace(5e-5, 2e-3, 12)
"""Decay times of impulses that are tried; neighbouring ones explain the same energy to 1 %."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """Positions are fractional samples of the residual it was found in; values have its unit."""

    start: float
    stop: float
    place: float
    """Position of the peak."""
    peak: float
    rise_samples: float
    """From 10 to 90 % of the first half wave's extreme."""
    energy: float
    """The integral of the square over time in seconds, from start to stop."""
    half_waves: int
    ring: Oscillation | None
    """Fitted where the pulse has at least 3 half waves."""
    unexplained: float
    """Share of its energy, per degree of freedom, that one damped oscillation does not explain; with fewer
    half waves, that one decay to one side does not explain."""


def pulse_in(residual: FloatArray, rate_hz: float, noise: float) -> Pulse | None:
    """The shape of the largest pulse of a residual; None where it is zero, or its square is."""
    largest = int(np.argmax(np.abs(residual)))
    peak = float(residual[largest])
    if peak * peak == 0:
        return None
    level = max(END_SHARE * abs(peak), min(PULSE_SIGMAS * noise, 0.9 * abs(peak)))
    low, high = _extent(np.abs(residual) > level, largest, round(GAP_S * rate_hz))
    lobes = lobes_of(residual[low:high], max(LOBE_SHARE * abs(peak), PULSE_SIGMAS * noise))
    ring = oscillation(residual[low:high], rate_hz) if len(lobes) >= MIN_HALF_WAVES else None
    share, unknowns = (_decay_share(residual[low:high], rate_hz), 2) if ring is None else (ring.share, 4)
    start, place = _passing(residual, low, level, -1), float(largest)
    if ring is not None and ring.share > CLEAN_SHARE:
        place, peak = _between_samples(ring, low, largest, start, rate_hz)
    return Pulse(
        start=start,
        stop=_passing(residual, high - 1, level, 1),
        place=place,
        peak=peak,
        rise_samples=_rise(residual, low, lobes),
        energy=float(np.sum(residual[low:high] ** 2)) / rate_hz,
        half_waves=len(lobes),
        ring=ring,
        unexplained=(1 - share) / max(1, high - low - unknowns),
    )


def _decay_share(part: FloatArray, rate_hz: float) -> float:
    """Share of the energy explained by an impulse that decays from the first sample, or from the largest."""
    explained = 0.0
    for fading in (part, part[int(np.argmax(np.abs(part))) :]):
        shapes = np.exp(-np.arange(len(fading)) / (rate_hz * DECAYS_S[:, None]))
        explained = max(explained, float(((shapes @ fading) ** 2 / np.sum(shapes * shapes, axis=1)).max()))
    return explained / float(part @ part)


def _extent(above: BoolArray, largest: int, gap: int) -> tuple[int, int]:
    """The span around the largest sample that is above the level, with no gap longer than `gap` samples."""
    at = np.flatnonzero(above)
    middle = int(np.searchsorted(at, largest))
    breaks = np.flatnonzero(np.diff(at) > gap)
    low = breaks[breaks < middle]
    high = breaks[breaks >= middle]
    return int(at[low[-1] + 1] if len(low) else at[0]), int(at[high[0]] if len(high) else at[-1]) + 1


def lobes_of(residual: FloatArray, level: float) -> list[int]:
    """Places of the extremes of half waves beyond the level, of alternating sign."""
    beyond = np.flatnonzero(np.abs(residual) >= level)
    if len(beyond) == 0:
        return []
    signs = np.sign(residual[beyond])
    runs = np.split(beyond, np.flatnonzero(np.diff(signs) != 0) + 1)
    return [int(run[np.argmax(np.abs(residual[run]))]) for run in runs]


def _passing(residual: FloatArray, inner: int, level: float, way: int) -> float:
    """Where the magnitude passes the level between the sample `inner` and the next outward."""
    outer = inner + way
    inside = abs(float(residual[inner]))
    outside = abs(float(residual[outer])) if 0 <= outer < len(residual) else 0.0
    if not outside < level <= inside:
        return float(inner)
    return inner + way * (inside - level) / (inside - outside)


def _rise(residual: FloatArray, low: int, lobes: list[int]) -> float:
    """Samples from 10 to 90 % of the first half wave, straight lines between samples."""
    if not lobes:
        return math.nan
    top = low + lobes[0]
    size = abs(float(residual[top]))
    sign = math.copysign(1.0, float(residual[top]))
    begin = top
    while begin > 0 and sign * residual[begin - 1] < sign * residual[begin]:
        begin -= 1
    climb = sign * residual[begin : top + 1]
    if len(climb) < 2:
        return 0.0
    at = np.arange(len(climb), dtype=np.float64)
    return float(np.interp(0.9 * size, climb, at) - np.interp(0.1 * size, climb, at))


def _between_samples(
    ring: Oscillation, low: int, largest: int, start: float, rate_hz: float
) -> tuple[float, float]:
    """Place and value of the fitted ringing's extreme, near its largest sample."""
    fine = np.linspace(start, largest + 1.0, 16 * math.ceil(largest + 2.0 - start))
    values = ring.values((fine - low) / rate_hz)
    best = int(np.argmax(np.abs(values)))
    return float(fine[best]), float(values[best])
