"""Outlines of land and countries around one window as GeoJSON: Natural Earth, see `outlines/OUTLINES.md`.

The files are read once, for the first map; a window's outlines are made once and cached. Parts outside are
cut off and points within one pixel are left out, so that a browser gets only what it may show.
"""

import functools
import gzip
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from opq_cloud.view.pages.map.map_frame import HEIGHT, MAX_LATITUDE, WIDTH, MapFrame

FOLDER = Path(__file__).parent / "outlines"
COARSE_FROM = 0.2
"""Windows as wide as this share of the equator are drawn from 1:110 million, others from 1:50 million."""
EDGE_UNITS = 560.0
"""Outlines are cut this far outside the window, so that a map that is moved shows them."""
STEP_UNITS = 0.9
"""Points nearer to each other than this are joined; a map is at most some 1,100 pixels wide."""
OUTLINES_CACHED = 64
Points = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines one after the other: (n, 2) of Mercator's x and y, and the number of each point's line: (n,).

    A window's lines are handled together, because thousands of them one by one took four times as long.
    """

    points: Points
    line: Numbers

    def chosen(self, which: NDArray[np.bool_]) -> "_Lines":
        return _Lines(self.points[which], self.line[which])

    @property
    def first(self) -> NDArray[np.bool_]:
        """Which points begin a line."""
        return np.concatenate(([True], self.line[1:] != self.line[:-1]))[: len(self.line)]

    @property
    def last(self) -> NDArray[np.bool_]:
        return np.concatenate((self.line[1:] != self.line[:-1], [True]))[: len(self.line)]

    def with_points(self, fewest: int) -> "_Lines":
        """The lines that have as many points."""
        return self.chosen(np.bincount(self.line)[self.line] >= fewest) if len(self.line) else self


class _Position(msgspec.Struct, array_like=True, gc=False):
    """A GeoJSON position, [longitude, latitude], in degrees.

    A list for each made Python look for garbage once in 15 windows, for which all pages waited (180 ms).
    """

    longitude: float
    latitude: float


@dataclass(frozen=True, slots=True)
class _Source:
    """The lines of a file, and the box around each: (m, 4) of left, top, right, bottom."""

    lines: _Lines
    boxes: Points


@functools.lru_cache(maxsize=OUTLINES_CACHED)
def outlines_json(frame: MapFrame) -> bytes:
    """The land as areas, whose holes follow from even-odd filling, and the lines between countries."""
    land, borders = _read("110m" if frame.wide >= COARSE_FROM else "50m")
    rings = _thinned(_clipped(_units(_within(land, frame), frame)).with_points(3))
    parts = _thinned(_parts_within(_units(_within(borders, frame), frame)).with_points(2))
    areas = [[ring] for ring in _degrees(rings, frame)]
    features = [
        {"type": "Feature", "properties": {"kind": name}, "geometry": {"type": shape, "coordinates": found}}
        for name, shape, found in (
            ("land", "MultiPolygon", areas),
            ("borders", "MultiLineString", _degrees(parts, frame)),
        )
    ]
    return msgspec.json.encode({"type": "FeatureCollection", "features": features})


@functools.lru_cache(maxsize=2)
def _read(name: str) -> tuple[_Source, _Source]:
    """Land and borders of one file."""
    content = json.loads(gzip.decompress((FOLDER / f"countries-{name}.json.gz").read_bytes()))
    points = _mercator_points(content["steps"], content["scale"])
    arcs = np.split(points, np.cumsum(content["sizes"])[:-1])
    rings = []
    for ring in content["land"]:
        parts = [arcs[arc] if arc >= 0 else arcs[~arc][::-1] for arc in ring]
        rings += _on_the_map(np.concatenate([part[:-1] for part in parts]))
    borders = [arcs[arc] for arc in content["borders"]]
    return _source([ring for ring in rings if len(ring) >= 3]), _source(borders)


def _on_the_map(ring: Points) -> list[Points]:
    """Flattens a ring of the source, which may cross the antimeridian or surround a pole, as on a globe.

    A ring that crosses the edge is repeated one whole earth apart; one around a pole is closed along it.
    """
    if np.ptp(ring[:, 0]) < 0.5:
        return [ring]
    x = np.unwrap(np.append(ring[:, 0], ring[0, 0]), period=1.0)
    flat = np.column_stack((x[:-1], ring[:, 1]))
    turned = round(x[-1] - x[0])
    if turned:
        edge = 1.0 if ring[:, 1].mean() > 0.5 else 0.0
        close = np.array([[x[-1], ring[0, 1]], [x[-1], edge], [x[0], edge]])
        flat = np.concatenate((flat, close))
    low, high = flat[:, 0].min(), flat[:, 0].max()
    shifts = [shift for shift in (-1.0, 0.0, 1.0) if low + shift < 1.0 and high + shift > 0.0]
    return [np.add(flat, (shift, 0.0)) for shift in shifts]


def _mercator_points(steps: Sequence[int], scale: float) -> Points:
    at = np.asarray(steps, dtype=np.int64).reshape(-1, 2).cumsum(axis=0) * scale
    latitude = np.radians(np.clip(at[:, 1], -MAX_LATITUDE, MAX_LATITUDE))
    y = 0.5 - np.log(np.tan(np.pi / 4 + latitude / 2)) / (2 * np.pi)
    return np.column_stack((at[:, 0] / 360.0 + 0.5, y))


def _source(lines: Sequence[Points]) -> _Source:
    boxes = [(*line.min(axis=0), *line.max(axis=0)) for line in lines]
    numbers = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    return _Source(_Lines(np.concatenate(lines), numbers), np.asarray(boxes, dtype=np.float64).reshape(-1, 4))


def _within(source: _Source, frame: MapFrame) -> _Lines:
    """The lines whose boxes meet the window and its surroundings, and are larger than a step there."""
    left, top, right, bottom = source.boxes.T
    edge = EDGE_UNITS * frame.wide / WIDTH
    meets = (left <= frame.left + frame.wide + edge) & (right >= frame.left - edge)
    meets &= (top <= frame.top + frame.high + edge) & (bottom >= frame.top - edge)
    meets &= np.maximum(right - left, bottom - top) >= STEP_UNITS * frame.wide / WIDTH
    return source.lines.chosen(meets[source.lines.line])


def _units(lines: _Lines, frame: MapFrame) -> _Lines:
    return _Lines((lines.points - (frame.left, frame.top)) * (WIDTH / frame.wide), lines.line)


def _degrees(lines: _Lines, frame: MapFrame) -> list[list[_Position]]:
    """(longitude, latitude) of each point, to a ten-thousandth of a degree, line by line."""
    x, y = (lines.points * (frame.wide / WIDTH) + (frame.left, frame.top)).T
    found = np.column_stack(((x - 0.5) * 360.0, np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * y))))))
    degrees = list(map(_Position, *found.round(4).T.tolist()))
    begins = np.flatnonzero(lines.first).tolist()
    return [degrees[begin:end] for begin, end in itertools.pairwise([*begins, len(degrees)])]


def _thinned(lines: _Lines) -> _Lines:
    """Lines without points on the same raster of STEP_UNITS as the one before."""
    raster = np.round(lines.points / STEP_UNITS)
    fresh = lines.first | lines.last
    fresh[1:] |= (raster[1:] != raster[:-1]).any(axis=1)
    return lines.chosen(fresh)


def _clipped(rings: _Lines) -> _Lines:
    """Rings cut to the window (Sutherland and Hodgman, 1974), one side after the other."""
    for axis, edge, sign in (
        (0, -EDGE_UNITS, 1.0),
        (0, WIDTH + EDGE_UNITS, -1.0),
        (1, -EDGE_UNITS, 1.0),
        (1, HEIGHT + EDGE_UNITS, -1.0),
    ):
        points, line = rings.points, rings.line
        inside = sign * (points[:, axis] - edge) >= 0
        if inside.all():
            continue
        before = np.arange(len(points)) - 1
        before[rings.first] = np.flatnonzero(rings.last)
        crosses, kept = np.flatnonzero(inside != inside[before]), np.flatnonzero(inside)
        start = points[before[crosses]]
        share = (edge - start[:, axis]) / (points[crosses, axis] - start[:, axis])
        crossing = start + share[:, None] * (points[crosses] - start)
        crossing[:, axis] = edge
        order = np.argsort(np.concatenate((2 * crosses, 2 * kept + 1)))
        which = np.concatenate((crosses, kept))[order]
        rings = _Lines(np.concatenate((crossing, points[kept]))[order], line[which])
    return rings


def _parts_within(lines: _Lines) -> _Lines:
    """The stretches of lines that are in the window, with one point outside at each end."""
    points = lines.points
    inside = (points >= -EDGE_UNITS).all(axis=1)
    inside &= (points[:, 0] <= WIDTH + EDGE_UNITS) & (points[:, 1] <= HEIGHT + EDGE_UNITS)
    near = inside.copy()
    near[:-1] |= inside[1:] & ~lines.first[1:]
    near[1:] |= inside[:-1] & ~lines.first[1:]
    stretch = np.cumsum(lines.first | ~near, dtype=np.int64)
    return _Lines(points, stretch).chosen(near)
