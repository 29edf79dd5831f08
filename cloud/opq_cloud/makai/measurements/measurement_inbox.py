"""Measurements as they come from the broker: regular ones as columns, all others as objects.

    frames of one turn --> MeasurementBatch --> rounds: arrays, at most one of each Box, as triggers need it
                                            --> rows: irregular ones, and all others of their Boxes

The order of one Box's Measurements stays. Columns hold Boxes with known stated nominal values; a Box that is
new, or states other values now, is known from the next turn on.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.boxes import BoxRegister
from opq_proto.decision import Nominal
from opq_proto.errors import FrameError
from opq_proto.messages import Measurement, TimeSource
from opq_proto.wire.frames import measurement_from_frames
from opq_proto.wire.measurement_batch import MeasurementBatch, WireRows
from opq_proto.wire.measurement_columns import MeasuredBoxes, NumberedColumns

MIN_BATCH = 16
"""Fewer are judged one by one, which takes 12 us each: together they begin at 280 us."""
RENEW_S = 0.1
"""Shortest interval of remaking the table: a Box may state other values each time."""


@dataclass(slots=True)
class ReadMeasurements:
    """The Measurements that one turn of the loop has read; `rounds` are judged before `rows`."""

    rounds: list[NumberedColumns] = field(default_factory=list)
    rows: list[Measurement] = field(default_factory=list)
    malformed: list[FrameError] = field(default_factory=list)


class BoxTable:
    """Maps a Box number and its stated nominal values to its index in `boxes`."""

    def __init__(self, register: BoxRegister, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.boxes = MeasuredBoxes((), ())
        self._register = register
        self._now = monotonic_s
        self._numbers: NDArray[np.int64] = np.zeros(0, np.int64)
        """(boxes,) rising."""
        self._declared: NDArray[np.float32] = np.zeros((0, 2), np.float32)
        self._read = register.nominals_read
        self._renewed_s = -RENEW_S

    def places(self, numbers: NDArray[np.int64], declared: NDArray[np.float32]) -> NDArray[np.int64]:
        """Returns (n,) the index of each Box in `boxes`, -1 where it has none. declared: (n, 2) volts and
        hertz, 0: none.
        """
        if self._read != self._register.nominals_read:
            self._read = self._register.nominals_read
            self._make(dict(zip(self._numbers.tolist(), self._declared.tolist(), strict=True)))
        if not len(self._numbers):
            return np.full(len(numbers), -1)
        at = np.minimum(np.searchsorted(self._numbers, numbers), len(self._numbers) - 1)
        known = (self._numbers[at] == numbers) & (self._declared[at] == declared).all(axis=1)
        return np.where(known, at, -1)

    def add(self, numbers: NDArray[np.int64], declared: NDArray[np.float32]) -> None:
        """Adds these from the next turn on."""
        now_s = self._now()
        if now_s - self._renewed_s < RENEW_S:
            return
        self._renewed_s = now_s
        known = dict(zip(self._numbers.tolist(), self._declared.tolist(), strict=True))
        known.update(zip(numbers.tolist(), declared.tolist(), strict=True))
        self._make(known)

    def _make(self, known: dict[int, list[float]]) -> None:
        order = sorted(known)
        self._numbers = np.array(order, np.int64)
        self._declared = np.array([known[number] for number in order], np.float32).reshape(-1, 2)
        ids = tuple(map(str, order))
        nominals = tuple(
            self._register.nominal(box_id, volts or None, hz or None)
            for box_id, (volts, hz) in zip(ids, self._declared.tolist(), strict=True)
        )
        self.boxes = MeasuredBoxes(ids, nominals)


class MeasurementInbox:
    """Reads the messages of one turn; belongs to one loop."""

    def __init__(self, register: BoxRegister, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._batch = MeasurementBatch()
        self._table = BoxTable(register, monotonic_s)

    def read(self, messages: Sequence[Sequence[bytes]]) -> ReadMeasurements:
        """Reads messages with a topic and a Measurement each."""
        found = ReadMeasurements()
        bodies = [frames[1] if len(frames) > 1 else b"" for frames in messages]
        wire, places = self._batch.read(bodies)
        if wire is not None:
            pairs = zip(wire.at.tolist(), wire.box.tolist(), strict=True)
            own = np.array([messages[at][0] == b"%04d" % box for at, box in pairs])
            if not own.all():
                places += wire.at[~own].tolist()
                wire = wire.part(own) if own.any() else None
        one_by_one: dict[int, Measurement] = {}
        for at in places:
            try:
                one_by_one[at] = measurement_from_frames(messages[at])
            except FrameError as error:
                found.malformed.append(error)
        if wire is not None:
            for at, row in self._read_columns(wire, one_by_one, found.rounds):
                one_by_one[at] = row
        found.rows = [one_by_one[at] for at in sorted(one_by_one)]
        return found

    def _read_columns(
        self, wire: WireRows, others: dict[int, Measurement], rounds: list[NumberedColumns]
    ) -> list[tuple[int, Measurement]]:
        """Puts rows into `rounds` where possible; returns the rest with its places."""
        declared = np.stack((wire.nominal_v, wire.nominal_hz), axis=1)
        which = self._table.places(wire.box, declared)
        boxes = self._table.boxes
        apart = which < 0
        if apart.any():
            self._table.add(wire.box[apart], declared[apart])
            apart = np.isin(wire.box, wire.box[apart])
        if others:  # the order of each Box's Measurements stays
            apart |= np.isin(wire.box, [int(row.box_id) for row in others.values()])
        columns = _columns(wire, boxes, which, declared)
        left = np.flatnonzero(~apart)
        while len(left):
            _, first = np.unique(which[left], return_index=True)
            if len(first) < MIN_BATCH:
                break
            first.sort()
            rounds += _by_lateness(columns, wire, left[first])
            left = np.delete(left, first)
        apart[left] = True
        if not apart.any():
            return []
        ids = dict(zip(wire.box[apart].tolist(), map(str, wire.box[apart].tolist()), strict=True))
        order = sorted(ids)
        own = MeasuredBoxes(tuple(ids[number] for number in order), (_NONE,) * len(order))
        rest = _columns(wire, own, np.searchsorted(order, wire.box), declared)
        late = wire.backfilled == 1
        return [
            pair
            for part, rows in ((rest, apart & ~late), (replace(rest, backfilled=True), apart & late))
            for pair in zip(wire.at[rows].tolist(), part.part(rows).measurements(), strict=True)
        ]


_NONE = Nominal(0.0, 0.0)


def _by_lateness(columns: NumberedColumns, wire: WireRows, rows: NDArray[np.int64]) -> list[NumberedColumns]:
    """Splits these rows: the live ones, then those sent later, or again."""
    late = wire.backfilled[rows] == 1
    if not late.any():
        return [columns if len(rows) == len(columns) else columns.part(rows)]
    again = replace(columns.part(rows[late]), backfilled=True)
    return [again] if late.all() else [columns.part(rows[~late]), again]


def _columns(
    wire: WireRows, boxes: MeasuredBoxes, which: NDArray[np.int64], declared: NDArray[np.float32]
) -> NumberedColumns:
    return NumberedColumns(
        boxes, which, wire.start_ns, wire.end_ns, wire.metrics, 0, TimeSource.FREE, wire.timestamp_ms,
        wire.sequence, wire.oldest, wire.uncertainty_ns, wire.source, wire.clock_id,
        np.stack((wire.first_sample, wire.samples), axis=1), declared,
    )  # fmt: skip
