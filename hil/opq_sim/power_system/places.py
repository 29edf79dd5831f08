"""Places of a network: a bus by its name, or a point of a feeder such as "feeder2/3.1km".

A separate file: the configuration checks places, and the network is made from the configuration.
"""

import math
import re
from dataclasses import dataclass

from opq_proto.errors import OpqError

KM_PER_DEGREE = 111.195
"""Length of a degree of latitude, on a sphere of 6371.009 km."""
PATTERN = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)(?:/([0-9]{1,6}(?:\.[0-9]{1,6})?) ?km)?")


class PlaceError(OpqError):
    """A place that cannot be read, or that the network does not have."""


@dataclass(frozen=True, slots=True)
class Place:
    """A bus or feeder by its name; with `km` the point of the feeder at that distance from its beginning."""

    name: str
    km: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Reads a place from its text.

        Raises:
            PlaceError: the text is neither a name nor a name with kilometres.
        """
        match = PATTERN.fullmatch(text.strip())
        if match is None:
            raise PlaceError(f"{text!r} is not a place; write a bus such as mv, or feeder2/3.1km")
        return cls(match[1], None if match[2] is None else float(match[2]))

    def __str__(self) -> str:
        if self.km is None:
            return self.name
        if not math.isfinite(self.km):
            raise PlaceError(f"{self.km} km along {self.name}; want a number")
        return f"{self.name}/{round(self.km, 6):.10g}km"
