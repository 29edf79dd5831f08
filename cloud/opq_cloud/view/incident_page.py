"""The page of one incident: what happened, what each Box of the event measured, what the curves say."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from opq_cloud.incident_past import COMPARED, IncidentPast, label_sentence, past_of, recurrence_sentences
from opq_cloud.store.incidents.as_json import source_words
from opq_cloud.store.incidents.cause_words import cause_sentence, evidence_lines
from opq_cloud.store.store import EventRecord
from opq_cloud.view import words
from opq_cloud.view.alike_incidents import is_steady
from opq_cloud.view.context import ViewContext
from opq_cloud.view.incident_panels import BOXES_SHOWN, Panel, incident_panels, shared_ns
from opq_cloud.view.languages import N_, _, ngettext
from opq_cloud.view.live_messages import fingerprint
from opq_cloud.view.past.compare_address import query_zone
from opq_cloud.view.registry import natural_order
from opq_measure.events.curves import ITIC_HIGH, ITIC_LOW
from opq_measure.events.disturbances import Limits
from opq_proto.messages import BoxArrival, BoxSide, Event, Finding, Incident, StoredFinding, Waveform

EVENTS_SHOWN = 4
EVENTS_READ = 100
FINDINGS_SHOWN = 6
"""Rows of the table; the others are folded."""
CURVE_FIRST_S, CURVE_HALF_CYCLE_S, CURVE_LAST_S = 1e-3, 1 / 120, 100.0
"""The span of the drawn curve; rms has no value below half a cycle, so the upper line starts there."""

ARRIVALS_SHOWN = 12
FOLLOWS_NS = 60 * 10**9
"""As Mauka: one follows another that began or ended at most this long before it at the same Box. Steady
states last for hours, so that others do not follow them."""
FOLLOWED_BOXES, FOLLOWED_SHOWN = 50, 3
"""Most Boxes that are searched for what came before, and most incidents that are named."""
COMPARED_IN_PART = 50
"""Earlier incidents at its Boxes, and as many of its class, compared where the visitor sees only a part."""
NO_SCOPE = N_("not known of the Boxes seen here")
NO_ORDER = N_("not known: none of its clocks is good enough to say who was first")
SCOPE_WORDS = {
    "local": N_("local: Boxes of one place"),
    "feeder": N_("feeder: several places of one feeder"),
    "region": N_("region: several feeders"),
    "wide_area": N_("wide area: several regions, or the frequency of the grid"),
}

SIDE_WORDS = {"downstream": N_("downstream, fed through it"), "upstream": N_("upstream, not fed through it")}

ITIC_SENTENCES = {
    "no_interruption_in_function": N_(
        "This incident lies between them: such equipment should go on working."
    ),
    "no_damage": N_("This incident lies below the lower one: such equipment may stop, but is not harmed."),
    "prohibited": N_("This incident lies above the upper one: such equipment may be damaged."),
}


@dataclass(frozen=True, slots=True)
class LimitWords:
    """The thresholds drawn into the envelope, percent of nominal."""

    sag: float
    swell: float
    interruption: float


LONG_NS = 10 * 10**9
"""The waveform of a shorter disturbance is requested whole (`triggers/threshold.py`, max_event_s)."""


HIDDEN_WAVEFORM = N_(
    "The raw waveforms of this Box are not shown to you. Its owner can share the Box with your account, "
    "or show its waveforms to everybody."
)


@dataclass(frozen=True, slots=True)
class IticPoint:
    """A finding in the plane of the ITIC curve."""

    label: str
    series: int
    duration_s: float
    residual_percent: float
    words: str


def corners() -> dict[str, list[tuple[float, float]]]:
    """The two lines of the ITIC curve as (seconds, percent) corners, from `opq_measure.events.curves`."""
    return {"upper": _line(ITIC_HIGH, CURVE_HALF_CYCLE_S), "lower": _line(ITIC_LOW, CURVE_FIRST_S)}


def _line(steps: Sequence[tuple[float, float]], first_s: float) -> list[tuple[float, float]]:
    line = []
    for until_s, level in steps:
        last_s = min(until_s, CURVE_LAST_S)
        line += [(first_s, level), (last_s, level)]
        first_s = last_s
    return line


def page(context: ViewContext, incident: Incident, draw_all: bool = False) -> dict[str, object]:
    """Everything that `incident.html` shows; `draw_all` gives every Box charts, not only the first few."""
    limits = Limits()
    records = _records(context, incident)
    events = _events(context, records)
    judged = context.judged(incident)
    panels = incident_panels(context, incident, events, judged, draw_all)
    worst = words.worst(incident)
    nominal_v = context.judged_box(worst.finding.box_id, judged).nominal_v if worst else context.nominal.volts
    points = _points(incident, panels)
    names = context.names([incident])
    findings = sorted(incident.findings, key=_least_bad)
    return {
        "incident": incident,
        "fingerprint": fingerprint(incident),
        "names": names,
        "sentence": words.sentence(incident, nominal_v, names),
        "others": _others(incident, _unnamed(context, worst, panels)),
        "uneven": _uneven(worst),
        "doubt": _doubt(incident, events),
        "worst": worst.finding if worst else None,
        "residual_v": worst.finding.residual_v if worst else None,
        "nominal_v": nominal_v,
        "present_nominal": words.present_nominal(
            ((each.box_id, each.nominal_v) for each in panels if judged.volts(each.box_id) is None), names
        ),
        "duration_words": _duration(incident),
        "cycle_words": _cycles(incident, worst.finding if worst else None),
        "panels": [panel for panel in panels if panel.picture is None],
        "small": [panel for panel in panels if panel.picture is not None],
        "small_what": _("Waveform") if incident.residual_percent is None else _("Half-cycle rms voltage"),
        "not_drawn": sum(len(event.waveforms) for event in events) > BOXES_SHOWN,
        "no_waveform": _no_waveform(context, events, records),
        "limits": LimitWords(limits.sag_percent, limits.swell_percent, limits.interruption_percent),
        "points": points,
        "curves": {_("upper line"): corners()["upper"], _("lower line"): corners()["lower"]},
        "itic_sentence": _itic_sentence(worst.finding if worst else None),
        "facts": _facts(incident, nominal_v, events, records),
        "findings": findings[:FINDINGS_SHOWN],
        "more_findings": findings[FINDINGS_SHOWN:],
        "past": (past := past_before(context, incident)),
        "recurrences": recurrence_sentences(past),
        "suggestion": None
        if past.suggested is None
        else label_sentence(past.suggested, words.class_phrase(past.suggested.kind)),
        "followed": followed_at_boxes(context, incident, names),
        "causes": [(cause_sentence(each), evidence_lines(each)) for each in incident.hypotheses],
        "half_cycles": _half_cycles(records),
        "itic_short": words.ITIC_SHORT,
        "f47_words": words.F47_WORDS,
    }


def followed_at_boxes(context: ViewContext, incident: Incident, names: words.Names) -> list[tuple[str, int]]:
    """Boxes in words, and the incident that came shortly before at them; not the one that it follows."""
    begins: dict[str, int] = {}
    for item in incident.findings:
        one = item.finding
        if not is_steady(one.kind) and (one.box_id in begins or len(begins) < FOLLOWED_BOXES):
            begins[one.box_id] = min(one.start_ns, begins.get(one.box_id, one.start_ns))
    if not begins:
        return []
    last: dict[str, tuple[int, int]] = {}
    first_ns = min(begins.values()) - FOLLOWS_NS
    for known in context.store.findings_of_boxes(tuple(begins), first_ns, max(begins.values())):
        one = known.finding
        since_onset, since_end = (begins[one.box_id] - at_ns for at_ns in (one.start_ns, one.end_ns))
        near = since_onset <= FOLLOWS_NS or 0 <= since_end <= FOLLOWS_NS
        if known.incident_id != incident.incident_id and not is_steady(one.kind) and near and since_onset > 0:
            last[one.box_id] = max((one.start_ns, known.incident_id), last.get(one.box_id, (0, 0)))
    at: dict[int, list[str]] = {}
    for box_id in sorted(last, key=natural_order):
        at.setdefault(last[box_id][1], []).append(box_id)
    rows = [(words.boxes(ids, names), number) for number, ids in at.items() if number != incident.follows]
    return rows[:FOLLOWED_SHOWN]


def past_before(context: ViewContext, incident: Incident) -> IncidentPast:
    """The earlier incidents that the visitor sees, in the visitor's time zone."""
    zone = query_zone(context, "")
    # where the visitor does not see every Box, each entry is made again from the whole incident
    compared = COMPARED if context.visitor.everything else COMPARED_IN_PART
    return past_of(context.store, incident, zone, zone.key, compared)


