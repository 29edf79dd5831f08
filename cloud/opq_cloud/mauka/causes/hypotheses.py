"""Possible causes of an incident, with probability and evidence. Pure.

The weights of the evidence for and against all causes, and that of `unknown`, are compared with each other
(softmax). A further cause changes `cause_evidence.py` alone, and not this file.
"""

import math

from opq_cloud.mauka.causes.cause_evidence import FAULT_LEAST_S, JUDGES, SURE_TYPE
from opq_cloud.mauka.causes.signs import IncidentSigns
from opq_cloud.store.incidents.cause_words import UNKNOWN
from opq_proto.messages import CauseHypothesis

UNKNOWN_WEIGHT = 1.5
"""The weight that all signs of a cause together have to exceed."""
MIN_PROBABILITY = 0.02
"""A less likely cause is not stated."""
MAX_SHOWN = 4
"""Causes that are stated, at most."""


def hypotheses_for(signs: IncidentSigns) -> tuple[CauseHypothesis, ...]:
    """Returns the likeliest causes, at most four, with `unknown` where it is one of them; never empty."""
    judged = {
        cause: tuple(each for each in judge(signs) if each is not None) for cause, judge in JUDGES.items()
    }
    weights = {cause: sum(each.weight for each in evidence) for cause, evidence in judged.items()}
    weights[UNKNOWN] = UNKNOWN_WEIGHT
    top = max(weights.values())
    whole = sum(math.exp(weight - top) for weight in weights.values())
    found = [
        CauseHypothesis(
            cause,
            round(math.exp(weight - top) / whole, 3),
            tuple(sorted(judged.get(cause, ()), key=lambda each: (-each.weight, each.name))),
            _details(cause, signs),
        )
        for cause, weight in weights.items()
    ]
    likely = [each for each in found if each.probability >= MIN_PROBABILITY]
    return tuple(sorted(likely, key=lambda each: (-each.probability, each.cause))[:MAX_SHOWN])


def _details(cause: str, signs: IncidentSigns) -> tuple[tuple[str, str | float], ...]:
    found: list[tuple[str, str | float]] = []
    if cause in ("fault", "lightning") and (signs.low or signs.lasting_s is not None):
        kind = signs.dip_type
        if kind is not None and kind.probability >= SURE_TYPE:
            found += [("dip_type", kind.letter), ("dip_type_probability", round(kind.probability, 3))]
        if signs.clearing_s is not None and signs.clearing_s > FAULT_LEAST_S:
            found.append(("clearing_ms", round(1000 * signs.clearing_s, 1)))
    if signs.trip is not None and cause == ("fault" if signs.trip.after_dip else "supply_lost"):
        found.append(("tripped_feeder" if signs.trip.after_dip else "dead_feeder", signs.trip.feeder))
    if cause == "unit_trip" and signs.deviation_hz is not None:
        found.append(("lost", "generation" if signs.deviation_hz < 0 else "load"))
    if cause == "capacitor_switching" and signs.ringing_hz is not None:
        found.append(("ringing_hz", round(signs.ringing_hz, 1)))
    return tuple(found)
