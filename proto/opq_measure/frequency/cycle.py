"""Frequency of every single cycle, with harmonics and DC taken from the second before.

From a cycle alone its frequency is known to 9 mHz at best (60 dB) if nine harmonics are unknown, and to 2.9
mHz if they are known. They are known from the second before, as phasors locked to the fundamental. So only
amplitude, phase and frequency are fitted to the cycle. Where these harmonics no longer fit (the residual of a
cycle is larger than the noise was), its frequency is that of the 1.5 cycles around it, with
harmonics fitted too.

While the frequency wanders, the result is its mean over the cycle, weighted by a parabola.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from opq_measure.frequency.harmonic_fit import ComplexArray, fit_harmonics
from opq_measure.frequency.short import ORDERS as SHORT_ORDERS
from opq_measure.frequency.short import short_span
from opq_measure.least_squares import solved
from opq_measure.signal import BoolArray, FloatArray
from opq_measure.timebase.windows import Window

ORDERS = 50
SECOND_WINDOWS = 5
"""A second of 10/12-cycle windows."""
MISFIT_RATIO = 1.3
"""Residual of a cycle over the noise from which the harmonics no longer fit; six sigma for 200 samples."""
RESIDUAL_FLOOR = 1e-6
"""Share of the fundamental: a smaller residual, such as rounding, is not a misfit whatever the noise was."""
SIGNIFICANT_RATIO = 4.0
"""An order is used if it is this many times larger than the noise makes it."""
BROKEN_RESIDUAL = 0.05
"""Residual of a fit over the fundamental from which its frequency is invalid: a step within the span."""
DISAGREEING_DEVIATIONS = 5.0
"""Deviations of the mean of a window's cycles from which harmonics have changed below the noise."""
STEP_INSIDE_RATIO = 2.0
"""Residual of a window over the noise before from which it counts as containing a step."""
STEP_WINDOWS = 3
"""Windows in a row that may count as containing a step; after that, the noise has grown."""
FIT_STEPS = 2


@dataclass(frozen=True, slots=True)
class CycleFrequencies:
    """(cycles,) each: `hz`, NaN if unknown; `carried`, False where the fit of 1.5 cycles was used."""

    hz: FloatArray
    carried: BoolArray


@dataclass(frozen=True, slots=True)
class _Harmonics:
    """A window without its fundamental: `phasors[k]` for order k, turned to fundamental phase 0."""

    phasors: ComplexArray
    dc: float
    residual: float
    samples: int


class CycleFrequency:
    """The frequency of each cycle of successive windows; after a gap it starts again."""

    def __init__(self) -> None:
        self._before: deque[_Harmonics] = deque(maxlen=SECOND_WINDOWS)
        self._noise = np.inf
        self._outliers = 0

    def push_window(self, window: Window) -> CycleFrequencies:
        """The frequencies of the next window's cycles.

        Error: sigma 2.3 mHz at 60 dB, 0.28 mHz at 78 dB, 42.5 to 69 Hz with harmonics of 3 %
        (test_measure_cycle_frequency.py). CPU: 8 ms per second, 40 ms without known harmonics.
        """
        if window.index == 0:
            self._before.clear()
            self._noise = np.inf
        cycles = len(window.edges) - 1
        if not window.known:
            return CycleFrequencies(np.full(cycles, np.nan), np.zeros(cycles, np.bool_))
        if self._before:
            hz, fits = _carried(window, _mean(self._before))
        else:
            hz, fits = np.full(cycles, np.nan), np.zeros(cycles, np.bool_)
        for number in np.flatnonzero(~fits):
            hz[number] = _alone_hz(window, int(number))
        if np.count_nonzero(fits) < cycles / 2:
            self._before.clear()  # the harmonics have changed: the earlier ones are of no use
        self._update(_harmonics(window))
        return CycleFrequencies(hz, fits)

    def _update(self, found: _Harmonics) -> None:
        """Stores the harmonics of a window, unless it contains a step: its residual would hide misfits."""
        if found.residual > STEP_INSIDE_RATIO * self._noise and self._outliers < STEP_WINDOWS:
            self._outliers += 1
            return
        self._before.append(found)
        self._noise = float(np.median([each.residual for each in self._before]))
        self._outliers = 0


def _mean(before: deque[_Harmonics]) -> _Harmonics:
    """Phasors and DC over the windows, without the orders that are only noise."""
    phasors = np.mean([each.phasors for each in before], axis=0)
    residual = float(np.median([each.residual for each in before]))
    least = SIGNIFICANT_RATIO * residual * np.sqrt(2 / sum(each.samples for each in before))
    phasors[np.abs(phasors) < least] = 0.0
    return _Harmonics(phasors, float(np.mean([each.dc for each in before])), residual, 0)


