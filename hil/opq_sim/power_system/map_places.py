"""Coordinates of a network's places: those that a scenario names, and those derived from them. Pure.

A transformer has the coordinates of the bus that it feeds. A point of a feeder between two known points lies
between them in proportion to the line's length; beyond the outermost known point nothing is known.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

from opq_sim.power_system.network.network_config import NetworkConfig
from opq_sim.power_system.places import KM_PER_DEGREE, Place, PlaceError

Coordinates = tuple[float, float]
"""(latitude, longitude), degrees, WGS 84."""


def distance_km(first: Coordinates, second: Coordinates) -> float:
    """Distance between two points on a sphere: within 0.1 % up to 300 km, and 70 degrees from the equator."""
    north = first[0] - second[0]
    east = ((first[1] - second[1] + 180.0) % 360.0 - 180.0) * math.cos(
        math.radians((first[0] + second[0]) / 2)
    )
    return KM_PER_DEGREE * math.hypot(north, east)


class MapPlaces:
    """The coordinates of a network's places.

    Args:
        named: coordinates that the scenario gives, by place.
    """

    def __init__(self, network: NetworkConfig, named: Mapping[str, Coordinates]) -> None:
        self._known = dict(named)
        for transformer in network.transformer:
            if transformer.to_bus in named:
                self._known.setdefault(transformer.from_bus, named[transformer.to_bus])
                self._known.setdefault(transformer.id, named[transformer.to_bus])
        points: defaultdict[str, dict[float, Coordinates]] = defaultdict(dict)
        for text, at in self._known.items():
            place = Place.parse(text)
            if place.km is not None:
                points[place.name][place.km] = at
        for feeder in network.feeder:
            for km, bus in ((0.0, feeder.from_bus), (feeder.km, feeder.to_bus)):
                if bus in self._known:
                    points[feeder.id][km] = self._known[bus]
        self._points = {feeder: sorted(known.items()) for feeder, known in points.items()}

    def coordinates(self, text: str) -> Coordinates | None:
        """Coordinates of a place; None: unknown, or no such place."""
        if text in self._known:
            return self._known[text]
        try:
            place = Place.parse(text)
        except PlaceError:
            return None
        known = self._points.get(place.name, [])
        if place.km is None:
            return None
        for (from_km, start), (to_km, end) in pairwise(known):
            if from_km <= place.km <= to_km:
                part = (place.km - from_km) / (to_km - from_km)
                return start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])
        return None
