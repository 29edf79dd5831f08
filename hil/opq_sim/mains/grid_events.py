"""Disturbances of the simulated voltage: sags, swells, interruptions, transients, any rms profile.

Placed in phase, not in time, so that they begin at a chosen point on wave whatever the frequency
does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from opq_sim.mains.disturbance import MainsDisturbance
from opq_sim.mains.grid import FloatArray, Grid

Shape = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class GridEvent:
    """One disturbance of the voltage, placed in phase.

    `shape` are (cycles after the start, share of the steady voltage), joined by straight lines;
    a step is two points at one place. After its last point the voltage is steady again.
    """

    kind: str
    start_cycles: float
    shape: Shape = ()
    impulse: float = 0.0
    """Height of a decaying transient that is added at the start, in shares of the fundamental's rms."""
    impulse_tau_s: float = 0.0003
    impulse_hz: float = 0.0
    """0: impulsive; else the transient rings with this frequency (oscillatory)."""
    mark_cycles: float | None = 0.0
    """Cycles after the start at which the disturbance begins to count; None: it never does."""

    @property
    def stop_cycles(self) -> float:
        """Phase after which it has no effect."""
        tail = 20 * self.impulse_tau_s * 70 if self.impulse else 0.0  # e^-20 of it is left, below 70 Hz
        return self.start_cycles + max([tail, *(point[0] for point in self.shape)])

    def share(self, cycles: FloatArray) -> FloatArray:
        """(n,) factor on the steady voltage at `cycles`."""
        since = cycles - self.start_cycles
        share = np.ones(len(cycles))
        for (at, level), (to, next_level) in pairwise(self.shape):
            if to > at:
                inside = (since >= at) & (since < to)
                share[inside] = level + (next_level - level) * (since[inside] - at) / (to - at)
        return share

    def added(self, cycles: FloatArray, hz: float) -> FloatArray:
        """(n,) transient at `cycles`, in shares of the rms; `hz` turns cycles into seconds."""
        since_s = (cycles - self.start_cycles) / hz
        decay = np.where(since_s >= 0, np.exp(-np.maximum(since_s, 0.0) / self.impulse_tau_s), 0.0)
        return np.asarray(self.impulse * decay * np.cos(2 * math.pi * self.impulse_hz * since_s))


def first_below(shape: Shape, level: float) -> float | None:
    """Position at which Urms(1/2) of `shape` first falls below `level`, both as shares; None if it never
    does.

    Cycles after the shape's start, in half cycles, as IEC 61000-4-30:2015, 5.4 renews the rms.
    """
    if not shape:
        return None
    probe = GridEvent("probe", 0.0, shape)
    half_cycles = math.ceil(probe.stop_cycles * 2) + 2
    fine = (np.arange(half_cycles * 64) + 0.5) / 128
    squares = (probe.share(fine) ** 2 * np.sin(2 * math.pi * fine) ** 2).reshape(half_cycles, 64).mean(axis=1)
    rms = np.sqrt(squares[:-1] + squares[1:])  # of the steady voltage: mean of sin^2 is 1/2 per half
    below = np.flatnonzero(rms < level)
    return None if len(below) == 0 else float(below[0]) / 2


@dataclass(frozen=True, slots=True)
class Recurring:
    """A recurring event: at `first_s`, then every `every_s`.

    Each time it starts at the first phase of its own point on wave at or after that moment.
    """

    event: GridEvent | MainsDisturbance
    first_s: float
    every_s: float

    def placed(self, index: int, grid: Grid) -> GridEvent | MainsDisturbance:
        """The event of play `index` (from 0), with its start."""
        start_s = self.first_s + index * self.every_s
        if isinstance(self.event, GridEvent):
            return not_before(self.event, grid.cycles_at(start_s))
        return replace(self.event, start_s=start_s)


def not_before(event: GridEvent, cycles: float) -> GridEvent:
    """`event` moved by whole cycles, only as far as needed to start at `cycles` or later."""
    if event.start_cycles >= cycles:
        return event
    point = event.start_cycles % 1.0
    return replace(event, start_cycles=math.ceil(cycles - point) + point)


KINDS = ("sag", "swell", "interruption", "transient")


def disturbance(
    kind: str, depth: float = 0.3, cycles: float = 10.0, angle_deg: float = 0.0, dip_share: float = 0.9
) -> GridEvent:
    """An event of a simple shape, with steep edges.

    Args:
        kind: one of KINDS.
        depth: sag: the share of the voltage that is lost (IEC 61000-4-30:2015, 3: depth is reference
            less residual), so 0.3 leaves 70 %. swell: the share that is added. transient: height
            in shares of the steady rms voltage. An interruption needs none.
        cycles: length; any number above 0, whole half cycles make clean rms steps.
        angle_deg: point on wave of the start; 0 is the rising zero crossing.
        dip_share: a sag counts (`mark_cycles`) when Urms(1/2) is below this share of steady.
    Raises:
        ValueError: what is wrong, and what is allowed.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; want one of {', '.join(KINDS)}")
    if not (math.isfinite(depth) and 0 < depth <= (1 if kind in ("sag", "interruption") else 10)):
        raise ValueError(f"depth is {depth}; want more than 0, up to 1 (swell, transient: 10)")
    if not (math.isfinite(cycles) and 0 < cycles <= 36_000):
        raise ValueError(f"cycles is {cycles}; want more than 0, up to 36000")
    if not math.isfinite(angle_deg):
        raise ValueError(f"angle_deg is {angle_deg}; want a number")
    start = angle_deg % 360.0 / 360.0
    if kind == "transient":
        return GridEvent(kind, start, impulse=depth)
    level = {"sag": 1 - depth, "swell": 1 + depth, "interruption": 0.0}[kind]
    shape = ((0.0, level), (cycles, level))
    mark = 0.0 if kind == "swell" else first_below(shape, dip_share)
    return GridEvent(kind, start, shape, mark_cycles=mark)


def steps(
    levels: Sequence[float], cycles_each: float = 0.5, recovery: Sequence[tuple[float, float]] = ()
) -> Shape:
    """A staircase of `levels`, `cycles_each` long, then straight lines to the `recovery` points.

    `recovery` are (cycles after the end of the staircase, level).
    """
    points = []
    for index, level in enumerate(levels):
        points += [(index * cycles_each, level), ((index + 1) * cycles_each, level)]
    end = len(levels) * cycles_each
    return (*points, *((end + at, level) for at, level in recovery))
