"""The likeness of two incidents, 0 to 1, from the features that are known of both. Pure.

Source: Gower, "A general coefficient of similarity and some of its properties", Biometrics 27 (1971),
857-871: one minus the weighted mean of the distances of single features, each 0 to 1, over those that both
have. The features' scales and weights were chosen for this project.

It is in this package for the same reason as `severity.py`: pages and tools show it and do not import Mauka.
"""

import math
from dataclasses import dataclass

from opq_cloud.store.incidents.box_events import naming_event
from opq_cloud.store.incidents.index import IndexedIncident
from opq_proto.messages import Incident
from opq_proto.time_units import DAY_NS

RESIDUAL_PERCENT = 50.0
"""Difference of the residuals, in percent of nominal, that gives distance 1."""
DURATION_DECADES = 2.0
"""Decades between the durations that give distance 1: a factor of 100."""
JUMP_DEGREES = 60.0
HALF_DAY_H = 12.0
WEIGHTS = {"class": 3.0, "residual": 2.0, "duration": 2.0, "place": 2.0, "phase jump": 1.0, "hour": 1.0}
SHORTEST_NS = 10**6


@dataclass(frozen=True, slots=True)
class IncidentTraits:
    """The features by which incidents are compared; None or empty where unknown."""

    incident_id: int
    start_ns: int
    kinds: frozenset[str]
    length_ns: int
    residual_percent: float | None = None
    jump_degrees: float | None = None
    box_ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Likeness:
    """The likeness `alike`, 0 to 1, and the `distances` of the features that both have, each 0 to 1."""

    alike: float
    distances: tuple[tuple[str, float], ...]


def traits_of_entry(entry: IndexedIncident, box_ids: frozenset[str]) -> IncidentTraits:
    """Returns the traits from an entry of the index, which has no phase jump; the caller gives the Boxes."""
    return IncidentTraits(
        entry.incident_id,
        entry.start_ns,
        frozenset(entry.kind.split("+")),
        entry.length_ns,
        entry.residual_percent,
        box_ids=box_ids,
    )


def traits_of(incident: Incident) -> IncidentTraits:
    """Returns the traits of a whole incident; the phase jump is the largest of its findings."""
    jumps = [
        value
        for each in incident.findings
        for name, value in each.finding.figures
        if name == "phase_jump_degrees" and each.finding.kind == "phase_jump" and math.isfinite(value)
    ]
    return IncidentTraits(
        incident.incident_id,
        incident.start_ns,
        frozenset(incident.kind.split("+")),
        naming_event(incident).length_ns,
        incident.residual_percent,
        max(jumps, key=abs, default=0.0 if incident.findings else None),
        frozenset(incident.box_ids),
    )


def likeness(one: IncidentTraits, other: IncidentTraits) -> Likeness:
    """Returns the likeness, the same in either order; 1 for an incident and itself.

    Where both have a phase jump of 0, the jump is not compared.
    """
    found = {"class": _sets(one.kinds, other.kinds)}
    if one.residual_percent is not None and other.residual_percent is not None:
        found["residual"] = min(1.0, abs(one.residual_percent - other.residual_percent) / RESIDUAL_PERCENT)
    lengths = max(one.length_ns, SHORTEST_NS), max(other.length_ns, SHORTEST_NS)
    found["duration"] = min(1.0, abs(math.log10(lengths[0] / lengths[1])) / DURATION_DECADES)
    jumps = one.jump_degrees, other.jump_degrees
    if one.jump_degrees is not None and other.jump_degrees is not None and any(jumps):
        apart = abs(math.remainder(one.jump_degrees - other.jump_degrees, 360.0))
        found["phase jump"] = min(1.0, apart / JUMP_DEGREES)
    if one.box_ids and other.box_ids:
        found["place"] = _sets(one.box_ids, other.box_ids)
    hours = (one.start_ns - other.start_ns) % DAY_NS / DAY_NS * 24
    found["hour"] = min(hours, 24 - hours) / HALF_DAY_H
    weight = distance = 0.0
    for name, value in found.items():
        weight += WEIGHTS[name]
        distance += WEIGHTS[name] * value
    return Likeness(1 - distance / weight, tuple(found.items()))


def _sets(one: frozenset[str], other: frozenset[str]) -> float:
    """Returns Jaccard's distance: the share of the union that only one of the sets has."""
    both = len(one & other)
    return 1 - both / (len(one) + len(other) - both)
