"""An incident at the Boxes that a visitor may see, from the index, without reading its findings.

Both stores have one row per incident and Box. The rows of the Boxes that a visitor sees give the same result
as `seen.incident_at` gives from all findings; a test compares the two. Pure.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush
from itertools import islice

import msgspec

from opq_cloud.store.incidents.index import (
    IncidentFilter,
    IndexedIncident,
    IndexPlace,
    cell_of,
    named_length_ns,
)
from opq_cloud.store.incidents.join_plan import KnownFinding, rank_of, worst_rank

SeesThen = Callable[[str, int], bool]
"""Whether a reader sees what began at this Box at this moment in ns."""


@dataclass(frozen=True, slots=True)
class BoxPart:
    """An incident at one Box: its span there, and its worst finding there, which names the incident."""

    box_id: str
    start_ns: int
    end_ns: int
    kind: str
    residual_percent: float | None
    length_ns: int
    worst_start_ns: int
    worst_id: int

    @property
    def rank(self) -> tuple[float, int, int, str]:
        """The same rank as `join_plan.worst_rank`."""
        return rank_of(self.kind, self.residual_percent, self.length_ns, self.worst_start_ns, self.box_id)


@dataclass(frozen=True)
class IndexedParts:
    """An entry of the index with its rows at the requested Boxes, at least one."""

    entry: IndexedIncident
    words: str
    """The searched text of its notes."""
    boxes: int
    """Number of all its Boxes."""
    parts: tuple[BoxPart, ...]
    everything: bool = False
    """Whether the reader sees every Box; `parts` are then those of the requested Boxes alone."""
    wanted: IncidentFilter = field(default_factory=IncidentFilter)
    """The list; with Boxes, an entry is what was there."""
    severity: float | None = None
    """The highest at the Boxes that the reader sees in the list; None: that of the whole."""

    @property
    def whole(self) -> bool:
        """Whether the reader sees all Boxes of the incident."""
        return self.everything or len(self.parts) == self.boxes

    @cached_property
    def there(self) -> tuple[BoxPart, ...]:
        """The rows of the list's Boxes, at least one."""
        was_there = self.wanted.was_there
        return tuple(part for part in self.parts if was_there(part.box_id, part.start_ns))

    def seen(self) -> IndexedIncident:
        """Returns the entry for the reader: nothing of Boxes that are hidden or that were not requested."""
        parts = self.there
        if len(parts) == self.boxes:
            shown = self.entry
            return shown if self.everything else msgspec.structs.replace(shown, label=None, machine_kind=None)
        worst = max(parts, key=lambda part: part.rank)
        start_ns, end_ns = min(part.start_ns for part in parts), max(part.end_ns for part in parts)
        known, kind = self.entry, worst.kind
        if not self.whole:
            known = IndexedIncident(known.incident_id, 0, 0, "", None, severity=None, scope=None)
        elif known.label and known.machine_kind == kind:
            kind = known.label
        return msgspec.structs.replace(
            known,
            start_ns=start_ns,
            end_ns=end_ns,
            kind=kind,
            residual_percent=worst.residual_percent,
            severity=known.severity if self.severity is None else self.severity,
            label=None,
            machine_kind=None,
            length_ns=named_length_ns(worst.residual_percent, worst.length_ns, end_ns - start_ns),
        )

    def fits(self, seen: IndexedIncident, wanted: IncidentFilter) -> bool:
        """Whether the seen part fits the filter; notes are searched only if all Boxes are seen."""
        boxes = {part.box_id for part in self.parts} if wanted.at is not None else set()
        severity = -1.0 if seen.severity is None else seen.severity
        return (
            (not wanted.kind or wanted.kind in seen.kind.split("+"))
            and (not wanted.box_id or wanted.box_id in boxes)
            and (wanted.box_ids is None or not boxes.isdisjoint(wanted.named))
            and (not wanted.scope or wanted.scope == seen.scope)
            and (wanted.least_severity is None or severity >= wanted.least_severity)
            and (wanted.start_ns is None or seen.end_ns > wanted.start_ns)
            and (wanted.end_ns is None or seen.start_ns < wanted.end_ns)
            and (wanted.began_ns is None or seen.start_ns >= wanted.began_ns)
            and (wanted.cell is None or wanted.cell == cell_of(seen.residual_percent, seen.length_ns))
            and (not wanted.words or (self.whole and all(word in self.words for word in wanted.searched)))
            and seen.fits_work(wanted)
        )


FIRST_ROWS = 64
"""Rows that are read first: enough for a page."""
MAX_ROWS = 1024
"""Rows that are read together where all are read."""

Row = tuple[int, int]
"""Start of an incident at one Box, and its number."""


def row_boxes(seen: Collection[str] | None, wanted: IncidentFilter) -> Collection[str] | None:
    """Returns the Boxes whose rows are read: those that are requested and seen; None for every Box."""
    if wanted.at is None:
        return seen
    return wanted.at if seen is None else [box_id for box_id in wanted.at if box_id in seen]


def in_order(
    rows: Iterable[Row],
    read: Callable[[Sequence[int]], Iterable[IndexedParts]],
    beyond: IndexPlace | None,
    back: bool,
) -> Iterator[IndexedParts]:
    """Yields each incident once, by its seen start, the newest first below `beyond`; upward with `back`.

    No seen start is after a row of its incident, so an incident is yielded once the rows pass its start.

    Args:
        rows: rows of the seen Boxes, in this order of start and number.
        read: returns those incidents of the given numbers that may fit.
    """
    turn = 1 if back else -1
    waiting: list[tuple[int, int, IndexedParts]] = []
    known: set[int] = set()
    following, count = iter(rows), FIRST_ROWS
    while chunk := list(islice(following, count)):
        numbers = dict.fromkeys(number for _, number in chunk if number not in known)
        known.update(numbers)
        for one in read(list(numbers)):
            start_ns, number = one.seen().place("newest").key
            if beyond is None or (
                (start_ns, number) > beyond.key if back else (start_ns, number) < beyond.key
            ):
                heappush(waiting, (turn * int(start_ns), turn * number, one))
        while waiting and waiting[0][0] < turn * chunk[-1][0]:
            yield heappop(waiting)[2]
        count = min(2 * count, MAX_ROWS)
    while waiting:
        yield heappop(waiting)[2]


def part_of(known: Iterable[KnownFinding]) -> BoxPart:
    """Returns the part for all findings (at least one) of one incident at one Box."""
    ordered = sorted(known, key=lambda one: (one.finding.start_ns, one.finding_id))
    worst = max(ordered, key=lambda one: worst_rank(one.finding))
    return BoxPart(
        worst.finding.box_id,
        ordered[0].finding.start_ns,
        max(one.finding.end_ns for one in ordered),
        worst.finding.kind,
        worst.finding.residual_percent,
        worst.finding.end_ns - worst.finding.start_ns,
        worst.finding.start_ns,
        worst.finding_id,
    )


def parts_of(known: Sequence[KnownFinding]) -> list[BoxPart]:
    """Returns the parts for all findings of one incident, one per Box."""
    by_box: dict[str, list[KnownFinding]] = {}
    for one in known:
        by_box.setdefault(one.finding.box_id, []).append(one)
    return [part_of(own) for own in by_box.values()]
