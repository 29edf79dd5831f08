"""The table of facts on an incident's page: its names, times and scope, who was first, what was recorded."""

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from urllib.parse import quote

from markupsafe import Markup

from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.incidents.arrival_order import may_be_first
from opq_cloud.store.incidents.as_json import source_words
from opq_cloud.view.pages.incidents.incident_panels import shared_ns
from opq_cloud.view.pages.visible.registry import natural_order
from opq_cloud.view.pages.visible.seen_sites import sites_then
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_proto.messages import BoxArrival, BoxSide, Finding, Incident, Waveform

ARRIVALS_SHOWN = 12
LONG_NS = 10 * 10**9
"""The waveform of a shorter disturbance is requested whole (`triggers/threshold.py`, max_event_s)."""
NO_SCOPE = "not known of the Boxes seen here"
NO_ORDER = "not known: its clocks are not good enough to say which Box was first"
SCOPE_WORDS = {
    "local": "local: Boxes of one place",
    "feeder": "feeder: several places of one feeder",
    "region": "region: several feeders",
    "wide_area": "wide area: several regions, or the frequency of the grid",
}

SIDE_WORDS = {"downstream": "downstream, fed through it", "upstream": "upstream, not fed through it"}


def facts_table(
    context: VisitorContext,
    incident: Incident,
    nominal_v: float,
    waves: Mapping[str, Waveform],
    records: Sequence[EventRecord],
) -> list[tuple[str, list[str]]]:
    """(name, lines) of the facts table."""
    worst = words.worst(incident)
    finding = worst.finding if worst else None
    end = _moment(incident.end_ns) if incident.closed else "open when the recording ended"
    facts: list[tuple[str, list[str]]] = [
        ("Class", [words.class_words(incident.kind)]),
        ("IEEE 1159", [(finding.ieee1159 if finding else None) or "no name for it"]),
        (
            "ITIC (2000)",
            [words.ITIC_WORDS.get((finding.itic if finding else None) or "", words.NOT_RATED)],
        ),
        (
            "SEMI F47-0706",
            [words.F47_WORDS.get((finding.semi_f47 if finding else None) or "", words.NOT_RATED)],
        ),
        ("Start", [_moment(incident.start_ns)]),
        ("End", [end, *_end_doubt(incident)]),
        *facts_of_whole(incident),
        ("Time of each Box", _time_lines([item.finding for item in incident.findings], waves)),
    ]
    if finding and finding.residual_v is not None:
        volts = f"{words.number(finding.residual_v, 2, 'V')} of {words.plain(nominal_v, 'V')} nominal"
        facts.insert(1, ("Residual", [f"{words.number(finding.residual_percent, 2, '%')}, {volts}"]))
    if finding and finding.confidence is not None:
        facts.append(("Confidence", [words.number(finding.confidence * 100, 0, "%")]))
    facts.append(("Found by", source_words(incident).split("; ")))
    (sites,) = sites_then(context, [incident])
    if sites:
        link = Markup('<a href="/sites/{}">{}</a>')
        facts.insert(1, ("Site", [link.format(quote(name), name) for name in sites]))
    missing = [f"Box {box_id}: {why}" for record in records for box_id, why in record.missing.items()]
    if missing:
        facts.append(("Boxes without a waveform", missing))
    if recorded := _recorded(incident, records):
        facts.append(("Recorded", [recorded]))
    for record in records:
        lines = [record.because or "opened by a trigger"]
        if record.finished and not record.analysed:
            lines.append("not wholly analysed: an analysis has not run or has failed on it")
        if left_out := sum(record.not_asked.values()):
            lines.append(f"{len(record.boxes_triggered)} Boxes were asked, {left_out} were not")
        lines += [
            f"{each.analysis} asked for more: {each.because}; {each.answer_words}"
            for each in record.more.values()
        ]
        facts.append((f"Event {record.event_id}", lines))
    return facts


def _end_doubt(incident: Incident) -> list[Markup]:
    if not incident.closed or incident.latest_end_ns == incident.end_ns:
        return []
    return [Markup("{} {}").format("or later, up to", _moment(incident.latest_end_ns))]


