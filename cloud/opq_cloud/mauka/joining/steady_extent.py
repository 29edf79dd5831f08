"""How far a steady state reaches: which other Boxes of an event showed the same at the same time. Pure.

Each Box's steady state is a separate incident (`steady_placing.py`), so its scope does not follow from its
Boxes. A finding names others that showed the same: the first at a second place, of a second feeder and of a
second region, because more would not change the scope. Separate from `steady_placing.py`, because it adds to
findings before any of them is placed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from opq_cloud.mauka.joining.incident_facts import PlaceOf
from opq_cloud.mauka.measuring.sightings import is_steady
from opq_proto.messages import Finding

NEAR_NS = 1_000_000_000
"""Onsets of one state are at most this far apart: it is found in windows of 0.2 s, after it rises."""


def with_extent(findings: Iterable[Finding], place_of: PlaceOf) -> list[Finding]:
    """Returns the findings of one event; steady states name other Boxes that showed the same."""
    every = list(findings)
    states: dict[str, list[Finding]] = {}
    for one in sorted(every, key=lambda one: (len(one.box_id), one.box_id)):
        if is_steady(one.kind):
            states.setdefault(one.kind, []).append(one)
    return [
        replace(one, also_at=_also_at(one, states[one.kind], place_of)) if is_steady(one.kind) else one
        for one in every
    ]


def _also_at(one: Finding, alike: Sequence[Finding], place_of: PlaceOf) -> tuple[str, ...]:
    own = place_of(one.box_id)
    known = [{own.place}, {own.feeder}, {own.region}]
    found = []
    for other in alike:
        there = place_of(other.box_id)
        if other.box_id == one.box_id or there.grid != own.grid or not _is_same(one, other):
            continue
        named = (there.place, there.feeder, there.region)
        if any(
            len(names) < 2 and name not in names for names, name in zip(known, named, strict=True) if name
        ):
            found.append(other.box_id)
            for names, name in zip(known, named, strict=True):
                names.add(name)
    return tuple(found)


def _is_same(one: Finding, other: Finding) -> bool:
    """Returns True if both began at one time, or both were there before their waveforms began."""
    if one.onset_seen != other.onset_seen or max(one.start_ns, other.start_ns) > min(
        one.end_ns, other.end_ns
    ):
        return False
    return not one.onset_seen or abs(one.start_ns - other.start_ns) <= NEAR_NS
