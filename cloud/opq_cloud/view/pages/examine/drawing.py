"""The charts of an event as SVG, drawn on the server: they need no script, print well and appear at once.

Pure. x runs from 0 to WIDTH over the span of the address. Half a span on both sides of it is drawn too, so
that a page that is moved by hand has something to show until the server has drawn it again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from opq_cloud.view.pages.drawing.charts import ChartLine
from opq_cloud.view.pages.examine.signal_figures import ORDERS_SHOWN
from opq_cloud.view.web.words import THIN
from opq_proto.kit.drawing import HEIGHT, WIDTH, Axis, Tick, bar, line, round_levels

POINTS = 1600
"""Points of a line over the span; the parts on both sides together have as many again."""
BESIDE_SHARE = 0.5
MAX_TICKS = 7
ORDERS = Axis(1.5, ORDERS_SHOWN + 0.5, WIDTH)
"""The orders of harmonics, from left to right."""
ORDER_TICKS = tuple(Tick(ORDERS.percent(each), str(each)) for each in range(2, ORDERS_SHOWN + 1, 2))
BAR_ORDERS = 0.38
"""Width of a bar, of the space of an order."""
LEVEL_PERCENTS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""The levels at which the shades of a spectrogram change, percent of nominal."""
_UNITS = ((60e3, 300e3, "min"), (1e3, 10e3, "s"), (1.0, 0.0, "ms"))


@dataclass(frozen=True, slots=True)
class DrawnSpan:
    """A part of the time axis: its left end and width in percent, and its words."""

    start_ms: float
    end_ms: float
    percent: float
    width: float
    words: str = ""
    measured: bool = False
    """Other data is drawn there, so that it is not hatched."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A span of values, drawn over HEIGHT."""

    low: float
    high: float

    @property
    def axis(self) -> Axis:
        return Axis(self.low, self.high, HEIGHT, is_upright=True)

    def percent(self, value: float) -> float:
        """The place of a value in percent from the top, also outside."""
        return round(100 * self.axis.share(value), 2)

    def ticks(self, factor: float = 1.0) -> tuple[Tick, ...]:
        """Ticks at round values of value x factor, with their words."""
        levels = round_levels(self.low * factor, self.high * factor)
        shown = [(self.percent(value / factor), words) for value, words in levels]
        return tuple(Tick(percent, words) for percent, words in shown if percent > 8)


def scale_of(
    lines: Iterable[ChartLine], least: float, always: Sequence[float] = (), even: bool = False
) -> Scale | None:
    """A scale for all values of the lines, with a margin, at least `least` high; `even` centres it at 0."""
    parts = [each.values[np.isfinite(each.values)] for each in lines]
    parts = [part for part in parts if len(part)]
    if not parts:
        return None
    low = min(*(float(part.min()) for part in parts), *always, np.inf)
    high = max(*(float(part.max()) for part in parts), *always, -np.inf)
    if even:
        reach = max(abs(low), abs(high), least / 2) * 1.08
        return Scale(-reach, reach)
    pad = max(0.06 * (high - low), (least - (high - low)) / 2)
    return Scale(low - pad, high + pad)


def trace(lines: Iterable[ChartLine], scale: Scale, start_ms: float, end_ms: float) -> str:
    """An SVG path of the lines, which are not joined."""
    time, parts = Axis(start_ms, end_ms, WIDTH), []
    for each in lines:
        x = np.clip(time.places(each.t_ms), -2 * WIDTH, 3 * WIDTH).tolist()
        y = np.clip(scale.axis.places(each.values), -HEIGHT, 2 * HEIGHT).tolist()
        points = list(zip(x, y, strict=True))
        parts.append(line(points * 2 if len(points) == 1 else points, digits=0))
    return "".join(parts)


def bars(rows: Iterable[tuple[float, float, float, float]], scale: Scale, start: float, end: float) -> str:
    """An SVG path of bars (start ms, end ms, lowest, highest): Measurements between two waveforms."""
    per_ms, axis = WIDTH / (end - start), scale.axis
    parts = []
    for first_ms, last_ms, low, high in rows:
        left = max((first_ms - start) * per_ms, -WIDTH)
        right = min(max((last_ms - start) * per_ms, left + 0.5), 2 * WIDTH)
        upper, lower = HEIGHT * axis.share(high), HEIGHT * axis.share(low)
        parts.append(bar(left, right, upper, lower, least=4, digits=0))
    return "".join(parts)


