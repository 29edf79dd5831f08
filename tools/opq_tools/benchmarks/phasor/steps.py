"""The step tests of C37.118.1, 5.5.8: response times, delay and overshoot at a step of magnitude or phase.

Reports are too far apart to time a step by; it is repeated at shifted instants (equivalent time).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_tools.benchmarks.phasor.errors import Errors, Unit, joined
from opq_tools.benchmarks.phasor.limits import Limits
from opq_tools.benchmarks.phasor.signals import step

Floats = NDArray[np.float64]
SIZE = 0.1
ANGLE_RAD = np.pi / 18
TVE_PERCENT, FE_HZ = 1.0, 0.005


@dataclass(frozen=True, slots=True)
class Step:
    """Response times in s, delay in s, overshoot in percent of the step."""

    phasor_s: float
    frequency_s: float
    rocof_s: float
    delay_s: float
    overshoot_percent: float


def steps(unit: Unit, limits: Limits, shifts: int) -> Iterator[tuple[str, Step]]:
    """Both kinds of step, up and down; the worse of each pair."""
    for name, size, angle_rad in (("magnitude step", SIZE, 0.0), ("phase step", 0.0, ANGLE_RAD)):
        both = [_step(unit, limits, sign * size, sign * angle_rad, shifts) for sign in (1.0, -1.0)]
        yield name, max(both, key=lambda found: found.phasor_s)


def _step(unit: Unit, limits: Limits, size: float, angle_rad: float, shifts: int) -> Step:
    reach_s = max(2.2 * unit.latency_s, 4 / unit.reports_per_s)
    parts: list[Errors] = []
    times: list[Floats] = []
    values: list[Floats] = []
    for number in range(shifts):
        at_s = (number + 0.37) / shifts / unit.reports_per_s
        signal = step(unit.nominal_hz, at_s, size, angle_rad)
        found = unit.errors(signal, at_s - reach_s, at_s + reach_s)
        t, reports = unit.reports(signal, at_s - reach_s, at_s + reach_s)
        moved = [np.angle(r.value) / angle_rad if angle_rad else (abs(r.value) - 1) / size for r in reports]
        parts.append(Errors(found.t - at_s, found.tve_percent, found.fe_hz, found.rfe_hz_s))
        times.append(t - at_s)
        values.append(np.array(moved))
    errors = joined(parts)
    t = np.concatenate(times)
    order = np.argsort(t)
    t, moved_share = t[order], np.concatenate(values)[order]
    rfe = limits.frequency_range().rfe_hz_s or 0.0
    half = int(np.argmax(moved_share >= 0.5))
    crossed = float(np.interp(0.5, moved_share[half - 1 : half + 1], t[half - 1 : half + 1]))
    return Step(
        _longest(errors.t, errors.tve_percent > TVE_PERCENT),
        _longest(errors.t, errors.fe_hz > FE_HZ),
        _longest(errors.t, errors.rfe_hz_s > rfe),
        abs(crossed),
        100 * float(max(moved_share.max() - 1, -moved_share.min(), 0.0)),
    )


def _longest(t: Floats, over: NDArray[np.bool_]) -> float:
    """From the first time that the error leaves its limit to the time it is back for good."""
    outside = np.flatnonzero(over)
    return float(t[min(outside[-1] + 1, len(t) - 1)] - t[outside[0]]) if len(outside) else 0.0
