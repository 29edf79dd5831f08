"""Measurements into columns: from the wire, a turn's messages at once, and from objects.

rows --> batches: at most one row of each Box, all live or all sent again; a Box's rows stay in order
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.decision import NS_PER_MS, ORIGINAL_WINDOW_MS, Nominal, window_ns
from opq_proto.errors import ForeignError, FrameError
from opq_proto.measurement.fields import METRIC_NAMES
from opq_proto.messages import NOMINAL_HZ, NOMINAL_V, Measurement, TimeSource
from opq_proto.wire.frames import LARGEST, TOPIC_BYTES, checked_message, is_window, measurement_of
from opq_proto.wire.measurement_columns import MeasuredBoxes, NumberedColumns
from opq_proto.wire.opqbox3_pb2 import Measurement as WireMeasurement

NominalOf = Callable[[str, float | None, float | None], Nominal]
"""(Box, volts and hertz that it states) -> its nominal values."""
_USUAL, _SOURCES = len(METRIC_NAMES), len(TimeSource)
_LEAST, _MOST = np.array([NOMINAL_V, NOMINAL_HZ], np.float32).T
"""Volts and hertz that are believed."""
_WINDOW_NS = ORIGINAL_WINDOW_MS * NS_PER_MS


@dataclass(slots=True)
class _Batch:
    """Rows of one batch as lists."""

    backfilled: bool
    ids: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    metrics: list[float] = field(default_factory=list)
    declared: list[float] = field(default_factory=list)
    others: dict[int, Measurement] = field(default_factory=dict)
    exact: bool = False
    """Whether its metrics may be no float32: they are not from the wire."""

    def columns(self, nominal_of: NominalOf) -> NumberedColumns:
        count = len(self.ids)
        declared = np.array(self.declared, np.float32).reshape(count, 2)
        declared[~((declared >= _LEAST) & (declared <= _MOST))] = 0
        nominals = tuple(
            nominal_of(box_id, volts or None, hz or None)
            for box_id, (volts, hz) in zip(self.ids, declared.tolist(), strict=True)
        )
        numbers = np.array(self.numbers, np.int64).reshape(count, -1).T.copy()
        metrics: NDArray[Any] = np.array(self.metrics, np.float64 if self.exact else np.float32)
        timestamp_ms, start_ns, end_ns, uncertainty_ns, source, sequence, oldest, clock_id = numbers[:8]
        return NumberedColumns(
            MeasuredBoxes(tuple(self.ids), nominals), np.arange(count), start_ns, end_ns,
            metrics.reshape(count, _USUAL, 3), 0, TimeSource.FREE, timestamp_ms, sequence, oldest,
            uncertainty_ns, source, clock_id, numbers[8:10].T.copy(), declared, numbers[10],
            self.backfilled, self.others,
        )  # fmt: skip


class MeasurementRows:
    """Gathers rows, and returns them as batches."""

    def __init__(self) -> None:
        self.intervals: list[Measurement] = []
        """Intervals and disturbances, which are not rows of a batch."""
        self._batches: list[_Batch] = []
        self._next: dict[str, int] = {}
        """Box -> the first batch that has none of its rows, nor any earlier one."""

    def batches(self, nominal_of: NominalOf) -> list[NumberedColumns]:
        return [each.columns(nominal_of) for each in self._batches]

    def add_frames(self, frames: Sequence[bytes]) -> None:
        """Adds a topic and a Measurement. Raises FrameError, ForeignError as `measurement_from_frames`."""
        if len(frames) < 2:
            raise FrameError(f"{len(frames)} frames; want a topic and a Measurement")
        message = checked_message(frames[1])
        box = message.box_id
        if frames[0] != b"%04d" % box and frames[0].lstrip(b"0") != str(box or "").encode():
            raise ForeignError(f"Box {box} in a message of {frames[0][:TOPIC_BYTES]!r}")
        if not is_window(message):
            self.intervals.append(measurement_of(message))
        elif not self._add_regular(message):
            self.add(measurement_of(message))

    def _add_regular(self, message: WireMeasurement) -> bool:
        """Adds a message whose arrays say all of it; False: there is more in it, or less."""
        metrics, has = message.metrics, message.HasField
        if len(metrics) != _USUAL or message.crossing or message.gateway_id:
            return False
        if not ("f" in metrics and "rms" in metrics and "thd" in metrics and "trans" in metrics):
            return False  # the map would add a name that is not in it
        f, rms, thd, trans = metrics["f"], metrics["rms"], metrics["thd"], metrics["trans"]
        values = (
            f.min, f.max, f.average, rms.min, rms.max, rms.average,
            thd.min, thd.max, thd.average, trans.min, trans.max, trans.average,
        )  # fmt: skip
        start_ns, end_ns, uncertainty_ns = message.start_ns, message.end_ns, message.uncertainty_ns
        if not start_ns and not (has("start_ns") or has("end_ns") or has("uncertainty_ns")):
            end_ns = message.timestamp_ms * NS_PER_MS
            start_ns, uncertainty_ns = end_ns - _WINDOW_NS, -1
        elif not (start_ns and end_ns and (uncertainty_ns or has("uncertainty_ns"))):
            return False
        source, clock_id, first_sample = message.time_source, message.clock_id, message.first_sample
        start_id = message.start_id
        if not isfinite(sum(values)) or start_ns > end_ns or max(clock_id, first_sample, start_id) > LARGEST:
            return False
        batch = self._batch_of(str(message.box_id), message.backfilled)
        batch.numbers += (
            message.timestamp_ms, start_ns, end_ns, uncertainty_ns,
            source if 0 <= source < _SOURCES else TimeSource.FREE,
            message.sequence or (0 if has("sequence") else -1),
            message.oldest_sequence or (0 if has("oldest_sequence") else -1), clock_id,
            first_sample or (0 if has("first_sample") else -1),
            message.samples or (0 if has("samples") else -1), start_id,
        )  # fmt: skip
        batch.metrics += values
        batch.declared += message.nominal_v, message.nominal_hz
        return True

    def add(self, row: Measurement) -> None:
        """Adds a Measurement, exactly."""
        batch = self._batch_of(row.box_id, row.backfilled)
        batch.exact = True
        known = [row.metrics.get(name) for name in METRIC_NAMES]
        values = [
            value
            for each in known
            for value in ((nan, nan, nan) if each is None else (each.min, each.max, each.average))
        ]
        start_ns, end_ns, uncertainty_ns = row.start_ns, row.end_ns, row.uncertainty_ns
        if start_ns is None or end_ns is None or uncertainty_ns is None:
            regular = start_ns is end_ns is uncertainty_ns
        else:
            regular = start_ns <= end_ns
        if (
            not regular
            or len(row.metrics) != _USUAL
            or row.crossing
            or row.gateway_id is not None
            or not isfinite(sum(values))
        ):  # the arrays do not say all of it
            batch.others[len(batch.ids) - 1] = row
        sequence, oldest, first, samples = row.sequence, row.oldest_sequence, row.first_sample, row.samples
        batch.numbers += (
            row.timestamp_ms, *window_ns(row), -1 if uncertainty_ns is None else uncertainty_ns,
            int(row.source), -1 if sequence is None else sequence, -1 if oldest is None else oldest,
            row.clock_id or 0, -1 if first is None else first, -1 if samples is None else samples,
            row.start_id or 0,
        )  # fmt: skip
        batch.metrics += values
        batch.declared += row.nominal_v or 0.0, row.nominal_hz or 0.0

    def _batch_of(self, box_id: str, backfilled: bool) -> _Batch:
        at, batches = self._next.get(box_id, 0), self._batches
        while at < len(batches) and batches[at].backfilled != backfilled:
            at += 1
        if at == len(batches):
            batches.append(_Batch(backfilled))
        self._next[box_id] = at + 1
        batches[at].ids.append(box_id)
        return batches[at]


def batches_of(rows: Iterable[Measurement], nominal_of: NominalOf) -> list[NumberedColumns]:
    """Returns these Measurements as batches."""
    made = MeasurementRows()
    for row in rows:
        made.add(row)
    return made.batches(nominal_of)


def batches_from_wire(
    messages: Iterable[Sequence[bytes]], nominal_of: NominalOf, intervals: list[Measurement] | None = None
) -> tuple[list[NumberedColumns], list[FrameError]]:
    """Returns Measurements with their topics as batches, and why messages could not be read.

    Intervals and disturbances, which have no metrics, are added to `intervals`, or left out.
    """
    made, malformed = MeasurementRows(), []
    for frames in messages:
        try:
            made.add_frames(frames)
        except FrameError as error:
            malformed.append(error)
    if intervals is not None:
        intervals += made.intervals
    return made.batches(nominal_of), malformed
