"""The table of facts on an incident's page: its names, times and scope, who was first, what was recorded."""

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

from markupsafe import Markup

from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.incidents.arrival_order import may_be_first
from opq_cloud.store.incidents.as_json import source_words
from opq_cloud.view import words
from opq_cloud.view.incident_panels import shared_ns
from opq_cloud.view.languages import N_, _, ngettext
from opq_cloud.view.registry import natural_order
from opq_proto.messages import BoxArrival, BoxSide, Finding, Incident, Waveform

ARRIVALS_SHOWN = 12
LONG_NS = 10 * 10**9
"""The waveform of a shorter disturbance is requested whole (`triggers/threshold.py`, max_event_s)."""
NO_SCOPE = N_("not known of the Boxes seen here")
NO_ORDER = N_("not known: none of its clocks is good enough to say who was first")
SCOPE_WORDS = {
    "local": N_("local: Boxes of one place"),
    "feeder": N_("feeder: several places of one feeder"),
    "region": N_("region: several feeders"),
    "wide_area": N_("wide area: several regions, or the frequency of the grid"),
}

SIDE_WORDS = {"downstream": N_("downstream, fed through it"), "upstream": N_("upstream, not fed through it")}


def facts_table(
    incident: Incident, nominal_v: float, waves: Mapping[str, Waveform], records: Sequence[EventRecord]
) -> list[tuple[str, list[str]]]:
    """(name, lines) of the facts table."""
    worst = words.worst(incident)
    finding = worst.finding if worst else None
    end = _moment(incident.end_ns) if incident.closed else _("open when the recording ended")
    facts: list[tuple[str, list[str]]] = [
        (_("Class"), [words.class_words(incident.kind)]),
        ("IEEE 1159", [(finding.ieee1159 if finding else None) or _("no name for it")]),
        (
            _("ITIC (2000)"),
            [_(words.ITIC_WORDS.get((finding.itic if finding else None) or "", words.NOT_RATED))],
        ),
        (
            _("SEMI F47-0706"),
            [_(words.F47_WORDS.get((finding.semi_f47 if finding else None) or "", words.NOT_RATED))],
        ),
        (_("Start"), [_moment(incident.start_ns)]),
        (_("End"), [end, *_end_doubt(incident)]),
        *facts_of_whole(incident),
        (_("Time of each Box"), _time_lines([item.finding for item in incident.findings], waves)),
    ]
    if finding and finding.residual_v is not None:
        volts = _(
            "%(number)s of %(plain)s nominal",
            number=words.number(finding.residual_v, 2, "V"),
            plain=words.plain(nominal_v, "V"),
        )
        facts.insert(1, (_("Residual"), [f"{words.number(finding.residual_percent, 2, '%')}, {volts}"]))
    if finding and finding.confidence is not None:
        facts.append((_("Confidence"), [words.number(finding.confidence * 100, 0, "%")]))
    facts.append((_("Found by"), source_words(incident).split("; ")))
    missing = [
        _("Box %(box_id)s: %(why)s", box_id=box_id, why=why)
        for record in records
        for box_id, why in record.missing.items()
    ]
    if missing:
        facts.append((_("Boxes without a waveform"), missing))
    if recorded := _recorded(incident, records):
        facts.append((_("Recorded"), [recorded]))
    for record in records:
        lines = [record.because or _("opened by a trigger")]
        if left_out := sum(record.not_asked.values()):
            lines.append(
                _(
                    "%(count)s Boxes were asked, %(left_out)s were not",
                    count=len(record.boxes_triggered),
                    left_out=left_out,
                )
            )
        lines += [
            _(
                "%(analysis)s asked for more: %(because)s; %(answer_words)s",
                analysis=each.analysis,
                because=each.because,
                answer_words=each.answer_words,
            )
            for each in record.more.values()
        ]
        facts.append((_("Event %(event_id)s", event_id=record.event_id), lines))
    return facts


def _end_doubt(incident: Incident) -> list[Markup]:
    if not incident.closed or incident.latest_end_ns == incident.end_ns:
        return []
    return [Markup("{} {}").format(_("or later, up to"), _moment(incident.latest_end_ns))]


def facts_of_whole(incident: Incident) -> list[tuple[str, list[str]]]:
    """Facts of the whole incident: scope, severity, order of arrival, sides, centre."""
    severity = (
        _("not judged")
        if incident.severity is None
        else _("%(severity)s of 10", severity=f"{incident.severity:g}")
    )
    facts = [
        (
            _("Scope"),
            [_(SCOPE_WORDS.get(incident.scope or "", NO_SCOPE))],
        ),
        (_("Severity"), [severity]),
    ]
    if len(incident.arrivals) > 1 and not any(each.disciplined for each in incident.arrivals):
        facts.append((_("Order of arrival"), [_(NO_ORDER)]))
    elif len(incident.arrivals) > 1:
        shown = incident.arrivals[:ARRIVALS_SHOWN]
        compared = {each.aligned_to for each in incident.arrivals}
        lines = _arrival_lines(shown, compared)
        if len(incident.box_ids) > len(shown):
            lines.append(
                ngettext("%(num)d more Box", "%(num)d more Boxes", len(incident.box_ids) - len(shown))
            )
        facts.append((_("Order of arrival"), lines))
    if incident.sides:
        facts.append((_("Seen from its place"), _side_lines(incident.sides)))
    if incident.centre is not None:
        latitude, longitude = incident.centre
        facts.append(
            (
                _("Centre"),
                [
                    _(
                        "%(latitude)s° latitude, %(longitude)s° longitude",
                        latitude=f"{latitude:.4f}",
                        longitude=f"{longitude:.4f}",
                    )
                ],
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
        _("the half-cycle rms that its gateway kept")
        if has_half_cycles(records)
        else _("the Box's Measurements")
    )
    return _(
        "%(duration)s of %(duration2)s as waveforms, at its ends; between them %(between)s",
        duration=words.duration(held_ns / 1e9),
        duration2=words.duration(length_ns / 1e9),
        between=between,
    )


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
        f"{_(SIDE_WORDS.get(side, side))}: {words.boxes(sorted(found, key=natural_order))} ({share:.0%})"
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
        lines.append(
            _(
                "%(boxes)s: %(when)s, %(doubt)s%(clock_words)s",
                boxes=words.boxes(ids),
                when=when,
                doubt=words.uncertainty(max(each.uncertainty_ns for each in found)),
                clock_words=words.clock_words(found[0], found[0].box_id in compared, len(found)),
            )
        )
    return lines


def _time_lines(findings: Sequence[Finding], waves: Mapping[str, Waveform]) -> list[str]:
    """The uncertainty and source of each Box's time; Boxes with the same ones share a line."""
    boxes: dict[str, list[str]] = {}
    for finding in findings:
        wave = waves.get(finding.box_id)
        by = words.source(wave.source) if wave else _("source not known")
        alike = boxes.setdefault(f"{words.uncertainty(finding.uncertainty_ns)}, {by}", [])
        if finding.box_id not in alike:
            alike.append(finding.box_id)
    return [f"{_boxes_words(found)}: {clock}" for clock, found in boxes.items()] or [_("unknown")]


def _boxes_words(box_ids: Sequence[str]) -> str:
    return (
        _("%(boxes)s, all alike", boxes=words.boxes(box_ids))
        if len(box_ids) > words.BOXES_LISTED
        else words.boxes(box_ids)
    )
