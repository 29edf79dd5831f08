"""Which Box served a place when: the phases of a site, each measured by Boxes one after the other.

A Box that moves, is retired or is replaced takes nothing of the past with it: a place has in each span what
its Boxes of then measured. Pure, except that it reads intervals and disturbances.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.box_place import phase_letter
from opq_cloud.store.box_record import BoxRecord, FactSpan, box_order
from opq_cloud.store.intervals.interval_rows import joined
from opq_cloud.store.stated_facts import PLACE
from opq_proto.measurement.intervals import IntervalColumns

PLACE_FACTS: Final = (*PLACE, "retired_ms")
"""Facts that say where a Box is, and whether it measures there."""
NOMINAL_FACTS: Final = ("nominal_v", "nominal_hz")
PARALLEL_SHARE = 0.1
"""Two Boxes of one phase measure side by side, not one after the other, where they share more than this part
of the intervals of the one that has fewer, or, where one began and ended first, of both together."""
Times = NDArray[np.int64]
"""Times in ns, or in ms."""


class IntervalReader(Protocol):
    """The store's intervals, or those that one visitor sees."""

    def read(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> IntervalColumns: ...


@dataclass(frozen=True, slots=True)
class ServedPhase:
    """One phase of a place, or a Box without a stated phase, and the spans of the Boxes that served it."""

    phase: str | None
    """a, b or c; None: not stated."""
    spans: tuple[FactSpan, ...]

    @property
    def box_ids(self) -> tuple[str, ...]:
        """Its Boxes, those that came first before those that came later."""
        return tuple(dict.fromkeys(span.box.box_id for span in self.spans))

    def of_box(self, box_id: str) -> "ServedPhase":
        return replace(self, spans=tuple(span for span in self.spans if span.box.box_id == box_id))

    def span_of(self, box_id: str, t_ns: int) -> FactSpan | None:
        """The span in which a Box served the phase at a moment."""
        own = (span for span in self.spans if span.box.box_id == box_id)
        return next((span for span in own if span.start_ns <= t_ns < span.end_ns), None)

    def had(self, box_id: str, t_ns: int) -> bool:
        """Whether a Box served the phase at a moment."""
        return self.span_of(box_id, t_ns) is not None


def members_of_sites(records: Iterable[BoxRecord]) -> dict[str, list[BoxRecord]]:
    """Returns site -> the Boxes that are or were there."""
    found: dict[str, list[BoxRecord]] = {}
    for record in records:
        for site in record.values_of("site"):
            found.setdefault(site, []).append(record)
    return found


def service_spans(
    records: Iterable[BoxRecord],
    start_ns: int,
    end_ns: int,
    belongs: Callable[[BoxRecord], bool],
    names: Collection[str] = (*PLACE_FACTS, *NOMINAL_FACTS),
) -> tuple[FactSpan, ...]:
    """Returns the spans that touch [start_ns, end_ns) in which a Box in service belongs to a place.

    `belongs` decides by the facts of the span. A span begins when its facts began, also before `start_ns`,
    so that an event of before is known to be of the place.
    """
    found = [
        span
        for record in records
        for span in record.spans(0, end_ns, names)
        if span.end_ns > start_ns and not span.box.retired_ms and belongs(span.box)
    ]
    return tuple(sorted(found, key=lambda span: (span.start_ns, box_order(span.box.box_id))))


def phases_of(spans: Iterable[FactSpan]) -> tuple[ServedPhase, ...]:
    """Returns the phases of a place in their order, then Boxes without a phase."""
    by_phase: dict[tuple[str, tuple[int, str]], list[FactSpan]] = {}
    for span in spans:
        phase = phase_letter(span.box.phase)
        key = (phase, (0, "")) if phase else ("z", box_order(span.box.box_id))
        by_phase.setdefault(key, []).append(span)
    return tuple(
        ServedPhase(None if key[0] == "z" else key[0], tuple(by_phase[key])) for key in sorted(by_phase)
    )


def stints(spans: Sequence[FactSpan], start_ns: int, end_ns: int) -> list[tuple[int, int]]:
    """Returns the parts of [start_ns, end_ns) in which one of the spans holds, in time order."""
    found: list[tuple[int, int]] = []
    for span in sorted(spans, key=lambda span: span.start_ns):
        first_ns, last_ns = max(start_ns, span.start_ns), min(end_ns, span.end_ns)
        if found and first_ns <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], last_ns)
        elif first_ns < last_ns:
            found.append((first_ns, last_ns))
    return found


def left_ns(spans: Sequence[FactSpan], box_id: str, t_ns: int, end_ns: int) -> int | None:
    """Returns when a Box that was there at a moment moved or was retired, if it was before `end_ns`."""
    own = [span for span in spans if span.box.box_id == box_id]
    times = (last for first, last in stints(own, 0, end_ns) if first <= t_ns < last < end_ns)
    return next(times, None)


def read_served(
    reader: IntervalReader,
    phase: ServedPhase,
    length_ms: int,
    start_ns: int,
    end_ns: int,
    names: Collection[str] | None = None,
) -> IntervalColumns:
    """Returns a phase's intervals that begin in [start_ns, end_ns), each of the first Box that has it."""
    parts: list[IntervalColumns] = []
    for box_id in phase.box_ids:
        for first_ns, last_ns in stints(phase.of_box(box_id).spans, start_ns, end_ns):
            parts.append(reader.read(box_id, length_ms, first_ns, last_ns, names))
    return one_after_the_other(phase.box_ids[-1] if phase.box_ids else "", length_ms, parts)


def one_after_the_other(box_id: str, length_ms: int, parts: Iterable[IntervalColumns]) -> IntervalColumns:
    """Returns the intervals of some Boxes in time order; one that two have is of the first."""
    own: list[IntervalColumns] = []
    for part in parts:
        starts_ns = [each.start_ns for each in own]
        new = np.flatnonzero(~np.isin(part.start_ns, np.concatenate(starts_ns))) if own else None
        part = part if new is None or len(new) == len(part.start_ns) else chosen_rows(part, new)
        if len(part.start_ns):
            own.append(part)
    both = joined(box_id, length_ms, own)
    order = np.argsort(both.start_ns, kind="stable")
    both = both if (order == np.arange(len(order))).all() else chosen_rows(both, order)
    return replace(both, box_id=box_id)


def are_parallel(first_ns: Times, second_ns: Times) -> bool:
    """Whether two Boxes measured side by side; each has the beginnings of its intervals, in time order."""
    if not len(first_ns) or not len(second_ns):
        return False
    spans = sorted((each[0], each[-1]) for each in (first_ns, second_ns))
    shared = len(np.intersect1d(first_ns, second_ns))
    followed = spans[0][1] <= spans[1][1]
    of = len(first_ns) + len(second_ns) - shared if followed else min(len(first_ns), len(second_ns))
    return shared > PARALLEL_SHARE * of


def chosen_rows(
    columns: IntervalColumns, rows: NDArray[np.int64] | NDArray[np.bool_] | slice
) -> IntervalColumns:
    """Returns these rows of the intervals, in this order."""
    return replace(
        columns,
        start_ns=columns.start_ns[rows],
        end_ns=columns.end_ns[rows],
        flagged=columns.flagged[rows],
        coverage=columns.coverage[rows],
        values={name: value[rows] for name, value in columns.values.items()},
        sequences=None if columns.sequences is None else columns.sequences[rows],
    )
