"""The report in sentences: what failed, where, by how much, since when; then data and events. Pure."""

import math
from collections.abc import Callable, Iterable, Sequence

from opq_cloud.reports.verdicts import INTERVAL_WORDS, VerdictRow
from opq_cloud.reports.week_report import PhaseReport, WeekReport

WHOLE_PERCENT = 99.95
ORDERS_SAID = 3
"""Orders of harmonics with a sentence each, those that were outside most; the others are named together."""
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def heading(report: WeekReport) -> str:
    """One sentence for the whole."""
    rows = report.rows
    failed, judged = failed_limits(rows), judged_limits(rows)
    where = f"{report.place.name} in week {report.week.name}"
    if not judged:
        return f"Nothing could be judged at {where}: no values are stored."
    if failed:
        return f"{len(failed)} of {judged} limits of {report.table.title} were not met at {where}."
    return f"All {judged} judged limits of {report.table.title} were met at {where}."


def judged_limits(rows: Iterable[VerdictRow]) -> int:
    """How many limits have a verdict at one phase at least."""
    return len({row.limit for row in rows if row.verdict != "not_assessed"})


def failed_limits(rows: Iterable[VerdictRow]) -> list[VerdictRow]:
    """The worst row of each limit that fails at any phase."""
    worst: dict[object, VerdictRow] = {}
    for row in rows:
        if row.verdict == "fail":
            before = worst.get(row.limit)
            if before is None or row.outside > before.outside:
                worst[row.limit] = row
    return list(worst.values())


def sentences(report: WeekReport) -> tuple[str, ...]:
    """Everything that a reader needs before the tables, the failures first."""
    found = [heading(report)]
    failed = failed_limits(report.rows)
    orders = [row for row in failed if row.limit.order is not None]
    furthest = sorted(orders, key=lambda row: -row.outside)
    left = [row for row in orders if row in furthest[ORDERS_SAID:]]
    found += [_failed(row, report) for row in failed if row not in left]
    if left:
        names = ", ".join(dict.fromkeys(str(row.limit.order) for row in left))
        found.append(f"The limits of these orders were not met either: {names}. The table below has each.")
    found += _alike(report.phases, lambda phase: _data(phase, report))
    found.append(_events(report))
    found += _alike(report.phases, lambda phase: _supply(phase, report))
    if unjudged := _not_assessed(report):
        found.append(unjudged)
    return tuple(found)


def place_words(row: VerdictRow, report: WeekReport) -> str:
    """`Box 1, phase a`; `all phases` for a verdict on them together."""
    if not row.box_id:
        return "all phases"
    box = next(each.box for each in report.phases if each.box.box_id == row.box_id)
    return box.label if box.phase is None else f"{box.label}, phase {box.phase}"


def number_words(value: float, unit: str = "%") -> str:
    """At most four digits: `88.2 %`."""
    if math.isnan(value):
        return "–"
    return f"{value:.4g} {unit}".rstrip()


def _failed(row: VerdictRow, report: WeekReport) -> str:
    limit, found, week = row.limit, row.judgement, report.week
    unit, percent = limit.unit, limit.requirement.percent
    name = limit.words[0].upper() + limit.words[1:]
    span = limit.limit_words.split(" for ")[0]
    share = 100 * row.outside / found.count
    also = [each for each in report.rows if each.limit == limit and each.verdict == "fail"]
    where = place_words(row, report)
    if len(also) > 1:
        where += f" (the worst of {len(also)} phases that fail)"
    text = (
        f"{name} at {where}: {row.outside} of {found.count} values of "
        f"{INTERVAL_WORDS[limit.interval_ms]} ({share:.3g} %) were not {span}"
    )
    allowed = "no value" if percent == 100 else f"{100 - percent:g} %"
    text += f"; {allowed} may be outside (clause {limit.clause})."
    furthest = found.highest
    if math.isfinite(limit.requirement.low) and (
        not math.isfinite(limit.requirement.high)
        or limit.requirement.low - found.lowest > found.highest - limit.requirement.high
    ):
        furthest = found.lowest
    text += f" The furthest was {number_words(furthest, unit)}"
    text += "." if percent == 100 else f", the {percent:g} % value {number_words(found.value, unit)}."
    if row.first_outside_ns is not None and row.last_outside_ns is not None:
        first, last = week.moment_words(row.first_outside_ns), week.moment_words(row.last_outside_ns)
        text += f" The first was on {first}" + ("." if first == last else f", the last on {last}.")
    if row.days_failed:
        text += f" Days that fail: {_listed([DAYS[day] for day in row.days_failed])}."
    return text


def _alike(phases: Sequence[PhaseReport], said: Callable[[PhaseReport], str]) -> list[str]:
    """One sentence for all Boxes with the same text; an empty text makes no sentence."""
    boxes: dict[str, list[str]] = {}
    for phase in phases:
        boxes.setdefault(said(phase), []).append(phase.box.label)
    return [f"{_listed(labels)} {text}" for text, labels in boxes.items() if text]


def _data(phase: PhaseReport, report: WeekReport) -> str:
    if phase.complete_percent >= WHOLE_PERCENT:
        text = f"measured the whole week of {report.week.hours} h"
    else:
        missing_h = (1 - phase.complete_percent / 100) * report.week.hours
        text = (
            f"measured {phase.complete_percent:.1f} % of the week of {report.week.hours} h, "
            f"and {missing_h:.1f} h are missing: the verdicts cover what was measured"
        )
    if phase.flagged_percent:
        text += f"; {phase.flagged_percent:.1f} % of the ten-minute intervals are flagged"
        rules = {row.limit.flagged for row in phase.rows}
        if "kept_if_lasting" in rules:
            text += " and left out; the voltage counts while a dip or swell lasts longer than a minute"
        elif rules != {"kept"}:
            text += " and left out"
    return text + "."


def _events(report: WeekReport) -> str:
    events = report.events
    if not events:
        return "No dip, swell or interruption began in the week."
    counts = [
        _counted(sum(each.kind == kind for each in events), kind) for kind in ("dip", "swell", "interruption")
    ]
    worst = max(events, key=lambda event: abs(event.residual_percent - 100))
    lasted = "has not ended" if worst.duration_s is None else f"lasted {_seconds_words(worst.duration_s)}"
    return (
        f"{_listed([each for each in counts if each])} began in the week; the furthest from nominal reached "
        f"{worst.residual_percent:.1f} % on {report.week.moment_words(worst.start_ns)} and {lasted}."
    )


def _supply(phase: PhaseReport, report: WeekReport) -> str:
    supply = phase.supply
    if not supply.sustained:
        return ""
    counted = _counted(supply.sustained, "interruption")
    return (
        f"had {counted} longer than {report.table.long_interruption_s:g} s, "
        f"{supply.minutes:.1f} minutes in all."
    )


def _not_assessed(report: WeekReport) -> str:
    reasons: dict[str, list[str]] = {}
    for row in report.rows:
        if row.verdict == "not_assessed":
            names = reasons.setdefault(row.why, [])
            if row.limit.name not in names:
                names.append(row.limit.name)
    parts = [
        f"{_listed(names)} ({why.rstrip('.').lower()})" if why else _listed(names)
        for why, names in reasons.items()
    ]
    return f"Not assessed: {'; '.join(parts)}." if parts else ""


def _counted(count: int, noun: str) -> str:
    return "" if not count else f"1 {noun}" if count == 1 else f"{count} {noun}s"


def _listed(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _seconds_words(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.1f} min"
