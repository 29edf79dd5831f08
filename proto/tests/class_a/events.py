"""Dips, swells and interruptions of many depths, lengths and points on wave, in every state."""

import math
from collections.abc import Iterator, Sequence

from class_a.states import RATE_HZ, STATES, SYSTEMS, SupplySystem, TestingState, TestPoint, voltage
from opq_measure.events.detector import Detector
from opq_measure.events.disturbances import find_disturbances
from opq_measure.events.rapid_change import RapidChange, RapidLimits
from opq_measure.timebase.windows import windows_of
from opq_sim.mains.disturbance import MainsDisturbance
from opq_sim.mains.profiles import FloatArray
from opq_sim.mains.rms_events import Interruption, Profile, Sag, Swell

LENGTHS_CYCLES = (1.5, 2.5, 10.0, 30.0)
"""From 1.5 cycles on, a whole Urms(1/2) lies inside at any point on wave."""
ANGLES_DEG = (0.0, 47.0, 90.0, 135.0)
DIPS, SWELLS, INTERRUPTIONS = (0.15, 0.3, 0.6, 0.85), (0.15, 0.2, 0.4, 0.5), (0.0, 0.02, 0.05, 0.08)
APART_S = 1.5
CHANGE = Profile(start_s=1.5, seconds=2.5, points=((0.0, 1.0), (0.0, 0.92), (0.3, 0.92), (0.3, 0.95)))
"""92 % for 0.3 s, then 95 %, then back: two rapid voltage changes."""
CHANGES_PERCENT = ((-5.0, -8.0), (5.0, None))
"""dUss and dUmax of both; None: dUmax of a bare step is, by definition, that of the few values on it."""
CHANGE_LIMITS = RapidLimits(3.3, 1.65)


def events() -> Iterator[TestPoint]:
    for system in SYSTEMS:
        for state in STATES:
            for quantity, clause, series in (
                ("dip", "5.4", [_dip(k) for k in range(4)]),
                ("swell", "5.4", [_swell(k) for k in range(4)]),
                ("interruption", "5.5", [_interruption(k) for k in range(4)]),
            ):
                residual, cycles = _worst(system, state, series)
                where = f"{system.name}: 1.5 to 30 cycles, {state.name}"
                if quantity != "interruption":
                    yield TestPoint(clause, f"{quantity}, residual", where, residual, 0.2, "% Udin")
                yield TestPoint(clause, f"{quantity}, duration", where, cycles, 1.0, "cycles")


def _dip(k: int) -> MainsDisturbance:
    return Sag(depth=DIPS[k], start_s=1 + APART_S * k, angle_deg=ANGLES_DEG[k], cycles=LENGTHS_CYCLES[k])


def _swell(k: int) -> MainsDisturbance:
    return Swell(rise=SWELLS[k], start_s=1 + APART_S * k, angle_deg=ANGLES_DEG[k], cycles=LENGTHS_CYCLES[k])


def _interruption(k: int) -> MainsDisturbance:
    return Interruption(
        residual=INTERRUPTIONS[k], start_s=1 + APART_S * k, angle_deg=ANGLES_DEG[k], cycles=LENGTHS_CYCLES[k]
    )


def _worst(
    system: SupplySystem, state: TestingState, series: Sequence[MainsDisturbance]
) -> tuple[float, float]:
    """Largest errors of residual (% of Udin) and duration (cycles); infinite when an event is missed."""
    volts, truth = voltage(system, state, 1 + APART_S * len(series), disturbances=series)
    found = find_disturbances(volts, RATE_HZ, system.declared_v, system.nominal_hz)
    injected = [k for k, each in enumerate(truth.disturbances) if each.kind != "flicker"]
    if len(found) != len(injected):
        return math.inf, math.inf
    residual, cycles = 0.0, 0.0
    for event, number in zip(found, injected, strict=True):
        residual = max(residual, abs(event.residual_v - truth.residual_v(number)) / system.declared_v * 100)
        span = truth.disturbances[number].span
        cycles = max(cycles, abs(event.duration_cycles - (span.stop_cycles - span.start_cycles)))
    return residual, cycles


def rapid_changes() -> Iterator[TestPoint]:
    """Rapid voltage changes, without the states' flicker, which leaves no voltage steady."""
    for system in SYSTEMS:
        for state in STATES:
            volts, truth = voltage(system, state, 6.0, disturbances=(CHANGE,), flicker=False)
            scale = truth.rms_v / system.declared_v  # share of Udin, harmonics included
            found = _rapid(volts, system)
            worst = 0.0 if len(found) == len(CHANGES_PERCENT) else math.inf
            for change, (steady, largest) in zip(found, CHANGES_PERCENT, strict=False):
                worst = max(worst, abs(change.steady_change_percent - steady * scale))
                if largest is not None:
                    worst = max(worst, abs(change.largest_change_percent - largest * scale))
            where = f"{system.name}: 5 % and 8 %, {state.name}"
            yield TestPoint("5.11", "rapid voltage change", where, worst, 0.2, "% Udin")


def _rapid(volts: FloatArray, system: SupplySystem) -> list[RapidChange]:
    detector = Detector(RATE_HZ, system.declared_v, system.nominal_hz, rapid_change=CHANGE_LIMITS)
    notices = []
    for window in windows_of(volts, RATE_HZ, system.nominal_hz):
        notices += detector.push_window(window)
    notices += detector.end()
    return [notice for notice in notices if isinstance(notice, RapidChange)]
