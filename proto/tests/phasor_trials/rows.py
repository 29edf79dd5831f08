"""Errors of each steady-state and dynamic test of C37.118.1, and the step responses, beside each limit.

Each row is the worst error of one test and class with its limit (from memory: see phasor_limits.py); signals
and truth are closed forms. Samples come at 12 000.37 per second, off the reporting grid.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from opq_measure.synchrophasor.filter import PmuClass
from phasor_trials.phasor_limits import PhasorLimit, PhasorLimits
from phasor_trials.signals import disturbed, modulated, ramp, steady
from phasor_trials.units import PhasorErrors, ReportingUnit, joined, steps

SHIFTS, QUICK_SHIFTS = 20, 8


@dataclass(frozen=True, slots=True)
class PhasorRow:
    """The worst error of one test.

    `limit` None: suspended by C37.118.1a-2014, or the standard does not require this reporting rate.
    """

    name: str
    unit: str
    value: float
    limit: float | None

    @property
    def line(self) -> str:
        limit = "no limit" if self.limit is None else f"of {self.limit:.4g}"
        return f"{self.name:<60} {self.value:10.4g} {limit} {self.unit}"

    @property
    def met(self) -> bool:
        return self.limit is None or self.value <= self.limit  # False for NaN


def rows_of(name: str, errors: PhasorErrors, limit: PhasorLimit) -> Iterator[PhasorRow]:
    """Rows of TVE, FE and RFE of one test."""
    for quantity, unit, values, most in (
        ("TVE", "%", errors.tve_percent, limit.tve_percent),
        ("FE", "mHz", errors.fe_hz * 1e3, None if limit.fe_hz is None else limit.fe_hz * 1e3),
        ("RFE", "Hz/s", errors.rfe_hz_s, limit.rfe_hz_s),
    ):
        yield PhasorRow(f"{name}: {quantity}", unit, float(np.max(values)), most)


def unit_rows(unit: ReportingUnit, dense: bool) -> Iterator[PhasorRow]:
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
            yield PhasorRow(f"{unit.name} {test}: {quantity}", unit_name, value, most)
    required = unit.reports_per_s <= unit.nominal_hz
    most_ms = limits.latency_s * 1e3 if required else None
    yield PhasorRow(f"{unit.name} latency", "ms", unit.latency_s * 1e3, most_ms)


def units(rates: dict[int, tuple[int, ...]]) -> Iterator[ReportingUnit]:
    for nominal_hz, all_rates in rates.items():
        for rate in all_rates:
            for pmu_class in PmuClass:
                yield ReportingUnit(pmu_class, nominal_hz, rate)


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
