"""A disturbance of another class than the rms ones: no residual and no verdict, but its own figures."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

ON_FIRST_SAMPLES = 0.01
"""A position as near to sample 0, or before it, is there: edges fitted at the first sample lie beside it."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """`start_sample` .. `end_sample` are fractional samples of the signal, times count from its sample 0.

    `figures` are the numbers of its class, with units in their names. While `open` at the end of the
    signal, `end_s` is None; `open_at_start`: it was there from the signal's beginning on.
    """

    kind: str
    start_sample: float
    end_sample: float
    rate_hz: float
    nominal_hz: float
    confidence: float
    """0.5 .. 1: the probability that its figure is truly beyond the threshold, by its uncertainty."""
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
        """That seen so far while it is open."""
        return (self.end_sample - self.start_sample) / self.rate_hz

    def within(self) -> "Occurrence":
        """With no position before sample 0, nor a rounding after it."""
        return replace(
            self, start_sample=from_sample_0(self.start_sample), end_sample=from_sample_0(self.end_sample)
        )

    def entry(self) -> dict[str, object]:
        """The JSON object of the analyze contract's `events`, and its figures."""
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
    """A position on the signal: 0.0 for one at its first sample, give or take rounding."""
    return position if position > ON_FIRST_SAMPLES else 0.0


def confidence_of(value: float, threshold: float, sigma: float) -> float:
    """The probability that what was measured as `value` is beyond `threshold`, for a normal error."""
    if not sigma > 0:
        return 1.0
    return 0.5 * (1 + math.erf((value - threshold) / (sigma * math.sqrt(2))))
