"""The drawings of a report as SVG paths and places: the week's voltage, harmonics, events. Pure.

A drawing is stretched to its place, so it has areas and no lines, whose width would be stretched too; words
and dots stand above it at places in percent. So it reads alike on a phone, on a screen and on paper.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opq_cloud.reports.verdicts import FloatArray, missing_spans_ns
from opq_cloud.reports.week import ReportWeek, local_moment
from opq_cloud.reports.week_report import PhaseReport, WeekReport
from opq_measure.events.curves import ITIC_HIGH, ITIC_LOW, SEMI_F47
from opq_proto.kit.drawing import Axis, Tick, VoltagePlane, bar, line
from opq_proto.measurement.intervals import TEN_MINUTES_MS

WIDTH = 1000
"""Units of a drawing, which is stretched to the page."""
HEIGHT = 300
LINE_HEIGHT = 1.6
"""Height of a drawn level, in units of HEIGHT."""
MOST_PERCENT = 160.0
SHORTEST_S = 0.005
"""Left end of the axis of durations."""
LONGEST_S = 600.0
"""Right end of the axis of durations."""
PLANE = VoltagePlane.of(SHORTEST_S, LONGEST_S, MOST_PERCENT, WIDTH, HEIGHT)
EVENT_TIMES: Final = ((0.01, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (10.0, "10 s"), (100.0, "100 s"))
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Area:
    """A path over WIDTH x HEIGHT; `tone` names its colour."""

    tone: str
    path: str


@dataclass(frozen=True, slots=True)
class Dot:
    x: float
    y: float
    tone: str
    words: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """One drawing: areas in the order of painting, words beside its axes, dots."""

    title: str
    summary: str
    areas: tuple[Area, ...]
    x_labels: tuple[Tick, ...]
    y_labels: tuple[Tick, ...]
    dots: tuple[Dot, ...] = ()


@dataclass(frozen=True, slots=True)
class _Frame:
    x: Axis
    y: Axis

    @classmethod
    def of(cls, left: float, right: float, bottom: float, top: float) -> "_Frame":
        return cls(Axis(left, right, WIDTH), Axis(bottom, top, HEIGHT, is_upright=True))

    def level(self, value: float) -> str:
        """A thin area over the whole width; empty outside the frame."""
        if not self.y.first < value < self.y.last:
            return ""
        middle = self.y.place(value)
        return bar(0, WIDTH, middle - LINE_HEIGHT / 2, middle + LINE_HEIGHT / 2)

    def column(self, first: float, last: float) -> str:
        """An area as high as the drawing."""
        return bar(self.x.place(first), self.x.place(last), 0, HEIGHT)

    def labels(self) -> tuple[Tick, ...]:
        return tuple(each for each in self.y.ticks() if 3 < each.percent < 97)


def voltage_drawing(phase: PhaseReport, report: WeekReport, together: int = 1) -> Drawing | None:
    """The ten minutes of a week in percent of nominal; None without any.

    Args:
        together: so many that follow each other are drawn as one, from their lowest to their highest value.
    """
    box, week = phase.box.week, report.week
    ten = box.intervals.get(TEN_MINUTES_MS)
    if ten is None or "rms_v" not in ten.values or np.isnan(ten.values["rms_v"]).all():
        return None
    scale = 100 / box.nominal_v
    mean = np.asarray(ten.values["rms_v"], np.float64) * scale
    low = np.asarray(ten.values.get("rms_min_v", ten.values["rms_v"]), np.float64) * scale
    high = np.asarray(ten.values.get("rms_max_v", ten.values["rms_v"]), np.float64) * scale
    limits = sorted(
        {
            value
            for row in phase.rows
            if row.limit.quantity == "rms_v"
            for value in (row.limit.requirement.low, row.limit.requirement.high)
            if math.isfinite(value)
        }
    )
    bottom = min([88.0, float(np.nanmin(low)) - 1, *(each - 1 for each in limits)])
    top = max([112.0, float(np.nanmax(high)) + 1, *(each + 1 for each in limits)])
    frame = _Frame.of(week.start_ns, week.end_ns, bottom, top)
    shown = ~np.isnan(mean)
    areas = (
        Area("missing", _missing(ten.start_ns, ten.end_ns, shown, week, frame)),
        Area("flagged", _columns(ten.start_ns, ten.end_ns, ten.flagged & shown, frame)),
        Area("band", _bars(ten.start_ns, ten.end_ns, low, high, shown, frame, 0.0, together)),
        Area("series", _bars(ten.start_ns, ten.end_ns, mean, mean, shown, frame, 3.0, together)),
        Area("limit", "".join(frame.level(each) for each in limits)),
        Area("nominal", frame.level(100.0)),
    )
    summary = (
        f"Ten-minute values from {np.nanmin(mean):.1f} to {np.nanmax(mean):.1f} % of {box.nominal_v:g} V"
    )
    return Drawing(
        f"Voltage, % of {box.nominal_v:g} V",
        summary,
        tuple(each for each in areas if each.path),
        _day_labels(week),
        frame.labels(),
    )


def harmonics_drawing(report: WeekReport) -> Drawing | None:
    """The percentile of each order beside its limit, the worst phase; None where none was judged."""
    rows = [row for row in report.rows if row.limit.order is not None and row.judgement.count]
    weekly = [row for row in rows if row.limit.interval_ms == TEN_MINUTES_MS]
    if not weekly:
        return None
    worst: dict[int, float] = {}
    limits: dict[int, float] = {}
    for row in weekly:
        order = row.limit.order or 0
        worst[order] = max(worst.get(order, 0.0), row.judgement.value)
        limits[order] = row.limit.requirement.high
    last = max(worst)
    frame = _Frame.of(1.5, last + 0.5, 0.0, 1.1 * max(*limits.values(), *worst.values()))
    good: list[str] = []
    bad: list[str] = []
    marks: list[str] = []
    for order, value in sorted(worst.items()):
        drawn = bar(frame.x.place(order - 0.3), frame.x.place(order + 0.3), frame.y.place(value), HEIGHT)
        (bad if value > limits[order] else good).append(drawn)
        y = frame.y.place(limits[order])
        marks.append(bar(frame.x.place(order - 0.45), frame.x.place(order + 0.45), y - 1.5, y + 1.5))
    step = 2 if last <= 25 else 5
    orders = list(range(3 if step == 2 else 5, last + 1, step))
    percent = weekly[0].limit.requirement.percent
    return Drawing(
        f"Harmonics by order, {percent:g} % value, %",
        "The table of harmonics has its figures",
        tuple(
            Area(tone, "".join(parts))
            for tone, parts in (("series", good), ("bad", bad), ("limit", marks))
            if parts
        ),
        tuple(Tick(frame.x.percent(order), str(order)) for order in orders),
        frame.labels(),
    )


def events_drawing(report: WeekReport) -> Drawing | None:
    """Duration and residual voltage of each ended event, with the lines of ITIC and SEMI F47."""
    ended = [each for each in report.events if each.duration_s is not None]
    if not ended:
        return None
    dots = tuple(
        Dot(
            PLANE.time.percent(each.duration_s or 0.0),
            PLANE.level.percent(each.residual_percent),
            each.kind,
            f"{each.kind}, {each.residual_percent:.1f} %, {round(each.duration_s or 0.0, 3):g} s",
        )
        for each in ended
    )
    return Drawing(
        "Residual voltage, %, and duration",
        f"{len(ended)} events",
        (
            Area("above", _region(ITIC_HIGH, above=True)),
            Area("below", _region(ITIC_LOW, above=False)),
            Area("limit", _steps(SEMI_F47)),
        ),
        tuple(Tick(PLANE.time.percent(seconds), words) for seconds, words in EVENT_TIMES),
        tuple(Tick(PLANE.level.percent(each), f"{each:g}") for each in (40.0, 70.0, 90.0, 110.0, 140.0)),
        dots,
    )


def _day_labels(week: ReportWeek) -> tuple[Tick, ...]:
    length = week.end_ns - week.start_ns
    return tuple(
        Tick(round(100 * (start - week.start_ns) / length, 2), local_moment(start, week.zone).strftime("%a"))
        for start in dict.fromkeys(week.day_starts_ns)
        if start < week.end_ns
    )


def _missing(
    starts: IntArray, ends: IntArray, shown: NDArray[np.bool_], week: ReportWeek, frame: _Frame
) -> str:
    """The stretches of the week without a value, in one path."""
    found = missing_spans_ns(starts[shown], ends[shown], week.start_ns, week.end_ns)
    return "".join(frame.column(*each) for each in found)


def _columns(starts: IntArray, ends: IntArray, chosen: NDArray[np.bool_], frame: _Frame) -> str:
    spans = zip(starts[chosen].tolist(), ends[chosen].tolist(), strict=True)
    return "".join(frame.column(*each) for each in spans)


def _bars(
    starts: IntArray,
    ends: IntArray,
    low: FloatArray,
    high: FloatArray,
    shown: NDArray[np.bool_],
    frame: _Frame,
    least: float,
    together: int,
) -> str:
    """An area from the lowest to the highest value of each interval, at least `least` high.

    Intervals that follow each other are one outline, forth above and back below: half of the numbers of a box
    for each, which is what a PDF takes its time for.
    """
    good = shown & ~np.isnan(low) & ~np.isnan(high)
    if not good.any():
        return ""
    begins, stops, lows, highs = (each[good] for each in (starts, ends, low, high))
    apart = np.concatenate(([True], begins[1:] != stops[:-1]))
    of_run = np.arange(len(apart)) - np.maximum.accumulate(np.where(apart, np.arange(len(apart)), 0))
    first = np.flatnonzero(of_run % together == 0)
    last = np.append(first[1:], len(apart)) - 1
    runs: list[list[tuple[str, str, str, str]]] = []
    for a, b, bottom, top, is_first in zip(
        begins[first].tolist(),
        stops[last].tolist(),
        np.minimum.reduceat(lows, first).tolist(),
        np.maximum.reduceat(highs, first).tolist(),
        apart[first].tolist(),
        strict=True,
    ):
        upper, lower = frame.y.place(top), frame.y.place(bottom)
        if lower - upper < least:
            middle = (upper + lower) / 2
            upper, lower = middle - least / 2, middle + least / 2
        if is_first:
            runs.append([])
        runs[-1].append(
            (f"{frame.x.place(a):.1f}", f"{frame.x.place(b):.1f}", f"{upper:.1f}", f"{lower:.1f}")
        )
    return "".join(
        f"M{run[0][0]},{run[0][2]}"
        + "".join(f"V{upper}H{end}" for _, end, upper, _ in run)
        + "".join(f"V{lower}H{x}" for x, _, _, lower in reversed(run))
        + "Z"
        for run in runs
    )


def _region(steps: Sequence[tuple[float, float]], above: bool) -> str:
    """The area above or below a line of steps (until s, percent)."""
    edge = 0 if above else HEIGHT
    points = [(0.0, edge), *PLANE.curve(steps, SHORTEST_S), (WIDTH, edge)]
    return line(points) + "Z"


def _steps(steps: Sequence[tuple[float, float]]) -> str:
    """A line of steps as thin areas, from 50 ms on."""
    path = ""
    points = PLANE.curve(steps, 0.05)
    for (x, y), (end, below) in pairwise(points):
        if x == end:
            path += bar(x - 0.8, x + 0.8, min(y, below), max(y, below))
        else:
            path += bar(x, end, y - 1.2, y + 1.2)
    return path
