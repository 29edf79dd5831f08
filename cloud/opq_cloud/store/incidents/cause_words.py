"""Causes in plain words, for pages, tools and webhooks.

Belongs to the store, as does `as_json.py`, which every reader of incidents uses.
"""

from collections.abc import Sequence

from opq_proto.messages import CauseHypothesis

UNKNOWN = "unknown"
CAUSE_WORDS = {
    "fault": "a short circuit",
    "motor_start": "a large motor that started",
    "transformer_energising": "a transformer that was switched in",
    "capacitor_switching": "a capacitor bank that was switched in",
    "lightning": "a lightning stroke",
    "tap_change": "a tap changer",
    "lost_neutral": "a broken neutral",
    "islanding": "a part of the network that ran on its own",
    "unit_trip": "generation or load of the whole system that was lost",
    "converter_load": "rectifiers or other converters",
    "arc_furnace": "a restless load, such as an arc furnace",
    "ripple_control": "signals on the mains, such as ripple control",
    "load": "a load that was switched",
    "supply_lost": "a lost supply",
    "uneven_load": "an uneven load of the three phases",
    "lost_phase": "a lost phase, such as a blown fuse",
    UNKNOWN: "an unknown cause",
}
"""Cause -> its words. The names are those of the Sim's causes where the Sim has them."""
SURE_PROBABILITY = 0.8
MAX_CLAUSES = 3


def cause_sentence(hypothesis: CauseHypothesis) -> str:
    """Returns a sentence about the likeliest cause, with its strongest evidence."""
    what = CAUSE_WORDS.get(hypothesis.cause, hypothesis.cause.replace("_", " "))
    share = f"{100 * hypothesis.probability:.0f} %"
    if hypothesis.cause == UNKNOWN:
        return f"The cause is not known ({share}): nothing points clearly to one."
    details = dict(hypothesis.details)
    if "tripped_feeder" in details:
        what += f", after which feeder {details['tripped_feeder']} was switched off"
    if "dead_feeder" in details:
        what += f" of feeder {details['dead_feeder']}"
    more = []
    if "dip_type" in details:
        more.append(f"dip of type {details['dip_type']}")
    if "clearing_ms" in details:
        more.append(f"cleared after {details['clearing_ms']:.0f} ms")
    sure = "Very likely" if hypothesis.probability >= SURE_PROBABILITY else "Perhaps"
    because = "; ".join(evidence_clauses(hypothesis))
    return f"{sure} {what} ({'; '.join(filter(None, (share, ', '.join(more))))})" + (
        f": {because}." if because else "."
    )


def evidence_clauses(hypothesis: CauseHypothesis) -> Sequence[str]:
    """Returns the words of the first MAX_CLAUSES items of evidence for the cause."""
    return [each.words for each in hypothesis.evidence if each.weight > 0][:MAX_CLAUSES]


def evidence_lines(hypothesis: CauseHypothesis) -> Sequence[str]:
    """Returns all evidence for and against the cause, with sign and weight."""
    return [
        ("+" if each.weight > 0 else "\N{MINUS SIGN}") + f"{abs(each.weight):.1f} {each.words}"
        for each in hypothesis.evidence
    ]
