"""The report in sentences: what failed, where, by how much, since when; then data and events. Pure."""

import math
from collections.abc import Callable, Iterable, Sequence

from opq_cloud.reports.verdicts import VerdictRow, measured_words, missing_spans_ns
from opq_cloud.reports.week_report import PhaseReport, WeekReport
from opq_proto.measurement.intervals import INTERVAL_WORDS, TEN_MINUTES_MS

WHOLE_PERCENT = 99.95
ORDERS_SAID = 3
"""Orders of harmonics with a sentence each, those that were outside most; the others are named together."""
HOLES_SAID = 3
"""Stretches without values that are named, the longest; the others are counted."""
LEAST_SHOWN = 0.001
"""A smaller figure, other than 0, is said to be below this one."""
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def heading(report: WeekReport) -> str:
    """One sentence for the whole. It names an interruption from before the week, which is not an event of it:
    values during interruptions are left out of the verdicts, and their minutes have no limit (EN 50160)."""
    text, dark = _judged(report), [phase.supply for phase in report.phases if phase.supply.earlier]
    if not dark:
        return text
    worst = max(dark, key=lambda supply: supply.minutes)
    others = " and others in it" if worst.sustained else ""
    since = f"an interruption that began before the week{others} took {worst.minutes:.1f} minutes of it"
    return f"{text.removesuffix('.')}, and {since}, for which there is no limit."


def _judged(report: WeekReport) -> str:
    """How many limits were met."""
    rows = report.rows
    failed, judged = failed_limits(rows), judged_limits(rows)
    where = f"{report.place.name} in {report.week.words}"
    undecided = {row.limit for row in rows if row.undecided}
    if report.until_ns <= report.week.start_ns:
        return f"Nothing could be judged at {where}: the week has not begun."
    if not judged and not any(phase.box.week.intervals for phase in report.phases):
        return f"Nothing could be judged at {where}: no values are stored."
    if not judged and not undecided:
        return f"Nothing could be judged at {where}: each value that is stored is flagged."
    title, share = report.table.title, _reason(rows)
    if not judged:
        return f"No limit of {title} could be assessed at {where}: {share}."
    left = f", and {len(undecided)} could not be assessed: {share}" if undecided else ""
    if failed:
        return f"{len(failed)} of {judged} limits of {title} were not met at {where}{left}."
    if undecided:
        met = len({row.limit for row in rows if row.verdict == "pass"} - undecided)
        if not met:
            return f"No limit of {title} could be assessed at every phase at {where}: {share}."
        return f"{_counted(met, 'limit')} of {title} {'was' if met == 1 else 'were'} met at {where}{left}."
    return f"All {judged} judged limits of {title} were met at {where}."


def _reason(rows: Sequence[VerdictRow]) -> str:
    """Why limits are left open: `7.1 % of the week was measured`, by the limit that misses most."""
    unstated = [row for row in rows if row.unstated]
    if unstated:
        return _inner(min(unstated, key=lambda row: row.limit.basis != "nominal_v").why)
    least = min((row.measured_percent for row in rows if row.undecided), default=100.0)
    return f"{measured_words(least).replace(' measured', '')} of the week was measured"


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
    found = [heading(report), *report.place.notes]
    if report.place.wiring:
        found[0] = f"{report.place.wiring}: unbalance is not judged. {found[0]}"
    failed = failed_limits(report.rows)
    orders = [row for row in failed if row.limit.order is not None]
    furthest = sorted(orders, key=lambda row: -row.outside)
    left = [row for row in orders if row in furthest[ORDERS_SAID:]]
    found += [_failed(row, report) for row in failed if row not in left]
    if left:
        names = ", ".join(dict.fromkeys(str(row.limit.order) for row in left))
        found.append(f"The limits of these orders were not met either: {names}. The table below has each.")
    found += _alike(report.phases, lambda phase: _data(phase, report))
    found.append(events_sentence(report))
    found += _unstated(report)
    found += _alike(report.phases, lambda phase: _supply(phase, report))
    if unjudged := _not_assessed(report):
        found.append(unjudged)
    return tuple(found)


def place_words(row: VerdictRow, report: WeekReport) -> str:
    """`Box 1, phase a`; `all phases` for a verdict on them together."""
    if not row.box_id:
        return "all phases"
    box = next(each.box for each in report.phases if each.box.channel == row.channel)
    return box.label if box.phase is None else f"{box.label}, phase {box.phase}"


