"""Charts of a span as SVG, drawn on the server: they need no script, print well, and load a browser little.

Pure. A row is a bar from its lowest to its highest value with its mean as a step: nothing is slanted, and
nothing is drawn where nothing was measured. x is exactly the requested span.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from opq_cloud.view.pages.drawing.box_history import BoxHistory
from opq_cloud.view.web.words import short_date
from opq_proto.kit.round_levels import round_levels

WIDTH, HEIGHT = 1000, 500
"""The drawing's own coordinates; it is stretched to its place, but the lines keep their width."""
MAX_TICKS = 6
MIN_BAR = 1.5
"""The least visible height of a bar, in HEIGHT's units."""
PHONE_PX = 336
"""Width of a chart on a phone of 390 pixels."""
LETTER_PX, APART_PX = 6.6, 6.0
"""Width of a letter of an axis label in 12 px type, and the least space between two labels."""
_TICKS_MS = tuple(
    minutes * 60_000
    for minutes in (
        1,
        2,
        5,
        10,
        15,
        30,
        60,
        120,
        180,
        360,
        720,
        1440,
        2880,
        5760,
        10080,
        20160,
        43200,
        86400,
        129600,
        259200,
        525600,
    )
)


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis, in percent from the left or the top, and its words."""

    percent: float
    words: str
    crowded: bool = False
    """On a phone its words would touch those before them, or leave the chart, so they are left out there."""


@dataclass(frozen=True, slots=True)
class IncidentMark:
    """An incident on the axis, percent from the left."""

    percent: float
    kind: str


@dataclass(frozen=True, slots=True)
class GapSpan:
    """A part of the axis: left end and width in percent."""

    percent: float
    width: float


@dataclass(frozen=True, slots=True)
class HistoryChart:
    """SVG paths of one metric over WIDTH x HEIGHT, with its ticks."""

    name: str
    bars: str
    flagged: str
    """The bars of flagged rows, which are drawn lighter."""
    means: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    nominal_percent: float | None
    """In percent from the top; None where outside the chart or unknown."""


@dataclass(frozen=True, slots=True)
class ChartTimeAxis:
    """The span that WIDTH stands for."""

    start_ms: float
    end_ms: float

    def x(self, moment_ms: float) -> float:
        """The place of a moment, limited to the span."""
        place = (moment_ms - self.start_ms) * WIDTH / (self.end_ms - self.start_ms)
        return 0.0 if place < 0.0 else WIDTH if place > WIDTH else place

    def gaps(self, spans: Iterable[tuple[int, int]]) -> tuple[GapSpan, ...]:
        """The stretches where nothing was measured."""
        places = ((self.x(start_ms), self.x(end_ms)) for start_ms, end_ms in spans)
        return tuple(GapSpan(begin / 10, max(0.05, (end - begin) / 10)) for begin, end in places)

    def coverage(self, shares: Iterable[tuple[int, float]], step_ms: int) -> str:
        """Bars over the whole height: as high as the measured share of each row (start, share)."""
        return "".join(
            f"M{self.x(start_ms):.1f},{HEIGHT}V{(1 - share) * HEIGHT:.0f}"
            f"H{self.x(start_ms + step_ms):.1f}V{HEIGHT}Z"
            for start_ms, share in shares
        )

    def mark(self, start_ms: float, kind: str) -> IncidentMark | None:
        """The mark of an incident; None where it did not begin within the span."""
        if not self.start_ms <= start_ms < self.end_ms:
            return None
        share = (start_ms - self.start_ms) / (self.end_ms - self.start_ms)
        return IncidentMark(round(share * 100, 3), kind)


@dataclass(frozen=True, slots=True)
class ChartFrame:
    """A span of time and of values, drawn over WIDTH x HEIGHT."""

    axis: ChartTimeAxis
    bottom: float
    top: float

    @classmethod
    def around(cls, axis: ChartTimeAxis, low: float, high: float) -> "ChartFrame":
        """A frame with a margin above and below the values."""
        pad = max((high - low) * 0.08, abs(high) * 1e-4, 1e-9)
        return cls(axis, low - pad, high + pad)

    def y(self, value: float) -> float:
        return (self.top - value) / (self.top - self.bottom) * HEIGHT

    def percent(self, value: float) -> float:
        """The place of a value in percent from the top."""
        return round(self.y(value) / HEIGHT * 100, 2)

    def bars(self, spreads: Iterable[tuple[int, float, float]], step_ms: int) -> str:
        """A bar for each row (start, lowest, highest)."""
        found = []
        x, top, scale = self.axis.x, self.top, HEIGHT / (self.top - self.bottom)
        for start_ms, low, high in spreads:
            begin, end = x(start_ms), x(start_ms + step_ms)
            upper, lower = (top - high) * scale, (top - low) * scale
            if lower - upper < MIN_BAR:
                upper, lower = (
                    (upper + lower) / 2 - MIN_BAR / 2,
                    (upper + lower) / 2 + MIN_BAR / 2,
                )
            found.append(f"M{begin:.1f},{upper:.1f}H{end:.1f}V{lower:.1f}H{begin:.1f}Z")
        return "".join(found)

    def steps(self, means: Iterable[tuple[int, float]], step_ms: int) -> str:
        """A step for each row (start, mean); consecutive rows are joined."""
        found = []
        x, top, scale = self.axis.x, self.top, HEIGHT / (self.top - self.bottom)
        end_x = -1.0
        for start_ms, mean in means:
            begin, end = x(start_ms), x(start_ms + step_ms)
            joint = "V" if begin - end_x < 0.05 else f"M{begin:.1f},"
            found.append(f"{joint}{(top - mean) * scale:.1f}H{end:.1f}")
            end_x = end
        return "".join(found)

    def level_ticks(self) -> tuple[Tick, ...]:
        """Ticks of round values, without those whose words, above their line, would leave the chart."""
        levels = round_levels(self.bottom, self.top)
        return tuple(Tick(self.percent(value), words) for value, words in levels if self.percent(value) > 12)

    def nominal_percent(self, nominal: float | None) -> float | None:
        """In percent from the top; None where outside the chart or unknown."""
        return self.percent(nominal) if nominal is not None and self.bottom < nominal < self.top else None


def history_chart(history: BoxHistory, name: str, nominal: float | None = None) -> HistoryChart | None:
    """The chart of a metric; None where no row has it."""
    rows = [row for row in history.rows if name in row.values]
    spreads = [(row.start_ms, *row.values[name]) for row in rows]
    if not rows:
        return None
    span, step_ms = history.span, history.step_ms
    axis = ChartTimeAxis(span.start_ms, span.end_ms)
    frame = ChartFrame.around(axis, min(each[1] for each in spreads), max(each[3] for each in spreads))

    def bars(flagged: bool) -> str:
        shown = (row for row in rows if bool(row.flagged) is flagged)
        return frame.bars(
            ((row.start_ms, row.values[name][0], row.values[name][2]) for row in shown), step_ms
        )

    return HistoryChart(
        name,
        bars(False),
        bars(True),
        frame.steps(((start_ms, mean) for start_ms, _, mean, _ in spreads), step_ms),
        time_ticks(span.start_ms, span.end_ms),
        frame.level_ticks(),
        frame.nominal_percent(nominal),
    )


def time_ticks(start_ms: int, end_ms: int) -> tuple[Tick, ...]:
    """At most MAX_TICKS ticks at whole times in UTC; the first and each new day have a date."""
    every_ms = next((each for each in _TICKS_MS if (end_ms - start_ms) / each <= MAX_TICKS), _TICKS_MS[-1])
    days = every_ms >= 86_400_000
    ticks, date, free_px = [], "", 0.0
    for at_ms in range(-(-start_ms // every_ms) * every_ms, end_ms, every_ms):
        percent = (at_ms - start_ms) / (end_ms - start_ms) * 100
        if percent > 94:  # its words would leave the chart
            break
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        day = short_date(at) + (f" {at.year}" if every_ms > 86_400_000 * 45 else "")
        words = day if days or (not date) or (day != date and at.hour + at.minute == 0) else f"{at:%H:%M}"
        if words == day and not days and at.hour + at.minute:
            words = f"{day} {at:%H:%M}"
        date = day
        begin_px = percent / 100 * PHONE_PX
        end_px = begin_px + len(words) * LETTER_PX
        crowded = begin_px < free_px or end_px > PHONE_PX
        if not crowded:
            free_px = end_px + APART_PX
        ticks.append(Tick(round(percent, 2), words, crowded))
    return tuple(ticks)
