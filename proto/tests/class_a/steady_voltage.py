"""Quantities of a steady voltage: magnitude, deviation, harmonics, interharmonics and others."""

import math
from collections.abc import Iterator

import numpy as np

from class_a.states import (
    PHASE_DEG,
    RATE_HZ,
    STATES,
    SYSTEMS,
    SupplySystem,
    TestingState,
    TestPoint,
    voltage,
)
from opq_measure.aggregation.aggregate import (
    Quantity,
    over_v,
    overdeviation_percent,
    under_v,
    underdeviation_percent,
)
from opq_measure.aggregation.aggregator import Aggregator
from opq_measure.aggregation.unbalance import Group, PhaseWindow, Unbalance
from opq_measure.flicker.lamps import lamp_for
from opq_measure.flicker.meter import flicker as measured
from opq_measure.frequency.ten_seconds import TEN_SECONDS_NS, ten_seconds_of
from opq_measure.harmonics.interharmonics import interharmonic_subgroups
from opq_measure.harmonics.spectrum import spectrum_of
from opq_measure.rms import cycle_rms_v
from opq_measure.timebase.window import WindowTime
from opq_measure.timebase.windows import Window, windows_of
from opq_sim.mains.profiles import FloatArray
from opq_sim.mains.sampling import SampleClock
from opq_sim.mains.wave import MainsTone

MAGNITUDES_PERCENT = (10.0, 45.0, 80.0, 115.0, 150.0)
"""Percent of Udin: the measuring range of 5.2 and three points between; IEC 62586-2, table 3."""
SECONDS, AGGREGATED_S, TEN_SECONDS_S = 2.0, 3.8, 10.5
CLASS_3 = {2: 3.0, 3: 6.0, 4: 1.5, 5: 8.0, 7: 7.0, 9: 2.5, 11: 5.0, 13: 4.5, 17: 4.0, 25: 3.5, 49: 1.06}
"""Order -> percent: compatibility levels of IEC 61000-2-4:2002, class 3, on which 5.8 bases its range."""
HARMONIC_SHARES = (0.1, 1.0, 2.0)
"""Shares of the class 3 levels; 5.8: 10 to 200 %."""
BETWEEN = {1.5: 0.5, 3.5: 5.0, 7.5: 1.0, 20.5: 0.1, 42.5: 2.0}
"""Interharmonics: multiple of the fundamental frequency -> percent."""
READING_FROM_PERCENT = 1.0
"""Percent of Unom from which a limit of 61000-4-7 class I is a share of the reading; below, of Unom."""


def windows(volts: FloatArray, system: SupplySystem) -> list[Window]:
    """All windows except the first and the last, whose other side the tracker has not seen."""
    return list(windows_of(volts, RATE_HZ, system.nominal_hz))[1:-1]


def frequency() -> Iterator[TestPoint]:
    """Frequency over whole ten seconds."""
    for system in SYSTEMS:
        for state in STATES:
            for name, range_hz in (("range", system.range_hz), ("near nominal", (system.nominal_hz + 0.05,))):
                worst = max(_frequency_error_hz(system, state, hz) for hz in range_hz)
                where = f"{system.name}: {name}, {state.name}"
                yield TestPoint("5.1", "frequency, 10 s", where, worst * 1e3, 10.0, "mHz")


def _frequency_error_hz(system: SupplySystem, state: TestingState, hz: float) -> float:
    volts, _ = voltage(system, state, TEN_SECONDS_S, hz=hz)
    first = next(ten_seconds_of(volts, RATE_HZ, system.nominal_hz, TEN_SECONDS_NS))
    return abs(first.frequency_hz - hz)


def magnitude() -> Iterator[TestPoint]:
    for system in SYSTEMS:
        for state in STATES:
            worst = max(_magnitude_error(system, state, percent, None) for percent in MAGNITUDES_PERCENT)
            yield _magnitude(system, f"10 to 150 % Udin, {state.name}", worst)
        worst = max(_magnitude_error(system, STATES[0], 100.0, hz) for hz in system.range_hz)
        yield _magnitude(system, "{:g} and {:g} Hz".format(*system.range_hz), worst)


def _magnitude(system: SupplySystem, condition: str, error: float) -> TestPoint:
    return TestPoint("5.2", "Urms, 10/12 cycles", f"{system.name}: {condition}", error, 0.1, "% Udin")


def _magnitude_error(system: SupplySystem, state: TestingState, percent: float, hz: float | None) -> float:
    volts, truth = voltage(system, state, SECONDS, percent, hz)
    found = windows(volts, system)
    edges = truth.edges(1)
    nearest = edges[np.searchsorted(edges, [each.first_sample + each.edges[0] - 1 for each in found])]
    true_v = truth.rms_v_between(nearest, nearest + system.cycles * RATE_HZ / truth.grid.frequency_hz)
    found_v = np.array([rms_v(each) for each in found])
    return float(np.abs(found_v - true_v).max()) / system.declared_v * 100


def rms_v(window: Window) -> float:
    """Rms over the 10/12 cycles of a window."""
    return float(cycle_rms_v(window.volts, window.edges[[0, -1]])[0])


def deviation() -> Iterator[TestPoint]:
    """Under- and overdeviation over 150/180 cycles at four levels."""
    for system in SYSTEMS:
        for state in STATES:
            worst = 0.0
            for percent in (85.0, 95.0, 105.0, 115.0):
                volts, truth = voltage(system, state, AGGREGATED_S, percent, flicker=False)
                true = truth.rms_v / system.declared_v * 100 - 100
                under, over = _deviations(volts, system)
                worst = max(worst, abs(under - max(-true, 0.0)), abs(over - max(true, 0.0)))
            condition = f"{system.name}: 85 to 115 % Udin, {state.name}"
            yield TestPoint("5.12", "under/overdeviation", condition, worst, 0.1, "% Udin")


