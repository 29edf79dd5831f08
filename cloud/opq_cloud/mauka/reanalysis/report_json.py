"""The changes of a re-analysis, as JSON and as lines for people. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from opq_cloud.mauka.reanalysis.changes import (
    FIRST_NUMBER,
    ORIGIN,
    FindingChange,
    IncidentChange,
    ReanalysisReport,
)
from opq_cloud.store.incidents.join_plan import KnownFinding

SHOWN = {"added": "+", "gone": "-", "class": "~", "figures": "~"}


def report_json(report: ReanalysisReport, dry_run: bool) -> dict[str, object]:
    """Returns the report as JSON. Numbers that a store would give are null in a dry run."""
    changes = [one for one in report.findings if one.change != "origin"]
    found: dict[str, Any] = {
        "dry_run": dry_run,
        "events": report.events,
        "findings": {"unchanged": report.unchanged, **report.counts()},
        "finding_changes": [_finding_change(one) for one in changes],
        "incident_changes": [_incident_change(one) for one in report.incidents],
        "kept_for_people": [_number(one.finding_id) for one in report.kept],
        "skipped": {str(event_id): why for event_id, why in sorted(report.skipped.items())},
        "failed": {str(event_id): why for event_id, why in sorted(report.failed.items())},
        "not_run": dict(sorted(report.not_run.items())),
    }
    for part in report.earlier:
        _add_part(found, part)
    return found


def _add_part(found: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Adds the changes of a part of the run that ended before; they come before the rest."""
    found["events"] += part["events"]
    for name, count in part["findings"].items():
        found["findings"][name] += count
    for name in ("finding_changes", "incident_changes", "kept_for_people"):
        found[name] = [*part[name], *found[name]]


def report_lines(report: ReanalysisReport, dry_run: bool, most: int) -> Iterator[str]:
    """Yields a line for each change, at most `most`, and the sums."""
    changes = [one for one in report.findings if one.change != "origin"]
    for one in changes[:most]:
        place = one.after or one.before
        assert place is not None
        yield (
            f"{SHOWN[one.change]} Box {one.box_id}, incident {_number(place.incident_id) or 'new'}: "
            f"{_change_words(one.before, one.after)}"
        )
    if len(changes) > most:
        yield f"... and {len(changes) - most} more findings; --json has them all"
    for each in report.incidents[:most]:
        if each.change == "facts":
            yield f"incident {_number(each.incident_id)}: its scope, cause or another fact changes"
        elif each.change != "findings":
            label = "" if each.label is None else f" (people say {each.label})"
            number = _number(each.incident_id) or "new"
            yield f"incident {number}: {each.before or 'none'} -> {each.after or 'none'}{label}"
    for event_id, why in sorted(report.failed.items())[:most]:
        yield f"event {event_id} stays as it was: {why}"
    for name, why in sorted(report.not_run.items()):
        yield f"the findings of {name} stay as they were: {why}"
    counts = report.counts()
    yield (
        f"{report.events} events {'looked at' if dry_run else 'analysed'} again; findings: "
        f"{report.unchanged} unchanged, {counts['added']} added, {counts['gone']} gone, "
        f"{counts['class']} of another class, {counts['figures']} with other figures, "
        f"{counts['origin']} found by another version or settings alone; {len(report.kept)} kept for people; "
        f"events: {len(report.skipped)} skipped, {len(report.failed)} failed"
    )
    if report.earlier:
        events = sum(part["events"] for part in report.earlier)
        yield f"{events} more events were analysed again before the run was ended; --json has those changes"
    if dry_run:
        yield "nothing was written: a dry run"


def _finding_change(one: FindingChange) -> dict[str, object]:
    place = one.after or one.before
    assert place is not None
    return {
        "change": one.change,
        "box_id": one.box_id,
        "finding_id": _number(one.finding_id),
        "incident_id": _number(place.incident_id),
        "before": _finding(one.before),
        "after": _finding(one.after),
    }


def _finding(known: KnownFinding | None) -> dict[str, object] | None:
    if known is None:
        return None
    one = known.finding
    return {
        "class": one.kind,
        "start_ns": one.start_ns,
        "end_ns": one.end_ns,
        "closed": one.closed,
        "residual_percent": one.residual_percent,
        "duration_cycles": one.duration_cycles,
        "itic": one.itic,
        "semi_f47": one.semi_f47,
        "because": one.because,
        "analysis": one.analysis,
        "analysis_version": one.analysis_version,
        "settings_hash": one.settings_hash,
    }


def _incident_change(one: IncidentChange) -> dict[str, object]:
    return {
        "change": one.change,
        "incident_id": _number(one.incident_id),
        "before": one.before,
        "after": one.after,
        "label": one.label,
    }


def _number(number: int) -> int | None:
    return number if number < FIRST_NUMBER else None


def _change_words(before: KnownFinding | None, after: KnownFinding | None) -> str:
    """Returns the shown values of both findings; where these are equal, the facts that differ."""
    was, now = _words(before), _words(after)
    if was != now:
        return f"{was} -> {now}"
    one, other = _finding(before) or {}, _finding(after) or {}
    differing = [name for name in one if name not in ORIGIN and one[name] != other.get(name)]
    return f"{now}; other {', '.join(differing) or 'figures'}"


def _words(known: KnownFinding | None) -> str:
    if known is None:
        return "nothing"
    one = known.finding
    depth = "" if one.residual_percent is None else f" {one.residual_percent:.1f} %"
    return f"{one.kind}{depth}, {(one.end_ns - one.start_ns) / 1e6:.0f} ms"
