"""Synchrophasors against C37.118.1: TVE, FE and RFE of each steady-state and dynamic test, step responses.

Each row is the worst error of one test and class with its limit (`limit`, from memory: see
phasor_limits.py); signals and truth are closed forms. Samples come at 12 000.37 per second, off the
reporting grid. The baseline is the limit of 1 % TVE over the range of frequencies, class M, 60/s.
"""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bench.phasor.limits import PhasorLimit, PhasorLimits
from bench.phasor.signals import disturbed, modulated, ramp, steady
from bench.phasor.units import PhasorErrors, ReportingUnit, joined, steps
from bench.result import Baseline, BenchCase, BenchResult, case
from opq_measure.synchrophasor.filter import PmuClass
from opq_measure.synchrophasor.pmu import Pmu

RATES: dict[int, tuple[int, ...]] = {50: (10, 25, 50, 100), 60: (10, 30, 60, 120)}
QUICK_RATES: dict[int, tuple[int, ...]] = {50: (50,), 60: (10, 60)}
SHIFTS, QUICK_SHIFTS = 20, 8
SUSPENDED = "no limit: suspended by C37.118.1a-2014"
NOT_REQUIRED = "no limit: a rate that the standard does not require"


def rows_of(name: str, errors: PhasorErrors, limit: PhasorLimit) -> list[BenchCase]:
    """Rows of TVE, FE and RFE of one test."""
    found = []
    for quantity, unit, values, most in (
        ("TVE", "%", errors.tve_percent, limit.tve_percent),
        ("FE", "mHz", errors.fe_hz * 1e3, None if limit.fe_hz is None else limit.fe_hz * 1e3),
        ("RFE", "Hz/s", errors.rfe_hz_s, limit.rfe_hz_s),
    ):
        worst = float(np.max(values))
        row = case(f"{name}: {quantity}", unit, values.tolist(), worst)
        found.append(replace(row, limit=most, because=SUSPENDED if most is None else ""))
    return found


def unit_rows(unit: ReportingUnit, dense: bool) -> Iterator[BenchCase]:
    """All rows of one class, nominal frequency and reporting rate."""
    limits = limits_of(unit)
    for test, errors, limit in steady_and_dynamic(unit, dense):
        yield from rows_of(f"{unit.name} {test}", errors, limit)
    for test, found in steps(unit, limits, SHIFTS if dense else QUICK_SHIFTS):
        for quantity, unit_name, value, most in (
            ("phasor response", "ms", found.phasor_s * 1e3, limits.response_s[0] * 1e3),
            ("frequency response", "ms", found.frequency_s * 1e3, limits.response_s[1] * 1e3),
            ("ROCOF response", "ms", found.rocof_s * 1e3, limits.response_s[2] * 1e3),
            ("delay", "ms", found.delay_s * 1e3, limits.delay_s * 1e3),
            ("overshoot", "%", found.overshoot_percent, limits.overshoot_percent),
        ):
            yield case(f"{unit.name} {test}: {quantity}", unit_name, [value], limit=most)
    row = case(f"{unit.name} latency", "ms", [unit.latency_s * 1e3])
    required = unit.reports_per_s <= unit.nominal_hz
    yield replace(
        row, limit=limits.latency_s * 1e3 if required else None, because="" if required else NOT_REQUIRED
    )


def cpu_ms_per_s(unit: ReportingUnit) -> float:
    """CPU for a second of 12 kS/s in pieces of 0.2 s."""
    signal = steady(unit.nominal_hz, unit.nominal_hz + 0.02)
    pieces = [signal.samples(0.2 * number, 0.2 * (number + 1)) for number in range(50)]
    whole = np.concatenate([piece.volts for piece in pieces])
    pmu = Pmu(unit.nominal_hz, unit.reports_per_s, unit.pmu_class)
    began, at = time.process_time(), 0
    for piece in pieces:
        pmu.push_samples(replace(piece, first_sample=at))
        at += len(piece.volts)
    return (time.process_time() - began) * 1e3 / (len(whole) / 12_000)


def units(rates: dict[int, tuple[int, ...]]) -> Iterator[ReportingUnit]:
    for nominal_hz, all_rates in rates.items():
        for rate in all_rates:
            for pmu_class in PmuClass:
                yield ReportingUnit(pmu_class, nominal_hz, rate)


def run(quick: bool) -> BenchResult:
    """Takes some minutes; `quick` some 20 s."""
    rows: list[BenchCase] = []
    for unit in units(QUICK_RATES if quick else RATES):
        rows += unit_rows(unit, dense=not quick)
        rows.append(case(f"{unit.name} CPU", "ms/s", [cpu_ms_per_s(unit)]))
    judged = next(row for row in rows if row.case == "M 60 Hz 60/s frequency range: TVE")
    base = Baseline("M 60 Hz 60/s frequency range: TVE: limit", judged.limit or 0.0, "%")
    return BenchResult(tuple(rows), base, judged.value / base.value)


def limits_of(unit: ReportingUnit) -> PhasorLimits:
    return PhasorLimits(unit.pmu_class, unit.nominal_hz, unit.reports_per_s)


