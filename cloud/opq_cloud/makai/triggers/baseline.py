"""Baseline: a snapshot of all Boxes at a set hour, to compare with when something has happened.

In: Measurement, for its time alone.  Out: at most one Decision.  State: when the next is due.
The first is due at the earliest an hour after the first Measurement, so that a restart does not make one.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.batch_rows import none_of
from opq_proto.decision import Decision, Nominal, window_ns
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement
from opq_proto.time_units import HOUR_NS

name = "baseline"
kind = "trigger"


@dataclass(frozen=True, slots=True)
class Config:
    """The schedule."""

    every_h: int = field(default=24, metadata={"minimum": 1, "maximum": 24 * 366})
    at_utc_h: float = field(default=3.0, metadata={"minimum": 0, "maximum": 24, "help": "hour of the day"})


@dataclass(slots=True)
class NextSnapshot:
    """`due_ns`: UTC; 0 before the first Measurement."""

    due_ns: int = 0


def begin(config: Config) -> NextSnapshot:
    """Begins without a due snapshot."""
    return NextSnapshot()


def enters(batch: Measurements, config: Config, state: NextSnapshot) -> NDArray[np.bool_]:
    """Returns (n,) the windows after the hour."""
    return none_of(batch) if batch.backfilled else (batch.end_ns >= state.due_ns) & ~batch.crossing


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: NextSnapshot
) -> tuple[Decision | None, NextSnapshot]:
    """Decides on the first Measurement after the hour."""
    end_ns = window_ns(measurement)[1]
    if measurement.backfilled or measurement.crossing or end_ns < state.due_ns:
        return None, state
    first, state.due_ns = not state.due_ns, _next_ns(end_ns + HOUR_NS, config)
    if first:
        return None, state
    because = f"{name}: scheduled every {config.every_h} h at {config.at_utc_h:g} h UTC"
    return Decision(name, float(config.every_h), 0.0, because), state


def _next_ns(after_ns: int, config: Config) -> int:
    """Returns the first moment of the schedule from `after_ns` on; it is counted from 1970."""
    at_ns, every_ns = round(config.at_utc_h * HOUR_NS), config.every_h * HOUR_NS
    return after_ns + (at_ns - after_ns) % every_ns
