"""MeasurementColumns: many Measurements of many Boxes as arrays, where an object each would cost too much.

Measurements that Boxes send also have a sequence number and a clock each (`NumberedColumns`).
`measurements()` returns the objects; both forms are equal to the last bit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.decision import NS_PER_MS, Nominal
from opq_proto.measurement.fields import METRIC_NAMES
from opq_proto.messages import Measurement, Metric, TimeSource

_SOURCES = tuple(TimeSource)

ALONE = 4
"""So many rows are made to objects alone, which costs as much as ten of all."""


@dataclass(frozen=True, eq=False)
class MeasuredBoxes:
    """Boxes by index."""

    ids: tuple[str, ...]
    nominals: tuple[Nominal, ...]
    """The nominal values that each Box reports."""


@dataclass(frozen=True, eq=False)
class MeasurementColumns:
    """n Measurements; those of one Box in time order."""

    boxes: MeasuredBoxes
    which: NDArray[np.int64]
    """(n,) Box by index."""
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    """(n,) UTC."""
    metrics: NDArray[np.float32]
    """(n, 4, 3) of METRIC_NAMES: least, most, mean; NaN where unknown. float32, as the wire has them."""
    uncertainty_ns: int
    source: TimeSource

    def __len__(self) -> int:
        return len(self.which)

    @cached_property
    def timestamp_ms(self) -> NDArray[np.int64]:
        """(n,) the end, rounded."""
        return (self.end_ns + NS_PER_MS // 2) // NS_PER_MS

    @property
    def sequences(self) -> NDArray[np.int64] | None:
        """(n,) sequence numbers, -1 where a Measurement has none; None where no Measurement has one."""
        return None

    @property
    def backfilled(self) -> bool:
        """Whether all of them were sent later, or again, so that they are not live."""
        return False

    @property
    def others(self) -> Mapping[int, Measurement]:
        """Row -> Measurement, of those that say more than the arrays: a crossing, or one with other metrics.

        Their rows have what the arrays can hold of them.
        """
        return {}

    @cached_property
    def irregular(self) -> NDArray[np.bool_]:
        """(n,) whether each is one of `others`."""
        found = np.zeros(len(self), np.bool_)
        for at in self.others:
            found[at] = True
        return found

    @cached_property
    def crossing(self) -> NDArray[np.bool_]:
        """(n,) whether each is a crossing."""
        found = np.zeros(len(self), np.bool_)
        for at, row in self.others.items():
            found[at] = row.crossing
        return found

    @cached_property
    def stated(self) -> NDArray[np.bool_]:
        """(n,) whether the Box states the time of each exactly; an original one does not."""
        return np.ones(len(self), np.bool_)

    @cached_property
    def all_stated(self) -> bool:
        """Whether all of them are `stated`."""
        return bool(self.stated.all())

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """(4, 3, n) the metrics by METRIC_NAMES: least, most, mean; NaN where unknown."""
        return np.ascontiguousarray(self.metrics.transpose(1, 2, 0), dtype=np.float64)

    @cached_property
    def ids(self) -> list[str]:
        """(n,) the Box of each."""
        ids = self.boxes.ids
        return [ids[box] for box in self.which.tolist()]

    def declared_values(self) -> list[tuple[float, float]]:
        """(n,) nominal volts and hertz that each Measurement states; 0 where it states none."""
        nominals = [self.nominal(at) for at in range(len(self))]
        return [(each.volts, each.hz) for each in nominals]

    def measurement(self, at: int) -> Measurement:
        """Returns one row as an object; each is made once, and all of them where many are wanted."""
        made = self._made
        if at not in made:
            if len(self) == 1 or len(made) >= ALONE:
                made.update(enumerate(self.measurements()))
            else:
                made[at] = self.part(np.array([at])).measurements()[0]
        return made[at]

    def nominal(self, at: int) -> Nominal:
        """Returns the nominal values of the Box of one row."""
        return self.boxes.nominals[int(self.which[at])]

    @cached_property
    def _made(self) -> dict[int, Measurement]:
        return {}

    def part(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "MeasurementColumns":
        """Returns the Measurements of these rows, in the same order."""
        changes = {name: getattr(self, name)[rows] for name in ("which", "start_ns", "end_ns", "metrics")}
        return replace(self, **changes)

    @cached_property
    def finite(self) -> bool:
        """Whether every metric is finite."""
        return bool(np.isfinite(self.metrics).all())

    @cached_property
    def once(self) -> bool:
        """Whether no Box has more than one of them."""
        return len(np.unique(self.which)) == len(self.which)

    def rounds(self) -> "list[MeasurementColumns]":
        """Returns the same Measurements in parts with at most one of each Box; each Box's stay in order."""
        if self.once:
            return [self]
        found, left = [], np.arange(len(self))
        while len(left):
            _, first = np.unique(self.which[left], return_index=True)
            first.sort()
            found.append(self.part(left[first]))
            left = np.delete(left, first)
        return found

    def measurements(self) -> list[Measurement]:
        """Returns the Measurements as objects, in the same order."""
        boxes = self.boxes
        rows = zip(
            self.which.tolist(),
            self.timestamp_ms.tolist(),
            self.start_ns.tolist(),
            self.end_ns.tolist(),
            self.metrics.tolist(),
            strict=True,
        )
        return [
            Measurement(
                boxes.ids[box],
                timestamp_ms,
                {name: Metric(*row) for name, row in zip(METRIC_NAMES, values, strict=True)},
                start_ns,
                end_ns,
                self.uncertainty_ns,
                self.source,
                nominal_v=boxes.nominals[box].volts,
                nominal_hz=boxes.nominals[box].hz,
            )
            for box, timestamp_ms, start_ns, end_ns, values in rows
        ]


