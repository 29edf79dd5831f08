"""The state of an event's page in its address: `?t=-20ms..180ms&a=12.4ms&b=148.6ms&show=1,4`.

Pure. Moments count from the start of the incident, in us, ms, s or min; `t` is the span, `a` and `b` the
cursors, `show` the Boxes, `panel` the charts, `y` the unit of voltages. The same address gives the same
picture.
"""

import re
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from opq_cloud.view.pages.visible.registry import BOX_ID

PANELS = {
    "wave": "Waveform",
    "rms": "Half-cycle rms",
    "missing": "Missing voltage",
    "residual": "After the fundamental",
    "frequency": "Frequency",
    "spectrogram": "Spectrogram",
    "harmonics": "Harmonics",
    "phasors": "Phasors",
    "curves": "ITIC and F47",
}
FIRST_PANELS = ("wave", "rms", "missing")
UNITS = {"V": "volts", "pu": "per unit of nominal", "percent": "% of nominal"}
SHORTEST_MS = 0.5
LONGEST_MS = 400 * 86_400_000.0
"""Longer than incidents are stored."""
MAX_BOXES = 12
_SCALES = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "min": 60e3}
_MOMENT = re.compile(r"([-+\u2212]?[0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(us|µs|ms|s|min)?")
_WANT = "want a time from the start such as -20ms, 1.5s or 2min"


@dataclass(frozen=True, slots=True)
class ExamineAddress:
    """The state of the page; moments in ms from the start of the incident."""

    start_ms: float
    end_ms: float
    a_ms: float
    b_ms: float
    box_ids: tuple[str, ...] = ()
    """Empty for the first few Boxes of the event."""
    panels: tuple[str, ...] = FIRST_PANELS
    unit: str = "V"

    @property
    def length_ms(self) -> float:
        return self.end_ms - self.start_ms

    @property
    def query(self) -> str:
        """The canonical query of this state, without a question mark."""
        fields = {
            "t": f"{moment(self.start_ms)}..{moment(self.end_ms)}",
            "a": moment(self.a_ms),
            "b": moment(self.b_ms),
            "show": ",".join(self.box_ids),
            "panel": ",".join(self.panels),
            "y": self.unit,
        }
        return urlencode({name: value for name, value in fields.items() if value}, safe=",")

    def zoomed(self, factor: float) -> "ExamineAddress":
        """Zooms about the middle; a factor below 1 zooms in."""
        middle = (self.start_ms + self.end_ms) / 2
        half = min(max(self.length_ms * factor, SHORTEST_MS), LONGEST_MS) / 2
        return replace(self, start_ms=_micro(middle - half), end_ms=_micro(middle + half))

    def shifted(self, share: float) -> "ExamineAddress":
        """Moves the span by a share of its length; below 0 is earlier."""
        by_ms = self.length_ms * share
        return replace(self, start_ms=_micro(self.start_ms + by_ms), end_ms=_micro(self.end_ms + by_ms))

    def spanning(self, start_ms: float, end_ms: float) -> "ExamineAddress":
        return replace(self, start_ms=_micro(start_ms), end_ms=_micro(end_ms))

    def with_panel(self, name: str) -> "ExamineAddress":
        """Adds this panel, or removes it where it is shown; one panel always stays."""
        kept = {*self.panels} ^ {name} or {name}
        return replace(self, panels=tuple(each for each in PANELS if each in kept))

    def with_box(self, box_id: str, shown: tuple[str, ...]) -> "ExamineAddress":
        """Adds this Box, or removes it where it is among those `shown`; one Box always stays."""
        kept = tuple(each for each in shown if each != box_id) if box_id in shown else (*shown, box_id)
        return replace(self, box_ids=kept[-MAX_BOXES:] or (box_id,))


def read_address(
    length_ms: float, t: str = "", a: str = "", b: str = "", show: str = "", panel: str = "", unit: str = ""
) -> ExamineAddress:
    """Reads the fields of an address of an incident with that length; an empty field means its default.

    Raises:
        ValueError: one line for people: the field, its value, what is allowed.
    """
    margin_ms = max(50.0, 0.4 * length_ms)
    start_ms, end_ms = _micro(-margin_ms), _micro(length_ms + margin_ms)
    if t:
        first, dots, last = t.partition("..")
        if not dots:
            raise ValueError(f"t is {t[:40]!r}; want a span such as -20ms..180ms")
        start_ms, end_ms = read_moment("t", first), read_moment("t", last)
        if not SHORTEST_MS <= end_ms - start_ms <= LONGEST_MS:
            raise ValueError(f"t is {t[:40]!r}; want a span from {SHORTEST_MS} ms to 400 days")
    boxes = tuple(dict.fromkeys(each for each in show.split(",") if each))
    if len(boxes) > MAX_BOXES or not all(BOX_ID.fullmatch(each) for each in boxes):
        raise ValueError(f"show is {show[:40]!r}; want up to {MAX_BOXES} Boxes such as 1,4")
    panels = {each for each in panel.split(",") if each} or {*FIRST_PANELS}
    if unknown := sorted(panels - PANELS.keys()):
        raise ValueError(f"panel has {unknown[0][:40]!r}; there are {', '.join(PANELS)}")
    if (unit or "V") not in UNITS:
        raise ValueError(f"y is {unit[:40]!r}; want {', '.join(UNITS)}")
    return ExamineAddress(
        start_ms,
        end_ms,
        read_moment("a", a) if a else 0.0,
        read_moment("b", b) if b else _micro(length_ms),
        boxes,
        tuple(each for each in PANELS if each in panels),
        unit or "V",
    )


def read_moment(name: str, words: str) -> float:
    """Milliseconds from the start; a number without a unit is milliseconds. Raises ValueError."""
    found = _MOMENT.fullmatch(words.strip())
    if found is None:
        raise ValueError(f"{name} is {words[:40]!r}; {_WANT}")
    value = float(found[1].replace("\u2212", "-")) * _SCALES[found[2] or "ms"]
    if abs(value) > LONGEST_MS:
        raise ValueError(f"{name} is {words[:40]!r}, more than 400 days away; {_WANT}")
    return _micro(value)


def moment(value_ms: float) -> str:
    """A moment as the address has it, to a tenth of a microsecond: `-20ms`, `12.483ms`."""
    text = f"{value_ms:.4f}".rstrip("0").rstrip(".")
    return f"{'0' if text == '-0' else text}ms"


def _micro(value_ms: float) -> float:
    """The value as `moment` rounds it, so that a link gives exactly this view."""
    return round(value_ms, 4)
