"""A plan: the findings and incidents that a store has to write. `mauka/joining/planning.py` makes it.

A store reads what a plan is made from, and carries the plan out unchanged. Numbers below 0 stand for new
numbers that the store gives: -1 is the first new one, -2 the next. A plan names the revision that it was made
for; if another process has written since, the store refuses it and it is made again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import starmap
from typing import Any

from opq_cloud.store.incidents.severity import highest_severity
from opq_cloud.store.incidents.witness import (
    IncidentWitness,
    flat_document,
    hypotheses_of,
    hypothesis_document,
)
from opq_proto.messages import BoxArrival, BoxSide, CauseHypothesis, Finding, Incident, StoredFinding

CLASSES = frozenset(
    {
        "sag",
        "swell",
        "interruption",
        "undervoltage",
        "overvoltage",
        "impulsive_transient",
        "oscillatory_transient",
        "periodic_notching",
        "harmonics",
        "interharmonics",
        "flicker",
        "frequency_deviation",
        "phase_jump",
        "dc_offset",
        "noise",
        "rapid_voltage_change",
        "mains_signalling",
        "unbalance",
        "outage",
    }
)
"""Classes that name an incident before a class of an installed analysis, and so do their combinations."""
RANK_PENALTY = 1e6
"""Lowers a rank; no finding is further from nominal, in percent."""


@dataclass(frozen=True, slots=True)
class KnownFinding:
    """A stored finding with every event that contains it."""

    finding_id: int
    incident_id: int
    event_ids: tuple[int, ...]
    finding: Finding
    pieces: tuple[Finding, ...] = ()
    """The separate sightings that no other sighting covers; empty where the finding is the only one."""
    leads: bool | None = None
    """Whether its incident's onset is its own; None where the original stored it."""
    by_hand: bool = False
    """Whether a person assigned it to its incident."""


@dataclass(frozen=True, slots=True)
class FindingOnset:
    """The fields of a stored finding that joining needs."""

    finding_id: int
    incident_id: int
    box_id: str
    kind: str
    start_ns: int
    end_ns: int
    uncertainty_ns: int
    clock_id: int | None = None
    leads: bool | None = None
    by_hand: bool = False
    samples_began_ns: int | None = None
    start_id: int | None = None


@dataclass(frozen=True, slots=True)
class FindingMove:
    """A finding of which only the incident changes."""

    finding_id: int
    incident_id: int
    leads: bool


@dataclass(frozen=True, slots=True)
class IncidentFacts:
    """Facts of an incident in addition to its findings, and what is needed to update them when it grows.

    Each field is a function of the set of its findings; none grows with their number.
    """

    incident_id: int
    kind: str
    """Class of its worst finding."""
    residual_percent: float | None
    start_ns: int
    end_ns: int
    closed: bool
    boxes: int
    """Number of Boxes that have a finding in it."""
    scope: str | None = None
    severity: float | None = None
    follows: int | None = None
    arrivals: tuple[BoxArrival, ...] = ()
    worst: tuple[float, int, int, str] = (0.0, 0, 0, "")
    """Its worst finding: distance from nominal, length in ns, minus its start, Box."""
    places: tuple[str, ...] = ()
    """Places, feeders and regions: at most two of each, the alphabetically first; "" where unknown."""
    feeders: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    common_regions: tuple[str, ...] = ()
    """The regions that hold all of its Boxes of which a region is known: a location may have several."""
    frequency_alone: bool = False
    """Whether all its findings are frequency deviations."""
    weights: tuple[int, int, int] = (0, 0, 0)
    """Sums over Boxes with coordinates: weight, weight x latitude, weight x longitude, in 1e-6 degrees."""
    kinds: tuple[str, ...] = ()
    """Kinds of all its findings, each once, in alphabetical order."""
    witnesses: tuple[IncidentWitness, ...] = ()
    """The Boxes from which its cause is judged, the heaviest first."""
    hypotheses: tuple[CauseHypothesis, ...] = ()
    """Possible causes, the likeliest first."""
    sides: tuple[BoxSide, ...] = ()

    @property
    def centre(self) -> tuple[float, float] | None:
        """(latitude, longitude) in degrees."""
        whole, latitude, longitude = self.weights
        return None if whole == 0 else (latitude / whole / 1e6, longitude / whole / 1e6)

    def as_document(self) -> dict[str, Any]:
        """Returns a document of JSON types, with no list in a list: some MongoDB-like servers refuse it."""
        document: dict[str, Any] = {name: getattr(self, name) for name in _FACTS}
        document["arrivals"] = {name: [getattr(each, name) for each in self.arrivals] for name in _ARRIVAL}
        document["witnesses"] = [each.as_document() for each in self.witnesses]
        document["sides"] = [flat_document(each) for each in self.sides]
        document["hypotheses"] = [hypothesis_document(each) for each in self.hypotheses]
        return document

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> "IncidentFacts":
        """The inverse."""
        known = {name: document[name] for name in _FACTS if name in document}
        for name in ("worst", "places", "feeders", "regions", "common_regions", "weights", "kinds"):
            if name in known:
                known[name] = tuple(known[name])
        arrivals = document.get("arrivals") or dict.fromkeys(_ARRIVAL, ())
        columns = (arrivals[name] for name in _ARRIVAL)
        known["arrivals"] = tuple(starmap(BoxArrival, zip(*columns, strict=True)))
        known["witnesses"] = tuple(map(IncidentWitness.of_document, document.get("witnesses", ())))
        known["sides"] = tuple(BoxSide(**each) for each in document.get("sides", ()))
        known["hypotheses"] = hypotheses_of(document.get("hypotheses", ()))
        return cls(**known)


