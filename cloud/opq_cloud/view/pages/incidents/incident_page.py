"""The page of one incident: what happened, what each Box of its events measured, what the curves say."""

from collections.abc import Callable, Mapping, Sequence

from opq_cloud.core.page_parts import ShownParts
from opq_cloud.operations.incident_past import recurrence_sentences
from opq_cloud.store.event_record import NO_EVENT, EventRecord
from opq_cloud.store.incidents.cause_words import cause_sentence, evidence_lines
from opq_cloud.view.live.feed_messages import fingerprint
from opq_cloud.view.pages.examine.curves_chart import curves_chart
from opq_cloud.view.pages.examine.itic_curve import itic_sentence
from opq_cloud.view.pages.examine.signal_reading import worst_v
from opq_cloud.view.pages.incidents.facts_table import facts_table, has_half_cycles
from opq_cloud.view.pages.incidents.incident_panels import DrawnIncident, Panel, shared_ns
from opq_cloud.view.pages.visible.past_before import past_before
from opq_cloud.view.pages.visible.registry import natural_order
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_proto.messages import Incident, StoredFinding, Waveform

EVENTS_SHOWN = 4
EVENTS_READ = 100
GAPS_LISTED = 4
FINDINGS_SHOWN = 6
"""Rows of the table; the others are folded."""

FOLLOWS_NS = 60 * 10**9
"""As Mauka: one follows another that began or ended at most this long before it at the same Box. Steady
states last for hours, so that others do not follow them."""
FOLLOWED_BOXES = 50
"""Boxes for which an earlier incident is searched, at most."""
FOLLOWED_SHOWN = 3
"""Earlier incidents that the page names, at most."""


HIDDEN_WAVEFORM = (
    "The raw waveforms of this Box are not shown to you. Its owner can share the Box with your account, "
    "or show its waveforms to everybody."
)
WITHOUT_EVENT = (
    "No waveform was requested for it: it was found in the Measurements, or in their absence, and not in an "
    "event."
)


def page(context: VisitorContext, incident: Incident, draw: Callable[[], DrawnIncident]) -> dict[str, object]:
    """Everything that `incident.html` shows; `draw` makes its charts."""
    records, parts = _records(context, incident), ShownParts()
    none = DrawnIncident.without_charts(context, incident)
    drawn = parts.made("The charts", draw, none)
    found, panels = drawn.found, drawn.panels
    worst = words.worst(incident)
    judged = found.judged
    nominal_v = worst_v(context, incident, judged)
    names = context.names([incident])
    findings = sorted(incident.findings, key=_least_bad)
    waves = {box_id: signal.runs[0].wave for box_id, signal in found.signals.items() if signal.runs}
    past = parts.made("Before", lambda: past_before(context, incident), None)
    return {
        **drawn.charts,
        "incident": incident,
        "fingerprint": fingerprint(incident),
        "names": names,
        "sentence": words.sentence(incident, nominal_v, names),
        "others": _others(incident, _unnamed(context, worst, panels)),
        "uneven": _uneven(worst),
        "doubt": _doubt(incident, waves),
        "worst": worst.finding if worst else None,
        "residual_v": worst.finding.residual_v if worst else None,
        "nominal_v": nominal_v,
        "stated_nominal": words.stated_nominal(
            ((each.box_id, each.nominal_v) for each in panels if judged.volts(each.box_id) is None), names
        ),
        "duration_words": words.shown_length(incident),
        "cycle_words": words.cycles_of(incident),
        "drawn": [panel for panel in panels if panel.picture is None],
        "small": [panel for panel in panels if panel.picture is not None],
        "small_what": "Waveform" if incident.residual_percent is None else "Half-cycle rms voltage",
        "not_drawn": len(found.candidates) - len(panels),
        "no_waveform": "" if drawn is none else _no_waveform(context, incident, records),
        "gaps": [f"Box {panel.box_id}: {gap}" for panel in panels for gap in panel.gaps[:GAPS_LISTED]],
        "curves": parts.made("The ITIC curve", lambda: curves_chart(incident, drawn.series), None),
        "itic_sentence": itic_sentence(worst.finding if worst else None),
        "facts": parts.made("Facts", lambda: facts_table(context, incident, nominal_v, waves, records), []),
        "findings": findings[:FINDINGS_SHOWN],
        "more_findings": findings[FINDINGS_SHOWN:],
        "past": past,
        "recurrences": [] if past is None else recurrence_sentences(past),
        "followed": parts.made("What came before", lambda: followed_at_boxes(context, incident, names), []),
        "causes": parts.made("Why", lambda: _causes(incident), []),
        "half_cycles": has_half_cycles(records),
        "itic_short": words.ITIC_SHORT,
        "f47_words": words.F47_WORDS,
        "failed": parts.failed,
    }


def _causes(incident: Incident) -> list[tuple[str, list[str]]]:
    return [(cause_sentence(each), list(evidence_lines(each))) for each in incident.hypotheses]


