"""Disturbances of the phase: a jump that stays, a frequency that deviates for a while."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from opq_sim.mains.disturbance import DisturbanceSpan, MainsDisturbance
from opq_sim.mains.grid import Grid
from opq_sim.mains.profiles import FloatArray, FrequencyProfile, FrequencyStep, PhaseStep, Ramp

SHORTEST_RAMP_S = 1e-4
"""A shorter ramp is a step: it is shorter than a sample, and its rounded ends would show in the phase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseJumpEvent(MainsDisturbance):
    """The phase jumps ahead by `degrees` (negative: back) and stays there. It has no length."""

    kind: ClassVar[str] = "phase_jump"
    usual_s: ClassVar[float] = 0.0
    degrees: float = 30.0

    def check(self) -> None:
        MainsDisturbance.check(self)
        if not (math.isfinite(self.degrees) and abs(self.degrees) <= 180):
            raise ValueError(f"degrees is {self.degrees}; want -180 to 180")
        if self.cycles is not None or self.seconds is not None:
            raise ValueError("phase_jump: has no length; jump back with a second one")

    def profiles(self, span: DisturbanceSpan) -> tuple[FrequencyProfile, ...]:
        return (PhaseStep(self.degrees, span.start_s),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyDeviation(MainsDisturbance):
    """The frequency deviates by `offset_hz`, reached along ramps of `ramp_s` that begin at start and stop.

    Its `cycles` are those that would pass without it.
    """

    kind: ClassVar[str] = "frequency_deviation"
    usual_s: ClassVar[float] = 5.0
    offset_hz: float = 0.5
    ramp_s: float = 0.5

    def check(self) -> None:
        MainsDisturbance.check(self)
        if not math.isfinite(self.offset_hz):
            raise ValueError(f"offset_hz is {self.offset_hz}; want a number")
        if not (math.isfinite(self.ramp_s) and self.ramp_s >= 0):
            raise ValueError(f"ramp_s is {self.ramp_s}; want a number from 0")

    def tail_s(self) -> float:
        return self.ramp_s

    def profiles(self, span: DisturbanceSpan) -> tuple[FrequencyProfile, ...]:
        if self.ramp_s < SHORTEST_RAMP_S:
            return (FrequencyStep(self.offset_hz, span.start_s), FrequencyStep(-self.offset_hz, span.stop_s))
        slope = self.offset_hz / self.ramp_s
        return (
            Ramp(slope, span.start_s, span.start_s + self.ramp_s),
            Ramp(-slope, span.stop_s, span.stop_s + self.ramp_s),
        )

    def breaks_s(self, span: DisturbanceSpan, grid: Grid) -> FloatArray:
        edges = (span.start_s, span.stop_s)
        return np.array([*edges, *(at + self.ramp_s for at in edges)])
