"""The result of a classification: the class, its parts, the reasons for each as data and as a sentence."""

import math
from dataclasses import dataclass, field

from opq_measure.analysis.occurrence import Occurrence
from opq_measure.events.disturbance import Disturbance

NONE = "none"
"""Class of a record without a disturbance."""
UNKNOWN = "unknown"
"""Class of a record with a disturbance of no known shape."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One measured number on which a verdict is based. `limit` is None where the number only describes."""

    name: str
    value: float
    unit: str
    limit: float | None = None

    def entry(self) -> dict[str, object]:
        """The JSON object of this reason."""
        return {"name": self.name, "value": self.value, "unit": self.unit, "limit": self.limit}


@dataclass(frozen=True, slots=True)
class ClassifiedPart:
    """One disturbance in a signal; `found` is the result of the measurement core for it."""

    kind: str
    found: Disturbance | Occurrence
    confidence: float
    """0 .. 1: how often a part of this class, measured so far beyond its limit in so much noise, is right."""
    severity: float
    """0 .. 10."""
    reasons: tuple[Reason, ...]
    because: str

    def entry(self) -> dict[str, object]:
        """The JSON object of this part; `end_s` is None while it is open."""
        return {
            "class": self.kind,
            "start_s": self.found.start_s,
            "end_s": self.found.end_s,
            "open": self.found.open,
            "confidence": self.confidence,
            "severity": self.severity,
            "reasons": [each.entry() for each in self.reasons if math.isfinite(each.value)],
            "because": self.because,
        }


@dataclass(frozen=True, slots=True)
class Classification:
    """The class of one signal.

    `kind` is one class, several joined by `+` in alphabetical order, `none` or `unknown`; `severity` is that
    of the worst part, None where it is not known.
    """

    kind: str
    confidence: float
    severity: float | None
    parts: tuple[ClassifiedPart, ...] = ()
    because: str = ""
    reasons: tuple[Reason, ...] = field(default=())
    """The reasons for `none` and `unknown`, which have no part."""

    def entry(self, file: str) -> dict[str, object]:
        """The JSON of `opq-tools classify`."""
        return {
            "file": file,
            "class": self.kind,
            "confidence": self.confidence,
            "severity": self.severity,
            "parts": [each.entry() for each in self.parts],
            "because": self.because,
            "reasons": [each.entry() for each in self.reasons if math.isfinite(each.value)],
        }