def number_words(value: float, unit: str = "%", digits: int = 4) -> str:
    """At most four digits, without a power of ten: `88.2 %`; `below 0.001 %` for less."""
    if not math.isfinite(value):
        return "–"
    if 0 < abs(value) < LEAST_SHOWN:
        return f"{'below' if value > 0 else 'above -'} {LEAST_SHOWN} {unit}".replace("- ", "-").rstrip()
    places = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{value:z.{places}f}"
    return f"{text.rstrip('0').rstrip('.') if places else text} {unit}".rstrip()


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
        f"{INTERVAL_WORDS[limit.interval_ms]} ({number_words(share, digits=3)}) were not {span}"
    )
    allowed = "no value" if percent == 100 else f"{100 - percent:g} %{' of a day' if limit.daily else ''}"
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
    to_come_h = (report.week.end_ns - report.until_ns) / 3600e9
    missing_h = max(0.0, (1 - phase.complete_percent / 100) * report.week.hours - to_come_h)
    if to_come_h >= report.week.hours:
        return ""
    if phase.complete_percent >= WHOLE_PERCENT:
        text = f"measured the whole week of {report.week.hours} h"
    else:
        text = f"measured {phase.complete_percent:.1f} % of the week of {report.week.hours} h"
        parts = [f"{missing_h:.1f} h are missing"] if missing_h >= 0.05 else []
        parts += [f"{to_come_h:.1f} h are to come"] if to_come_h else []
        if parts:
            text += f", and {_listed(parts)}: a limit has a verdict where they cannot change it"
        if holes := _holes(phase, report):
            text += f"; not measured: {_listed(holes)}"
    if phase.flagged_percent:
        text += f"; {phase.flagged_percent:.1f} % of the ten-minute intervals are flagged"
        rules = {row.limit.flagged for row in phase.rows}
        if "kept_if_lasting" in rules:
            text += " and left out; the voltage counts while a dip or swell lasts longer than a minute"
        elif rules != {"kept"}:
            text += " and left out"
    return text + "."


def _holes(phase: PhaseReport, report: WeekReport) -> list[str]:
    """The longest stretches without ten-minute values up to now, in time order."""
    ten, week = phase.box.week.intervals.get(TEN_MINUTES_MS), report.week
    if ten is None or not len(ten.start_ns):
        return []
    found = missing_spans_ns(ten.start_ns, ten.end_ns, week.start_ns, min(week.end_ns, report.until_ns))
    longest = sorted(sorted(found, key=lambda span: span[0] - span[1])[:HOLES_SAID])
    words = [f"{week.moment_words(start)} to {week.moment_words(end)}" for start, end in longest]
    more = len(found) - len(longest)
    return [*words, f"{more} shorter {'stretch' if more == 1 else 'stretches'}"] if more else words


def events_sentence(report: WeekReport) -> str:
    events = report.events
    least = min((phase.complete_percent for phase in report.phases), default=0.0)
    span = "the week" if least >= WHOLE_PERCENT else "what was measured of the week"
    if not events and not least:
        return "Whether a dip, swell or interruption began is not known: nothing was measured."
    if not events:
        further = "further " if any(phase.supply.earlier for phase in report.phases) else ""
        return f"No {further}dip, swell or interruption began in {span}."
    counts = [
        _counted(sum(each.kind == kind for each in events), kind) for kind in ("dip", "swell", "interruption")
    ]
    worst = max(events, key=lambda event: abs(event.residual_percent - 100))
    lasted = "has not ended" if worst.duration_s is None else f"lasted {_seconds_words(worst.duration_s)}"
    return (
        f"{_listed([each for each in counts if each])} began in {span}; the furthest from nominal reached "
        f"{worst.residual_percent:.1f} % on {report.week.moment_words(worst.start_ns)} and {lasted}."
    )


def _supply(phase: PhaseReport, report: WeekReport) -> str:
    supply = phase.supply
    if not supply.sustained and not supply.earlier:
        return ""
    counts = [
        f"{_counted(count, 'interruption')} {words}"
        for count, words in ((supply.earlier, "that began before the week"), (supply.sustained, "in it"))
        if count
    ]
    if not supply.earlier:
        counts = [_counted(supply.sustained, "interruption")]
    return (
        f"had {_listed(counts)}, longer than {report.table.long_interruption_s:g} s: "
        f"{supply.minutes:.1f} minutes of the week in all."
    )


def _unstated(report: WeekReport) -> list[str]:
    """What the percentages of events refer to at Boxes whose nominal voltage is not stated."""
    return [
        f"{phase.box.label}: percentages of its events are of {phase.box.week.nominal_v:g} V, "
        "which is not stated."
        for phase in report.phases
        if "nominal_v" in phase.box.week.unstated and phase.box.disturbances
    ]


def _not_assessed(report: WeekReport) -> str:
    reasons: dict[str, list[str]] = {}
    for row in report.rows:
        if row.verdict == "not_assessed":
            names = reasons.setdefault(row.why, [])
            if row.limit.name not in names:
                names.append(row.limit.name)
    parts = [f"{_listed(names)} ({_inner(why)})" if why else _listed(names) for why, names in reasons.items()]
    return f"Not assessed: {'; '.join(parts)}." if parts else ""


def _inner(sentence: str) -> str:
    """A sentence as a part of another one."""
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def _counted(count: int, noun: str) -> str:
    return "" if not count else f"1 {noun}" if count == 1 else f"{count} {noun}s"


def _listed(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _seconds_words(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return number_words(seconds, "s", 3) if seconds < 120 else f"{seconds / 60:.1f} min"
