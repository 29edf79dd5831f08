"""Another meter beside a Box: bias, spread and delay of each quantity, as JSON and as a page with a chart."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_cloud.export.meter_values import MeterCourse
from opq_cloud.store.store import CloudStore
from opq_measure.aggregation.compared import MeterComparison, compared
from opq_proto.kit import drawing
from opq_proto.kit.drawing import Axis

MOST_DELAYED = 6
"""Intervals of the longest delay that is tried."""
WIDTH = 960
"""Units of the drawing, which is stretched to the page."""
HEIGHT = 260
MOST_DRAWN = 4000
STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2rem;max-width:62rem}"
    "svg{width:100%;height:auto;background:#fff}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:right}"
)


@dataclass(frozen=True, eq=False, slots=True)
class ComparedQuantity:
    """One quantity of both."""

    quantity: str
    length_ms: int
    found: MeterComparison
    at_s: NDArray[np.float64]
    """(count,) starts of our intervals, UTC."""
    ours: NDArray[np.float64]

    def as_json(self) -> dict[str, Any]:
        found = self.found
        return {
            "quantity": self.quantity,
            "length_ms": self.length_ms,
            "intervals": found.count,
            "bias": found.bias,
            "spread": found.spread,
            "delay_s": found.delay_s,
            "correlation": found.correlation,
            "svg": self.chart(),
        }

    def chart(self) -> str:
        """Both courses; where the other meter lies over ours, only it is seen."""
        step = -(-len(self.at_s) // MOST_DRAWN)
        at_s, lines = self.at_s[::step], (self.ours[::step], self.found.other[::step])
        low, high = min(map(np.min, lines)), max(map(np.max, lines))
        x = Axis(at_s[0], max(at_s[-1], at_s[0] + 1.0), WIDTH)
        y = Axis(float(low), max(float(high), float(low) + 1e-9), HEIGHT, is_upright=True)
        parted = np.diff(at_s, prepend=at_s[:1]) > 1.5 * step * self.length_ms / 1000
        drawn: list[str] = []
        for colour, values in zip(("#1f77b4", "#d62728"), lines, strict=True):
            points = drawing.line(_parted(x.places(at_s), y.places(values), parted))
            drawn.append(drawing.path("", points, f"fill:none;stroke:{colour}"))
        ends = (datetime.fromtimestamp(float(each), UTC).strftime("%Y-%m-%d %H:%M") for each in at_s[[0, -1]])
        labels: tuple[tuple[int, int, str], ...] = (
            (0, 12, f"{high:.6g}"),
            (0, HEIGHT, f"{low:.6g}"),
        )
        labels += tuple((left, HEIGHT + 14, each) for left, each in zip((0, WIDTH - 130), ends, strict=True))
        drawn += (f'<text x="{left}" y="{top}" font-size="12">{each}</text>' for left, top, each in labels)
        words = f"{self.quantity}: ours (blue) and the other meter's (red), {low:.6g} to {high:.6g}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 20}" role="img" '
            f'aria-label="{escape(words)}">{"".join(drawn)}</svg>'
        )


def _parted(
    x: NDArray[np.float64], y: NDArray[np.float64], parted: NDArray[np.bool_]
) -> Iterator[tuple[float, float]]:
    """The points, with a hole where values are missing."""
    for new, a, b in zip(parted.tolist(), x.tolist(), y.tolist(), strict=True):
        if new:
            yield math.nan, math.nan
        yield a, b


def compare_meter(
    store: CloudStore,
    box_id: str,
    courses: Mapping[str, MeterCourse],
    start_ns: int,
    end_ns: int,
    length_ms: int,
) -> list[ComparedQuantity]:
    """Compares what both have of a span; a quantity of which there is too little is left out.

    Args:
        courses: quantity -> the other meter's values.
    Raises:
        StoreError: the store cannot be read.
    """
    columns = store.intervals.read(box_id, length_ms, start_ns, end_ns, tuple(courses))
    reach_s = MOST_DELAYED * length_ms // 1000
    found = []
    for quantity, course in courses.items():
        values = columns.values.get(quantity)
        first, last = np.searchsorted(course.at_s, (start_ns / 1e9 - reach_s, end_ns / 1e9 + reach_s))
        if values is None or values.ndim > 1 or first == last:
            continue
        known = ~np.isnan(values) & ~columns.flagged
        our_s, ours = columns.start_ns[known] / 1e9, values[known].astype(np.float64)
        theirs = course.at_s[first:last], course.values[first:last]
        result = compared(our_s, ours, *theirs, length_ms / 1000, float(reach_s))
        if result is not None:
            chosen = result.chosen
            found.append(ComparedQuantity(quantity, length_ms, result, our_s[chosen], ours[chosen]))
    return found


def comparison_page(meter: str, box_id: str, found: Sequence[ComparedQuantity]) -> str:
    """A page without links: figures and a chart for each quantity."""
    title = f"{meter} beside Box {box_id}"
    rows = []
    for each in found:
        one = each.found
        delay = "not shown" if one.delay_s is None else f"{one.delay_s:.2f}"
        cells = (each.quantity, one.count, f"{one.bias:+.6g}", f"{one.spread:.6g}", delay)
        rows.append("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>")
    charts = "".join(f"<h2>{escape(each.quantity)}</h2>{each.chart()}" for each in found)
    heads = "".join(f"<th>{each}</th>" for each in ("quantity", "intervals", "bias", "spread", "delay, s"))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style><h1>{escape(title)}</h1><p>Blue: the Box. Red: the other meter, "
        f"with its delay taken out.</p><table><tr>{heads}</tr>{''.join(rows)}</table>{charts}</html>\n"
    )