def steady_and_dynamic(unit: ReportingUnit, dense: bool) -> Iterator[tuple[str, PhasorErrors, PhasorLimit]]:
    """Name, errors and limits of every test but the steps."""
    limits = limits_of(unit)
    yield "frequency range", _frequency_range(unit, limits, dense), limits.frequency_range()
    yield "magnitude", _magnitude(unit, dense), limits.frequency_range()
    yield "phase angle", _phase(unit, dense), limits.frequency_range()
    yield "harmonics", _harmonics(unit, limits, dense), limits.harmonics()
    if unit.pmu_class is PmuClass.M and unit.reports_per_s / 2 < unit.nominal_hz:
        yield "out-of-band", _out_of_band(unit, dense), limits.out_of_band()
    yield "amplitude modulation", _modulation(unit, limits, 0.1, 0.0, dense), limits.modulation()
    yield "phase modulation", _modulation(unit, limits, 0.0, 0.1, dense), limits.modulation()
    yield "both modulated (2011)", _modulation(unit, limits, 0.1, 0.1, dense), limits.modulation()
    yield "frequency ramp", _ramp(unit, limits), limits.ramp()


def _length_s(unit: ReportingUnit) -> float:
    """Seconds with enough reports to cover every phase of a ripple."""
    return max(0.5, 12 / unit.reports_per_s)


def _frequency_range(unit: ReportingUnit, limits: PhasorLimits, dense: bool) -> PhasorErrors:
    reach = limits.reach_hz
    off = np.linspace(-reach, reach, 21 if dense else 5)
    signals = [steady(unit.nominal_hz, unit.nominal_hz + float(hz), turns=0.2) for hz in off]
    return joined(unit.errors(signal, 0.0, _length_s(unit)) for signal in signals)


def _magnitude(unit: ReportingUnit, dense: bool) -> PhasorErrors:
    low, high = (0.8, 1.2) if unit.pmu_class is PmuClass.P else (0.1, 1.2)
    sizes = np.linspace(low, high, 12 if dense else 3)
    signals = [steady(unit.nominal_hz, unit.nominal_hz, float(size)) for size in sizes]
    return joined(unit.errors(signal, 0.0, 0.3) for signal in signals)


def _phase(unit: ReportingUnit, dense: bool) -> PhasorErrors:
    turns = np.linspace(-0.5, 0.5, 13 if dense else 3)
    signals = [steady(unit.nominal_hz, unit.nominal_hz + 0.2, turns=float(turn)) for turn in turns]
    return joined(unit.errors(signal, 0.0, 0.3) for signal in signals)


def _harmonics(unit: ReportingUnit, limits: PhasorLimits, dense: bool) -> PhasorErrors:
    orders = range(2, 51) if dense else (2, 3, 5, 7, 25, 50)
    share = limits.harmonic_share
    signals = [
        disturbed(unit.nominal_hz, unit.nominal_hz, order * unit.nominal_hz, share) for order in orders
    ]
    return joined(unit.errors(signal, 0.0, 0.3) for signal in signals)


def _out_of_band(unit: ReportingUnit, dense: bool) -> PhasorErrors:
    nominal, nyquist = unit.nominal_hz, unit.reports_per_s / 2
    tones: list[float] = []
    for edge, end in ((nominal - nyquist, 10.0), (nominal + nyquist, 2.0 * nominal)):
        if (edge - end) * (nominal - end) > 0 or edge == end:
            tones += [float(hz) for hz in np.linspace(edge, end, 12 if dense else 4)]
    own = [nominal + share * nyquist for share in (-0.1, 0.0, 0.1)]
    signals = [disturbed(nominal, hz, tone, 0.1) for hz in own for tone in tones]
    return joined(unit.errors(signal, 0.0, _length_s(unit)) for signal in signals)


def _modulation(
    unit: ReportingUnit, limits: PhasorLimits, amplitude: float, phase_rad: float, dense: bool
) -> PhasorErrors:
    highest = limits.modulation_hz
    shares = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if dense else (0.5, 1.0)
    signals = [modulated(unit.nominal_hz, share * highest, amplitude, phase_rad) for share in shares]
    spans = [max(0.5, 2 / (share * highest)) for share in shares]
    return joined(unit.errors(signal, 0.0, span) for signal, span in zip(signals, spans, strict=True))


def _ramp(unit: ReportingUnit, limits: PhasorLimits) -> PhasorErrors:
    """Errors on the ramp and on both sides; near its two ends there is no limit."""
    low, high = unit.nominal_hz - limits.reach_hz, unit.nominal_hz + limits.reach_hz
    parts = []
    for start, stop in ((low, high), (high, low)):
        length = abs(stop - start)
        found = unit.errors(ramp(unit.nominal_hz, start, stop, 1.0), -1.5, length + 1.5)
        away = np.minimum(np.abs(found.t), np.abs(found.t - length))
        parts.append(found.where(away >= limits.ramp_exclusion_s))
    return joined(parts)