def _records(context: ViewContext, incident: Incident) -> list[EventRecord]:
    """The records of its events that hold its worst finding and most of its time, oldest first."""
    found = [context.store.event_record(event_id) for event_id in incident.event_ids[:EVENTS_READ]]
    known = [record for record in found if record is not None]
    worst = words.worst(incident)

    def rank(record: EventRecord) -> tuple[bool, int, int]:
        covers = worst is None or record.start_ns <= worst.finding.start_ns <= record.end_ns
        return not covers, -shared_ns(record, incident), record.event_id

    best = sorted(known, key=rank)[:EVENTS_SHOWN]
    return sorted(best, key=lambda record: record.event_id)


def _events(context: ViewContext, records: Sequence[EventRecord]) -> list[Event]:
    found = [context.store.event(record.event_id) for record in records]
    return [event for event in found if event is not None]


def _unnamed(context: ViewContext, worst: StoredFinding | None, panels: Sequence[Panel]) -> list[Panel]:
    """The panels without the Boxes on the phases of an unbalance, whose sentence has their voltages."""
    own = context.store.box(worst.finding.box_id) if worst is not None and _uneven(worst) else None
    if own is None:
        return list(panels)
    boxes = {panel.box_id: context.store.box(panel.box_id) for panel in panels}
    return [each for each in panels if (box := boxes[each.box_id]) is None or box.location != own.location]


