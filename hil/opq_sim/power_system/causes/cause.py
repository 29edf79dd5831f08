"""The interface of every cause: a name, a place, and a method that solves it. Each kind has a file in this
folder.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import ClassVar

import numpy as np

from opq_sim.power_system.causes.site import Site, SolvedCause


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause(ABC):
    """A disturbance at a place of the network.

    A kind's fields are what scenario files and `sim event` may set; `limit` gives the range of a number, so
    that wrong values are reported before anything is solved.
    """

    name: ClassVar[str] = ""
    words: ClassVar[str] = ""
    """One line that describes it."""
    at: str
    """A bus, or a point of a feeder: "feeder2/3.1km"."""

    @abstractmethod
    def solved(self, site: Site) -> SolvedCause:
        """Its effect on every outlet.

        Raises:
            PlaceError: the network has no such place.
            ValueError: it cannot happen there.
        """

    def __post_init__(self) -> None:
        for each in fields(self):
            least, most = each.metadata.get("least"), each.metadata.get("most")
            value = getattr(self, each.name)
            if least is None or most is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{self.name}: {each.name} is {value!r}; want a number")
            if not least <= value <= most:
                raise ValueError(f"{self.name}: {each.name} is {value:g}; want {least:g} to {most:g}")


def limit(default: float, least: float, most: float) -> float:
    """A field of a cause: a number in a range."""
    made: float = field(default=default, metadata={"least": least, "most": most})
    return made


def phase_number(phase: str, kind: str) -> int:
    """0, 1, 2 for a, b, c.

    Raises:
        ValueError: another letter.
    """
    if phase not in ("a", "b", "c"):
        raise ValueError(f"{kind}: phase is {phase!r}; want a, b or c")
    return "abc".index(phase)


def drawn(site: Site, least: float, most: float) -> float:
    """A random number between two limits, from this cause's own generator."""
    return float(np.round(site.chance.uniform(least, most), 9))
