"""A month of two Boxes on OPQ Sim, and what its truth says that a report of it has to say.

What follows uses steady.jsonl, truth.jsonl, boxes.jsonl and frequency.csv alone, and counts by hand: nothing
of the store, of the reports or of their arithmetic. Limits are those of the standard's file.
"""

import bisect
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

S = 10**9
TEN_NS, TWO_HOURS_NS = 600 * S, 7200 * S
ZONE = ZoneInfo("Europe/Berlin")
LONE_STEP_PERCENT = 7.4
"""0.1 changes a minute of this size have a Pst of 1: IEC 61000-3-3, 230 V, the curve's first point."""


@dataclass(frozen=True)
class Span:
    """What is played, and what it has."""

    begin: datetime
    end: datetime
    weeks: tuple[str, ...]
    disturbances: int
    events: dict[str, int]
    """Box -> its dips and interruptions in the weeks."""

    def since_s(self, at: datetime) -> float:
        return (at - self.begin).total_seconds()


MONTH = Span(
    datetime(2026, 9, 30, tzinfo=UTC),
    datetime(2026, 11, 1, tzinfo=UTC),
    ("2026-W40", "2026-W41", "2026-W42", "2026-W43", "2026-W44"),
    disturbances=11,
    events={"1": 6, "2": 5},
)
"""October: the first week and the last are in it in part."""
FORTNIGHT = Span(
    datetime(2026, 10, 11, tzinfo=UTC),
    datetime(2026, 10, 26, tzinfo=UTC),
    ("2026-W42", "2026-W43"),
    disturbances=3,
    events={"1": 2, "2": 1},
)
"""Of its weeks the second has 169 hours."""
SUPPLY_LOST = (
    (datetime(2026, 10, 15, 2, tzinfo=UTC), 18_000.0),
    (datetime(2026, 10, 28, 12, 34, 56, tzinfo=UTC), 90.0),
)
TAPS = [
    (datetime(2026, 10, 7, 3, 3, 20, tzinfo=UTC), 2.0),
    (datetime(2026, 10, 25, 0, 55, tzinfo=UTC), -3.0),  # five minutes before the clock is set back
    *(
        (datetime(2026, 10, 20, 10, 10, 5, tzinfo=UTC) + timedelta(seconds=3 * number), (-1) ** number * 5.0)
        for number in range(36)
    ),
]
CAUSES = (
    (
        "fault",
        "line/2km",
        datetime(2026, 10, 3, 8, 14, 7, tzinfo=UTC),
        'type = "LLL", resistance_ohm = 2.0, clear_ms = 120.0',
    ),
    (
        "fault",
        "line/1km",
        datetime(2026, 10, 6, 17, 42, 30, tzinfo=UTC),
        'type = "LLL", resistance_ohm = 4.0, clear_ms = 340.0',
    ),
    (
        "fault",
        "line/1km",
        datetime(2026, 10, 6, 17, 43, 5, tzinfo=UTC),
        'type = "LLL", resistance_ohm = 3.0, clear_ms = 700.0',
    ),
    (
        "converter_load",
        "street",
        datetime(2026, 10, 13, 6, 5, 11, tzinfo=UTC),
        'kw = 190.0, spectrum = "six_pulse", seconds = 43200.0',
    ),
    (
        "fault",
        "street",
        datetime(2026, 10, 17, 21, 27, 45, tzinfo=UTC),
        'type = "LG", resistance_ohm = 0.02, clear_ms = 1500.0',
    ),
    (
        "fault",
        "line/3km",
        datetime(2026, 10, 22, 14, 7, 1, tzinfo=UTC),
        'type = "LLL", clear_ms = 150.0, breaker = "line", permanent = true, open_s = 240.0',
    ),
    (
        "fault",
        "line/3km",
        datetime(2026, 10, 30, 5, 55, tzinfo=UTC),
        'type = "LLL", clear_ms = 150.0, breaker = "line", permanent = true, open_s = 20.0',
    ),
)


