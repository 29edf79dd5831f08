"""Incidents as dots over duration and residual voltage, on the cells that filter the list. Pure.

The axes are those of EN 50160's tables and of the ITIC curve: duration by its logarithm, voltage in percent
of nominal. Each dot leads to its incident within the filter; each cell of the background is a filter.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from opq_cloud.store.incidents.index import DURATIONS_S, PERCENTS, PLANE_COLUMNS, PLANE_ROWS, IndexedIncident
from opq_cloud.view.web.words import THIN, class_tone, class_words, duration, number
from opq_measure.events.curves import ITIC_HIGH, ITIC_LOW, SEMI_F47
from opq_proto.kit.drawing import Tick, VoltagePlane, line, path

WIDTH = 1000.0
HEIGHT = 400.0
SHORTEST_S = 0.004
"""Left end of the axis of durations."""
LONGEST_S = 10_000.0
"""Right end of the axis of durations."""
MAX_PERCENT = 140.0
PLANE = VoltagePlane.of(SHORTEST_S, LONGEST_S, MAX_PERCENT, WIDTH, HEIGHT)
MAX_DOTS = 500
"""The newest of the filter; each is a link."""
DOT_SHAPES = {
    "down": "M-5-4H5L0 5Z",
    "up": "M-5 4H5L0-5Z",
    "out": "M-6-2H6V2H-6Z",
    "other": "M-4.500 0a4.500 4.500 0 1 0 9 0a4.500 4.500 0 1 0-9 0Z",
}
"""SVG paths about their own middle: a class has its own shape, not only a colour."""
_TIMES_S = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)


@dataclass(frozen=True, slots=True)
class ScatterDot:
    """An incident; places over WIDTH x HEIGHT."""

    incident_id: int
    x: float
    y: float
    tone: str
    words: str


@dataclass(frozen=True, slots=True)
class ScatterField:
    """A cell of the plane: its place, and the query that selects or deselects it."""

    x: float
    y: float
    width: float
    height: float
    query: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class IncidentScatter:
    dots: tuple[ScatterDot, ...]
    fields: tuple[ScatterField, ...]
    curves: tuple[tuple[str, str], ...]
    """Name of a curve, and its SVG path."""
    times: tuple[Tick, ...]
    levels: tuple[Tick, ...]
    without: int
    """How many of the newest have no residual voltage."""


def scatter_of(
    entries: Sequence[IndexedIncident], chosen: int | None, query_of: Callable[[str], str]
) -> IncidentScatter | None:
    """The plane; None where no entry has a residual voltage. `query_of` makes a query with a cell or none."""
    kinds = {kind: (class_tone(kind), class_words(kind)) for kind in {each.kind for each in entries}}
    shown = [
        (each, each.length_ns / 1e9, each.residual_percent)
        for each in entries
        if each.residual_percent is not None
    ]
    if not shown:
        return None
    _, lengths_s, percents = zip(*shown, strict=True)
    xs = np.clip(PLANE.time.places(np.array(lengths_s)), 0.0, WIDTH).round(1).tolist()
    ys = np.clip(PLANE.level.places(np.array(percents)), 0.0, HEIGHT).round(1).tolist()
    dots = tuple(
        ScatterDot(
            each.incident_id,
            x,
            y,
            kinds[each.kind][0],
            f"#{each.incident_id} {kinds[each.kind][1]}, {number(percent, 1, '%')} for {duration(seconds)}",
        )
        for (each, seconds, percent), x, y in zip(shown, xs, ys, strict=True)
    )
    return IncidentScatter(
        dots,
        tuple(_fields(chosen, query_of)),
        (("itic", _curve(ITIC_LOW) + _curve(ITIC_HIGH)), ("f47", _curve(SEMI_F47))),
        tuple(Tick(PLANE.time.percent(each), time_words(each)) for each in _TIMES_S),
        tuple(
            Tick(PLANE.level.percent(each), f"{each:g}{THIN}%") for each in PERCENTS if each != PERCENTS[0]
        ),
        len(entries) - len(dots),
    )


def dot_links(dots: Iterable[ScatterDot], query: str) -> Markup:
    """SVG of the dots, each a link to its incident; made without a template, because there are many."""
    within = escape(f"?{query}" if query else "")
    links = (
        f'<a href="/incidents/{dot.incident_id}{within}" tabindex="-1" aria-label="{escape(dot.words)}">'
        f'<g transform="translate({dot.x} {dot.y})">'
        f"{path(f'dot dot-{dot.tone}', DOT_SHAPES[dot.tone])}</g></a>"
        for dot in dots
    )
    return Markup("".join(links))


def _fields(chosen: int | None, query_of: Callable[[str], str]) -> Iterable[ScatterField]:
    xs = [0.0, *(_x(each) for each in DURATIONS_S), WIDTH]
    ys = [HEIGHT, *(_y(each) for each in PERCENTS), 0.0]
    for row in range(PLANE_ROWS):
        for column in range(PLANE_COLUMNS):
            cell = row * PLANE_COLUMNS + column
            yield ScatterField(
                xs[column],
                ys[row + 1],
                xs[column + 1] - xs[column],
                ys[row] - ys[row + 1],
                query_of("" if cell == chosen else str(cell)),
                cell == chosen,
            )


def _curve(steps: Sequence[tuple[float, float]]) -> str:
    return line(PLANE.curve(steps, SHORTEST_S))


def _x(seconds: float) -> float:
    return round(PLANE.time.place(seconds), 1)


def _y(percent: float) -> float:
    return round(PLANE.level.place(percent), 1)


def time_words(seconds: float) -> str:
    return f"{seconds * 1e3:g}{THIN}ms" if seconds < 1 else f"{seconds:g}{THIN}s"
