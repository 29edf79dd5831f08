"""A disturbance of the voltage: a span of time, and its effect on phase, size and sum in that span.

A `MainsDisturbance` is a request (when, how long, how large); `placed` on a grid it has exact times and
phases. It acts in up to four ways, each a closed form: `profiles` change the phase, `share` is a factor on
the voltage, `added` are added volts, `noise_v` is added noise.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from opq_sim.mains.grid import Grid
from opq_sim.mains.profiles import EDGE_S, FloatArray, FrequencyProfile
from opq_sim.mains.wave import Wave


@dataclass(frozen=True, slots=True)
class DisturbanceSpan:
    """The span of a disturbance, half open; seconds and cycles count from sample 0."""

    start_s: float
    stop_s: float
    start_cycles: float
    stop_cycles: float


@dataclass(frozen=True, slots=True)
class Instants:
    """Moments at which a voltage is computed, (n,) each: seconds, and the phase with all its changes."""

    t_s: FloatArray
    cycles: FloatArray

    def __len__(self) -> int:
        return len(self.t_s)

    def chosen(self, which: np.ndarray | slice) -> "Instants":
        """Some of them."""
        return Instants(self.t_s[which], self.cycles[which])


@dataclass(frozen=True, slots=True, kw_only=True)
class MainsDisturbance:
    """The request: from `start_s` on, for `cycles` or `seconds` (give one; neither: the kind's own length).

    With `angle_deg` it starts at the first such point on wave not before `start_s`; 0 is the rising zero
    crossing of the fundamental.
    """

    kind: ClassVar[str] = ""
    usual_s: ClassVar[float] = 0.1
    """Its length if neither `cycles` nor `seconds` is given."""
    start_s: float = 0.0
    angle_deg: float | None = None
    cycles: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Refuses impossible values.

        Raises:
            ValueError: what is wrong, and what is allowed.
        """
        if not (math.isfinite(self.start_s) and self.start_s >= 0):
            raise ValueError(f"start_s is {self.start_s}; want a number from 0")
        if self.angle_deg is not None and not math.isfinite(self.angle_deg):
            raise ValueError(f"angle_deg is {self.angle_deg}; want a number")
        if self.cycles is not None and self.seconds is not None:
            raise ValueError(f"{self.kind}: cycles and seconds are both given; want one of them")
        length = self.cycles if self.seconds is None else self.seconds
        if length is not None and not length > 0:
            raise ValueError(f"{self.kind}: lasts {length}; want more than 0")

    def placed(self, grid: Grid) -> "PlacedDisturbance":
        """The disturbance at its exact place, on a grid with all earlier changes of the phase."""
        start_s = self.start_s
        start_cycles = grid.cycles_at(start_s)
        if self.angle_deg is not None:
            point = self.angle_deg % 360.0 / 360.0
            start_cycles = math.ceil(start_cycles - point - 1e-9) + point
            start_s = float(grid.time_s(np.array([start_cycles]), start_s)[0])
        if self.cycles is None:
            stop_s = start_s + (self.usual_s if self.seconds is None else self.seconds)
            stop_cycles = grid.cycles_at(stop_s) if math.isfinite(stop_s) else math.inf
        else:
            stop_cycles = start_cycles + self.cycles
            stop_s = self._moment_s(grid, stop_cycles, start_s)
        return PlacedDisturbance(self, DisturbanceSpan(start_s, stop_s, start_cycles, stop_cycles))

    def tail_s(self) -> float:
        """How long after its span it still has an effect."""
        return 0.0

    def profiles(self, span: DisturbanceSpan) -> tuple[FrequencyProfile, ...]:
        """Its lasting changes of the phase."""
        return ()

    def share(self, at: Instants, span: DisturbanceSpan, wave: Wave) -> FloatArray | None:
        """(n,) factor on the alternating voltage, for moments within the span and its tail; None: 1."""
        return None

    def added(self, at: Instants, span: DisturbanceSpan, wave: Wave) -> FloatArray | None:
        """(n,) added volts, for moments within the span and its tail; None: 0."""
        return None

    def noise_v(self, wave: Wave) -> float:
        """rms of the added white noise."""
        return 0.0

    def highest_hz(self, grid_hz: float) -> float:
        """Highest frequency of the added volts."""
        return 0.0

    def breaks_s(self, span: DisturbanceSpan, grid: Grid) -> FloatArray:
        """Moments at which the voltage or its slope is not smooth."""
        tail_s = self.tail_s()
        return np.array([span.start_s, span.stop_s, *((span.stop_s + tail_s,) if tail_s else ())])

    def _moment_s(self, grid: Grid, cycles: float, after_s: float) -> float:
        """The moment at which a phase is reached, from a good guess, without a table of a day's cycles."""
        guess_s = after_s
        for _ in range(8):
            guess_s += (cycles - grid.cycles_at(guess_s)) / grid.frequency_hz * 0.98
        from_s = max(after_s, guess_s - 2 / grid.frequency_hz)
        return float(grid.time_s(np.array([cycles]), from_s)[0])


@dataclass(frozen=True, slots=True)
class PlacedDisturbance:
    """A disturbance with its exact place."""

    disturbance: MainsDisturbance
    span: DisturbanceSpan

    @property
    def kind(self) -> str:
        return self.disturbance.kind

    @property
    def start_s(self) -> float:
        return self.span.start_s

    @property
    def stop_s(self) -> float:
        return self.span.stop_s

    @property
    def start_cycles(self) -> float:
        return self.span.start_cycles

    @property
    def angle_deg(self) -> float:
        """Point on wave of the start, 0 .. 360; 0 is the rising zero crossing."""
        return self.span.start_cycles % 1.0 * 360.0

    def scale(self, volts: FloatArray, at: Instants, wave: Wave) -> None:
        """Multiplies (n,) alternating volts at `at` by its share, in place."""
        inside = self.during(at.t_s)
        if inside is None:
            return
        share = self.disturbance.share(at.chosen(inside), self.span, wave)
        if share is not None:
            volts[inside] *= share

    def add(self, volts: FloatArray, at: Instants, wave: Wave) -> None:
        """Adds its volts to (n,) volts at `at`, in place."""
        inside = self.during(at.t_s)
        if inside is None:
            return
        added = self.disturbance.added(at.chosen(inside), self.span, wave)
        if added is not None:
            volts[inside] += added

    def during(self, t_s: FloatArray) -> np.ndarray | None:
        """(n,) True for moments in its span and tail; None: there are none."""
        start_s, stop_s = self.span.start_s - EDGE_S, self.span.stop_s + self.disturbance.tail_s() - EDGE_S
        if len(t_s) == 0 or t_s[-1] < start_s - 1e-3 or t_s[0] >= stop_s + 1e-3:  # jitter is below 1 ms
            return None
        inside = (t_s >= start_s) & (t_s < stop_s)
        return inside if inside.any() else None


def place_all(
    disturbances: Iterable[MainsDisturbance], grid: Grid
) -> tuple[tuple[PlacedDisturbance, ...], Grid]:
    """Places all in time order, each on the phase left by the earlier ones; also returns the changed grid."""
    placed = []
    for disturbance in sorted(disturbances, key=lambda each: each.start_s):
        one = disturbance.placed(grid)
        placed.append(one)
        grid = turned(grid, one)
    return tuple(placed), grid


def turned(grid: Grid, placed: PlacedDisturbance) -> Grid:
    """A grid with a disturbance's changes of the phase."""
    profiles = placed.disturbance.profiles(placed.span)
    if not profiles:
        return grid
    return replace(grid, profiles=(*grid.profiles, *profiles))


def combined_kind(placed: Iterable[PlacedDisturbance]) -> str:
    """The contract's name of simultaneous disturbances: in alphabetical order, joined by `+`."""
    return "+".join(sorted({one.kind for one in placed}))
