"""A disturbance of a class other than the rms ones: no residual and no verdict, but its own figures."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from opq_measure.written_numbers import significant

ON_FIRST_SAMPLES = 0.01
"""Positions before sample 0 or this near to it count as 0: edges fitted there are off by a little."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """`start_sample` .. `end_sample` are fractional samples of the signal; times count from its sample 0.

    `figures` are the numbers of its class, with units in their names. `open`: it lasts to the end of the
    signal, and `end_s` is None; `open_at_start`: it is there from the signal's beginning on.
    """

    kind: str
    start_sample: float
    end_sample: float
    rate_hz: float
    nominal_hz: float
    confidence: float
    """0 .. 1: the probability that its figure is truly beyond the threshold, given its uncertainty; below 0.5
    where the figure is a mean, and much of its time lies between the threshold and its hysteresis."""
    because: str
    figures: Mapping[str, float] = field(default_factory=dict)
    open: bool = False
    open_at_start: bool = False

    @property
    def start_s(self) -> float:
        return self.start_sample / self.rate_hz

    @property
    def end_s(self) -> float | None:
        return None if self.open else self.end_sample / self.rate_hz

    @property
    def duration_s(self) -> float:
        """Its duration so far while it is open."""
        return (self.end_sample - self.start_sample) / self.rate_hz

    def within(self) -> "Occurrence":
        """A copy in which positions before sample 0, or within rounding of it, are 0."""
        return replace(
            self, start_sample=from_sample_0(self.start_sample), end_sample=from_sample_0(self.end_sample)
        )

    def entry(self) -> dict[str, object]:
        """The JSON object of the analyze contract's `events`, with its figures."""
        return {
            "class": self.kind,
            "ieee1159": None,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "open": self.open,
            "open_at_start": self.open_at_start,
            "duration_s": self.duration_s,
            "duration_cycles": self.duration_s * self.nominal_hz,
            "residual_v": None,
            "residual_percent": None,
            "itic": None,
            "semi_f47": None,
            "confidence": self.confidence,
            "because": self.because,
            **{name: value if math.isfinite(value) else None for name, value in self.figures.items()},
        }


def from_sample_0(position: float) -> float:
    """The position, or 0.0 where it is before the first sample or within rounding of it."""
    return position if position > ON_FIRST_SAMPLES else 0.0


def transient_because(peak_v: float, peak_pu: float, frequency_hz: float, sigmas: float) -> str:
    """Why something is a transient; `frequency_hz` is NaN for an impulse, `sigmas` is of its whole energy."""
    ringing = f" of {frequency_hz:.0f} Hz" if math.isfinite(frequency_hz) else ""
    return (
        f"{significant(peak_v, 4, sign=True)} V{ringing}, {100 * peak_pu:.1f} % of the fundamental's peak, "
        f"{sigmas:.1f} sigma of the noise by its whole energy"
    )


def confidence_of(value: float, threshold: float, sigma: float) -> float:
    """The probability that a quantity measured as `value` is beyond `threshold`, for a normal error."""
    if not sigma > 0:
        return 1.0
    return 0.5 * (1 + math.erf((value - threshold) / (sigma * math.sqrt(2))))
