"""The part of the earth that a map shows, in Web Mercator (EPSG:3857); its address: `?at=21.3,-157.8&km=120`.

Pure. A place is (latitude, longitude) in degrees; `x` and `y` go from 0 to 1 over the whole map, from the
antimeridian and from the top, as tiles count them. A map never crosses the antimeridian.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import atan, cos, degrees, log, pi, radians, sinh, tan
from urllib.parse import urlencode

from opq_cloud.view.pages.visible.fuzz import KM_PER_DEGREE, Place

WIDTH = 1000
"""Units in which nearness on the drawing is judged; a browser scales it."""
HEIGHT = 560
EQUATOR_KM = 360.0 * KM_PER_DEGREE
MAX_LATITUDE = 84.0
PLACES_KEPT = 1 << 15
MIN_KM = 5.0
"""Narrowest window of a map."""
MAX_KM = 40_000.0
"""Widest window of a map: the earth's circumference."""
NARROWEST_KM = 40.0
"""Boxes close together are shown with some land around them."""
MARGIN_FACTOR = 1.5
"""The map is this much wider than the extent of its Boxes."""
_AT = re.compile(r"(-?\d{1,2}(?:\.\d{1,6})?),(-?\d{1,3}(?:\.\d{1,6})?)")


@dataclass(frozen=True, slots=True)
class MapFrame:
    """A window of WIDTH x HEIGHT units, `wide` (a share of the equator) from left to right."""

    left: float
    top: float
    wide: float

    @property
    def high(self) -> float:
        return self.wide * HEIGHT / WIDTH

    @property
    def middle(self) -> Place:
        return _place(self.left + self.wide / 2, self.top + self.high / 2)

    @property
    def km(self) -> float:
        """The width through the middle."""
        return self.wide * EQUATOR_KM * cos(radians(self.middle[0]))

    @property
    def units_per_km(self) -> float:
        return WIDTH / self.km

    def units(self, at: Place) -> tuple[float, float]:
        """The place in the drawing; outside 0 .. WIDTH, 0 .. HEIGHT it is not visible."""
        x, y = mercator(at)
        scale = WIDTH / self.wide
        return (x - self.left) * scale, (y - self.top) * scale

    def shows(self, at: Place) -> bool:
        x, y = self.units(at)
        return 0 <= x <= WIDTH and 0 <= y <= HEIGHT

    def zoomed(self, factor: float) -> "MapFrame":
        """A window that is wider (factor above 1) or narrower around its middle."""
        return frame_at(self.middle, self.km * factor)

    def place(self, x: float, y: float) -> Place:
        """The place of a point of the drawing."""
        scale = self.wide / WIDTH
        return _place(self.left + x * scale, self.top + y * scale)

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """South, west, north, east in degrees."""
        (north, west), (south, east) = self.place(0, 0), self.place(WIDTH, HEIGHT)
        return tuple(round(each, 6) for each in (south, west, north, east))  # type: ignore[return-value]

    @property
    def query(self) -> str:
        """The address of this window."""
        latitude, longitude = self.middle
        return urlencode(
            {
                "at": f"{latitude:.4f},{longitude:.4f}",
                "km": f"{self.km:.0f}" if self.km >= 100 else f"{self.km:.1f}",
            }
        )


@lru_cache(maxsize=PLACES_KEPT)
def mercator(at: Place) -> tuple[float, float]:
    """(x, y) of a place; beyond MAX_LATITUDE at the edge. Cached, because Boxes rarely move."""
    latitude = max(-MAX_LATITUDE, min(MAX_LATITUDE, at[0]))
    return at[1] / 360.0 + 0.5, 0.5 - log(tan(pi / 4 + radians(latitude) / 2)) / (2 * pi)


def _place(x: float, y: float) -> Place:
    return degrees(atan(sinh(pi * (1 - 2 * y)))), (x - 0.5) * 360.0


def _window(x: float, y: float, wide: float) -> MapFrame:
    """The window around (x, y), moved onto the map where it fits."""
    wide = min(1.0, wide)
    high = wide * HEIGHT / WIDTH
    top, bottom = mercator((MAX_LATITUDE, 0.0))[1], mercator((-MAX_LATITUDE, 0.0))[1]
    return MapFrame(
        min(max(0.0, x - wide / 2), 1.0 - wide), min(max(top, y - high / 2), max(top, bottom - high)), wide
    )


def frame_at(middle: Place, km: float) -> MapFrame:
    """A window `km` wide (MIN_KM to MAX_KM) around a place."""
    km = max(MIN_KM, min(MAX_KM, km))
    latitude = max(-MAX_LATITUDE, min(MAX_LATITUDE, middle[0]))
    x, y = mercator((latitude, middle[1]))
    return _window(x, y, km / (EQUATOR_KM * cos(radians(latitude))))


WORLD = frame_at((25.0, 0.0), MAX_KM)


def frame_of(places: Iterable[Place]) -> MapFrame:
    """A window of all these places with a margin; the world where there are none."""
    points = [mercator(each) for each in places]
    if not points:
        return WORLD
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    top, bottom = min(y for _, y in points), max(y for _, y in points)
    middle = (left + right) / 2, (top + bottom) / 2
    wide = MARGIN_FACTOR * max(right - left, (bottom - top) * WIDTH / HEIGHT)
    least = NARROWEST_KM / (EQUATOR_KM * cos(radians(_place(*middle)[0])))
    return _window(*middle, max(wide, least))


def parse_frame(at: str, km: str) -> MapFrame | None:
    """The window of an address; None where it names none.

    Raises:
        ValueError: with what is allowed.
    """
    if not at and not km:
        return None
    found = _AT.fullmatch(at)
    if found is None or abs(float(found[1])) > 90 or abs(float(found[2])) > 180:
        raise ValueError(f"at={at[:30]} is not a place; write latitude and longitude such as at=21.3,-157.8")
    try:
        wide_km = float(km)
    except ValueError:
        wide_km = 0.0
    if not MIN_KM <= wide_km <= MAX_KM:
        raise ValueError(f"km={km[:12]} is not a width; write {MIN_KM:g} to {MAX_KM:g} kilometres")
    return frame_at((float(found[1]), float(found[2])), wide_km)
