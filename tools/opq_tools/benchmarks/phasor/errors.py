"""What a phasor measurement unit makes of a test signal, held against the truth."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_measure.synchrophasor.filter import PmuClass
from opq_measure.synchrophasor.pmu import Phasor, Pmu
from opq_tools.benchmarks.phasor.signals import EPOCH_NS, Signal

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Errors:
    """Total vector error, frequency error and ROCOF error of reports at times `t` (seconds)."""

    t: Floats
    tve_percent: Floats
    fe_hz: Floats
    rfe_hz_s: Floats

    def where(self, chosen: NDArray[np.bool_]) -> "Errors":
        return Errors(self.t[chosen], self.tve_percent[chosen], self.fe_hz[chosen], self.rfe_hz_s[chosen])


@dataclass(frozen=True, slots=True)
class Unit:
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

    def reports(self, signal: Signal, start_s: float, stop_s: float) -> tuple[Floats, list[Phasor]]:
        """Reports from `start_s` to `stop_s` and their times; the samples around them are made."""
        pmu = Pmu(self.nominal_hz, self.reports_per_s, self.pmu_class)
        spare_s = pmu.latency_s + 2 / self.reports_per_s
        found = pmu.push(signal.samples(start_s - spare_s, stop_s + spare_s))
        first = int(np.ceil(start_s * self.reports_per_s))
        last = int(np.floor(stop_s * self.reports_per_s))
        offset = round((found[0].time_ns - EPOCH_NS) * self.reports_per_s / 1e9)
        wanted = found[first - offset : last + 1 - offset]
        return np.arange(first, last + 1) / self.reports_per_s, wanted

    def errors(self, signal: Signal, start_s: float, stop_s: float) -> Errors:
        """Against the truth, at every report."""
        t, found = self.reports(signal, start_s, stop_s)
        truth = signal.truth(t)
        value = np.array([report.value for report in found])
        frequency = np.array([report.frequency_hz for report in found])
        rocof = np.array([report.rocof_hz_s for report in found])
        return Errors(
            t,
            100 * np.abs(value - truth.phasor) / np.abs(truth.phasor),
            np.abs(frequency - truth.frequency_hz),
            np.abs(rocof - truth.rocof_hz_s),
        )


def joined(parts: Iterable[Errors]) -> Errors:
    """All errors, in the order of time."""
    parts = list(parts)
    t = np.concatenate([part.t for part in parts])
    order = np.argsort(t, kind="stable")
    return Errors(
        t[order],
        np.concatenate([part.tve_percent for part in parts])[order],
        np.concatenate([part.fe_hz for part in parts])[order],
        np.concatenate([part.rfe_hz_s for part in parts])[order],
    )
