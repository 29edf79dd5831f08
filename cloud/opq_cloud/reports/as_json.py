"""A report as JSON and as rows of a table. Unknown is null."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from opq_cloud.export.exported_records import software_name
from opq_cloud.export.tables import ExportTable, TableColumn
from opq_cloud.reports.sentences import sentences
from opq_cloud.reports.verdicts import VerdictRow
from opq_cloud.reports.week_report import PhaseReport, WeekReport
from opq_measure.standards.event_tables import SARFI_NAMES
from opq_proto.measurement.intervals import INTERVAL_WORDS

COLUMNS = (
    TableColumn("site", "text"),
    TableColumn("box_id", "text"),
    TableColumn("phase", "text"),
    TableColumn("week", "text"),
    TableColumn("quantity", "text"),
    TableColumn("clause", "text"),
    TableColumn("limit", "text"),
    TableColumn("unit", "text"),
    TableColumn("value", "number"),
    TableColumn("lowest", "number"),
    TableColumn("highest", "number"),
    TableColumn("share_percent", "number"),
    TableColumn("verdict", "text"),
    TableColumn("interval", "text"),
    TableColumn("count", "whole"),
    TableColumn("outside", "whole"),
    TableColumn("missing", "whole"),
    TableColumn("measured_percent", "number"),
    TableColumn("coverage_percent", "number"),
    TableColumn("flagged_percent", "number"),
    TableColumn("first_outside_ns", "whole"),
    TableColumn("last_outside_ns", "whole"),
    TableColumn("confirmed", "flag"),
    TableColumn("why", "text"),
)


def report_json(report: WeekReport) -> dict[str, Any]:
    """The contract's keys, and what else the page shows."""
    week, table = report.week, report.table
    boxes = [box_id for phase in report.phases for box_id in phase.box.box_ids or (phase.box.box_id,)]
    complete = [phase.complete_percent for phase in report.phases]
    return {
        "standard": table.standard,
        "title": table.title,
        "box_id": boxes[0] if report.place.site is None and boxes else None,
        "site": report.place.site,
        "box_ids": boxes,
        "week": week.name,
        "zone": week.zone.key,
        "hours": week.hours,
        "from": week.start_ns,
        "to": week.end_ns,
        "coverage": _number(sum(complete) / len(complete) / 100) if complete else None,
        "interruption_percent": table.interruption_percent,
        "verdict": report.verdict,
        "sentences": list(sentences(report)),
        "rows": list(verdict_rows(report)),
        "boxes": [
            {
                "box_id": phase.box.box_id,
                "box_ids": list(phase.box.box_ids or (phase.box.box_id,)),
                "phase": phase.box.phase,
                **{
                    name: None if name in phase.box.week.unstated else getattr(phase.box.week, name)
                    for name in ("nominal_v", "nominal_hz")
                },
                "complete_percent": _number(phase.complete_percent),
                "flagged_percent": _number(phase.flagged_percent),
                **_interruptions(phase),
                "supplied_percent": _number(phase.supply.supplied_percent),
            }
            for phase in report.phases
        ],
        "events": [
            {
                "class": each.kind,
                "start_ns": each.start_ns,
                "duration_s": _number(each.duration_s),
                "residual_percent": _number(each.residual_percent),
                "box_ids": list(each.channels),
            }
            for each in report.events
        ],
        "event_tables": [
            {
                "name": form.name,
                "rows": list(form.row_words),
                "columns": list(form.column_words),
                "counts": [list(row) for row in counts],
            }
            for form, counts in report.tables
        ],
        "ieee1159": dict(report.names),
        "sarfi": report.sarfi.counts() if report.is_known else dict.fromkeys(SARFI_NAMES),
        "frequency": {
            "of": report.frequency.of or None,
            "median_hz": _number(report.frequency.index.median_hz),
            "nadir_hz": _number(report.frequency.index.nadir_hz),
            "nadir_ns": report.frequency.index.nadir_ns,
            "zenith_hz": _number(report.frequency.index.zenith_hz),
            "steepest_hz_per_s": _number(report.frequency.index.steepest_hz_per_s),
        },
        "magnitude_unbalance_percent": _number(report.magnitude_unbalance),
        "not_judged": [
            {"quantity": each.name, "clause": each.clause, "why": each.why} for each in table.not_judged
        ],
        "not_confirmed": [*unconfirmed(report)],
        "software": software_name(),
    }


