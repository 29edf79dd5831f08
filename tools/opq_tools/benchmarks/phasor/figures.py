"""Synchrophasors against C37.118.1: TVE, FE and RFE of each steady-state and dynamic test, step responses.

Each row is the worst error of one test and class beside its limit (`limit`, from memory: see
phasor_limits.py); signals and truth are closed forms. Samples come at 12 000.37 per second, off the
reporting grid. The baseline is the limit of 1 % TVE over the range of frequencies, class M, 60/s.
"""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from opq_measure.synchrophasor.filter import PmuClass
from opq_measure.synchrophasor.pmu import Pmu
from opq_tools.bench import Baseline, Case, Result, case
from opq_tools.benchmarks.phasor.errors import Errors, Unit
from opq_tools.benchmarks.phasor.limits import Limit
from opq_tools.benchmarks.phasor.signals import steady
from opq_tools.benchmarks.phasor.steps import steps
from opq_tools.benchmarks.phasor.tests import limits_of, steady_and_dynamic

RATES: dict[int, tuple[int, ...]] = {50: (10, 25, 50, 100), 60: (10, 30, 60, 120)}
QUICK_RATES: dict[int, tuple[int, ...]] = {50: (50,), 60: (10, 60)}
SHIFTS, QUICK_SHIFTS = 20, 8
SUSPENDED = "told without a limit: suspended by C37.118.1a-2014"
NOT_REQUIRED = "told without a limit: a rate that the standard does not require"


def rows_of(name: str, errors: Errors, limit: Limit) -> list[Case]:
    """TVE, FE and RFE of one test."""
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


def unit_rows(unit: Unit, dense: bool) -> Iterator[Case]:
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
            yield replace(case(f"{unit.name} {test}: {quantity}", unit_name, [value]), limit=most)
    row = case(f"{unit.name} latency", "ms", [unit.latency_s * 1e3])
    required = unit.reports_per_s <= unit.nominal_hz
    yield replace(
        row, limit=limits.latency_s * 1e3 if required else None, because="" if required else NOT_REQUIRED
    )


def cpu_ms_per_s(unit: Unit) -> float:
    """CPU of a second of 12 kS/s in pieces of 0.2 s."""
    signal = steady(unit.nominal_hz, unit.nominal_hz + 0.02)
    pieces = [signal.samples(0.2 * number, 0.2 * (number + 1)) for number in range(50)]
    whole = np.concatenate([piece.volts for piece in pieces])
    pmu = Pmu(unit.nominal_hz, unit.reports_per_s, unit.pmu_class)
    began, at = time.process_time(), 0
    for piece in pieces:
        pmu.push(replace(piece, first_sample=at))
        at += len(piece.volts)
    return (time.process_time() - began) * 1e3 / (len(whole) / 12_000)


def units(rates: dict[int, tuple[int, ...]]) -> Iterator[Unit]:
    for nominal_hz, all_rates in rates.items():
        for rate in all_rates:
            for pmu_class in PmuClass:
                yield Unit(pmu_class, nominal_hz, rate)


def run(quick: bool) -> Result:
    """Takes some minutes; `quick` some 20 s."""
    rows: list[Case] = []
    for unit in units(QUICK_RATES if quick else RATES):
        rows += unit_rows(unit, dense=not quick)
        rows.append(case(f"{unit.name} CPU", "ms/s", [cpu_ms_per_s(unit)]))
    judged = next(row for row in rows if row.case == "M 60 Hz 60/s frequency range: TVE")
    base = Baseline("M 60 Hz 60/s frequency range: TVE: limit", judged.limit or 0.0, "%")
    return Result(tuple(rows), base, judged.value / base.value)
