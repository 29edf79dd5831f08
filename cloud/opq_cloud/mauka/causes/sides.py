"""Finds which Boxes are fed through the place of a short circuit, from their voltages alone. Pure.

    supply --- busbar ---+--- other feeders: all as deep as the busbar                       upstream
                         +--- faulted feeder --- deeper and deeper --- place ---(no current)--- as deep as it
                                                 upstream                       downstream

Without currents the direction of power is unknown. But downstream of a short circuit no fault current flows,
so Boxes there have the same voltage as the place of the fault itself, the lowest of the network. Upstream of
it the voltage of each Box is higher, and on other feeders it is that of the busbar.

The same current makes every drop along the feeder, so the phasors of places before the fault lie on the
straight line from the busbar's to that of the fault. A place off that line is downstream, and something
else feeds it, such as a small power station. Where the line runs to zero nothing is left at the place of the
fault: a place with some voltage left is before it. Otherwise a single deepest place may also be the last
one before the fault: then the answer is little better than a guess, and its probability shows that.

Source: Bollen, "Understanding Power Quality Problems", 2000, 4.2 (voltage divider) and 4.3 (radial feeders).
"""

import cmath
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from opq_cloud.mauka.causes.signs import phasor_of
from opq_cloud.store.box_place import phase_letter
from opq_cloud.store.incidents.witness import IncidentWitness
from opq_proto.messages import BoxSide

DOWNSTREAM = "downstream"
"""The cause is on the customer's side of the Box."""
UPSTREAM = "upstream"
"""The cause is on the grid's side of the Box."""
FREQUENCY_DEVIATION = "frequency_deviation"
"""At another frequency the phase runs away from that before, whatever the magnitude does."""
MIN_DEPTH = 0.04
"""Share of the voltage before: sides are determined only where some phasor moved at least this far."""
MIN_CONTRAST = 0.03
"""Share of the voltage before: the faulted feeder is deeper than the other feeders by at least this much."""
ALIKE_PU = 0.02
"""A Box at most this far from the deepest counts as equally deep; share of the voltage before."""
ALIKE_SHARE = 0.1
"""The same as a share of the way from the busbar to the deepest; the larger of both counts."""
OFF_LINE_PU = 0.005
"""A Box this far from the line between busbar and deepest place is off the line; share of the voltage
before."""
OFF_LINE_SHARE = 0.022
"""The same as a share of the way from the busbar to the deepest; the larger of both counts."""
LEAST_REST_PU = 0.015
"""Voltage left at a place before a short circuit without resistance, at least."""
LARGEST_REST_PU = 0.1
"""The same, at most; the busbar has at least three times as much."""
REST_DEGREES = 3.0
"""Largest angle of that voltage from the voltage of the busbar."""
SEVERAL_PLACES_SURE = 0.75
"""Share of correct answers if several places are deepest, on two half hours of the Sim, rounded."""
DEAD_PLACE_SURE = 0.85
"""The same if one place is deepest and has no voltage."""
ONE_PLACE_SURE = 0.7
"""The same if one place is deepest."""
OTHER_FEEDER_SURE = 0.97
"""The same for a place on another feeder."""
DEAD_DEPTH = 0.9
"""From this depth on a place can hardly be before the fault."""


@dataclass(frozen=True, slots=True)
class _Depth:
    box_id: str
    place: str
    feeder: str
    phase: str | None
    phasor: complex

    @property
    def moved(self) -> float:
        return abs(self.phasor - 1)


