"""What `/past` draws: rows for the charts of the page's script, and bars and histograms as SVG. Pure."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from markupsafe import Markup

from opq_cloud.reports.limit_table import Limit, LimitTable
from opq_cloud.view.pages.past.harmonics import Harmonics
from opq_cloud.view.pages.past.quantities import PastQuantity
from opq_cloud.view.pages.past.series import Floats, PastSeries, Spread, UnshownSpan
from opq_cloud.view.web.words import number
from opq_measure.standards.requirements import LIMIT_ROUNDING
from opq_proto.kit.drawing import Axis, Tick, bar, line
from opq_proto.measurement.intervals import INTERVAL_WORDS

HISTOGRAM_BINS = 48
WIDTH = 960.0
"""Units of the bars' drawing, which is stretched to its place."""
HEIGHT = 240.0
FEWEST_TOP = 0.5
"""The axis of harmonics goes to this percentage at least."""


@dataclass(frozen=True, slots=True)
class PastChart:
    """One quantity: its lines, and what stands beside them."""

    quantity: PastQuantity
    title: str
    unit: str
    digits: int
    nominal: float | None
    limits: tuple[tuple[float, str], ...]
    series: tuple[PastSeries, ...]
    gaps: tuple[tuple[tuple[int, int], ...], ...]
    """The gaps of each line."""

    @property
    def drawn(self) -> bool:
        return any(len(each.at_ms) for each in self.series)

    @property
    def unshown(self) -> tuple[UnshownSpan, ...]:
        return tuple(span for each in self.series for span in each.unshown)

    @property
    def flagged(self) -> bool:
        return any(bool(each.flagged.any()) for each in self.series)

    @property
    def summary(self) -> str:
        """A sentence for visitors who cannot see the chart."""
        known = [(each.words, each.figures) for each in self.series]
        return "; ".join(
            f"{name}: {number(found[0], self.digits)} to {number(found[6], self.digits, self.unit)}, "
            f"half of the time at or below {number(found[2], self.digits, self.unit)}"
            for name, found in known
            if found is not None
        )


def charts_json(
    charts: Iterable[PastChart],
    axis: tuple[int, int],
    weeks: str,
    marks: Iterable[tuple[float, str]],
    changes: Sequence[tuple[int, int, int, str]] = (),
) -> Markup:
    """What `past.js` draws from, to stand in the page; `changes`: number, start, end, quantity."""
    facts = {
        "start": axis[0],
        "end": axis[1],
        "weeks": weeks,
        "marks": list(marks),
        "charts": [
            {
                "name": chart.quantity.name,
                "unit": chart.unit,
                "digits": chart.digits,
                "nominal": chart.nominal,
                "limits": chart.limits,
                "changes": [each[:3] for each in changes if each[3] == chart.quantity.name],
                "series": [
                    {
                        "words": each.words,
                        "step": each.step_ms,
                        "at": each.at_ms.tolist(),
                        "low": _rounded(each.low, chart.digits),
                        "mean": _rounded(each.mean, chart.digits),
                        "high": _rounded(each.high, chart.digits),
                        "flagged": np.flatnonzero(each.flagged).tolist(),
                        "gaps": gaps,
                    }
                    for each, gaps in zip(chart.series, chart.gaps, strict=True)
                ],
            }
            for chart in charts
            if chart.drawn
        ],
    }
    return Markup(msgspec.json.encode(facts).decode().replace("&", "\\u0026").replace("<", "\\u003c"))


def _rounded(values: Floats, digits: int) -> list[float | None]:
    found = np.round(values, digits + 2)
    return [None if math.isnan(each) else each for each in found.tolist()]


