"""What `/api/v1` says by standard: the report of a week as a file, and indices of a week, month or year."""

from typing import Annotated, Literal

from fastapi import Depends, Query, Request, Response

from opq_cloud.reports.indices import indices_document
from opq_cloud.reports.written import MEDIA_TYPES, ReportForm, written_indices
from opq_cloud.view.api.answers import RequestLimits, json_answer
from opq_cloud.view.api.problems import RestProblemError
from opq_cloud.view.pages.reports.report_jobs import ReportJobs
from opq_cloud.view.pages.reports.seen_reports import ReportAddress, ReportRefusedError
from opq_cloud.view.web.shares import PageRouter
from opq_proto.errors import OpqError, StoreError

Place = Annotated[str, Query(max_length=80, description="all, box:1, site:mill or feeder:f2")]
Zone = Annotated[str, Query(max_length=40, description="the clock of the week")]


class ReportRoutes:
    """Only GET."""

    def __init__(self, jobs: ReportJobs, limits: RequestLimits) -> None:
        self._jobs, self._limits = jobs, limits

    def router(self) -> PageRouter:
        router = PageRouter(dependencies=[Depends(self._limits.export)])
        router.add_api_route("/reports/week", self.week, response_class=Response)
        router.add_api_route("/reports/indices", self.indices, response_class=Response)
        return router

    async def week(
        self,
        place: Place = "all",
        week: Annotated[str, Query(max_length=10, description="2026-W47, or last")] = "last",
        zone: Zone = "UTC",
        standard: Annotated[str, Query(max_length=40)] = "en50160",
        form: Annotated[ReportForm, Query(alias="format")] = "json",
    ) -> Response:
        """The report of a week of places that you may see, by a standard, as a file."""
        address = ReportAddress(place, week, zone, standard)
        try:
            week_name, made = await self._jobs.file(address, form)
        except ReportRefusedError as error:
            raise RestProblemError(400, f"{error}.") from None
        except StoreError:
            raise
        except OpqError as error:
            raise RestProblemError(501, f"{error}") from None
        plain = "".join(each if each.isascii() and each.isalnum() else "-" for each in place)
        name = f"{week_name}-{plain}-{standard}.{form}"
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "private, no-cache",
        }
        return Response(made, media_type=MEDIA_TYPES[form], headers=headers)

    async def indices(
        self,
        request: Request,
        place: Place = "all",
        span: Annotated[str, Query(max_length=10, description="2026, 2026-11, 2026-W47, or last")] = "last",
        zone: Zone = "UTC",
        form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
    ) -> Response:
        """Interruptions, supply, data, SARFI and frequency over a year, month or week, by Box and feeder."""
        try:
            found = await self._jobs.indices(place, span, zone)
        except ReportRefusedError as error:
            raise RestProblemError(400, f"{error}.") from None
        if form == "json":
            return json_answer(request, indices_document(found))
        headers = {"Content-Disposition": f'attachment; filename="indices-{found.span.name}.csv"'}
        return Response(written_indices(found, "csv"), media_type=MEDIA_TYPES["csv"], headers=headers)
