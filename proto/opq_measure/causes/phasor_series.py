"""The fundamental and low harmonics of a waveform over time, relative to the wave before a moment.

    x_k(t) = 2 / T * integral over one cycle around t of v exp(-j 2 pi k f t)

with f the frequency before the moment. For an unchanged wave `relative` stays constant, a phase jump turns it
once, and another frequency turns it steadily.

Source: Bollen and Gu, "Signal Processing of Power Quality Disturbances", 2006, 3.3 (one-cycle window).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_measure.least_squares import orders_within
from opq_measure.signal import FloatArray, SignalArray

ComplexArray = NDArray[np.complex128]
SAMPLES_PER_CYCLE = 60
"""Samples per cycle that are kept."""
MOST_ORDER = 10
MIN_SAMPLES = 7.5
"""Fewest samples per cycle; a rate that is measured with a nominal frequency has eight."""
HOPS_PER_CYCLE = 4
BEFORE_CYCLES = 12.0
"""Most cycles from which size, phase and frequency before the moment are taken."""
MIN_BEFORE_CYCLES = 3.0
"""Fewest such cycles."""
GUARD_CYCLES = 1.0
"""Cycles nearer to the moment than this may contain part of the wave after it."""
HARMONIC_CYCLES = 20.0
MAX_BENT_RAD = 0.2
"""Largest rms deviation of the phase before from a straight line; beyond it, the wave is not steady."""


@dataclass(frozen=True, slots=True)
class PhasorSeries:
    """Phasors around a moment; times are seconds from it, hops are a quarter of a cycle apart.

    `relative` (h,): the fundamental over the one from before, extrapolated; `harmonics`: order -> its size at
    the first hops, up to twenty cycles after the moment, as a share of the fundamental before.
    """

    time_s: FloatArray
    relative: ComplexArray
    harmonics: dict[int, FloatArray]
    hz: float
    """Frequency before the moment."""
    peak_v: float
    """Peak of the fundamental before the onset, in the signal's unit."""

    def between(self, start_s: float, stop_s: float) -> slice:
        """The hops of a span."""
        first, last = np.searchsorted(self.time_s, (start_s, stop_s)).tolist()
        return slice(first, last)


def phasor_series(
    volts: SignalArray,
    rate_hz: float,
    hz: float,
    moment_sample: float,
    seconds: float,
    orders: tuple[int, ...] = (2, 3, 5),
) -> PhasorSeries | None:
    """The course around a moment; None if the wave before it is too short or not steady, or a cycle has less
    than `MIN_SAMPLES`.

    At least four cycles are needed before the moment, and five in all.

    Args:
        volts: (n,) volts or counts.
        hz: approximate frequency before, accurate to 2 %.
        seconds: length of the part after the moment.
    """
    if not 0 < MIN_SAMPLES * hz <= rate_hz:
        return None
    cycle = rate_hz / hz
    begin = max(0, math.ceil(moment_sample - (BEFORE_CYCLES + 1) * cycle))
    stop = min(len(volts), math.floor(moment_sample + seconds * rate_hz + cycle))
    if moment_sample - begin < (MIN_BEFORE_CYCLES + GUARD_CYCLES) * cycle or stop - begin < 5 * cycle:
        return None
    every = max(1, round(cycle / SAMPLES_PER_CYCLE))
    count = (stop - begin) // every
    part = (
        np.asarray(volts[begin : begin + count * every], dtype=np.float64).reshape(count, every).mean(axis=1)
    )
    per_s = rate_hz / every
    t_s = (begin - moment_sample + (every - 1) / 2) / rate_hz + np.arange(count) / per_s
    tuned = _tuned_hz(part, t_s, per_s, hz)
    if tuned is None:
        return None
    hop = per_s / tuned / HOPS_PER_CYCLE
    edges = np.arange(0.0, count - per_s / tuned, hop)
    centre_s = t_s[0] + (edges + per_s / tuned / 2 - 0.5) / per_s
    first = _one_cycle(part, t_s, edges, per_s, tuned)
    before = centre_s < -GUARD_CYCLES / tuned
    if np.count_nonzero(before) < 2 * HOPS_PER_CYCLE:
        return None
    old = complex(first[before].mean())
    if abs(old) == 0 or float(np.std(np.abs(first[before]))) > MAX_BENT_RAD * abs(old):
        return None
    near = edges[centre_s < HARMONIC_CYCLES / tuned]
    last = math.ceil(near[-1] + per_s / tuned) + 1
    harmonics = {
        order: np.abs(_one_cycle(part[:last], t_s[:last], near, per_s, tuned, order)) / abs(old)
        for order in orders
        if order <= orders_within(per_s, tuned, MOST_ORDER)
    }
    return PhasorSeries(centre_s, first / old, harmonics, tuned, abs(old))


def _tuned_hz(part: FloatArray, t_s: FloatArray, per_s: float, hz: float) -> float | None:
    """The frequency before the moment, from the slope of its phase."""
    for _ in range(2):
        span = per_s / hz
        edges = np.arange(0.0, len(part) - span, span / HOPS_PER_CYCLE)
        centre_s = t_s[0] + (edges + span / 2 - 0.5) / per_s
        edges, centre_s = edges[centre_s < -GUARD_CYCLES / hz], centre_s[centre_s < -GUARD_CYCLES / hz]
        if len(edges) < 2 * HOPS_PER_CYCLE:
            return None
        last = int(edges[-1] + span) + 2
        phase = np.unwrap(np.angle(_one_cycle(part[:last], t_s[:last], edges, per_s, hz)))
        slope, start = np.polyfit(centre_s, phase, 1)
        if float(np.std(phase - slope * centre_s - start)) > MAX_BENT_RAD:
            return None
        hz += float(slope) / (2 * math.pi)
    return hz if hz > 0 else None


def _one_cycle(
    part: FloatArray, t_s: FloatArray, edges: FloatArray, per_s: float, hz: float, order: int = 1
) -> ComplexArray:
    """(e,) complex peak over the cycle that begins at each edge, a fractional position."""
    turned = part * _turning(len(part), -2 * math.pi * order * hz / per_s, float(t_s[0]) * per_s)
    sums = np.concatenate(([0.0], np.cumsum(turned)))
    ends = np.stack((edges, edges + per_s / hz))
    whole = ends.astype(np.int64)
    value = sums[whole] + (ends - whole) * (sums[np.minimum(whole + 1, len(sums) - 1)] - sums[whole])
    return np.asarray(2 * hz / per_s * (value[1] - value[0]))


def _turning(count: int, step_rad: float, first: float) -> ComplexArray:
    """(count,) exp(j step_rad (first + i)), as the product of one column and one row."""
    width = max(1, math.isqrt(count))
    rows = -(-count // width)
    outer = np.exp(1j * step_rad * (first + width * np.arange(rows)))
    found: ComplexArray = np.multiply.outer(outer, np.exp(1j * step_rad * np.arange(width))).ravel()[:count]
    return found
