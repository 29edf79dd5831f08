"""Timekeeping: the basis of a Box's stamps, their error, and the bound that the Box states for it.

    gps       locked: within 100 ns       lost: holdover, the error grows and the stated bound with it
    ntp       wanders by some milliseconds around true time, within its stated bound
    oscillator (`clock_ppm`, `drift_ppm_per_s`): how fast it samples, and so the rate that it states

Every moment is computed from its number, so any way of reading gives the same stamps. The bound is honest:
it contains the largest value of each part of the error (test_box_timekeeping.py checks hours of it).
"""

import math
from dataclasses import dataclass

import numpy as np

from opq_proto.config.reading import Field, section
from opq_proto.messages import TimeSource
from opq_sim.mains.sampling import SampleClock

LOCKED_NS = 100
"""Bound of a locked clock, as the firmware states it with GPS."""
LOCK_S = 5.0
"""After GPS is back, the holdover's error is removed evenly in this time."""
STREAM = 0xC10C


@section
class TimekeepingConfig:
    """What disciplines a Box's clock, and when it does not."""

    source: str = Field(pattern=r"^(gps|ntp)$", description="gps or ntp")
    gps_lost: tuple[tuple[float, float], ...] = Field(
        default=(), description="[at_s, for_s] of each loss of GPS, rising, without overlap"
    )
    holdover_ppb: float = Field(default=20.0, ge=-1e6, le=1e6, description="error of the rate in holdover")
    holdover_ageing_ppb_per_h: float = Field(default=1.0, ge=-1e6, le=1e6, description="growth of that error")
    bound_ppb: float = Field(default=50.0, ge=0.0, le=1e6, description="growth of the stated bound")
    bound_ageing_ppb_per_h: float = Field(default=5.0, ge=0.0, le=1e6, description="growth of that error")
    ntp_wander_ms: float = Field(default=2.0, ge=0.0, le=1000.0, description="largest error with NTP")
    ntp_wander_s: float = Field(default=900.0, ge=1.0, le=1e6, description="period of its wander")


def timekeeping_problems(config: TimekeepingConfig) -> list[str]:
    """Faults between the fields."""
    found = []
    if abs(config.holdover_ppb) > config.bound_ppb:
        found.append(f"bound_ppb is {config.bound_ppb:g}; want at least holdover_ppb {config.holdover_ppb:g}")
    if abs(config.holdover_ageing_ppb_per_h) > config.bound_ageing_ppb_per_h:
        found.append("bound_ageing_ppb_per_h is below holdover_ageing_ppb_per_h; want at least that")
    ended_s = 0.0
    for at_s, for_s in config.gps_lost:
        if not (at_s >= ended_s and 0 < for_s < math.inf):
            found.append(
                f"gps_lost: [{at_s:g}, {for_s:g}]; want times that rise and begin {LOCK_S:g} s after the last"
            )
        ended_s = at_s + for_s + LOCK_S
    if config.gps_lost and config.source != "gps":
        found.append(f"gps_lost: source is {config.source!r}; only gps can be lost")
    return found


@dataclass(frozen=True, slots=True)
class ClockReading:
    """A reading at one moment: the error of the stamps, and the bound that the Box states."""

    error_ns: float
    uncertainty_ns: int
    source: TimeSource


class Timekeeping:
    """The clock of one Box; sample 0 is taken at the run's start."""

    def __init__(
        self, config: TimekeepingConfig, oscillator: SampleClock, rate_millihz: int, seed: int
    ) -> None:
        self.config, self._oscillator, self._rate_hz = config, oscillator, rate_millihz / 1000
        chance = np.random.Generator(np.random.PCG64((seed, STREAM)))
        self._turns = tuple(float(turn) for turn in chance.uniform(0.0, 2 * math.pi, 2))

    def taken_s(self, sample: int) -> float:
        """True seconds after the run's start at which a sample is taken."""
        return float(self._oscillator.t_s(np.array([float(sample)]), self._rate_hz)[0])

    def samples_by(self, t_s: float) -> int:
        """Number of samples taken by a true moment."""
        return math.floor(float(self._oscillator.position(np.array([t_s]), self._rate_hz)[0]))

    def rate_millihz(self, sample: int) -> int:
        """The rate that the Box measures against its source, rounded: 80 ppb of 12 kS/s."""
        return round(self._oscillator.rate_hz(sample, self._rate_hz) * 1000)

    def stamp_s(self, sample: int) -> tuple[float, ClockReading]:
        """The stamp of a sample in seconds after the run's start, and the reading of the clock for it."""
        taken_s = self.taken_s(sample)
        reading = self.reading(taken_s)
        return taken_s + reading.error_ns * 1e-9, reading

    def reading(self, t_s: float) -> ClockReading:
        """The reading at a true moment, seconds after the run's start."""
        return self._ntp(t_s) if self.config.source == "ntp" else self._gps(t_s)

    def _ntp(self, t_s: float) -> ClockReading:
        """Two sines that add up to `ntp_wander_ms` at most; the stated bound is a tenth above."""
        most_ns, turn = self.config.ntp_wander_ms * 1e6, 2 * math.pi * t_s / self.config.ntp_wander_s
        slow, fast = math.sin(turn + self._turns[0]), math.sin(3.7 * turn + self._turns[1])
        bound_ns = math.ceil(1.1 * most_ns) + LOCKED_NS
        return ClockReading(most_ns * (0.75 * slow + 0.25 * fast), bound_ns, TimeSource.NTP)

    def _gps(self, t_s: float) -> ClockReading:
        locked_ns = LOCKED_NS / 2 * math.sin(2 * math.pi * t_s / 17.0 + self._turns[0])
        for at_s, for_s in reversed(self.config.gps_lost):
            if t_s < at_s:
                continue
            error_ns, bound_ns = self._held_over(min(t_s - at_s, for_s))
            left = 1.0 - max(0.0, t_s - at_s - for_s) / LOCK_S
            if left <= 0:
                break
            return ClockReading(
                locked_ns + error_ns * left, LOCKED_NS + math.ceil(bound_ns * left), TimeSource.HOLDOVER
            )
        return ClockReading(locked_ns, LOCKED_NS, TimeSource.GPS)

    def _held_over(self, for_s: float) -> tuple[float, float]:
        """Error and bound, ns, after `for_s` without GPS: a wrong rate and its ageing (a ppb is 1 ns/s)."""
        config, ageing_s = self.config, for_s * for_s / 2 / 3600
        error_ns = config.holdover_ppb * for_s + config.holdover_ageing_ppb_per_h * ageing_s
        return error_ns, config.bound_ppb * for_s + config.bound_ageing_ppb_per_h * ageing_s
