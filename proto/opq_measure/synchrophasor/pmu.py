"""Synchrophasors on the UTC grid: magnitude, angle, frequency and ROCOF, class P and M.

The samples need not fall on the grid: a phasor is computed at the sample nearest to the report's instant
and turned to that instant with its own frequency and ROCOF. The first of two passes finds the frequency, the
second is tuned to it, so that the mirror image and the harmonics stay in the zeros of the filter at
any frequency; a single phase is enough.

Source: IEEE C37.118.1-2011 with amendment C37.118.1a-2014, 4.2 (definitions), 5.3 (reporting), 5.5 (limits).
"""

import math
from dataclasses import dataclass

import numpy as np

from opq_measure.frequency.utc_run import SECOND_NS, UtcRun
from opq_measure.signal import FloatArray, SignalPiece, check_signal
from opq_measure.synchrophasor.filter import Filter, PmuClass, half_samples, shape_of, tuned

SQRT2 = math.sqrt(2)
NAN = math.nan
TUNED_SHARE = 0.1
"""The second pass follows the frequency this far from nominal, as a share of it: 5 or 6 Hz."""
FILTER_STEP_SHARE = 5e-4
"""Step of the frequencies that filters are made for, as a share of nominal: 25 or 30 mHz.

The image is then 130 dB down.
"""
VALID_POWER_SHARE = 0.1
"""Least share of the power in the filter's span that the fundamental must have for its phase to be valid."""
FAR_SHARE = 0.3
"""A frequency this share away from the tuned one is not the mains: noise, DC, a zero of the amplitude."""


@dataclass(frozen=True, slots=True)
class Phasor:
    """One report; NaN where there is no fundamental."""

    time_ns: int
    """UTC; a whole multiple of 1 / reports_per_s after the second, rounded down to nanoseconds."""
    rms_v: float
    angle_rad: float
    """-pi .. pi, against a cosine of the nominal frequency with its crest on the UTC second."""
    frequency_hz: float
    rocof_hz_s: float

    @property
    def value(self) -> complex:
        """The rms and angle as one complex number."""
        return complex(self.rms_v * np.exp(1j * self.angle_rad))


