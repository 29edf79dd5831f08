"""Which of one Box's numbered Measurements are stored, and the text of its acknowledgement. Pure."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

MAX_RANGES = 1000
"""Limit of the separate runs above the first hole; beyond it, the highest is dropped and sent again."""
MAX_HOLES = 50
"""Holes named in one acknowledgement; the rest follow when these are filled."""


@dataclass(frozen=True, slots=True)
class LostNumbers:
    """Numbers that were given up; between the first and the last one others may be stored."""

    first: int
    last: int
    count: int


class SequenceTracker:
    """Tracks which of one Box's numbered measurements are stored: up to where without a hole, and the holes.

    It gets every number that is on disk, in any order. Source: docs/reference/contracts.md, Acknowledgement.
    """

    def __init__(self, stored: Iterable[int] = (), begin: int | None = None) -> None:
        """`begin`: first number that the Box may hold unstored; None: the first stored one."""
        self.upto: int | None = None if begin is None else begin - 1
        """The highest number stored without a hole; None before the first."""
        self.lost = 0
        """Numbers below the Box's oldest that never came."""
        self.unnamed: LostNumbers | None = None
        """Those of them whose span is not stored yet."""
        self._unsure: int | None = None if begin is None else begin - 1
        """Numbers up to this one may be lost: never stored, though `upto` is beyond them."""
        self._runs: list[tuple[int, int]] = []
        for sequence in stored:
            self.add(sequence)

    def add(self, sequence: int, oldest: int | None = None) -> bool:
        """Notes that `sequence` is stored; the Box holds nothing below `oldest`. True: it is new."""
        upto = self.upto
        if (
            sequence - 1 == upto and not self._runs and (oldest is None or oldest <= sequence)
        ):  # nearly always
            self.upto = sequence
            return True
        if oldest is not None:
            oldest = min(oldest, sequence)
        if self.upto is None:
            # a new cloud begins where the Box does
            self._unsure = self.upto = (sequence if oldest is None else oldest) - 1
        if oldest is not None and oldest - 1 > self.upto:
            self._give_up(oldest - 1)
        new = sequence > self.upto and self._insert(sequence)
        self._join_first()
        return new

    def note_oldest(self, oldest: int) -> None:
        """Notes that the Box holds nothing below `oldest`, as stated with a stored Measurement."""
        if self.upto is not None and oldest - 1 > self.upto:
            self._give_up(oldest - 1)
            self._join_first()

    def has(self, sequence: int) -> bool:
        """Whether it is certainly stored. From any thread: numbers added meanwhile may not count yet."""
        upto, unsure = self.upto, self._unsure
        if upto is None or unsure is None or sequence <= unsure:
            return False
        if sequence <= upto:
            return True
        runs = self._runs[:]
        at = bisect_left(runs, (sequence + 1,)) - 1
        return at >= 0 and runs[at][0] <= sequence <= runs[at][1]

    @property
    def knows_end_of_lost(self) -> bool:
        """Whether the number after the last of `unnamed` is stored, so that their span has its end.

        While a gateway gives up older numbers, the next ones are not here yet, and may be given up, too.
        """
        lost = self.unnamed
        return lost is not None and (lost.last < (self._unsure or 0) or self.has(lost.last + 1))

    def missing(self, limit: int = MAX_HOLES) -> list[tuple[int, int]]:
        """Returns holes between stored numbers, as (first, last), the lowest first."""
        holes: list[tuple[int, int]] = []
        after = self.upto or 0
        for first, last in self._runs[:limit]:
            holes.append((after + 1, first - 1))
            after = last
        return holes

    def message(self) -> str | None:
        """Returns the acknowledgement's text; None before anything was stored.

        After the holes comes an empty one, `41-40`: 40 is the highest number stored, so that a Box sees
        that what it sent before is lost and not late. A Box that does not know of it reads no hole.
        """
        if self.upto is None:
            return None
        if not self._runs:
            return str(self.upto)
        highest = self._runs[-1][1]
        holes = [*self.missing(), (highest + 1, highest)]
        return ",".join([str(self.upto), *(f"{first}-{last}" for first, last in holes)])

    def _join_first(self) -> None:
        assert self.upto is not None
        while self._runs and self._runs[0][0] <= self.upto + 1:
            self.upto = max(self.upto, self._runs.pop(0)[1])

    def _give_up(self, upto: int) -> None:
        assert self.upto is not None
        below = [(first, min(last, upto)) for first, last in self._runs if first <= upto]
        count = upto - self.upto - sum(last - first + 1 for first, last in below)
        if count:
            known = self.unnamed or LostNumbers(self.upto + 1, upto, 0)
            last = below[-1][0] - 1 if below and below[-1][1] == upto else upto
            self.unnamed = LostNumbers(known.first, last, known.count + count)
            self.lost += count
        self._unsure = self.upto = upto  # in this order: `has` reads them in the other
        self._runs = [(max(first, upto + 1), last) for first, last in self._runs if last > upto]

    def _insert(self, sequence: int) -> bool:
        """Adds a number; False: it is in a run already."""
        runs = self._runs
        if runs and runs[-1][1] + 1 == sequence:  # nearly always
            runs[-1] = (runs[-1][0], sequence)
            return True
        at = bisect_left(runs, (sequence + 1,)) - 1  # the last run that begins at or before it
        if at >= 0 and runs[at][1] >= sequence:
            return False
        joins_left = at >= 0 and runs[at][1] + 1 == sequence
        joins_right = at + 1 < len(runs) and runs[at + 1][0] == sequence + 1
        first = runs[at][0] if joins_left else sequence
        last = runs[at + 1][1] if joins_right else sequence
        runs[at + (0 if joins_left else 1) : at + (2 if joins_right else 1)] = [(first, last)]
        if len(runs) > MAX_RANGES:
            runs.pop()
        return True
