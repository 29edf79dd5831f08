"""Napali: the original's trigger of that name, setting for setting, without its faults.

In: Measurement.  Out: at most one Decision.  State: per Box and metric an exponential mean and deviation.
A Box is beyond when f, rms, thd or trans leaves its limits, or lies outside three sigma of its own mean; an
event begins when two Boxes are (`trigger_local`: one), and is over `grace_time_ms` after the last.
Limits that are not set are the original's at 120 V and 60 Hz, as shares of the Box's own nominal values.
Not among the default triggers: 0.1 Hz and 4 % are exceeded every day on many grids.
Source: docs/reference/opq-interop.md C.3, E.6; its faults H.19: one state for all Boxes, Boxes of one time
stamp lost.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.batch_rows import none_of
from opq_measure.written_numbers import significant
from opq_proto.decision import Decision, Nominal, window_ns
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement
from opq_proto.time_units import NS_PER_MS

name = "napali"
kind = "trigger"

LIMIT_SIGMAS = 3.0
WARM_UP = 30
"""Number of Measurements of a Box until its deviation is known."""


@dataclass(frozen=True, slots=True)
class Config:
    """The original's keys."""

    alpha: float = field(default=0.5, metadata={"minimum": 0.001, "maximum": 1, "help": "of the mean"})
    f_min: float | None = field(default=None, metadata={"minimum": 0, "help": "Hz; original: 59.9"})
    f_max: float | None = field(default=None, metadata={"minimum": 0, "help": "Hz; original: 60.1"})
    rms_min: float | None = field(default=None, metadata={"minimum": 0, "help": "V; original: 115"})
    rms_max: float | None = field(default=None, metadata={"minimum": 0, "help": "V; original: 125"})
    thd_max: float = field(default=0.05, metadata={"minimum": 0, "help": "ratio"})
    trans_max: float | None = field(default=None, metadata={"minimum": 0, "help": "V; original: 7"})
    grace_time_ms: int = field(default=5000, metadata={"minimum": 0, "maximum": 3_600_000})
    trigger_local: bool = field(default=False, metadata={"help": "whether one Box alone opens an event"})
    debug: bool = field(default=False, metadata={"help": "without effect"})


@dataclass(slots=True)
class RunningMean:
    """Exponential mean and variance."""

    mean: float
    variance: float = 0.0
    count: int = 1


@dataclass(slots=True)
class NapaliState:
    """The trigger's memory of all Boxes."""

    means: dict[tuple[str, str], RunningMean] = field(default_factory=dict)
    beyond: dict[str, int] = field(default_factory=dict)
    """Box -> end of its last window beyond."""
    until_ns: int = 0
    """End of the event under way; 0 without one."""


def begin(config: Config) -> NapaliState:
    """Begins without memory."""
    return NapaliState()


def enters(batch: Measurements, config: Config, state: NapaliState) -> NDArray[np.bool_]:
    """Returns (n,) the live windows: each changes the mean of its Box."""
    return none_of(batch) if batch.backfilled else ~batch.crossing


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: NapaliState
) -> tuple[Decision | None, NapaliState]:
    """Decides at the Box that makes it an event."""
    if measurement.backfilled or measurement.crossing:
        return None, state
    return _decision(measurement, nominal, config, state), state


def _decision(
    measurement: Measurement, nominal: Nominal, config: Config, state: NapaliState
) -> Decision | None:
    found = None
    for metric, (low, high) in _limits(nominal, config).items():
        value = measurement.metrics.get(metric)
        if value is None or value.average != value.average:
            continue
        outside = _outside(state, measurement.box_id, metric, value.average, config.alpha)
        if value.max > high:
            found = found or (metric, value.max, high)
        elif value.min < low:
            found = found or (metric, value.min, low)
        elif outside is not None:
            found = found or (metric, value.average, outside)
    if found is None:
        return None
    end_ns, grace_ns = window_ns(measurement)[1], config.grace_time_ms * NS_PER_MS
    state.beyond = {box: at_ns for box, at_ns in state.beyond.items() if at_ns > end_ns - grace_ns}
    state.beyond[measurement.box_id] = end_ns
    under_way = state.until_ns > end_ns
    if len(state.beyond) < 2 and not (under_way or config.trigger_local):
        return None
    state.until_ns = max(state.until_ns, end_ns + grace_ns)
    if under_way:
        return None
    metric, most, limit = found
    because = (
        f"{name}: {metric} {significant(most, 5)} beyond {significant(limit, 5)}, {len(state.beyond)} Boxes"
    )
    return Decision(metric, most, limit, because)


def _limits(nominal: Nominal, config: Config) -> dict[str, tuple[float, float]]:
    """Returns metric -> least and most."""
    volts, hz = nominal.volts, nominal.hz
    return {
        "f": (_or(config.f_min, hz * 59.9 / 60), _or(config.f_max, hz * 60.1 / 60)),
        "rms": (_or(config.rms_min, volts * 115 / 120), _or(config.rms_max, volts * 125 / 120)),
        "thd": (-1.0, config.thd_max),
        "trans": (-1.0, _or(config.trans_max, volts * 7 / 120)),
    }


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _outside(state: NapaliState, box_id: str, metric: str, value: float, alpha: float) -> float | None:
    """The bound of three sigma that the value is outside of, after a warm-up; then updates the mean."""
    known = state.means.get((box_id, metric))
    if known is None:
        state.means[box_id, metric] = RunningMean(value)
        return None
    bound_at = LIMIT_SIGMAS * known.variance**0.5
    off = value - known.mean
    outside = known.count >= WARM_UP and abs(off) > bound_at > 0
    bound = known.mean + (bound_at if off > 0 else -bound_at)
    known.mean += alpha * off
    known.variance = (1 - alpha) * (known.variance + alpha * off * off)
    known.count += 1
    return bound if outside else None