def _uneven(worst: StoredFinding | None) -> tuple[str, str, str] | None:
    """Quantity, value and voltages of an unbalance, as texts; None where it is not an unbalance."""
    figures = dict(worst.finding.figures) if worst is not None else {}
    percent = figures.get("u2_percent", figures.get("magnitudes_percent"))
    if worst is None or worst.finding.kind != "unbalance" or percent is None:
        return None
    what = _("Unbalance u2") if "u2_percent" in figures else _("Unbalance of magnitudes")
    volts = ", ".join(
        f"{each}{words.THIN}{words.number(figures.get(f'rms_{each}_v'), 1, 'V')}" for each in "abc"
    )
    return what, words.number(percent, 2, "%"), volts


def _others(incident: Incident, panels: Sequence[Panel]) -> str:
    """One sentence about Boxes that were also requested and have no finding in this incident."""
    found = []
    for panel in panels:
        if panel.box_id in incident.box_ids or panel.low_v is None or panel.high_v is None:
            continue
        deep = abs(panel.nominal_v - panel.low_v) >= abs(panel.high_v - panel.nominal_v)
        volts = panel.low_v if deep else panel.high_v
        places = {
            "box": panel.box_id,
            "volts": words.number(volts, 1, "V"),
            "percent": words.number(volts / panel.nominal_v * 100, 1, "%"),
        }
        found.append(
            _("Box %(box)s (lowest %(volts)s, %(percent)s)", **places)
            if deep
            else _("Box %(box)s (highest %(volts)s, %(percent)s)", **places)
        )
    if not found:
        return ""
    who = (
        words.listed(found)
        if len(found) <= 3
        else ngettext("%(num)d other Box", "%(num)d other Boxes", len(found))
    )
    return _("Asked too, and no part of it: %(who)s.", who=who)


def _doubt(incident: Incident, events: Sequence[Event]) -> str:
    """The uncertainty of the start, and the source of its time."""
    finding = incident.findings[0].finding if incident.findings else None
    if finding is None:
        return ""
    waves = [wave for event in events for wave in event.waveforms if wave.box_id == finding.box_id]
    by = _(", by %(source)s", source=words.source(waves[0].source)) if waves else ""
    return f"{words.uncertainty(finding.uncertainty_ns)}{by}"


def _duration(incident: Incident) -> str:
    if not incident.closed:
        return _(
            "At least %(duration)s", duration=words.duration((incident.end_ns - incident.start_ns) / 1e9)
        )
    return words.duration((incident.end_ns - incident.start_ns) / 1e9)


def _cycles(incident: Incident, finding: Finding | None) -> str:
    if finding is None or finding.duration_cycles is None or words.has_parts(incident):
        return ""
    cycles = words.cycles(finding.duration_cycles)
    if len(incident.findings) == 1:
        return cycles
    length = words.duration((finding.end_ns - finding.start_ns) / 1e9)
    return (
        _("%(length)s, %(cycles)s at Box %(box_id)s", length=length, cycles=cycles, box_id=finding.box_id)
        if cycles
        else _("%(length)s at Box %(box_id)s", length=length, box_id=finding.box_id)
    )


def _points(incident: Incident, panels: Sequence[Panel]) -> list[IticPoint]:
    series = {panel.box_id: row for row, panel in enumerate(panels)}
    found = []
    rated = [each.finding for each in incident.findings if each.finding.itic is not None]
    for finding in sorted(rated, key=lambda each: natural_order(each.box_id)):
        if finding.residual_percent is None:
            continue
        duration_s = (finding.end_ns - finding.start_ns) / 1e9
        found.append(
            IticPoint(
                label=_("Box %(box)s", box=finding.box_id),
                series=series.get(finding.box_id, len(series)) % 6,
                duration_s=duration_s,
                residual_percent=finding.residual_percent,
                words=_(
                    "%(number)s for %(duration)s",
                    number=words.number(finding.residual_percent, 1, "%"),
                    duration=words.duration(duration_s),
                ),
            )
        )
    return found


