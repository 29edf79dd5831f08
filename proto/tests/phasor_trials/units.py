"""Compares the reports of a phasor measurement unit for a test signal with the true values."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_measure.synchrophasor.filter import PmuClass
from opq_measure.synchrophasor.pmu import Phasor, Pmu
from phasor_trials.phasor_limits import PhasorLimits
from phasor_trials.signals import EPOCH_NS, TestSignal, step

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PhasorErrors:
    """Total vector error, frequency error and ROCOF error of reports at times `t` (seconds)."""

    t: Floats
    tve_percent: Floats
    fe_hz: Floats
    rfe_hz_s: Floats

    def where(self, chosen: NDArray[np.bool_]) -> "PhasorErrors":
        return PhasorErrors(
            self.t[chosen], self.tve_percent[chosen], self.fe_hz[chosen], self.rfe_hz_s[chosen]
        )


@dataclass(frozen=True, slots=True)
class ReportingUnit:
    """A class, nominal frequency and reporting rate."""

    pmu_class: PmuClass
    nominal_hz: int
    reports_per_s: int

    @property
    def name(self) -> str:
        return f"{self.pmu_class.value} {self.nominal_hz} Hz {self.reports_per_s}/s"

    @property
    def latency_s(self) -> float:
        return Pmu(self.nominal_hz, self.reports_per_s, self.pmu_class).latency_s

    def reports(self, signal: TestSignal, start_s: float, stop_s: float) -> tuple[Floats, list[Phasor]]:
        """Reports from `start_s` to `stop_s` and their times; makes the samples that they need."""
        pmu = Pmu(self.nominal_hz, self.reports_per_s, self.pmu_class)
        spare_s = pmu.latency_s + 2 / self.reports_per_s
        found = pmu.push_samples(signal.samples(start_s - spare_s, stop_s + spare_s))
        first = int(np.ceil(start_s * self.reports_per_s))
        last = int(np.floor(stop_s * self.reports_per_s))
        offset = round((found[0].time_ns - EPOCH_NS) * self.reports_per_s / 1e9)
        wanted = found[first - offset : last + 1 - offset]
        return np.arange(first, last + 1) / self.reports_per_s, wanted

    def errors(self, signal: TestSignal, start_s: float, stop_s: float) -> PhasorErrors:
        """Errors of every report against the true values."""
        t, found = self.reports(signal, start_s, stop_s)
        truth = signal.truth(t)
        value = np.array([report.value for report in found])
        frequency = np.array([report.frequency_hz for report in found])
        rocof = np.array([report.rocof_hz_s for report in found])
        return PhasorErrors(
            t,
            100 * np.abs(value - truth.phasor) / np.abs(truth.phasor),
            np.abs(frequency - truth.frequency_hz),
            np.abs(rocof - truth.rocof_hz_s),
        )


def joined(parts: Iterable[PhasorErrors]) -> PhasorErrors:
    """Joins all errors, in the order of time."""
    parts = list(parts)
    t = np.concatenate([part.t for part in parts])
    order = np.argsort(t, kind="stable")
    return PhasorErrors(
        t[order],
        np.concatenate([part.tve_percent for part in parts])[order],
        np.concatenate([part.fe_hz for part in parts])[order],
        np.concatenate([part.rfe_hz_s for part in parts])[order],
    )


SIZE = 0.1
ANGLE_RAD = np.pi / 18
TVE_PERCENT, FE_HZ = 1.0, 0.005


@dataclass(frozen=True, slots=True)
class StepResponse:
    """Response times in s, delay in s, overshoot in percent of the step."""

    phasor_s: float
    frequency_s: float
    rocof_s: float
    delay_s: float
    overshoot_percent: float


def steps(unit: ReportingUnit, limits: PhasorLimits, shifts: int) -> Iterator[tuple[str, StepResponse]]:
    """Both kinds of step, up and down; the worse of each pair."""
    for name, size, angle_rad in (("magnitude step", SIZE, 0.0), ("phase step", 0.0, ANGLE_RAD)):
        both = [_step(unit, limits, sign * size, sign * angle_rad, shifts) for sign in (1.0, -1.0)]
        yield name, max(both, key=lambda found: found.phasor_s)


def _step(
    unit: ReportingUnit, limits: PhasorLimits, size: float, angle_rad: float, shifts: int
) -> StepResponse:
    reach_s = max(2.2 * unit.latency_s, 4 / unit.reports_per_s)
    parts: list[PhasorErrors] = []
    times: list[Floats] = []
    values: list[Floats] = []
    for number in range(shifts):
        at_s = (number + 0.37) / shifts / unit.reports_per_s
        signal = step(unit.nominal_hz, at_s, size, angle_rad)
        found = unit.errors(signal, at_s - reach_s, at_s + reach_s)
        t, reports = unit.reports(signal, at_s - reach_s, at_s + reach_s)
        moved = [np.angle(r.value) / angle_rad if angle_rad else (abs(r.value) - 1) / size for r in reports]
        parts.append(PhasorErrors(found.t - at_s, found.tve_percent, found.fe_hz, found.rfe_hz_s))
        times.append(t - at_s)
        values.append(np.array(moved))
    errors = joined(parts)
    t = np.concatenate(times)
    order = np.argsort(t)
    t, moved_share = t[order], np.concatenate(values)[order]
    rfe = limits.frequency_range().rfe_hz_s or 0.0
    half = int(np.argmax(moved_share >= 0.5))
    crossed = float(np.interp(0.5, moved_share[half - 1 : half + 1], t[half - 1 : half + 1]))
    return StepResponse(
        _longest(errors.t, errors.tve_percent > TVE_PERCENT),
        _longest(errors.t, errors.fe_hz > FE_HZ),
        _longest(errors.t, errors.rfe_hz_s > rfe),
        abs(crossed),
        100 * float(max(moved_share.max() - 1, -moved_share.min(), 0.0)),
    )


def _longest(t: Floats, over: NDArray[np.bool_]) -> float:
    """Seconds from the first time that the error exceeds its limit to its final return."""
    outside = np.flatnonzero(over)
    return float(t[min(outside[-1] + 1, len(t) - 1)] - t[outside[0]]) if len(outside) else 0.0
