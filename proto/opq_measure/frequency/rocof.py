"""Rate of change of frequency over a stated window: the curvature of the fundamental's phase.

This is the ROCOF of Measurements and of `/past`, over SPAN_S. A synchrophasor has that of its own filter
(`synchrophasor/pmu.py`), as its standard asks; the steepest change of a report is between means of whole
intervals (`standards/indices.py`), and is called so.

A parabola is fitted to the tracked phase by least squares. Over a window of T seconds, noise at a ratio of
eta (powers; 60 dB is 1e6) leaves at least `sqrt(180 / (eta rate T)) / (pi T^2)` Hz/s: 0.22 mHz/s over half a
second at 60 dB and 12 kS/s. While the ROCOF itself changes, its mean weighted by `30 u^2 (1 - u)^2` is
measured, u from 0 to 1 over the window.

Source: IEEE C37.118.1-2011, 4.2 (definition); the bound: S. M. Kay, Fundamentals of Statistical Signal
Processing I (1993), 3.11, for a phase with a quadratic term.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from opq_measure.signal import BoolArray, FloatArray
from opq_measure.timebase.cycles import Track
from opq_measure.timebase.windows import Window

SPAN_S = 0.5
"""The window in seconds; the standard states none. Over 0.2 s, noise leaves ten times as much."""
MIN_PHASES = 6
"""Fewest known phases of a window; a parabola needs three."""
KNOWN_SHARE = 0.75
"""Least share of a window's phases that must be known."""


@dataclass(frozen=True, slots=True)
class RocofValue:
    """ROCOF over the span that ends at `end_ns` (None without UTC); NaN where too little was seen."""

    end_ns: int | None
    hz_s: float


def rocof_hz_s(tracked: Track, start: float, stop: float) -> float:
    """ROCOF between two positions of a track, in Hz/s.

    Returns:
        NaN where less than three quarters of the phases between are known, or fewer than six.

    Error: 0.93 of the bound over 0.2 to 1 s, 60 dB (the first and last phase use samples up to a cycle beyond
    the window); a ramp of 10 Hz/s to 0.1 % (test_measure_rocof.py).
    """
    chosen = (tracked.positions >= start) & (tracked.positions < stop)
    return _curvature_hz_s(
        tracked.positions[chosen], tracked.phase_rad[chosen], tracked.known[chosen], tracked.rate_hz
    )


class Rocof:
    """ROCOF over the last `span_s` seconds, with every window of 10/12 cycles."""

    def __init__(self, span_s: float = SPAN_S) -> None:
        """
        Raises:
            ValueError: a span below 0.1 s, where half of the result is noise, or above 10 s.
        """
        if not 0.1 <= span_s <= 10:
            raise ValueError(f"span_s is {span_s:g}, want 0.1 to 10")
        self._span_s = span_s
        self._parts: deque[_Part] = deque()
        self._seen = -np.inf

    def push_window(self, window: Window) -> RocofValue:
        """The ROCOF over the span up to the next window's end; NaN until a run is as long as the span."""
        if window.index == 0:
            self._parts.clear()
            self._seen = -np.inf
        parts, end = self._parts, window.first_sample + float(window.edges[-1])
        part = _part_of(window, self._seen, end)
        if part is not None:
            parts.append(part)
        self._seen = end
        start = end - self._span_s * window.rate_hz
        while len(parts) > 1 and parts[0].last < start:
            parts.popleft()
        if not parts or parts[0].first > start + window.rate_hz / window.nominal_hz:
            return RocofValue(window.end_ns, float("nan"))
        return RocofValue(window.end_ns, _joined_hz_s(parts, start, window.rate_hz))


class _Part(NamedTuple):
    """Hops of one window that were not in the one before; positions on the Box's axis."""

    first: float
    last: float
    positions: FloatArray
    phase_rad: FloatArray
    known: BoolArray
    whole: bool
    """All phases are known."""


def _part_of(window: Window, begin: float, end: float) -> _Part | None:
    track, first_sample = window.track, window.first_sample
    first, last = track.positions.searchsorted((begin - first_sample, end - first_sample)).tolist()
    if last <= first:
        return None
    known = track.known[first:last]
    return _Part(
        first_sample + float(track.positions[first]),
        first_sample + float(track.positions[last - 1]),
        track.positions[first:last] + first_sample,
        track.phase_rad[first:last],
        known,
        bool(np.logical_and.reduce(known)),
    )


def _joined_hz_s(parts: Sequence[_Part], start: float, rate_hz: float) -> float:
    """Rate of change over all hops from `start` on."""
    phase_rad = np.concatenate([part.phase_rad for part in parts])
    if all(part.whole for part in parts) and len(parts[0].positions) > 1:  # the usual case
        first, step = parts[0].first, float(parts[0].positions[1] - parts[0].positions[0])
        skipped = max(0, math.ceil((start - first) / step))
        if parts[-1].last - first == (len(phase_rad) - 1) * step and len(phase_rad) - skipped >= MIN_PHASES:
            return _even_hz_s(phase_rad[skipped:], step, rate_hz)
    positions = np.concatenate([part.positions for part in parts])
    known = np.concatenate([part.known for part in parts])
    at = int(positions.searchsorted(start))
    return _curvature_hz_s(positions[at:], phase_rad[at:], known[at:], rate_hz)


def _curvature_hz_s(positions: FloatArray, phase_rad: FloatArray, known: BoolArray, rate_hz: float) -> float:
    count = int(np.count_nonzero(known))
    if count < MIN_PHASES or count < KNOWN_SHARE * len(known):
        return float("nan")
    step = float(positions[1] - positions[0])
    if count == len(known) and positions[-1] - positions[0] == (count - 1) * step:
        return _even_hz_s(phase_rad, step, rate_hz)
    at, phase = positions[known], phase_rad[known]
    middle = (at[0] + at[-1]) / 2
    t = (at - middle) / rate_hz
    design = np.column_stack((np.ones(count), t, t * t / 2))
    scale = np.array([1.0, t[-1], t[-1] ** 2])  # columns of similar size
    found = np.linalg.lstsq(design / scale, phase - phase[0], rcond=None)[0] / scale
    return float(found[2]) / (2 * np.pi)


def _even_hz_s(phase_rad: FloatArray, step: float, rate_hz: float) -> float:
    """Rate of change of frequency, from known phases that are `step` samples apart."""
    curvature = float(_weights(len(phase_rad)) @ (phase_rad - phase_rad[0]))
    return curvature * (rate_hz / step) ** 2 / (2 * np.pi)


@lru_cache(maxsize=64)
def _weights(count: int) -> FloatArray:
    """(count,) weights that give the curvature of evenly spaced values by least squares."""
    index = np.arange(count) - (count - 1) / 2
    bow = index * index - (index @ index) / count
    weights: FloatArray = 2 * bow / (bow @ bow)
    return weights