def harmonic_bars(percents: Sequence[float | None], top_percent: float, beside: bool = False) -> str:
    """An SVG path of a bar for each order from 2 that is known; `beside` the place of the first bars."""
    levels, parts = Axis(0.0, top_percent / 0.9, HEIGHT, is_upright=True), []
    for order, percent in enumerate(percents, 2):
        if percent is not None:
            left = order if beside else order - BAR_ORDERS
            right = left + BAR_ORDERS
            parts.append(bar(ORDERS.place(left), ORDERS.place(right), levels.place(percent), HEIGHT))
    return "".join(parts)


def drawn_span(start_ms: float, end_ms: float, span: tuple[float, float], words: str = "") -> DrawnSpan:
    """A part of the time axis, cut at half a span on both sides of the shown one."""
    first, last = span
    air = (last - first) * BESIDE_SHARE
    begin, stop = max(start_ms, first - air), min(end_ms, last + air)
    percent = (begin - first) / (last - first) * 100
    width = max(0.15, (stop - begin) / (last - first) * 100)
    return DrawnSpan(start_ms, end_ms, round(percent, 3), round(width, 3), words)


def percent_of(t_ms: float, span: tuple[float, float]) -> float:
    """The place of a moment in percent from the left, within -100 to 200."""
    share = (t_ms - span[0]) / (span[1] - span[0]) * 100
    return round(min(200.0, max(-100.0, share)), 4)


def time_axis(start_ms: float, end_ms: float) -> tuple[Tick, ...]:
    """Ticks at round times from the start of the incident, in one unit, all with different words."""
    size = max(abs(start_ms), abs(end_ms))
    per_unit, _, unit = next(each for each in _UNITS if size >= each[1])
    step = next(each for each in _steps() if (end_ms - start_ms) / per_unit / each <= MAX_TICKS)
    digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    first = int(np.ceil(start_ms / per_unit / step - 1e-9))
    last = int(np.floor(end_ms / per_unit / step + 1e-9))
    ticks = []
    for k in range(first, last + 1):
        percent = (k * step * per_unit - start_ms) / (end_ms - start_ms) * 100
        if percent > 95:  # its words would leave the chart
            break
        words = f"{k * step:.{digits}f}".replace("-", "\u2212")
        ticks.append(Tick(round(percent, 3), f"{words}{THIN}{unit}", at_ms=k * step * per_unit))
    return tuple(ticks)


def _steps() -> Iterable[float]:
    for power in range(-6, 12):
        for digit in (1.0, 2.0, 5.0):
            yield digit * 10.0**power


def shades(
    columns: Iterable[tuple[float, float, tuple[float, ...]]], start_ms: float, end_ms: float
) -> list[tuple[int, str]]:
    """(shade 1 to 5, SVG path) of a spectrogram; order 2 is at the bottom."""
    rows = ORDERS_SHOWN - 1
    height = HEIGHT / rows
    runs: dict[tuple[int, int], tuple[float, float]] = {}
    parts: dict[int, list[str]] = {}

    def put(row: int, shade: int, begin: float, stop: float) -> None:
        left, right = ((each - start_ms) / (end_ms - start_ms) * WIDTH for each in (begin, stop))
        top = HEIGHT - (row + 1) * height
        parts.setdefault(shade, []).append(bar(left, right, top, top + height))

    for begin, stop, percents in columns:
        going: dict[tuple[int, int], tuple[float, float]] = {}
        for row, percent in enumerate(percents):
            shade = sum(percent >= level for level in LEVEL_PERCENTS)
            if not shade:
                continue
            since = runs.pop((row, shade), None)
            joined = since is not None and abs(since[1] - begin) < 1e-6 * (end_ms - start_ms)
            if since is not None and not joined:
                put(row, shade, *since)
            going[row, shade] = (since[0] if joined and since else begin, stop)
        for (row, shade), since in runs.items():
            put(row, shade, *since)
        runs = going
    for (row, shade), since in runs.items():
        put(row, shade, *since)
    return [(shade, "".join(parts[shade])) for shade in sorted(parts)]
