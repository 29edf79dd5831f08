"""A Box of an incident with its worst finding, as far as the cause is judged by it.

An incident keeps the few of its Boxes that say most, so that it grows at a bounded cost; which ones does
not depend on the order in which findings come.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opq_proto.messages import CauseEvidence, CauseHypothesis

WITNESSES = 12


def flat_document(one: Any) -> dict[str, Any]:
    """A dataclass of plain values by name; `asdict` copies each value, a quarter of what a finding cost."""
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class IncidentWitness:
    """`weight` orders them, the heaviest first: off nominal, length in ns, minus its start, kind.

    Off nominal is far below 0 where a finding shows no onset: what does goes before it.
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
        """JSON's types only, no list in a list."""
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
    """One per Box, its heaviest; of these the heaviest, of each place and phase before its second one.

    So many Boxes at one place leave room for what others saw: without these nobody could say where it was.
    `heaviest(heaviest(a) + b) == heaviest(a + b)`, while no Box moves.
    """
    best: dict[str, IncidentWitness] = {}
    for each in witnesses:
        known = best.get(each.box_id)
        if known is None or each.weight > known.weight:
            best[each.box_id] = each
    ordered = sorted(best.values(), key=lambda each: (each.weight, each.box_id), reverse=True)
    if len(ordered) <= WITNESSES:
        return tuple(ordered)
    before = Counter[tuple[str | None, ...]]()
    turns: list[tuple[int, int]] = []
    for at, each in enumerate(ordered):
        outlet = each.place, each.feeder, each.phase
        turns.append((before[outlet], at))
        before[outlet] += 1
    return tuple(ordered[at] for at in sorted(at for _, at in sorted(turns)[:WITNESSES]))


def hypothesis_document(hypothesis: CauseHypothesis) -> dict[str, Any]:
    """As JSON and the store have it."""
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
