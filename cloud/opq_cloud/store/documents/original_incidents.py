"""What an incident of the original states, in our words (docs/reference/opq-interop.md, D.6): pure.

Its Mauka judges voltage against 120 V and frequency against 60 Hz, whatever the Box; so do the figures here.
"""

import math
from typing import Any, NamedTuple

from opq_cloud.store.documents import Document, known_number, texts_of

NOMINAL_V = 120.0
_KINDS = {
    "VOLTAGE_SAG": "sag",
    "VOLTAGE_SWELL": "swell",
    "VOLTAGE_INTERRUPTION": "interruption",
    "UNDERVOLTAGE": "undervoltage",
    "OVERVOLTAGE": "overvoltage",
    "EXCESSIVE_THD": "harmonics",
    "IMPULSIVE_TRANSIENT": "impulsive_transient",
    "OSCILLATORY_TRANSIENT": "oscillatory_transient",
    "PERIODIC_NOTCHING": "periodic_notching",
    "OUTAGE": "outage",
    "FREQUENCY_SAG": "frequency_deviation",
    "FREQUENCY_SWELL": "frequency_deviation",
    "FREQUENCY_INTERRUPTION": "frequency_deviation",
}
_BELOW = frozenset({"VOLTAGE_SAG", "VOLTAGE_INTERRUPTION", "UNDERVOLTAGE"})
_ABOVE = frozenset({"VOLTAGE_SWELL", "OVERVOLTAGE"})
_SIGNED = {
    "ITIC_PROHIBITED": ("itic", "prohibited"),
    "ITIC_NO_DAMAGE": ("itic", "no_damage"),
    "SEMI_F47_VIOLATION": ("semi_f47", "fail"),
}
"""Verdicts: our field and word. Their deviation has a sign, below nominal a negative one."""
_FREQUENCY = {"FREQUENCY_SAG": -1.0, "FREQUENCY_INTERRUPTION": -1.0, "FREQUENCY_SWELL": 1.0}
UNKNOWN_OFF = -1.0
"""The deviation of an incident that has none."""
INTERRUPTION_PERCENT = 10.0
"""IEEE 1159-2019, table 2."""


class StatedIncident(NamedTuple):
    """The fields of a finding that an incident of the original states; None where it does not."""

    kind: str
    residual_v: float | None = None
    ieee1159: str | None = None
    itic: str | None = None
    semi_f47: str | None = None
    because: str = ""
    figures: tuple[tuple[str, float], ...] = ()

    @property
    def residual_percent(self) -> float | None:
        return None if self.residual_v is None else self.residual_v / NOMINAL_V * 100.0


def stated_incident(document: Document) -> StatedIncident:
    words = texts_of(document.get("classifications")) or ["UNDEFINED"]
    off = known_number(document.get("deviation_from_nominal"))
    residual_v = _residual_v({*words}, off)
    figures: list[tuple[str, float]] = []
    reasons = []
    for word in words:
        if off is not None and word in _FREQUENCY:
            off_hz = math.copysign(off, _FREQUENCY[word])
            figures.append(("deviation_hz", off_hz))
            reasons.append(f"{abs(off_hz):.3g} Hz {'below' if off_hz < 0 else 'above'} 60 Hz")
        elif word in _FREQUENCY:
            reasons.append("below 60 Hz" if _FREQUENCY[word] < 0 else "above 60 Hz")
        elif off is not None and off > 0 and document.get("measurement_type") == "TRANSIENT":
            figures = [("peak_v", off)]
    verdicts = dict(_SIGNED[word] for word in words if word in _SIGNED)
    kinds = {_KINDS.get(word, word.lower()) for word in words if word not in _SIGNED}
    kind = "+".join(sorted(kinds)) or _kind_of_verdict({*words}, residual_v)
    return StatedIncident(
        kind,
        residual_v,
        _ieee1159(kind, document.get("ieee_duration")),
        verdicts.get("itic"),
        verdicts.get("semi_f47"),
        "; ".join([*reasons, *annotations(document)]),
        tuple(figures),
    )


def annotations(document: Document) -> list[str]:
    """Returns what people wrote on an incident with the original's programs, also on one of ours."""
    return [f"annotation: {text}" for text in texts_of(document.get("annotations"))]


def _residual_v(words: set[str], off_v: float | None) -> float | None:
    """Returns the volts left, where a class of voltage or a verdict states how far they are off."""
    if off_v is None or off_v == UNKNOWN_OFF:
        return None
    if words & _BELOW:
        volts = NOMINAL_V - abs(off_v)
    elif words & _ABOVE:
        volts = NOMINAL_V + abs(off_v)
    elif words & _SIGNED.keys():
        volts = NOMINAL_V + off_v
    else:
        return None
    return volts if volts >= 0 else None


def _kind_of_verdict(words: set[str], residual_v: float | None) -> str:
    """Returns the class of an incident that has a verdict alone, by its volts; else the verdict's word."""
    if residual_v is None:
        return "+".join(sorted(word.lower() for word in words))
    if residual_v < NOMINAL_V * INTERRUPTION_PERCENT / 100.0:
        return "interruption"
    return "sag" if residual_v < NOMINAL_V else "swell"


def _ieee1159(kind: str, duration: Any) -> str | None:
    """Returns the name of IEEE 1159: the duration's word, and the class where it has one of voltage."""
    if duration in (None, "", "UNDEFINED"):
        return None
    if kind in ("undervoltage", "overvoltage"):
        return kind
    word = str(duration).lower()
    return f"{word} {kind}" if kind in ("sag", "swell", "interruption") else word
