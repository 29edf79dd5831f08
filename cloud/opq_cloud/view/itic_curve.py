"""The ITIC curve on a page: its two lines, the findings beside them, and where an incident lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opq_cloud.view import words
from opq_cloud.view.languages import N_, _
from opq_cloud.view.registry import natural_order
from opq_measure.events.curves import ITIC_HIGH, ITIC_LOW
from opq_proto.messages import Finding, Incident

CURVE_FIRST_S, CURVE_HALF_CYCLE_S, CURVE_LAST_S = 1e-3, 1 / 120, 100.0
"""The span of the drawn curve; rms has no value below half a cycle, so the upper line starts there."""

ITIC_SENTENCES = {
    "no_interruption_in_function": N_(
        "This incident lies between them: such equipment should go on working."
    ),
    "no_damage": N_("This incident lies below the lower one: such equipment may stop, but is not harmed."),
    "prohibited": N_("This incident lies above the upper one: such equipment may be damaged."),
}


@dataclass(frozen=True, slots=True)
class IticPoint:
    """A finding in the plane of the ITIC curve."""

    label: str
    series: int
    duration_s: float
    residual_percent: float
    words: str


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


def itic_points(incident: Incident, series: Mapping[str, int]) -> list[IticPoint]:
    """The rated findings; `series`: Box -> number of its line in the charts above."""
    found = []
    rated = [each.finding for each in incident.findings if each.finding.itic is not None]
    for finding in sorted(rated, key=lambda each: natural_order(each.box_id)):
        if finding.residual_percent is None:
            continue
        duration_s = (finding.end_ns - finding.start_ns) / 1e9
        found.append(
            IticPoint(
                label=_("Box %(box)s", box=finding.box_id),
                series=series.get(finding.box_id, len(series)) % 6,
                duration_s=duration_s,
                residual_percent=finding.residual_percent,
                words=_(
                    "%(number)s for %(duration)s",
                    number=words.number(finding.residual_percent, 1, "%"),
                    duration=words.duration(duration_s),
                ),
            )
        )
    return found


def itic_sentence(finding: Finding | None) -> str:
    if finding is None or finding.itic is None:
        return ""
    return _(ITIC_SENTENCES[finding.itic]) if finding.itic in ITIC_SENTENCES else ""
