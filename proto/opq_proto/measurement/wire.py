"""Measurements on the wire: one at a time, and many into arrays.

Milliseconds exist only on the original's wire; fields from 1000 on are additions of this project
(proto/opqbox3.proto). Unreadable bytes raise FrameError and nothing else; what cannot be true is refused
(`invariants.py`).

    messages --> batches: at most one row of each Box, all live or all sent again; a Box's rows stay in order
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, nan
from time import time_ns
from typing import Any

import numpy as np
from google.protobuf.message import EncodeError
from numpy.typing import NDArray

from opq_proto.decision import ORIGINAL_WINDOW_MS, Nominal, window_ns
from opq_proto.errors import ForeignError, FrameError
from opq_proto.measurement.batch import NOT_STATED, Measurements
from opq_proto.measurement.fields import FIELDS, METRIC_NAMES, MOST_NUMBER
from opq_proto.measurement.interval_message import (
    read_disturbance,
    read_interval,
    read_lost,
    write_disturbance,
    write_interval,
    write_lost,
)
from opq_proto.measurement.invariants import (
    LATEST_NS,
    MAX_AHEAD_NS,
    Refusals,
    RefusedError,
    impossible,
    is_window,
    possible_metrics,
    wrong_of,
)
from opq_proto.messages import (
    NOMINAL_HZ,
    NOMINAL_V,
    UNKNOWN_UNCERTAINTY_NS,
    Measurement,
    TimeSource,
    nominal_or_none,
)
from opq_proto.time_units import NS_PER_MS
from opq_proto.wire.frames import TOPIC_BYTES
from opq_proto.wire.opqbox3_pb2 import Measurement as WireMeasurement
from opq_proto.wire.waveforms import box_number, read_message, time_source

NominalOf = Callable[[str, float | None, float | None], Nominal]
"""(Box, volts and hertz that it states) -> its nominal values."""
LARGEST = 2**63 - 1  # what a database's whole number holds; the wire's uint64 goes further
MOST_SAMPLES = 2 * 10**9
"""Samples of one Measurement: two minutes at 10 MS/s are fewer."""
_USUAL = len(METRIC_NAMES)
_SOURCES = len(TimeSource)
_LEAST_NOMINAL = np.array([NOMINAL_V[0], NOMINAL_HZ[0]], np.float32)
"""Least nominal volts and hertz that are believed."""
_MOST_NOMINAL = np.array([NOMINAL_V[1], NOMINAL_HZ[1]], np.float32)
"""Most nominal volts and hertz that are believed."""
_NUMBERS = tuple(each.name for each in FIELDS if each.dtype == "i8")
_WINDOW_NS = ORIGINAL_WINDOW_MS * NS_PER_MS


def measurement_to_wire(measurement: Measurement) -> bytes:
    """Makes a protobuf Measurement, without values that are not finite and impossible nominal values.

    Raises:
        FrameError: the box id or a time does not fit the wire.
    """
    try:
        message = WireMeasurement(
            box_id=box_number(measurement.box_id), timestamp_ms=measurement.timestamp_ms
        )
        for key, metric in measurement.metrics.items():
            if isfinite(metric.min) and isfinite(metric.max) and isfinite(metric.average):
                entry = message.metrics[key]
                entry.min, entry.max, entry.average = metric.min, metric.max, metric.average
        if measurement.start_ns is not None:
            message.start_ns = measurement.start_ns
        if measurement.end_ns is not None:
            message.end_ns = measurement.end_ns
        if measurement.uncertainty_ns is not None:
            message.uncertainty_ns = min(measurement.uncertainty_ns, UNKNOWN_UNCERTAINTY_NS)
        message.time_source = int(measurement.source)  # type: ignore[assignment]
        if measurement.sequence is not None:
            message.sequence = measurement.sequence
        if measurement.oldest_sequence is not None:
            message.oldest_sequence = measurement.oldest_sequence
        message.backfilled = measurement.backfilled
        message.crossing = measurement.crossing
        if measurement.nominal_v is not None and nominal_or_none(measurement.nominal_v, NOMINAL_V):
            message.nominal_v = measurement.nominal_v
        if measurement.nominal_hz is not None and nominal_or_none(measurement.nominal_hz, NOMINAL_HZ):
            message.nominal_hz = measurement.nominal_hz
        if measurement.clock_id:
            message.clock_id = measurement.clock_id
        if measurement.gateway_id:
            message.gateway_id = measurement.gateway_id
        if measurement.first_sample is not None:
            message.first_sample = measurement.first_sample
        if measurement.samples is not None:
            message.samples = measurement.samples
        if measurement.start_id:
            message.start_id = measurement.start_id
        if measurement.interval is not None:
            write_interval(message.interval, measurement.interval)
        if measurement.disturbance is not None:
            write_disturbance(message.disturbance, measurement.disturbance)
        if measurement.lost is not None:
            write_lost(message.lost, measurement.lost)
        return message.SerializeToString()
    except (ValueError, TypeError, EncodeError) as error:
        raise FrameError(f"Box {measurement.box_id}: measurement does not fit the wire: {error}") from error


def measurement_from_wire(data: bytes) -> Measurement:
    """Reads a protobuf Measurement, the original's or this project's. Raises FrameError."""
    return measurement_of(checked_message(data))


def checked_message(data: bytes, latest_ns: int = LATEST_NS) -> WireMeasurement:
    """Parses a protobuf Measurement. `latest_ns`: the latest time that is believed.

    Raises:
        RefusedError: its times or numbers cannot be true (`invariants.wrong_of`).
        FrameError: not a Measurement, or empty.
    """
    message = _parsed(data)
    if wrong := wrong_of(message, latest_ns):
        raise RefusedError(message, wrong)
    return message


def _parsed(data: bytes) -> WireMeasurement:
    if not data:
        raise FrameError("empty measurement")
    return read_message(WireMeasurement, data)


def measurement_of(message: WireMeasurement, refused: Refusals | None = None) -> Measurement:
    """Returns what a checked message says.

    Values that cannot be true are left out, and counted in `refused`. Impossible nominal values, a clock_id,
    gateway_id or start_id beyond 2**63 - 1, a first_sample and samples beyond their limits are left out; an
    unknown time source counts as FREE.
    """
    has = message.HasField
    sequence, oldest = message.sequence, message.oldest_sequence
    return Measurement(
        str(message.box_id),
        message.timestamp_ms,
        possible_metrics(message, refused),
        message.start_ns if has("start_ns") else None,
        message.end_ns if has("end_ns") else None,
        message.uncertainty_ns if has("uncertainty_ns") else None,
        time_source(message.time_source),
        sequence if sequence or has("sequence") else None,
        oldest if oldest or has("oldest_sequence") else None,
        message.backfilled,
        message.crossing,
        nominal_or_none(message.nominal_v, NOMINAL_V),  # absent reads as 0, not believed
        nominal_or_none(message.nominal_hz, NOMINAL_HZ),
        message.clock_id if 0 < message.clock_id <= LARGEST else None,
        message.gateway_id if 0 < message.gateway_id <= LARGEST else None,
        message.first_sample if has("first_sample") and message.first_sample <= MOST_NUMBER else None,
        message.samples if has("samples") and message.samples <= MOST_SAMPLES else None,
        message.start_id if 0 < message.start_id <= LARGEST else None,
        read_interval(message.interval, str(message.box_id), refused) if has("interval") else None,
        read_disturbance(message, refused) if has("disturbance") else None,
        read_lost(message.lost) if has("lost") else None,
    )


def measurement_from_frames(frames: Sequence[bytes]) -> Measurement:
    """Reads topic and Measurement as a broker sends them; further frames are ignored.

    A broker compares the sender's key with the topic only.

    Raises:
        FrameError: as `measurement_from_wire`, and a time that is MAX_AHEAD_NS ahead of now.
        ForeignError: the topic is another Box's.
    """
    return measurement_of(_message_of(frames, time_ns() + MAX_AHEAD_NS))


def sequence_tail(sequence: int, oldest: int, backfilled: bool) -> bytes:
    """Returns the bytes that give a Measurement its numbers when it is sent, new or again.

    Concatenated protobuf messages are merged: they follow the body.
    """
    return WireMeasurement(
        sequence=sequence, oldest_sequence=oldest, backfilled=backfilled
    ).SerializeToString()


def bodies_of(batch: Measurements) -> list[bytes]:
    """Returns each of them as `measurement_to_wire`."""
    return list(map(measurement_to_wire, batch.rows()))


def _message_of(frames: Sequence[bytes], latest_ns: int) -> WireMeasurement:
    if len(frames) < 2:
        raise FrameError(f"{len(frames)} frames; want a topic and a Measurement")
    message = _parsed(frames[1])
    box = message.box_id
    if frames[0] != b"%04d" % box and frames[0].lstrip(b"0") != str(box or "").encode():
        raise ForeignError(f"Box {box} in a message of {frames[0][:TOPIC_BYTES]!r}")
    if wrong := wrong_of(message, latest_ns):
        raise RefusedError(message, wrong)
    return message


@dataclass(slots=True)
class _Batch:
    """Rows of one batch as lists."""

    backfilled: bool
    ids: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    metrics: list[float] = field(default_factory=list)
    declared: list[float] = field(default_factory=list)
    extra: dict[int, Measurement] = field(default_factory=dict)
    exact: bool = False
    """Whether its metrics may be no float32: they are not from the wire."""

    def columns(self, nominal_of: NominalOf) -> Measurements:
        count = len(self.ids)
        dtype = np.float64 if self.exact else np.float32
        declared: NDArray[Any] = np.array(self.declared, dtype).reshape(count, 2)
        declared[~((declared >= _LEAST_NOMINAL) & (declared <= _MOST_NOMINAL))] = 0
        nominals = tuple(
            nominal_of(box_id, volts or None, hz or None)
            for box_id, (volts, hz) in zip(self.ids, declared.tolist(), strict=True)
        )
        numbers = np.array(self.numbers, np.int64).reshape(count, -1).T.copy()
        metrics: NDArray[Any] = np.array(self.metrics, dtype)
        return Measurements(
            box_ids=tuple(self.ids),
            nominals=nominals,
            which=np.arange(count),
            metrics=metrics.reshape(count, _USUAL, 3),
            nominal_v=declared[:, 0],
            nominal_hz=declared[:, 1],
            backfilled=self.backfilled,
            extra=self.extra,
            **dict(zip(_NUMBERS, numbers, strict=True)),
        )


class MeasurementReader:
    """Reads messages and Measurements, and returns them as batches.

    Attributes:
        count: messages that were read.
        malformed: why some of them are not Measurements.
        intervals: intervals, disturbances and what was lost of them, which are not rows of a batch.
        pressing: Boxes with a Measurement that may begin an event.
        refused: Measurements that cannot be true.
        refusals: values and Measurements that cannot be true, counted by Box and name.
    """

    def __init__(self, swing: float = inf) -> None:
        """`swing`: share of the largest rms; where the rms moves by more, a dip or a swell may begin.

        A crossing, or one without rms, may begin an event too.
        """
        self._swing = swing
        self._windows: list[WireMeasurement] = []
        """Rows are made of all of them together: few messages at a time would cost twice as much each."""
        self.count = 0
        self.malformed: list[FrameError] = []
        self.intervals: list[Measurement] = []
        self.pressing: set[str] = set()
        self.refused: list[RefusedError] = []
        self.refusals: Refusals = Refusals()

    def read(self, messages: Iterable[Sequence[bytes]]) -> None:
        """Reads a topic and a Measurement each, as `measurement_from_frames`."""
        latest_ns = time_ns() + MAX_AHEAD_NS
        for frames in messages:
            self.count += 1
            try:
                message = _message_of(frames, latest_ns)
            except RefusedError as error:
                self.refused.append(error)
                self.refusals[error.box_id, error.what] += 1
                continue
            except FrameError as error:
                self.malformed.append(error)
                continue
            if not is_window(message):
                self.intervals.append(measurement_of(message, self.refusals))
                continue
            self._windows.append(message)
            if message.crossing or not self._is_even(message):
                self.pressing.add(str(message.box_id))

    def batches(self, nominal_of: NominalOf) -> list[Measurements]:
        """Returns what was read since the last call."""
        made, windows = _Rows(), self._windows
        self._windows = []
        for message in windows:
            made.add_message(message, self.refusals)
        return [self._believed(each) for each in made.batches(nominal_of)]

    def _believed(self, batch: Measurements) -> Measurements:
        """Returns a batch without metrics that cannot be true."""
        wrong = impossible(batch.metrics)
        if batch.extra:
            wrong[list(batch.extra)] = False  # read one by one; what they do not state is not wrong
        if not wrong.any():
            return batch
        stated = wrong & ~np.isnan(batch.metrics).all(axis=2)
        for at, place in zip(*(each.tolist() for each in stated.nonzero()), strict=True):
            self.refusals[batch.box_ids[batch.which[at]], METRIC_NAMES[place]] += 1
        return batch.without(wrong)

    def _is_even(self, message: WireMeasurement) -> bool:
        if "rms" not in message.metrics:  # the map would add a name that is not in it
            return False
        rms = message.metrics["rms"]
        low, high = rms.min, rms.max
        return isfinite(low + high + rms.average) and high - low <= self._swing * high


class _Rows:
    """Rows on their way into batches."""

    def __init__(self) -> None:
        self._batches: list[_Batch] = []
        self._next: dict[str, int] = {}
        """Box -> the first batch that has none of its rows, nor any earlier one."""

    def batches(self, nominal_of: NominalOf) -> list[Measurements]:
        return [each.columns(nominal_of) for each in self._batches]

    def add_message(self, message: WireMeasurement, refused: Refusals) -> None:
        if not self._add_regular(message):
            self.add(measurement_of(message, refused))

    def _add_regular(self, message: WireMeasurement) -> bool:
        """Adds a message whose arrays say all of it; False: there is more in it, or less."""
        metrics, has = message.metrics, message.HasField
        if len(metrics) != _USUAL or message.crossing or message.gateway_id:
            return False
        if not ("f" in metrics and "rms" in metrics and "thd" in metrics and "trans" in metrics):
            return False  # the map would add a name that is not in it
        f, rms, thd, trans = metrics["f"], metrics["rms"], metrics["thd"], metrics["trans"]
        values = (
            f.min,
            f.max,
            f.average,
            rms.min,
            rms.max,
            rms.average,
            thd.min,
            thd.max,
            thd.average,
            trans.min,
            trans.max,
            trans.average,
        )
        start_ns, end_ns, uncertainty_ns = message.start_ns, message.end_ns, message.uncertainty_ns
        if not start_ns and not (has("start_ns") or has("end_ns") or has("uncertainty_ns")):
            end_ns = message.timestamp_ms * NS_PER_MS
            start_ns, uncertainty_ns = end_ns - _WINDOW_NS, NOT_STATED
        elif not (start_ns and end_ns and (uncertainty_ns or has("uncertainty_ns"))):
            return False
        source, clock_id, first_sample = message.time_source, message.clock_id, message.first_sample
        start_id = message.start_id
        if max(clock_id, start_id) > LARGEST or first_sample > MOST_NUMBER or message.samples > MOST_SAMPLES:
            return False
        batch = self._batch_of(str(message.box_id), message.backfilled)
        batch.numbers += (
            message.timestamp_ms,
            start_ns,
            end_ns,
            uncertainty_ns,
            source if 0 <= source < _SOURCES else TimeSource.FREE,
            message.sequence or (0 if has("sequence") else NOT_STATED),
            message.oldest_sequence or (0 if has("oldest_sequence") else NOT_STATED),
            clock_id,
            first_sample or (0 if has("first_sample") else NOT_STATED),
            message.samples or (0 if has("samples") else NOT_STATED),
            start_id,
        )
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
            or not row.is_window
            or not isfinite(sum(values))
        ):  # the arrays do not say all of it
            batch.extra[len(batch.ids) - 1] = row
        numbers = (
            row.timestamp_ms,
            *window_ns(row),
            uncertainty_ns,
            int(row.source),
            row.sequence,
            row.oldest_sequence,
            row.clock_id or 0,
            row.first_sample,
            row.samples,
            row.start_id or 0,
        )
        batch.numbers += (NOT_STATED if each is None else each for each in numbers)
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


def batches_of(rows: Iterable[Measurement], nominal_of: NominalOf) -> list[Measurements]:
    """Returns these Measurements as batches."""
    made = _Rows()
    for row in rows:
        made.add(row)
    return made.batches(nominal_of)
