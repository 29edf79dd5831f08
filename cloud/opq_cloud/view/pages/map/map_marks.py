"""The marks of a map: one for each Box, or for several at one place, and for each region of hidden Boxes.

Pure. A map never has more marks than cells, however many Boxes there are; its table gives the same in words.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from opq_cloud.view.pages.map.grid_now import (
    BY_LOUDNESS,
    LOUDEST,
    TONES,
    BoxesNow,
    BoxNow,
    FixedBoxes,
    Floats,
    GroupNow,
    Whole,
    medians_of,
)
from opq_cloud.view.pages.map.map_frame import HEIGHT, MIN_KM, WIDTH, MapFrame, frame_at
from opq_cloud.view.pages.visible.availability import percent_words
from opq_cloud.view.pages.visible.availability import tone_of as tone_of_share
from opq_cloud.view.pages.visible.fuzz import MAX_RADII, Place
from opq_cloud.view.web import words

CELL_UNITS = 40.0
"""Boxes nearer than this on the drawing may share a mark."""
SPLIT_MARKS = 60
"""Up to this many Boxes have a mark each, except those at exactly one place."""
Point = tuple[float, float]
ROWS_LISTED = 200
"""Rows of the table; further ones are only counted."""
DOUBT_UNITS = 9.0
"""A circle of uncertainty smaller than a mark is not drawn."""
MAX_NAMED = 3
"""Boxes of one mark that are named; more are counted, and their mark leads to a closer window."""
CLOSER_FACTOR = 0.25
SHAPES = {
    "normal": "M-7 0a7 7 0 1 0 14 0a7 7 0 1 0-14 0Z",
    "low": "M-8.5-6H8.5L0 9Z",
    "high": "M-8.5 6H8.5L0-9Z",
    "too-low": "M-11-8H11L0 12Z",
    "too-high": "M-11 8H11L0-12Z",
    "silent": "M-8-8L8 8M8-8L-8 8",
}
"""The mark of each tone around (0, 0), an SVG path: shapes repeat what colours show."""


LATE_STEP_S = 10


@dataclass(frozen=True, slots=True)
class MapMark:
    """One mark and its row of the table."""

    mark_id: str
    """`box-4`, `cell-3-7`, `region-oahu`: the same in every update."""
    at: Place
    tone: str
    label: str
    boxes: int
    reporting: int
    u_percent: float | None
    """Of several Boxes, the one furthest from nominal, as `tone`; of a region, the median."""
    f_hz: float | None
    hour_share: float | None
    """Measured share of the last hour, of several Boxes the lowest; None where unknown, and of a region."""
    href: str
    """Its page, its row of the table, or a closer window; empty where it has none."""
    doubt_km: float
    """Radius of the circle that contains its Box; 0 where exact, or too small to draw."""
    rough: bool
    """Whether its place is only near that of its Box."""
    pages: tuple[tuple[str, str], ...] = ()
    """(name, address) of each Box, where they are few."""
    late_s: float = 0.0
    """How late the values of its latest Box came; 0 where none is late."""

    def with_lateness(self, state: str) -> str:
        """A state in words, with how late it is, in steps: a page is not redrawn for each second more."""
        if not self.late_s:
            return state
        late = words.age(int(self.late_s // LATE_STEP_S * LATE_STEP_S))
        return f"{state}, late by {late}"

    @property
    def name(self) -> str:
        """The text next to it on the drawing."""
        several = self.boxes > 1 and not self.label.startswith(("Region ", "Site "))
        return words.counted(self.boxes, "Box", "Boxes") if several else self.label

    @property
    def text(self) -> str:
        """The mark in words, for a pointer and a screen reader."""
        text = self._state_text
        if not tone_of_share(self.hour_share):
            return text
        share = percent_words(self.hour_share)
        return f"{text}; measured: {share} of the last hour"

    @property
    def _state_text(self) -> str:
        level = words.number(self.u_percent, 1, "%")
        if self.boxes == 1 and not self.mark_id.startswith("region"):
            state = TONES[self.tone]
            known = state if self.tone == "silent" else self.with_lateness(f"{level}, {state}")
            return f"{self.label}: {known}"
        reporting = f"{self.label}: {self.reporting} of {self.boxes} Boxes report"
        state = reporting if self.u_percent is None else f"{reporting}, {level}, {TONES[self.tone]}"
        return self.with_lateness(state)


@dataclass(frozen=True, slots=True)
class _Cell:
    """The constant facts of a mark."""

    mark_id: str
    at: Place
    label: str
    boxes: int
    href: str
    pages: tuple[tuple[str, str], ...]
    doubt_km: float
    rough: bool


@dataclass(frozen=True, eq=False)
class MapPlan:
    """Which Boxes make which mark of a window."""

    cells: tuple[_Cell, ...]
    members: Whole
    """(shown,) Boxes in the window, those of one mark in sequence."""
    which: Whole
    """(shown,) mark of each, rising."""
    outside: int
    """Boxes with a place that is not in the window."""
    unplaced: int


def map_plan(fixed: FixedBoxes, frame: MapFrame, radius_km: float) -> MapPlan:
    """The plan with its words, made once for Boxes that do not change."""
    found: MapPlan = fixed.plan((frame, radius_km), lambda: _plan(fixed, frame, radius_km))
    return found


def _plan(fixed: FixedBoxes, frame: MapFrame, radius_km: float) -> MapPlan:
    own = [(number, each) for number, each in enumerate(fixed.boxes) if not each.regional]
    placed = [(number, frame.units(each.at)) for number, each in own if each.at is not None]
    shown = [(number, at) for number, at in placed if 0 <= at[0] <= WIDTH and 0 <= at[1] <= HEIGHT]
    cells: dict[str, list[tuple[int, Point]]] = {}
    apart, of_site = len(shown) <= SPLIT_MARKS, dict[str, str]()
    for number, (x, y) in shown:
        c, r = (round(x * 10), round(y * 10)) if apart else (int(x // CELL_UNITS), int(y // CELL_UNITS))
        cell = f"cell-{c}-{r}"
        if site := fixed.boxes[number].site:  # one mark, of many Boxes where its first one is
            cell = f"site-{quote(site, safe='')}" if apart else of_site.setdefault(site, cell)
        cells.setdefault(cell, []).append((number, (x, y)))
    marks = []
    for cell, found in cells.items():
        boxes, points = [fixed.boxes[number] for number, _ in found], [at for _, at in found]
        marks.append(_cell(cell, boxes, points, frame, radius_km))
    sizes = [len(found) for found in cells.values()]
    return MapPlan(
        tuple(marks),
        np.array([number for found in cells.values() for number, _ in found], np.int64),
        np.repeat(np.arange(len(sizes)), sizes),
        len(placed) - len(shown),
        len(own) - len(placed),
    )


def map_marks(
    now: BoxesNow, regions: Iterable[GroupNow], frame: MapFrame, radius_km: float
) -> tuple[MapMark, ...]:
    """The marks in the window, the loudest last, so that they lie on top."""
    plan = map_plan(now.fixed, frame, radius_km)
    u_percent, f_hz, count = now.u_percent[plan.members], now.f_hz[plan.members], len(plan.cells)
    loudest = np.zeros(count, np.int64)
    np.maximum.at(loudest, plan.which, now.loudness[plan.members])
    late_s = np.zeros(count)
    np.maximum.at(late_s, plan.which, now.late_s[plan.members])
    rows = zip(
        plan.cells,
        loudest.tolist(),
        np.bincount(plan.which[~now.silent[plan.members]], minlength=count).tolist(),
        _worst_of(plan.which[~np.isnan(u_percent)], u_percent[~np.isnan(u_percent)], count),
        medians_of(plan.which[~np.isnan(f_hz)], f_hz[~np.isnan(f_hz)], count),
        _lowest_of(plan.which, now.measured[plan.members], count),
        late_s.tolist(),
        strict=True,
    )
    marks = [
        MapMark(
            cell.mark_id,
            cell.at,
            BY_LOUDNESS[tone],
            cell.label,
            cell.boxes,
            reporting,
            level,
            frequency,
            share,
            cell.href,
            cell.doubt_km,
            cell.rough,
            pages=cell.pages,
            late_s=late,
        )
        for cell, tone, reporting, level, frequency, share, late in rows
    ]
    marks += [_region_mark(each) for each in regions if each.regional and each.at and frame.shows(each.at)]
    return tuple(sorted(marks, key=lambda mark: (LOUDEST[mark.tone], mark.mark_id)))


def _worst_of(which: Whole, percents: Floats, count: int) -> list[float | None]:
    """The voltage of each mark that is furthest from nominal, as its tone is; None where none is known."""
    order = np.argsort(np.abs(percents - 100.0), kind="stable")  # a later one replaces an earlier one
    found = np.full(count, np.nan)
    found[which[order]] = percents[order]
    return [None if np.isnan(each) else float(each) for each in found]


def _lowest_of(which: Whole, shares: Floats, count: int) -> list[float | None]:
    """The lowest share of each mark; None where none is known."""
    found = np.full(count, np.inf)
    np.fmin.at(found, which, shares)
    return [None if np.isinf(each) else float(each) for each in found]


def rows_of(marks: Iterable[MapMark]) -> tuple[MapMark, ...]:
    """The rows of the table, the loudest first, ROWS_LISTED at most."""
    return tuple(sorted(marks, key=lambda mark: (-LOUDEST[mark.tone], mark.label)))[:ROWS_LISTED]


def _cell(
    cell_id: str, boxes: Sequence[BoxNow], points: Sequence[Point], frame: MapFrame, radius_km: float
) -> _Cell:
    x, y = (sum(each[k] for each in points) / len(points) for k in (0, 1))
    at, rough = frame.place(x, y), any(not each.exact for each in boxes)
    doubt_km = radius_km * MAX_RADII if rough else 0.0
    doubt = doubt_km * frame.units_per_km
    if len(boxes) == 1:
        one = boxes[0]
        doubt_km = doubt_km if doubt > DOUBT_UNITS else 0.0
        href = f"/boxes/{one.box_id}"
        return _Cell(f"box-{one.box_id}", at, one.label, 1, href, ((one.label, href),), doubt_km, rough)
    doubt_km = doubt_km if doubt > max(DOUBT_UNITS, CELL_UNITS / 2) else 0.0
    site = boxes[0].site
    if site and all(each.site == site for each in boxes):
        href = f"/sites/{quote(site)}"
        return _Cell(cell_id, at, f"Site {site}", len(boxes), href, ((site, href),), doubt_km, rough)
    if len(boxes) <= MAX_NAMED:
        named = words.listed([each.label for each in boxes])
        pages = tuple((each.label, f"/boxes/{each.box_id}") for each in boxes)
        return _Cell(cell_id, at, named, len(boxes), f"#{cell_id}", pages, doubt_km, rough)
    counted = words.counted(len(boxes), "Box", "Boxes")
    closer = "" if frame.km <= MIN_KM * 1.01 else f"?{frame_at(at, frame.km * CLOSER_FACTOR).query}"
    return _Cell(cell_id, at, counted, len(boxes), closer, (), doubt_km, rough)


def _region_mark(region: GroupNow) -> MapMark:
    assert region.at is not None
    return MapMark(
        f"region-{region.name}",
        region.at,
        region.tone,
        f"Region {region.name}",
        region.boxes,
        region.reporting,
        region.u_percent,
        region.f_hz,
        None,
        "",
        0.0,
        True,
    )