@dataclass(frozen=True, eq=False)
class NumberedColumns(MeasurementColumns):
    """n Measurements from the wire, each with a sequence number and a clock of its own.

    The common `uncertainty_ns` and `source` have no meaning here. Where a Box states no exact times, the
    window is that of `decision.window_ns`.
    """

    timestamps_ms: NDArray[np.int64]
    """(n,) `Measurement.timestamp_ms`."""
    sequence: NDArray[np.int64]
    oldest: NDArray[np.int64]
    """(n,), -1 where the sender gives none."""
    uncertainties_ns: NDArray[np.int64]
    """(n,), -1 where the sender states no exact times."""
    sources: NDArray[np.int64]
    clock_ids: NDArray[np.int64]
    """(n,), 0 where the sender gives none."""
    samples: NDArray[np.int64]
    """(n, 2) index of the first sample and number of samples; -1 where the sender gives none."""
    declared: NDArray[np.float32]
    """(n, 2) nominal volts and hertz in the Measurement itself; 0 where it has none."""
    start_ids: NDArray[np.int64]
    """(n,) the start of the Box, 0 where the sender names none."""
    backfilled: bool = False
    objects: Mapping[int, Measurement] = field(default_factory=dict)
    """`others`."""

    @property
    def others(self) -> Mapping[int, Measurement]:
        return self.objects

    def declared_values(self) -> list[tuple[float, float]]:
        return [(volts, hz) for volts, hz in self.declared.tolist()]

    @cached_property
    def timestamp_ms(self) -> NDArray[np.int64]:
        return self.timestamps_ms

    @cached_property
    def stated(self) -> NDArray[np.bool_]:
        stated: NDArray[np.bool_] = self.uncertainties_ns >= 0
        return stated

    @property
    def sequences(self) -> NDArray[np.int64] | None:
        return self.sequence

    def part(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "NumberedColumns":
        own: dict[str, Any] = {name: getattr(self, name)[rows] for name in _OF_ROWS}
        if self.others:
            places = np.arange(len(self))[rows].tolist()
            own["objects"] = {at: self.others[row] for at, row in enumerate(places) if row in self.others}
        return replace(self, **own)

    def measurements(self) -> list[Measurement]:
        found = self._of_arrays()
        for at, row in self.others.items():
            found[at] = row
        return found

    def _of_arrays(self) -> list[Measurement]:
        ids = self.boxes.ids
        rows = zip(*(getattr(self, name).tolist() for name in _OF_ROWS), strict=True)
        return [
            Measurement(
                ids[box],
                timestamp_ms,
                {name: Metric(*row) for name, row in zip(METRIC_NAMES, values, strict=True)},
                None if uncertainty_ns < 0 else start_ns,
                None if uncertainty_ns < 0 else end_ns,
                None if uncertainty_ns < 0 else uncertainty_ns,
                _SOURCES[source],
                None if sequence < 0 else sequence,
                None if oldest < 0 else oldest,
                self.backfilled,
                nominal_v=nominal_v or None,
                nominal_hz=nominal_hz or None,
                clock_id=clock_id or None,
                first_sample=None if first_sample < 0 else first_sample,
                samples=None if samples < 0 else samples,
                start_id=start_id or None,
            )
            for box, start_ns, end_ns, values, timestamp_ms, sequence, oldest, uncertainty_ns, source,
            clock_id, (first_sample, samples), (nominal_v, nominal_hz), start_id in rows
        ]  # fmt: skip


_OF_ROWS = (
    "which", "start_ns", "end_ns", "metrics", "timestamps_ms", "sequence", "oldest", "uncertainties_ns",
    "sources", "clock_ids", "samples", "declared", "start_ids",
)  # fmt: skip


def joined_numbered(parts: Iterable[NumberedColumns]) -> list[NumberedColumns]:
    """Joins neighbouring columns with the same `backfilled`; each Box has one index then."""
    found = []
    for _, neighbours in groupby(parts, key=lambda each: each.backfilled):
        first, *more = neighbours
        found.append(_joined([first, *more]) if more else first)
    return found


def _joined(parts: Sequence[NumberedColumns]) -> NumberedColumns:
    index: dict[str, int] = {}
    nominals: list[Nominal] = []
    which: list[int] = []
    others: dict[int, Measurement] = {}
    for each in parts:
        others |= {at + len(which): row for at, row in each.others.items()}
        for box_id, place in zip(each.ids, each.which.tolist(), strict=True):
            if (at := index.setdefault(box_id, len(nominals))) == len(nominals):
                nominals.append(each.boxes.nominals[place])
            which.append(at)
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(each, name) for each in parts]) for name in _OF_ROWS[1:]
    }
    boxes = MeasuredBoxes(tuple(index), tuple(nominals))
    return replace(parts[0], boxes=boxes, which=np.array(which), objects=others, **joined)


def joined_columns(parts: Sequence[MeasurementColumns]) -> MeasurementColumns:
    """Joins columns one after the other.

    Args:
        parts: at least one, all with the same Boxes, uncertainty and source.
    """
    first = parts[0]
    return MeasurementColumns(
        first.boxes,
        np.concatenate([part.which for part in parts]),
        np.concatenate([part.start_ns for part in parts]),
        np.concatenate([part.end_ns for part in parts]),
        np.concatenate([part.metrics for part in parts]),
        first.uncertainty_ns,
        first.source,
    )
