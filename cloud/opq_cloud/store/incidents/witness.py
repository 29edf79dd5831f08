"""A witness: a Box of an incident with its worst finding, from which the cause is judged.

An incident keeps only the few most significant Boxes, so that its growth has a bounded cost. Which ones does
not depend on the order in which findings come.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opq_proto.messages import CauseEvidence, CauseHypothesis

WITNESSES_KEPT = 12


def flat_document(one: Any) -> dict[str, Any]:
    """Returns name -> value of a dataclass; `asdict` copies each value: a quarter of a finding's cost."""
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class IncidentWitness:
    """A Box with its worst finding.

    `weight` sorts witnesses, the heaviest first: distance from nominal, length in ns, minus its start, kind.
    The distance is far below 0 where a finding shows no onset, so that findings with an onset come first.
    """

    box_id: str
    kind: str
    start_ns: int
    end_ns: int
    weight: tuple[float, int, int, str]
    residual_percent: float | None = None
    place: str | None = None
    feeder: str | None = None
    phase: str | None = None
    uncertainty_ns: int = 0
    figures: tuple[tuple[str, float], ...] = ()

    def as_document(self) -> dict[str, Any]:
        """Returns a document of JSON types, without a list in a list."""
        return {**flat_document(self), "weight": list(self.weight), "figures": dict(self.figures)}

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> "IncidentWitness":
        """The inverse."""
        off, length_ns, start, kind = document["weight"]
        return cls(
            **{
                **document,
                "weight": (float(off), int(length_ns), int(start), str(kind)),
                "figures": tuple((str(name), float(value)) for name, value in document["figures"].items()),
            }
        )


def heaviest(witnesses: Iterable[IncidentWitness]) -> tuple[IncidentWitness, ...]:
    """Returns the WITNESSES_KEPT heaviest, one per Box; a place and phase gets a second after all have one.

    So many Boxes at one place leave room for those elsewhere, which are needed to locate the disturbance.
    `heaviest(heaviest(a) + b) == heaviest(a + b)`, while no Box moves.
    """
    best: dict[str, IncidentWitness] = {}
    for each in witnesses:
        known = best.get(each.box_id)
        if known is None or each.weight > known.weight:
            best[each.box_id] = each
    ordered = sorted(best.values(), key=lambda each: (each.weight, each.box_id), reverse=True)
    if len(ordered) <= WITNESSES_KEPT:
        return tuple(ordered)
    before = Counter[tuple[str | None, ...]]()
    turns: list[tuple[int, int]] = []
    for at, each in enumerate(ordered):
        outlet = each.place, each.feeder, each.phase
        turns.append((before[outlet], at))
        before[outlet] += 1
    return tuple(ordered[at] for at in sorted(at for _, at in sorted(turns)[:WITNESSES_KEPT]))


def hypothesis_document(hypothesis: CauseHypothesis) -> dict[str, Any]:
    """Returns a hypothesis as JSON, also for the store."""
    return {
        "cause": hypothesis.cause,
        "probability": hypothesis.probability,
        "evidence": [flat_document(each) for each in hypothesis.evidence],
        "details": dict(hypothesis.details),
    }


def hypotheses_of(documents: Sequence[Mapping[str, Any]]) -> tuple[CauseHypothesis, ...]:
    """The inverse."""
    return tuple(
        CauseHypothesis(
            str(each["cause"]),
            float(each["probability"]),
            tuple(CauseEvidence(**evidence) for evidence in each["evidence"]),
            tuple(each["details"].items()),
        )
        for each in documents
    )
