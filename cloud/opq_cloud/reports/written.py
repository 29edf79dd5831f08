"""A report in one of its forms, for the command, the schedule and View."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from opq_cloud.export.tables import table_pieces
from opq_cloud.reports.as_json import report_json, report_table
from opq_cloud.reports.indices import FleetIndices, indices_document, indices_table
from opq_cloud.reports.many_places import FleetReport
from opq_cloud.reports.report_page import report_html, report_pdf
from opq_measure.standards.event_tables import SARFI_PERCENTS

ReportForm = Literal["html", "pdf", "json", "csv"]
FORMS: Final = ("html", "pdf", "json", "csv")
MEDIA_TYPES: Final[Mapping[ReportForm, str]] = {
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
}


def written(fleet: FleetReport, form: ReportForm, now_ns: int, for_paper: bool = False) -> bytes:
    """The bytes of a report; `for_paper`: HTML as a PDF is made of.

    Raises:
        PdfMissingError: PDF without WeasyPrint.
    """
    if form == "csv":
        return b"".join(table_pieces(report_table(list(fleet.reports)), "csv"))
    if form == "json":
        return json.dumps(fleet_json(fleet), indent=1, ensure_ascii=False).encode() + b"\n"
    now = moment_of(now_ns)
    return report_pdf(fleet, now) if form == "pdf" else report_html(fleet, now, for_paper).encode()


def moment_of(now_ns: int) -> str:
    """The time at which a report is made, as it states it."""
    return datetime.fromtimestamp(now_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M UTC")


def written_indices(found: FleetIndices, form: ReportForm) -> bytes:
    """The bytes of indices, as CSV or JSON."""
    if form == "csv":
        return b"".join(table_pieces(indices_table(found), "csv"))
    return json.dumps(indices_document(found), indent=1, ensure_ascii=False).encode() + b"\n"


def fleet_json(fleet: FleetReport) -> dict[str, Any]:
    """The report of the only place, or the reports of several and their common figures."""
    documents = [report_json(each) for each in fleet.reports]
    if len(documents) == 1:
        return documents[0]
    return {
        "standard": fleet.table.standard,
        "of": fleet.words,
        "week": fleet.week.name,
        "zone": fleet.week.zone.key,
        "from": fleet.week.start_ns,
        "to": fleet.week.end_ns,
        "failed": [each.place.name for each in fleet.failed],
        **indices_json(fleet),
        "reports": documents,
    }


def indices_json(fleet: FleetReport) -> dict[str, Any]:
    """Supply, data and frequency of all places together; unknown is null."""
    supply, frequency = fleet.supply, fleet.frequency.index
    return {
        "boxes": len({phase.box.box_id for each in fleet.reports for phase in each.phases}),
        "interruptions_per_box": None if supply is None else supply.interruptions_per_box,
        "interrupted_minutes_per_box": None if supply is None else supply.minutes_per_box,
        "supplied_percent": None if supply is None else known(supply.supplied_percent),
        "long_interruption_s": fleet.table.long_interruption_s,
        "complete_percent": known(fleet.complete_percent),
        "sarfi": {f"{percent:g}": dict(fleet.sarfi).get(percent) for percent in SARFI_PERCENTS},
        "frequency": {
            "boxes": fleet.frequency.boxes,
            "nominal_hz": fleet.frequency.nominal_hz,
            "median_hz": known(frequency.median_hz),
            "nadir_hz": known(frequency.nadir_hz),
            "nadir_ns": frequency.nadir_ns,
            "zenith_hz": known(frequency.zenith_hz),
            "spread_hz": known(frequency.spread_hz),
            "steepest_hz_per_s": known(frequency.steepest_hz_per_s),
        },
    }


def known(value: float) -> float | None:
    return None if value != value else value