_ARRIVAL = ("box_id", "start_ns", "uncertainty_ns", "aligned_to")
_FACTS = tuple(each.name for each in fields(IncidentFacts))


@dataclass(frozen=True, slots=True)
class JoinPlan:
    """The changes that a store has to write, in this order; every step can be repeated."""

    revision: int
    event_id: int
    """The event of the findings; it is kept as long as they are."""
    moved: tuple[FindingMove, ...] = ()
    """The latest first, so that a repeat after a crash finds the rest."""
    written: tuple[KnownFinding, ...] = ()
    """New and changed findings, in their new state."""
    removed: tuple[int, ...] = ()
    """Ids of findings that were merged into another."""
    facts: tuple[IncidentFacts, ...] = ()
    gone: tuple[int, ...] = ()
    """Incidents that have no finding any more."""
    answer: tuple[KnownFinding, ...] = ()
    """The stored finding for each finding that was put."""
    more_events: tuple[int, ...] = ()
    """Further events that are kept as long."""

    @property
    def changes(self) -> bool:
        return bool(self.moved or self.written or self.removed or self.facts or self.gone)

    def new_findings(self) -> int:
        """Returns how many new finding numbers the plan needs."""
        return sum(one.finding_id < 0 for one in self.written)

    def new_incidents(self) -> int:
        named = {*(one.incident_id for one in self.written), *(one.incident_id for one in self.moved)}
        return sum(number < 0 for number in named)

    def first_findings(self) -> dict[int, int]:
        """Returns new incident -> its first new finding, each as the number below 0 that stands for it."""
        first: dict[int, int] = {}
        for one in self.written:
            if one.incident_id < 0 and one.finding_id < 0:
                first.setdefault(one.incident_id, one.finding_id)
        return first


@dataclass(frozen=True, slots=True)
class GivenNumbers:
    """The numbers that a store gave in place of those below 0."""

    findings: Sequence[int] = ()
    incidents: Sequence[int] = ()

    def finding(self, number: int) -> int:
        return number if number > 0 else self.findings[-number - 1]

    def incident(self, number: int) -> int:
        return number if number > 0 else self.incidents[-number - 1]

    def known(self, one: KnownFinding) -> KnownFinding:
        if one.finding_id > 0 and one.incident_id > 0:
            return one
        return replace(
            one, finding_id=self.finding(one.finding_id), incident_id=self.incident(one.incident_id)
        )

    def facts(self, one: IncidentFacts) -> IncidentFacts:
        follows = None if one.follows is None else self.incident(one.follows)
        return replace(one, incident_id=self.incident(one.incident_id), follows=follows)


@dataclass(frozen=True, slots=True)
class CarriedOut:
    """The result of a plan that a store has carried out."""

    stored: tuple[StoredFinding, ...]
    """One for each finding that was put."""
    facts: tuple[IncidentFacts, ...] = ()
    """Facts of the incidents that are new or have changed."""
    new_incidents: tuple[int, ...] = ()
    gone: tuple[int, ...] = ()


