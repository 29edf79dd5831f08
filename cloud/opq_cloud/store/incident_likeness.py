"""How much two incidents are alike: a distance of 0 to 1 over what is known of both. Pure.

Source: Gower, "A general coefficient of similarity and some of its properties", Biometrics 27 (1971),
857-871: the weighted mean of the distances of single features, each 0 to 1, over those that both have. The
features' scales and weights are ours.

It lies in this room for the same reason as `severity.py`: pages and tools say it, and neither knows Mauka.
"""

import math
from dataclasses import dataclass

from opq_cloud.store.incident_index import IndexedIncident
from opq_proto.messages import Incident

DAY_NS = 86_400 * 10**9
RESIDUAL_PERCENT = 50.0
"""So far apart are as different as can be."""
DECADES = 2.0
"""Decades of the duration that make it wholly unlike: a hundredfold."""
JUMP_DEGREES = 60.0
HALF_DAY_H = 12.0
WEIGHTS = {"class": 3.0, "residual": 2.0, "duration": 2.0, "place": 2.0, "phase jump": 1.0, "hour": 1.0}
SHORTEST_NS = 10**6


@dataclass(frozen=True, slots=True)
class IncidentTraits:
    """What incidents are compared by; None and nothing: not known."""

    incident_id: int
    start_ns: int
    kinds: frozenset[str]
    length_ns: int
    residual_percent: float | None = None
    jump_degrees: float | None = None
    box_ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Likeness:
    """`alike` 0 to 1; `distances` of the features that both have, each 0 to 1."""

    alike: float
    distances: tuple[tuple[str, float], ...]


def traits_of_entry(entry: IndexedIncident, box_ids: frozenset[str]) -> IncidentTraits:
    """As the index has it, which knows no phase jump; what is known of its Boxes is handed in."""
    return IncidentTraits(
        entry.incident_id, entry.start_ns, frozenset(entry.kind.split("+")),
        entry.end_ns - entry.start_ns, entry.residual_percent, box_ids=box_ids,
    )  # fmt: skip


def traits_of(incident: Incident) -> IncidentTraits:
    """The traits of a whole incident; the phase jump is the largest that a finding of its own says."""
    jumps = [
        value
        for each in incident.findings
        for name, value in each.finding.figures
        if name == "phase_jump_degrees" and each.finding.kind == "phase_jump" and math.isfinite(value)
    ]
    return IncidentTraits(
        incident.incident_id, incident.start_ns, frozenset(incident.kind.split("+")),
        incident.end_ns - incident.start_ns, incident.residual_percent,
        max(jumps, key=abs, default=0.0 if incident.findings else None), frozenset(incident.box_ids),
    )  # fmt: skip


def likeness(one: IncidentTraits, other: IncidentTraits) -> Likeness:
    """The same whichever comes first; 1 for an incident and itself. That neither has a jump says nothing."""
    found = {"class": _sets(one.kinds, other.kinds)}
    if one.residual_percent is not None and other.residual_percent is not None:
        found["residual"] = min(1.0, abs(one.residual_percent - other.residual_percent) / RESIDUAL_PERCENT)
    lengths = max(one.length_ns, SHORTEST_NS), max(other.length_ns, SHORTEST_NS)
    found["duration"] = min(1.0, abs(math.log10(lengths[0] / lengths[1])) / DECADES)
    jumps = one.jump_degrees, other.jump_degrees
    if one.jump_degrees is not None and other.jump_degrees is not None and any(jumps):
        apart = abs(math.remainder(one.jump_degrees - other.jump_degrees, 360.0))
        found["phase jump"] = min(1.0, apart / JUMP_DEGREES)
    if one.box_ids and other.box_ids:
        found["place"] = _sets(one.box_ids, other.box_ids)
    hours = (one.start_ns - other.start_ns) % DAY_NS / DAY_NS * 24
    found["hour"] = min(hours, 24 - hours) / HALF_DAY_H
    weight = sum(WEIGHTS[name] for name in found)
    distance = sum(WEIGHTS[name] * value for name, value in found.items()) / weight
    return Likeness(1 - distance, tuple(found.items()))


def _sets(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard's distance: the share of all that only one of them has."""
    return 1 - len(one & other) / len(one | other)