def limits_of(
    table: LimitTable,
    quantity: PastQuantity,
    percent: bool,
    nominal: float | None,
    sources: Collection[str] = (),
) -> tuple[tuple[float, str], ...]:
    """The limits of a standard as lines of a chart: (value in its unit, words).

    `sources`: where the values of its lines come from. A limit is drawn where a line is of the intervals that
    it is for.
    """
    found: dict[float, str] = {}
    for limit in table.limits:
        if limit.quantity != quantity.interval or limit.order not in (None, (quantity.place or 0) + 1):
            continue
        length = INTERVAL_WORDS[limit.interval_ms]
        if f"class A, {length}" not in sources:
            continue
        scale: float | None = 1.0
        if limit.basis in ("nominal_v", "nominal_hz") and not quantity.of_nominal:
            whole = 100.0 if percent and quantity.name == "rms_v" else nominal
            scale = None if whole is None else whole / 100.0
        if scale is not None:
            for value in (limit.requirement.low, limit.requirement.high):
                if math.isfinite(value):
                    words = f"{limit.requirement.percent:g} % of {length}"
                    found.setdefault(round(value * scale, 6), words)
    return tuple(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class SpreadDrawing:
    """How long each value was measured, as bars; places are in percent."""

    words: str
    number: int
    path: str
    lines: tuple[tuple[float, str], ...]
    """5, 50, 95 and 99 %: (place from the left, words)."""
    ticks: tuple[Tick, ...]
    summary: str


def spread_drawing(series: PastSeries, place: int, unit: str, digits: int) -> SpreadDrawing | None:
    """The histogram of a line; None where too little is known."""
    spread = series.spread
    if len(spread.values) < 2 or spread.weights.sum() <= 0:
        return None
    low, high = _ends(spread)
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    counts, _ = np.histogram(np.clip(spread.values, low, high), edges, weights=spread.weights)
    top = counts.max()
    step = 100.0 / HISTOGRAM_BINS
    path = "".join(
        bar(at * step, (at + 1) * step, 100 - 100 * count / top, 100)
        for at, count in enumerate(counts.tolist())
        if count > 0
    )
    axis = Axis(low, high, 100)
    values = [(share, spread.quantile(share)) for share in (0.05, 0.5, 0.95, 0.99)]
    lines = tuple((axis.percent(value), f"{100 * share:g} %") for share, value in values)
    ticks = axis.ticks()
    middle = [number(value, digits, unit) for _, value in values]
    summary = f"5 % of the time at or below {middle[0]}, half {middle[1]}, 95 % {middle[2]}, 99 % {middle[3]}"
    return SpreadDrawing(
        series.words, place, path, lines, tuple(ticks[1:] if len(ticks) > 3 else ticks), summary
    )


def _ends(spread: Spread) -> tuple[float, float]:
    """The values that are drawn: without the last thousandth on each side, which may be far away."""
    low, high = spread.quantile(0.001), spread.quantile(0.999)
    pad = max((high - low) * 0.05, abs(high) * 1e-5, 1e-6)
    return low - pad, high + pad


@dataclass(frozen=True, slots=True)
class HarmonicBar:
    """One order: its value for the limit's share of the time, its highest value and its limit, in percent."""

    order: int
    value: float
    most: float
    limit: float | None
    share: float
    """Percent of the time that `value` stands for."""
    place: Tick
    """On the axis of orders."""
    value_path: str
    most_path: str
    """A thin line from the value to the highest one."""
    limit_path: str
    """A stroke across at the limit; empty without one."""

    @property
    def beyond(self) -> bool:
        return self.limit is not None and self.value > self.limit * (1 + LIMIT_ROUNDING)


@dataclass(frozen=True, slots=True)
class HarmonicBars:
    """The harmonics of one Box over a span."""

    words: str
    bars: tuple[HarmonicBar, ...]
    ticks: tuple[Tick, ...]
    intervals: int
    flagged_percent: float
    sentence: str

    @property
    def orders(self) -> list[Tick]:
        """The odd ones, below the chart."""
        return [each.place for each in self.bars if each.order % 2]


def harmonic_bars(
    words: str, harmonics: Harmonics, nominal_v: float, table: LimitTable
) -> HarmonicBars | None:
    """The bars of a Box, without flagged intervals; None where no harmonic is known."""
    orders = harmonics.orders
    if orders < 2:
        return None
    limits: Mapping[int, Limit] = {
        each.order: each
        for each in reversed(table.limits)
        if each.quantity == "harmonics_v" and each.order is not None and not each.daily
    }
    found = []
    for order in range(2, orders + 1):
        limit = limits.get(order)
        basis_v = None if limit is not None and limit.basis == "fundamental" else nominal_v
        share = limit.requirement.percent if limit is not None else 95.0
        value, most = harmonics.percent(order, share / 100, basis_v)
        if not math.isnan(value):
            found.append((order, value, most, None if limit is None else limit.requirement.high, share))
    if not found:
        return None
    top = max(FEWEST_TOP, *(max(value, high or 0.0) for _, value, _, high, _ in found)) * 1.08
    across = Axis(1.5, orders + 0.5, WIDTH)
    axis = Axis(0.0, top, HEIGHT, is_upright=True)

    def bar_of(order: int, width: float, low: float, high: float) -> str:
        left, right = across.place(order - width / 2), across.place(order + width / 2)
        return bar(left, right, axis.place(high), axis.place(low))

    def stroke(order: int, level: float | None) -> str:
        if level is None:
            return ""
        return line((across.place(order + x), axis.place(level)) for x in (-0.5, 0.5))

    bars = tuple(
        HarmonicBar(
            order,
            value,
            most,
            high,
            share,
            Tick(across.percent(order), str(order), crowded=order % 4 != 3),
            bar_of(order, 0.76, 0.0, value),
            bar_of(order, 0.15, value, max(value, most)),
            stroke(order, high),
        )
        for order, value, most, high, share in found
    )
    flagged = 100 * harmonics.flagged / harmonics.intervals if harmonics.intervals else 0.0
    ticks = axis.ticks()
    return HarmonicBars(words, bars, tuple(ticks), harmonics.intervals, flagged, _harmonic_words(bars, table))


def _harmonic_words(bars: Sequence[HarmonicBar], table: LimitTable) -> str:
    limited = [each for each in bars if each.limit is not None]
    beyond = [each for each in limited if each.beyond]
    if not limited:
        return f"{table.standard} has no limits for these orders over a week."
    if beyond:
        orders = ", ".join(str(each.order) for each in beyond)
        return f"Above its limit: harmonic {orders}."
    nearest = max(limited, key=lambda each: each.value / (each.limit or math.inf))
    share = 100 * nearest.value / (nearest.limit or math.inf)
    return (
        f"All {len(limited)} orders with a limit are within it; harmonic {nearest.order} comes nearest, "
        f"{number(share, 0, '%')} of its limit."
    )
