"""Lines between the harmonics: one frequency is one line, and a telegram by its keying. Pure.

A waveform that ends within the first pulse of a telegram shows a line, but not that it is keyed, so its
analysis calls it an interharmonic. Another waveform, of the same Box or of a neighbour, shows what it is.
Separate from `sightings.py`, which it serves, as it also serves the placing of steady states.
"""

from dataclasses import replace

from opq_proto.messages import Finding

TELEGRAM_KIND = "mains_signalling"
"""Class of a line that is keyed."""
LINE_KIND = "interharmonics"
"""Class of a line that is steady."""
LINES = frozenset({TELEGRAM_KIND, LINE_KIND})
SAME_LINE_HZ = 0.5
"""Two lines at most this far apart are one: a second of samples cannot distinguish nearer lines."""
_FIGURES = {"interharmonic_hz": "signal_hz", "interharmonic_percent_max": "signal_percent"}
_HZ = frozenset(name for each in _FIGURES.items() for name in each if name.endswith("_hz"))


def line_hz(one: Finding) -> float | None:
    """Returns the frequency of a line; None where the finding names none."""
    return next((value for name, value in one.figures if name in _HZ), None)


def same_line(one: Finding, other: Finding) -> bool:
    """Returns True if two lines have one frequency, and for findings of other classes."""
    if one.kind not in LINES or other.kind not in LINES:
        return True
    own_hz, other_hz = line_hz(one), line_hz(other)
    if own_hz is None or other_hz is None:
        return own_hz is other_hz
    return abs(own_hz - other_hz) <= SAME_LINE_HZ


def as_telegram(one: Finding) -> Finding:
    """Returns a line by the name and the figures of a telegram, because another waveform shows its keying."""
    if one.kind != LINE_KIND:
        return one
    figures = tuple(
        (_FIGURES.get(name, name), value) for name, value in one.figures if name != "interharmonic_percent"
    )
    because = f"{one.because}; another waveform shows that it is keyed"
    return replace(one, kind=TELEGRAM_KIND, figures=figures, because=because, severity=None)
