"""Measurements: many of them as arrays, where an object each would cost too much.

An array is named as the field in `opq_proto.measurement.fields`. What few rows have, such as a crossing or
other metrics, is not in arrays: such a row is in `extra` as a whole. `row(at)` and `rows()` return the same
Measurements as were put in, to the last bit.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.decision import Nominal
from opq_proto.measurement.fields import FIELDS, METRIC_NAMES
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.time_units import NS_PER_MS

Numbers = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
NOT_STATED = -1
"""In arrays of numbers where a Measurement states none; in `clock_id`, `start_id` and nominal values 0."""
_SOURCES = tuple(TimeSource)


@dataclass(frozen=True, eq=False, kw_only=True)
class Measurements:
    """n Measurements; those of one Box in time order."""

    box_ids: tuple[str, ...]
    """Boxes by index."""
    nominals: tuple[Nominal, ...]
    """The nominal values of each Box, by index."""
    which: Numbers
    """(n,) Box by index."""
    metrics: Floats
    """(n, 4, 3) of METRIC_NAMES: least, most, mean; NaN where unknown. float32 from the wire."""
    timestamp_ms: Numbers
    start_ns: Numbers
    """(n,) UTC; as `decision.window_ns` where the Box does not state times."""
    end_ns: Numbers
    uncertainty_ns: Numbers
    """(n,) NOT_STATED: the Box states no exact times."""
    source: Numbers
    sequence: Numbers
    oldest_sequence: Numbers
    nominal_v: Floats
    """(n,) what the Measurement itself states."""
    nominal_hz: Floats
    clock_id: Numbers
    first_sample: Numbers
    samples: Numbers
    start_id: Numbers
    backfilled: bool = False
    """Whether all of them were sent later, or again, so that they are not live."""
    extra: Mapping[int, Measurement] = field(default_factory=dict)
    """Row -> Measurement, of those that say more than the arrays; the arrays have what they can hold."""

    @classmethod
    def of_windows(
        cls,
        box_ids: tuple[str, ...],
        nominals: tuple[Nominal, ...],
        which: Numbers,
        start_ns: Numbers,
        end_ns: Numbers,
        metrics: Floats,
        uncertainty_ns: int,
        source: TimeSource,
    ) -> "Measurements":
        """Makes windows that state their time and nominal values, and nothing else."""
        count = len(which)
        volts_hz = np.array([(each.volts, each.hz) for each in nominals]).reshape(-1, 2)[which].T
        not_stated, zero = np.full(count, NOT_STATED), np.zeros(count, np.int64)
        return cls(
            box_ids=box_ids,
            nominals=nominals,
            which=which,
            metrics=metrics,
            timestamp_ms=(end_ns + NS_PER_MS // 2) // NS_PER_MS,
            start_ns=start_ns,
            end_ns=end_ns,
            uncertainty_ns=np.full(count, uncertainty_ns),
            source=np.full(count, int(source)),
            sequence=not_stated,
            oldest_sequence=not_stated,
            nominal_v=volts_hz[0],
            nominal_hz=volts_hz[1],
            clock_id=zero,
            first_sample=not_stated,
            samples=not_stated,
            start_id=zero,
        )

    def __len__(self) -> int:
        return len(self.which)

    @cached_property
    def ids(self) -> list[str]:
        """(n,) the Box of each."""
        ids = self.box_ids
        return [ids[box] for box in self.which.tolist()]

    @cached_property
    def nominal_values(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n,) volts and (n,) hertz of their Boxes."""
        nominals = [self.nominals[box] for box in self.which.tolist()]
        return np.array([each.volts for each in nominals]), np.array([each.hz for each in nominals])

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """(4, 3, n) the metrics by METRIC_NAMES: least, most, mean; NaN where unknown."""
        return np.ascontiguousarray(self.metrics.transpose(1, 2, 0), dtype=np.float64)

    @cached_property
    def finite(self) -> bool:
        """Whether every metric is finite."""
        return bool(np.isfinite(self.metrics).all())

    @cached_property
    def stated(self) -> NDArray[np.bool_]:
        """(n,) whether the Box states the time of each exactly; an original one does not."""
        stated: NDArray[np.bool_] = self.uncertainty_ns != NOT_STATED
        return stated

    @cached_property
    def all_stated(self) -> bool:
        """Whether all of them are `stated`."""
        return bool(self.stated.all())

    @cached_property
    def irregular(self) -> NDArray[np.bool_]:
        """(n,) whether each is in `extra`."""
        found = np.zeros(len(self), np.bool_)
        for at in self.extra:
            found[at] = True
        return found

    @cached_property
    def crossing(self) -> NDArray[np.bool_]:
        """(n,) whether each is a crossing."""
        found = np.zeros(len(self), np.bool_)
        for at, row in self.extra.items():
            found[at] = row.crossing
        return found

    @cached_property
    def once(self) -> bool:
        """Whether no Box has more than one of them."""
        return len(np.unique(self.which)) == len(self.which)

    def nominal(self, at: int) -> Nominal:
        """Returns the nominal values of the Box of one row."""
        return self.nominals[int(self.which[at])]

    def row(self, at: int) -> Measurement:
        """Returns one row as an object; each is made once."""
        made = self._made
        if at not in made:
            made[at] = self.extra[at] if at in self.extra else self._objects(at, at + 1)[0]
        return made[at]

    def rows(self) -> list[Measurement]:
        """Returns all rows as objects, in the same order."""
        found = self._objects(0, len(self))
        for at, row in self.extra.items():
            found[at] = row
        return found

    def part(self, rows: NDArray[np.bool_] | Numbers) -> "Measurements":
        """Returns the Measurements of these rows, in the same order."""
        own: dict[str, Any] = {name: getattr(self, name)[rows] for name in OF_ROWS}
        if self.extra:
            places = np.arange(len(self))[rows].tolist()
            own["extra"] = {at: self.extra[row] for at, row in enumerate(places) if row in self.extra}
        return replace(self, **own)

    def without(self, unknown: NDArray[np.bool_]) -> "Measurements":
        """Returns the same Measurements, of which these metrics, (n, 4) by METRIC_NAMES, are not known."""
        extra = dict(self.extra)
        for at in np.flatnonzero(unknown.any(axis=1)).tolist():
            row = self.row(at)
            left_out = {name for name, out in zip(METRIC_NAMES, unknown[at].tolist(), strict=True) if out}
            metrics = {name: metric for name, metric in row.metrics.items() if name not in left_out}
            extra[at] = replace(row, metrics=metrics)
        return replace(self, metrics=np.where(unknown[:, :, np.newaxis], np.nan, self.metrics), extra=extra)

    def rounds(self) -> "list[Measurements]":
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

    @cached_property
    def _made(self) -> dict[int, Measurement]:
        return {}

    def _objects(self, first: int, end: int) -> list[Measurement]:
        ids, backfilled = self.box_ids, self.backfilled
        rows = zip(*(getattr(self, name)[first:end].tolist() for name in OF_ROWS), strict=True)
        return [
            Measurement(
                ids[box],
                timestamp_ms,
                {name: Metric(*metric) for name, metric in zip(METRIC_NAMES, metrics, strict=True)},
                None if uncertainty_ns < 0 else start_ns,
                None if uncertainty_ns < 0 else end_ns,
                None if uncertainty_ns < 0 else uncertainty_ns,
                _SOURCES[source],
                None if sequence < 0 else sequence,
                None if oldest_sequence < 0 else oldest_sequence,
                backfilled,
                nominal_v=nominal_v or None,
                nominal_hz=nominal_hz or None,
                clock_id=clock_id or None,
                first_sample=None if first_sample < 0 else first_sample,
                samples=None if samples < 0 else samples,
                start_id=start_id or None,
            )
            for (
                box,
                metrics,
                timestamp_ms,
                start_ns,
                end_ns,
                uncertainty_ns,
                source,
                sequence,
                oldest_sequence,
                nominal_v,
                nominal_hz,
                clock_id,
                first_sample,
                samples,
                start_id,
            ) in rows
        ]