def _itic_sentence(finding: Finding | None) -> str:
    if finding is None or finding.itic is None:
        return ""
    return _(ITIC_SENTENCES[finding.itic]) if finding.itic in ITIC_SENTENCES else ""


def _no_waveform(context: ViewContext, events: Sequence[Event], records: Sequence[EventRecord]) -> str:
    """Why the page shows none. Whether a waveform that the visitor may not see exists is not said."""
    boxes = {box_id for record in records for box_id in record.boxes_triggered}
    if boxes and not any(map(context.visitor.sees_waveform, boxes)):
        return _(HIDDEN_WAVEFORM)
    missing = [
        _("Box %(box_id)s: %(why)s", box_id=box_id, why=why)
        for record in records
        for box_id, why in record.missing.items()
    ]
    if missing:
        return "; ".join(missing) + "."
    if not events:
        return _("Its event is no longer in the store: waveforms are kept for a shorter time than incidents.")
    return _("The event holds no samples of any Box.")


def _recorded(incident: Incident, records: Sequence[EventRecord]) -> str:
    """The recorded share of a disturbance, where waveforms hold only the two ends of a long one; or empty."""
    parts = [shared_ns(record, incident) for record in records]
    held_ns, length_ns = sum(part for part in parts if part > 0), incident.end_ns - incident.start_ns
    if length_ns < LONG_NS or held_ns >= length_ns / 2:
        return ""
    between = (
        _("the half-cycle rms that its gateway kept")
        if _half_cycles(records)
        else _("the Box's Measurements")
    )
    return _(
        "%(duration)s of %(duration2)s as waveforms, at its ends; between them %(between)s",
        duration=words.duration(held_ns / 1e9),
        duration2=words.duration(length_ns / 1e9),
        between=between,
    )


def _half_cycles(records: Sequence[EventRecord]) -> bool:
    """Whether a gateway has sent half cycles."""
    return any("" in record.half_cycles.values() for record in records)


def _moment(t_ns: int) -> Markup:
    """A time in UTC to the microsecond, as an element that also gives the local time."""
    return Markup('<time datetime="{}">{} UTC</time>').format(words.utc_attribute(t_ns), words.utc(t_ns, 6))


def _facts(
    incident: Incident, nominal_v: float, events: Sequence[Event], records: Sequence[EventRecord]
) -> list[tuple[str, list[str]]]:
    """(name, lines) of the facts table."""
    worst = words.worst(incident)
    finding = worst.finding if worst else None
    waves: Mapping[str, Waveform] = {wave.box_id: wave for event in events for wave in event.waveforms}
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
        (_("End"), [end]),
        *_as_a_whole(incident),
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


def _as_a_whole(incident: Incident) -> list[tuple[str, list[str]]]:
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
        first_ns = incident.arrivals[0].start_ns
        shown = incident.arrivals[:ARRIVALS_SHOWN]
        compared = {each.aligned_to for each in incident.arrivals}
        lines = _arrival_lines(shown, first_ns, compared)
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


def _least_bad(item: StoredFinding) -> tuple[bool, float, int]:
    """A sort key: furthest from nominal first; findings without a residual voltage last, by time."""
    residual = item.finding.residual_percent
    return residual is None, -abs((residual or 100.0) - 100.0), item.finding.start_ns


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


def _arrival_lines(
    arrivals: Sequence[BoxArrival], first_ns: int, compared: Collection[str | None]
) -> list[str]:
    """A line for each Box; those that follow each other with the same time and clock share one."""

    def said(arrival: BoxArrival) -> tuple[str, str, str]:
        after = (arrival.start_ns - first_ns) / 1e6
        when = _("first") if after == 0 else _("%(time)s later", time=f"{after:.3f}{words.THIN}ms")
        clock = words.clock_words(arrival, arrival.box_id in compared)
        return when, words.uncertainty(arrival.uncertainty_ns), clock

    lines = []
    for (when, doubt, _clock), group in groupby(arrivals, said):
        found = list(group)
        ids = sorted((each.box_id for each in found), key=natural_order)
        clock = words.clock_words(found[0], found[0].box_id in compared, len(found))
        lines.append(
            _(
                "%(boxes)s: %(when)s, %(doubt)s%(clock_words)s",
                boxes=words.boxes(ids),
                when=when,
                doubt=doubt,
                clock_words=clock,
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
