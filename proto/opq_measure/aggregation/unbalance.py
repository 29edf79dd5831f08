"""Unbalance of three phases, each measured by its own Box: u2 and u0 by symmetrical components.

The three Boxes share no sample clock. Their fundamental phasors are joined instead of samples: each is fitted
over its own 10/12-cycle window and turned to one instant of UTC with the window's own frequency. A clock
error of 1 us between two Boxes is 0.4 mrad at 60 Hz and up to 0.013 percentage points of u2: negligible with
GPS, 13 percentage points with NTP (1 ms). Boxes between the lines need no common clock: a formula of the
three magnitudes is enough.

Source: IEC 61000-4-30:2015, 5.7 (fundamental only, 10/12 cycles; u2, u0 and the formula with beta).
"""

import cmath
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import FloatArray, SignalArray
from opq_measure.timebase.window import WindowTime
from opq_measure.timebase.windows import Window

Rotation = Literal["abc", "acb"]
ComplexArray = NDArray[np.complex128]

TURN: Final = cmath.exp(2j * math.pi / 3)
LEAST_POSITIVE_SHARE = 0.05
"""Positive sequence, as a share of the phases' rms, below which no rotating system is recognised."""
ROW_SAMPLES = 64
"""Samples in a row of `_turned_sum`, about the square root of a window's length."""
NEARER_SHARE = 0.05
"""Other windows are joined instead if they are nearer to each other by this share of a window's length."""
WINDOWS_WAITING = 256
"""Most windows of a Box that wait for the other two, 51 s; beyond that the oldest is dropped."""
_UNKNOWN = complex(math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class PhaseWindow:
    """The fundamental of one phase over a window.

    `phasor`: rms and angle at the window's middle (cosine). `uncertainty_ns`: standard uncertainty of the
    Box's clock against UTC.
    """

    start_ns: int
    end_ns: int
    frequency_hz: float
    phasor: complex
    uncertainty_ns: float = 0.0

    @classmethod
    def of(cls, window: Window, uncertainty_ns: float = 0.0) -> "PhaseWindow":
        """The phasor of a window as `windows` cuts it; an unknown fundamental is NaN.

        Raises:
            ValueError: the window has no UTC.
        """
        if window.start_ns is None or window.end_ns is None:
            raise ValueError(f"window {window.index} has no UTC, and three Boxes cannot be joined without")
        phasor = _UNKNOWN
        if window.known:
            edges = window.edges
            phasor = fundamental(window.volts, float(edges[0]), float(edges[-1]), len(edges) - 1)
        time = WindowTime.of(window)
        return cls(time.start_ns, time.end_ns, window.frequency_hz, phasor, uncertainty_ns)

    @property
    def middle_ns(self) -> int:
        return (self.start_ns + self.end_ns) // 2

    def phasor_at(self, at_ns: int) -> complex:
        """Its phasor turned to another instant with its own frequency."""
        angle_rad = 2 * math.pi * self.frequency_hz * (at_ns - self.middle_ns) / 1e9
        return self.phasor * cmath.rect(1.0, angle_rad) if math.isfinite(angle_rad) else _UNKNOWN


@dataclass(frozen=True, slots=True)
class Unbalance:
    """Unbalance of one window; NaN and None where a phase is unknown or the field does not rotate.

    `rotation`: with the phases as they are numbered; `acb` means that two are swapped, and the percentages
    are those of the system as it rotates. `*_v`: rms of the positive, negative and zero sequence.
    `clock_percent`: standard uncertainty of u2 and u0 from the three clocks, in percentage points.
    """

    start_ns: int
    end_ns: int
    u2_percent: float
    u0_percent: float
    rotation: Rotation | None
    positive_v: float
    negative_v: float
    zero_v: float
    clock_percent: float = 0.0
    angles_rad: tuple[float, float] = (math.nan, math.nan)
    """The angles of the phases b and c against a, -pi .. pi."""


def symmetrical_components(phasors: ComplexArray) -> ComplexArray:
    """(..., 3) zero, positive and negative sequence of (..., 3) phasors of the phases a, b, c."""
    a, b, c = phasors[..., 0], phasors[..., 1], phasors[..., 2]
    zero, forward = a + b + c, a + TURN * b + TURN**2 * c
    found: ComplexArray = np.stack((zero, forward, a + TURN**2 * b + TURN * c), axis=-1) / 3
    return found


def unbalance(phasors: ComplexArray, start_ns: int = 0, end_ns: int = 0) -> Unbalance:
    """u2 and u0 of (3,) phasors at one instant, in any common unit.

    Error: u2 and u0 below 0.003 percentage points (class A: 0.15), 42.5 to 69 Hz at 12 kS/s with harmonics,
    windows of three sample clocks (test_measure_unbalance.py); clock errors are added to it.
    Source: IEC 61000-4-30:2015, 5.7.1; Fortescue 1918.
    """
    zero, forward, backward = np.abs(symmetrical_components(phasors)).tolist()
    positive, negative = max(forward, backward), min(forward, backward)
    level = float(np.sqrt(np.mean(np.abs(phasors) ** 2)))
    if not positive > LEAST_POSITIVE_SHARE * level:  # also NaN
        return Unbalance(start_ns, end_ns, math.nan, math.nan, None, positive, negative, zero)
    rotation: Rotation = "abc" if forward >= backward else "acb"
    u2, u0 = 100 * negative / positive, 100 * zero / positive
    return Unbalance(start_ns, end_ns, u2, u0, rotation, positive, negative, zero)


def clock_percent(frequency_hz: float, uncertainties_ns: Sequence[float]) -> float:
    """Standard uncertainty of u2 and u0, in percentage points, from the uncertainties of the three clocks.

    A phase that is late by e rad adds e / 3 to the negative and to the zero sequence.
    """
    return 100 / 3 * 2 * math.pi * frequency_hz * math.hypot(*uncertainties_ns) / 1e9


def magnitude_unbalance_percent(magnitudes: FloatArray) -> FloatArray:
    """(...) largest deviation of (..., 3) rms to neutral from their mean, in percent of the mean.

    It needs no common clock. It is 87 to 100 % of u2 where there is no u0, and of u0 where there is no u2;
    with both it is anything from 0 to their sum. NaN where the mean is 0.

    Source: IEEE Std 112-1991, phase voltage unbalance rate; NEMA MG 1 defines the same for line voltages.
    """
    mean = np.mean(magnitudes, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        percent = 100 * np.max(np.abs(magnitudes - mean[..., None]), axis=-1) / mean
    return np.asarray(np.where(mean > 0, percent, np.nan))


def line_unbalance_percent(u12_v: float, u23_v: float, u31_v: float) -> float:
    """u2 from the fundamental rms of the three line voltages; NaN when they form no triangle.

    It is exact, since line voltages have no zero sequence; u0 cannot be found from them.

    Source: IEC 61000-4-30:2015, 5.7.1, equation with beta.
    """
    squares = np.array((u12_v, u23_v, u31_v), dtype=np.float64) ** 2
    if not squares.sum() > 0:
        return math.nan
    below_root = 3 - 6 * float((squares**2).sum() / squares.sum() ** 2)
    if below_root < -1e-12:
        return math.nan
    root = math.sqrt(max(below_root, 0.0))
    return 100 * math.sqrt(max(1 - root, 0.0) / (1 + root))


def fundamental(volts: SignalArray, start: float, stop: float, cycles: int) -> complex:
    """The fundamental's rms phasor between two edges that are `cycles` apart; its angle is at the middle.

    Args:
        volts: (n,) counts or volts; `start`, `stop` fractional positions in it, 0 .. n.
    Raises:
        ValueError: the window leaves the signal or has less than 10 samples a cycle.

    All parts of the window have equal weight, its ends to a fraction of a sample (trapezoids), so that the
    windows of three Boxes respond alike to a step.
    Error: 1e-7 of the value with 5 % harmonics, 42.5 to 69 Hz at 12 kS/s (test_measure_unbalance.py).
    """
    if not 0 <= start < stop <= len(volts):
        raise ValueError(f"window {start:g} .. {stop:g} leaves the signal, 0 .. {len(volts)}")
    if stop - start < 10 * cycles:
        raise ValueError(f"window of {stop - start:g} samples, want at least 10 in each of {cycles} cycles")
    first, last = math.ceil(start), min(math.floor(stop), len(volts) - 1)
    step, middle = -2 * math.pi * cycles / (stop - start), (start + stop) / 2

    def turned(position: int) -> complex:
        inside = min(max(position, 0), len(volts) - 1)
        return float(volts[inside]) * cmath.exp(1j * step * (inside - middle))

    total = _turned_sum(np.asarray(volts[first : last + 1], dtype=np.float64), step, first - middle)
    head, tail = first - start, stop - last  # parts of a sample, straight lines to the neighbours
    low, high = turned(first), turned(last)
    total -= (low + high) / 2
    total += head * (low * (2 - head) + turned(first - 1) * head) / 2
    total += tail * (high * (2 - tail) + turned(last + 1) * tail) / 2
    return total * math.sqrt(2) / (stop - start)


def _turned_sum(volts: FloatArray, step: float, begin: float) -> complex:
    """Sum of volts[k] exp(i step (begin + k)), computed in rows, so that few exponentials are needed."""
    rows = -(-len(volts) // ROW_SAMPLES)
    padded = np.zeros(rows * ROW_SAMPLES)
    padded[: len(volts)] = volts
    angle = step * np.arange(ROW_SAMPLES)
    sums = padded.reshape(rows, ROW_SAMPLES) @ np.column_stack((np.cos(angle), np.sin(angle)))
    turns = np.exp(1j * step * (begin + ROW_SAMPLES * np.arange(rows)))
    return complex(turns @ (sums[:, 0] + 1j * sums[:, 1]))


class Group:
    """Joins the windows of three Boxes by UTC and returns their unbalance in time order.

    The windows that lie nearest to each other are joined. After a tick they are a cycle apart at most; for
    Boxes that have just started it is up to two thirds of a window. `unmatched` counts windows without a
    partner.
    """

    def __init__(self) -> None:
        self._waiting: tuple[deque[PhaseWindow], ...] = (deque(), deque(), deque())
        self.unmatched = 0

    def push_window(self, phase: int, window: PhaseWindow) -> list[Unbalance]:
        """The unbalances that a window of phase 0, 1 or 2 (a, b, c) completes; phases may come in any order.

        A window that does not begin after the previous one of its phase comes from a clock that was set back;
        the windows of this phase that still wait are dropped.

        Raises:
            ValueError: another phase.
        """
        if phase not in (0, 1, 2):
            raise ValueError(f"phase is {phase}, want 0, 1 or 2")
        line = self._waiting[phase]
        if line and window.start_ns <= line[-1].start_ns:
            self.unmatched += len(line)
            line.clear()
        line.append(window)
        if len(line) > WINDOWS_WAITING:
            line.popleft()
            self.unmatched += 1
        found = []
        while all(self._waiting):
            heads = [line[0] for line in self._waiting]
            if _others_are_nearer(heads):
                self._waiting[min(range(3), key=lambda k: heads[k].middle_ns)].popleft()
                self.unmatched += 1
                continue
            for line in self._waiting:
                line.popleft()
            found.append(_joined(heads))
        return found


def _others_are_nearer(heads: list[PhaseWindow]) -> bool:
    """True to leave out the oldest window: the next ones of one or two phases lie nearer to the rest."""
    first, second, third = sorted(heads, key=lambda head: head.middle_ns)
    length_ns = first.end_ns - first.start_ns
    next_one = first.middle_ns + length_ns - second.middle_ns
    next_two = second.middle_ns + length_ns - third.middle_ns
    return min(next_one, next_two) < third.middle_ns - first.middle_ns - NEARER_SHARE * length_ns


def _joined(windows: list[PhaseWindow]) -> Unbalance:
    at_ns = sum(window.middle_ns for window in windows) // 3
    turned = [window.phasor_at(at_ns) for window in windows]
    found = unbalance(
        np.array(turned), min(each.start_ns for each in windows), max(each.end_ns for each in windows)
    )
    uncertainties_ns = [each.uncertainty_ns for each in windows]
    first = np.conj(turned[0])
    angles_rad = (float(np.angle(turned[1] * first)), float(np.angle(turned[2] * first)))
    clocks_percent = clock_percent(windows[0].frequency_hz, uncertainties_ns)
    return replace(found, clock_percent=clocks_percent, angles_rad=angles_rad)