ARRAYS = tuple(each.name for each in FIELDS if each.dtype)
"""Fields of a Measurement that have an array."""
OF_ROWS = ("which", "metrics", *ARRAYS)


def split(batches: Sequence[Measurements], first: Collection[str]) -> Iterator[Measurements]:
    """Yields the rows of these Boxes, and then those of all others; a Box's rows stay in order."""
    if not first:
        yield from batches
        return
    own = [np.array([box_id in first for box_id in batch.ids], np.bool_) for batch in batches]
    for is_own in (True, False):
        for batch, mask in zip(batches, own, strict=True):
            rows = mask if is_own else ~mask
            if rows.all():
                yield batch
            elif rows.any():
                yield batch.part(rows)


def joined(parts: Iterable[Measurements]) -> list[Measurements]:
    """Joins neighbours that are all live, or all sent again; each Box has one index then."""
    found = []
    for _, neighbours in groupby(parts, key=lambda each: each.backfilled):
        first, *more = neighbours
        found.append(_joined([first, *more]) if more else first)
    return found


def _joined(parts: Sequence[Measurements]) -> Measurements:
    first = parts[0]
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(each, name) for each in parts]) for name in OF_ROWS
    }
    extra: dict[int, Measurement] = {}
    begin = 0
    for each in parts:
        extra |= {at + begin: row for at, row in each.extra.items()}
        begin += len(each)
    if all(each.box_ids is first.box_ids and each.nominals is first.nominals for each in parts):
        return replace(first, extra=extra, **arrays)
    index: dict[str, int] = {}
    nominals: list[Nominal] = []
    which: list[int] = []
    for each in parts:
        for box_id, place in zip(each.ids, each.which.tolist(), strict=True):
            if (at := index.setdefault(box_id, len(nominals))) == len(nominals):
                nominals.append(each.nominals[place])
            which.append(at)
    arrays["which"] = np.array(which, np.int64)
    return replace(first, box_ids=tuple(index), nominals=tuple(nominals), extra=extra, **arrays)
