"""Intervals and disturbances as one visitor may see them.

An interval, day or other row is visible where the whole of it was measured while the visitor had the right to
the Box, a disturbance where it began then. The values of a site's phases together are shown to those who know
the place of each of its Boxes while that was there.
"""

from collections.abc import Collection
from functools import cached_property

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.intervals.distribution import IntervalSummary, summed
from opq_cloud.store.intervals.interval_rows import joined
from opq_cloud.store.reading_spans import ALWAYS, Spans, common, has_moment, has_whole
from opq_cloud.store.records.intervals.interval_records import SummaryRow
from opq_cloud.store.site_key import may_name_intervals
from opq_cloud.store.stated_facts import NS_PER_MS
from opq_cloud.store.store import CloudStore
from opq_cloud.view.web.visitors import Visitor
from opq_proto.measurement.intervals import IntervalColumns
from opq_proto.messages import Disturbance


class SeenIntervals:
    """The intervals that a visitor sees."""

    def __init__(self, store: CloudStore, visitor: Visitor) -> None:
        self._store, self._intervals, self._visitor = store, store.intervals, visitor

    @cached_property
    def _sites(self) -> set[str]:
        """The sites whose values of all phases together are visible."""
        seen: dict[str, bool] = {}
        for box in self._store.boxes():
            for site in box.values_of("site"):
                if may_name_intervals(site):
                    seen[site] = seen.get(site, True) and self._knows_there(box, site)
        return {site for site, is_seen in seen.items() if is_seen}

    def _knows_there(self, box: BoxRecord, site: str) -> bool:
        """Whether the visitor knows the Box's place all the time that it was at the site."""
        spans = self._visitor.place_spans(box.box_id)
        if spans == ALWAYS or not spans:
            return bool(spans)
        there = (each for each in box.all_spans(("site",)) if each.box.site == site)
        return all(has_whole(spans, each.start_ns, each.end_ns) for each in there)

    def _spans(self, box_id: str) -> Spans:
        """When a Box, or a site under its name, is visible."""
        return self._visitor.spans(box_id) or (ALWAYS if box_id in self._sites else ())

    def _parts(self, box_id: str, length_ms: int, start_ns: int, end_ns: int) -> list[tuple[int, int]]:
        """The parts of [start_ns, end_ns) in which visible intervals begin."""
        length_ns = length_ms * NS_PER_MS
        begun = ((first, last - length_ns + 1) for first, last in self._spans(box_id))
        return list(common(tuple(begun), start_ns, end_ns))

    def read(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> IntervalColumns:
        parts = self._parts(box_id, length_ms, start_ns, end_ns) or [(start_ns, start_ns)]
        found = [self._intervals.read(box_id, length_ms, *part, names) for part in parts]
        return found[0] if len(found) == 1 else joined(box_id, length_ms, found)

    def newest_ns(self, box_id: str, length_ms: int) -> int | None:
        span_ns = self.span_ns(box_id, length_ms)
        return None if span_ns is None else span_ns[1]

    def span_ns(self, box_id: str, length_ms: int) -> tuple[int, int] | None:
        """No later than the last and no earlier than the first that may be visible."""
        spans = self._spans(box_id)
        known = self._intervals.span_ns(box_id, length_ms) if spans else None
        if known is None or spans == ALWAYS:
            return known
        parts = self._parts(box_id, length_ms, known[0], known[1] + 1)
        return (parts[0][0], parts[-1][1] - 1) if parts else None

    def summary(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> IntervalSummary:
        parts = self._parts(box_id, length_ms, start_ns, end_ns)
        found = [self._intervals.summary(box_id, length_ms, *part, names) for part in parts]
        return found[0] if len(found) == 1 else summed(found)

    def days(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> list[SummaryRow]:
        spans = self._spans(box_id)
        found = self._intervals.days(box_id, length_ms, start_ns, end_ns, names) if spans else []
        return [
            each for each in found if has_whole(spans, each.start_ms * NS_PER_MS, each.end_ms * NS_PER_MS)
        ]

    def disturbances(self, box_id: str | None, start_ns: int, end_ns: int) -> list[Disturbance]:
        if box_id is not None and not self._spans(box_id):
            return []
        return self._seen(self._intervals.disturbances(box_id, start_ns, end_ns))

    def disturbances_during(self, box_id: str | None, start_ns: int, end_ns: int) -> list[Disturbance]:
        if box_id is not None and not self._spans(box_id):
            return []
        return self._seen(self._intervals.disturbances_during(box_id, start_ns, end_ns))

    def _seen(self, found: list[Disturbance]) -> list[Disturbance]:
        return [each for each in found if has_moment(self._spans(each.box_id), each.start_ns)]
