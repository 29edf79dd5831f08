"""Exports of `/api/v1`: the files of `opq-tools export`, streamed, limited to what the visitor may see.

Raw waveforms go to those who may see them: owners, people they share with, researchers, administrators; to
the public only where a Box's owner allows it; to a token only with the scope `waveforms`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from opq_cloud.export.comtrade import DataForm
from opq_cloud.export.event_files import ExportFile, WaveformForm, event_file
from opq_cloud.export.records import ExportError, WaveformRecord
from opq_cloud.export.selection import (
    all_incidents,
    change_table,
    event_records,
    finding_table,
    incident_records,
    incident_table,
    measurement_table,
)
from opq_cloud.export.tables import MEDIA_TYPES, ExportTable, TableForm, table_pieces
from opq_cloud.view.api.answers import RequestLimits, etag_of, rest_span, tagged
from opq_cloud.view.api.box_routes import From, Number, To
from opq_cloud.view.api.incident_routes import MOVED
from opq_cloud.view.api.problems import RestProblemError
from opq_cloud.view.pages.incidents.incident_list import WORDS_CHARACTERS, read_list_address
from opq_cloud.view.pages.visible.registry import BOX_ID
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_proto.messages import Incident

MAX_BOXES = 50
MAX_SAMPLES = 10_000_000
"""Samples of one answer; they are held in memory together, two bytes each."""
Boxes = Annotated[list[str] | None, Query(alias="box", max_length=MAX_BOXES, description="these only")]
Data = Annotated[DataForm, Query(description="how COMTRADE and CFF keep samples")]
CACHE_HEADERS = {"Vary": "Cookie, Authorization"}
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

    def __init__(self, context: VisitorContext, limits: RequestLimits) -> None:
        self._context = context
        self._limits = limits

    def router(self) -> APIRouter:
        router = APIRouter(dependencies=[Depends(self._limits.export)])
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

    def event(
        self,
        request: Request,
        event_id: Number,
        form: Annotated[WaveformForm, Query(alias="format")] = "comtrade",
        data: Data = "binary",
        box: Boxes = None,
    ) -> Response:
        """The waveforms of an event; several Boxes are a zip where a format has one rate."""
        records = event_records(self._context.store, event_id, _box_ids(box))
        return _waveforms(request, f"event-{event_id}", records, form, data)

    def incident(
        self,
        request: Request,
        incident_id: Number,
        form: Annotated[WaveformForm, Query(alias="format")] = "comtrade",
        data: Data = "binary",
    ) -> Response:
        """All waveforms of an incident's events that you may see, up to ten million samples."""
        incident = self._seen_incident(request, incident_id)
        records = incident_records(self._context.store, incident, most_samples=MAX_SAMPLES)
        return _waveforms(request, f"incident-{incident_id}", records, form, data)

    def _seen_incident(self, request: Request, incident_id: int) -> Incident:
        """The incident. Raises HTTPException 404, or 301 to the same address of the one that has it now."""
        path = request.url.path.replace(f"/{incident_id}/", "/{}/")
        query = request.url.query.replace("{", "%7B").replace("}", "%7D")
        return self._context.incident_of_address(str(incident_id), f"{path}?{query}" if query else path)

    def incident_findings(
        self, request: Request, incident_id: Number, form: Annotated[TableForm, Query(alias="format")] = "csv"
    ) -> Response:
        """The findings of an incident as a table."""
        found = self._seen_incident(request, incident_id)
        return _table(f"incident-{incident_id}-findings", finding_table([found]), form)

    def measurements(
        self,
        box: Annotated[list[str], Query(min_length=1, max_length=MAX_BOXES, examples=[["1"]])],
        start: From = "now-24h",
        end: To = "now",
        form: Annotated[TableForm, Query(alias="format")] = "csv",
    ) -> Response:
        """Every stored Measurement of these Boxes in a span."""
        span = rest_span(start, end, self._context.now_ns())
        table = measurement_table(self._context.store, _box_ids(box), span.start_ms, span.end_ms)
        return _table("measurements", table, form)

    def incidents(
        self, chosen: Chosen, form: Annotated[TableForm, Query(alias="format")] = "csv"
    ) -> Response:
        """Every incident of a filter, as the list of incidents has it; of the last 30 days without one."""
        return _table("incidents", incident_table(self._chosen_incidents(chosen)), form)

    def findings(self, chosen: Chosen, form: Annotated[TableForm, Query(alias="format")] = "csv") -> Response:
        """Every finding of the incidents of such a filter."""
        return _table("findings", finding_table(self._chosen_incidents(chosen)), form)

    def changes(
        self,
        box: Boxes = None,
        start: From = "now-30d",
        end: To = "now",
        form: Annotated[TableForm, Query(alias="format")] = "csv",
    ) -> Response:
        """What changed over weeks at these Boxes, or at all."""
        span = rest_span(start, end, self._context.now_ns())
        table = change_table(self._context.store, _box_ids(box), span.start_ms, span.end_ms)
        return _table("changes", table, form)

    def _chosen_incidents(self, chosen: Mapping[str, str]) -> Iterator[Incident]:
        return all_incidents(self._context.store, read_list_address(self._context, chosen).wanted)


def _box_ids(boxes: Sequence[str] | None) -> list[str]:
    for box_id in boxes or ():
        if not BOX_ID.fullmatch(box_id):
            raise RestProblemError(
                400, f"{box_id[:40]!r} is not an id of a Box; allowed are 1 to 32 letters, digits, _ . and -"
            )
    return list(dict.fromkeys(boxes or ()))


def _waveforms(
    request: Request, stem: str, records: Sequence[WaveformRecord], form: WaveformForm, data: DataForm
) -> Response:
    """The same data give the same bytes, so the ETag is made from their facts."""
    contents = json.dumps([form, data, *((each.facts(), each.event.revision) for each in records)])
    etag = etag_of(contents.encode())
    return tagged(request, etag) or _sent(event_file(stem, records, form, data), {"ETag": etag})


def _table(stem: str, table: ExportTable, form: TableForm) -> Response:
    try:
        pieces = table_pieces(table, form)
    except ExportError as error:
        raise RestProblemError(501, f"{error}") from None
    return _sent(ExportFile(f"{stem}.{form}", MEDIA_TYPES[form], pieces), {})


def _sent(file: ExportFile, headers: dict[str, str]) -> Response:
    named = f'attachment; filename="{file.name}"'
    given = {"Content-Disposition": named, "Cache-Control": "private, no-cache"}
    return StreamingResponse(
        file.pieces, media_type=file.media_type, headers={**given, **CACHE_HEADERS, **headers}
    )
