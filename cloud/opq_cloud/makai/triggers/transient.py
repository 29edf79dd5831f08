"""Transients: the largest magnitude above 400 Hz rises above the Box's usual value.

In: Measurement (metric `trans`).  Out: at most one Decision.  State: per Box, its usual mean. An impulse
is in one cycle of a window; notches and noise are in all of them, and become usual after a minute. The
edges of a dip or a swell do not count. What a detector in the gateway finds in addition comes as a
crossing (trigger `edge_rule`). Source: the metric is the original's; 5 % of nominal peak is what
`opq_measure` calls a transient (IEEE 1159-2019, table 2, has no least size).
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.excursions import Excursions, FlaggedWindows, WatchedLimit, stream_of
from opq_cloud.makai.judging.quiet_rows import ids_of, none_of, values_of
from opq_proto.decision import Decision, Nominal
from opq_proto.messages import Measurement
from opq_proto.wire.measurement_columns import MeasuredBoxes, MeasurementColumns

name = "transient"
kind = "trigger"

FOLLOWS = 1 / 32
"""Share of the difference by which the usual value follows each Measurement: a minute at one a second."""


@dataclass(frozen=True, slots=True)
class Config:
    """`rise_percent`: in percent of nominal peak, above the usual mean."""

    rise_percent: float = field(default=5.0, metadata={"minimum": 0.1, "maximum": 1000})
    trans_v: float | None = field(
        default=None, metadata={"minimum": 0, "maximum": 1e6, "help": "volts instead of the share"}
    )


@dataclass(slots=True)
class TransientState:
    """The trigger's memory of all Boxes."""

    usual_v: dict[str, float] = field(default_factory=dict)
    excursions: Excursions = field(default_factory=lambda: Excursions(first_s=2.0))
    flagged: FlaggedWindows = field(default_factory=FlaggedWindows)


def begin(config: Config) -> TransientState:
    """Begins without Boxes."""
    return TransientState()


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: TransientState
) -> tuple[Decision | None, TransientState]:
    """Decides on a window with a transient, when the one before had none."""
    trans = measurement.metrics.get("trans")
    if trans is None or measurement.crossing:
        return None, state
    key = measurement.box_id if not measurement.backfilled else stream_of(measurement)
    usual_v = state.usual_v.get(key, trans.min)
    state.usual_v[key] = usual_v + FOLLOWS * (trans.average - usual_v)
    rise_v = _rise_v(nominal, config)
    if (
        trans.max - usual_v <= rise_v
        and key not in state.excursions.active
        and measurement.start_ns is not None  # an original Box's dip is noted in any case
    ):
        return None, state
    if state.flagged.covers(key, measurement, nominal):
        return None, state
    limit = WatchedLimit(name, "trans", "V", rise_v, 0.7 * rise_v, "above 400 Hz, more than usual by")
    return state.excursions.follow(key, measurement, trans.max - usual_v, limit), state


def is_quiet(columns: MeasurementColumns, config: Config, state: TransientState) -> bool | NDArray[np.bool_]:
    """Returns True where each is near its Box's usual value."""
    if not columns.once:
        return False
    most_v = values_of(columns, "trans")[1]
    rises_v = _rises_v(columns.boxes, config)[columns.which]
    quiet: NDArray[np.bool_] = most_v - _usual_v(columns, state) <= rises_v
    return quiet & none_of(columns, state.excursions.active)


def note_quiet(columns: MeasurementColumns, config: Config, state: TransientState) -> None:
    """Updates the usual value of each."""
    mean_v, usual_v = values_of(columns, "trans")[2], _usual_v(columns, state)
    state.usual_v.update(zip(ids_of(columns), (usual_v + FOLLOWS * (mean_v - usual_v)).tolist(), strict=True))


def _usual_v(columns: MeasurementColumns, state: TransientState) -> NDArray[np.float64]:
    """Returns (n,) the usual value of each one's Box; for an unknown Box its own least."""
    known, least_v = state.usual_v, values_of(columns, "trans")[0].tolist()
    return np.array([known.get(box_id, low) for box_id, low in zip(ids_of(columns), least_v, strict=True)])


@lru_cache(maxsize=2)
def _rises_v(boxes: MeasuredBoxes, config: Config) -> NDArray[np.float64]:
    return np.array([_rise_v(nominal, config) for nominal in boxes.nominals])


def _rise_v(nominal: Nominal, config: Config) -> float:
    if config.trans_v is not None:
        return config.trans_v
    return nominal.volts * math.sqrt(2) * config.rise_percent / 100
