"""Exports of `/api/v1`: the files of `opq-tools export`, streamed, limited to what the visitor may see.

Raw waveforms go to those who may see them: owners, people they share with, researchers, administrators; to
the public only where a Box's owner allows it; to a token only with the scope `waveforms`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from opq_cloud.export.comtrade import DataForm
from opq_cloud.export.event_files import WaveformForm
from opq_cloud.export.tables import MEDIA_TYPES, TableForm
from opq_cloud.view.api.answers import RequestLimits, rest_span, tagged
from opq_cloud.view.api.box_routes import From, Number, To, no_box
from opq_cloud.view.api.export_jobs import TableExport, WaveformExport, table_export, waveform_export
from opq_cloud.view.api.incident_routes import MOVED
from opq_cloud.view.api.problems import RestProblemError
from opq_cloud.view.pages.incidents.incident_list import WORDS_CHARACTERS
from opq_cloud.view.pages.visible.registry import BOX_ID
from opq_cloud.view.pages.visible.seen_jobs import SeenJobs
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.shares import PageRouter, in_thread, refuse_large

MAX_BOXES = 50
Boxes = Annotated[list[str] | None, Query(alias="box", max_length=MAX_BOXES, description="these only")]
Data = Annotated[DataForm, Query(description="how COMTRADE and CFF keep samples")]
CACHE_HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Cookie, Authorization"}
BINARY_ANSWER = {"schema": {"type": "string", "format": "binary"}}
FILE_KINDS = (
    "application/zip",
    "application/octet-stream",
    "text/csv",
    "audio/wav",
    MEDIA_TYPES["parquet"],
)
FILE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file; its name is in Content-Disposition.",
        "content": {
            **dict.fromkeys(FILE_KINDS, BINARY_ANSWER),
            "application/json": {"schema": {"type": "object"}},
        },
    }
}


def chosen_incidents(
    start: From = "now-30d",
    end: To = "now",
    kind: Annotated[str, Query(alias="class", max_length=60, examples=["sag"])] = "",
    box: Annotated[str, Query(max_length=32, examples=["1"])] = "",
    region: Annotated[str, Query(max_length=200)] = "",
    site: Annotated[str, Query(max_length=200)] = "",
    feeder: Annotated[str, Query(max_length=200)] = "",
    scope: Annotated[str, Query(max_length=20, examples=["local"])] = "",
    severity: Annotated[str, Query(max_length=7, description="at least this", examples=["4"])] = "",
    words: Annotated[
        str, Query(max_length=WORDS_CHARACTERS, description="words that must all be in notes")
    ] = "",
    work: Annotated[str, Query(max_length=20, description="new, open or acknowledged")] = "",
    assigned: Annotated[str, Query(max_length=64, description="`me`, or an account")] = "",
    cause: Annotated[str, Query(max_length=7, description="`known`: only with a known cause")] = "",
    cell: Annotated[str, Query(max_length=7, description="a field of `/incidents`")] = "",
) -> dict[str, str]:
    """The values of a filter under their names in an address of the list of incidents."""
    return {
        "from": start,
        "to": end,
        "class": kind,
        "box": box,
        "region": region,
        "site": site,
        "feeder": feeder,
        "scope": scope,
        "severity": severity,
        "words": words,
        "work": work,
        "assigned": assigned,
        "cause": cause,
        "cell": cell,
    }


Chosen = Annotated[dict[str, str], Depends(chosen_incidents)]


class ExportRoutes:
    """Files; only GET."""

    def __init__(self, context: VisitorContext, jobs: SeenJobs, limits: RequestLimits) -> None:
        self._context = context
        self._jobs = jobs
        self._limits = limits

    def router(self) -> PageRouter:
        router = PageRouter(dependencies=[Depends(self._limits.export)])
        for path, route in (
            ("/events/{event_id}/export", self.event),
            ("/incidents/{incident_id}/export", self.incident),
            ("/incidents/{incident_id}/findings/export", self.incident_findings),
            ("/exports/measurements", self.measurements),
            ("/exports/incidents", self.incidents),
            ("/exports/findings", self.findings),
            ("/exports/changes", self.changes),
        ):
            moves = MOVED if path.startswith("/incidents/") else {}
            router.add_api_route(path, route, response_class=Response, responses=FILE_ANSWER | moves)
        return router

    async def event(
        self,
        request: Request,
        event_id: Number,
        form: Annotated[WaveformForm, Query(alias="format")] = "comtrade",
        data: Data = "binary",
        box: Boxes = None,
    ) -> Response:
        """The waveforms of an event; several Boxes are a zip where a format has one rate."""
        wanted = WaveformExport(event_id, box_ids=_box_ids(box), form=form, data=data)
        return await self._sent(request, waveform_export, wanted)

    async def incident(
        self,
        request: Request,
        incident_id: Number,
        form: Annotated[WaveformForm, Query(alias="format")] = "comtrade",
        data: Data = "binary",
    ) -> Response:
        """All waveforms of an incident's events that you may see, up to ten million samples."""
        moved = _moved(request, incident_id)
        wanted = WaveformExport(incident_id=incident_id, moved=moved, form=form, data=data)
        return await self._sent(request, waveform_export, wanted)

    async def incident_findings(
        self, request: Request, incident_id: Number, form: Annotated[TableForm, Query(alias="format")] = "csv"
    ) -> Response:
        """The findings of an incident as a table."""
        wanted = TableExport("findings", form, incident_id, _moved(request, incident_id))
        return await self._sent(request, table_export, wanted)

    async def measurements(
        self,
        request: Request,
        box: Annotated[list[str], Query(min_length=1, max_length=MAX_BOXES, examples=[["1"]])],
        start: From = "now-24h",
        end: To = "now",
        form: Annotated[TableForm, Query(alias="format")] = "csv",
    ) -> Response:
        """Every stored Measurement of these Boxes in a span."""
        box_ids, span = await self._known(box), rest_span(start, end, self._context.now_ns())
        refuse_large(self._context.visitor, len(box_ids), span.length_ms)
        wanted = TableExport("measurements", form, box_ids=box_ids, span=span)
        return await self._sent(request, table_export, wanted)

    async def incidents(
        self, request: Request, chosen: Chosen, form: Annotated[TableForm, Query(alias="format")] = "csv"
    ) -> Response:
        """Every incident of a filter, as the list of incidents has it; of the last 30 days without one."""
        await self._check_chosen(chosen)
        return await self._sent(request, table_export, TableExport("incidents", form, chosen=chosen))

    async def findings(
        self, request: Request, chosen: Chosen, form: Annotated[TableForm, Query(alias="format")] = "csv"
    ) -> Response:
        """Every finding of the incidents of such a filter."""
        await self._check_chosen(chosen)
        return await self._sent(request, table_export, TableExport("findings", form, chosen=chosen))

    async def changes(
        self,
        request: Request,
        box: Boxes = None,
        start: From = "now-30d",
        end: To = "now",
        form: Annotated[TableForm, Query(alias="format")] = "csv",
    ) -> Response:
        """What changed over weeks at these Boxes, or at all."""
        box_ids, span = await self._known(box), rest_span(start, end, self._context.now_ns())
        wanted = TableExport("changes", form, box_ids=box_ids, span=span)
        return await self._sent(request, table_export, wanted)

    async def _known(self, boxes: Sequence[str] | None) -> list[str]:
        """The Boxes of an address; 404 where the visitor sees none of them."""
        box_ids = _box_ids(boxes)
        await _check_boxes(box_ids, self._context.knows)
        return box_ids

    async def _check_chosen(self, chosen: Mapping[str, str]) -> None:
        """Raises RestProblemError 404 where the visitor sees none of the Boxes of a filter of incidents."""
        box = chosen["box"].strip()
        await _check_boxes(box.split(",") if box else [], self._context.knows_incidents_of)

    async def _sent(self, request: Request, work: Callable[..., Iterator[Any]], wanted: object) -> Response:
        """The file, written while it is read; nothing but its ETag where the client has it."""
        head, pieces = await self._jobs.parts("export", work, wanted)
        known = tagged(request, head.etag) if head.etag else None
        if known is not None:
            await pieces.aclose()
            return known
        named = {"Content-Disposition": f'attachment; filename="{head.name}"'}
        tag = {"ETag": head.etag} if head.etag else {}
        headers = {**named, **CACHE_HEADERS, **tag, **head.headers}
        return StreamingResponse(pieces, media_type=head.media_type, headers=headers)


def _moved(request: Request, incident_id: int) -> str:
    """The same address, with `{}` for the number of the incident that this one is part of now."""
    path = request.url.path.replace(f"/{incident_id}/", "/{}/")
    query = request.url.query.replace("{", "%7B").replace("}", "%7D")
    return f"{path}?{query}" if query else path


async def _check_boxes(box_ids: Sequence[str], knows: Callable[[str], bool]) -> None:
    if box_ids and not await in_thread(lambda: any(map(knows, box_ids))):
        raise no_box(" or ".join(box_ids))


def _box_ids(boxes: Sequence[str] | None) -> list[str]:
    for box_id in boxes or ():
        if not BOX_ID.fullmatch(box_id):
            raise RestProblemError(
                400, f"{box_id[:40]!r} is not an id of a Box; allowed are 1 to 32 letters, digits, _ . and -"
            )
    return list(dict.fromkeys(boxes or ()))
