"""StoredSpans: Measurements that were stored since the last check, so that no Box's rows are read for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from opq_proto.decision import window_ns
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement


@dataclass(frozen=True, slots=True)
class _StoredSpan:
    """Measurements of a Box that were stored one after another, without crossings."""

    start_ns: int
    """Start of the first Measurement."""
    end_ns: int
    """End of the last Measurement."""
    longest_gap_ns: int
    """Longest gap between the end of one and the start of the next."""

    def followed_by(self, later: "_StoredSpan") -> "_StoredSpan":
        """Returns both stretches as one."""
        gap_ns = later.start_ns - self.end_ns
        longest_ns = max(self.longest_gap_ns, gap_ns, later.longest_gap_ns)
        return _StoredSpan(self.start_ns, max(self.end_ns, later.end_ns), longest_ns)


class StoredSpans:
    """A span per Box, as far as rows were noted. Belongs to one thread."""

    def __init__(self) -> None:
        self._spans: dict[str, _StoredSpan] = {}

    def note(self, rows: Sequence[Measurement] | Measurements) -> None:
        """Adds rows that come after those noted before, each Box's in time order."""
        for box_id, span in _stored_spans(rows):
            before = self._spans.get(box_id)
            self._spans[box_id] = span if before is None else before.followed_by(span)

    def longest_gap_ns(self, before: Measurement, last: Measurement) -> int | None:
        """Returns the longest gap between one row of a Box and its last; None: not all rows are noted."""
        span = self._spans.get(last.box_id)
        if span is None or last.crossing or span.end_ns != window_ns(last)[1]:
            return None
        return max(span.longest_gap_ns, span.start_ns - window_ns(before)[1])

    def clear(self) -> None:
        self._spans.clear()


def _stored_spans(rows: Sequence[Measurement] | Measurements) -> Iterator[tuple[str, _StoredSpan]]:
    """Yields stretches with their Box: one per row for objects, one per Box for columns."""
    if not isinstance(rows, Measurements):
        for row in rows:
            if not row.crossing:
                yield row.box_id, _StoredSpan(*window_ns(row), 0)
        return
    if not len(rows):
        return
    order = np.argsort(rows.which, kind="stable")
    which, start_ns, end_ns = rows.which[order], rows.start_ns[order], rows.end_ns[order]
    firsts = np.flatnonzero(np.diff(which, prepend=which[0] - 1))
    gap_ns = np.append(0, start_ns[1:] - end_ns[:-1])
    gap_ns[firsts] = 0
    longest_ns = np.maximum.reduceat(gap_ns, firsts)
    lasts = np.append(firsts[1:], len(which)) - 1
    found = zip(
        which[firsts].tolist(),
        start_ns[firsts].tolist(),
        end_ns[lasts].tolist(),
        longest_ns.tolist(),
        strict=True,
    )
    for box, *span in found:
        yield rows.box_ids[box], _StoredSpan(*span)
