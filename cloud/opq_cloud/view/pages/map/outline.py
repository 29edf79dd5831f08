"""Outlines of land and countries around one window as GeoJSON: Natural Earth, see `outlines/OUTLINES.md`.

The files are read once, for the first map; a window's outlines are made once and cached. Parts outside are
cut off and points within one pixel are left out, so that a browser gets only what it may show.
"""

import functools
import gzip
import json
from collections.abc import Iterable, Sequence
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


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines in Mercator's x and y, and the box around each: (n, 4) of left, top, right, bottom."""

    lines: Sequence[Points]
    boxes: Points


@functools.lru_cache(maxsize=OUTLINES_CACHED)
def outlines_json(frame: MapFrame) -> bytes:
    """The land as areas, whose holes follow from even-odd filling, and the lines between countries."""
    land, borders = _read("110m" if frame.wide >= COARSE_FROM else "50m")
    rings = [_clipped(_units(line, frame)) for line in _within(land, frame)]
    areas = [[_degrees(_thinned(ring), frame)] for ring in rings if len(ring) >= 3]
    lines = [
        _degrees(part, frame)
        for line in _within(borders, frame)
        for part in _parts_within(_units(line, frame))
    ]
    features = [
        {"type": "Feature", "properties": {"kind": name}, "geometry": {"type": shape, "coordinates": found}}
        for name, shape, found in (("land", "MultiPolygon", areas), ("borders", "MultiLineString", lines))
    ]
    return msgspec.json.encode({"type": "FeatureCollection", "features": features})


@functools.lru_cache(maxsize=2)
def _read(name: str) -> tuple[_Lines, _Lines]:
    """Land and borders of one file."""
    content = json.loads(gzip.decompress((FOLDER / f"countries-{name}.json.gz").read_bytes()))
    points = _mercator_points(content["steps"], content["scale"])
    arcs = np.split(points, np.cumsum(content["sizes"])[:-1])
    rings = []
    for ring in content["land"]:
        parts = [arcs[arc] if arc >= 0 else arcs[~arc][::-1] for arc in ring]
        rings += _on_the_map(np.concatenate([part[:-1] for part in parts]))
    return _lines([ring for ring in rings if len(ring) >= 3]), _lines(
        [arcs[arc] for arc in content["borders"]]
    )


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


def _lines(lines: Sequence[Points]) -> _Lines:
    boxes = [(*line.min(axis=0), *line.max(axis=0)) for line in lines]
    return _Lines(lines, np.asarray(boxes, dtype=np.float64).reshape(-1, 4))


def _within(lines: _Lines, frame: MapFrame) -> Iterable[Points]:
    """The lines whose boxes meet the window and its surroundings, and are larger than a step there."""
    left, top, right, bottom = lines.boxes.T
    edge = EDGE_UNITS * frame.wide / WIDTH
    meets = (left <= frame.left + frame.wide + edge) & (right >= frame.left - edge)
    meets &= (top <= frame.top + frame.high + edge) & (bottom >= frame.top - edge)
    meets &= np.maximum(right - left, bottom - top) >= STEP_UNITS * frame.wide / WIDTH
    return [lines.lines[number] for number in np.flatnonzero(meets).tolist()]


def _units(line: Points, frame: MapFrame) -> Points:
    return (line - (frame.left, frame.top)) * (WIDTH / frame.wide)


def _degrees(line: Points, frame: MapFrame) -> list[list[float]]:
    """(longitude, latitude) of each point, to a ten-thousandth of a degree."""
    x, y = (line * (frame.wide / WIDTH) + (frame.left, frame.top)).T
    found = np.column_stack(((x - 0.5) * 360.0, np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * y))))))
    degrees: list[list[float]] = found.round(4).tolist()
    return degrees


def _thinned(line: Points) -> Points:
    """The line without points on the same raster of STEP_UNITS as the one before."""
    raster = np.round(line / STEP_UNITS)
    fresh = np.ones(len(line), dtype=bool)
    fresh[1:] = (raster[1:] != raster[:-1]).any(axis=1)
    fresh[-1] = True
    return line[fresh]


def _clipped(ring: Points) -> Points:
    """A ring cut to the window (Sutherland and Hodgman, 1974), one side after the other."""
    for axis, edge, sign in (
        (0, -EDGE_UNITS, 1.0),
        (0, WIDTH + EDGE_UNITS, -1.0),
        (1, -EDGE_UNITS, 1.0),
        (1, HEIGHT + EDGE_UNITS, -1.0),
    ):
        inside = sign * (ring[:, axis] - edge) >= 0
        if inside.all():
            continue
        crosses = np.flatnonzero(inside != np.roll(inside, 1))
        before = np.roll(ring, 1, axis=0)[crosses]
        share = (edge - before[:, axis]) / (ring[crosses, axis] - before[:, axis])
        crossing = before + share[:, None] * (ring[crosses] - before)
        crossing[:, axis] = edge
        kept = np.flatnonzero(inside)
        order = np.argsort(np.concatenate((2 * crosses, 2 * kept + 1)))
        ring = np.concatenate((crossing, ring[kept]))[order]
        if not len(ring):
            break
    return ring


def _parts_within(line: Points) -> Iterable[Points]:
    """The stretches of a line that are in the window, with one point outside at each end."""
    inside = (line >= -EDGE_UNITS).all(axis=1)
    inside &= (line[:, 0] <= WIDTH + EDGE_UNITS) & (line[:, 1] <= HEIGHT + EDGE_UNITS)
    if inside.all():
        yield _thinned(line)
        return
    near = inside.copy()
    near[:-1] |= inside[1:]
    near[1:] |= inside[:-1]
    ends = np.flatnonzero(np.diff(np.concatenate(([False], near, [False])).astype(np.int8)))
    for first, last in ends.reshape(-1, 2):
        if last - first > 1:
            yield _thinned(line[first:last])
