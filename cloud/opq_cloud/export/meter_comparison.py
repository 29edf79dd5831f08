"""Another meter beside a Box: bias, spread and delay of each quantity, as JSON and as a page with a chart."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.store import CloudStore
from opq_measure.aggregation.compared import MeterComparison, compared

QUANTITIES = ("rms_v", "f_hz", "thd_ratio", "pst", "plt")
"""What is compared where no quantity is named."""
LENGTHS_MS = {"3s": 3_000, "10s": 10_000, "10min": 600_000, "2h": 7_200_000}
MOST_DELAYED = 6
"""Intervals of the longest delay that is tried."""
WIDTH = 960
"""Units of the drawing, which is stretched to the page."""
HEIGHT = 260
MARGIN = 10
"""Units between the edge of the drawing and its lines."""
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
        span, rise = max(float(np.ptp(at_s)), 1.0), max(float(high - low), 1e-9)
        x = MARGIN + (at_s - at_s[0]) / span * (WIDTH - 2 * MARGIN)
        drawn = []
        for (colour, name), values in zip(
            (("#1f77b4", "ours"), ("#d62728", "the other's")), lines, strict=True
        ):
            y = HEIGHT - MARGIN - (values - low) / rise * (HEIGHT - 2 * MARGIN)
            points = _path(x, y, self.at_s[::step], 1.5 * step * self.length_ms / 1000)
            drawn.append(f'<path d="{points}" fill="none" stroke="{colour}"><title>{name}</title></path>')
        ends = (datetime.fromtimestamp(float(each), UTC).strftime("%Y-%m-%d %H:%M") for each in at_s[[0, -1]])
        labels: tuple[tuple[int, int, str], ...] = (
            (0, 12, f"{high:.6g}"),
            (0, HEIGHT - MARGIN, f"{low:.6g}"),
        )
        labels += tuple(
            (left, HEIGHT + 14, each) for left, each in zip((MARGIN, WIDTH - 130), ends, strict=True)
        )
        drawn += (f'<text x="{left}" y="{top}" font-size="12">{each}</text>' for left, top, each in labels)
        words = f"{self.quantity}: ours and the other meter's, {low:.6g} to {high:.6g}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 20}" role="img" '
            f'aria-label="{escape(words)}">{"".join(drawn)}</svg>'
        )


def _path(x: NDArray[np.float64], y: NDArray[np.float64], at_s: NDArray[np.float64], longest_s: float) -> str:
    """A line that is broken where values are missing."""
    breaks = np.concatenate(([True], np.diff(at_s) > longest_s))
    return "".join(f"{'M' if new else 'L'}{a:.1f},{b:.1f}" for new, a, b in zip(breaks, x, y, strict=True))


def compare_meter(
    store: CloudStore,
    meter: str,
    box_id: str,
    start_ns: int,
    end_ns: int,
    length_ms: int,
    quantities: Sequence[str] = QUANTITIES,
) -> list[ComparedQuantity]:
    """Compares what both have of a span; a quantity of which there is too little is left out.

    Raises:
        StoreError: the store cannot be read.
    """
    columns = store.intervals.read(box_id, length_ms, start_ns, end_ns, quantities)
    reach_s = MOST_DELAYED * length_ms // 1000
    found = []
    for quantity in quantities:
        values = columns.values.get(quantity)
        span_s = start_ns // 10**9 - reach_s, end_ns // 10**9 + reach_s
        theirs = [each for each in store.meter_values(meter, quantity, *span_s) if each.value is not None]
        if values is None or values.ndim > 1 or not theirs:
            continue
        known = ~np.isnan(values) & ~columns.flagged
        our_s, ours = columns.start_ns[known] / 1e9, values[known].astype(np.float64)
        their_s = np.array([each.time_s for each in theirs], np.float64)
        their_values = np.array([each.value for each in theirs], np.float64)
        result = compared(our_s, ours, their_s, their_values, length_ms / 1000, float(reach_s))
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
