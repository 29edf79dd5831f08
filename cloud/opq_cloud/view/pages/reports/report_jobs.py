"""Reports and indices as jobs of their own processes: for the pages and for `/api/v1/reports`."""

from collections.abc import Iterator

from markupsafe import Markup

from opq_cloud.reports.indices import FleetIndices
from opq_cloud.reports.report_page import html_as_pdf, report_html
from opq_cloud.reports.written import ReportForm, moment_of, written
from opq_cloud.store.store import CloudStore
from opq_cloud.view.pages.reports.seen_reports import (
    MOST_PDF_PLACES,
    ReportAddress,
    ReportRefusedError,
    SeenReports,
)
from opq_cloud.view.pages.visible.seen_jobs import JobFacts, SeenJobs, opened_context


class ReportJobs:
    """Reports made in processes of their own. Each raises ReportRefusedError, OpqError or StoreError."""

    def __init__(self, jobs: SeenJobs) -> None:
        self._jobs = jobs

    async def file(self, address: ReportAddress, form: ReportForm) -> tuple[str, bytes]:
        """The name of the week, and the report as a file."""
        name, body = await self._jobs.only("report", (address, form), report_file, address, form)
        return name, body

    async def page(self, address: ReportAddress, bar: Markup, theme: str) -> str:
        """The report as a page of View."""
        return str(await self._jobs.only("report", (address, bar, theme), report_page, address, bar, theme))

    async def indices(self, place: str, span: str, zone: str) -> FleetIndices:
        found = await self._jobs.only("report", (place, span, zone), indices_of, place, span, zone)
        assert isinstance(found, FleetIndices)
        return found


def report_file(
    store: CloudStore, facts: JobFacts, address: ReportAddress, form: ReportForm
) -> Iterator[tuple[str, bytes]]:
    """Yields the name of the week and the report in its form."""
    fleet = SeenReports(*opened_context(store, facts)).fleet(address)
    if form != "pdf":
        yield fleet.week.name, written(fleet, form, facts.now_ns)
        return
    if len(fleet.reports) > MOST_PDF_PLACES:
        raise ReportRefusedError(f"a PDF here has {MOST_PDF_PLACES} places at most; choose fewer")
    yield fleet.week.name, html_as_pdf(written(fleet, "html", facts.now_ns, for_paper=True).decode())


def report_page(
    store: CloudStore, facts: JobFacts, address: ReportAddress, bar: Markup, theme: str
) -> Iterator[str]:
    fleet = SeenReports(*opened_context(store, facts)).fleet(address)
    yield report_html(fleet, moment_of(facts.now_ns), bar=bar, theme=theme)


def indices_of(
    store: CloudStore, facts: JobFacts, place: str, span: str, zone: str
) -> Iterator[FleetIndices]:
    yield SeenReports(*opened_context(store, facts)).indices(place, span, zone)