def scenario(folder: Path, span: Span) -> Path:
    """Writes the scenario's file: what happens in the span."""
    lost = ", ".join(
        f"[{span.since_s(at)}, {length_s}]" for at, length_s in SUPPLY_LOST if span.begin <= at < span.end
    )
    text = f"""
title = "a street in October"
nominal_v = 230.0
nominal_hz = 50.0
grid = {{ frequency_hz = 50.0, wander_hz = 0.4, wander_s = 21600.0 }}
[network]
supply = {{ bus = "mv", short_circuit_mva = 100.0 }}
bus = [{{ id = "mv", nominal_kv = 20.0 }}, {{ id = "street", nominal_kv = 0.4 }}]
feeder = [{{ id = "line", from_bus = "mv", km = 4.0 }}]
transformer = [{{ id = "t1", from_bus = "line/4km", to_bus = "street", rating_kva = 250.0 }}]
load = [{{ bus = "street", kw = 80.0, kvar = 20.0 }}]
[[box]]
id = "1"
at = "street"
[[box]]
id = "2"
at = "street"
phase = "b"
supply = {{ lost = [{lost}] }}
"""
    for at, percent in sorted(TAPS):
        if not span.begin <= at < span.end:
            continue
        steps = f"steps = {math.copysign(1, percent)}, step_percent = {abs(percent)}"
        text += (
            f'[[cause]]\nkind = "tap_change"\nat = "t1"\nat_s = {span.since_s(at)}\nvalues = {{ {steps} }}\n'
        )
    for kind, place, at, values in CAUSES:
        if not span.begin <= at < span.end:
            continue
        text += f'[[cause]]\nkind = "{kind}"\nat = "{place}"\nat_s = {span.since_s(at)}\n'
        text += f"values = {{ {values} }}\n"
    path = folder / "october.toml"
    path.write_text(text)
    return path


@dataclass
class Ten:
    """What ten minutes of a Box have to be."""

    start_ns: int
    covered_ns: int = 0
    flagged: bool = False
    left_out: bool = False
    """Whether an event touches it, and not only a gap."""
    square: float = 0.0
    squares: list[float] | None = None
    most_thd: float = 0.0
    weight_ns: int = 0

    @property
    def has_pst(self) -> bool:
        """Whether the flicker meter saw enough of it."""
        return self.covered_ns >= 0.95 * TEN_NS

    @property
    def rms_v(self) -> float:
        return math.sqrt(self.square / self.weight_ns)

    def harmonic_v(self, order: int) -> float:
        assert self.squares is not None
        return math.sqrt(self.squares[order - 1] / self.weight_ns)


