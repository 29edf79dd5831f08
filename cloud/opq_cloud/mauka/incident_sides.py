"""Tells which Boxes are fed through the place of a short circuit, from their voltages alone. Pure.

    supply --- busbar ---+--- other feeders: all as deep as the busbar                       upstream
                         +--- faulted feeder --- deeper and deeper --- place ---(no current)--- as deep as it
                                                 upstream                       downstream

Without currents the direction of power cannot be seen. What can: behind the place of a short circuit no
fault current flows, so that Boxes there are as deep as the place itself, which is the deepest of the network;
before it each Box is less deep, and on other feeders as deep as the busbar. A single place that is deepest
may also be the last one before the fault: then the answer is little better than a guess, and says so.

Source: Bollen, "Understanding Power Quality Problems", 2000, 4.2 (voltage divider) and 4.3 (radial feeders).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from opq_cloud.mauka.cause_signs import phase_letter, phasor_of
from opq_cloud.store.incident_witness import IncidentWitness
from opq_proto.messages import BoxSide

DOWNSTREAM, UPSTREAM = "downstream", "upstream"
LEAST_DEPTH = 0.04
"""Share of the voltage before: how far a phasor has to move somewhere for this to be asked."""
LEAST_CONTRAST = 0.03
"""Share of the voltage before, deeper than other feeders: a feeder with less is not the one."""
ALIKE, ALIKE_SHARE = 0.02, 0.05
"""So much less deep than the deepest, of before and of it, is as deep."""
SEVERAL_PLACES, ONE_DEAD_PLACE, ONE_PLACE, ELSEWHERE = 0.75, 0.85, 0.7, 0.97
"""How often each came true on two half hours of the Sim (docs/mauka.md), rounded."""
DEAD = 0.9
"""Depth from which on a place can hardly be before the fault."""


@dataclass(frozen=True, slots=True)
class _Depth:
    box_id: str
    place: str
    feeder: str
    phase: str | None
    moved: float


def sides_of(witnesses: Sequence[IncidentWitness]) -> tuple[BoxSide, ...]:
    """By Box; without those of which nothing can be said, such as Boxes without a feeder."""
    depths = [
        _Depth(each.box_id, each.place or "", each.feeder, phase_letter(each.phase), abs(phasor - 1))
        for each in witnesses
        if each.feeder and (phasor := phasor_of(each)) is not None
    ]
    if not depths or max(each.moved for each in depths) < LEAST_DEPTH:
        return ()
    contrasts = {
        each.box_id: contrast for each in depths if (contrast := _contrast(each, depths)) is not None
    }
    by_feeder: dict[str, list[_Depth]] = {}
    for each in depths:
        by_feeder.setdefault(each.feeder, []).append(each)
    if len(by_feeder) < 2 or not contrasts:
        return ()
    most = {
        feeder: max((contrasts[each.box_id] for each in there if each.box_id in contrasts), default=0.0)
        for feeder, there in by_feeder.items()
    }
    faulted = max(most, key=lambda feeder: (most[feeder], feeder))
    if most[faulted] < LEAST_CONTRAST:
        return ()
    found = {each.box_id: (UPSTREAM, ELSEWHERE) for each in depths if each.feeder != faulted}
    found |= _on_feeder(by_feeder[faulted])
    return tuple(BoxSide(box_id, *found[box_id]) for box_id in sorted(found))


def _contrast(one: _Depth, depths: Sequence[_Depth]) -> float | None:
    """How much deeper than Boxes of the same phase on other feeders."""
    others = [each.moved for each in depths if each.feeder != one.feeder and each.phase == one.phase]
    return one.moved - median(others) if others else None


def _on_feeder(there: Sequence[_Depth]) -> dict[str, tuple[str, float]]:
    """Box -> its side and the probability, for the Boxes of the faulted feeder.

    A place whose phases are all as deep as the deepest of their phase is downstream, others are upstream.
    """
    deep: dict[str, list[bool]] = {}
    for one in there:
        same = [each.moved for each in there if each.phase == one.phase]
        limit = max(same) - max(ALIKE, ALIKE_SHARE * max(same))
        if len(same) > 1 or len({each.place for each in there}) == 1:
            deep.setdefault(one.place, []).append(one.moved >= limit)
    last = {place for place, alike in deep.items() if all(alike)}
    if not last:
        return {}
    dead = max(each.moved for each in there if each.place in last) >= DEAD
    sure = SEVERAL_PLACES if len(last) > 1 else ONE_DEAD_PLACE if dead else ONE_PLACE
    return {
        each.box_id: (DOWNSTREAM, sure) if each.place in last else (UPSTREAM, sure)
        for each in there
        if each.place in deep
    }