def followed_at_boxes(
    context: VisitorContext, incident: Incident, names: words.Names
) -> list[tuple[str, int]]:
    """Boxes in words, and the incident that came shortly before at them; not the one that it follows."""
    begins: dict[str, int] = {}
    for item in incident.findings:
        one = item.finding
        if not words.is_steady(one.kind) and (one.box_id in begins or len(begins) < FOLLOWED_BOXES):
            begins[one.box_id] = min(one.start_ns, begins.get(one.box_id, one.start_ns))
    if not begins:
        return []
    last: dict[str, tuple[int, int]] = {}
    first_ns = min(begins.values()) - FOLLOWS_NS
    for known in context.store.findings_of_boxes(tuple(begins), first_ns, max(begins.values())):
        one = known.finding
        since_onset, since_end = (begins[one.box_id] - at_ns for at_ns in (one.start_ns, one.end_ns))
        near = since_onset <= FOLLOWS_NS or 0 <= since_end <= FOLLOWS_NS
        if (
            known.incident_id != incident.incident_id
            and not words.is_steady(one.kind)
            and near
            and since_onset > 0
        ):
            last[one.box_id] = max((one.start_ns, known.incident_id), last.get(one.box_id, (0, 0)))
    at: dict[int, list[str]] = {}
    for box_id in sorted(last, key=natural_order):
        at.setdefault(last[box_id][1], []).append(box_id)
    rows = [(words.boxes(ids, names), number) for number, ids in at.items() if number != incident.follows]
    return rows[:FOLLOWED_SHOWN]


def _records(context: VisitorContext, incident: Incident) -> list[EventRecord]:
    """The records of its events that hold its worst finding and most of its time, oldest first."""
    found = [context.store.event_record(event_id) for event_id in incident.event_ids[:EVENTS_READ]]
    known = [record for record in found if record is not None]
    worst = words.worst(incident)

    def rank(record: EventRecord) -> tuple[bool, int, int]:
        covers = worst is None or record.start_ns <= worst.finding.start_ns <= record.end_ns
        return not covers, -shared_ns(record, incident), record.event_id

    best = sorted(known, key=rank)[:EVENTS_SHOWN]
    return sorted(best, key=lambda record: record.event_id)


def _unnamed(context: VisitorContext, worst: StoredFinding | None, panels: Sequence[Panel]) -> list[Panel]:
    """The panels without the Boxes on the phases of an unbalance, whose sentence has their voltages."""
    own = context.store.box(worst.finding.box_id) if worst is not None and _uneven(worst) else None
    if worst is None or own is None:
        return list(panels)
    t_ns = worst.finding.start_ns
    place = own.at(t_ns).location
    boxes = {panel.box_id: context.store.box(panel.box_id) for panel in panels}
    return [each for each in panels if (box := boxes[each.box_id]) is None or box.at(t_ns).location != place]


def _uneven(worst: StoredFinding | None) -> tuple[str, str, str] | None:
    """Quantity, value and voltages of an unbalance, as texts; None where it is not an unbalance."""
    figures = dict(worst.finding.figures) if worst is not None else {}
    percent = figures.get("u2_percent", figures.get("magnitudes_percent"))
    if worst is None or worst.finding.kind != "unbalance" or percent is None:
        return None
    what = "Unbalance u2" if "u2_percent" in figures else "Unbalance of magnitudes"
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
        extreme = f"{'lowest' if deep else 'highest'} {words.number(volts, 1, 'V')}"
        found.append(f"Box {panel.box_id} ({extreme}, {words.number(volts / panel.nominal_v * 100, 1, '%')})")
    if not found:
        return ""
    who = words.listed(found) if len(found) <= 3 else words.counted(len(found), "other Box", "other Boxes")
    return f"Also requested, without a finding: {who}."


def _doubt(incident: Incident, waves: Mapping[str, Waveform]) -> str:
    """The uncertainty of the start, and the source of its time."""
    finding = incident.findings[0].finding if incident.findings else None
    if finding is None:
        return ""
    wave = waves.get(finding.box_id)
    by = "" if wave is None else f", by {words.source(wave.source)}"
    return f"{words.uncertainty(finding.uncertainty_ns)}{by}"


def _no_waveform(context: VisitorContext, incident: Incident, records: Sequence[EventRecord]) -> str:
    """Why the page shows none. Whether a waveform that the visitor may not see exists is not said."""
    boxes = {box_id for record in records for box_id in record.boxes_triggered}
    if boxes and not any(context.visitor.sees_waveform(each, incident.start_ns) for each in boxes):
        return HIDDEN_WAVEFORM
    missing = [f"Box {box_id}: {why}" for record in records for box_id, why in record.missing.items()]
    if missing:
        return "; ".join(missing) + "."
    if {*incident.event_ids} <= {NO_EVENT}:
        return WITHOUT_EVENT
    if not records:
        return "Its event is no longer in the store: waveforms are kept for a shorter time than incidents."
    return "The event holds no samples of any Box."


def _least_bad(item: StoredFinding) -> tuple[bool, float, float, int]:
    """A sort key: furthest from nominal first; those without a residual last, the most severe first."""
    one = item.finding
    off = abs((one.residual_percent or 100.0) - 100.0)
    return one.residual_percent is None, -off, -(one.severity or 0.0), one.start_ns