def _harmonics(window: Window) -> _Harmonics:
    first, last = round(float(window.edges[0])), round(float(window.edges[-1]))
    fit = fit_harmonics(window.volts[first:last], window.rate_hz, window.frequency_hz, ORDERS, steps=0)
    phasors = np.zeros(ORDERS + 1, dtype=np.complex128)
    order = np.arange(1, len(fit.phasors) + 1)
    phasors[order] = fit.phasors * np.exp(-1j * order * np.angle(fit.phasors[0]))
    phasors[1] = 0.0
    return _Harmonics(phasors, fit.dc, fit.residual, fit.samples)


def _carried(window: Window, known: _Harmonics) -> tuple[FloatArray, BoolArray]:
    """Frequencies of all cycles, by Gauss-Newton with amplitude and phase; and whether the rest is noise."""
    starts = window.edges[:-1]
    length = round(float(window.edges[-1] - window.edges[0]) / len(starts))
    first = np.clip(np.rint(starts).astype(np.int64), 0, len(window.volts) - length)
    x = np.lib.stride_tricks.sliding_window_view(window.volts, length)[first] - known.dc
    u = np.arange(length) - (length - 1) / 2
    omega = np.full(len(starts), 2 * np.pi * window.frequency_hz / window.rate_hz)
    phase = omega * (first + (length - 1) / 2 - starts) - np.pi / 2
    size = np.zeros(len(starts))
    for _ in range(FIT_STEPS):
        turn = np.exp(1j * (phase[:, None] + omega[:, None] * u))
        harmonics, slope = _sums(known.phasors, turn)
        if not size.any():
            size = 2 * np.einsum("ij,ij->i", x - harmonics, turn.real) / length
        rest = x - harmonics - size[:, None] * turn.real
        by_phase = slope - size[:, None] * turn.imag
        basis = np.stack((turn.real, by_phase, by_phase * u), axis=1)
        gram = basis @ basis.transpose(0, 2, 1)
        gram += 1e-30 * np.eye(3)
        move = solved(gram, np.einsum("ijk,ik->ij", basis, rest)[..., None])[..., 0]
        left = np.einsum("ij,ij->i", rest, rest) - np.einsum("ij,ijk,ik->i", move, gram, move)
        size, phase, omega = size + move[:, 0], phase + move[:, 1], omega + move[:, 2]
    rest_v = np.sqrt(np.maximum(left, 0.0) / (length - 3))
    hz = omega * window.rate_hz / (2 * np.pi)
    fits = rest_v < MISFIT_RATIO * known.residual + RESIDUAL_FLOOR * np.abs(size)
    fits &= np.abs(hz / window.frequency_hz - 1) < 0.1
    if fits.all() and not _agrees(window, hz, float(np.median(rest_v / np.abs(size)))):
        fits[:] = False
    return hz, fits


def _agrees(window: Window, hz: FloatArray, rest: float) -> bool:
    """Whether the cycles' mean is that of all together; if not, harmonics hidden in the noise changed.

    `rest`: over the fundamental's peak. A cycle's deviation is `sqrt(24 / n) rest rate / (2 pi n)`.
    """
    cycles, span = len(hz), float(window.edges[-1] - window.edges[0])
    together_hz = cycles * window.rate_hz / span
    deviation_hz = np.sqrt(24 * cycles / span) * max(rest, RESIDUAL_FLOOR) * together_hz / (2 * np.pi)
    return bool(abs(np.mean(hz) - together_hz) < DISAGREEING_DEVIATIONS * deviation_hz / np.sqrt(cycles))


def _sums(phasors: ComplexArray, turn: ComplexArray) -> tuple[FloatArray, FloatArray]:
    """Sum of all harmonics at a fundamental of `turn` = exp(j phase), and its derivative by the phase."""
    orders = np.flatnonzero(phasors)
    if len(orders) == 0:
        return np.zeros(turn.shape), np.zeros(turn.shape)
    value = np.zeros(turn.shape, dtype=np.complex128)
    slope = np.zeros(turn.shape, dtype=np.complex128)
    for order in range(int(orders[-1]), 0, -1):  # Horner
        value = (value + phasors[order]) * turn
        slope = (slope + 1j * order * phasors[order]) * turn
    return value.real, slope.real


def _alone_hz(window: Window, number: int) -> float:
    """Frequency of the 1.5 cycles around a cycle; NaN where they contain a step, or the run ends."""
    middle = float(window.edges[number] + window.edges[number + 1]) / 2
    span = short_span(middle, window.frequency_hz, window.rate_hz, len(window.volts))
    if span is None:
        return float("nan")
    orders = max(1, min(SHORT_ORDERS, (span.stop - span.start - 4) // 6))
    fit = fit_harmonics(window.volts[span], window.rate_hz, window.frequency_hz, orders)
    return fit.frequency_hz if fit.residual < BROKEN_RESIDUAL * abs(fit.phasors[0]) else float("nan")
