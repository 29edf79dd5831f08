"""A set of whole numbers, stored as runs: the stored sequence numbers of a Box.

Sequence numbers have hardly any gaps, so the set of a day is one run and not 86,400 entries.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from struct import iter_unpack, pack

RUN_LIMIT = 4096
"""Most runs of a set (64 kB); beyond that the lowest run is dropped."""


class SequenceRuns:
    """Whole numbers >= 0, kept as half-open runs in rising order."""

    __slots__ = ("_starts", "_stops")

    def __init__(self, packed: bytes = b"") -> None:
        runs = list(iter_unpack("<qq", packed))
        self._starts = [start for start, _ in runs]
        self._stops = [stop for _, stop in runs]

    def pack(self) -> bytes:
        flat = [edge for run in zip(self._starts, self._stops, strict=True) for edge in run]
        return pack(f"<{len(flat)}q", *flat)

    def __contains__(self, number: int) -> bool:
        if self._stops and number == self._stops[-1]:  # the usual next one
            return False
        place = bisect_right(self._starts, number) - 1
        return place >= 0 and number < self._stops[place]

    @property
    def highest(self) -> int | None:
        return self._stops[-1] - 1 if self._stops else None

    def add(self, number: int) -> bool:
        """Adds a number; True where it was not in the set."""
        starts, stops = self._starts, self._stops
        if stops and number == stops[-1]:
            stops[-1] += 1
            return True
        place = bisect_right(starts, number) - 1
        if place >= 0 and number < stops[place]:
            return False
        joins_left = place >= 0 and stops[place] == number
        joins_right = place + 1 < len(starts) and starts[place + 1] == number + 1
        if joins_left and joins_right:
            stops[place] = stops.pop(place + 1)
            starts.pop(place + 1)
        elif joins_left:
            stops[place] += 1
        elif joins_right:
            starts[place + 1] -= 1
        else:
            starts.insert(place + 1, number)
            stops.insert(place + 1, number + 1)
            if len(starts) > RUN_LIMIT:
                del starts[0], stops[0]
        return True

    def between(self, first: int, last: int) -> Iterator[int]:
        """Yields its numbers in [first, last], rising."""
        for start, stop in zip(self._starts, self._stops, strict=True):
            yield from range(max(start, first), min(stop, last + 1))

    def check(self) -> bool:
        """Whether the runs rise and do not touch."""
        edges = [edge for run in zip(self._starts, self._stops, strict=True) for edge in run]
        return all(low < high for low, high in pairwise(edges))
