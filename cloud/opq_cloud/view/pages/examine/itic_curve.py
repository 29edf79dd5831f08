"""The ITIC curve: its two lines, and where an incident lies."""

from collections.abc import Sequence

from opq_measure.events.curves import ITIC_HIGH, ITIC_LOW
from opq_proto.messages import Finding

CURVE_FIRST_S = 1e-3
"""Shortest duration of the drawn curve."""
CURVE_HALF_CYCLE_S = 1 / 120
"""The upper line starts here, because an rms value needs half a cycle."""
CURVE_LAST_S = 100.0
"""Longest duration of the drawn curve."""

ITIC_SENTENCES = {
    "no_interruption_in_function": "This incident lies between them: such equipment should go on working.",
    "no_damage": "This incident lies below the lower one: such equipment may stop, but is not harmed.",
    "prohibited": "This incident lies above the upper one: such equipment may be damaged.",
}


def corners() -> dict[str, list[tuple[float, float]]]:
    """The two lines of the ITIC curve as (seconds, percent) corners, from `opq_measure.events.curves`."""
    return {"upper": _line(ITIC_HIGH, CURVE_HALF_CYCLE_S), "lower": _line(ITIC_LOW, CURVE_FIRST_S)}


def _line(steps: Sequence[tuple[float, float]], first_s: float) -> list[tuple[float, float]]:
    line = []
    for until_s, level in steps:
        last_s = min(until_s, CURVE_LAST_S)
        line += [(first_s, level), (last_s, level)]
        first_s = last_s
    return line


def itic_sentence(finding: Finding | None) -> str:
    if finding is None or finding.itic is None:
        return ""
    return ITIC_SENTENCES.get(finding.itic, "")