def sides_of(witnesses: Sequence[IncidentWitness]) -> tuple[BoxSide, ...]:
    """Returns the side of each Box, without those that cannot be judged, such as Boxes without a feeder."""
    depths = [
        _Depth(each.box_id, each.place or "", each.feeder, phase_letter(each.phase), phasor)
        for each in witnesses
        if each.feeder and each.kind != FREQUENCY_DEVIATION and (phasor := phasor_of(each)) is not None
    ]
    if not depths or max(each.moved for each in depths) < MIN_DEPTH:
        return ()
    by_feeder: dict[str, list[_Depth]] = {}
    for each in depths:
        by_feeder.setdefault(each.feeder, []).append(each)
    busbars = {feeder: _busbar(by_feeder, feeder) for feeder in by_feeder}
    most = {
        feeder: max(
            (
                each.moved - abs(busbars[feeder][each.phase] - 1)
                for each in there
                if each.phase in busbars[feeder]
            ),
            default=0.0,
        )
        for feeder, there in by_feeder.items()
    }
    faulted = max(most, key=lambda feeder: (most[feeder], feeder))
    if most[faulted] < MIN_CONTRAST:
        return ()
    found = {each.box_id: (UPSTREAM, OTHER_FEEDER_SURE) for each in depths if each.feeder != faulted}
    found |= _on_feeder(by_feeder[faulted], busbars[faulted])
    return tuple(BoxSide(box_id, *found[box_id]) for box_id in sorted(found))


def _busbar(by_feeder: Mapping[str, Sequence[_Depth]], faulted: str) -> dict[str | None, complex]:
    """Returns by phase the voltage of the busbar: that of the deepest other feeder, as further ones may be of
    another busbar.
    """
    found: dict[str | None, complex] = {}
    for feeder in sorted(by_feeder.keys() - {faulted}):
        for phase in {each.phase for each in by_feeder[feeder]}:
            same = [each.phasor for each in by_feeder[feeder] if each.phase == phase]
            level = complex(median(each.real for each in same), median(each.imag for each in same))
            if phase not in found or abs(level - 1) > abs(found[phase] - 1):
                found[phase] = level
    return found


def _on_feeder(there: Sequence[_Depth], busbar: Mapping[str | None, complex]) -> dict[str, tuple[str, float]]:
    """Returns side and probability for each Box of the faulted feeder.

    A place is downstream if all its phases are as deep as the deepest Box of that phase, or are off the line
    to it; others are upstream.
    """
    behind: dict[str, list[bool]] = {}
    before: set[str] = set()
    places = {each.place for each in there}
    lined = {each.place for each in there if each.phase in busbar}
    for one in there:
        same = [each for each in there if each.phase == one.phase]
        if len(same) == 1 and len(places) > 1:
            continue
        if one.phase not in busbar and one.place in lined:
            continue  # its other phases show more
        deepest = max(same, key=lambda each: each.moved)
        behind.setdefault(one.place, []).append(_is_behind(one.phasor, deepest.phasor, busbar.get(one.phase)))
        if _has_rest(one.phasor, busbar.get(one.phase)):
            before.add(one.place)
    last = {place for place, alike in behind.items() if all(alike)} - before
    if not last and not before:
        return {}
    if not last:
        return {each.box_id: (UPSTREAM, SEVERAL_PLACES_SURE) for each in there if each.place in behind}
    dead = max(each.moved for each in there if each.place in last) >= DEAD_DEPTH
    sure = SEVERAL_PLACES_SURE if len(last) > 1 else DEAD_PLACE_SURE if dead else ONE_PLACE_SURE
    return {
        each.box_id: (DOWNSTREAM, sure) if each.place in last else (UPSTREAM, sure)
        for each in there
        if each.place in behind
    }


def _is_behind(phasor: complex, deepest: complex, busbar: complex | None) -> bool:
    """Returns True if it is as deep as the deepest, or off the line from the busbar to it."""
    if busbar is None or busbar == deepest:
        return abs(phasor - deepest) <= ALIKE_PU
    way = deepest - busbar
    if abs(phasor - deepest) <= max(ALIKE_PU, ALIKE_SHARE * abs(way)):
        return True
    off = abs(((phasor - busbar) * way.conjugate()).imag) / abs(way)
    return off > max(OFF_LINE_PU, OFF_LINE_SHARE * abs(way))


def _has_rest(phasor: complex, busbar: complex | None) -> bool:
    """Returns True if part of the busbar's voltage remains at the same angle. At the fault none remains."""
    if busbar is None or not LEAST_REST_PU <= abs(phasor) <= min(LARGEST_REST_PU, abs(busbar) / 3):
        return False
    return abs(math.degrees(cmath.phase(phasor / busbar))) <= REST_DEGREES
