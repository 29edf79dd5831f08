"""Dips: one incident each.

Of many Boxes, with the Boxes that saw it (`shared_dips`); for one that is not in it, some event has the
reason. Of one Box whose clock is set (`dips_of_box`), with the waveform that shows it: its depth shows which
dip it is.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from opq_sim.faults.evidence import Evidence, StoredEvent, StoredFinding, StoredWaveform
from opq_sim.faults.schedule import ClockDip, ClockTrial
from opq_sim.score.matching import match_incidents
from opq_sim.score.records import FAMILIES, BoxSpan, FoundIncident, TrueDisturbance

DELAYING: Final = frozenset(
    {
        "triggering_broker_killed",
        "acquisition_broker_killed",
        "event_service_killed",
        "database_locked",
        "disk_full",
        "clock_stepped",
        "broker_cut",
        "broker_silent",
        "slow_box",
    }
)
"""Faults that may delay an answer until its event is over."""
RESIDUAL_PERCENT: Final = 1.5
"""A dip is known again by its residual within this."""
SPAN_SAMPLES: Final = 400
"""The ends of a stored span are those of blocks."""

Incidents = dict[int, list[StoredFinding]]
"""Number -> findings."""


@dataclass(slots=True)
class DipAccount:
    """The result for the dips of a run, or of one Box."""

    found: int = 0
    """Dips with one incident that has all Boxes that saw it."""
    excused: dict[str, str] = field(default_factory=dict)
    """Dips whose incident lacks a Box -> the reason that an event gives."""
    not_sampled: int = 0
    not_shown: int = 0
    problems: list[str] = field(default_factory=list)


def incidents_of(findings: Sequence[StoredFinding]) -> Incidents:
    """The findings by their incident."""
    found: Incidents = {}
    for each in findings:
        found.setdefault(each.incident, []).append(each)
    return found


def joined_incident(number: int, findings: Sequence[StoredFinding]) -> FoundIncident:
    """Makes an incident of its findings; two findings of one Box give one joined span."""
    boxes: dict[str, BoxSpan] = {}
    for each in findings:
        kind, start_ns, end_ns = each.kind, each.start_ns, each.end_ns
        if (other := boxes.get(each.box_id)) is not None:
            kind = "+".join(sorted({*other.kind.split("+"), *kind.split("+")}))
            start_ns, end_ns = min(start_ns, other.start_ns), max(end_ns, other.end_ns)
        boxes[each.box_id] = BoxSpan(kind, start_ns, end_ns)
    kinds = sorted({part for span in boxes.values() for part in span.kind.split("+")})
    return FoundIncident(number, "+".join(kinds), None, boxes)


def shared_dips(
    truth: Sequence[TrueDisturbance], incidents: Sequence[FoundIncident], events: Sequence[StoredEvent]
) -> DipAccount:
    """Compares incidents with the true dips."""
    account = DipAccount()
    match = match_incidents(truth, incidents)
    for dip, places in zip(truth, match.of_truth, strict=True):
        own = [incidents[place] for place in places]
        problems = _wrong_with(dip, own, events)
        absent = set(dip.boxes) - {box_id for each in own for box_id in each.boxes}
        account.problems += problems
        if not problems:
            account.found += not absent
            if absent:
                account.excused[dip.number] = "; ".join(
                    f"Box {box_id}: {why}"
                    for event in events
                    for box_id, why in event.missing.items()
                    if box_id in absent and _about(event, dip)
                )
    for incident, places in zip(incidents, match.of_found, strict=True):
        boxes = ", ".join(sorted(incident.boxes, key=int))
        if not places:
            account.problems.append(
                f"incident {incident.number} ({incident.kind}, Boxes {boxes}): there was no dip"
            )
        elif len(places) > 1:
            joined = ", ".join(truth[place].number for place in places)
            account.problems.append(f"incident {incident.number} (Boxes {boxes}): joins dips {joined}")
    return account


def _wrong_with(
    dip: TrueDisturbance, own: Sequence[FoundIncident], events: Sequence[StoredEvent]
) -> list[str]:
    problems = []
    seen = {box_id for each in own for box_id in each.boxes}
    about = [event for event in events if _about(event, dip)]
    if not about:
        problems.append(f"dip {dip.number}: no event was opened")
    else:
        absent = sorted(set(dip.boxes) - seen, key=int)
        without = [box_id for box_id in absent if not any(box_id in event.missing for event in about)]
        if without:
            listed = "; ".join(map(_of_event, about))
            problems.append(
                f"dip {dip.number}: Boxes {', '.join(without)} saw it and are in no incident ({listed})"
            )
    if len(own) > 1:
        problems.append(f"dip {dip.number}: split in {len(own)} incidents")
    extra = sorted(seen - set(dip.boxes), key=int)
    if extra:
        problems.append(f"dip {dip.number}: Boxes {', '.join(extra)} did not see it and are in its incident")
    kinds = sorted({part for each in own for part in each.kind.split("+")} - {"sag"})
    if kinds := [kind for kind in kinds if FAMILIES.get(kind) != "sag"]:
        problems.append(f"dip {dip.number}: is called {', '.join(kinds)}")
    return problems


def _about(event: StoredEvent, dip: TrueDisturbance) -> bool:
    """True if an event contains a part of the dip, which is at one instant at all its Boxes."""
    span = next(iter(dip.boxes.values()))
    return event.start_ns < span.end_ns and span.start_ns < event.end_ns


def unexplained(
    excused: Mapping[str, str], truth: Sequence[TrueDisturbance], kinds: Collection[str]
) -> list[str]:
    """Problems of reasons without a fault: none kept the Boxes from answering, or all were over."""
    last = truth[-1].number if truth else ""
    return [
        f"dip {number}: a Box is missing without need: {why}"
        for number, why in excused.items()
        if number == last or DELAYING.isdisjoint(kinds)
    ]


def _of_event(event: StoredEvent) -> str:
    state = "analysed" if event.analysed else "finished" if event.finished else "open"
    return f"event {event.event_id} {state}, received {', '.join(sorted(event.received, key=int)) or 'none'}"


def dips_of_box(trial: ClockTrial, box_id: str, incidents: Incidents, evidence: Evidence) -> DipAccount:
    """Compares a Box's incidents with the dips of its gateway; those that show a dip are taken out."""
    account = DipAccount()
    for dip in trial.dips:
        found = [number for number, findings in incidents.items() if _shows(findings, dip)]
        if (box_id, dip.at_s) in evidence.not_sampled:
            account.not_sampled += 1
            for number in found:
                incidents.pop(number)
            continue
        if not found and (box_id, dip.at_s) in evidence.not_shown:
            account.not_shown += 1
            continue
        problem = f"{len(found)} incidents" if len(found) != 1 else None
        for number in found:
            events = [event_id for each in incidents.pop(number) for event_id in each.event_ids]
            waves = [
                evidence.waveforms[key] for each in events if (key := (each, box_id)) in evidence.waveforms
            ]
            problem = problem or _wave_problem(waves, dip, trial.kind != "original")
        account.found += problem is None
        if problem:
            account.problems.append(f"dip to {dip.residual_percent:g} % at {dip.at_s:g} s: {problem}")
    return account


def _shows(findings: Sequence[StoredFinding], dip: ClockDip) -> bool:
    return any(
        each.residual_percent is not None
        and abs(each.residual_percent - dip.residual_percent) < RESIDUAL_PERCENT
        for each in findings
    )


def _wave_problem(waves: Sequence[StoredWaveform], dip: ClockDip, numbered: bool) -> str | None:
    """What is wrong with the waveforms of a dip's incident; the one that is most nearly whole counts.

    `numbered`: the Box numbers its samples. Of one that does not, a clock that is set cuts the span.
    """
    if not waves:
        return "no waveform is stored"
    if not any(
        abs(each - dip.residual_percent) < RESIDUAL_PERCENT for one in waves for each in one.dips_percent
    ):
        return f"its waveforms show dips to {[one.dips_percent for one in waves]} %"
    best = max(waves, key=lambda wave: wave.samples - wave.asked)
    if numbered and best.samples - best.asked < -SPAN_SAMPLES:
        return f"its waveform has {best.samples} of {best.asked} samples ({best.missing} in gaps)"
    return None
