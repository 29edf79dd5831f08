"""One dip, swell or interruption, with its name and its verdicts.

A dip is one event for its whole length and is named after its deepest value: below the interruption
threshold an interruption (IEC 61000-4-30:2015, 5.5: every voltage interruption of a single-phase system is at
the same time a dip), otherwise a sag; longer than 60 s an undervoltage.

Source: names IEEE 1159-2019; verdicts `events.curves`.
"""

import math
from dataclasses import dataclass

from opq_measure.events.curves import (
    TEMPORARY_S,
    IticVerdict,
    SemiF47Verdict,
    below,
    ieee1159,
    itic,
    lasting_words,
    semi_f47,
)
from opq_measure.events.limits import Limits

RMS_SIGMA_PERCENT = 0.1
"""Standard uncertainty of Urms(1/2): class A has 0.2 % of Udin (4-30:2015, 5.4.5.1), taken as 2 sigma."""

RESOLUTION_SAMPLES = 3.0
"""A measured duration may exceed the true one by this much, which is subtracted before the verdicts."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One rms event. Positions are fractional samples of the signal, times count from its sample 0.

    `residual_*` is the lowest Urms(1/2) of a dip, the highest of a swell. While `open` at the end of the
    signal, `end_s` is None and durations are those seen so far. `open_at_start`: it had begun
    before the first cycle, so that its true start is not known. `duration_cycles` counts cycles as long as
    those before and after it.
    """

    kind: str
    ieee1159: str | None
    start_sample: float
    end_sample: float
    start_s: float
    end_s: float | None
    open: bool
    open_at_start: bool
    duration_s: float
    duration_cycles: float
    residual_v: float
    residual_percent: float
    itic: IticVerdict
    semi_f47: SemiF47Verdict
    confidence: float
    """0.5 .. 1: the probability that the residual is truly beyond the threshold, at class A uncertainty."""
    because: str
    number: int = 0
    """Its number within the Detector, from 0: that of its `Onset`."""

    def entry(self) -> dict[str, object]:
        """The JSON object of the analyze contract's `events`, and a little more."""
        return {
            "class": self.kind,
            "ieee1159": self.ieee1159,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "open": self.open,
            "open_at_start": self.open_at_start,
            "duration_s": self.duration_s,
            "duration_cycles": self.duration_cycles,
            "residual_v": self.residual_v,
            "residual_percent": self.residual_percent,
            "itic": self.itic,
            "semi_f47": self.semi_f47,
            "confidence": self.confidence,
            "because": self.because,
        }


@dataclass(frozen=True, slots=True)
class MeasuredRmsEvent:
    """The measured values of an rms event; `sign` is -1 for a dip, +1 for a swell."""

    number: int
    sign: int
    reference_v: float
    start_sample: float
    end_sample: float
    cycles: float
    residual_percent: float
    open: bool
    open_at_start: bool

    def named(self, rate_hz: float, nominal_hz: float, limits: Limits) -> Disturbance:
        """The Disturbance: these values with class, IEEE 1159 name, verdicts and the reason."""
        duration_s = (self.end_sample - self.start_sample) / rate_hz
        judged_s = max(0.0, duration_s - RESOLUTION_SAMPLES / rate_hz)
        percent, threshold = self.residual_percent, limits.threshold_percent(self.sign)
        beyond = self.sign * (percent - threshold) / RMS_SIGMA_PERCENT
        return Disturbance(
            kind=_kind(self.sign, percent, judged_s, limits),
            ieee1159=ieee1159(percent, judged_s, nominal_hz),
            start_sample=self.start_sample,
            end_sample=self.end_sample,
            start_s=self.start_sample / rate_hz,
            end_s=None if self.open else self.end_sample / rate_hz,
            open=self.open,
            open_at_start=self.open_at_start,
            duration_s=duration_s,
            duration_cycles=self.cycles,
            residual_v=percent * self.reference_v / 100,
            residual_percent=percent,
            itic=itic(percent, judged_s),
            semi_f47="not_applicable" if self.sign > 0 else semi_f47(percent, judged_s),
            confidence=0.5 * (1 + math.erf(beyond / math.sqrt(2))),
            because=(
                f"Urms(1/2) {'below' if self.sign < 0 else 'above'} {threshold:g} % of "
                f"{self.reference_v:g} V for {lasting_words(self.cycles, duration_s)}, "
                f"{'lowest' if self.sign < 0 else 'highest'} {percent:.2f} %"
                f"{', still open' if self.open else ''}"
            ),
            number=self.number,
        )


def _kind(sign: int, residual_percent: float, duration_s: float, limits: Limits) -> str:
    long = duration_s > TEMPORARY_S
    if sign > 0:
        return "overvoltage" if long else "swell"
    if below(residual_percent, limits.interruption_percent):
        return "interruption"
    return "undervoltage" if long else "sag"
