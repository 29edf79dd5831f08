"""Transients: the largest magnitude above 400 Hz rises above the Box's usual value.

In: Measurement (metric `trans`).  Out: at most one Decision.  State: per Box, its usual mean. An impulse
is in one cycle of a window; notches and noise are in all of them, and become usual after a minute. The
edges of a dip or a swell do not count. What a detector in the gateway finds in addition comes as a
crossing (trigger `edge_rule`). Source: the metric is the original's; 5 % of nominal peak is what
`opq_measure` calls a transient (IEEE 1159-2019, table 2, has no least size).
"""

import math
from dataclasses import dataclass, field
from itertools import compress
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.batch_rows import (
    Found,
    in_any,
    look_closely,
    may_show_dip,
    nominals_of,
    streams_of,
    values_of,
    windows_with,
)
from opq_cloud.makai.judging.excursions import Excursions, FlaggedWindows, WatchedLimit, stream_of
from opq_proto.decision import Decision, Nominal
from opq_proto.messages import Measurement
from opq_proto.wire.measurement_columns import MeasurementColumns

name = "transient"
kind = "trigger"

Volts = TypeVar("Volts", float, NDArray[np.float64])

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


def judge(columns: MeasurementColumns, config: Config, state: TransientState) -> Found:
    """Decides on a window with a transient, when the one before had none."""
    least_v, most_v, mean_v = values_of(columns, "trans")
    streams, known = streams_of(columns), state.usual_v
    usual_v = np.array([known.get(key, low) for key, low in zip(streams, least_v.tolist(), strict=True)])
    there = windows_with(columns, "trans")
    follows = zip(streams, (usual_v + FOLLOWS * (mean_v - usual_v)).tolist(), strict=True)
    known.update(follows if there.all() else compress(follows, there.tolist()))
    above_v = most_v - usual_v
    close = ~(above_v <= _rises_v(nominals_of(columns)[0], config)) | in_any(columns, state.excursions.active)
    close |= may_show_dip(columns, state.flagged.ends_ns)
    above = dict(zip(streams, above_v.tolist(), strict=True))
    return look_closely(
        columns,
        close & there,
        lambda row, nominal: _decide(row, nominal, config, state, above[stream_of(row)]),
    )


def _decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: TransientState, above_v: float
) -> Decision | None:
    key = stream_of(measurement)
    if state.flagged.covers(key, measurement, nominal):
        return None
    rise_v = _rises_v(nominal.volts, config)
    limit = WatchedLimit(name, "trans", "V", rise_v, 0.7 * rise_v, "above 400 Hz, more than usual by")
    return state.excursions.follow(key, measurement, above_v, limit)


def _rises_v(volts: Volts, config: Config) -> Volts | float:
    """Returns the rise that counts, for these nominal volts."""
    return volts * math.sqrt(2) * config.rise_percent / 100 if config.trans_v is None else config.trans_v
