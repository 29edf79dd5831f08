"""Disturbances of the rms: the whole voltage becomes smaller or larger for a while.

Names and limits: IEEE 1159-2019, table 2; depth as IEC 61000-4-30:2015, 3 (reference less residual).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from opq_sim.mains.disturbance import DisturbanceSpan, Instants, MainsDisturbance
from opq_sim.mains.grid import Grid
from opq_sim.mains.profiles import FloatArray, FrequencyProfile, PhaseStep
from opq_sim.mains.wave import Wave


@dataclass(frozen=True, slots=True, kw_only=True)
class Level(MainsDisturbance):
    """The voltage at another level, reached along straight lines of `edge_s` that begin at start and stop."""

    edge_s: float = 0.0
    phase_jump_deg: float = 0.0
    """How far the voltage's phase is ahead during the event, as in a real dip."""

    def level(self) -> float:
        """Share of the steady voltage."""
        return 1.0

    def check(self) -> None:
        MainsDisturbance.check(self)
        if not (math.isfinite(self.edge_s) and self.edge_s >= 0):
            raise ValueError(f"edge_s is {self.edge_s}; want a number from 0")
        if not (math.isfinite(self.level()) and self.level() >= 0):
            raise ValueError(f"{self.kind}: leaves {self.level()} of the voltage; want a share from 0")

    def tail_s(self) -> float:
        return self.edge_s

    def profiles(self, span: DisturbanceSpan) -> tuple[FrequencyProfile, ...]:
        if not self.phase_jump_deg:
            return ()
        return (PhaseStep(self.phase_jump_deg, span.start_s), PhaseStep(-self.phase_jump_deg, span.stop_s))

    def share(self, at: Instants, span: DisturbanceSpan, wave: Wave) -> FloatArray | None:
        level = self.level()
        if not self.edge_s:
            return np.full(len(at), level)
        into = np.clip((at.t_s - span.start_s) / self.edge_s, 0.0, 1.0)
        out = np.clip((at.t_s - span.stop_s) / self.edge_s, 0.0, 1.0)
        return np.asarray(1 + (level - 1) * (into - out))

    def breaks_s(self, span: DisturbanceSpan, grid: Grid) -> FloatArray:
        edges = (span.start_s, span.stop_s)
        return np.array([*edges, *(at + self.edge_s for at in edges)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sag(Level):
    """`depth` is the lost share: 0.3 leaves 70 %."""

    kind: ClassVar[str] = "sag"
    depth: float = 0.3

    def level(self) -> float:
        return 1 - self.depth


@dataclass(frozen=True, slots=True, kw_only=True)
class Undervoltage(Sag):
    """A sag of more than a minute."""

    kind: ClassVar[str] = "undervoltage"
    usual_s: ClassVar[float] = 61.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swell(Level):
    """`rise` is the added share: 0.2 makes 120 %."""

    kind: ClassVar[str] = "swell"
    rise: float = 0.2

    def level(self) -> float:
        return 1 + self.rise


@dataclass(frozen=True, slots=True, kw_only=True)
class Overvoltage(Swell):
    """A swell of more than a minute."""

    kind: ClassVar[str] = "overvoltage"
    usual_s: ClassVar[float] = 61.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption(Level):
    """`residual` of the voltage is left, below 0.1."""

    kind: ClassVar[str] = "interruption"
    residual: float = 0.0

    def level(self) -> float:
        return self.residual


@dataclass(frozen=True, slots=True, kw_only=True)
class RapidVoltageChange(Level):
    """The voltage changes by `change` (relative, either sign), too little for a sag or a swell."""

    kind: ClassVar[str] = "rapid_voltage_change"
    usual_s: ClassVar[float] = 3.0
    change: float = -0.06

    def level(self) -> float:
        return 1 + self.change


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile(Level):
    """Any course of the rms: `points` (seconds after the start, share), straight lines; a step is two."""

    kind: ClassVar[str] = "profile"
    points: tuple[tuple[float, float], ...] = ((0.0, 1.0),)

    def check(self) -> None:
        Level.check(self)
        at = [point[0] for point in self.points]
        if not at or at != sorted(at) or at[0] < 0:
            raise ValueError("points want seconds that do not fall, from 0, at least one")

    def tail_s(self) -> float:
        return 0.0

    def share(self, at: Instants, span: DisturbanceSpan, wave: Wave) -> FloatArray | None:
        times = np.array([point[0] for point in self.points])
        shares = np.array([point[1] for point in self.points])
        since = at.t_s - span.start_s + 1e-9
        k = np.clip(np.searchsorted(times, since, side="right") - 1, 0, len(times) - 1)
        after = np.minimum(k + 1, len(times) - 1)
        length = np.maximum(times[after] - times[k], 1e-300)
        into = np.clip((since - 1e-9 - times[k]) / length, 0.0, 1.0)
        return np.asarray(shares[k] + (shares[after] - shares[k]) * into)

    def breaks_s(self, span: DisturbanceSpan, grid: Grid) -> FloatArray:
        return np.array([span.start_s, span.stop_s, *(span.start_s + at for at, _ in self.points)])
