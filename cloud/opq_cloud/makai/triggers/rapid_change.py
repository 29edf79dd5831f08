"""Rapid voltage change: the rms leaves the mean of the second before by more than a step, and is no dip.

In: Measurement.  Out: at most one Decision.  State: per Box, the mean of its last steady Measurement.
A step that stays is the new level after `settle_s`; one that goes back is requested whole. A window with a
dip or a swell is not judged, and the first one after it only sets the level.
Source: IEC 61000-4-30:2015, 5.11 (mean of the last 100 or 120 Urms(1/2); a change with a dip in it is a
dip); EN 50160:2010, 4.2.3.1 (generally at most 5 % of nominal).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.excursions import Excursions, WatchedLimit, is_flagged, stream_of
from opq_cloud.makai.judging.quiet_rows import ids_of, nominals_of, none_of, unflagged, values_of
from opq_proto.decision import Decision, Nominal, window_ns
from opq_proto.messages import Measurement
from opq_proto.wire.measurement_columns import MeasurementColumns

name = "rapid_change"
kind = "trigger"

LONGEST_WINDOW_NS = 5 * 10**9
"""The mean of a longer Measurement is no steady second."""


@dataclass(frozen=True, slots=True)
class Config:
    """Values in percent of nominal."""

    change_percent: float = field(
        default=5.0, metadata={"minimum": 0.1, "maximum": 50, "help": "of nominal, from the second before"}
    )
    hysteresis_percent: float = field(
        default=2.5, metadata={"minimum": 0, "maximum": 50, "help": "it is back when so near again"}
    )
    settle_s: float = field(
        default=10.0, metadata={"minimum": 1, "maximum": 600, "help": "then it is the level, not a change"}
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


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: ChangeState
) -> tuple[Decision | None, ChangeState]:
    """Decides on a step away from the level before, and on the end of one that went back."""
    rms = measurement.metrics.get("rms")
    if rms is None or measurement.crossing:
        return None, state
    key = measurement.box_id if not measurement.backfilled else stream_of(measurement)
    level = state.levels.get(key)
    step_v = nominal.volts * config.change_percent / 100
    if (
        level is not None
        and not level.left_ns
        and rms.max - level.volts <= step_v
        and level.volts - rms.min <= step_v
    ):
        level.volts = rms.average
        level.end_ns = measurement.end_ns or window_ns(measurement)[1]
        return None, state
    return _changed(measurement, nominal, config, state, key), state


def is_quiet(columns: MeasurementColumns, config: Config, state: ChangeState) -> bool | NDArray[np.bool_]:
    """Returns True where each stays near its Box's level; a Box without a level gets one."""
    if not columns.once:
        return False
    undisturbed = none_of(columns, state.excursions.active) & unflagged(columns)
    undisturbed &= columns.end_ns - columns.start_ns <= LONGEST_WINDOW_NS
    known = state.levels.get
    level_v = np.array(
        [
            np.nan if (level := known(box_id)) is None else np.inf if level.left_ns else level.volts
            for box_id in ids_of(columns)
        ]
    )  # infinite: it is not near a level that it has left
    least_v, most_v, _ = values_of(columns, "rms")
    step_v = nominals_of(columns)[0] * config.change_percent / 100
    near = (most_v - level_v <= step_v) & (level_v - least_v <= step_v)
    quiet: NDArray[np.bool_] = undisturbed & (near | np.isnan(level_v))
    return quiet


def note_quiet(columns: MeasurementColumns, config: Config, state: ChangeState) -> None:
    """Notes the level of each."""
    means_v = values_of(columns, "rms")[2].tolist()
    for box_id, mean_v, end_ns in zip(ids_of(columns), means_v, columns.end_ns.tolist(), strict=True):
        level = state.levels.get(box_id)
        if level is None:
            state.levels[box_id] = SteadyLevel(mean_v, end_ns)
        else:
            level.volts, level.end_ns = mean_v, end_ns


def _changed(
    measurement: Measurement, nominal: Nominal, config: Config, state: ChangeState, key: str
) -> Decision | None:
    rms, level = measurement.metrics["rms"], state.levels.get(key)
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
    limit = _limit(nominal, config)
    if key not in state.excursions.active:
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


def _limit(nominal: Nominal, config: Config) -> WatchedLimit:
    enter_v = nominal.volts * config.change_percent / 100
    leave_v = nominal.volts * min(config.hysteresis_percent, config.change_percent) / 100
    return WatchedLimit(name, "rms", "V", enter_v, leave_v, "rms changed by")
