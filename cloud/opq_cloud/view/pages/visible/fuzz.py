"""The public place of a Box: a place near it that never changes and cannot be averaged away.

Pure. The earth is divided into cells as wide as the radius, from an origin that only the installation knows.
All Boxes of one cell are shown at one place, drawn for the cell by a keyed hash (HMAC-SHA256): many Boxes in
a house, or one observed for years, give the same place, so that there is nothing to average. Somebody who
knows the place of one Box of a cell learns about its neighbours only that they are in that cell. The public
place is so far from the middle of the cell that no point of the cell lies within the radius of it.

Compare Andrés et al., "Geo-indistinguishability", CCS 2013: there each query draws its own noise and costs
privacy; here every query gives the same place.
"""

import hashlib
import hmac
from math import asin, atan2, cos, degrees, floor, radians, sin, sqrt

EARTH_KM = 6371.0088
"""Mean radius of the earth (IUGG)."""
KM_PER_DEGREE = EARTH_KM * radians(1.0)
NEAREST_RADII = 1.75
"""Least distance from the middle of a cell to the public place; half the diagonal of a cell is 0.71 radii."""
FARTHEST_RADII = 2.5
"""Largest distance from the middle of a cell to the public place."""
MAX_RADII = FARTHEST_RADII + 0.75
"""No Box is farther from its public place, in radii."""
POLE_DEGREES = 85.0
"""Nearer to a pole, cells would be slivers; a Box there counts as being at this latitude."""
SALT_BYTES = 32
SALT_NAME = "map"
"""The name of the salt among the secrets of an installation."""

Place = tuple[float, float]
"""(latitude, longitude) in degrees, WGS 84."""


def fuzzed_place(at: Place, salt: bytes, radius_km: float) -> Place:
    """The public place of a Box at `at`: at least `radius_km` away, at most MAX_RADII times that.

    Args:
        salt: SALT_BYTES, a secret; another salt gives other places.
    Raises:
        ValueError: the place is not valid, the radius is not above 0, or the salt is too short to be secret.
    """
    latitude, longitude = at
    if not (abs(latitude) <= 90.0 and abs(longitude) <= 180.0):
        raise ValueError(f"{latitude}, {longitude} is not a latitude and longitude in degrees")
    if not radius_km > 0:
        raise ValueError(f"a radius of {radius_km} km hides nothing; want more than 0")
    if len(salt) < SALT_BYTES:
        raise ValueError(f"the salt has {len(salt)} bytes; want at least {SALT_BYTES}")
    latitude = max(-POLE_DEGREES, min(POLE_DEGREES, latitude))
    down, right = _shares(salt, b"origin")
    high = radius_km / KM_PER_DEGREE
    row = floor(latitude / high + down)
    middle_latitude = (row + 0.5 - down) * high
    wide = high / cos(radians(middle_latitude))
    column = floor(longitude / wide + right)
    middle = middle_latitude, (column + 0.5 - right) * wide
    turn, off = _shares(salt, f"{row} {column}".encode())
    # equal areas of the ring are equally likely
    share = sqrt(NEAREST_RADII**2 + off * (FARTHEST_RADII**2 - NEAREST_RADII**2))
    return _moved(middle, 360.0 * turn, share * radius_km)


def distance_km(first: Place, second: Place) -> float:
    """The distance along the great circle."""
    (lat_a, lon_a), (lat_b, lon_b) = ((radians(each[0]), radians(each[1])) for each in (first, second))
    chord = sin((lat_b - lat_a) / 2) ** 2 + cos(lat_a) * cos(lat_b) * sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_KM * asin(min(1.0, sqrt(chord)))


def _shares(salt: bytes, what: bytes) -> tuple[float, float]:
    """Two numbers in [0, 1) that cannot be predicted without the salt."""
    digest = hmac.new(salt, what, hashlib.sha256).digest()
    return int.from_bytes(digest[:7], "big") / 2**56, int.from_bytes(digest[8:15], "big") / 2**56


def _moved(at: Place, bearing_degrees: float, km: float) -> Place:
    """The place at a bearing and distance along a great circle; longitude in [-180, 180)."""
    latitude, longitude, bearing = radians(at[0]), radians(at[1]), radians(bearing_degrees)
    angle = km / EARTH_KM
    to_latitude = asin(sin(latitude) * cos(angle) + cos(latitude) * sin(angle) * cos(bearing))
    turned = atan2(sin(bearing) * sin(angle) * cos(latitude), cos(angle) - sin(latitude) * sin(to_latitude))
    return degrees(to_latitude), (degrees(longitude + turned) + 180.0) % 360.0 - 180.0
