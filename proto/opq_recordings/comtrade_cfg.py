"""The configuration of a COMTRADE record (.cfg): revisions 1991, 1999 and 2013, as recorders write it.

A record is refused only for fields that are needed to get volts: channel names may be in any code page, and
skew, limits, ratios and times may be empty. Empty lines are skipped; lines after the channels are recognised
by their form.

Source: IEEE C37.111-1991, -1999 and -2013 (IEC 60255-24).
"""

import re
from dataclasses import dataclass, field

from opq_proto.errors import RecordingError
from opq_recordings.moments import Moment, comtrade_moment, zone_minutes
from opq_recordings.text import decoded

FORMS = {"ASCII": "ascii", "BINARY": "binary", "BINARY32": "binary32", "FLOAT32": "float32"}
MOST_CHANNELS = 10_000
RATE_MATCH_SHARE = 0.01
"""Segments whose rates differ by at most this share have the same rate."""
TRACKED_SHARE = 0.01
"""Rates of segments that differ by at most this share follow the mains; they are of one recorder."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?")
_COUNT = re.compile(r"\s*([0-9]{1,9})\s*([A-Za-z]?)\s*")


@dataclass(frozen=True, slots=True)
class AnalogField:
    """The line of an analogue channel; `a` None where it states no gain, 0 where the channel is not used."""

    name: str
    phase: str
    unit: str
    a: float | None
    b: float
    primary: float | None
    secondary: float | None
    side: str
    """`P` or `S`: the values are primary or secondary; empty where not stated."""


@dataclass(frozen=True, slots=True)
class Configuration:
    station: str
    revision: int
    analog: tuple[AnalogField, ...]
    status_channels: int
    line_hz: float | None
    rates: tuple[tuple[float, int], ...]
    """(rate, last row) of each segment; empty where the time stamps are the clock."""
    rows: int | None
    """The stated number of rows."""
    start: Moment
    form: str | None
    """`ascii`, `binary`, `binary32` or `float32`; None where not stated."""
    stamp_s: float
    """Seconds per unit of the rows' time stamps."""
    assumed: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())
    code_page: str | None = None
    """The encoding of its text, where that was assumed."""


def configuration(data: bytes, where: str) -> Configuration:
    """Parses a .cfg.

    Raises:
        RecordingError: names the line and the field that cannot be read.
    """
    return _Parser(data, where).parse()


