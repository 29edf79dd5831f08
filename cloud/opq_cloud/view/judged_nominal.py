"""The nominal voltage by which an incident was judged: a Box's record may say another one by now."""

from collections.abc import Callable
from functools import cache

from opq_proto.messages import Finding, Incident

LEAST_PERCENT = 5.0
"""A smaller residual voltage says too little of what it is a percentage of."""
SAME = 0.005
"""The record's own value stays, where they differ by less."""


def judged_nominal_v(incident: Incident, now_v: Callable[[str], float]) -> Callable[[str], float]:
    """Box -> volts: as its own findings say it; else as those of a Box that has the same nominal voltage now.

    Args:
        now_v: the nominal voltage of a Box as its record has it now.
    """
    said: dict[str, float] = {}
    for item in incident.findings:
        volts = _said_v(item.finding)
        if volts is not None:
            said.setdefault(item.finding.box_id, volts)
    first = next(iter(said), None)
    now_v = cache(now_v)

    def nominal_v(box_id: str) -> float:
        now, volts = now_v(box_id), said.get(box_id)
        if volts is None and first is not None and now_v(first) == now:
            volts = said[first]
        return now if volts is None or abs(volts / now - 1) < SAME else round(volts, 1)

    return nominal_v


def _said_v(finding: Finding) -> float | None:
    volts, percent = finding.residual_v, finding.residual_percent
    return None if volts is None or percent is None or percent < LEAST_PERCENT else volts / percent * 100
