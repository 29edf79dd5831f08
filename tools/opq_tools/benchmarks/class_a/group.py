"""Unbalance of three Boxes, each with a sample clock of its own."""

import math
from collections.abc import Iterator

from opq_hil.mains.sampling import SampleClock
from opq_measure.aggregation.unbalance import Group, PhaseWindow, Unbalance
from opq_measure.timebase.windows import windows_of
from opq_tools.benchmarks.class_a.point import Point
from opq_tools.benchmarks.class_a.states import PHASE_DEG, RATE_HZ, STATES, SYSTEMS, State, System, voltage

MAGNITUDES_PERCENT = ((100.0, 100.0, 100.0), (73.0, 80.0, 87.0), (152.0, 140.0, 128.0))
"""Of Udin, 120 degrees apart: the unbalance of testing states 1 to 3."""
CLOCKS_PPM = (0.0, 31.0, -17.0)
SECONDS = 2.0
START_NS = 1_800_000_000_123_456_789


def unbalance() -> Iterator[Point]:
    for system in SYSTEMS:
        for state in STATES:
            worst = 0.0
            for magnitudes in MAGNITUDES_PERCENT:
                # by hand: at 120 degrees |a + t b + t2 c| is the same for u2 and u0
                a, b, c = magnitudes
                true = 100 * math.sqrt(a * a + b * b + c * c - a * b - b * c - c * a) / (a + b + c)
                for each in _found(system, state, magnitudes):
                    right = each.rotation == "abc"
                    off = max(abs(each.u2_percent - true), abs(each.u0_percent - true))
                    worst = max(worst, off if right else math.inf)
            yield Point(
                "5.7", "unbalance u2, u0", f"{system.name}: 0 and 5 %, {state.name}", worst, 0.15, "%"
            )


def _found(system: System, state: State, magnitudes: tuple[float, ...]) -> list[Unbalance]:
    group, found = Group(), []
    for phase, (percent, ppm) in enumerate(zip(magnitudes, CLOCKS_PPM, strict=True)):
        volts, _ = voltage(
            system,
            state,
            SECONDS,
            percent,
            phase_deg=PHASE_DEG - 120.0 * phase,
            clock=SampleClock(offset_ppm=ppm),
        )
        measured_hz = RATE_HZ * (1 + ppm * 1e-6)
        for window in windows_of(volts, measured_hz, system.nominal_hz, START_NS):
            found += group.push(phase, PhaseWindow.of(window))
    return found