class _Parser:
    def __init__(self, data: bytes, where: str) -> None:
        text, self._code_page = decoded(data)
        lines = enumerate(re.split(r"\r\n|\n|\r|\x1a", text), 1)
        self._lines = [(number, line.strip(" \t\0")) for number, line in lines if line.strip(" \t\0")]
        self._where = where
        self._at = 0
        self._problems: list[str] = []

    def parse(self) -> Configuration:
        station, *rest = self._fields("the station")
        year = next((int(each) for each in reversed(rest) if re.fullmatch(r"(19|20)\d\d", each)), None)
        revision = 1991 if year is None else year
        analog_count, status_count = self._counts()
        analog = tuple(self._analog(revision) for _ in range(analog_count))
        if all(each.a == 0 for each in analog):
            raise RecordingError(
                f"{self._where}, line {self._line()}: a of channel {analog[-1].name!r:.40} is 0, want a "
                "number other than 0"
            )
        for _ in range(status_count):
            self._fields("a status channel")
        line_hz, rates, rows = self._rates()
        stamps, after = self._stamps()
        form, more = self._form(after)
        start = Moment(None)
        fraction = 0
        if stamps:
            first = stamps[0]
            start = comtrade_moment(first[0], first[1], revision)
            fraction = len(first[1].partition(".")[2].strip())
            if start.problem:
                self._problems.append(start.problem)
        start, zone_assumed = self._utc(start, revision, more)
        factor = _number(more[0]) if more and "," not in more[0] else None
        base_s = 1e-9 if revision >= 2013 and fraction > 6 else 1e-6
        assumed = ["encoding"] if self._code_page else []
        if zone_assumed:
            assumed.append("time_zone")
        return Configuration(
            station,
            revision,
            analog,
            status_count,
            line_hz,
            rates,
            rows,
            start,
            form,
            base_s * (factor if factor and factor > 0 else 1.0),
            tuple(assumed),
            tuple(self._problems),
            self._code_page,
        )

    def _fields(self, what: str) -> list[str]:
        if self._at >= len(self._lines):
            raise RecordingError(f"{self._where}: ends before {what}; it has {len(self._lines)} lines")
        _, line = self._lines[self._at]
        self._at += 1
        return [each.strip().strip('"').strip() for each in line.split(",")]

    def _line(self) -> int:
        """Number of the line that was read last."""
        return self._lines[self._at - 1][0]

    def _counts(self) -> tuple[int, int]:
        cells = self._fields("the numbers of channels")
        found = {}
        total = None
        for cell in cells:
            match = _COUNT.fullmatch(cell)
            if match is None:
                continue
            if match[2]:
                found[match[2].upper()] = int(match[1])
            elif total is None:
                total = int(match[1])
        if "A" not in found:
            raise RecordingError(
                f"{self._where}, line {self._line()}: {','.join(cells)!r:.60} does not state the number "
                f"of analogue channels; want e.g. 4,4A,0D"
            )
        analog, status = found["A"], found.get("D", 0)
        if total is not None and total != analog + status:
            self._problems.append(
                f"its .cfg states {total} channels, but {analog} analogue and {status} status"
            )
        if analog + status > MOST_CHANNELS or analog == 0:
            raise RecordingError(
                f"{self._where}, line {self._line()}: {analog} analogue and {status} status channels; want "
                f"1 to {MOST_CHANNELS:,}, one of them analogue"
            )
        return analog, status

    def _analog(self, revision: int) -> AnalogField:
        cells = self._fields("all its analogue channels")
        if len(cells) > 13 and cells[-1].upper() in ("P", "S"):  # commas within a name
            cells = [cells[0], ",".join(cells[1 : len(cells) - 11]), *cells[len(cells) - 11 :]]
        if len(cells) < 6:
            raise RecordingError(
                f"{self._where}, line {self._line()}: {','.join(cells)!r:.60} is not an analogue channel; "
                "want number, name, phase, component, unit, a, b, …"
            )
        cells += [""] * (13 - len(cells))
        a = self._factor(cells[5], "a", cells[1])
        b = self._factor(cells[6], "b", cells[1]) or 0.0
        side = cells[12].upper() if revision >= 1999 else ""
        return AnalogField(
            cells[1] or cells[0],
            cells[2],
            cells[4],
            a,
            b,
            _number(cells[10]),
            _number(cells[11]),
            side if side in ("P", "S") else "",
        )

    def _factor(self, text: str, name: str, channel: str) -> float | None:
        if not text:
            return None
        value = _number(text)
        if value is None:
            raise RecordingError(
                f"{self._where}, line {self._line()}: {name} of channel {channel!r:.40} is {text!r:.40}, "
                "want a number"
            )
        return value

    def _rates(self) -> tuple[float | None, tuple[tuple[float, int], ...], int | None]:
        """The line frequency, the segments, and the number of rows; all lines up to the first time."""
        single: list[str] = []
        pairs: list[tuple[int, list[str]]] = []
        while self._at < len(self._lines):
            number, line = self._lines[self._at]
            if line.upper() in FORMS or "/" in line or ":" in line or not line.strip(","):
                break
            cells = [each.strip() for each in line.split(",")]
            if len([each for each in cells if each]) == 1:
                single.append(next(each for each in cells if each))
            elif len(cells) >= 2:
                pairs.append((number, cells))
            self._at += 1
        line_hz = _number(single[0]) if len(single) >= 2 else None
        stated = _number(single[-1]) if single else None
        segments = []
        for number, cells in pairs:
            rate, last = _number(cells[0]), _number(cells[1])
            if rate is None or last is None or rate < 0 or last < 0:
                raise RecordingError(
                    f"{self._where}, line {number}: {','.join(cells)!r:.60} is not a rate; want samples per "
                    "second and the last row, such as 12000,24000"
                )
            segments.append((rate, int(last)))
        if stated is not None and max(1, int(stated)) != len(segments):
            self._problems.append(f"its .cfg states {int(stated)} sampling rates and has {len(segments)}")
        rows = max((last for _, last in segments), default=None)
        rates = tuple(each for each in segments if each[0] > 0)
        return line_hz if line_hz and line_hz > 0 else None, rates, rows

    def _stamps(self) -> tuple[list[tuple[str, str]], int]:
        """The times as (date, time), and where the lines after them begin."""
        found: list[tuple[str, str]] = []
        while self._at < len(self._lines) and self._lines[self._at][1].strip(", ").upper() not in FORMS:
            line = self._lines[self._at][1]
            if not ("/" in line or ":" in line or not line.strip(", ") or "," in line):
                break
            self._at += 1
            day, _, clock = line.partition(",")
            if not clock and " " in day.strip():
                day, _, clock = day.strip().partition(" ")
            found.append((day, re.sub(r",(?=\d+$)", ".", clock.strip().rstrip(","))))
        if len(found) == 1:
            self._problems.append("its .cfg has one time, first sample or trigger, so its start is not known")
            found = []
        return found, self._at

    def _form(self, at: int) -> tuple[str | None, list[str]]:
        if at >= len(self._lines):
            return None, []
        number, line = self._lines[at]
        form = FORMS.get(line.strip(", ").upper())
        if form is None:
            raise RecordingError(
                f"{self._where}, line {number}: {line!r:.60} is not a form of the data; "
                f"want {', '.join(FORMS)}"
            )
        return form, [line for _, line in self._lines[at + 1 :]]

    def _utc(self, start: Moment, revision: int, more: list[str]) -> tuple[Moment, bool]:
        """The start in UTC; whether its zone was assumed. Before 2013 a record has no zone."""
        if start.t_ns is None:
            return start, False
        codes = next((line for line in more[:3] if "," in line), None) if revision >= 2013 else None
        if codes is None:
            return start, True
        code = codes.split(",")[0].strip()
        minutes = zone_minutes(code)
        if minutes is None:
            self._problems.append(f"its time code {code!r:.20} is not understood, so its start is not known")
            return Moment(None), False
        return Moment(start.t_ns - minutes * 60 * 10**9), False


def _number(text: str) -> float | None:
    """A finite number; None for an empty field and for anything else."""
    if _NUMBER.fullmatch(text.strip()) is None:
        return None
    value = float(text.strip().replace("d", "e").replace("D", "e"))
    return value if abs(value) < 1e300 else None