class Pmu:
    """Phasors of one signal as its pieces come in; any cutting into pieces gives the same reports.

    A report whose filter spans a gap, or the beginning of the run, is left out. Latency: `latency_s`.
    """

    def __init__(self, nominal_hz: float, reports_per_s: int, pmu_class: PmuClass = PmuClass.P) -> None:
        """
        Args:
            nominal_hz: 50 or 60; whole, since the reference is a cosine that begins again each second.
            reports_per_s: whole, from 1 to four times `nominal_hz`.
        Raises:
            ValueError: `nominal_hz` is not a whole number from 10 to 400, or `reports_per_s` is not as above.
        """
        if nominal_hz != int(nominal_hz) or not 10 <= nominal_hz <= 400:
            raise ValueError(f"nominal_hz is {nominal_hz}, want a whole number from 10 to 400")
        if reports_per_s != int(reports_per_s) or not 1 <= reports_per_s <= 4 * nominal_hz:
            raise ValueError(
                f"reports_per_s is {reports_per_s}, want a whole number up to {4 * nominal_hz:g}"
            )
        self.nominal_hz = float(nominal_hz)
        self.reports_per_s = int(reports_per_s)
        self.pmu_class = pmu_class
        self._shape = shape_of(pmu_class, self.nominal_hz, self.reports_per_s)
        self._run = UtcRun()
        self._report = 0

    @property
    def latency_s(self) -> float:
        """Time from a report's instant to the last sample it needs: half of the longest filter."""
        return self._shape.cycles / 2 / (self.nominal_hz * (1 - TUNED_SHARE))

    def push_samples(self, samples: SignalPiece) -> list[Phasor]:
        """The reports that these samples complete.

        Raises:
            ValueError: see `signal.check_signal`; or `start_ns` is not known.
        """
        check_signal(samples.volts, samples.rate_hz, self.nominal_hz)
        run = self._run
        if run.push_samples(samples):
            self._report = run.count_from(run.first + self._margin(run.rate_hz), self.reports_per_s)
        if run.rate_hz == 0.0:
            return []
        margin = self._margin(run.rate_hz)
        found = []
        while True:
            position = run.position(self._report, self.reports_per_s)
            middle = round(position)
            if middle + margin >= run.end:
                break
            if middle - margin >= run.first:
                found.append(self._phasor(middle, position - middle))
            self._report += 1
        run.discard_before(middle - margin - 1)
        return found

    def _margin(self, rate_hz: float) -> int:
        omega = 2 * np.pi * self.nominal_hz / rate_hz
        return half_samples(self._shape, omega * (1 - TUNED_SHARE)) + 1

    def _phasor(self, middle: int, rest: float) -> Phasor:
        nominal = 2 * np.pi * self.nominal_hz / self._run.rate_hz
        low, high = nominal * (1 - TUNED_SHARE), nominal * (1 + TUNED_SHARE)
        first = self._filtered(middle, nominal)
        own = min(max(first.omega, low), high) if math.isfinite(first.omega) else nominal
        best = self._filtered(
            middle, max(low, nominal * round(own / nominal / FILTER_STEP_SHARE) * FILTER_STEP_SHARE)
        )
        return self._reported(best, rest)

    def _filtered(self, middle: int, omega: float) -> "_Taken":
        tuned_to = tuned(self._shape, omega)
        return _taken(self._run.frame(middle - tuned_to.half, middle + tuned_to.half + 1), tuned_to)

    def _reported(self, taken: "_Taken", rest: float) -> Phasor:
        report, rate_hz, gain = self._report, self._run.rate_hz, self._run.gain
        time_ns = report * SECOND_NS // self.reports_per_s
        if not math.isfinite(taken.omega):
            return Phasor(time_ns, abs(taken.phasor) * gain / SQRT2, NAN, NAN, NAN)
        turn = self.nominal_hz * (report % self.reports_per_s) / self.reports_per_s % 1.0
        angle = (
            float(np.angle(taken.phasor))
            + taken.omega * rest
            + taken.bend * rest * rest / 2
            - 2 * np.pi * turn
        )
        return Phasor(
            time_ns,
            abs(taken.phasor) * (1 + taken.growth * rest) * gain / SQRT2,
            float(np.remainder(angle + np.pi, 2 * np.pi) - np.pi),
            taken.omega * rate_hz / (2 * np.pi),
            taken.bend * rate_hz**2 / (2 * np.pi),
        )


@dataclass(frozen=True, slots=True)
class _Taken:
    """Peak phasor at a sample; growth of its logarithm, frequency and its rise, per sample; NaN: unknown."""

    phasor: complex
    growth: float
    omega: float
    bend: float


def _taken(frame: FloatArray, filter_: Filter) -> _Taken:
    real, imag, slope_real, slope_imag, bend_real, bend_imag = filter_.of(frame)
    phasor = complex(real, imag)
    power = filter_.power(frame)
    if not abs(phasor) ** 2 / 2 > VALID_POWER_SHARE * power or abs(phasor) < 1e-12:
        return _Taken(phasor, 0.0, NAN, NAN)
    rise = complex(slope_real, slope_imag) / phasor
    if abs(rise.imag) > FAR_SHARE * filter_.omega:
        return _Taken(phasor, 0.0, NAN, NAN)
    bend = complex(bend_real, bend_imag) / phasor - rise * rise
    phasor /= filter_.gain(rise.imag)
    return _Taken(phasor, rise.real, filter_.omega + rise.imag, bend.imag)


def phasors(samples: SignalPiece, nominal_hz: float, reports_per_s: int, pmu_class: PmuClass) -> list[Phasor]:
    """All reports of one piece, computed by `Pmu`."""
    return Pmu(nominal_hz, reports_per_s, pmu_class).push_samples(samples)