def _interruptions(phase: PhaseReport) -> dict[str, float | None]:
    counts = {
        "interruptions": phase.supply.sustained,
        "earlier_interruptions": phase.supply.earlier,
        "interrupted_minutes": _number(phase.supply.minutes),
        "short_interruptions": phase.supply.short,
    }
    return counts if phase.is_known else dict.fromkeys(counts)


def report_table(reports: list[WeekReport]) -> ExportTable:
    """The verdicts of reports as one table, a row for each limit and Box."""
    facts = {"software": software_name(), "time": "UTC"}
    if reports:
        facts |= {
            "standard": reports[0].table.title,
            "week": reports[0].week.name,
            "zone": reports[0].week.zone.key,
        }
    rows = [
        {"site": report.place.site, "week": report.week.name, **row}
        for report in reports
        for row in verdict_rows(report)
    ]
    return ExportTable("verdicts", COLUMNS, rows, facts)


def verdict_rows(report: WeekReport) -> Iterator[dict[str, Any]]:
    """The verdicts, in the order of the standard at each Box."""
    phases = {phase.box.channel: phase.box.phase for phase in report.phases}
    for row in report.rows:
        yield _row(row, phases.get(row.channel))


def unconfirmed(report: WeekReport) -> list[str]:
    """What could not be confirmed by two sources, in words, once each; harmonics with their orders."""
    found: dict[tuple[str, str], list[int]] = {}
    for limit in report.table.limits:
        if not limit.confirmed:
            of = f"{limit.requirement.percent:g} % of {INTERVAL_WORDS[limit.interval_ms]} values"
            key = limit.name, f", {of} (clause {limit.clause}): {_said(limit.sources)}"
            found.setdefault(key, []).extend(() if limit.order is None else (limit.order,))
    return [f"{name}{_spans_of(orders)}{words}" for (name, words), orders in found.items()] + [
        f"{each.name} ({each.clause}): {_said(each.sources)}"
        for each in report.table.counted
        if len(each.sources) < 2
    ]


def _said(sources: Sequence[str]) -> str:
    return "one source says it" if sources else "no source was found"


def _spans_of(orders: Sequence[int]) -> str:
    """` 2 to 5, 7`; nothing without an order."""
    spans: list[list[int]] = []
    for order in sorted(orders):
        if spans and order == spans[-1][-1] + 1:
            spans[-1].append(order)
        else:
            spans.append([order])
    words = (str(each[0]) if len(each) == 1 else f"{each[0]} to {each[-1]}" for each in spans)
    return f" {', '.join(words)}" if spans else ""


def _row(row: VerdictRow, phase: str | None) -> dict[str, Any]:
    limit, found = row.limit, row.judgement
    return {
        "box_id": row.box_id or None,
        "phase": phase,
        "quantity": limit.words,
        "clause": limit.clause,
        "limit": limit.limit_words,
        "unit": limit.unit,
        "value": _number(found.value),
        "lowest": _number(found.lowest),
        "highest": _number(found.highest),
        "share_percent": _number(found.share_percent),
        "verdict": row.verdict,
        "interval": INTERVAL_WORDS[limit.interval_ms],
        "count": found.count,
        "outside": row.outside,
        "missing": row.missing,
        "measured_percent": _number(row.measured_percent),
        "coverage_percent": _number(row.coverage_percent),
        "flagged_percent": _number(row.flagged_percent),
        "first_outside_ns": row.first_outside_ns,
        "last_outside_ns": row.last_outside_ns,
        "confirmed": limit.confirmed,
        "why": row.why,
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 6)
