"""Limits of IEEE C37.118.1-2011 with C37.118.1a-2014 for phasors; written from memory, not from the text.

No figure is verified against the text. Where the two documents differ, or memory is doubtful, the stricter
limit that is known to be reachable is used; a limit that the amendment suspended (ROCOF of class M with
harmonics and out-of-band interference) is None: the error is reported without a verdict.
"""

from dataclasses import dataclass
from math import pi

from opq_measure.synchrophasor.filter import PmuClass


@dataclass(frozen=True, slots=True)
class PhasorLimit:
    """Largest TVE, frequency error and ROCOF error; None where there is no limit."""

    tve_percent: float | None
    fe_hz: float | None
    rfe_hz_s: float | None


@dataclass(frozen=True, slots=True)
class PhasorLimits:
    """The limits of one class, nominal frequency and reporting rate."""

    pmu_class: PmuClass
    nominal_hz: float
    reports_per_s: int

    @property
    def protects(self) -> bool:
        return self.pmu_class is PmuClass.P

    @property
    def reach_hz(self) -> float:
        """Range of frequencies on either side of nominal; tables 3 and 7."""
        if self.protects:
            return 2.0
        return 2.0 if self.reports_per_s < 10 else min(self.reports_per_s / 5, 5.0)

    @property
    def harmonic_share(self) -> float:
        """Share of each harmonic to the 50th, one at a time; table 3."""
        return 0.01 if self.protects else 0.10

    @property
    def modulation_hz(self) -> float:
        """Highest frequency of modulation; table 5."""
        return min(self.reports_per_s / 10, 2.0) if self.protects else min(self.reports_per_s / 5, 5.0)

    def frequency_range(self) -> PhasorLimit:
        """Limit over frequency, magnitude and phase; tables 3 and 4."""
        return PhasorLimit(1.0, 0.005, 0.4 if self.protects else 0.1)

    def harmonics(self) -> PhasorLimit:
        """Limit with harmonics; tables 3 and 4."""
        if self.protects:
            return PhasorLimit(1.0, 0.005, 0.4)
        return PhasorLimit(1.0, 0.025 if self.reports_per_s > 20 else 0.005, None)

    def out_of_band(self) -> PhasorLimit:
        """Limit with out-of-band interference; tables 3 and 4, class M only."""
        return PhasorLimit(1.3, 0.010, None)

    def modulation(self) -> PhasorLimit:
        """Tables 5 and 6: with Fr, the highest frequency of modulation, 0.03 (0.06) Fr and 0.18 pi Fr^2."""
        highest = self.modulation_hz
        return PhasorLimit(3.0, (0.03 if self.protects else 0.06) * highest, 0.18 * pi * highest**2)

    def ramp(self) -> PhasorLimit:
        """Limit on the frequency ramp; tables 7 and 8."""
        return PhasorLimit(1.0, 0.010, 0.4 if self.protects else 0.2)

    @property
    def ramp_exclusion_s(self) -> float:
        """Time around the ramp's ends without a limit; table 7."""
        return (2 if self.protects else 7) / self.reports_per_s

    @property
    def response_s(self) -> tuple[float, float, float]:
        """Response times of phasor, frequency and ROCOF; tables 9 and 10."""
        if self.protects:
            return 1.7 / self.nominal_hz, 3.5 / self.nominal_hz, 4.0 / self.nominal_hz
        slower = min(self.nominal_hz, self.reports_per_s)
        return 7 / slower, 14 / slower, 14 / slower

    @property
    def delay_s(self) -> float:
        return 1 / (4 * self.reports_per_s)

    @property
    def overshoot_percent(self) -> float:
        """Largest overshoot in percent of the step."""
        return 5.0 if self.protects else 10.0

    @property
    def latency_s(self) -> float:
        """Largest latency; table 11 (12 in 2011)."""
        return (2 if self.protects else 7) / self.reports_per_s
