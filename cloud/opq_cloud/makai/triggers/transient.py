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

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.batch_rows import (
    in_any,
    may_show_dip,
    streams_of,
    values_of,
    windows_with,
)
from opq_cloud.makai.judging.excursions import (
    Excursions,
    FlaggedWindows,
    Level,
    WatchedLimit,
    stream_of,
    window_metric,
)
from opq_proto.decision import Decision, Nominal
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement

name = "transient"
kind = "trigger"

FOLLOWED_SHARE = 1 / 32
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


def enters(batch: Measurements, config: Config, state: TransientState) -> NDArray[np.bool_]:
    """Returns (n,) the windows with a transient, or after one; the usual values follow the others."""
    least_v, most_v, mean_v = values_of(batch, "trans")
    streams, known = streams_of(batch), state.usual_v
    usual_v = np.array([known.get(key, low) for key, low in zip(streams, least_v.tolist(), strict=True)])
    there = windows_with(batch, "trans")
    close = _limit(batch.nominal_values[0], config).passed(most_v - usual_v)
    close |= in_any(batch, state.excursions.active) | may_show_dip(batch, state.flagged.ends_ns)
    follows = zip(streams, _followed(usual_v, mean_v).tolist(), strict=True)
    quiet = there & ~close
    known.update(follows if quiet.all() else compress(follows, quiet.tolist()))
    return there & close


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: TransientState
) -> tuple[Decision | None, TransientState]:
    """Decides on a window with a transient, when the one before had none."""
    trans, key = window_metric(measurement, "trans"), stream_of(measurement)
    if trans is None:
        return None, state
    usual_v = state.usual_v.get(key, trans.min)
    state.usual_v[key] = _followed(usual_v, trans.average)
    if state.flagged.covers(key, measurement, nominal):
        return None, state
    limit = _limit(nominal.volts, config)
    return state.excursions.follow(key, measurement, trans.max - usual_v, limit), state


def _followed(usual_v: Level, mean_v: Level) -> Level:
    return usual_v + FOLLOWED_SHARE * (mean_v - usual_v)


def _limit(volts: Level, config: Config) -> WatchedLimit[Level]:
    """Returns the limit of the rise, for these nominal volts."""
    rise_v = volts * math.sqrt(2) * config.rise_percent / 100
    if config.trans_v is not None:
        rise_v = volts * 0 + config.trans_v
    return WatchedLimit(name, "trans", "V", rise_v, 0.7 * rise_v, "above 400 Hz, more than usual by")