class Truth:
    """The files of the truth, and what follows from them."""

    def __init__(self, folder: Path, span: Span) -> None:
        self._span = span

        def lines(name: str) -> list[dict[str, Any]]:
            return [json.loads(line) for line in (folder / name).read_text().splitlines()]

        self.steady: dict[str, list[dict[str, Any]]] = {}
        for each in lines("steady.jsonl"):
            self.steady.setdefault(each["box"], []).append(each)
        self.events = lines("truth.jsonl")
        self.silent = [each for each in lines("boxes.jsonl") if each["what"] == "silent"]
        rows = [line.split(",") for line in (folder / "frequency.csv").read_text().splitlines()[1:]]
        self._tens: dict[str, dict[int, Ten]] = {}
        self.hertz = [(int(t_ns), float(hz)) for t_ns, hz in rows]

    def spans(self, box_id: str) -> list[tuple[int, int, dict[str, Any]]]:
        """Dips, swells and interruptions of a Box: begin, end, what it sees."""
        return [
            (each["boxes"][box_id]["arrival_ns"], each["end_ns"], each["boxes"][box_id])
            for each in self.events
            if box_id in each["boxes"] and each["boxes"][box_id]["residual_percent"] is not None
        ]

    def tens(self, box_id: str) -> dict[int, Ten]:
        """Start -> the ten minutes in which the Box measured."""
        if box_id not in self._tens:
            self._tens[box_id] = self._made_tens(box_id)
        return self._tens[box_id]

    def _made_tens(self, box_id: str) -> dict[int, Ten]:
        found: dict[int, Ten] = {}
        begin_ns, end_ns = (round(each.timestamp()) * S for each in (self._span.begin, self._span.end))
        for start_ns in range(begin_ns, end_ns, TEN_NS):
            found[start_ns] = Ten(start_ns, TEN_NS)
        for gap in (each for each in self.silent if each["box"] == box_id):
            for ten in self._touched(found, gap["start_ns"], gap["end_ns"]):
                ten.covered_ns -= _overlap(ten, gap["start_ns"], gap["end_ns"])
                ten.flagged = True
        for start_ns, end_ns, _ in self.spans(box_id):
            for ten in self._touched(found, start_ns, end_ns):
                ten.flagged = ten.left_out = True
        for span in self.steady[box_id]:
            volts = span["harmonics_v"]
            thd = math.sqrt(sum(each * each for each in volts[1:])) / volts[0] if volts[0] else 0.0
            for ten in self._touched(found, span["start_ns"], span["end_ns"]):
                weight_ns = _overlap(ten, span["start_ns"], span["end_ns"])
                ten.weight_ns += weight_ns
                ten.square += weight_ns * span["rms_v"] ** 2
                ten.squares = [
                    (0.0 if ten.squares is None else ten.squares[at]) + weight_ns * each * each
                    for at, each in enumerate(volts)
                ]
                ten.most_thd = max(ten.most_thd, thd)
        return {start_ns: ten for start_ns, ten in found.items() if ten.covered_ns > 0}

    def psts(self, box_id: str) -> dict[int, float]:
        """Start of ten minutes -> Pst of its steps by the analytical method of IEC 61000-3-3:2013, 4.2.3.

        A step that is alone there is outside that method, and is by the curve of Pst = 1.
        """
        found: dict[int, list[float]] = {}
        steady = self.steady[box_id]
        for before, after in pairwise(each for each in steady if each["rms_v"] > 0):
            percent = 100 * abs(after["rms_v"] - before["rms_v"]) / before["rms_v"]
            start_ns = after["start_ns"] // TEN_NS * TEN_NS
            found.setdefault(start_ns, []).append(percent)
        return {start_ns: _pst(percents) for start_ns, percents in found.items()}

    @staticmethod
    def _touched(tens: dict[int, Ten], start_ns: int, end_ns: int) -> Iterator[Ten]:
        for at_ns in range(start_ns // TEN_NS * TEN_NS, end_ns, TEN_NS):
            if at_ns in tens:
                yield tens[at_ns]

    def mean_hz(self, start_ns: int, end_ns: int) -> float:
        values = [hz for _, hz in self._hertz(start_ns, end_ns)]
        return sum(values) / len(values)

    def extremes_hz(self, start_ns: int, end_ns: int) -> tuple[float, float]:
        values = [hz for _, hz in self._hertz(start_ns, end_ns + 1)]
        return min(values), max(values)

    def _hertz(self, start_ns: int, end_ns: int) -> list[tuple[int, float]]:
        first, last = (bisect.bisect_left(self.hertz, (at_ns, 0.0)) for at_ns in (start_ns, end_ns))
        return self.hertz[first:last]


def _pst(percents: list[float]) -> float:
    if len(percents) == 1:
        return percents[0] / LONE_STEP_PERCENT
    return math.pow(sum(2.3 * percent**3.2 for percent in percents) / 600, 1 / 3.2)


def _overlap(ten: Ten, start_ns: int, end_ns: int) -> int:
    return max(0, min(end_ns, ten.start_ns + TEN_NS) - max(start_ns, ten.start_ns))


def week_ns(week: str) -> tuple[int, int]:
    """Begin and end of a week by the clock of Berlin."""
    year, number = int(week[:4]), int(week[6:])
    days = [
        datetime.fromisocalendar(year, number, 1),
        datetime.fromisocalendar(year, number, 1) + timedelta(7),
    ]
    first, last = (round(day.replace(tzinfo=ZONE).timestamp()) * S for day in days)
    return first, last


@dataclass
class Cells:
    """What the row of a limit has to say; None: not assessed."""

    count: int = 0
    outside: int = 0
    value: float | None = None
    lowest: float | None = None
    highest: float | None = None
    verdict: str = "not_assessed"
    flagged_percent: float = 0.0
    coverage_percent: float = 0.0
    first_outside_ns: int | None = None
    last_outside_ns: int | None = None


def cells(
    values: list[tuple[int, float | None]], flagged: int, missing: int, expected: int, limit: Any
) -> Cells:
    """Of (start, value) of the intervals that are judged; a value that is not known is not counted."""
    known = [(start_ns, value) for start_ns, value in values if value is not None]
    found = Cells(flagged_percent=100 * flagged / expected)
    if not known:
        return found
    low, high, percent = limit.requirement.low, limit.requirement.high, limit.requirement.percent
    outside = [start_ns for start_ns, value in known if not low <= value <= high]
    ranked = sorted(value for _, value in known)
    place = max(1, math.ceil(round(percent / 100 * len(ranked), 9)))
    upper, lower = ranked[place - 1], ranked[-place]
    value = lower if math.isfinite(low) and high - upper > lower - low else upper
    found.count, found.outside = len(known), len(outside)
    found.value, found.lowest, found.highest = value, ranked[0], ranked[-1]
    may = len(known) + missing - math.ceil(round(percent / 100 * (len(known) + missing), 9))
    if len(outside) > may:
        found.verdict = "fail"
    elif len(outside) + missing <= may:
        found.verdict = "pass"
    found.coverage_percent = 100 * len(known) / expected
    found.first_outside_ns, found.last_outside_ns = (outside[0], outside[-1]) if outside else (None, None)
    return found


def of_limit(
    limit: Any, measured: dict[int, Ten], truth: Truth, psts: dict[int, float], week: tuple[int, int]
) -> Cells:
    """The row of a limit in a week, from the ten minutes of a Box."""
    tens = [ten for start_ns, ten in measured.items() if week[0] <= start_ns < week[1]]
    if limit.quantity == "pst":
        tens = [ten for ten in tens if ten.has_pst]
    length_ns = limit.interval_ms * 10**6
    expected = sum(
        1 for at_ns in range(week[0] // length_ns * length_ns, week[1], length_ns) if at_ns >= week[0]
    )
    good = [ten for ten in tens if not ten.flagged]
    flagged = len(tens) - len(good)
    # a flag of a gap alone leaves nothing out: what it touches is missing
    judged = [start_ns for start_ns in range(*week, TEN_NS) if not measured.get(start_ns, Ten(0)).left_out]
    known = {ten.start_ns for ten in good}
    missing = [start_ns for start_ns in judged if start_ns not in known]
    if limit.quantity == "f_hz" or (limit.quantity == "thd_ratio" and length_ns < TEN_NS):
        return _by_extremes(limit, good, flagged, missing, truth, expected, week)
    if length_ns < TEN_NS:
        return Cells()
    if limit.quantity == "plt":
        plts, flagged = _plts(measured, psts, week)
        return cells(plts, flagged, expected - len(plts) - flagged, expected, limit)
    basis = {
        "rms_v": lambda ten: 100 * ten.rms_v / 230.0,
        "thd_ratio": _thd_percent,
        "pst": lambda ten: psts.get(ten.start_ns, 0.0),
    }.get(limit.quantity)
    if basis is None:
        of_nominal = limit.basis == "nominal_v"

        def basis(ten: Ten) -> float:
            return 100 * ten.harmonic_v(limit.order) / (230.0 if of_nominal else ten.harmonic_v(1))

    return cells([(ten.start_ns, basis(ten)) for ten in good], flagged, len(missing), expected, limit)


def _thd_percent(ten: Ten) -> float:
    assert ten.squares is not None
    return 100 * math.sqrt(sum(ten.squares[1:]) / ten.squares[0])


def _by_extremes(
    limit: Any,
    good: list[Ten],
    flagged: int,
    missing: list[int],
    truth: Truth,
    expected: int,
    week: tuple[int, int],
) -> Cells:
    """A limit of 10 s or 3 s, which are not stored: what the extremes of ten minutes show."""
    low, high = limit.requirement.low, limit.requirement.high
    each = TEN_NS // (limit.interval_ms * 10**6)
    if limit.quantity == "f_hz":
        spans = [truth.extremes_hz(ten.start_ns, ten.start_ns + TEN_NS) for ten in good]
        spans = [(2 * least, 2 * most) for least, most in spans]  # percent of 50 Hz
    else:
        spans = [(_thd_percent(ten), 100 * ten.most_thd) for ten in good]
    count = each * len(spans)
    inside = each * sum(low <= least and most <= high for least, most in spans)
    within = [
        ten.start_ns for ten, (least, most) in zip(good, spans, strict=True) if low <= least and most <= high
    ]
    begun = datetime.fromtimestamp(week[0] / S, ZONE)
    days = [round((begun + timedelta(days=day)).timestamp()) * S for day in range(8)]
    for first, last in pairwise(days if limit.daily else week):
        whole = sum(first <= ten.start_ns < last for ten in good) + sum(first <= at < last for at in missing)
        if sum(first <= at < last for at in within) < limit.requirement.percent / 100 * whole:
            return Cells()
    if not count:
        return Cells()
    lowest, highest = min(least for least, _ in spans), max(most for _, most in spans)
    value = None if inside < count else highest if high - highest <= lowest - low else lowest
    shares = 100 * each * flagged / expected, 100 * count / expected
    return Cells(count, count - inside, value, lowest, highest, "pass", *shares)


def _plts(
    by_start: dict[int, Ten], psts: dict[int, float], week: tuple[int, int]
) -> tuple[list[tuple[int, float | None]], int]:
    """(start, Plt) of two hours that are whole and without a flag, and how many others have one."""
    found: list[tuple[int, float | None]] = []
    flagged = 0
    for start_ns in range(week[0] // TWO_HOURS_NS * TWO_HOURS_NS, week[1], TWO_HOURS_NS):
        twelve = [start_ns + number * TEN_NS for number in range(12)]
        known = all(at_ns in by_start and by_start[at_ns].has_pst for at_ns in twelve)
        if start_ns < week[0] or not known:
            continue
        if any(by_start[at_ns].flagged for at_ns in twelve):
            flagged += 1
            continue
        cube = sum(psts.get(at_ns, 0.0) ** 3 for at_ns in twelve) / 12
        found.append((start_ns, cube ** (1 / 3)))
    return found, flagged


def of_indices(truth: Truth, box_id: str, begin_ns: int, end_ns: int) -> dict[str, Any]:
    """Events, SARFI, interruptions longer than three minutes and data of a Box in a span."""
    spans = [each for each in truth.spans(box_id) if begin_ns <= each[0] < end_ns]
    lost = [
        (max(first, begin_ns), min(last, end_ns))
        for first, last, seen in truth.spans(box_id)
        if seen["class"] == "interruption" and last > begin_ns and first < end_ns
    ]
    long = [(first, last) for first, last in lost if last - first > 180 * S]
    began = [each for each in spans if each[2]["class"] == "interruption"]
    began_long = sum(last - first > 180 * S for first, last, _ in began)
    tens = [ten for start_ns, ten in truth.tens(box_id).items() if begin_ns <= start_ns < end_ns]
    expected = sum(1 for at_ns in range(-(-begin_ns // TEN_NS) * TEN_NS, end_ns, TEN_NS))
    counted: list[tuple[int, int, dict[str, Any]]] = []
    for each in sorted(spans, key=lambda span: span[0]):  # within a minute of the first: once, by the worst
        if counted and each[0] - counted[-1][0] < 60 * S:
            if each[2]["residual_percent"] < counted[-1][2]["residual_percent"]:
                counted[-1] = (counted[-1][0], each[1], each[2])
        else:
            counted.append(each)
    short = [each for each in counted if each[1] - each[0] <= 60 * S]
    return {
        "events": [(first, (last - first) / S, seen["residual_percent"]) for first, last, seen in spans],
        "sarfi": {
            str(limit): sum(each[2]["residual_percent"] < limit for each in short)
            for limit in (90, 80, 70, 50, 10)
        },
        "interruptions": began_long,
        "short_interruptions": len(began) - began_long,
        "interrupted_minutes": sum(last - first for first, last in long) / 60 / S,
        "complete_percent": 100 * sum(ten.covered_ns for ten in tens) / TEN_NS / expected,
        "flagged_percent": 100 * sum(ten.flagged for ten in tens) / expected,
    }


def dips_table(truth: Truth, box_id: str, begin_ns: int, end_ns: int) -> list[list[int]]:
    """EN 50160:2010, table 2: rows from 90, 80, 70, 40, 5 % down, columns to 0.2, 0.5, 1, 5, 60 s, more."""
    counts = [[0] * 7 for _ in range(5)]
    for first_ns, last_ns, seen in truth.spans(box_id):
        if begin_ns <= first_ns < end_ns:
            row = sum(seen["residual_percent"] < limit for limit in (80, 70, 40, 5))
            column = sum((last_ns - first_ns) / S > limit for limit in (0.2, 0.5, 1, 5, 60))
            counts[row][column] += 1
    return counts
