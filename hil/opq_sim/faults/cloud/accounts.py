"""Accounts: checks that every Measurement and every dip of the mains is where it belongs. Pure.

Measurements: in the store once, or still held by their Box; nothing is in the store that was never made.
Dips: one incident each, with the Boxes that saw it; for a Box that is not in it, some event has the reason.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from opq_sim.faults.cloud.stored_rows import StoredEvent
from opq_sim.faults.gateway.accounts import shown
from opq_sim.score.matching import match_incidents
from opq_sim.score.records import FAMILIES, FoundIncident, TrueDisturbance

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


@dataclass(frozen=True, slots=True)
class HeldNumbers:
    """A Box's own report: it made the Measurements [first, next), and holds those from `floor` on."""

    first: int
    floor: int
    next: int


def measurements(
    box_id: str, held: HeldNumbers, stored: Iterable[int], elsewhere: Iterable[int] = ()
) -> list[str]:
    """Problems with one Box's Measurements.

    Args:
        stored: sequences in the store, as often as they are there.
        elsewhere: sequences in the store of another Makai.
    """
    counts = Counter(stored)
    others = set(elsewhere)
    problems = []
    released = [number for number in range(held.first, held.floor) if number not in counts]
    lost = [number for number in released if number not in others]
    for what, numbers in (
        ("were acknowledged and are in no store", lost),
        ("were acknowledged and are in the other Makai's store alone", sorted(set(released) - set(lost))),
        ("are stored twice", [number for number, count in counts.items() if count > 1]),
        (
            "are stored and were never made",
            [number for number in counts if not held.first <= number < held.next],
        ),
    ):
        if numbers:
            problems.append(
                f"Box {box_id}: {len(numbers)} Measurements {what}: {shown(map(str, sorted(numbers)))}"
            )
    return problems


@dataclass(slots=True)
class DipAccount:
    """The result for the dips of a run."""

    found: int = 0
    """Dips with one incident that has all Boxes that saw it."""
    excused: dict[str, str] = field(default_factory=dict)
    """Dips whose incident lacks a Box -> the reason that an event gives."""
    problems: list[str] = field(default_factory=list)


def dips(
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
                f"incident {incident.number} ({incident.kind}, Boxes {boxes}): there was none"
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