def _deviations(volts: FloatArray, system: SupplySystem) -> tuple[float, float]:
    aggregator = Aggregator((Quantity("under_v"), Quantity("over_v")), system.nominal_hz)
    found = []
    for window in windows(volts, system):
        rms = np.array(rms_v(window))
        values = {"under_v": under_v(rms, system.declared_v), "over_v": over_v(rms, system.declared_v)}
        found += aggregator.push_values(WindowTime.of(window), values)
    values_of = found[0].values()
    return (
        underdeviation_percent(float(values_of["under_v"].mean), system.declared_v),
        overdeviation_percent(float(values_of["over_v"].mean), system.declared_v),
    )


def harmonics() -> Iterator[TestPoint]:
    """Subgroups 2 .. 50 with the class 3 levels, all at once, with an interharmonic of 1 %."""
    for system in SYSTEMS:
        for hz in (*system.range_hz, system.nominal_hz + 0.13):
            large, small = 0.0, 0.0
            for share in HARMONIC_SHARES:
                percent = {order: share * level for order, level in CLASS_3.items()}
                tones = (MainsTone(7.5 * hz, 1.0),)
                volts, _ = voltage(system, STATES[0], SECONDS, hz=hz, harmonics=percent, tones=tones)
                found = spectrum_of(windows(volts, system), system.cycles).subgroups()[:, 1:]
                true = np.array([percent.get(order, 0.0) for order in range(2, 51)])
                worst = _class_1(found / system.declared_v * 100, true)
                large, small = max(large, worst[0]), max(small, worst[1])
            condition = f"{system.name}: {hz:g} Hz, 10 to 200 % of class 3"
            yield TestPoint("5.8", "harmonics 2 to 50", f"{condition}, from 1 %", large, 5.0, "% of reading")
            yield TestPoint("5.8", "harmonics 2 to 50", f"{condition}, below 1 %", small, 0.05, "% Unom")


def interharmonics() -> Iterator[TestPoint]:
    """Centred subgroups 1 .. 49 with five tones, together with the class 3 harmonics."""
    for system in SYSTEMS:
        for hz in (*system.range_hz, system.nominal_hz + 0.13):
            tones = [MainsTone(ratio * hz, percent, 17.0 * ratio) for ratio, percent in BETWEEN.items()]
            volts, _ = voltage(system, STATES[0], SECONDS, hz=hz, harmonics=CLASS_3, tones=tones)
            found = interharmonic_subgroups(spectrum_of(windows(volts, system), system.cycles))[:, 1:]
            true = np.array([BETWEEN.get(order + 0.5, 0.0) for order in range(1, 50)])
            large, small = _class_1(found / system.declared_v * 100, true)
            condition = f"{system.name}: {hz:g} Hz, beside class 3"
            yield TestPoint(
                "5.9", "interharmonics to 49", f"{condition}, from 1 %", large, 5.0, "% of reading"
            )
            yield TestPoint("5.9", "interharmonics to 49", f"{condition}, below 1 %", small, 0.05, "% Unom")


def _class_1(found: FloatArray, true: FloatArray) -> tuple[float, float]:
    """Largest errors: % of the reading for true values from 1 %, % of Unom below. 61000-4-7:2002, table 1."""
    off = np.abs(found - true).max(axis=0)
    large = true >= READING_FROM_PERCENT
    of_reading = float((off[large] / true[large]).max(initial=0.0)) * 100
    return of_reading, float(off[~large].max(initial=0.0))


UNBALANCED_PERCENT = ((100.0, 100.0, 100.0), (73.0, 80.0, 87.0), (152.0, 140.0, 128.0))
"""Percent of Udin, 120 degrees apart: the unbalance of testing states 1 to 3."""
CLOCKS_PPM = (0.0, 31.0, -17.0)
START_NS = 1_800_000_000_123_456_789


def unbalance() -> Iterator[TestPoint]:
    for system in SYSTEMS:
        for state in STATES:
            worst = 0.0
            for magnitudes in UNBALANCED_PERCENT:
                # in closed form: at 120 degrees |a + t b + t2 c| is the same for u2 and u0
                a, b, c = magnitudes
                true = 100 * math.sqrt(a * a + b * b + c * c - a * b - b * c - c * a) / (a + b + c)
                for each in _found(system, state, magnitudes):
                    right = each.rotation == "abc"
                    off = max(abs(each.u2_percent - true), abs(each.u0_percent - true))
                    worst = max(worst, off if right else math.inf)
            yield TestPoint(
                "5.7", "unbalance u2, u0", f"{system.name}: 0 and 5 %, {state.name}", worst, 0.15, "%"
            )


def _found(system: SupplySystem, state: TestingState, magnitudes: tuple[float, ...]) -> list[Unbalance]:
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
            found += group.push_window(phase, PhaseWindow.of(window))
    return found


FLICKER_S = 600.0
PST = {"state 2": 1.0, "state 3": 4.0}
"""39 changes per minute of the table's size, 110 of four times its size; 61000-4-15:2010, table 5."""


def flicker() -> Iterator[TestPoint]:
    for system in SYSTEMS:
        for state in STATES:
            if state.name not in PST:
                continue
            volts, _ = voltage(system, state, FLICKER_S)
            pst = measured(volts, RATE_HZ, lamp_for(system.declared_v, system.nominal_hz)).pst
            true = PST[state.name]
            error = float("nan") if pst is None else 100 * abs(pst - true) / true
            where = f"{system.name}: Pst {true:g}, {state.name}"
            yield TestPoint("5.3", "flicker, Pst", where, error, 5.0, "% of reading")