def carried_out(plan: JoinPlan, numbers: GivenNumbers) -> CarriedOut:
    """Returns the result for a store that has written `plan` with these numbers."""
    return CarriedOut(
        tuple(
            StoredFinding(
                numbers.finding(one.finding_id),
                numbers.incident(one.incident_id),
                min(one.event_ids),
                one.finding,
            )
            for one in plan.answer
        ),
        tuple(numbers.facts(one) for one in plan.facts),
        tuple(numbers.incidents),
        plan.gone,
    )


def stored(known: KnownFinding) -> StoredFinding:
    """Returns the finding in the store's public form, with the first of its events."""
    return StoredFinding(known.finding_id, known.incident_id, min(known.event_ids), known.finding)


def onset(known: KnownFinding) -> FindingOnset:
    """Returns the fields of a finding that joining needs."""
    one = known.finding
    return FindingOnset(
        known.finding_id,
        known.incident_id,
        one.box_id,
        one.kind,
        one.start_ns,
        one.end_ns,
        one.uncertainty_ns,
        one.clock_id,
        known.leads,
        known.by_hand,
        one.samples_began_ns,
        one.start_id,
    )


def severity_key(finding: Finding) -> tuple[float, int]:
    """Returns a sort key: distance from nominal, then length; a finding without a residual ranks lowest."""
    percent = finding.residual_percent
    return -1.0 if percent is None else abs(percent - 100.0), finding.end_ns - finding.start_ns


def worst_rank(finding: Finding) -> tuple[float, int, int, str]:
    """Returns the rank of a finding by `rank_of`."""
    length_ns = finding.end_ns - finding.start_ns
    return rank_of(finding.kind, finding.residual_percent, length_ns, finding.start_ns, finding.box_id)


def rank_of(
    kind: str, residual_percent: float | None, length_ns: int, start_ns: int, box_id: str
) -> tuple[float, int, int, str]:
    """Returns a rank, the higher the worse: of a class in `CLASSES`, then further from nominal, then longer.

    Then the earlier start, then Box and class. An incident's facts, index and page all use it, so that they
    name it alike, also at exact ties.
    """
    off = -1.0 if residual_percent is None else abs(residual_percent - 100.0)
    known = CLASSES.issuperset(kind.split("+"))
    return off if known else off - RANK_PENALTY, length_ns, -start_ns, f"{box_id}\n{kind}"


def worst_of(findings: Sequence[Finding]) -> Finding:
    """Returns the finding that names an incident of these findings (at least one)."""
    return max(findings, key=worst_rank)


def incident_of(known: Sequence[KnownFinding], facts: IncidentFacts | None = None) -> Incident:
    """Makes an incident; `known` are all its findings, at least one."""
    findings = sorted(known, key=lambda one: (one.finding.start_ns, one.finding_id))
    worst = worst_of([one.finding for one in findings])
    boxes = {one.finding.box_id for one in findings}
    incident = Incident(
        incident_id=findings[0].incident_id,
        kind=worst.kind,
        box_ids=tuple(sorted(boxes, key=lambda box_id: (len(box_id), box_id))),
        event_ids=tuple(sorted({event_id for one in findings for event_id in one.event_ids})),
        start_ns=min(one.finding.start_ns for one in findings),
        end_ns=max(one.finding.end_ns for one in findings),
        closed=all(one.finding.closed for one in findings),
        residual_percent=worst.residual_percent,
        findings=tuple(stored(one) for one in findings),
        severity=highest_severity(one.finding for one in findings),
    )
    return with_facts(incident, facts)


def with_label(incident: Incident, label: str | None) -> Incident:
    """Returns the incident with the class that a person gave it; unchanged where `label` is None."""
    return incident if label is None else replace(incident, kind=label, machine_kind=incident.kind)


def with_facts(incident: Incident, facts: IncidentFacts | None) -> Incident:
    """Returns the incident with its facts; unchanged where there are none."""
    if facts is None:
        return incident
    return replace(
        incident,
        closed=facts.closed,
        scope=facts.scope,
        severity=incident.severity if facts.severity is None else facts.severity,
        follows=facts.follows,
        arrivals=facts.arrivals,
        centre=facts.centre,
        hypotheses=facts.hypotheses,
        sides=facts.sides,
    )
