"""The files of exports, as jobs of their own processes: what each writes, as its visitor may see it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from opq_cloud.export.comtrade import DataForm
from opq_cloud.export.event_files import ExportFile, WaveformForm, event_file
from opq_cloud.export.exported_records import ExportError, WaveformRecord
from opq_cloud.export.selection import (
    INDEXED,
    all_incidents,
    change_table,
    event_records,
    finding_table,
    incident_records,
    incident_table,
    measurement_table,
)
from opq_cloud.export.tables import MEDIA_TYPES, ExportTable, TableForm, table_pieces
from opq_cloud.store.store import CloudStore
from opq_cloud.view.api.answers import etag_of
from opq_cloud.view.api.problems import RestProblemError
from opq_cloud.view.pages.incidents.incident_list import read_list_address
from opq_cloud.view.pages.visible.seen_jobs import JobFacts, opened_context
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.time_span import TimeSpan

MAX_SAMPLES = 10_000_000
"""Samples of one answer; they are held in memory together, two bytes each."""


@dataclass(frozen=True, slots=True)
class ExportHead:
    """The first part of an export; the others are its bytes."""

    name: str
    media_type: str
    etag: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WaveformExport:
    """The waveforms of an event, or of an incident's events."""

    event_id: int = 0
    incident_id: int = 0
    moved: str = ""
    """The address of an incident, with `{}` for the number of the one that has it now."""
    box_ids: Sequence[str] = ()
    form: WaveformForm = "comtrade"
    data: DataForm = "binary"


@dataclass(frozen=True, slots=True)
class TableExport:
    """A table of `subject`: measurements, incidents, findings, changes."""

    subject: str
    form: TableForm
    incident_id: int = 0
    moved: str = ""
    box_ids: Sequence[str] = ()
    span: TimeSpan | None = None
    chosen: Mapping[str, str] | None = None
    """The filter of incidents, as an address has it."""


def waveform_export(store: CloudStore, facts: JobFacts, wanted: WaveformExport) -> Iterator[Any]:
    """Yields the head of the file, then its pieces. The same data give the same bytes and ETag."""
    context = opened_context(store, facts)[0]
    stem, records = _waveform_records(context, wanted)
    parts = [
        wanted.form,
        wanted.data,
        *((each.facts(), each.box.site, each.event.revision) for each in records),
    ]
    file = event_file(stem, records, wanted.form, wanted.data)
    yield ExportHead(file.name, file.media_type, etag_of(json.dumps(parts).encode()))
    yield from file.pieces


def _waveform_records(
    context: VisitorContext, wanted: WaveformExport
) -> tuple[str, Sequence[WaveformRecord]]:
    if wanted.event_id:
        records = event_records(context.store, wanted.event_id, list(wanted.box_ids))
        return f"event-{wanted.event_id}", placed_as_seen(context, records)
    incident = context.incident_of_address(str(wanted.incident_id), wanted.moved)
    records = incident_records(context.store, incident, most_samples=MAX_SAMPLES)
    return f"incident-{wanted.incident_id}", placed_as_seen(context, records)


def placed_as_seen(context: VisitorContext, records: Sequence[WaveformRecord]) -> list[WaveformRecord]:
    """The records, without the sites of Boxes whose places the visitor may not know."""
    sees = context.visitor.sees_place
    return [
        each if sees(each.wave.box_id, each.wave.start_ns) else replace(each, box=each.box.without("site"))
        for each in records
    ]


def table_export(store: CloudStore, facts: JobFacts, wanted: TableExport) -> Iterator[Any]:
    """Yields the head of the file, then its pieces."""
    context = opened_context(store, facts)[0]
    table = _table(context, wanted)
    try:
        pieces = table_pieces(table, wanted.form)
    except ExportError as error:
        raise RestProblemError(501, f"{error}") from None
    stem = f"incident-{wanted.incident_id}-findings" if wanted.incident_id else wanted.subject
    file = ExportFile(f"{stem}.{wanted.form}", MEDIA_TYPES[wanted.form], pieces)
    headers = {"OPQ-Indexed-Percent": str(table.facts[INDEXED])} if INDEXED in table.facts else {}
    yield ExportHead(file.name, file.media_type, headers=headers)
    yield from file.pieces


def _table(context: VisitorContext, wanted: TableExport) -> ExportTable:
    box_ids, span = list(wanted.box_ids), wanted.span
    if wanted.incident_id:
        return finding_table([context.incident_of_address(str(wanted.incident_id), wanted.moved)])
    if span is not None and wanted.subject == "measurements":
        return measurement_table(context.store, box_ids, span.start_ms, span.end_ms)
    if span is not None:
        return change_table(context.store, box_ids, span.start_ms, span.end_ms)
    progress = context.index_progress()  # first: it may end while they are read
    incidents = all_incidents(context.store, read_list_address(context, wanted.chosen or {}).wanted)
    return (incident_table if wanted.subject == "incidents" else finding_table)(incidents, progress=progress)