def facts_of_whole(incident: Incident) -> list[tuple[str, list[str]]]:
    """Facts of the whole incident: scope, severity, order of arrival, sides, centre."""
    severity = "not judged" if incident.severity is None else f"{incident.severity:g} of 10"
    facts = [
        (
            "Scope",
            [SCOPE_WORDS.get(incident.scope or "", NO_SCOPE)],
        ),
        ("Severity", [severity]),
    ]
    if len(incident.arrivals) > 1 and not any(each.disciplined for each in incident.arrivals):
        facts.append(("Order of arrival", [NO_ORDER]))
    elif len(incident.arrivals) > 1:
        shown = incident.arrivals[:ARRIVALS_SHOWN]
        compared = {each.aligned_to for each in incident.arrivals}
        lines = _arrival_lines(shown, compared)
        if len(incident.box_ids) > len(shown):
            lines.append(words.counted(len(incident.box_ids) - len(shown), "more Box", "more Boxes"))
        facts.append(("Order of arrival", lines))
    if incident.sides:
        facts.append(("Seen from its place", _side_lines(incident.sides)))
    if incident.centre is not None:
        latitude, longitude = incident.centre
        facts.append(
            (
                "Centre",
                [f"{latitude:.4f}° latitude, {longitude:.4f}° longitude"],
            )
        )
    return facts


def has_half_cycles(records: Sequence[EventRecord]) -> bool:
    """Whether a gateway has sent half cycles."""
    return any("" in record.half_cycles.values() for record in records)


def _recorded(incident: Incident, records: Sequence[EventRecord]) -> str:
    """The recorded share of a disturbance, where waveforms hold only the two ends of a long one; or empty."""
    parts = [shared_ns(record, incident) for record in records]
    held_ns, length_ns = sum(part for part in parts if part > 0), incident.end_ns - incident.start_ns
    if length_ns < LONG_NS or held_ns >= length_ns / 2:
        return ""
    between = (
        "the half-cycle rms that its gateway kept" if has_half_cycles(records) else "the Box's Measurements"
    )
    held, length = words.duration(held_ns / 1e9), words.duration(length_ns / 1e9)
    return f"{held} of {length} as waveforms, at its ends; between them {between}"


def _moment(t_ns: int) -> Markup:
    """A time in UTC to the microsecond, as an element that also gives the local time."""
    return Markup('<time datetime="{}">{} UTC</time>').format(words.utc_attribute(t_ns), words.utc(t_ns, 6))


def _side_lines(sides: Sequence[BoxSide]) -> list[str]:
    """`downstream, fed through it: Boxes 7 and 8 (70 %)`; Boxes of one side and probability share a line."""
    boxes: dict[tuple[str, float], list[str]] = {}
    for each in sides:
        boxes.setdefault((each.side, each.probability), []).append(each.box_id)
    rows = sorted(boxes.items(), key=lambda item: (item[0][0], -item[0][1]))
    return [
        f"{SIDE_WORDS.get(side, side)}: {words.boxes(sorted(found, key=natural_order))} ({share:.0%})"
        for (side, share), found in rows
    ]


def _arrival_lines(arrivals: Sequence[BoxArrival], compared: Collection[str | None]) -> list[str]:
    """A line for each Box; those that follow each other with the same time and clock share one."""

    first_ns, firsts = arrivals[0].start_ns, may_be_first(arrivals)

    def time_and_clock(arrival: BoxArrival) -> tuple[str, str]:
        when = words.arrived(arrival, first_ns, arrival.box_id in firsts)
        return when, words.clock_words(arrival, arrival.box_id in compared)

    lines = []
    for (when, _clock), group in groupby(arrivals, time_and_clock):
        found = list(group)
        ids = sorted((each.box_id for each in found), key=natural_order)
        uncertainty = words.uncertainty(max(each.uncertainty_ns for each in found))
        clock = words.clock_words(found[0], found[0].box_id in compared, len(found))
        lines.append(f"{words.boxes(ids)}: {when}, {uncertainty}{clock}")
    return lines


def _time_lines(findings: Sequence[Finding], waves: Mapping[str, Waveform]) -> list[str]:
    """The uncertainty and source of each Box's time; Boxes with the same ones share a line."""
    boxes: dict[str, list[str]] = {}
    for finding in findings:
        wave = waves.get(finding.box_id)
        by = words.source(wave.source) if wave else "source not known"
        alike = boxes.setdefault(f"{words.uncertainty(finding.uncertainty_ns)}, {by}", [])
        if finding.box_id not in alike:
            alike.append(finding.box_id)
    return [f"{_boxes_words(found)}: {clock}" for clock, found in boxes.items()] or ["unknown"]


def _boxes_words(box_ids: Sequence[str]) -> str:
    return f"{words.boxes(box_ids)}, all alike" if len(box_ids) > words.BOXES_LISTED else words.boxes(box_ids)
