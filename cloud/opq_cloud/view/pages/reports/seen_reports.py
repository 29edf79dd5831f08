"""Makes reports and indices as one visitor may see them."""

from dataclasses import dataclass

from opq_cloud.reports.fleet_reading import read_fleet
from opq_cloud.reports.indices import FleetIndices, fleet_indices
from opq_cloud.reports.limit_table import known_standards, limit_table
from opq_cloud.reports.many_places import FleetReport
from opq_cloud.reports.place_indices import IndexStore
from opq_cloud.reports.place_reading import NoPlaceError, chosen_places, label_of, place_choice
from opq_cloud.reports.week import WeekError, span_of, week_of
from opq_cloud.store.box_record import box_order
from opq_cloud.view.pages.visible.seen_report_store import SeenReportStore
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.answer_cache import AnswerCache
from opq_proto.errors import OpqError

KEPT_S = 60.0
"""How long indices are kept for visitors who see the same."""
REPORTS_KEPT = 16
"""How many indices are kept for them."""
MOST_PLACES = 200
"""Places of one report on a page; the command makes larger ones."""
MOST_PDF_PLACES = 30
"""Places of one report as PDF on a page."""


class ReportRefusedError(OpqError):
    """The report that an address names cannot be made."""


@dataclass(frozen=True, slots=True)
class ReportAddress:
    """The places, the week and the standard of a report."""

    place: str = "all"
    week: str = "last"
    zone: str = "UTC"
    standard: str = "en50160"


class SeenReports:
    """Reads reports and indices; from any thread. Of many places it is dear (`report_jobs.py`)."""

    def __init__(self, context: VisitorContext, services: ViewServices) -> None:
        self._context, self._services = context, services
        self._indices: AnswerCache[FleetIndices] = AnswerCache(KEPT_S, REPORTS_KEPT)

    def store(self) -> IndexStore:
        whole = self._services.store
        return whole if self._context.visitor.everything else SeenReportStore(whole, self._context)

    def places(self) -> dict[str, str]:
        """`site:mill` -> words, of the places that the visitor may choose."""
        records = self.store().boxes()
        feeders = sorted({name for each in records for name in each.values_of("feeder")})
        sites = sorted({name for each in records for name in each.values_of("site")})
        boxes = sorted(records, key=lambda each: box_order(each.box_id))
        return {
            "all": "All places",
            **{f"feeder:{name}": f"Feeder {name}" for name in feeders},
            **{f"site:{name}": f"Site {name}" for name in sites},
            **{f"box:{each.box_id}": label_of(each) for each in boxes},
        }

    def fleet(self, address: ReportAddress) -> FleetReport:
        """Raises ReportRefusedError, and StoreError."""
        if address.standard not in known_standards():
            known = ", ".join(known_standards())
            raise ReportRefusedError(f"there is no standard {address.standard[:40]!r}; there are {known}")
        now_ns, store = self._context.now_ns(), self.store()
        try:
            table, week = limit_table(address.standard), week_of(address.week, address.zone, now_ns)
            choice = place_choice(address.place)
            count = len(chosen_places(store.boxes(), choice, week.start_ns, week.end_ns))
        except (NoPlaceError, WeekError) as error:
            raise ReportRefusedError(str(error)) from None
        if count > MOST_PLACES:
            raise ReportRefusedError(f"{count} places are too many here; opq-tools report has no limit")
        return read_fleet(store, table, week, choice, self._services.nominal, now_ns)

    def indices(self, place: str, span: str, zone: str) -> FleetIndices:
        """Raises ReportRefusedError, and StoreError."""
        now_ns, store = self._context.now_ns(), self.store()
        try:
            found, choice = span_of(span, zone, now_ns), place_choice(place)
            chosen_places(store.boxes(), choice, found.start_ns, found.end_ns)
        except (NoPlaceError, WeekError) as error:
            raise ReportRefusedError(str(error)) from None
        key = self._sight(), place, found
        nominal = self._services.nominal
        return self._indices.of(key, lambda: fleet_indices(store, found, choice, nominal, now_ns))

    def _sight(self) -> object:
        """The same for visitors who see the same."""
        return self._context.visitor.sight
