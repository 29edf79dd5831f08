"""Intervals and disturbances as one visitor may see them, for reports and indices.

A Box whose place the visitor may not know has no site and no feeder here; the values of a site's phases
together are shown to those who know the place of each of its Boxes.
"""

from collections.abc import Collection

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident
from opq_cloud.store.intervals.distribution import IntervalSummary
from opq_cloud.store.records.intervals import SummaryRow
from opq_cloud.store.site_key import may_name_intervals
from opq_cloud.store.store import CloudStore
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.visitors import Visitor
from opq_proto.measurement.intervals import IntervalColumns
from opq_proto.messages import Disturbance


class SeenIntervals:
    """The intervals that a visitor sees."""

    def __init__(self, store: CloudStore, visitor: Visitor) -> None:
        self._intervals, self._visitor = store.intervals, visitor
        of_site: dict[str, list[str]] = {}
        for box in store.boxes():
            for site in box.values_of("site"):
                if may_name_intervals(site):
                    of_site.setdefault(site, []).append(box.box_id)
        self._sites = {site for site, boxes in of_site.items() if all(map(visitor.sees_place, boxes))}

    def _sees(self, box_id: str) -> bool:
        return self._visitor.sees(box_id) or box_id in self._sites

    def read(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> IntervalColumns:
        end_ns = end_ns if self._sees(box_id) else start_ns
        return self._intervals.read(box_id, length_ms, start_ns, end_ns, names)

    def summary(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> IntervalSummary:
        if not self._sees(box_id):
            return IntervalSummary()
        return self._intervals.summary(box_id, length_ms, start_ns, end_ns, names)

    def days(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> list[SummaryRow]:
        sees = self._sees(box_id)
        return self._intervals.days(box_id, length_ms, start_ns, end_ns, names) if sees else []

    def disturbances(self, box_id: str | None, start_ns: int, end_ns: int) -> list[Disturbance]:
        if box_id is not None and not self._sees(box_id):
            return []
        found = self._intervals.disturbances(box_id, start_ns, end_ns)
        return [each for each in found if self._sees(each.box_id)]

    def disturbances_during(self, box_id: str | None, start_ns: int, end_ns: int) -> list[Disturbance]:
        if box_id is not None and not self._sees(box_id):
            return []
        found = self._intervals.disturbances_during(box_id, start_ns, end_ns)
        return [each for each in found if self._sees(each.box_id)]


class SeenReportStore:
    """An `IndexStore` for one visitor."""

    def __init__(self, store: CloudStore, context: VisitorContext) -> None:
        self._store, self._context = store, context
        self.intervals = SeenIntervals(store, context.visitor)

    def boxes(self) -> list[BoxRecord]:
        visitor = self._context.visitor
        return [
            each if visitor.sees_place(each.box_id) else each.without("site", "feeder")
            for each in self._store.boxes()
            if visitor.sees(each.box_id)
        ]

    def find_incidents(self, wanted: IncidentFilter, limit: int) -> list[IndexedIncident]:
        return self._context.store.find_incidents(wanted, limit)
