"""Makes reports and indices as one visitor may see them: for the page and for `/api/v1/reports`."""

import threading
from dataclasses import dataclass, replace

from markupsafe import Markup

from opq_cloud.reports.fleet import FleetReport
from opq_cloud.reports.indices import FleetIndices, IndexStore, fleet_indices
from opq_cloud.reports.limit_table import known_standards, limit_table
from opq_cloud.reports.page import report_html
from opq_cloud.reports.pdf_process import pdf_apart
from opq_cloud.reports.reading import (
    ChosenPlace,
    NoPlaceError,
    chosen_places,
    place_choice,
    read_fleet,
)
from opq_cloud.reports.week import WeekError, span_of, week_of
from opq_cloud.reports.written import ReportForm, moment_of, written
from opq_cloud.store.box_record import box_order
from opq_cloud.view.pages.visible.seen_intervals import SeenReportStore
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.answer_cache import AnswerCache
from opq_proto.errors import OpqError

KEPT_S = 60.0
"""How long a report is kept for visitors who see the same."""
REPORTS_KEPT = 16
"""How many reports are kept for them."""
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
    """Makes reports for visitors; from any thread. One PDF is made at a time."""

    def __init__(self, context: VisitorContext, services: ViewServices) -> None:
        self._context, self._services = context, services
        self._fleets: AnswerCache[FleetReport] = AnswerCache(KEPT_S, REPORTS_KEPT)
        self._pdfs: AnswerCache[bytes] = AnswerCache(KEPT_S, REPORTS_KEPT)
        self._indices: AnswerCache[FleetIndices] = AnswerCache(KEPT_S, REPORTS_KEPT)
        self._pdf_lock = threading.Lock()

    def store(self) -> IndexStore:
        whole = self._services.store
        return whole if self._context.visitor.everything else SeenReportStore(whole, self._context)

    def places(self) -> dict[str, str]:
        """`site:mill` -> words, of the places that the visitor may choose."""
        records = [each for each in self.store().boxes() if not each.retired_ms]
        feeders = sorted({each.feeder for each in records if each.feeder})
        sites = sorted({each.site for each in records if each.site})
        boxes = sorted(records, key=lambda each: box_order(each.box_id))
        return {
            "all": "All places",
            **{f"feeder:{name}": f"Feeder {name}" for name in feeders},
            **{f"site:{name}": f"Site {name}" for name in sites},
            **{f"box:{each.box_id}": ChosenPlace(None, (each,)).name for each in boxes},
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
            count = len(chosen_places(store.boxes(), choice))
        except (NoPlaceError, WeekError) as error:
            raise ReportRefusedError(str(error)) from None
        if count > MOST_PLACES:
            raise ReportRefusedError(f"{count} places are too many here; opq-tools report has no limit")
        key = self._sight(), replace(address, week=week.name)
        nominal = self._services.nominal
        return self._fleets.of(key, lambda: read_fleet(store, table, week, choice, nominal))

    def written(self, address: ReportAddress, form: ReportForm) -> tuple[FleetReport, bytes]:
        """Raises ReportRefusedError, OpqError where PDF cannot be made, and StoreError."""
        fleet, now_ns = self.fleet(address), self._context.now_ns()
        if form != "pdf":
            return fleet, written(fleet, form, now_ns)
        if len(fleet.reports) > MOST_PDF_PLACES:
            raise ReportRefusedError(f"a PDF here has {MOST_PDF_PLACES} places at most; choose fewer")

        def made() -> bytes:
            with self._pdf_lock:
                return pdf_apart(written(fleet, "html", now_ns, for_paper=True).decode())

        return fleet, self._pdfs.of((self._sight(), address, fleet.week.name), made)

    def page(self, address: ReportAddress, bar: Markup, theme: str) -> str:
        """The report as a page of View."""
        return report_html(self.fleet(address), moment_of(self._context.now_ns()), bar=bar, theme=theme)

    def indices(self, place: str, span: str, zone: str) -> FleetIndices:
        """Raises ReportRefusedError, and StoreError."""
        now_ns, store = self._context.now_ns(), self.store()
        try:
            found, choice = span_of(span, zone, now_ns), place_choice(place)
            chosen_places(store.boxes(), choice)
        except (NoPlaceError, WeekError) as error:
            raise ReportRefusedError(str(error)) from None
        key = self._sight(), place, found
        nominal = self._services.nominal
        return self._indices.of(key, lambda: fleet_indices(store, found, choice, nominal, now_ns))

    def _sight(self) -> object:
        """The same for visitors who see the same."""
        visitor = self._context.visitor
        return visitor.everything or (visitor.full, visitor.public)
