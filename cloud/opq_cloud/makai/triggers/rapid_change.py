"""Rapid voltage change: the rms leaves the mean of the second before by more than a step, and is not a dip.

In: Measurement.  Out: at most one Decision.  State: per Box, the mean of its last steady Measurement.
A step that stays is the new level after `settle_s`; one that goes back is requested whole. A window with a
dip or a swell is not judged, and the first one after it only sets the level.
Source: IEC 61000-4-30:2015, 5.11 (mean of the last 100 or 120 Urms(1/2); a change with a dip in it is a
dip); EN 50160:2010, 4.2.3.1 (generally at most 5 % of nominal).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.batch_rows import (
    streams_of,
    unflagged,
    values_of,
    windows_with,
)
from opq_cloud.makai.judging.excursions import (
    Excursions,
    Level,
    WatchedLimit,
    is_flagged,
    stream_of,
    window_metric,
)
from opq_proto.decision import Decision, Nominal, window_ns
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement

name = "rapid_change"
kind = "trigger"

LONGEST_WINDOW_NS = 5 * 10**9
"""The mean of a longer Measurement is not a steady second."""


@dataclass(frozen=True, slots=True)
class Config:
    """Values in percent of nominal."""

    change_percent: float = field(
        default=5.0, metadata={"minimum": 0.1, "maximum": 50, "help": "of nominal, from the second before"}
    )
    hysteresis_percent: float = field(
        default=2.5,
        metadata={
            "minimum": 0,
            "maximum": 50,
            "help": "distance to the old level at which the voltage is back",
        },
    )
    settle_s: float = field(
        default=10.0,
        metadata={"minimum": 1, "maximum": 600, "help": "time after which a step is the new level"},
    )


@dataclass(slots=True)
class SteadyLevel:
    """The steady voltage of one Box.

    Attributes:
        volts: mean rms of the last Measurement that stayed near it.
        end_ns: where that Measurement ended.
        left_ns: when the rms left it; 0 while it has not.
    """

    volts: float
    end_ns: int
    left_ns: int = 0


@dataclass(slots=True)
class ChangeState:
    """The trigger's memory of all Boxes."""

    levels: dict[str, SteadyLevel] = field(default_factory=dict)
    excursions: Excursions = field(default_factory=lambda: Excursions(first_s=2.0))


def begin(config: Config) -> ChangeState:
    """Begins without levels."""
    return ChangeState()


def enters(batch: Measurements, config: Config, state: ChangeState) -> NDArray[np.bool_]:
    """Returns (n,) the windows that are not near a known level; the others set their Box's level."""
    least_v, most_v, mean_v = values_of(batch, "rms")
    levels = list(map(state.levels.get, streams_of(batch)))
    level_v = np.array(
        [np.nan if level is None or level.left_ns else level.volts for level in levels]
    )  # NaN: none, or one that it has left
    change_v = np.maximum(most_v - level_v, level_v - least_v)
    near: NDArray[np.bool_] = ~_limit(batch.nominal_values[0], config).passed(change_v) & ~np.isnan(level_v)
    there = windows_with(batch, "rms")
    near &= there & unflagged(batch) & (batch.end_ns - batch.start_ns <= LONGEST_WINDOW_NS)
    rows = zip(levels, near.tolist(), mean_v.tolist(), batch.end_ns.tolist(), strict=True)
    for level, is_near, volts, end_ns in rows:
        if level is not None and is_near:
            level.volts, level.end_ns = volts, end_ns
    return there & ~near


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: ChangeState
) -> tuple[Decision | None, ChangeState]:
    """Decides on a step away from the level before, and on the end of one that went back."""
    return _decision(measurement, nominal, config, state), state


def _decision(
    measurement: Measurement, nominal: Nominal, config: Config, state: ChangeState
) -> Decision | None:
    rms, key = window_metric(measurement, "rms"), stream_of(measurement)
    if rms is None:
        return None
    level = state.levels.get(key)
    start_ns, end_ns = window_ns(measurement)
    if is_flagged(rms, nominal) or end_ns - start_ns > LONGEST_WINDOW_NS:
        state.levels.pop(key, None)  # the level after a dip is not known before the next steady second
        state.excursions.remove(key)
        return None
    if level is None or not 0 <= start_ns - level.end_ns <= LONGEST_WINDOW_NS:
        state.levels[key] = SteadyLevel(rms.average, end_ns)
        state.excursions.remove(key)
        return None
    level.end_ns = end_ns
    change_v = max(rms.max - level.volts, level.volts - rms.min)
    limit = _limit(nominal.volts, config)
    if key not in state.excursions.active:
        if not limit.passed(change_v):
            level.volts = rms.average
            return None
        level.left_ns = start_ns
        return state.excursions.begin(key, measurement, change_v, limit)
    settled = end_ns - level.left_ns > config.settle_s * 1e9
    if settled or change_v <= limit.leave:
        level.volts, level.left_ns = rms.average, 0
        if not settled:
            return state.excursions.end(key, measurement, limit)
        state.excursions.remove(key)
        return None
    state.excursions.go_on(key, measurement, change_v)
    return None


def _limit(volts: Level, config: Config) -> WatchedLimit[Level]:
    """Returns the limit of a change, for these nominal volts."""
    enter_v = volts * config.change_percent / 100
    leave_v = volts * min(config.hysteresis_percent, config.change_percent) / 100
    return WatchedLimit(name, "rms", "V", enter_v, leave_v, "rms changed by")
