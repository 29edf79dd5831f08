"""Reads the exported data from the store, page by page, for the command, the pages and REST.

The store is any `ShownStore`; View passes one that returns only what its visitor may see.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace

from opq_cloud.export.exported_records import ExportError, WaveformRecord, software_name
from opq_cloud.export.tables import ColumnKind, ExportTable, JsonRow, TableColumn
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.incidents.as_json import incident_json
from opq_cloud.store.incidents.index import IncidentFilter, IndexPlace, IndexProgress
from opq_cloud.store.judged_nominal import judged_in_event
from opq_cloud.store.records.incidents.phenomenon_words import phenomenon_json
from opq_cloud.store.stated_starts import of_their_starts
from opq_cloud.store.store import ShownStore
from opq_proto.measurement.continuity import CONTINUITY_METRICS
from opq_proto.measurement.fields import Kind
from opq_proto.measurement.measurement_json import EXPORTED, measurement_json
from opq_proto.messages import Incident, Measurement, StoredFinding, known_uncertainty_ns

PAGE_ROWS = 5000
"""Measurements held in memory at once."""
METRIC_PARTS = ("min", "max", "average")
_COLUMN_KINDS: Mapping[Kind, ColumnKind] = {
    "text": "text",
    "source": "text",
    "whole": "whole",
    "bound": "whole",
    "number": "number",
    "flag": "flag",
}
MEASUREMENT_COLUMNS = tuple(TableColumn(each.name, _COLUMN_KINDS[each.kind]) for each in EXPORTED)
FINDING_COLUMNS = (
    TableColumn("finding_id", "whole"),
    TableColumn("incident_id", "whole"),
    TableColumn("event_id", "whole"),
    TableColumn("class", "text"),
    TableColumn("box_id", "text"),
    TableColumn("start_ns", "whole"),
    TableColumn("end_ns", "whole"),
    TableColumn("uncertainty_ns", "whole"),
    TableColumn("closed", "flag"),
    TableColumn("residual_v", "number"),
    TableColumn("residual_percent", "number"),
    TableColumn("duration_cycles", "number"),
    TableColumn("ieee1159", "text"),
    TableColumn("itic", "text"),
    TableColumn("semi_f47", "text"),
    TableColumn("confidence", "number"),
    TableColumn("severity", "number"),
    TableColumn("because", "text"),
    TableColumn("figures", "text"),
)
CHANGE_COLUMNS = (
    TableColumn("id", "whole"),
    TableColumn("kind", "text"),
    TableColumn("box_ids", "text"),
    TableColumn("start_ms", "whole"),
    TableColumn("end_ms", "whole"),
    TableColumn("quantity", "text"),
    TableColumn("size", "number"),
    TableColumn("unit", "text"),
    TableColumn("summary", "text"),
    TableColumn("event_ids", "text"),
    TableColumn("finding_ids", "text"),
    TableColumn("details", "text"),
)
INCIDENT_COLUMNS = (
    TableColumn("id", "whole"),
    TableColumn("class", "text"),
    TableColumn("box_ids", "text"),
    TableColumn("start_ms", "number"),
    TableColumn("end_ms", "number"),
    TableColumn("residual_percent", "number"),
    TableColumn("duration_ms", "number"),
    TableColumn("worst_box_id", "text"),
    TableColumn("event_ids", "text"),
    TableColumn("closed", "flag"),
    TableColumn("scope", "text"),
    TableColumn("severity", "number"),
    TableColumn("follows", "whole"),
)


EVERY_INCIDENT = IncidentFilter()
INDEXED = "indexed_percent"
"""Fact of a table without all incidents: how much of what the original stored before is indexed."""
INDEX_ROWS = 200
"""Entries of the index that are read at once."""


def event_records(
    source: ShownStore, event_id: int, box_ids: Sequence[str] = (), licence: str = ""
) -> list[WaveformRecord]:
    """Returns the waveforms of an event from these Boxes; without `box_ids`, from every Box.

    Raises:
        ExportError: the event does not exist, or a requested Box has no waveform in it.
    """
    event, record = source.event(event_id), source.event_record(event_id)
    if event is None or record is None:
        raise ExportError(f"there is no event {event_id} with waveforms")
    found = {wave.box_id: wave for wave in event.waveforms}
    for box_id in box_ids:
        if box_id not in found:
            have = ", ".join(found) or "none"
            raise ExportError(f"event {event_id} has no waveform of Box {box_id}; it has {have}")
    judged = judged_in_event(source, record)
    halves = source.half_cycles(event_id) if "" in record.half_cycles.values() else {}
    return [
        WaveformRecord(
            wave,
            record,
            (source.box(box_id) or BoxRecord(box_id, f"Box {box_id}")).at(wave.start_ns),
            licence,
            halves.get(box_id),
            judged.volts(box_id),
        )
        for box_id, wave in found.items()
        if not box_ids or box_id in box_ids
    ]


def incident_records(
    source: ShownStore, incident: Incident, licence: str = "", most_samples: int | None = None
) -> list[WaveformRecord]:
    """All waveforms of its events, also those of Boxes that measured no disturbance, for comparison.

    Raises:
        ExportError: they hold more than `most_samples`; no event is read after that.
    """
    found: list[WaveformRecord] = []
    samples = 0
    for event_id in incident.event_ids:
        with contextlib.suppress(ExportError):  # it has expired, or the visitor may not see its waveforms
            more = event_records(source, event_id, licence=licence)
            samples += sum(each.samples for each in more)
            found.extend(more)
        if most_samples is not None and samples > most_samples:
            raise ExportError(
                f"incident {incident.incident_id} has more than {most_samples} samples, "
                "the most of one answer; export its events one by one, or with opq-tools export events"
            )
    return found


def known_incident(source: ShownStore, incident_id: int) -> Incident:
    """The incident with this number.

    Raises:
        ExportError: the store has no such incident, or the visitor sees none of its Boxes.
    """
    found = source.incident(incident_id)
    if found is None:
        raise ExportError(f"there is no incident {incident_id}")
    return found


def measurement_table(
    source: ShownStore, box_ids: Sequence[str], start_ms: int, end_ms: int, licence: str = ""
) -> ExportTable:
    """Every Measurement of these Boxes in [start_ms, end_ms), in time order per Box.

    All Measurements are read twice: the first time to find the names of their metrics.
    """

    def each() -> Iterator[Measurement]:
        for box_id in box_ids:
            box = source.box(box_id)
            rows = all_measurements(source, box_id, start_ms, end_ms)
            yield from of_their_starts(box.starts if box else (), rows)

    names = sorted({name for measurement in each() for name in measurement.metrics})
    columns = tuple(
        TableColumn(f"{name}_{part}", "number", ("metrics", name, part))
        for name in names
        if name not in CONTINUITY_METRICS
        for part in METRIC_PARTS
    )
    columns += tuple(  # each metric has one value
        TableColumn(name, "number", ("metrics", name, "max")) for name in names if name in CONTINUITY_METRICS
    )
    facts = facts_of(licence, box_ids=list(box_ids), start_ms=start_ms, end_ms=end_ms)
    return ExportTable("measurements", MEASUREMENT_COLUMNS + columns, map(measurement_json, each()), facts)


def incident_table(
    incidents: Iterable[Incident], licence: str = "", progress: IndexProgress | None = None
) -> ExportTable:
    """A row for each; `progress`: how many of all there may be, read before they are."""
    rows = (incident_json(incident) for incident in incidents)
    return ExportTable("incidents", INCIDENT_COLUMNS, rows, facts_of(licence, **_indexed(progress)))


def finding_table(
    incidents: Iterable[Incident], licence: str = "", progress: IndexProgress | None = None
) -> ExportTable:
    """A row for each finding; `progress` as in `incident_table`."""
    rows = (finding_row(each) for incident in incidents for each in incident.findings)
    return ExportTable("findings", FINDING_COLUMNS, rows, facts_of(licence, **_indexed(progress)))


def _indexed(progress: IndexProgress | None) -> JsonRow:
    return {} if progress is None else {INDEXED: progress.percent}


def change_table(
    source: ShownStore, box_ids: Sequence[str], start_ms: int, end_ms: int, licence: str = ""
) -> ExportTable:
    """What changed over weeks and overlaps the span, at these Boxes or at all, by rising start."""
    found = source.phenomena(start_ms, end_ms)
    rows = (phenomenon_json(each) for each in found if not box_ids or {*box_ids} & {*each.box_ids})
    facts = facts_of(licence, box_ids=list(box_ids), start_ms=start_ms, end_ms=end_ms)
    return ExportTable("changes", CHANGE_COLUMNS, rows, facts)


def all_incidents(source: ShownStore, wanted: IncidentFilter = EVERY_INCIDENT) -> Iterator[Incident]:
    """Yields the incidents of a filter, one at a time, by rising start whatever its order; without limit.

    With Boxes in the filter, each is what it was at them.
    """
    wanted = replace(wanted, order="newest")
    beyond: IndexPlace | None = None
    while entries := source.find_incidents(wanted, INDEX_ROWS, beyond, back=True):
        for entry in entries:
            found = source.incident(entry.incident_id)
            if found is not None:
                yield wanted.shown(found)
        beyond = entries[-1].place("newest")


def all_measurements(
    source: ShownStore, box_id: str, start_ms: int, end_ms: int, page_rows: int = PAGE_ROWS
) -> Iterator[Measurement]:
    """Reads in pages. A page's last millisecond is read again, so that none of its Measurements is left out.

    Raises:
        ExportError: one millisecond has as many Measurements as a page holds.
    """
    while True:
        page = source.measurements(box_id, start_ms, end_ms, page_rows)
        if len(page) < page_rows:
            yield from page
            return
        last_ms = page[-1].timestamp_ms
        if last_ms == page[0].timestamp_ms:
            raise ExportError(f"Box {box_id}: {page_rows} Measurements in the one ms {last_ms}")
        yield from (each for each in page if each.timestamp_ms < last_ms)
        start_ms = last_ms


def finding_row(item: StoredFinding) -> JsonRow:
    """A finding with its numbers, as JSON."""
    facts = asdict(item.finding)
    facts["class"] = facts.pop("kind")
    del facts["beside"]
    facts["figures"] = dict(item.finding.figures)
    facts["uncertainty_ns"] = known_uncertainty_ns(item.finding.uncertainty_ns)
    return {
        "finding_id": item.finding_id,
        "incident_id": item.incident_id,
        "event_id": item.event_id,
        **facts,
    }


def facts_of(licence: str, **more: object) -> JsonRow:
    return {"software": software_name(), "licence": licence or None, "time": "UTC", **more}
