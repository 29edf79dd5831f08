"""MeasurementColumns: many Measurements of many Boxes as arrays, where an object each would cost too much.

All must be regular windows with the four metrics and exact times. Measurements that Boxes send also have a
sequence number and a clock each (`NumberedColumns`). `measurements()` returns the objects; both forms are
equal to the last bit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.decision import NS_PER_MS, Nominal
from opq_proto.messages import Measurement, Metric, TimeSource

_SOURCES = tuple(TimeSource)

METRIC_NAMES = ("f", "rms", "thd", "trans")
"""Names of the metrics, in the order of the arrays and of the bytes on the wire."""


@dataclass(frozen=True, eq=False)
class MeasuredBoxes:
    """Boxes by index. All columns of a run share one object, so that its derived values are computed once."""

    ids: tuple[str, ...]
    nominals: tuple[Nominal, ...]
    """The nominal values that each Box reports."""

    @cached_property
    def by_nominal(self) -> tuple[tuple[Nominal, NDArray[np.bool_]], ...]:
        """Each nominal that occurs, with (boxes,), whether a Box has it."""
        return tuple(
            (nominal, np.array([each == nominal for each in self.nominals]))
            for nominal in dict.fromkeys(self.nominals)
        )


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
    """(n, 4, 3) of METRIC_NAMES: least, most, mean. float32, as the wire has them."""
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

    The common `uncertainty_ns` and `source` have no meaning here.
    """

    timestamps_ms: NDArray[np.int64]
    """(n,) `Measurement.timestamp_ms`."""
    sequence: NDArray[np.int64]
    oldest: NDArray[np.int64]
    """(n,), -1 where the sender gives none."""
    uncertainties_ns: NDArray[np.int64]
    sources: NDArray[np.int64]
    clock_ids: NDArray[np.int64]
    """(n,), 0 where the sender gives none."""
    samples: NDArray[np.int64]
    """(n, 2) index of the first sample and number of samples; -1 where the sender gives none."""
    declared: NDArray[np.float32]
    """(n, 2) nominal volts and hertz in the Measurement itself; 0 where it has none."""
    backfilled: bool = False

    @cached_property
    def timestamp_ms(self) -> NDArray[np.int64]:
        return self.timestamps_ms

    @property
    def sequences(self) -> NDArray[np.int64] | None:
        return self.sequence

    def part(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "NumberedColumns":
        return replace(self, **{name: getattr(self, name)[rows] for name in _OF_ROWS})

    def measurements(self) -> list[Measurement]:
        ids = self.boxes.ids
        rows = zip(*(getattr(self, name).tolist() for name in _OF_ROWS), strict=True)
        return [
            Measurement(
                ids[box],
                timestamp_ms,
                {name: Metric(*row) for name, row in zip(METRIC_NAMES, values, strict=True)},
                start_ns,
                end_ns,
                uncertainty_ns,
                _SOURCES[source],
                None if sequence < 0 else sequence,
                None if oldest < 0 else oldest,
                self.backfilled,
                nominal_v=nominal_v or None,
                nominal_hz=nominal_hz or None,
                clock_id=clock_id or None,
                first_sample=None if first_sample < 0 else first_sample,
                samples=None if samples < 0 else samples,
            )
            for box, start_ns, end_ns, values, timestamp_ms, sequence, oldest, uncertainty_ns, source,
            clock_id, (first_sample, samples), (nominal_v, nominal_hz) in rows
        ]  # fmt: skip


_OF_ROWS = (
    "which", "start_ns", "end_ns", "metrics", "timestamps_ms", "sequence", "oldest", "uncertainties_ns",
    "sources", "clock_ids", "samples", "declared",
)  # fmt: skip


def joined_numbered(parts: Iterable[NumberedColumns]) -> list[NumberedColumns]:
    """Joins neighbouring columns with the same `boxes` and `backfilled`."""
    found = []
    for _, neighbours in groupby(parts, key=lambda each: (id(each.boxes), each.backfilled)):
        first, *more = neighbours
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(each, name) for each in (first, *more)])
            for name in (_OF_ROWS if more else ())
        }
        found.append(replace(first, **joined) if more else first)
    return found


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
