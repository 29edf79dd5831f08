"""Silence: a Box that was silent is back; the time before its silence is requested.

In: Measurement.  Out: at most one Decision, a span that is over.  State: per Box, its last window. Without
supply a Box measures nothing, and its sequence continues where it was. A Box whose network or whose cloud
was away continued to measure: its sequence has increased, its Measurements arrive later, and nothing is
requested. An original Box has no sequence; for it time alone counts. A Box that was restarted by a
command, as for new firmware, had its supply, and so had one whose samples only did not arrive.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.quiet_rows import ids_of
from opq_proto.decision import Decision, Nominal, window_ns
from opq_proto.measurement_columns import MeasurementColumns
from opq_proto.messages import Measurement
from opq_proto.supply_word import sampled_on_s, supplied_restart

name = "silence"
kind = "trigger"

NEVER_NS = 2**62
"""A Box that was not heard before has no silence."""


@dataclass(frozen=True, slots=True)
class Config:
    """The silences that count."""

    silence_s: float = field(
        default=10.0, metadata={"minimum": 1, "maximum": 86_400, "help": "shorter is none"}
    )
    longest_h: float = field(
        default=24.0, metadata={"minimum": 0.01, "maximum": 1000, "help": "after longer nothing is asked for"}
    )
    before_s: float = field(
        default=5.0, metadata={"minimum": 0.1, "maximum": 100, "help": "asked for, up to where it went"}
    )


@dataclass(slots=True)
class LastWindow:
    """End of the last Measurement of one Box, and its sequence number."""

    end_ns: int
    sequence: int | None


def begin(config: Config) -> dict[str, LastWindow]:
    """Begins without Boxes."""
    return {}


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: dict[str, LastWindow]
) -> tuple[Decision | None, dict[str, LastWindow]]:
    """Decides at the first window after a silence."""
    if measurement.crossing or measurement.backfilled:
        return None, state
    box_id = measurement.box_id
    last = state.get(box_id)
    end_ns = measurement.end_ns
    start_ns = measurement.start_ns
    if end_ns is None or start_ns is None:
        start_ns, end_ns = window_ns(measurement)
    if last is None:
        state[box_id] = LastWindow(end_ns, measurement.sequence)
        return None, state
    before_ns, before = last.end_ns, last.sequence
    last.end_ns, last.sequence = end_ns, measurement.sequence
    silent_s = (start_ns - before_ns) / 1e9
    if not config.silence_s <= silent_s <= config.longest_h * 3600:
        return None, state
    if before is not None and measurement.sequence is not None:
        measured_s = (measurement.sequence - before - 1) * (end_ns - start_ns) / 1e9
        if measurement.sequence < before or measured_s > silent_s / 2:
            return None, state
    if supplied_restart(measurement.metrics) or sampled_on_s(measurement.metrics, silent_s) is not None:
        return None, state
    span_ns = max(0, before_ns - round(config.before_s * 1e9)), before_ns
    because = f"{name}: nothing was measured for {silent_s:.1f} s; this came before"
    return Decision(name, silent_s, config.silence_s, because, span_ns), state


def is_quiet(
    columns: MeasurementColumns, config: Config, state: dict[str, LastWindow]
) -> bool | NDArray[np.bool_]:
    """Returns True where each follows its Box's last."""
    if columns.backfilled:
        return True
    if not columns.once:
        return False
    last_ns = [NEVER_NS if (last := state.get(box_id)) is None else last.end_ns for box_id in ids_of(columns)]
    quiet: NDArray[np.bool_] = (columns.start_ns - np.array(last_ns, np.int64)) / 1e9 < config.silence_s
    return quiet


def note_quiet(columns: MeasurementColumns, config: Config, state: dict[str, LastWindow]) -> None:
    """Notes the last of each."""
    if columns.backfilled:
        return
    numbers = columns.sequences
    sequences = [None] * len(columns) if numbers is None else numbers.tolist()
    rows = zip(ids_of(columns), columns.end_ns.tolist(), sequences, strict=True)
    for box_id, end_ns, number in rows:
        sequence = None if number is None or number < 0 else number
        last = state.get(box_id)
        if last is None:
            state[box_id] = LastWindow(end_ns, sequence)
        else:
            last.end_ns, last.sequence = end_ns, sequence
