"""The store of reports and indices as one visitor may see it.

A Box whose place the visitor may not know has no site and no feeder here.
"""

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident
from opq_cloud.store.store import CloudStore
from opq_cloud.view.pages.visible.seen_intervals import SeenIntervals
from opq_cloud.view.pages.visible.visitor_context import VisitorContext


class SeenReportStore:
    """An `IndexStore` for one visitor."""

    def __init__(self, store: CloudStore, context: VisitorContext) -> None:
        self._store, self._context = store, context
        self.intervals = SeenIntervals(store, context.visitor)

    def boxes(self) -> list[BoxRecord]:
        visitor = self._context.visitor
        seen = (visitor.record_seen(each) for each in self._store.boxes() if visitor.reads(each.box_id))
        return [each if visitor.knows_place(each.box_id) else each.without("site", "feeder") for each in seen]

    def find_incidents(self, wanted: IncidentFilter, limit: int) -> list[IndexedIncident]:
        return self._context.store.find_incidents(wanted, limit)
